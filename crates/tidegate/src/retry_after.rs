use std::time::Duration;

/// A told wait grows by up to a tenth of itself, at least over this span, so that not all come back at once.
const LEAST_SPREAD: Duration = Duration::from_millis(50);

/// The wait that the provider told, never shorter, and spread by `random` in 0..1.
pub(crate) fn with_positive_jitter(hint: Duration, random: f64) -> Duration {
    hint.saturating_add((hint / 10).max(LEAST_SPREAD).mul_f64(random))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn p25_a_told_wait_is_never_cut_short_and_always_spread(ms in 0u64..100_000, random in 0.0..1.0f64) {
            let hint = Duration::from_millis(ms);
            let wait = with_positive_jitter(hint, random);
            prop_assert!(wait >= hint);
            prop_assert!(wait <= hint + (hint / 10).max(LEAST_SPREAD));
        }
    }
}
