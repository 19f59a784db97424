//! The algorithms of adaptive limits, as plain code.
//!
//! The common parts are outside of the algorithms: gathering calls into rounds, measuring the round trip of
//! the unloaded provider, and keeping the result within its bounds.

use std::time::Duration;

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

/// Additive increase, multiplicative decrease: plus one per round without loss, minus a tenth per loss. Until
/// the limit is lowered for the first time, plus one per success.
///
/// The limit oscillates around the capacity. D.-M. Chiu and R. Jain, "Analysis of the Increase and Decrease
/// Algorithms for Congestion Avoidance in Computer Networks", 1989. It is the simplest algorithm, and the one
/// to start with if the provider responds with 429 or 503 under overload. For providers that only become
/// slow, a round that takes more than [`tolerance`](Self::tolerance) times as long as the unloaded round trip
/// counts as a loss, too.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Aimd {
    tolerance: f64,
}

impl Default for Aimd {
    fn default() -> Self {
        Self::new()
    }
}

impl Aimd {
    /// A tolerance of 1.1 times the unloaded round trip.
    #[must_use]
    pub const fn new() -> Self {
        Self { tolerance: 1.1 }
    }

    /// The slowdown, in multiples of the unloaded round trip, above which a round counts as a loss; at least
    /// 1. With `f64::INFINITY` only real losses count.
    #[must_use]
    pub const fn tolerance(self, times: f64) -> Self {
        Self { tolerance: times.max(1.0) }
    }
}

impl Limit for Aimd {
    fn update(&mut self, limit: f64, round: &Round) -> f64 {
        if round.lost || round.slowness() > self.tolerance { limit * BACK_OFF } else { limit + 1.0 }
    }

    fn has_slow_start(&self) -> bool {
        true
    }
}

/// Keeps between one and three calls queued at the provider: enough to keep it busy, too few to slow it down.
///
/// The length of the provider's queue is estimated from the slowdown: of `limit` calls in flight, the
/// fraction `1 - unloaded / round_trip` is queued. The limit rises by one if fewer than [`low`](Self::low)
/// are queued, and falls by one if more than [`high`](Self::high) are.
///
/// L. S. Brakmo and L. L. Peterson, "TCP Vegas: End to End Congestion Avoidance on a Global Internet", 1995;
/// one and three are the numbers of the paper. It is the most stable of the three algorithms, and adapts most
/// slowly: one call per round.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Vegas {
    low: f64,
    high: f64,
}

impl Default for Vegas {
    fn default() -> Self {
        Self::new()
    }
}

impl Vegas {
    /// Between one and three calls queued at the provider.
    #[must_use]
    pub const fn new() -> Self {
        Self { low: 1.0, high: 3.0 }
    }

    /// The limit rises while fewer calls than this are queued at the provider.
    #[must_use]
    pub const fn low(self, calls: f64) -> Self {
        Self { low: calls, ..self }
    }

    /// The limit falls while more calls than this are queued at the provider; at least [`low`](Self::low).
    #[must_use]
    pub const fn high(self, calls: f64) -> Self {
        Self { high: calls, ..self }
    }
}

impl Limit for Vegas {
    fn update(&mut self, limit: f64, round: &Round) -> f64 {
        if round.lost {
            return limit * BACK_OFF;
        }
        let waiting = limit * (1.0 - 1.0 / round.slowness());
        if waiting < self.low {
            limit + 1.0
        } else if waiting > self.high.max(self.low) {
            limit - 1.0
        } else {
            limit
        }
    }
}

/// Scales the limit by the slowdown against the unloaded provider, and adds a headroom that tests for more
/// capacity.
///
/// The new limit is `limit * tolerance * unloaded / round_trip + headroom`, and at least half of the old one.
/// This is the `Gradient2Limit` of Netflix's concurrency-limits (2018) with one difference: there a long-term
/// average of the round trip stands for the unloaded provider, and under sustained load it rises until
/// nothing seems slow any more. Here the unloaded round trip is measured at half of the limit, as in Envoy's
/// adaptive concurrency filter and BBR. It follows a decrease of the capacity fastest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gradient {
    tolerance: f64,
    headroom: f64,
}

impl Default for Gradient {
    fn default() -> Self {
        Self::new()
    }
}

impl Gradient {
    /// A tolerance of 1.05 times the unloaded round trip, and a headroom of one call.
    #[must_use]
    pub const fn new() -> Self {
        Self { tolerance: 1.05, headroom: 1.0 }
    }

    /// The slowdown, in multiples of the unloaded round trip, that does not lower the limit; at least 1.
    #[must_use]
    pub const fn tolerance(self, times: f64) -> Self {
        Self { tolerance: times.max(1.0), ..self }
    }

    /// The number of calls added to the limit in each round, to test whether the provider can take more.
    #[must_use]
    pub const fn headroom(self, calls: f64) -> Self {
        Self { headroom: calls.max(0.0), ..self }
    }
}

impl Limit for Gradient {
    fn update(&mut self, limit: f64, round: &Round) -> f64 {
        if round.lost {
            return limit * BACK_OFF;
        }
        let gradient = (self.tolerance / round.slowness()).clamp(0.5, 1.0);
        limit * gradient + self.headroom
    }
}
