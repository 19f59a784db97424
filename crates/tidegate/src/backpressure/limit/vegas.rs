use super::{BACK_OFF, Limit, Round};

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
