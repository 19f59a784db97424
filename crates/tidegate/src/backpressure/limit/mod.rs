//! The algorithms of adaptive limits, as plain code.
//!
//! The common parts are outside of the algorithms: gathering calls into rounds, measuring the round trip of
//! the unloaded provider, and keeping the result within its bounds.

use std::time::Duration;

mod aimd;
mod gradient;
mod vegas;

pub use aimd::Aimd;
pub use gradient::Gradient;
pub use vegas::Vegas;

/// An algorithm that adjusts a limit after each round of calls.
///
/// [`Aimd`], [`Gradient`] and [`Vegas`] are provided; a custom algorithm is one function:
///
/// ```
/// use tidegate::backpressure::{Limit, Round};
/// use tidegate::BackpressureLayer;
///
/// /// Reacts to losses alone, as TCP did in 1988.
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
    /// Computes the next limit from the current limit and its round.
    ///
    /// The result may be a fraction, which is rounded down when it is applied. It is clamped to the bounds
    /// that the user set, and the limit is raised only if the current one was in use. A result of NaN leaves
    /// the limit unchanged.
    fn update(&mut self, limit: f64, round: &Round) -> f64;

    /// Whether the limit begins with TCP's slow start (RFC 5681): one more with each success, until `update`
    /// lowers it for the first time. By default it does not.
    fn has_slow_start(&self) -> bool {
        false
    }
}

/// The measurements of one round of calls.
///
/// A round has as many responses as the limit allows in flight, at least 16 and at most 64, to calls that
/// started under that limit; TCP decides once per round trip, too. A loss ends it early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Round {
    /// The time from the call to the response head (for a stream that the wire holds back: to its first
    /// token), normalized to a prompt of the reference size. The trimmed mean of the round, less a margin for
    /// chance.
    pub round_trip: Duration,
    /// The round trip of the unloaded provider, as measured recently with half of the limit in flight.
    pub unloaded: Duration,
    /// The most calls that were in flight at the same time.
    pub in_flight: usize,
    /// Whether the provider was overloaded: a 429, 503 or 529, a timeout, or a response that broke off.
    pub lost: bool,
}

impl Round {
    /// Creates a round, for tests of a [`Limit`].
    #[must_use]
    pub const fn new(round_trip: Duration, unloaded: Duration, in_flight: usize, lost: bool) -> Self {
        Self { round_trip, unloaded, in_flight, lost }
    }

    /// The round trip in multiples of the unloaded round trip; at least 1.
    #[must_use]
    pub fn slowness(&self) -> f64 {
        if self.unloaded.is_zero() { 1.0 } else { self.round_trip.div_duration_f64(self.unloaded).max(1.0) }
    }
}

/// The factor of the limit after a loss: minus a tenth. TCP halves, but its limit counts packets queued in
/// routers; this limit counts responses that users wait for. The value is that of Netflix's
/// concurrency-limits, and near CUBIC's 0.7 (RFC 9438).
const BACK_OFF: f64 = 0.9;
