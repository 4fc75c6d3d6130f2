//! A loaded module: kernels, and variables in device memory.

use std::collections::HashMap;
use std::sync::Arc;

use rrto_core::api::CuResult;

use super::exec::MAX_STATIC_SHARED_BYTES;
use super::memory::Memory;
use super::ptx::ast::{Ast, DeclSpace, Init, Variable};
use super::ptx::lower::{self, KernelParam, Lowered};
use super::ptx::{LoadError, parser};

/// The registers that a kernel is said to have at most, as the hardware does; virtual registers have no such
/// limit.
const MAX_REPORTED_REGISTERS: u32 = 255;
/// The bank of constant memory, in bytes.
const MAX_CONST_BYTES: u64 = 64 << 10;

/// A module whose code is ready and whose variables are in device memory, until it is dropped.
#[derive(Debug)]
pub struct Module {
    pub(super) lowered: Lowered,
    kernels: HashMap<String, Kernel>,
    variables: Variables,
}

/// A kernel of a module.
#[derive(Clone, Debug)]
pub struct Kernel {
    pub(super) routine: usize,
    pub(super) dynamic_align: u32,
    name: String,
    params: Vec<KernelParam>,
    param_bytes: u32,
    shared_bytes: u32,
    const_bytes: u64,
    local_bytes: u32,
    max_threads: Option<u32>,
    registers: u32,
}

impl Kernel {
    /// The kernel's name, as the PTX spells it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Offset and size of each parameter in the parameter block.
    pub fn params(&self) -> &[KernelParam] {
        &self.params
    }

    /// Bytes of the parameter block.
    pub fn param_bytes(&self) -> u32 {
        self.param_bytes
    }

    /// Bytes of static shared memory.
    pub fn shared_bytes(&self) -> u32 {
        self.shared_bytes
    }

    /// Bytes of the module's constant variables.
    pub fn const_bytes(&self) -> u64 {
        self.const_bytes
    }

    /// Bytes of local memory of each thread.
    pub fn local_bytes(&self) -> u32 {
        self.local_bytes
    }

    /// Most threads in a block.
    pub fn max_threads(&self) -> u32 {
        self.max_threads.unwrap_or(u32::MAX).min(super::exec::MAX_THREADS_PER_BLOCK)
    }

    /// Registers of each thread, as a device would report them.
    pub fn registers(&self) -> u32 {
        self.registers.min(MAX_REPORTED_REGISTERS)
    }
}

/// The device memory of a module's variables; freed with it.
#[derive(Debug)]
struct Variables {
    memory: Arc<Memory>,
    by_name: HashMap<String, (u64, u64)>,
}

impl Drop for Variables {
    fn drop(&mut self) {
        for &(address, _) in self.by_name.values() {
            let _ = self.memory.free(address);
        }
    }
}

impl Module {
    /// Loads PTX text and puts its variables into device memory.
    ///
    /// # Errors
    /// Says the line, the kernel, and what is wrong or not supported.
    pub fn load(ptx: &str, memory: &Arc<Memory>) -> Result<Self, LoadError> {
        let ast = parser::parse(ptx)?;
        let mut variables = Variables { memory: Arc::clone(memory), by_name: HashMap::new() };
        let mut const_bytes = 0u64;
        for variable in ast.variables.iter().filter(|v| v.space != DeclSpace::Shared) {
            variables.place(variable)?;
            if variable.space == DeclSpace::Const {
                const_bytes = const_bytes.saturating_add(variable.bytes);
            }
        }
        if const_bytes > MAX_CONST_BYTES {
            return Err(LoadError::syntax(
                0,
                format!("{const_bytes} bytes of constants, where {MAX_CONST_BYTES} fit"),
            ));
        }
        for variable in &ast.variables {
            variables.initialise(variable)?;
        }
        let addresses = variables.addresses(&ast);
        let lowered = lower::lower(&ast, &addresses)?;
        let kernels = kernels(&lowered, const_bytes)?;
        Ok(Self { lowered, kernels, variables })
    }

    /// The kernel of that name.
    pub fn kernel(&self, name: &str) -> Option<&Kernel> {
        self.kernels.get(name)
    }

    /// The names of all kernels, in no order.
    pub fn kernel_names(&self) -> impl Iterator<Item = &str> {
        self.kernels.keys().map(String::as_str)
    }

    /// Whether one of its variables begins at the address.
    pub fn has_global_at(&self, address: u64) -> bool {
        self.variables.by_name.values().any(|variable| variable.0 == address)
    }

    /// Address and size in bytes of a global or constant variable.
    pub fn global(&self, name: &str) -> Option<(u64, u64)> {
        self.variables.by_name.get(name).copied()
    }
}

fn kernels(lowered: &Lowered, const_bytes: u64) -> Result<HashMap<String, Kernel>, LoadError> {
    let mut kernels = HashMap::new();
    for kernel in &lowered.kernels {
        let Some(routine) = lowered.routines.get(kernel.routine) else { continue };
        if kernel.shared_bytes > MAX_STATIC_SHARED_BYTES {
            let message = format!(
                "{} bytes of static shared memory, where {MAX_STATIC_SHARED_BYTES} fit",
                kernel.shared_bytes
            );
            return Err(LoadError::syntax(0, message).within(&routine.name));
        }
        let kernel = Kernel {
            routine: kernel.routine,
            dynamic_align: kernel.dynamic_align,
            name: routine.name.clone(),
            params: kernel.params.clone(),
            param_bytes: kernel.param_bytes,
            shared_bytes: kernel.shared_bytes,
            const_bytes,
            local_bytes: routine.frame_bytes,
            max_threads: kernel.max_threads,
            registers: routine.registers,
        };
        if kernels.insert(routine.name.clone(), kernel).is_some() {
            return Err(LoadError::syntax(0, format!("the kernel `{}` is defined twice", routine.name)));
        }
    }
    Ok(kernels)
}

impl Variables {
    fn addresses<'a>(&self, ast: &Ast<'a>) -> HashMap<&'a str, u64> {
        let address = |v: &Variable<'a>| Some((v.name, self.by_name.get(v.name)?.0));
        ast.variables.iter().filter_map(address).collect()
    }

    fn place(&mut self, variable: &Variable<'_>) -> Result<(), LoadError> {
        let refuse = |status: CuResult, what: &str| {
            Err(LoadError::with_status(
                status,
                variable.line,
                format!("the variable `{}` {what}", variable.name),
            ))
        };
        if variable.external {
            return refuse(CuResult::INVALID_PTX, "is only declared; modules are not linked with each other");
        }
        if self.by_name.contains_key(variable.name) {
            return refuse(CuResult::INVALID_PTX, "is defined twice");
        }
        match self.memory.alloc(variable.bytes.max(1)) {
            Ok(address) => {
                self.by_name.insert(variable.name.to_owned(), (address, variable.bytes));
                Ok(())
            }
            Err(status) => refuse(status, "does not fit into device memory"),
        }
    }

    fn initialise(&self, variable: &Variable<'_>) -> Result<(), LoadError> {
        let wrong = |what: String| {
            LoadError::syntax(variable.line, format!("the initial value of `{}` {what}", variable.name))
        };
        let Some(&(address, bytes)) = self.by_name.get(variable.name) else {
            return if variable.init.is_empty() {
                Ok(())
            } else {
                Err(wrong("has no place in shared memory".into()))
            };
        };
        let size = variable.element.bytes() as usize;
        if size == 0 || size > 8 || (variable.init.len() * size) as u64 > bytes {
            return if variable.init.is_empty() { Ok(()) } else { Err(wrong("is larger than it".into())) };
        }
        let mut image = Vec::with_capacity(variable.init.len() * size);
        for value in &variable.init {
            let bits = self.value(value, size).map_err(wrong)?;
            image.extend(bits.to_le_bytes().into_iter().take(size));
        }
        self.memory.write(address, &image).map_err(|_| wrong("cannot be written".into()))
    }

    fn value(&self, value: &Init<'_>, size: usize) -> Result<u64, String> {
        match (*value, size) {
            (Init::Int(value), _) => Ok(value),
            (Init::F32(bits), 4) => Ok(bits.into()),
            (Init::F32(bits), 8) => Ok(f64::from(f32::from_bits(bits)).to_bits()),
            (Init::F64(bits), 8) => Ok(bits),
            (Init::Decimal(value), 4) => Ok(u64::from((value as f32).to_bits())),
            (Init::Decimal(value), 8) => Ok(value.to_bits()),
            (Init::Address { symbol, addend, mask }, _) => {
                let Some(&(address, _)) = self.by_name.get(symbol) else {
                    return Err(format!("names `{symbol}`, which is no variable of this module"));
                };
                let address = address.wrapping_add(addend as u64);
                match mask {
                    None if size == 8 => Ok(address),
                    None => Err(format!("puts an address into {size} bytes")),
                    Some(mask) => Ok((address & mask).checked_shr(mask.trailing_zeros()).unwrap_or(0)),
                }
            }
            _ => Err("does not fit its type".into()),
        }
    }
}
