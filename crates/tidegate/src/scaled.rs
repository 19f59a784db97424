use std::time::Duration;

/// `duration` times `factor`. It saturates at the longest duration, and is exact if the factor is 1; zero stays
/// zero.
pub(crate) fn scaled(duration: Duration, factor: f64) -> Duration {
    if duration.is_zero() || factor == 1.0 {
        return duration;
    }
    Duration::try_from_secs_f64(duration.as_secs_f64() * factor).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

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
