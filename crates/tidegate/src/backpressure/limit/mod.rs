//! Limits that find themselves: the algorithms, as plain code.
//!
//! What they have in common is not theirs to do: the calls are gathered into rounds, the round trip of an
//! unloaded provider is measured, and the result is kept within its bounds by the gate.

use std::time::Duration;

mod aimd;
mod gradient;
mod vegas;

pub use aimd::Aimd;
pub use gradient::Gradient;
pub use vegas::Vegas;

/// Moves a limit, a round of calls at a time.
///
/// [`Aimd`], [`Gradient`] and [`Vegas`] are here; another is one function:
///
/// ```
/// use tidegate::backpressure::{Limit, Round};
/// use tidegate::BackpressureLayer;
///
/// /// Trusts in losses alone, as TCP did in 1988.
/// #[derive(Clone)]
/// struct Reno;
///
/// impl Limit for Reno {
///     fn update(&mut self, limit: f64, round: &Round) -> f64 {
///         if round.lost { limit / 2.0 } else { limit + 1.0 }
///     }
/// }
///
/// let layer = BackpressureLayer::max_inflight(200).adaptive(Reno);
/// # let _ = layer;
/// ```
pub trait Limit: Send + 'static {
    /// The limit to go on with, from the one that held so far and what its round came to.
    ///
    /// May be a fraction: what counts is the whole number below. It is kept within the bounds that the user
    /// set, and raised only if the one that held was in use; what is not a number changes nothing.
    fn update(&mut self, limit: f64, round: &Round) -> f64;
}

/// What a round of calls came to.
///
/// A round is as many answers as the limit allows at once, at least 16 and at most 64, to calls that began under
/// that limit: TCP, too, decides once a round trip. It ends early at a loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Round {
    /// From the call to the head of its answer (of a stream that the wire holds: to its first token), as it would
    /// have been for a prompt of the usual size. The mean of the round without its extremes, less what may be chance.
    pub round_trip: Duration,
    /// The same of the provider at ease: lately, with half of the limit in flight.
    pub unloaded: Duration,
    /// The most calls that were in flight at once.
    pub in_flight: usize,
    /// The provider could not take it: a 429, 503 or 529, a time-out, an answer that broke off.
    pub lost: bool,
}

impl Round {
    /// A round, for tests of a [`Limit`].
    #[must_use]
    pub const fn new(round_trip: Duration, unloaded: Duration, in_flight: usize, lost: bool) -> Self {
        Self { round_trip, unloaded, in_flight, lost }
    }

    /// How many times as long as at ease a call took; at least 1.
    #[must_use]
    pub fn slowness(&self) -> f64 {
        if self.unloaded.is_zero() { 1.0 } else { self.round_trip.div_duration_f64(self.unloaded).max(1.0) }
    }
}

/// A loss takes a tenth. TCP halves, but its limit counts packets that wait in routers; ours counts answers that
/// somebody waits for. The number is that of Netflix's concurrency-limits, and near CUBIC's 0.7 (RFC 9438).
const BACK_OFF: f64 = 0.9;
