//! Which function an arithmetic instruction on floats is, by opcode and type.

use super::half::{self, Bf16, F16, both1, both2, both3};
use super::{Fn1, Fn2, Fn3, Mode, float, fn1, fn2, fn2_plain, fn3, fn3_plain};
use crate::device::cpu::ptx::Type;

/// The four half-precision types, from one generic function.
macro_rules! halves {
    ($ty:expr, $make:ident, $both:ident, $name:ident, |$($x:ident),*|) => {
        match $ty {
            Type::F16 => Some($make!(|m: Mode, $($x: u64),*| half::$name::<F16>(m, $($x),*))),
            Type::Bf16 => Some($make!(|m: Mode, $($x: u64),*| half::$name::<Bf16>(m, $($x),*))),
            Type::F16x2 => {
                Some($make!(|m: Mode, $($x: u64),*| $both($($x,)* |$($x),*| half::$name::<F16>(m, $($x),*))))
            }
            Type::Bf16x2 => {
                Some($make!(|m: Mode, $($x: u64),*| $both($($x,)* |$($x),*| half::$name::<Bf16>(m, $($x),*))))
            }
            _ => None,
        }
    };
}

/// Float instructions of one source. Approximate ones are spelt with `.approx`.
pub(crate) fn unary(opcode: &str, ty: Type) -> Option<Fn1> {
    Some(match (opcode, ty) {
        ("neg", Type::F32) => fn1!(float::neg32),
        ("neg", Type::F64) => fn1!(float::neg64),
        ("abs", Type::F32) => fn1!(float::abs32),
        ("abs", Type::F64) => fn1!(float::abs64),
        ("sqrt", Type::F32) => fn1!(float::sqrt32),
        ("sqrt", Type::F64) => fn1!(float::sqrt64),
        ("rcp", Type::F32) => fn1!(float::rcp32),
        ("rcp", Type::F64) => fn1!(float::rcp64),
        ("sqrt.approx", Type::F32) => fn1!(float::sqrt32_approx),
        ("rcp.approx", Type::F32) => fn1!(float::rcp32_approx),
        ("rcp.approx.ftz", Type::F64) => fn1!(float::rcp64_approx),
        ("rsqrt.approx", Type::F32) => fn1!(float::rsqrt32),
        ("rsqrt.approx", Type::F64) => fn1!(float::rsqrt64),
        ("rsqrt.approx.ftz", Type::F64) => fn1!(float::rsqrt64_approx),
        ("sin.approx", Type::F32) => fn1!(float::sin32),
        ("cos.approx", Type::F32) => fn1!(float::cos32),
        ("lg2.approx", Type::F32) => fn1!(float::lg2_32),
        ("ex2.approx", Type::F32) => fn1!(float::ex2_32),
        ("tanh.approx", Type::F32) => fn1!(float::tanh32),
        ("neg", _) => return halves!(ty, fn1, both1, neg, |a|),
        ("abs", _) => return halves!(ty, fn1, both1, abs, |a|),
        ("ex2.approx", _) => return halves!(ty, fn1, both1, ex2, |a|),
        ("tanh.approx", _) => return halves!(ty, fn1, both1, tanh, |a|),
        _ => return None,
    })
}

/// Float instructions of two sources.
pub(crate) fn binary(opcode: &str, ty: Type) -> Option<Fn2> {
    Some(match (opcode, ty) {
        ("add", Type::F32) => fn2_plain!(float::add32),
        ("sub", Type::F32) => fn2_plain!(float::sub32),
        ("mul", Type::F32) => fn2_plain!(float::mul32),
        ("div", Type::F32) => fn2!(float::div32),
        ("min", Type::F32) => fn2!(float::min32),
        ("max", Type::F32) => fn2!(float::max32),
        ("min.NaN", Type::F32) => fn2!(float::min32_nan),
        ("max.NaN", Type::F32) => fn2!(float::max32_nan),
        ("copysign", Type::F32) => fn2!(float::copysign32),
        ("add", Type::F64) => fn2_plain!(float::add64),
        ("sub", Type::F64) => fn2_plain!(float::sub64),
        ("mul", Type::F64) => fn2_plain!(float::mul64),
        ("div", Type::F64) => fn2!(float::div64),
        ("min", Type::F64) => fn2!(float::min64),
        ("max", Type::F64) => fn2!(float::max64),
        ("copysign", Type::F64) => fn2!(float::copysign64),
        ("add", _) => return halves!(ty, fn2, both2, add, |a, b|),
        ("sub", _) => return halves!(ty, fn2, both2, sub, |a, b|),
        ("mul", _) => return halves!(ty, fn2, both2, mul, |a, b|),
        ("min", _) => return halves!(ty, fn2, both2, min, |a, b|),
        ("max", _) => return halves!(ty, fn2, both2, max, |a, b|),
        ("min.NaN", _) => return halves!(ty, fn2, both2, min_nan, |a, b|),
        ("max.NaN", _) => return halves!(ty, fn2, both2, max_nan, |a, b|),
        _ => return None,
    })
}

/// Float instructions of three sources.
pub(crate) fn ternary(opcode: &str, ty: Type) -> Option<Fn3> {
    Some(match (opcode, ty) {
        ("fma" | "mad", Type::F32) => fn3_plain!(float::fma32),
        ("fma" | "mad", Type::F64) => fn3!(float::fma64),
        ("fma", _) => return halves!(ty, fn3, both3, fma, |a, b, c|),
        ("fma.relu", _) => return halves!(ty, fn3, both3, fma_relu, |a, b, c|),
        _ => return None,
    })
}
