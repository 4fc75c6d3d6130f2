//! Where parameters, local variables and shared variables lie.

use std::collections::HashMap;

use super::super::LoadError;
use super::super::ast::{DeclSpace, Function, Variable};
use super::scope::{Scope, Symbol};
use super::{MAX_FRAME_BYTES, MAX_PARAM_BYTES, Result};

/// Most bytes of static shared memory that a layout may reach; a launch checks the device's own, smaller limit.
const MAX_SHARED_BYTES: u32 = 1 << 24;

/// A kernel's parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KernelParam {
    /// Where it begins in the parameter block, in bytes.
    pub offset: u32,
    /// Its size in bytes.
    pub bytes: u32,
}

/// Places a variable after what is there; gives its offset and the new end.
fn append(at: u32, variable: &Variable<'_>, limit: u32) -> Result<(u32, u32)> {
    let too_much = || {
        LoadError::syntax(
            variable.line,
            format!("`{}` does not fit: the limit is {limit} bytes", variable.name),
        )
    };
    let offset = at.checked_next_multiple_of(variable.align.max(1)).ok_or_else(too_much)?;
    let bytes = u32::try_from(variable.bytes).map_err(|_| too_much())?;
    let end = offset.checked_add(bytes).filter(|end| *end <= limit).ok_or_else(too_much)?;
    Ok((offset, end))
}

/// The parameter block of a kernel.
pub(super) fn kernel_params(function: &Function<'_>) -> Result<(Vec<KernelParam>, u32)> {
    let mut at = 0;
    let mut params = Vec::with_capacity(function.params.len());
    for variable in &function.params {
        let (offset, end) = append(at, variable, MAX_PARAM_BYTES).map_err(|e| e.within(function.name))?;
        params.push(KernelParam { offset, bytes: end - offset });
        at = end;
    }
    Ok((params, at))
}

/// A function's frame: return values, then parameters, then local variables.
#[derive(Debug, Default)]
pub(super) struct FrameLayout<'a> {
    pub(super) returns: Vec<(&'a str, KernelParam)>,
    pub(super) params: Vec<(&'a str, KernelParam)>,
    /// Where the next variable goes.
    at: u32,
    /// The furthest end so far.
    bytes: u32,
    /// What lies below stays for the whole function.
    kept: u32,
}

impl<'a> FrameLayout<'a> {
    pub(super) fn of(function: &Function<'a>) -> Result<Self> {
        let mut layout = Self::default();
        for variable in &function.returns {
            let slot = layout.slot(variable)?;
            layout.returns.push((variable.name, slot));
        }
        for variable in &function.params {
            let slot = layout.slot(variable)?;
            layout.params.push((variable.name, slot));
        }
        Ok(layout)
    }

    fn slot(&mut self, variable: &Variable<'_>) -> Result<KernelParam> {
        let (offset, end) = append(self.at, variable, MAX_FRAME_BYTES)?;
        self.at = end;
        self.bytes = self.bytes.max(end);
        Ok(KernelParam { offset, bytes: end - offset })
    }

    /// Places one more variable.
    pub(super) fn place(&mut self, variable: &Variable<'_>) -> Result<u32> {
        let slot = self.slot(variable)?;
        if variable.space == DeclSpace::Local {
            self.kept = self.at;
        }
        Ok(slot.offset)
    }

    /// Where a block begins.
    pub(super) fn mark(&self) -> u32 {
        self.at
    }

    /// A block has ended: the variables of its calls make room for those of the next. Local variables stay,
    /// because their address may have left the block.
    pub(super) fn release(&mut self, mark: u32) {
        self.at = mark.max(self.kept);
    }

    pub(super) fn declare_in(&self, scope: &mut Scope<'a>) {
        for (name, slot) in self.returns.iter().chain(&self.params) {
            scope.declare(name, Symbol::Frame(slot.offset));
        }
    }

    /// The whole frame; the next one begins aligned for anything.
    pub(super) fn bytes(&self) -> u32 {
        self.bytes.next_multiple_of(16)
    }
}

/// Static shared memory, and how dynamic shared memory must be aligned.
#[derive(Clone, Debug, Default)]
pub(super) struct SharedLayout<'a> {
    placed: HashMap<&'a str, u32>,
    bytes: u32,
    dynamic_align: u32,
}

impl<'a> SharedLayout<'a> {
    /// Places a variable of a function.
    pub(super) fn place(&mut self, variable: &Variable<'_>) -> Result<u32> {
        let (offset, end) = append(self.bytes, variable, MAX_SHARED_BYTES)?;
        self.bytes = end;
        Ok(offset)
    }

    /// Places a variable of the module at its first use.
    pub(super) fn place_once(&mut self, variable: &Variable<'a>) -> Result<u32> {
        if let Some(&offset) = self.placed.get(variable.name) {
            return Ok(offset);
        }
        let offset = self.place(variable)?;
        self.placed.insert(variable.name, offset);
        Ok(offset)
    }

    /// Notes a use of dynamic shared memory.
    pub(super) fn use_dynamic(&mut self, align: u32) {
        self.dynamic_align = self.dynamic_align.max(align);
    }

    pub(super) fn bytes(&self) -> u32 {
        self.bytes
    }

    pub(super) fn dynamic_align(&self) -> u32 {
        self.dynamic_align.max(16)
    }
}
