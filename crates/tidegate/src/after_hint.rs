use std::time::Duration;

/// A told wait grows by up to a tenth of itself, at least over this span, so that not all come back at once.
const LEAST_SPREAD: Duration = Duration::from_millis(50);

/// The wait that the provider told, never shorter, and spread by `random` in 0..1.
pub(crate) fn after_hint(told: Duration, random: f64) -> Duration {
    told.saturating_add((told / 10).max(LEAST_SPREAD).mul_f64(random))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn p25_a_told_wait_is_never_cut_short_and_always_spread(ms in 0u64..100_000, random in 0.0..1.0f64) {
            let told = Duration::from_millis(ms);
            let wait = after_hint(told, random);
            prop_assert!(wait >= told);
            prop_assert!(wait <= told + (told / 10).max(LEAST_SPREAD));
        }
    }
}
