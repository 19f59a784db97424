//! How long to wait before asking again.

use std::time::Duration;

/// Exponential back-off: `initial * multiplier^(attempt - 1)`, at most `max`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Backoff {
    pub(super) initial: Duration,
    pub(super) max: Duration,
    pub(super) multiplier: f64,
}

/// A told wait grows by up to a tenth of itself, at least over this span, so that not all come back at once.
const LEAST_SPREAD: Duration = Duration::from_millis(50);

impl Backoff {
    /// The wait after attempt number `attempt`, counted from 1, without jitter.
    pub(super) fn base(&self, attempt: u32) -> Duration {
        if self.initial.is_zero() {
            return Duration::ZERO;
        }
        let exponent = i32::try_from(attempt.saturating_sub(1)).unwrap_or(i32::MAX);
        let seconds = self.initial.as_secs_f64() * self.multiplier.powi(exponent);
        Duration::try_from_secs_f64(seconds).unwrap_or(self.max).min(self.max)
    }

    /// The same with full jitter: anything from nothing to the whole ("Exponential Backoff And Jitter", AWS, 2015).
    ///
    /// `random` is uniform in 0..1.
    pub(super) fn wait(&self, attempt: u32, random: f64) -> Duration {
        self.base(attempt).mul_f64(random)
    }
}

/// The wait that the provider told, never shorter, and spread by `random` in 0..1.
pub(super) fn after_hint(told: Duration, random: f64) -> Duration {
    told.saturating_add((told / 10).max(LEAST_SPREAD).mul_f64(random))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn doubles_up_to_the_cap() {
        let backoff = Backoff { initial: SECOND, max: Duration::from_secs(30), multiplier: 2.0 };
        let seconds: Vec<_> = (1..=7).map(|attempt| backoff.base(attempt).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(backoff.base(u32::MAX), backoff.max);
    }

    proptest! {
        #[test]
        fn jitter_never_passes_the_base(attempt in 1u32..40, random in 0.0..1.0f64) {
            let backoff = Backoff { initial: SECOND, max: Duration::from_secs(30), multiplier: 2.0 };
            prop_assert!(backoff.wait(attempt, random) <= backoff.base(attempt));
        }

        #[test]
        fn p25_a_told_wait_is_never_cut_short_and_always_spread(ms in 0u64..100_000, random in 0.0..1.0f64) {
            let told = Duration::from_millis(ms);
            let wait = after_hint(told, random);
            prop_assert!(wait >= told);
            prop_assert!(wait <= told + (told / 10).max(LEAST_SPREAD));
        }
    }
}
