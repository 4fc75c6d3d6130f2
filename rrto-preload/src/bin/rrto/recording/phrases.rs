//! Stretches of operators between two waits of a thread, and how repetitions of one differ.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};

use rrto_core::log::recording::Event;
use rrto_core::operator::{Geometry, Launch, Operator, Patch};

use super::name;

/// So many places at which launches differ are shown of a stretch.
const SHOWN_PLACES: usize = 8;

/// Cuts each lane's operators where its thread waits.
#[derive(Default)]
pub(super) struct Phrases {
    open: BTreeMap<u32, Vec<Operator>>,
    /// The latest stretch of each shape, and how often there was one.
    shapes: HashMap<u64, Shape>,
    exact: HashMap<u64, u64>,
    lengths: Vec<usize>,
}

struct Shape {
    index: usize,
    operators: Vec<Operator>,
}

impl Phrases {
    /// Takes an event; if it ends a stretch, gives a line about that.
    pub(super) fn take(&mut self, event: Event) -> Option<String> {
        match event {
            Event::Submit { record, .. } => {
                self.open.entry(record.lane).or_default().push(record.operator);
                None
            }
            Event::Wait { lane, .. } => {
                let operators = std::mem::take(self.open.get_mut(&lane)?);
                self.ended(lane, operators)
            }
            Event::Outcome { .. } => None,
        }
    }

    /// Lines about what came after each lane's last wait.
    pub(super) fn rest(&mut self) -> Vec<String> {
        let open = std::mem::take(&mut self.open);
        open.into_iter().filter_map(|(lane, operators)| self.ended(lane, operators)).collect()
    }

    /// How many there were.
    pub(super) fn summary(&self) -> String {
        let mut lengths = self.lengths.clone();
        lengths.sort_unstable();
        let (Some(shortest), Some(longest)) = (lengths.first(), lengths.last()) else {
            return "No stretches between waits.".into();
        };
        let median = lengths.get(lengths.len() / 2).unwrap_or(longest);
        format!(
            "{} stretches between waits, of {} shapes, {} of them exactly once; operators in one: {shortest} to {longest}, \
             median {median}",
            lengths.len(),
            self.shapes.len(),
            self.exact.values().filter(|times| **times == 1).count()
        )
    }

    fn ended(&mut self, lane: u32, operators: Vec<Operator>) -> Option<String> {
        let last = operators.last()?;
        let (shape, exact) = (hash_of_shape(&operators), hash(&operators));
        let index = self.lengths.len();
        self.lengths.push(operators.len());
        let times = self.exact.entry(exact).or_default();
        *times += 1;
        let mut line = format!(
            "#{index:<6} lane {lane}  {:>6} operators  exact {exact:016x}  shape {shape:016x}  to {}",
            operators.len(),
            name(last)
        );
        let changing = operators.iter().filter(|operator| !operator.repeats()).count();
        if changing > 0 {
            line += &format!("; {changing} that do not repeat");
        }
        if *times > 1 {
            line += &format!("; seen {} times before", *times - 1);
        } else if let Some(before) = self.shapes.get(&shape) {
            line +=
                &format!("; differs from #{} {}", before.index, difference(&before.operators, &operators));
        }
        self.shapes.insert(shape, Shape { index, operators });
        Some(line)
    }
}

/// In how many launches two stretches of one shape differ, and where.
fn difference(old: &[Operator], new: &[Operator]) -> String {
    let (mut launches, mut geometries) = (0, 0);
    let mut places: BTreeMap<(u16, usize), u64> = BTreeMap::new();
    let patches = old.iter().zip(new).filter(|(old, new)| old != new);
    for patch in patches.filter_map(|(old, new)| Patch::between(0, old, new)) {
        launches += 1;
        geometries += u64::from(patch.geometry.is_some());
        for edit in &patch.edits {
            *places.entry((edit.offset, edit.bytes.len())).or_default() += 1;
        }
    }
    let mut text = format!("in {launches} launches");
    if geometries > 0 {
        text += &format!("; geometry of {geometries}");
    }
    let shown = places.iter().take(SHOWN_PLACES);
    let shown: Vec<_> = shown
        .map(|((offset, bytes), times)| format!("{offset}..{} ({times})", usize::from(*offset) + bytes))
        .collect();
    if !shown.is_empty() {
        let more = if places.len() > shown.len() { ", ..." } else { "" };
        text += &format!("; parameter bytes {}{more}", shown.join(", "));
    }
    text
}

fn hash(operators: &[Operator]) -> u64 {
    let mut hasher = DefaultHasher::new();
    operators.hash(&mut hasher);
    hasher.finish()
}

/// Of everything but the geometry and the parameter bytes of launches; how many bytes there are counts.
fn hash_of_shape(operators: &[Operator]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for operator in operators {
        match operator {
            Operator::Launch(launch) => {
                launch.params.len().hash(&mut hasher);
                let shape =
                    Launch { geometry: Geometry::default(), params: Default::default(), ..launch.clone() };
                Operator::Launch(shape).hash(&mut hasher);
            }
            other => other.hash(&mut hasher),
        }
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use rrto_core::log::recording::Became;
    use rrto_core::operator::Handle;
    use rrto_core::wire::repeat::Record;

    use super::*;

    fn launch(function: u64, x: u32, params: &[u8]) -> Operator {
        Operator::Launch(Launch {
            function: Handle(function),
            geometry: Geometry { grid: [x, 1, 1], ..Geometry::default() },
            stream: Handle(0),
            cooperative: false,
            attributes: vec![],
            params: params.to_vec().into(),
        })
    }

    fn lines(stretches: &[Vec<Operator>]) -> Vec<String> {
        let mut phrases = Phrases::default();
        let mut lines = Vec::new();
        for stretch in stretches {
            for operator in stretch {
                let record = Record { lane: 3, wants_answer: false, operator: operator.clone() };
                assert_eq!(phrases.take(Event::Submit { record, became: Became::Queued(1) }), None);
            }
            lines.extend(phrases.take(Event::Wait { lane: 3, number: 1, blocks: true }));
        }
        lines
    }

    #[test]
    fn repetitions_and_differences_are_said() {
        let first = vec![launch(1, 1, &[0; 8]), launch(2, 1, &[0; 16])];
        let patched =
            vec![launch(1, 2, &[0; 8]), launch(2, 1, &[0, 0, 0, 0, 0, 0, 0, 0, 9, 9, 0, 0, 0, 0, 0, 0])];
        let other = vec![launch(1, 1, &[0; 8]), Operator::MemAlloc { bytes: 1 }];
        let lines = lines(&[first.clone(), first, patched, vec![], other]);
        assert_eq!(lines.len(), 4);
        assert!(lines[0].starts_with("#0      lane 3       2 operators") && lines[0].ends_with("to Launch"));
        assert!(lines[1].ends_with("seen 1 times before"), "{}", lines[1]);
        let expected = "differs from #1 in 2 launches; geometry of 1; parameter bytes 8..10 (1)";
        assert!(lines[2].ends_with(expected), "{}", lines[2]);
        assert!(lines[3].ends_with("to MemAlloc; 1 that do not repeat"), "{}", lines[3]);
    }

    #[test]
    fn what_follows_the_last_wait_is_a_stretch_too() {
        let mut phrases = Phrases::default();
        let record = Record { lane: 0, wants_answer: false, operator: launch(1, 1, &[]) };
        phrases.take(Event::Submit { record, became: Became::Queued(1) });
        assert_eq!(phrases.rest().len(), 1);
        assert_eq!(phrases.rest().len(), 0);
        assert!(phrases.summary().starts_with("1 stretches between waits, of 1 shapes"));
    }
}
