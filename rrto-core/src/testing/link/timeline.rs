//! What a direction's parameters are at any time: piecewise constant, perhaps repeating.

use std::time::Duration;

use super::HEADER_BYTES;

/// A time that never comes.
pub(super) const NEVER: u64 = u64::MAX;

/// The most pieces of one timeline. Ramps become staircases, and this bounds their memory (some 10 MB).
pub const MAX_PIECES: usize = 100_000;

/// A duration in nanoseconds; what does not fit (584 years) is [`NEVER`].
pub(super) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(NEVER)
}

/// What an outage does to datagrams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outage {
    /// There is none.
    #[default]
    None,
    /// The transmitter goes on and everything it sends is lost.
    Lose,
    /// The transmitter stands still; what the queue holds is sent afterwards.
    Hold,
}

/// Something that comes and goes at random times: gaps between two are exponentially distributed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Burst {
    /// The mean time from the end of one to the beginning of the next; at least a microsecond.
    pub every: Duration,
    /// How long one lasts in the mean (fades, exponentially distributed) or exactly (stalls); at least a microsecond.
    pub lasts: Duration,
    /// Whether each lasts exactly `lasts`.
    pub exact: bool,
}

/// Burst loss: a Gilbert-Elliott channel in time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fade {
    /// When it fades.
    pub burst: Burst,
    /// The probability, 0 to 1, of losing a datagram while it lasts.
    pub loss: f64,
}

/// A direction's parameters.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Params {
    /// The time from leaving the transmitter to arriving, without jitter.
    pub delay: Duration,
    /// The mean of the jitter that is added to `delay`.
    pub jitter: Duration,
    /// Whether jitter may let datagrams overtake each other.
    pub reorder: bool,
    /// The transmitter's rate in bits a second, headers included; 0 is unlimited.
    pub rate_bps: u64,
    /// How many bytes may wait for the transmitter, headers included.
    pub queue_bytes: u64,
    /// The largest IP packet (payload and [`HEADER_BYTES`]), in bytes.
    pub mtu_bytes: u64,
    /// The probability, 0 to 1, of losing a datagram outside fades; inside, the larger of the two counts.
    pub loss: f64,
    /// Burst loss.
    pub fade: Option<Fade>,
    /// Times at which the transmitter stands still, as during a scan for access points.
    pub stall: Option<Burst>,
    /// An outage.
    pub outage: Outage,
}

impl Default for Params {
    /// A link that changes nothing but drops what is larger than Ethernet carries.
    fn default() -> Self {
        Self {
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            reorder: false,
            rate_bps: 0,
            queue_bytes: 256 * 1024,
            mtu_bytes: 1500,
            loss: 0.0,
            fade: None,
            stall: None,
            outage: Outage::None,
        }
    }
}

/// Parameters and the time from which they hold.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Piece {
    /// Since the timeline's beginning.
    pub from: Duration,
    /// What holds from then on.
    pub params: Params,
}

/// Why pieces do not make a timeline.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum TimelineError {
    /// No piece begins at time 0.
    #[error("the first piece must begin at 0")]
    NoBeginning,
    /// The pieces are not in order of time.
    #[error("the pieces' times must increase (they do not at {0:?})")]
    NotInOrder(Duration),
    /// There are too many pieces.
    #[error("{0} pieces are more than {MAX_PIECES}: make ramps shorter")]
    TooManyPieces(usize),
    /// The timeline repeats before its last piece begins.
    #[error("it must repeat after its last piece begins (at {0:?})")]
    RepeatsTooEarly(Duration),
    /// The timeline repeats and nothing can ever pass.
    #[error("it repeats an outage without end")]
    NothingPasses,
    /// A parameter is outside its range.
    #[error("at {at:?}: {what}")]
    OutOfRange {
        /// Where the piece begins.
        at: Duration,
        /// Which parameter, and what it must be.
        what: &'static str,
    },
}

/// What a direction's parameters are at any time.
#[derive(Debug, Clone)]
pub struct Timeline {
    /// In order of time, the first at 0; in nanoseconds.
    pieces: Vec<(u64, Params)>,
    period: Option<u64>,
    shared_air: bool,
}

/// The parameters at some time, and until when they hold.
pub(super) struct Span {
    pub(super) params: Params,
    /// Exclusive; [`NEVER`] if they hold for ever.
    pub(super) end: u64,
}

impl Timeline {
    /// A timeline that never changes.
    pub fn constant(params: Params) -> Result<Self, TimelineError> {
        Self::new(&[Piece { from: Duration::ZERO, params }], None, true)
    }

    /// A timeline of `pieces`, in order of time, that begins again after every `repeat_every`.
    ///
    /// `shared_air` says whether both directions of a link fade and stall together.
    pub fn new(
        pieces: &[Piece],
        repeat_every: Option<Duration>,
        shared_air: bool,
    ) -> Result<Self, TimelineError> {
        let last = pieces.last().ok_or(TimelineError::NoBeginning)?;
        if pieces.first().is_none_or(|first| first.from != Duration::ZERO) {
            return Err(TimelineError::NoBeginning);
        }
        if pieces.len() > MAX_PIECES {
            return Err(TimelineError::TooManyPieces(pieces.len()));
        }
        for (before, after) in pieces.iter().zip(pieces.iter().skip(1)) {
            if after.from <= before.from {
                return Err(TimelineError::NotInOrder(after.from));
            }
        }
        if let Some(every) = repeat_every {
            if every <= last.from {
                return Err(TimelineError::RepeatsTooEarly(last.from));
            }
            if pieces.iter().all(|piece| piece.params.outage == Outage::Hold) {
                return Err(TimelineError::NothingPasses);
            }
        }
        for piece in pieces {
            check(&piece.params).map_err(|what| TimelineError::OutOfRange { at: piece.from, what })?;
        }
        Ok(Self {
            pieces: pieces.iter().map(|piece| (nanos(piece.from), piece.params)).collect(),
            period: repeat_every.map(nanos),
            shared_air,
        })
    }

    /// Whether both directions of a link fade and stall together.
    pub fn shared_air(&self) -> bool {
        self.shared_air
    }

    /// The pieces it is made of, ramps cut into stairs.
    pub fn pieces(&self) -> impl ExactSizeIterator<Item = Piece> {
        self.pieces.iter().map(|&(from, params)| Piece { from: Duration::from_nanos(from), params })
    }

    /// The parameters at `time`.
    pub(super) fn at(&self, time: u64) -> Span {
        let (lap, time) = match self.period {
            Some(period) => (time - time % period, time % period),
            None => (0, time),
        };
        // The first piece begins at 0, so that at least one begins at or before any time.
        let next = self.pieces.partition_point(|&(from, _)| from <= time);
        let params = self.pieces.get(next.saturating_sub(1)).map(|&(_, params)| params).unwrap_or_default();
        let end = self.pieces.get(next).map(|&(from, _)| from).or(self.period);
        Span { params, end: end.map_or(NEVER, |end| lap.saturating_add(end)) }
    }
}

/// The shortest gap or length of a burst: what bounds the work that a span of time costs.
const SHORTEST_BURST: Duration = Duration::from_micros(1);

/// What the model itself relies on; scripts are held to narrower ranges.
fn check(params: &Params) -> Result<(), &'static str> {
    let bursts = [params.stall, params.fade.map(|fade| fade.burst)];
    let probabilities = [params.loss, params.fade.map_or(0.0, |fade| fade.loss)];
    if bursts.iter().flatten().any(|burst| burst.every < SHORTEST_BURST || burst.lasts < SHORTEST_BURST) {
        return Err("fades and stalls must last, and be apart, at least a microsecond");
    }
    if !probabilities.iter().all(|probability| (0.0..=1.0).contains(probability)) {
        return Err("a loss must be a probability, 0 to 1");
    }
    if params.mtu_bytes < HEADER_BYTES as u64 {
        return Err("the MTU must be at least an IP and a UDP header, 28 bytes");
    }
    if params.queue_bytes < params.mtu_bytes {
        return Err("the queue must hold at least one datagram of the MTU's size");
    }
    Ok(())
}
