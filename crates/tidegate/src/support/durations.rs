use std::time::Duration;

/// The time over which the calls that were given the same `wait` are spread, so that they do not all come
/// back at once: a tenth of the wait, and at least 50 ms.
pub(crate) fn spread(wait: Duration) -> Duration {
    (wait / 10).max(Duration::from_millis(50))
}

/// The wait given by the provider, lengthened by `random` in 0..1 times its spread, and never shortened.
pub(crate) fn with_positive_jitter(wait: Duration, random: f64) -> Duration {
    wait.saturating_add(spread(wait).mul_f64(random))
}

/// `duration` times `factor`. It saturates at the longest duration, and is exact if the factor is 1; zero
/// stays zero.
pub(crate) fn scaled(duration: Duration, factor: f64) -> Duration {
    if duration.is_zero() || factor == 1.0 {
        return duration;
    }
    Duration::try_from_secs_f64(duration.as_secs_f64() * factor).unwrap_or(Duration::MAX)
}

/// Whole milliseconds.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_wait_is_spread_over_a_tenth_of_it_and_at_least_over_50_ms() {
        for (wait, expected) in [(0, 50), (100, 50), (500, 50), (7_000, 700)] {
            assert_eq!(spread(Duration::from_millis(wait)), Duration::from_millis(expected), "{wait} ms");
        }
    }

    proptest! {
        /// Pitfall P25 (docs/pitfalls.md).
        #[test]
        fn a_wait_given_by_the_provider_is_only_lengthened(ms in 0u64..100_000, random in 0.0..1.0f64) {
            let hint = Duration::from_millis(ms);
            let wait = with_positive_jitter(hint, random);
            prop_assert!(wait >= hint);
            prop_assert!(wait <= hint + spread(hint));
        }
    }

    #[test]
    fn saturates_and_leaves_zero_and_a_factor_of_one_exact() {
        let longest = Duration::MAX;
        for (duration, factor, expected) in [
            (Duration::from_secs(2), 1.5, Duration::from_secs(3)),
            (Duration::from_secs(2), 0.0, Duration::ZERO),
            (longest, 1.0, longest),
            (longest, 2.0, longest),
            (Duration::from_secs(1), f64::INFINITY, longest),
            (Duration::from_secs(1), f64::NAN, longest),
            (Duration::ZERO, f64::INFINITY, Duration::ZERO),
        ] {
            assert_eq!(scaled(duration, factor), expected, "{duration:?} times {factor}");
        }
    }
}
