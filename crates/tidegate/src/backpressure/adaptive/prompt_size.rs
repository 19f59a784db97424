//! Normalizes round trips by the size of the prompt.

use std::time::Duration;

/// A linear model of the round trip by prompt size, which scales round trips to a prompt of the reference
/// size.
///
/// A model processes the whole prompt before its first token, so the time to the first token has a fixed part
/// and a part that grows with the prompt. Without normalization a few long prompts look like an overloaded
/// provider. The line is fitted incrementally: least squares over the last few hundred responses with
/// exponential decay (the running moments of T. Finch, "Incremental calculation of weighted mean and
/// variance", 2009). Only the *ratio* of two points on the line is used, so that a slowdown of all sizes
/// alike is not normalized away. The size is measured in bytes instead of tokens: the two are correlated, and
/// the length of the body is known without reading it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PromptSizeModel {
    samples: f64,
    size: f64,
    time: f64,
    size_variance: f64,
    covariance: f64,
    /// The size that round trips are scaled to; the mean size until it has been fixed.
    reference: Option<f64>,
}

/// The effective number of responses in the model; older ones decay.
const WINDOW: f64 = 256.0;

/// With fewer responses than this, round trips are not normalized.
const MIN_SAMPLES: f64 = 16.0;

/// The largest factor by which a round trip is scaled: far from the mean size the line is unreliable.
const MAX_SCALE: f64 = 50.0;

impl PromptSizeModel {
    pub(super) fn observe(&mut self, bytes: u64, round_trip: Duration) {
        self.samples = (self.samples + 1.0).min(WINDOW);
        let weight = 1.0 / self.samples;
        let (size, time) = (bytes as f64 - self.size, round_trip.as_secs_f64() - self.time);
        self.size += weight * size;
        self.time += weight * time;
        self.size_variance = (1.0 - weight) * (self.size_variance + weight * size * size);
        self.covariance = (1.0 - weight) * (self.covariance + weight * size * time);
    }

    /// Fixes the reference size at the mean of the last few hundred responses. It stays fixed until the next
    /// call, because otherwise a change of the prompts would look like a change of the provider.
    pub(super) fn fix_reference(&mut self) {
        self.reference = Some(self.size);
    }

    pub(super) fn has_reference(&self) -> bool {
        self.reference.is_some()
    }

    /// The round trip scaled to a prompt of the reference size.
    pub(super) fn normalize(&self, bytes: u64, round_trip: Duration) -> Duration {
        let (predicted, reference) =
            (self.predict(bytes as f64), self.predict(self.reference.unwrap_or(self.size)));
        if self.samples < MIN_SAMPLES || predicted <= 0.0 {
            return round_trip;
        }
        Duration::try_from_secs_f64(
            round_trip.as_secs_f64() * (reference / predicted).clamp(1.0 / MAX_SCALE, MAX_SCALE),
        )
        .unwrap_or(round_trip)
    }

    fn predict(&self, size: f64) -> f64 {
        // A negative slope is noise: longer prompts are not faster.
        let slope =
            if self.size_variance > 0.0 { (self.covariance / self.size_variance).max(0.0) } else { 0.0 };
        (self.time + slope * (size - self.size)).max(self.time / MAX_SCALE)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The round trip of a provider that takes 200 ms, and 10 us per byte of the prompt.
    fn round_trip(bytes: u64, load: f64) -> Duration {
        Duration::from_secs_f64((0.2 + bytes as f64 * 1e-5) * load)
    }

    fn trained(sizes: &[u64], load: f64) -> PromptSizeModel {
        let mut model = PromptSizeModel::default();
        for size in sizes.iter().cycle().take(500) {
            model.observe(*size, round_trip(*size, load));
        }
        model.fix_reference();
        model
    }

    proptest! {
        #[test]
        fn prompts_of_all_sizes_have_the_same_normalized_round_trip(sizes in prop::collection::vec(0u64..1_000_000, 3..20), load in 1.0f64..5.0) {
            let model = trained(&sizes, load);
            let reference = round_trip(model.size as u64, load).as_secs_f64();
            for size in sizes {
                let normalized = model.normalize(size, round_trip(size, load)).as_secs_f64();
                prop_assert!((normalized / reference - 1.0).abs() < 0.05, "{size} bytes: {normalized} for {reference}");
            }
        }

        #[test]
        fn arbitrary_input_stays_within_the_bounds(samples in prop::collection::vec((any::<u64>(), any::<u64>()), 0..50)) {
            let mut model = PromptSizeModel::default();
            for (bytes, nanos) in samples {
                model.observe(bytes, Duration::from_nanos(nanos));
                model.fix_reference();
                let normalized = model.normalize(bytes, Duration::from_nanos(nanos)).as_secs_f64();
                prop_assert!(normalized <= nanos as f64 * 1e-9 * (MAX_SCALE + 1.0) + 1e-9);
            }
        }
    }

    #[test]
    fn longer_prompts_do_not_raise_the_normalized_round_trip() {
        let mut model = trained(&[500, 2_000, 8_000], 1.0);
        let before = model.normalize(2_000, round_trip(2_000, 1.0));
        for size in [50_000, 100_000, 200_000].iter().cycle().take(200) {
            model.observe(*size, round_trip(*size, 1.0));
            let now = model.normalize(*size, round_trip(*size, 1.0));
            assert!(now.div_duration_f64(before) < 1.1, "{now:?} for {before:?}");
        }
    }

    #[test]
    fn a_slowdown_of_all_sizes_is_visible() {
        let model = trained(&[500, 20_000], 1.0);
        let (unloaded, slow) = (round_trip(20_000, 1.0), round_trip(20_000, 2.0));
        let times = model.normalize(20_000, slow).div_duration_f64(model.normalize(20_000, unloaded));
        assert!((times - 2.0).abs() < 1e-6, "{times}");
    }
}
