use super::{BACK_OFF, Limit, Round};

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
