//! Random programs, made of pieces in which what goes wrong easily is frequent.

use super::*;

fn predicate() -> impl Strategy<Value = P> {
    prop_oneof![2 => Just(ALWAYS), 3 => (0..3_u32, any::<bool>())]
}

/// Numbers that words are often compared with.
fn number() -> impl Strategy<Value = u32> {
    prop_oneof![6 => 0..3_u32, 1 => Just(u32::MAX), 1 => Just(1 << 31)]
}

/// Words that often decide are often the same.
fn word() -> impl Strategy<Value = u32> {
    prop_oneof![2 => Just(0_u32), 2 => Just(4), 2 => (0..12_u32).prop_map(|word| 4 * word)]
}

/// A comparison into P0 or P1, or beside P2.
fn comparison(register: impl Strategy<Value = u32>) -> impl Strategy<Value = Op> {
    ((0..2_u32, 0..9_u32, register, number()), (0..8_u32, any::<bool>(), any::<bool>(), predicate()))
        .prop_map(|((to, other, register, number), (holds, signed, or, with))| {
            let other = if other < 3 && other != to { other } else { 7 };
            Op::Compare { to, other, register, number, holds, signed, or, with }
        })
}

/// Where a jump leads: to so many instructions from its own, and from the end on at the start again.
fn away() -> impl Strategy<Value = usize> {
    prop_oneof![3 => 2..5_usize, 1 => 0..64_usize]
}

/// Something that writes one of the registers that are compared.
fn write() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => (0..3_u32, word()).prop_map(|(to, at)| Op::Load { to, at, bytes: 4 }),
        1 => (0..3_u32, 0..40_u32, prop_oneof![1 => Just(1_u32), 1 => Just(2), 3 => Just(8)])
            .prop_map(|(to, at, bytes)| Op::Load { to, at: at / bytes * bytes, bytes }),
        1 => (0..3_u32).prop_map(|to| Op::Anything { to }),
        1 => (0..3_u32, 0..3_u32).prop_map(|(to, from)| Op::Move { to, from }),
        2 => (0..3_u32, number()).prop_map(|(to, number)| Op::Number { to, number }),
    ]
}

/// Reads a word into a register that nothing depends on.
fn use_of() -> impl Strategy<Value = Op> {
    word().prop_map(|at| Op::Load { to: 4, at, bytes: 4 })
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => write(),
        4 => use_of(),
        6 => comparison(0..3_u32),
        1 => (0..3_u32, 0..3_u32, word(), 0..8_u32)
            .prop_map(|(to, register, at, holds)| Op::CompareConstant { to, register, at, holds }),
        1 => (0..3_u32, 1..4_u32, 0..256_u32, [predicate(), predicate(), predicate()]).prop_map(
            |(to, other, table, of)| Op::Table { to, other: if other < 3 { (to + other) % 3 } else { 7 }, table, of },
        ),
        3 => (away(), predicate()).prop_map(|(target, and)| Op::Branch { target, and }),
        1 => Just(Op::Exit),
        1 => (0..2_u32, away()).prop_map(|(barrier, target)| Op::Meet { barrier, target }),
        1 => (0..2_u32).prop_map(|barrier| Op::Sync { barrier }),
    ]
}

/// Some instructions that belong together.
fn piece() -> impl Strategy<Value = Vec<(Op, P)>> {
    let decided = || (0..2_u32, any::<bool>());
    prop_oneof![
        6 => (op(), predicate()).prop_map(|one| vec![one]),
        // A predicate that nobody knows, and what one side writes.
        2 => (write(), comparison(Just(3_u32)), decided(), write(), write())
            .prop_map(|(first, compare, when, one, other)| vec![
                (first, ALWAYS),
                (Op::Anything { to: 3 }, ALWAYS),
                (compare, ALWAYS),
                (one, when),
                (Op::Branch { target: 2, and: ALWAYS }, when),
                (other, ALWAYS),
            ]),
        // What depends on a word.
        2 => (write(), comparison(0..3_u32), decided(), use_of())
            .prop_map(|(write, compare, when, then)| vec![(write, ALWAYS), (compare, ALWAYS), (then, when)]),
        // A number and a word, the other way round.
        1 => (number(), word(), 0..8_u32, any::<bool>(), use_of()).prop_map(|(number, at, holds, negated, then)| vec![
            (Op::Number { to: 2, number }, ALWAYS),
            (Op::CompareConstant { to: 1, register: 2, at, holds }, ALWAYS),
            (then, (1, negated)),
        ]),
        // A loop: of what another round writes, or of what it decides.
        1 => (write(), comparison(0..3_u32), decided(), use_of(), comparison(Just(3_u32)), write(), decided())
            .prop_map(|(write, compare, when, then, unknown, again, last)| vec![
                (write, ALWAYS),
                (compare, ALWAYS),
                (then, when),
                (Op::Anything { to: 3 }, ALWAYS),
                (unknown, ALWAYS),
                (again, ALWAYS),
                (Op::Branch { target: BACK - 5, and: ALWAYS }, last),
            ]),
        1 => (write(), comparison(0..3_u32), decided(), use_of(), comparison(Just(3_u32)), decided())
            .prop_map(|(write, compare, when, then, unknown, last)| vec![
                (write, ALWAYS),
                (compare, ALWAYS),
                (then, when),
                (Op::Anything { to: 3 }, ALWAYS),
                (unknown, ALWAYS),
                (Op::Branch { target: BACK - 3, and: ALWAYS }, last),
            ]),
        // Loops of which the third round is the first to do something.
        1 => (write(), number(), 0..8_u32, use_of()).prop_map(|(write, number, holds, then)| {
            let decide = |register| Op::Compare { to: 0, other: 7, register, number, holds, signed: false, or: false, with: ALWAYS };
            always([
                Op::Load { to: 1, at: 4, bytes: 4 },
                Op::Load { to: 0, at: 0, bytes: 4 },
                decide(0),
            ]).into_iter().chain([(then, (0, false))]).chain(always([
                Op::Move { to: 0, from: 1 },
                write,
                Op::Anything { to: 3 },
                decide(3),
            ])).chain([(Op::Branch { target: BACK - 6, and: ALWAYS }, (0, true))]).collect()
        }),
        1 => (comparison(0..3_u32), comparison(0..3_u32), any::<bool>(), use_of()).prop_map(|(one, other, negated, then)| vec![
            (one, ALWAYS),
            (other, ALWAYS),
            (then, (0, negated)),
            // The same as P1.
            (Op::Table { to: 0, other: 7, table: 0xf0, of: [(1, false), ALWAYS, ALWAYS] }, ALWAYS),
            (Op::Anything { to: 3 }, ALWAYS),
            (Op::Compare { to: 1, other: 7, register: 3, number: 1, holds: EQUAL, signed: false, or: false, with: ALWAYS }, ALWAYS),
            (Op::Branch { target: BACK - 4, and: ALWAYS }, (1, false)),
        ]),
        // Threads that meet behind what is not executed otherwise.
        1 => (0..2_u32, decided(), write(), use_of()).prop_map(|(barrier, when, write, then)| vec![
            (Op::Meet { barrier, target: 4 }, ALWAYS),
            (write, when),
            (Op::Sync { barrier }, ALWAYS),
            (Op::Exit, ALWAYS),
            (then, ALWAYS),
        ]),
        // A way back.
        1 => (decided(), 1..12_usize).prop_map(|(when, back)| vec![(Op::Branch { target: BACK - back, and: ALWAYS }, when)]),
    ]
}

/// What is added to how far a jump leads back.
const BACK: usize = 1 << 16;

/// A program for the small machine.
pub(super) fn program() -> impl Strategy<Value = Vec<(Op, P)>> {
    vec(piece(), 3..16).prop_map(|pieces| {
        // Where no barrier has said yet where its threads meet, this machine's meet at the start.
        let meet = [0, 1].map(|barrier| (Op::Meet { barrier, target: 0 }, ALWAYS));
        let mut program = [meet.to_vec(), pieces.concat(), vec![(Op::Exit, ALWAYS)]].concat();
        let length = program.len();
        for (at, (op, _)) in program.iter_mut().enumerate().skip(meet.len()) {
            if let Op::Branch { target, .. } | Op::Meet { target, .. } = op {
                *target = if *target > BACK / 2 {
                    (at + *target).saturating_sub(BACK)
                } else {
                    (at + *target) % length
                };
            }
        }
        program
    })
}
