use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::Deadline;
use crate::settings::ConfigError;

/// The attempts that an open circuit admits where there is no other target: a few a second, and more for each that
/// succeeds.
///
/// To reject a call that no other target can take serves nobody, unless nearly every attempt fails. An outage costs
/// `per_second` attempts. A provider that still answers more than one in `per_success` gets all calls: with 10, one
/// that fails 60 % of them. It is the token bucket of gRPC's retry throttling (`tokenRatio`), for attempts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct OpenBudget {
    /// Attempts a second, whatever their results, above 0 and at most 1 000; 1 by default.
    pub per_second: f64,
    /// Attempts for each success while the circuit is not closed, from 0 to 1 000; 10 by default. At most ten times as many
    /// are kept.
    pub per_success: f64,
}

/// What an open circuit admits now.
#[derive(Debug)]
pub(super) struct OpenAttempts {
    budget: OpenBudget,
    balance: Mutex<Balance>,
}

#[derive(Clone, Copy, Debug)]
struct Balance {
    attempts: f64,
    at: Instant,
    /// When the attempts of each second have reached the last call that was rejected.
    next_free: Instant,
}

impl Default for OpenBudget {
    fn default() -> Self {
        Self { per_second: 1.0, per_success: 10.0 }
    }
}

impl OpenBudget {
    const MAX: f64 = 1_000.0;
    /// Less than one attempt a year.
    const MIN_PER_SECOND: f64 = 1e-8;

    pub(super) fn check(self) -> Result<(), ConfigError> {
        let Self { per_second, per_success } = self;
        let checks = [
            ("open_budget.per_second", per_second, per_second > 0.0, "a number above 0 and at most 1000"),
            ("open_budget.per_success", per_success, per_success >= 0.0, "a number from 0 to 1000"),
        ];
        ConfigError::all(checks.map(|(key, number, is_enough, expected)| {
            match is_enough && number <= Self::MAX {
                true => Ok(()),
                false => Err(ConfigError::expected(key, expected, number)),
            }
        }))
    }

    /// The nearest budget in range; the default in the place of a NaN.
    pub(super) fn clamped(self) -> Self {
        let or_default = |number: f64, default| if number.is_nan() { default } else { number };
        let default = Self::default();
        Self {
            per_second: or_default(self.per_second, default.per_second)
                .clamp(Self::MIN_PER_SECOND, Self::MAX),
            per_success: or_default(self.per_success, default.per_success).clamp(0.0, Self::MAX),
        }
    }

    /// The attempts that build up without successes: those of a second, and at least one.
    fn burst(self) -> f64 {
        self.per_second.max(1.0)
    }

    fn interval(self) -> Duration {
        Duration::try_from_secs_f64(self.per_second.recip()).unwrap_or(Duration::MAX)
    }

    /// The attempts that are kept after successes.
    fn most(self) -> f64 {
        (10.0 * self.per_success).max(self.burst())
    }
}

impl OpenAttempts {
    pub(super) fn new(budget: OpenBudget, now: Instant) -> Self {
        Self { budget, balance: Mutex::new(Balance::empty(now)) }
    }

    /// The circuit has opened: successes from before are no reason for attempts.
    pub(super) fn clear(&self, now: Instant) {
        *self.lock() = Balance::empty(now);
    }

    /// An attempt has succeeded.
    pub(super) fn record_success(&self, now: Instant) {
        let mut balance = self.lock();
        balance.add_time(self.budget, now);
        balance.attempts = (balance.attempts + self.budget.per_success).min(self.budget.most());
    }

    /// Takes an attempt, or returns the wait of a call that is [rejected](Self::reject).
    pub(super) fn take(&self, now: Instant) -> Result<(), Duration> {
        let mut balance = self.lock();
        balance.reject(self.budget, now).map_or(Ok(()), Err)?;
        balance.attempts -= 1.0;
        Ok(())
    }

    /// If there is no attempt, returns when there is one for this call, after those that were rejected before it: they
    /// would come back all at once if they had the same wait.
    pub(super) fn reject(&self, now: Instant) -> Option<Duration> {
        self.lock().reject(self.budget, now)
    }

    /// Whether there will be an attempt to take at `at`, now or later, if no other call takes it.
    pub(super) fn has_any(&self, at: Instant) -> bool {
        let mut balance = *self.lock();
        balance.add_time(self.budget, at);
        balance.has_any()
    }

    fn lock(&self) -> MutexGuard<'_, Balance> {
        self.balance.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Balance {
    fn empty(now: Instant) -> Self {
        Self { attempts: 0.0, at: now, next_free: now }
    }

    fn add_time(&mut self, budget: OpenBudget, now: Instant) {
        let elapsed = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = self.at.max(now);
        let grown = (self.attempts + elapsed * budget.per_second).min(budget.burst());
        self.attempts = self.attempts.max(grown);
    }

    fn reject(&mut self, budget: OpenBudget, now: Instant) -> Option<Duration> {
        self.add_time(budget, now);
        if self.has_any() {
            return None;
        }
        self.next_free = Deadline::after(budget.interval(), self.next_free.max(now)).instant();
        Some(self.next_free.saturating_duration_since(now))
    }

    /// One, but for the rounding of a sum of fractions.
    fn has_any(&self) -> bool {
        self.attempts >= 1.0 - 1e-9
    }
}

#[cfg(all(test, not(tidegate_loom)))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn admitted(attempts: &OpenAttempts, now: Instant) -> usize {
        (0..10_000).take_while(|_| attempts.take(now).is_ok()).count()
    }

    #[test]
    fn an_outage_costs_the_attempts_of_each_second() {
        let start = Instant::now();
        let attempts = OpenAttempts::new(OpenBudget::default(), start);
        assert_eq!([(); 3].map(|()| attempts.take(start)), [Err(SECOND), Err(2 * SECOND), Err(3 * SECOND)]);
        assert!(!attempts.has_any(start + SECOND - Duration::from_millis(1)));
        let by_second = (1..=60).map(|second| admitted(&attempts, start + second * SECOND));
        assert_eq!(by_second.sum::<usize>(), 60);
        assert_eq!(admitted(&attempts, start + 600 * SECOND), 1, "time without calls builds up one attempt");
    }

    #[test]
    fn each_success_pays_for_more_up_to_ten_times_as_many() {
        let start = Instant::now();
        let attempts = OpenAttempts::new(OpenBudget::default(), start);
        attempts.record_success(start);
        assert_eq!((admitted(&attempts, start), attempts.has_any(start)), (10, false));
        (0..1_000).for_each(|_| attempts.record_success(start));
        assert_eq!(admitted(&attempts, start), 100);
        attempts.record_success(start);
        attempts.clear(start);
        assert_eq!(admitted(&attempts, start), 0);
    }

    #[test]
    fn a_budget_out_of_range_is_rejected_by_its_key() {
        for (per_second, per_success, key) in [
            (0.0, 10.0, "per_second"),
            (f64::NAN, 10.0, "per_second"),
            (1_001.0, 10.0, "per_second"),
            (1.0, -1.0, "per_success"),
            (1.0, f64::INFINITY, "per_success"),
        ] {
            let error = OpenBudget { per_second, per_success }.check().unwrap_err().to_string();
            assert!(error.contains(&format!("open_budget.{key}")), "{error}");
        }
        assert!(OpenBudget::default().check().is_ok());
    }

    proptest! {
        /// Never more attempts than those of the time, and of the successes.
        #[test]
        fn attempts_are_bounded_by_time_and_successes(
            per_second in 0.01..100.0f64,
            per_success in 0.0..20.0f64,
            steps in prop::collection::vec((0..3_000u64, any::<bool>()), 1..200),
        ) {
            let budget = OpenBudget { per_second, per_success };
            let start = Instant::now();
            let attempts = OpenAttempts::new(budget, start);
            let (mut now, mut taken, mut successes) = (start, 0.0, 0.0);
            for (millis, succeeds) in steps {
                now += Duration::from_millis(millis);
                if succeeds {
                    attempts.record_success(now);
                    successes += 1.0;
                }
                let has_any = attempts.has_any(now);
                prop_assert_eq!(attempts.take(now).is_ok(), has_any);
                taken += f64::from(u8::from(has_any));
                let most = (now - start).as_secs_f64() * per_second + successes * per_success + 1e-6;
                prop_assert!(taken <= most, "{taken} of {most}");
            }
        }
    }
}
