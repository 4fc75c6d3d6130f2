//! From what the text says to what the executor does.
//!
//! Every name is resolved, every operand's width checked against its instruction, and every instruction the
//! executor has no answer for is refused, with its line. One file a family of instructions.

mod arithmetic;
mod control;
mod convert;
mod layout;
mod memory;
mod modifiers;
mod operands;
mod scope;
mod warp;

use std::collections::HashMap;

use super::LoadError;
use super::ast::{Ast, Function, Instruction, Statement};
use super::ir::{Inst, Op, Pc, PredSrc, Routine};
use layout::{FrameLayout, SharedLayout};
use scope::{Scope, Symbol};

pub use layout::KernelParam;

/// Most registers that one function may use. The hardware has 255; PTX's are virtual, and unrolled code uses
/// thousands.
pub const MAX_REGISTERS: u32 = 1 << 16;
/// Most bytes of local variables and parameters in one function's frame; the hardware's limit on local memory
/// a thread.
pub const MAX_FRAME_BYTES: u32 = 512 << 10;
/// Most bytes of parameters of a kernel: what CUDA 12.1 and later allow.
pub const MAX_PARAM_BYTES: u32 = 32_764;

type Result<T> = std::result::Result<T, LoadError>;

/// A module's code.
#[derive(Debug, Default)]
pub(crate) struct Lowered {
    pub code: Vec<Inst>,
    /// The line of each instruction.
    pub lines: Vec<u32>,
    pub routines: Vec<Routine>,
    pub kernels: Vec<LoweredKernel>,
}

/// What a kernel has that a function has not.
#[derive(Debug)]
pub(crate) struct LoweredKernel {
    pub routine: usize,
    pub params: Vec<KernelParam>,
    pub param_bytes: u32,
    pub shared_bytes: u32,
    /// Where dynamic shared memory may begin: a multiple of this.
    pub dynamic_align: u32,
    pub max_threads: Option<u32>,
}

/// How the body of a function is known to its callers.
struct Callee<'a> {
    /// Its place in [`Lowered::routines`]; `None` where there is no body.
    routine: Option<usize>,
    layout: FrameLayout<'a>,
}

/// Lowers a whole module. `addresses` has where each global and constant variable lives.
pub(crate) fn lower<'a>(ast: &'a Ast<'a>, addresses: &HashMap<&'a str, u64>) -> Result<Lowered> {
    let mut out = Lowered::default();
    let mut callees: HashMap<&str, Callee<'_>> = HashMap::new();
    let with_bodies = || ast.functions.iter().filter(|f| f.body.is_some());
    for function in ast.functions.iter().filter(|f| !f.entry) {
        let layout = FrameLayout::of(function).map_err(|e| e.within(function.name))?;
        callees.entry(function.name).or_insert(Callee { routine: None, layout });
    }
    for (number, function) in with_bodies().filter(|f| !f.entry).enumerate() {
        if let Some(callee) = callees.get_mut(function.name)
            && callee.routine.replace(number).is_some()
        {
            return Err(LoadError::syntax(function.line, format!("`{}` is defined twice", function.name)));
        }
    }
    let symbols = module_symbols(ast, addresses);
    let mut functions_shared = SharedLayout::default();
    for function in with_bodies().filter(|f| !f.entry) {
        let mut shared = std::mem::take(&mut functions_shared);
        Lowering::run(&mut out, function, &symbols, &callees, &mut shared)?;
        functions_shared = shared;
    }
    for function in with_bodies().filter(|f| f.entry) {
        // Functions expect their shared variables where they were placed; a kernel without calls need not pay
        // for them.
        let calls = function.body.as_deref().is_some_and(has_call);
        let mut shared = if calls { functions_shared.clone() } else { SharedLayout::default() };
        let routine = Lowering::run(&mut out, function, &symbols, &callees, &mut shared)?;
        let (params, param_bytes) = layout::kernel_params(function)?;
        out.kernels.push(LoweredKernel {
            routine,
            params,
            param_bytes,
            shared_bytes: shared.bytes(),
            dynamic_align: shared.dynamic_align(),
            max_threads: function.max_threads,
        });
    }
    Ok(out)
}

fn module_symbols<'a>(ast: &'a Ast<'a>, addresses: &HashMap<&'a str, u64>) -> HashMap<&'a str, Symbol<'a>> {
    let mut symbols = HashMap::new();
    for variable in &ast.variables {
        match addresses.get(variable.name) {
            Some(&address) => symbols.insert(variable.name, Symbol::Address(address)),
            None => symbols.insert(variable.name, Symbol::Shared(variable)),
        };
    }
    symbols
}

fn has_call(body: &[Statement<'_>]) -> bool {
    body.iter().any(|statement| match statement {
        Statement::Block(inner) => has_call(inner),
        Statement::Instruction(instruction) => instruction.opcode == "call",
        _ => false,
    })
}

/// One function on its way.
struct Lowering<'l, 'a> {
    code: &'l mut Vec<Inst>,
    lines: &'l mut Vec<u32>,
    module: &'l HashMap<&'a str, Symbol<'a>>,
    callees: &'l HashMap<&'a str, Callee<'a>>,
    shared: &'l mut SharedLayout<'a>,
    entry: bool,
    scopes: Vec<Scope<'a>>,
    registers: u32,
    predicates: u32,
    frame: FrameLayout<'a>,
    /// Where each label of the function turned out to be.
    labels: Vec<Pc>,
    calls: Vec<usize>,
    /// Of the instruction that is being lowered.
    guard: PredSrc,
    line: u32,
}

impl<'l, 'a> Lowering<'l, 'a> {
    fn run(
        out: &mut Lowered,
        function: &'a Function<'a>,
        module: &HashMap<&'a str, Symbol<'a>>,
        callees: &HashMap<&'a str, Callee<'a>>,
        shared: &mut SharedLayout<'a>,
    ) -> Result<usize> {
        let first = out.code.len();
        let mut lowering = Lowering {
            code: &mut out.code,
            lines: &mut out.lines,
            module,
            callees,
            shared,
            entry: function.entry,
            scopes: Vec::new(),
            registers: 0,
            predicates: 0,
            frame: FrameLayout::default(),
            labels: Vec::new(),
            calls: Vec::new(),
            guard: PredSrc::Const(true),
            line: function.line,
        };
        lowering.function(function, first).map_err(|e| e.within(function.name))?;
        let routine = Routine {
            name: function.name.to_owned(),
            entry: first as Pc,
            registers: lowering.registers,
            predicates: lowering.predicates,
            frame_bytes: lowering.frame.bytes(),
            calls: std::mem::take(&mut lowering.calls),
        };
        out.routines.push(routine);
        Ok(out.routines.len() - 1)
    }

    fn function(&mut self, function: &'a Function<'a>, first: usize) -> Result<()> {
        let mut scope = Scope::default();
        if self.entry {
            for param in layout::kernel_params(function)?.0.iter().zip(&function.params) {
                scope.declare(param.1.name, Symbol::KernelParam(param.0.offset));
            }
        } else {
            self.frame = FrameLayout::of(function)?;
            self.frame.declare_in(&mut scope);
        }
        let body = function.body.as_deref().unwrap_or(&[]);
        self.block(body, scope)?;
        // Falling off the end is a return.
        self.guard = PredSrc::Const(true);
        self.emit(Op::Return)?;
        self.resolve_labels(first)
    }

    fn block(&mut self, body: &'a [Statement<'a>], mut scope: Scope<'a>) -> Result<()> {
        for statement in body {
            match statement {
                Statement::Label(name) => {
                    if scope.labels.insert(name, self.labels.len() as u32).is_some() {
                        return Err(LoadError::syntax(
                            self.line,
                            format!("the label `{name}` appears twice"),
                        ));
                    }
                    self.labels.push(Pc::MAX);
                }
                Statement::BranchTargets { line, name, targets } => {
                    scope.branch_targets.insert(name, (*line, targets));
                }
                _ => {}
            }
        }
        self.scopes.push(scope);
        let mark = self.frame.mark();
        for statement in body {
            match statement {
                Statement::Block(inner) => self.block(inner, Scope::default())?,
                Statement::Label(name) => {
                    let here = self.code.len() as Pc;
                    let label = self.innermost().labels.get(name).copied();
                    if let Some(place) = label.and_then(|label| self.labels.get_mut(label as usize)) {
                        *place = here;
                    }
                }
                Statement::Registers { line, ty, names } => {
                    for &(name, count) in names {
                        self.innermost().declare_registers(*line, name, *ty, count)?;
                    }
                }
                Statement::Variable(variable) => self.variable(variable)?,
                Statement::BranchTargets { .. } => {}
                Statement::Instruction(instruction) => self.instruction(instruction)?,
            }
        }
        self.frame.release(mark);
        self.scopes.pop();
        Ok(())
    }

    fn innermost(&mut self) -> &mut Scope<'a> {
        if self.scopes.is_empty() {
            self.scopes.push(Scope::default());
        }
        let last = self.scopes.len() - 1;
        &mut self.scopes[last]
    }

    fn instruction(&mut self, instruction: &'a Instruction<'a>) -> Result<()> {
        self.line = instruction.line;
        self.guard = match instruction.guard {
            None => PredSrc::Const(true),
            Some((name, negated)) => {
                let register = self.register(name)?;
                if register.ty != super::Type::Pred {
                    return Err(self.error(format!("the guard `{name}` is not a predicate")));
                }
                PredSrc::Reg { index: register.index, negated }
            }
        };
        let handler = handler(instruction.opcode).ok_or_else(|| {
            LoadError::unsupported(instruction.line, format!("the instruction `{}`", instruction.text))
        })?;
        handler(self, instruction)
    }

    /// Appends an instruction with the current guard and line.
    fn emit(&mut self, op: Op) -> Result<()> {
        if self.code.len() >= Pc::MAX as usize - 1 {
            return Err(self.error("the module has too many instructions"));
        }
        self.code.push(Inst { guard: self.guard, op });
        self.lines.push(self.line);
        Ok(())
    }

    fn error(&self, message: impl Into<String>) -> LoadError {
        LoadError::syntax(self.line, message)
    }

    /// While a function is lowered, branches hold the numbers of labels.
    fn resolve_labels(&mut self, first: usize) -> Result<()> {
        let labels = &self.labels;
        let place = |label: &mut Pc| *label = labels.get(*label as usize).copied().unwrap_or(Pc::MAX);
        for inst in self.code.iter_mut().skip(first) {
            match &mut inst.op {
                Op::Branch { target } => place(target),
                Op::BranchIndexed { targets, .. } => targets.iter_mut().for_each(place),
                _ => {}
            }
        }
        Ok(())
    }
}

/// Lowers one instruction.
type Handler = for<'l, 'a> fn(&mut Lowering<'l, 'a>, &'a Instruction<'a>) -> Result<()>;

/// Every opcode that the executor knows.
fn handler(opcode: &str) -> Option<Handler> {
    Some(match opcode {
        "add" | "sub" | "mul" | "mul24" | "div" | "rem" | "min" | "max" | "copysign" => arithmetic::binary,
        "addc" | "subc" | "madc" => arithmetic::carry,
        "mad" | "fma" | "mad24" | "sad" => arithmetic::ternary,
        "neg" | "abs" | "not" | "cnot" | "popc" | "clz" | "brev" => arithmetic::unary,
        "sqrt" | "rcp" | "rsqrt" | "sin" | "cos" | "lg2" | "ex2" | "tanh" => arithmetic::unary,
        "and" | "or" | "xor" => arithmetic::logic,
        "shl" | "shr" => arithmetic::shift,
        "shf" | "prmt" | "bfe" | "dp4a" | "dp2a" => arithmetic::three_words,
        "bfind" | "bmsk" | "fns" => arithmetic::bits,
        "lop3" => arithmetic::lop3,
        "bfi" => arithmetic::bfi,
        "setp" => arithmetic::setp,
        "set" => arithmetic::set,
        "selp" => arithmetic::selp,
        "slct" => arithmetic::slct,
        "testp" => arithmetic::testp,
        "mov" => convert::mov,
        "cvt" => convert::cvt,
        "cvta" => convert::cvta,
        "isspacep" => convert::isspacep,
        "ld" | "ldu" => memory::load,
        "st" => memory::store,
        "atom" | "red" => memory::atomic,
        "cp" => memory::copy_async,
        "prefetch" | "prefetchu" | "discard" | "applypriority" => memory::hint,
        "membar" | "fence" => memory::fence,
        "bra" => control::branch,
        "brx" => control::branch_indexed,
        "call" => control::call,
        "ret" | "exit" | "trap" | "brkpt" => control::end,
        "nanosleep" | "griddepcontrol" | "setmaxnreg" | "pmevent" => control::hint,
        "bar" | "barrier" => warp::barrier,
        "shfl" => warp::shuffle,
        "vote" => warp::vote,
        "match" => warp::match_lanes,
        "activemask" => warp::active_mask,
        "redux" => warp::reduce,
        "elect" => warp::elect,
        _ => return None,
    })
}
