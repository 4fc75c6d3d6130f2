//! What a recorded program does in an inference, taken out of a recording of its calls (`RRTO_RECORD`).

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use bytes::Bytes;
use rrto_core::log::recording::{Event, Reader, RecordingError};
use rrto_core::operator::{Handle, Launch, Operator, Value};
use rrto_core::wire::Answer;

/// The most bytes that a recording may have, compressed or not: a hundred times one of a hundred inferences.
pub const MAX_RECORDING_BYTES: u64 = 64 << 20;

/// So many of the recording's inferences are played in turn, the latest ones. They differ in what was left in unset
/// parameter bytes, so that replay has to patch them as it had to patch the program's.
pub const PLAYED_INFERENCES: usize = 8;

/// Why a recording cannot be played.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// It cannot be read or unpacked.
    #[error("{file}: {reason}")]
    Read {
        /// The file.
        file: String,
        /// Why.
        reason: String,
    },
    /// It is not a recording, or a damaged one.
    #[error("{file}: {reason}")]
    Recording {
        /// The file.
        file: String,
        /// Why.
        reason: RecordingError,
    },
    /// No stretch of calls comes twice.
    #[error("{file}: nothing in it repeats from one wait to the next, so there is no inference to play")]
    NoInference {
        /// The file.
        file: String,
    },
    /// An inference does what the player cannot.
    #[error("{file}: its inferences contain {operator}, which the player does not know")]
    Unplayable {
        /// The file.
        file: String,
        /// The operator.
        operator: String,
    },
}

/// A place in the device's memory: an allocation's index, and how far into it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Index into [`Plan::allocations`].
    pub allocation: usize,
    /// Bytes from its beginning.
    pub offset: u64,
}

/// A call of the recorded program. Streams are indices, 0 the legacy default stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// Host to device.
    CopyIn {
        /// Where to.
        to: Place,
        /// How much.
        bytes: u64,
        /// Ordered where.
        stream: usize,
    },
    /// Device to host; the program waits for it.
    CopyOut {
        /// Where from.
        from: Place,
        /// How much.
        bytes: u64,
        /// Ordered where.
        stream: usize,
    },
    /// Fills bytes with zeros.
    Fill {
        /// Where to.
        to: Place,
        /// How much.
        bytes: u64,
        /// Ordered where.
        stream: usize,
    },
    /// A kernel.
    Launch {
        /// Index into [`Plan::kernels`].
        kernel: usize,
        /// Ordered where.
        stream: usize,
        /// The parameter block.
        params: Bytes,
        /// Where in it, in bytes, stand addresses, and which.
        addresses: Vec<(usize, Place)>,
    },
    /// Waits for a stream.
    Synchronize {
        /// Which.
        stream: usize,
    },
}

/// All that the player needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Bytes of each allocation that inferences use.
    pub allocations: Vec<u64>,
    /// Bytes of each kernel's parameter block.
    pub kernels: Vec<usize>,
    /// How many streams there are, the legacy default stream included.
    pub streams: usize,
    /// The inferences, to be played in turn.
    pub inferences: Vec<Vec<Call>>,
}

impl Plan {
    /// Takes the inferences out of a recording; one whose name ends in `.xz` is unpacked.
    ///
    /// An inference is what the program does from one wait for the server to the next. Which stretches of calls are
    /// inferences is what repeats: the shape (operators, lengths and kernels, not parameter bytes) that covers most calls.
    ///
    /// # Errors
    /// What is wrong with the recording.
    pub fn load(path: &Path) -> Result<Self, PlanError> {
        let file = path.display().to_string();
        let recording = read(path).map_err(|reason| PlanError::Read { file: file.clone(), reason })?;
        let events = Reader::new(recording).and_then(Iterator::collect);
        let events: Vec<Event> =
            events.map_err(|reason| PlanError::Recording { file: file.clone(), reason })?;
        let stretches = stretches(&events);
        let Some(repeated) = most_covering(&stretches) else { return Err(PlanError::NoInference { file }) };
        Layout::new(&events)
            .plan(&repeated)
            .map_err(|operator| PlanError::Unplayable { file, operator: format!("{operator:?}") })
    }

    /// Bytes that go to the device in one inference.
    pub fn input_bytes(&self) -> u64 {
        self.bytes(|call| if let Call::CopyIn { bytes, .. } = call { *bytes } else { 0 })
    }

    /// Bytes that come back from it.
    pub fn output_bytes(&self) -> u64 {
        self.bytes(|call| if let Call::CopyOut { bytes, .. } = call { *bytes } else { 0 })
    }

    fn bytes(&self, of: fn(&Call) -> u64) -> u64 {
        self.inferences.first().into_iter().flatten().map(of).sum()
    }

    /// The plan as the player reads it: one call a line. `player.c` says what each means.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, text: &mut String) -> std::fmt::Result {
        let (allocations, kernels) = (self.allocations.len(), self.kernels.len());
        writeln!(text, "plan {allocations} {kernels} {} {}", self.streams, self.inferences.len())?;
        self.allocations.iter().try_for_each(|bytes| writeln!(text, "alloc {bytes}"))?;
        for inference in &self.inferences {
            writeln!(text, "inference {}", inference.len())?;
            for call in inference {
                match call {
                    Call::CopyIn { to, bytes, stream } => {
                        writeln!(text, "in {stream} {} {} {bytes}", to.allocation, to.offset)?;
                    }
                    Call::CopyOut { from, bytes, stream } => {
                        writeln!(text, "out {stream} {} {} {bytes}", from.allocation, from.offset)?;
                    }
                    Call::Fill { to, bytes, stream } => {
                        writeln!(text, "fill {stream} {} {} {bytes}", to.allocation, to.offset)?;
                    }
                    Call::Synchronize { stream } => writeln!(text, "sync {stream} 0 0 0")?,
                    Call::Launch { kernel, stream, params, addresses } => {
                        writeln!(text, "run {stream} {kernel} {} {}", addresses.len(), params.len())?;
                        params.iter().try_for_each(|byte| write!(text, "{byte:02x}"))?;
                        writeln!(text)?;
                        for (at, place) in addresses {
                            writeln!(text, "{at} {} {}", place.allocation, place.offset)?;
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

fn read(path: &Path) -> Result<Bytes, String> {
    let say = |error: std::io::Error| error.to_string();
    let file = BufReader::new(File::open(path).map_err(say)?);
    let mut bytes = Vec::new();
    if path.extension().is_some_and(|extension| extension == "xz") {
        let mut unpacked = Bounded { bytes: &mut bytes };
        lzma_rs::xz_decompress(&mut file.take(MAX_RECORDING_BYTES), &mut unpacked)
            .map_err(|error| format!("cannot unpack it: {error:?}"))?;
    } else {
        file.take(MAX_RECORDING_BYTES).read_to_end(&mut bytes).map_err(say)?;
    }
    Ok(bytes.into())
}

/// Takes no more than [`MAX_RECORDING_BYTES`], whatever a compressed file unpacks to.
struct Bounded<'a> {
    bytes: &'a mut Vec<u8>,
}

impl std::io::Write for Bounded<'_> {
    fn write(&mut self, more: &[u8]) -> std::io::Result<usize> {
        if (self.bytes.len() + more.len()) as u64 > MAX_RECORDING_BYTES {
            return Err(std::io::Error::other("it is too large to be a recording"));
        }
        self.bytes.extend_from_slice(more);
        Ok(more.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What each thread did between two waits, in the order of the waits.
fn stretches(events: &[Event]) -> Vec<Vec<&Operator>> {
    let mut open: BTreeMap<u32, Vec<&Operator>> = BTreeMap::new();
    let mut done = Vec::new();
    for event in events {
        match event {
            Event::Submit { record, .. } => open.entry(record.lane).or_default().push(&record.operator),
            Event::Wait { lane, .. } => done.extend(open.remove(lane)),
            Event::Outcome { .. } => {}
        }
    }
    done
}

/// The stretches of that shape which covers most operators, if it comes more than once; in order.
fn most_covering<'a>(stretches: &[Vec<&'a Operator>]) -> Option<Vec<Vec<&'a Operator>>> {
    let mut shapes: HashMap<Vec<Operator>, Vec<Vec<&'a Operator>>> = HashMap::new();
    for stretch in stretches {
        let shape = stretch.iter().map(|operator| shape(operator)).collect();
        shapes.entry(shape).or_default().push(stretch.clone());
    }
    let repeated = shapes.into_values().filter(|same| same.len() > 1);
    repeated.max_by_key(|same| same.iter().map(Vec::len).sum::<usize>())
}

/// An operator without what may differ from one inference to the next.
fn shape(operator: &Operator) -> Operator {
    match operator {
        Operator::Launch(launch) => {
            let params = Bytes::from(vec![0; launch.params.len()]);
            Operator::Launch(Launch { params, ..launch.clone() })
        }
        other => other.clone(),
    }
}

/// Where the recorded program's objects were.
struct Layout {
    /// Addresses and lengths of allocations; the latest at an address, since programs keep what inferences use.
    allocations: BTreeMap<u64, u64>,
    indices: BTreeMap<u64, usize>,
    kernels: HashMap<(Handle, usize), usize>,
    streams: HashMap<Handle, usize>,
    plan: Plan,
}

impl Layout {
    fn new(events: &[Event]) -> Self {
        let mut asked = HashMap::new();
        let mut allocations = BTreeMap::new();
        for event in events {
            match event {
                Event::Submit { record, became } => {
                    use rrto_core::log::recording::Became;
                    if let (Operator::MemAlloc { bytes }, Became::Awaits(number)) = (&record.operator, became)
                    {
                        asked.insert(*number, *bytes);
                    }
                }
                Event::Outcome { number, outcome: Ok(Answer::Value(Value::Address(address))) } => {
                    allocations.extend(asked.remove(number).map(|bytes| (*address, bytes)));
                }
                Event::Outcome { .. } | Event::Wait { .. } => {}
            }
        }
        Self {
            allocations,
            indices: BTreeMap::new(),
            kernels: HashMap::new(),
            streams: HashMap::from([(Handle::LEGACY_STREAM, 0)]),
            plan: Plan { allocations: Vec::new(), kernels: Vec::new(), streams: 1, inferences: Vec::new() },
        }
    }

    /// An error is the operator that cannot be played.
    fn plan<'a>(mut self, inferences: &[Vec<&'a Operator>]) -> Result<Plan, &'a Operator> {
        let latest = inferences.len().saturating_sub(PLAYED_INFERENCES);
        for operators in inferences.iter().skip(latest) {
            let calls = operators.iter().map(|operator| self.call(operator).ok_or(*operator));
            let mut calls = calls.collect::<Result<Vec<_>, _>>()?;
            // After an output the program synchronises, which it need not wait for: that belongs to the inference before.
            let before = calls.iter().take_while(|call| matches!(call, Call::Synchronize { .. })).count();
            calls.rotate_left(before);
            self.plan.inferences.push(calls);
        }
        self.plan.streams = self.streams.len();
        Ok(self.plan)
    }

    fn call(&mut self, operator: &Operator) -> Option<Call> {
        Some(match operator {
            Operator::CopyIn { dst, bytes, stream } => {
                Call::CopyIn { to: self.place(*dst)?, bytes: *bytes, stream: self.stream(*stream) }
            }
            Operator::CopyOut { src, bytes, stream } => {
                Call::CopyOut { from: self.place(*src)?, bytes: *bytes, stream: self.stream(*stream) }
            }
            Operator::Memset { address, value: 0, element_bytes, width, height: 1, stream, .. } => {
                let bytes = u64::from(*element_bytes).checked_mul(*width)?;
                Call::Fill { to: self.place(*address)?, bytes, stream: self.stream(*stream) }
            }
            Operator::StreamSynchronize { stream } => Call::Synchronize { stream: self.stream(*stream) },
            Operator::Launch(launch) => {
                let words = launch.params.chunks_exact(size_of::<u64>()).enumerate();
                let words = words.filter_map(|(index, word)| {
                    Some((index * size_of::<u64>(), u64::from_le_bytes(word.try_into().ok()?)))
                });
                let words: Vec<_> = words.collect();
                let addresses = words.iter().filter_map(|&(at, word)| Some((at, self.place(word)?)));
                Call::Launch {
                    addresses: addresses.collect(),
                    kernel: self.kernel(launch),
                    stream: self.stream(launch.stream),
                    params: launch.params.clone(),
                }
            }
            _ => return None,
        })
    }

    /// The place of an address, if it is inside of an allocation.
    fn place(&mut self, address: u64) -> Option<Place> {
        let (&start, &bytes) = self.allocations.range(..=address).next_back()?;
        let offset = address - start;
        if offset >= bytes {
            return None;
        }
        let next = self.plan.allocations.len();
        let allocation = *self.indices.entry(start).or_insert(next);
        if allocation == next {
            self.plan.allocations.push(bytes);
        }
        Some(Place { allocation, offset })
    }

    fn kernel(&mut self, launch: &Launch) -> usize {
        let next = self.plan.kernels.len();
        let kernel = *self.kernels.entry((launch.function, launch.params.len())).or_insert(next);
        if kernel == next {
            self.plan.kernels.push(launch.params.len());
        }
        kernel
    }

    fn stream(&mut self, stream: Handle) -> usize {
        let next = self.streams.len();
        *self.streams.entry(stream).or_insert(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resnet50() -> Plan {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../rrto-core/tests/golden/resnet50.calls.xz");
        Plan::load(&path).unwrap()
    }

    #[test]
    fn the_recorded_resnet50_is_218_launches_between_an_input_and_an_output() {
        let plan = resnet50();
        assert_eq!((plan.input_bytes(), plan.output_bytes()), (602_112, 4_000));
        assert_eq!((plan.inferences.len(), plan.streams, plan.kernels.len()), (PLAYED_INFERENCES, 1, 20));
        for calls in &plan.inferences {
            let launches = calls.iter().filter(|call| matches!(call, Call::Launch { .. })).count();
            assert_eq!(launches, 218);
            assert!(matches!(calls.first(), Some(Call::CopyIn { .. })), "{:?}", calls.first());
            assert!(matches!(calls.last(), Some(Call::Synchronize { .. })), "{:?}", calls.last());
        }
    }

    #[test]
    fn every_address_lies_in_its_allocation() {
        let plan = resnet50();
        let inside = |place: &Place, bytes: u64| place.offset + bytes <= plan.allocations[place.allocation];
        for call in plan.inferences.iter().flatten() {
            let good = match call {
                Call::CopyIn { to, bytes, .. } | Call::Fill { to, bytes, .. } => inside(to, *bytes),
                Call::CopyOut { from, bytes, .. } => inside(from, *bytes),
                Call::Launch { addresses, .. } => addresses.iter().all(|(_, place)| inside(place, 1)),
                Call::Synchronize { .. } => true,
            };
            assert!(good, "{call:?}");
        }
    }

    #[test]
    fn what_is_no_recording_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            Plan::load(&path).unwrap_err().to_string()
        };
        assert!(error("a.calls", b"what?").contains("a.calls: it is not a recording"));
        assert!(error("b.calls.xz", b"what?").contains("b.calls.xz: cannot unpack it"));
        let empty = rrto_core::log::recording::Writer::new();
        assert!(error("c.calls", empty.bytes()).contains("nothing in it repeats"));
        assert!(Plan::load(&folder.path().join("none")).is_err());
    }
}
