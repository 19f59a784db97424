use super::{BACK_OFF, Limit, Round};

/// One more a round while all is well, a tenth less when it is not: the limit saws along the capacity.
///
/// Additive increase, multiplicative decrease: D.-M. Chiu and R. Jain, "Analysis of the Increase and Decrease
/// Algorithms for Congestion Avoidance in Computer Networks", 1989. The plainest, and the one to begin with where the
/// provider says 429 or 503 when it has had enough; a round that took [`tolerance`](Self::tolerance) times as long
/// as at ease counts as a loss too, for those that only grow slow.
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
    /// Takes a round that is 1.1 times as slow as at ease for a loss.
    #[must_use]
    pub const fn new() -> Self {
        Self { tolerance: 1.1 }
    }

    /// Takes a round that is so many times as slow as at ease for a loss; at least 1. `f64::INFINITY`: only real
    /// losses count.
    #[must_use]
    pub const fn tolerance(self, times: f64) -> Self {
        Self { tolerance: times.max(1.0) }
    }
}

impl Limit for Aimd {
    fn update(&mut self, limit: f64, round: &Round) -> f64 {
        if round.lost || round.slowness() > self.tolerance { limit * BACK_OFF } else { limit + 1.0 }
    }
}
