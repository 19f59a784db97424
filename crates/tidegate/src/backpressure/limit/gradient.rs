use super::{BACK_OFF, Limit, Round};

/// Scales the limit by how much slower than at ease the provider answers, and adds a little to find out if there is
/// more.
///
/// `limit * tolerance * unloaded / round_trip + headroom`, never less than half at once. After the `Gradient2Limit`
/// of Netflix's concurrency-limits (2018), with one difference: there a long average of the round trip stands for the
/// provider at ease, and under load that lasts it rises until nothing seems slow any more. Ours is measured
/// at half of the limit, as Envoy's adaptive concurrency filter and BBR do. The quickest to follow a fall.
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
    /// 1.05 times as slow as at ease is still well; one more call to find out.
    #[must_use]
    pub const fn new() -> Self {
        Self { tolerance: 1.05, headroom: 1.0 }
    }

    /// So many times as slow as at ease is still well; at least 1.
    #[must_use]
    pub const fn tolerance(self, times: f64) -> Self {
        Self { tolerance: times.max(1.0), ..self }
    }

    /// How many more calls each round tries, to find out if the provider can take them.
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
