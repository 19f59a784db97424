//! What a long prompt is allowed to take.

use std::time::Duration;

/// Makes the round trips of prompts of different sizes comparable: what each would have taken for a prompt of the
/// usual size.
///
/// A model reads the prompt before it says its first word, so that the time to the first token is a fixed part and a
/// part that grows with the prompt; without this, a few long prompts look like a provider in trouble. The line
/// through sizes and times is learned as they come: least squares over the last few hundred answers, older ones
/// fading (the running moments of T. Finch, "Incremental calculation of weighted mean and variance", 2009). Only the
/// *ratio* of two points on it is used, so a provider that slows down for all sizes alike is not explained away.
/// Bytes stand for tokens: they grow together, and the body's length is known without reading it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Yardstick {
    answers: f64,
    size: f64,
    time: f64,
    size_variance: f64,
    covariance: f64,
    /// The size that all others are compared with; until one is settled on, the mean.
    usual: Option<f64>,
}

/// Older answers fade.
const MEMORY: f64 = 256.0;

/// Below so many answers every prompt is as good as any.
const ENOUGH: f64 = 16.0;

/// However long the prompt, no round trip is scaled by more than this: the line is a guess far from its middle.
const MOST: f64 = 50.0;

impl Yardstick {
    pub(super) fn learn(&mut self, bytes: u64, round_trip: Duration) {
        self.answers = (self.answers + 1.0).min(MEMORY);
        let weight = 1.0 / self.answers;
        let (size, time) = (bytes as f64 - self.size, round_trip.as_secs_f64() - self.time);
        self.size += weight * size;
        self.time += weight * time;
        self.size_variance = (1.0 - weight) * (self.size_variance + weight * size * size);
        self.covariance = (1.0 - weight) * (self.covariance + weight * size * time);
    }

    /// From now on the usual size is that of the last few hundred answers. It stays until the next time, or a
    /// change of what is asked would look like a change of the provider.
    pub(super) fn settle(&mut self) {
        self.usual = Some(self.size);
    }

    pub(super) fn is_settled(&self) -> bool {
        self.usual.is_some()
    }

    /// What this round trip would have been for a prompt of the usual size.
    pub(super) fn measure(&self, bytes: u64, round_trip: Duration) -> Duration {
        let (expected, usual) = (self.expected(bytes as f64), self.expected(self.usual.unwrap_or(self.size)));
        if self.answers < ENOUGH || expected <= 0.0 {
            return round_trip;
        }
        Duration::try_from_secs_f64(round_trip.as_secs_f64() * (usual / expected).clamp(1.0 / MOST, MOST))
            .unwrap_or(round_trip)
    }

    fn expected(&self, size: f64) -> f64 {
        // A line that falls is noise: no prompt is quicker for being longer.
        let slope =
            if self.size_variance > 0.0 { (self.covariance / self.size_variance).max(0.0) } else { 0.0 };
        (self.time + slope * (size - self.size)).max(self.time / MOST)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A provider that needs 200 ms, and 10 us for each byte of the prompt.
    fn taken(bytes: u64, load: f64) -> Duration {
        Duration::from_secs_f64((0.2 + bytes as f64 * 1e-5) * load)
    }

    fn learned(sizes: &[u64], load: f64) -> Yardstick {
        let mut yardstick = Yardstick::default();
        for size in sizes.iter().cycle().take(500) {
            yardstick.learn(*size, taken(*size, load));
        }
        yardstick.settle();
        yardstick
    }

    proptest! {
        #[test]
        fn prompts_of_all_sizes_measure_alike(sizes in prop::collection::vec(0u64..1_000_000, 3..20), load in 1.0f64..5.0) {
            let yardstick = learned(&sizes, load);
            let usual = taken(yardstick.size as u64, load).as_secs_f64();
            for size in sizes {
                let measured = yardstick.measure(size, taken(size, load)).as_secs_f64();
                prop_assert!((measured / usual - 1.0).abs() < 0.05, "{size} bytes: {measured} for {usual}");
            }
        }

        #[test]
        fn no_input_is_too_strange(answers in prop::collection::vec((any::<u64>(), any::<u64>()), 0..50)) {
            let mut yardstick = Yardstick::default();
            for (bytes, nanos) in answers {
                yardstick.learn(bytes, Duration::from_nanos(nanos));
                yardstick.settle();
                let measured = yardstick.measure(bytes, Duration::from_nanos(nanos)).as_secs_f64();
                prop_assert!(measured <= nanos as f64 * 1e-9 * (MOST + 1.0) + 1e-9);
            }
        }
    }

    #[test]
    fn a_change_of_what_is_asked_is_not_a_change_of_the_provider() {
        let mut yardstick = learned(&[500, 2_000, 8_000], 1.0);
        let before = yardstick.measure(2_000, taken(2_000, 1.0));
        for size in [50_000, 100_000, 200_000].iter().cycle().take(200) {
            yardstick.learn(*size, taken(*size, 1.0));
            let now = yardstick.measure(*size, taken(*size, 1.0));
            assert!(now.div_duration_f64(before) < 1.1, "{now:?} for {before:?}");
        }
    }

    #[test]
    fn a_provider_that_slows_down_for_all_is_seen_to() {
        let yardstick = learned(&[500, 20_000], 1.0);
        let (at_ease, slow) = (taken(20_000, 1.0), taken(20_000, 2.0));
        let times = yardstick.measure(20_000, slow).div_duration_f64(yardstick.measure(20_000, at_ease));
        assert!((times - 2.0).abs() < 1e-6, "{times}");
    }
}
