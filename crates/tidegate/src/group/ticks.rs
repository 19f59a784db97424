use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// A time in milliseconds, by one origin for the whole process. It wraps after seven weeks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticks(pub(super) u32);

static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

impl Ticks {
    /// The ticks of this time. Those of a time before the origin are that much below zero, so that
    /// differences are right.
    #[inline]
    pub(super) fn of(time: Instant) -> Self {
        match time.checked_duration_since(*ORIGIN) {
            Some(since) => Self(millis(since)),
            None => Self(millis(ORIGIN.saturating_duration_since(time)).wrapping_neg()),
        }
    }

    /// The milliseconds since an earlier time.
    #[inline]
    pub(super) const fn since(self, earlier: Self) -> u32 {
        self.0.wrapping_sub(earlier.0)
    }
}

/// Without the 128 bits of `as_millis`.
#[inline]
const fn millis(duration: Duration) -> u32 {
    (duration.as_secs() as u32).wrapping_mul(1_000).wrapping_add(duration.subsec_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_right_before_the_origin_and_after_seven_weeks() {
        let origin = *ORIGIN;
        let minute = Duration::from_secs(60);
        for start in
            [origin - Duration::from_secs(30), origin, origin + Duration::from_secs(60 * 60 * 24 * 50)]
        {
            let elapsed = Ticks::of(start + minute).since(Ticks::of(start));
            assert!(elapsed.abs_diff(60_000) <= 1, "{elapsed}");
        }
    }
}
