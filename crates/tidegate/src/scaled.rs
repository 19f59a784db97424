use std::time::Duration;

/// `duration` times `factor`. It saturates at the longest duration, and is exact if the factor is 1; zero stays
/// zero.
pub(crate) fn scaled(duration: Duration, factor: f64) -> Duration {
    if duration.is_zero() || factor == 1.0 {
        return duration;
    }
    Duration::try_from_secs_f64(duration.as_secs_f64() * factor).unwrap_or(Duration::MAX)
}
