use std::time::Duration;

/// The range of the jitter is a tenth of the wait, and at least this, so that not all callers retry at once.
const MIN_SPREAD: Duration = Duration::from_millis(50);

/// The wait given by the provider, lengthened by `random` in 0..1 times the range of the jitter, and never
/// shortened.
pub(crate) fn with_positive_jitter(hint: Duration, random: f64) -> Duration {
    hint.saturating_add((hint / 10).max(MIN_SPREAD).mul_f64(random))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Pitfall P25 (docs/pitfalls.md).
        #[test]
        fn a_wait_given_by_the_provider_is_only_lengthened(ms in 0u64..100_000, random in 0.0..1.0f64) {
            let hint = Duration::from_millis(ms);
            let wait = with_positive_jitter(hint, random);
            prop_assert!(wait >= hint);
            prop_assert!(wait <= hint + (hint / 10).max(MIN_SPREAD));
        }
    }
}
