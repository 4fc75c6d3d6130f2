//! What an atomic instruction makes of the old value and its operands.

use super::half::{self, Bf16, F16, both2};
use super::{Mode, float};
use crate::device::cpu::ptx::Type;

/// The new value, from the old one and the instruction's one or two operands.
pub(crate) type FnAtomic = fn(old: u64, b: u64, c: u64) -> u64;

/// The atomic operation that PTX calls `op` on the type.
pub(crate) fn atomic(op: &str, ty: Type) -> Option<FnAtomic> {
    const RN: Mode = Mode { rounding: super::Rounding::Nearest, ftz: false, sat: false };
    // On NVIDIA's hardware atomic f32 addition flushes no subnormals in global memory, so neither does this.
    Some(match (op, ty) {
        (
            "exch",
            Type::B32 | Type::B64 | Type::U32 | Type::S32 | Type::F32 | Type::U64 | Type::S64 | Type::F64,
        ) => |_, b, _| b,
        ("cas", Type::B16 | Type::B32 | Type::B64 | Type::U32 | Type::S32 | Type::U64 | Type::S64) => {
            |old, b, c| if old == b { c } else { old }
        }
        ("and", Type::B32 | Type::B64 | Type::U32 | Type::S32 | Type::U64 | Type::S64) => |old, b, _| old & b,
        ("or", Type::B32 | Type::B64 | Type::U32 | Type::S32 | Type::U64 | Type::S64) => |old, b, _| old | b,
        ("xor", Type::B32 | Type::B64 | Type::U32 | Type::S32 | Type::U64 | Type::S64) => |old, b, _| old ^ b,
        ("add", Type::U32 | Type::S32) => |old, b, _| old.wrapping_add(b) & 0xffff_ffff,
        ("add", Type::U64 | Type::S64) => |old, b, _| old.wrapping_add(b),
        ("add", Type::F32) => |old, b, _| float::add32(RN, old, b),
        ("add", Type::F64) => |old, b, _| float::add64(RN, old, b),
        ("add", Type::F16) => |old, b, _| half::add::<F16>(RN, old, b),
        ("add", Type::Bf16) => |old, b, _| half::add::<Bf16>(RN, old, b),
        ("add", Type::F16x2) => |old, b, _| both2(old, b, |x, y| half::add::<F16>(RN, x, y)),
        ("add", Type::Bf16x2) => |old, b, _| both2(old, b, |x, y| half::add::<Bf16>(RN, x, y)),
        ("min", Type::U32 | Type::U64) => |old, b, _| old.min(b),
        ("max", Type::U32 | Type::U64) => |old, b, _| old.max(b),
        ("min", Type::S32) => |old, b, _| if (b as i32) < (old as i32) { b } else { old },
        ("max", Type::S32) => |old, b, _| if (b as i32) > (old as i32) { b } else { old },
        ("min", Type::S64) => |old, b, _| if (b as i64) < (old as i64) { b } else { old },
        ("max", Type::S64) => |old, b, _| if (b as i64) > (old as i64) { b } else { old },
        ("min", Type::F16) => |old, b, _| half::min::<F16>(RN, old, b),
        ("max", Type::F16) => |old, b, _| half::max::<F16>(RN, old, b),
        ("min", Type::F16x2) => |old, b, _| both2(old, b, |x, y| half::min::<F16>(RN, x, y)),
        ("max", Type::F16x2) => |old, b, _| both2(old, b, |x, y| half::max::<F16>(RN, x, y)),
        ("min", Type::Bf16x2) => |old, b, _| both2(old, b, |x, y| half::min::<Bf16>(RN, x, y)),
        ("max", Type::Bf16x2) => |old, b, _| both2(old, b, |x, y| half::max::<Bf16>(RN, x, y)),
        ("inc", Type::U32) => |old, b, _| if old >= b { 0 } else { old + 1 },
        ("dec", Type::U32) => |old, b, _| if old == 0 || old > b { b } else { old - 1 },
        _ => return None,
    })
}
