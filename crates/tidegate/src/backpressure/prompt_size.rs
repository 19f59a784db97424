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
pub(super) struct PromptSizeModel {
    samples: f64,
    size: f64,
    time: f64,
    size_variance: f64,
    covariance: f64,
    /// The size that all others are compared with; until one is settled on, the mean.
    reference: Option<f64>,
}

/// Older answers fade.
const WINDOW: f64 = 256.0;

/// Below so many answers every prompt is as good as any.
const MIN_SAMPLES: f64 = 16.0;

/// However long the prompt, no round trip is scaled by more than this: the line is a guess far from its middle.
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

    /// From now on the usual size is that of the last few hundred answers. It stays until the next time, or a
    /// change of what is asked would look like a change of the provider.
    pub(super) fn fix_reference(&mut self) {
        self.reference = Some(self.size);
    }

    pub(super) fn has_reference(&self) -> bool {
        self.reference.is_some()
    }

    /// What this round trip would have been for a prompt of the usual size.
    pub(super) fn normalize(&self, bytes: u64, round_trip: Duration) -> Duration {
        let (predict, reference) =
            (self.predict(bytes as f64), self.predict(self.reference.unwrap_or(self.size)));
        if self.samples < MIN_SAMPLES || predict <= 0.0 {
            return round_trip;
        }
        Duration::try_from_secs_f64(
            round_trip.as_secs_f64() * (reference / predict).clamp(1.0 / MAX_SCALE, MAX_SCALE),
        )
        .unwrap_or(round_trip)
    }

    fn predict(&self, size: f64) -> f64 {
        // A line that falls is noise: no prompt is quicker for being longer.
        let slope =
            if self.size_variance > 0.0 { (self.covariance / self.size_variance).max(0.0) } else { 0.0 };
        (self.time + slope * (size - self.size)).max(self.time / MAX_SCALE)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A provider that needs 200 ms, and 10 us for each byte of the prompt.
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
        fn prompts_of_all_sizes_measure_alike(sizes in prop::collection::vec(0u64..1_000_000, 3..20), load in 1.0f64..5.0) {
            let model = trained(&sizes, load);
            let reference = round_trip(model.size as u64, load).as_secs_f64();
            for size in sizes {
                let normalized = model.normalize(size, round_trip(size, load)).as_secs_f64();
                prop_assert!((normalized / reference - 1.0).abs() < 0.05, "{size} bytes: {normalized} for {reference}");
            }
        }

        #[test]
        fn no_input_is_too_strange(samples in prop::collection::vec((any::<u64>(), any::<u64>()), 0..50)) {
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
    fn a_change_of_what_is_asked_is_not_a_change_of_the_provider() {
        let mut model = trained(&[500, 2_000, 8_000], 1.0);
        let before = model.normalize(2_000, round_trip(2_000, 1.0));
        for size in [50_000, 100_000, 200_000].iter().cycle().take(200) {
            model.observe(*size, round_trip(*size, 1.0));
            let now = model.normalize(*size, round_trip(*size, 1.0));
            assert!(now.div_duration_f64(before) < 1.1, "{now:?} for {before:?}");
        }
    }

    #[test]
    fn a_provider_that_slows_down_for_all_is_seen_to() {
        let model = trained(&[500, 20_000], 1.0);
        let (unloaded, slow) = (round_trip(20_000, 1.0), round_trip(20_000, 2.0));
        let times = model.normalize(20_000, slow).div_duration_f64(model.normalize(20_000, unloaded));
        assert!((times - 2.0).abs() < 1e-6, "{times}");
    }
}
