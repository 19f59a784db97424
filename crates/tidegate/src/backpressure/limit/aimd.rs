use super::{BACK_OFF, Limit, Round};

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
