//! What a circuit admits that is not closed, where there is no other target.

use std::num::NonZeroU16;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use http::Extensions;

use super::attempt_result::Latency;
use super::circuit::CircuitAdmission;
use super::open_budget::OpenBudget;
use super::rejections::{CircuitRejection, RejectionCause};
use super::{Handle, State, Transition};
use crate::chain_position::ChainPosition;
use crate::clock;
use crate::events::Decision;
use crate::sync::unpoisoned;

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
    /// The latest opening: what was added before it is gone.
    opening: Opening,
}

/// The number of a time that the circuit opened. After 65 535 of them it repeats.
pub(super) type Opening = NonZeroU16;

impl OpenAttempts {
    pub(super) fn new(budget: OpenBudget, now: Instant) -> Self {
        Self { budget, balance: Mutex::new(Balance::empty(now)) }
    }

    /// The circuit has opened: successes from before are no reason for attempts.
    pub(super) fn clear(&self, now: Instant) {
        let mut balance = self.lock();
        *balance = Balance {
            opening: balance.opening.checked_add(1).unwrap_or(Opening::MIN),
            ..Balance::empty(now)
        };
    }

    /// The circuit has opened again: the calls that were rejected before have their own times by now.
    pub(super) fn forget_rejected(&self, now: Instant) {
        self.lock().next_free = now;
    }

    /// An attempt has succeeded. Returns the opening for which it adds attempts, unless there are as many as
    /// are kept.
    pub(super) fn record_success(&self, now: Instant) -> Option<Opening> {
        let mut balance = self.lock();
        balance.add_time(self.budget, now);
        let most = self.budget.most();
        let has_room = balance.attempts < most;
        if has_room {
            balance.attempts = (balance.attempts + self.budget.per_success).min(most);
        }
        has_room.then_some(balance.opening)
    }

    /// A success that had added attempts has failed after all. They may have been used: a debt of at most
    /// what is kept delays the attempts of the seconds that follow.
    pub(super) fn take_back(&self, added_for: Opening, now: Instant) {
        let mut balance = self.lock();
        if balance.opening == added_for {
            balance.add_time(self.budget, now);
            balance.attempts = (balance.attempts - self.budget.per_success).max(-self.budget.most());
        }
    }

    /// Takes an attempt, or returns the wait of a call that is [rejected](Self::reject).
    pub(super) fn take(&self, now: Instant) -> Result<(), Duration> {
        let mut balance = self.lock();
        balance.reject(self.budget, now).map_or(Ok(()), Err)?;
        balance.attempts -= 1.0;
        Ok(())
    }

    /// If there is no attempt, returns when there is one for this call, after those that were rejected before
    /// it: they would come back all at once if they had the same wait.
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
        unpoisoned(self.balance.lock())
    }
}

impl Balance {
    fn empty(now: Instant) -> Self {
        Self { attempts: 0.0, at: now, next_free: now, opening: Opening::MIN }
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
        let debt = Duration::try_from_secs_f64(-self.attempts.min(0.0) / budget.per_second);
        let no_debt = clock::after(debt.unwrap_or(Duration::MAX), now);
        self.next_free = clock::after(budget.interval(), self.next_free.max(no_debt));
        Some(self.next_free.saturating_duration_since(now))
    }

    /// Whether there is a whole attempt, but for the rounding of a sum of fractions.
    fn has_any(&self) -> bool {
        self.attempts >= 1.0 - 1e-9
    }
}

impl Handle {
    /// Admits an attempt from the budget of the open circuit, in place of this rejection.
    #[cold]
    pub(super) fn admit_while_open(
        &self,
        rejection: CircuitRejection,
        extensions: &Extensions,
        now: Instant,
    ) -> Result<CircuitAdmission, CircuitRejection> {
        let Some(open) = self.open_attempts(rejection.cause, extensions) else { return Err(rejection) };
        open.take(now).map_err(|wait| rejection.or_after(wait))?;
        self.0.admitted_while_open.add(1);
        Decision::AdmittedWhileOpen(rejection.into()).emit(self.0.target(), self.0.key());
        Ok(CircuitAdmission::WHILE_OPEN)
    }

    /// The budget for a call with these extensions, that the open circuit rejects for this cause.
    pub(super) fn open_attempts(
        &self,
        cause: RejectionCause,
        extensions: &Extensions,
    ) -> Option<&OpenAttempts> {
        let is_failing = matches!(cause, RejectionCause::Failing | RejectionCause::Probing);
        self.0
            .open_attempts
            .as_ref()
            .filter(|_| is_failing && !self.settings().shadow && ChainPosition::is_last(extensions))
    }

    /// Adds the attempts of a success, at its head, unless it is slow or the circuit is closed. Returns the
    /// opening for which it adds any.
    #[inline]
    pub(super) fn add_open_attempts(&self, latency: Latency) -> Option<Opening> {
        let open = self.0.open_attempts.as_ref()?;
        if latency == Latency::Slow || self.admits_all() { None } else { open.record_success(clock::now()) }
    }

    /// Takes back the attempts of a success whose body has failed.
    pub(super) fn take_back_open_attempts(&self, added_for: Opening) {
        if let Some(open) = &self.0.open_attempts {
            open.take_back(added_for, clock::now());
        }
    }

    /// Successes from before the circuit opened are no reason for attempts.
    pub(super) fn renew_open_attempts(&self, transition: &Transition) {
        match (&self.0.open_attempts, transition.from, transition.to) {
            (Some(open), State::Closed, State::Open) => open.clear(transition.at),
            (Some(open), _, State::Open) => open.forget_rejected(transition.at),
            _ => {}
        }
    }
}

#[cfg(all(test, not(tidegate_loom)))]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::SECOND;

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
        for _ in 0..1_000 {
            attempts.record_success(start);
        }
        assert_eq!(admitted(&attempts, start), 100);
        attempts.record_success(start);
        attempts.clear(start);
        assert_eq!(admitted(&attempts, start), 0);
    }

    #[test]
    fn what_a_success_added_is_taken_back_with_its_failure() {
        let start = Instant::now();
        let attempts = OpenAttempts::new(OpenBudget::default(), start);
        let added = attempts.record_success(start).unwrap();
        assert_eq!(admitted(&attempts, start), 10);
        attempts.take_back(added, start);
        assert_eq!(attempts.take(start), Err(11 * SECOND));
        assert!(!attempts.has_any(start + 10 * SECOND) && attempts.has_any(start + 11 * SECOND));
        // What is not kept is not taken back.
        assert_eq!((0..20).filter_map(|_| attempts.record_success(start)).count(), 11);
        (0..1_000).for_each(|_| attempts.take_back(added, start));
        assert!(!attempts.has_any(start + 100 * SECOND) && attempts.has_any(start + 101 * SECOND));
        // Neither is what was added before the circuit opened.
        attempts.clear(start);
        attempts.take_back(added, start);
        assert!(attempts.has_any(start + SECOND));
    }

    proptest! {
        /// Never more attempts than those of the time, and of the successes.
        #[test]
        fn attempts_are_bounded_by_time_and_successes(
            per_second in 0.01..100.0f64,
            per_success in 0.0..20.0f64,
            steps in prop::collection::vec((0..3_000u64, any::<bool>(), any::<bool>()), 1..200),
        ) {
            let budget = OpenBudget { per_second, per_success };
            let start = Instant::now();
            let attempts = OpenAttempts::new(budget, start);
            let (mut now, mut taken, mut paid) = (start, 0.0, 0.0);
            for (millis, succeeds, breaks) in steps {
                now += Duration::from_millis(millis);
                if succeeds {
                    // Before anything was taken from it, so that there is no debt.
                    match attempts.record_success(now) {
                        Some(added) if breaks => attempts.take_back(added, now),
                        Some(_) => paid += per_success,
                        None => {}
                    }
                }
                let has_any = attempts.has_any(now);
                prop_assert_eq!(attempts.take(now).is_ok(), has_any);
                taken += f64::from(u8::from(has_any));
                let most = (now - start).as_secs_f64() * per_second + paid + 1e-6;
                prop_assert!(taken <= most, "{taken} of {most}");
            }
        }
    }
}
