//! Names within a function: registers, variables and labels, innermost block first.

use std::collections::HashMap;

use super::super::LoadError;
use super::super::ast::{DeclSpace, Type, Variable};
use super::{Lowering, MAX_REGISTERS, Result};

/// What the name of a variable stands for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Symbol<'a> {
    /// A device address.
    Address(u64),
    /// A shared variable of the module, whose place each kernel decides.
    Shared(&'a Variable<'a>),
    /// A shared variable whose place is decided.
    SharedAt(u32),
    /// An offset in the function's frame.
    Frame(u32),
    /// An offset in the kernel's parameters.
    KernelParam(u32),
}

/// A register that is in use.
#[derive(Clone, Copy, Debug)]
pub(super) struct Register {
    pub index: u32,
    pub ty: Type,
}

/// A block of a function.
#[derive(Debug, Default)]
pub(super) struct Scope<'a> {
    symbols: HashMap<&'a str, Symbol<'a>>,
    /// Declared registers by name, or by prefix where a count was declared.
    declared: HashMap<&'a str, (Type, Option<u32>)>,
    /// Registers that have been used, by their whole name.
    used: HashMap<&'a str, Register>,
    pub(super) labels: HashMap<&'a str, u32>,
    pub(super) branch_targets: HashMap<&'a str, (u32, &'a [&'a str])>,
}

impl<'a> Scope<'a> {
    pub(super) fn declare(&mut self, name: &'a str, symbol: Symbol<'a>) {
        self.symbols.insert(name, symbol);
    }

    pub(super) fn declare_registers(
        &mut self,
        line: u32,
        name: &'a str,
        ty: Type,
        count: Option<u32>,
    ) -> Result<()> {
        if ty == Type::B128 {
            return Err(LoadError::unsupported(line, "128-bit registers"));
        }
        if self.declared.insert(name, (ty, count)).is_some() {
            return Err(LoadError::syntax(line, format!("the register `{name}` is declared twice")));
        }
        Ok(())
    }

    /// The type of a register of this block: by its own name, or as one of a counted range.
    fn declared_type(&self, name: &str) -> Option<Type> {
        if let Some(&(ty, None)) = self.declared.get(name) {
            return Some(ty);
        }
        let prefix = name.trim_end_matches(|c: char| c.is_ascii_digit());
        // A prefix may itself end in digits (`%r1<5>`), so every split is tried.
        (prefix.len()..name.len()).find_map(|at| {
            let (prefix, number) = name.split_at_checked(at)?;
            let &(ty, count) = self.declared.get(prefix)?;
            let canonical = number == "0" || !number.starts_with('0');
            (canonical && number.parse::<u32>().ok()? < count?).then_some(ty)
        })
    }
}

impl<'a> Lowering<'_, 'a> {
    /// The register of that name, or nothing.
    pub(super) fn find_register(&mut self, name: &'a str) -> Result<Option<Register>> {
        for scope in self.scopes.iter_mut().rev() {
            if let Some(&register) = scope.used.get(name) {
                return Ok(Some(register));
            }
            let Some(ty) = scope.declared_type(name) else { continue };
            let next = if ty == Type::Pred { &mut self.predicates } else { &mut self.registers };
            if *next >= MAX_REGISTERS {
                return Err(LoadError::syntax(self.line, format!("more than {MAX_REGISTERS} registers")));
            }
            let register = Register { index: *next, ty };
            *next += 1;
            scope.used.insert(name, register);
            return Ok(Some(register));
        }
        Ok(None)
    }

    pub(super) fn register(&mut self, name: &'a str) -> Result<Register> {
        self.find_register(name)?
            .ok_or_else(|| self.error(format!("expected a register, and `{name}` is not declared as one")))
    }

    /// The variable of that name, placed.
    pub(super) fn find_symbol(&mut self, name: &str) -> Result<Option<Symbol<'a>>> {
        if let Some(&symbol) = self.scopes.iter().rev().find_map(|scope| scope.symbols.get(name)) {
            return Ok(Some(symbol));
        }
        Ok(self.module.get(name).copied())
    }

    pub(super) fn label(&self, name: &str) -> Result<u32> {
        let found = self.scopes.iter().rev().find_map(|scope| scope.labels.get(name));
        found.copied().ok_or_else(|| self.error(format!("there is no label `{name}`")))
    }

    pub(super) fn branch_table(&self, name: &str) -> Result<&'a [&'a str]> {
        let found = self.scopes.iter().rev().find_map(|scope| scope.branch_targets.get(name));
        found
            .map(|table| table.1)
            .ok_or_else(|| self.error(format!("there is no `.branchtargets` list `{name}`")))
    }

    /// A variable declared in a function's body.
    pub(super) fn variable(&mut self, variable: &'a Variable<'a>) -> Result<()> {
        self.line = variable.line;
        let symbol = match variable.space {
            DeclSpace::Local | DeclSpace::Param => Symbol::Frame(self.frame.place(variable)?),
            DeclSpace::Shared if variable.bytes > 0 => Symbol::SharedAt(self.shared.place(variable)?),
            DeclSpace::Shared => Symbol::Shared(variable),
            DeclSpace::Global | DeclSpace::Const => {
                return Err(LoadError::unsupported(variable.line, "global variables inside a function"));
            }
        };
        if !variable.init.is_empty() {
            return Err(self.error(format!("the variable `{}` cannot have an initial value", variable.name)));
        }
        self.innermost().declare(variable.name, symbol);
        Ok(())
    }
}
