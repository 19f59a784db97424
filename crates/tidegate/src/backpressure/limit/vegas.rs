use super::{BACK_OFF, Limit, Round};

/// Keeps between one and three calls waiting at the provider: enough to keep it busy, too few to make it slow.
///
/// How many wait there follows from how much slower than at ease it answers: of `limit` calls in flight, the
/// part `1 - unloaded / round_trip` is not being worked on. One more call when fewer than
/// [`low`](Self::low) wait, one less when more than [`high`](Self::high) do.
///
/// L. S. Brakmo and L. L. Peterson, "TCP Vegas: End to End Congestion Avoidance on a Global Internet", 1995; one and
/// three are its numbers. The steadiest of the three, and the slowest to follow: one call a round.
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
    /// Between one and three calls waiting at the provider.
    #[must_use]
    pub const fn new() -> Self {
        Self { low: 1.0, high: 3.0 }
    }

    /// Raises the limit while fewer calls wait at the provider.
    #[must_use]
    pub const fn low(self, calls: f64) -> Self {
        Self { low: calls, ..self }
    }

    /// Lowers the limit while more calls wait at the provider; at least [`low`](Self::low).
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
