//! Decides, as plain code, whether all targets are only cooling down, and which one is available first.

use std::time::{Duration, Instant};

use crate::durations::with_positive_jitter;
use crate::{Deadline, Error, ErrorCode, Failure, FailureKind, Gate, Outcome, Rejection, clock};

/// The targets that failed, and when each may be called again.
#[derive(Debug, Default)]
pub(crate) struct TargetCooldowns {
    targets: Vec<FailedTarget>,
    waits: u32,
    /// The time of all waits.
    waited: Duration,
}

/// A target that failed.
#[derive(Debug)]
struct FailedTarget {
    target_index: usize,
    /// When it may be called again, if it gave a delay.
    until: Option<Instant>,
    /// The gate that rejected the attempt, which costs the provider nothing.
    rejected_by: Option<Gate>,
    /// It may succeed after the delay: no other failure is known.
    is_only_cooling_down: bool,
    /// No request can succeed: the account is the cause.
    is_unusable: bool,
}

/// The most waits per call: other calls may use up the target's capacity first.
const MAX_WAITS: u32 = 8;

/// The shortest wait.
const MIN_WAIT: Duration = Duration::from_millis(10);

impl TargetCooldowns {
    /// Records why the target at `target_index` failed.
    pub(crate) fn record_failure(
        &mut self,
        target_index: usize,
        outcome: &Outcome,
        error: Option<&Error>,
        now: Instant,
    ) {
        self.targets.retain(|failed| failed.target_index != target_index);
        let failure = outcome.failure();
        let rejection = error.and_then(Error::rejection);
        let (wait, is_only_cooling_down) = match rejection {
            Some(rejection) => (rejection.retry_after(), rejection.retry_after().is_some()),
            None => (failure.and_then(Failure::wait), is_cooling_down(outcome)),
        };
        let until = wait.map(|wait| clock::after(wait.max(MIN_WAIT), now));
        let is_unusable = failure.is_some_and(|failure| {
            matches!(failure.code, ErrorCode::Authentication | ErrorCode::QuotaExhausted)
                && !failure.is_neutral()
        });
        self.targets.push(FailedTarget {
            target_index,
            until,
            rejected_by: rejection.map(Rejection::gate),
            is_only_cooling_down,
            is_unusable,
        });
    }

    /// Whether the target at `target_index` may be sent another request at `now`.
    pub(crate) fn allows(&self, target_index: usize, now: Instant) -> bool {
        let failed = self.targets.iter().find(|failed| failed.target_index == target_index);
        failed.is_none_or(|failed| !failed.is_unusable && failed.until.is_none_or(|until| until <= now))
    }

    /// Of the targets from `first` on, the first that may be called after a wait: its delay has passed, or
    /// its circuit rejected it and may admit probes since. The delay of a rate limit is exact, and a call
    /// before its end would queue.
    pub(crate) fn next_after_wait(&self, first: usize, now: Instant) -> Option<usize> {
        let may_be_called = |failed: &&FailedTarget| {
            failed.target_index >= first
                && (failed.rejected_by == Some(Gate::CircuitBreaker)
                    || failed.until.is_some_and(|until| until <= now))
        };
        let targets = self.targets.iter().filter(may_be_called);
        targets.map(|failed| failed.target_index).min().filter(|_| self.waits > 0)
    }

    /// Of the targets after `current`, the first that may be called after a wait, if a gate of `current` has
    /// rejected the call: a wait is for one attempt.
    pub(crate) fn next_after_rejection(&self, current: usize, now: Instant) -> Option<usize> {
        let failed = self.targets.iter().find(|failed| failed.target_index == current)?;
        self.next_after_wait(current + 1, now).filter(|_| failed.rejected_by.is_some())
    }

    /// Whether the call has waited for a target.
    pub(crate) fn has_waited(&self) -> bool {
        self.waits > 0
    }

    /// The target to wait for, and for how long, if all targets are cooling down and both the deadline and
    /// `max_wait`, which is for all waits together, allow the wait. It gets positive jitter by `random` in
    /// 0..1, since other calls wait as well.
    pub(crate) fn soonest(
        &mut self,
        deadline: Option<Deadline>,
        max_wait: Option<Duration>,
        now: Instant,
        random: f64,
    ) -> Option<(usize, Duration)> {
        let deadline = deadline?;
        if self.waits >= MAX_WAITS || self.targets.iter().any(|failed| !failed.is_only_cooling_down) {
            return None;
        }
        let until = |failed: &FailedTarget| Some((failed.target_index, failed.until?));
        let (target_index, until) = self.targets.iter().filter_map(until).min_by_key(|(_, until)| *until)?;
        let least = until.saturating_duration_since(now).max(MIN_WAIT);
        // The jitter is no reason to exceed `max_wait`.
        let left = max_wait.map_or(Duration::MAX, |max_wait| max_wait.saturating_sub(self.waited));
        let wait = with_positive_jitter(least, random).min(left.max(least));
        let waited = self.waited.saturating_add(wait);
        if !deadline.allows(wait, now) || max_wait.is_some_and(|max_wait| waited > max_wait) {
            return None;
        }
        (self.waits, self.waited) = (self.waits + 1, waited);
        Some((target_index, wait))
    }
}

/// Whether the provider responded that it is busy, and for how long.
fn is_cooling_down(outcome: &Outcome) -> bool {
    outcome.failure().is_some_and(|failure| {
        let is_response = matches!(failure.kind, FailureKind::Response | FailureKind::NotProcessed);
        let is_busy = matches!(failure.code, ErrorCode::RateLimited | ErrorCode::Overloaded);
        let may_be_retried = failure.retry_hint.is_some_and(|hint| !hint.forbids_retry());
        is_response && is_busy && may_be_retried && failure.wait().is_some()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{HintSource, RetryHint};

    fn rejected_with(wait: Option<Duration>) -> Error {
        let rejection = Rejection::new(Gate::CircuitBreaker, ErrorCode::Overloaded);
        wait.map_or(rejection.clone(), |wait| rejection.with_retry_after(wait)).into()
    }

    fn failed_with(code: ErrorCode, wait: Duration) -> Outcome {
        Failure { retry_hint: Some(RetryHint::after(wait, HintSource::Body)), ..Failure::new(code) }.into()
    }

    /// Pitfall P29 (docs/pitfalls.md): the call failed at once although the first target was available again
    /// in a second.
    #[test]
    fn waits_for_the_target_that_is_available_first() {
        let (now, secs) = (Instant::now(), Duration::from_secs);
        let deadline = Some(Deadline::after(secs(5), now));
        let mut cooldowns = TargetCooldowns::default();
        cooldowns.record_failure(0, &Outcome::Neutral, Some(&rejected_with(Some(secs(3)))), now);
        cooldowns.record_failure(1, &failed_with(ErrorCode::RateLimited, secs(1)), None, now);
        assert_eq!(cooldowns.soonest(deadline, None, now, 0.0), Some((1, secs(1))));
        // The target still fails, and the other one is available sooner now.
        let later = now + secs(1);
        cooldowns.record_failure(1, &failed_with(ErrorCode::Overloaded, secs(10)), None, later);
        assert_eq!(cooldowns.soonest(deadline, None, later, 0.0), Some((0, secs(2))));
        assert_eq!(cooldowns.soonest(Some(Deadline::after(secs(2), later)), None, later, 0.0), None);
        assert_eq!(cooldowns.soonest(None, None, later, 0.0), None);
    }

    #[test]
    fn does_not_wait_when_waiting_cannot_help() {
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        let deadline = Some(Deadline::after(5 * second, now));
        let hopeless = [
            (Failure::new(ErrorCode::ServerError).into(), None),
            (failed_with(ErrorCode::QuotaExhausted, second), None),
            (failed_with(ErrorCode::Authentication, second), None),
            (Outcome::Neutral, Some(rejected_with(None))),
        ];
        for (outcome, error) in hopeless {
            let mut cooldowns = TargetCooldowns::default();
            cooldowns.record_failure(0, &Outcome::Neutral, Some(&rejected_with(Some(second))), now);
            cooldowns.record_failure(1, &outcome, error.as_ref(), now);
            assert_eq!(cooldowns.soonest(deadline, None, now, 0.0), None, "{outcome:?}");
        }
        assert_eq!(TargetCooldowns::default().soonest(deadline, None, now, 0.0), None);
    }

    #[test]
    fn the_time_of_all_waits_is_bounded() {
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        let deadline = Some(Deadline::after(60 * second, now));
        for (max_wait, waits) in
            [(None, 8), (Some(Duration::ZERO), 0), (Some(second), 1), (Some(3 * second), 3)]
        {
            let mut cooldowns = TargetCooldowns::default();
            cooldowns.record_failure(0, &failed_with(ErrorCode::RateLimited, second), None, now);
            let seen = std::iter::from_fn(|| cooldowns.soonest(deadline, max_wait, now, 0.0)).count();
            assert_eq!(seen, waits, "{max_wait:?}");
        }
        // Regression: the jitter exceeded a bound that the wait itself fits.
        let mut cooldowns = TargetCooldowns::default();
        cooldowns.record_failure(0, &failed_with(ErrorCode::RateLimited, second), None, now);
        assert_eq!(cooldowns.soonest(deadline, Some(second), now, 0.9), Some((0, second)));
    }

    #[test]
    fn after_a_wait_the_first_target_that_may_admit_is_next() {
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        let mut cooldowns = TargetCooldowns::default();
        cooldowns.record_failure(0, &failed_with(ErrorCode::RateLimited, 9 * second), None, now);
        cooldowns.record_failure(1, &Outcome::Neutral, Some(&rejected_with(Some(9 * second))), now);
        cooldowns.record_failure(2, &failed_with(ErrorCode::RateLimited, second), None, now);
        let queued = Rejection::new(Gate::RateLimit, ErrorCode::RateLimited).with_retry_after(9 * second);
        cooldowns.record_failure(3, &Outcome::Neutral, Some(&queued.into()), now);
        assert_eq!(cooldowns.next_after_wait(0, now + 9 * second), None, "there was no wait");
        let deadline = Some(Deadline::after(60 * second, now));
        assert_eq!(cooldowns.soonest(deadline, None, now, 0.0), Some((2, second)));
        let next = |first, later| cooldowns.next_after_wait(first, now + later);
        // The circuit of the second target may have been closed; the provider of the first has named a later
        // time.
        let nexts: Vec<_> = (0..4).map(|first| next(first, second)).collect();
        assert_eq!(nexts, [Some(1), Some(1), Some(2), None]);
        assert_eq!(next(0, 9 * second), Some(0));
        // A wait is for one attempt.
        let after = |current| cooldowns.next_after_rejection(current, now + 9 * second);
        assert_eq!([0, 1, 2, 3].map(after), [None, Some(2), None, None]);
    }

    /// Pitfall P25 (docs/pitfalls.md): all waiting calls woke in the same instant.
    #[test]
    fn a_wait_is_never_shortened_and_gets_jitter() {
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        let wait = |random| {
            let mut cooldowns = TargetCooldowns::default();
            cooldowns.record_failure(0, &failed_with(ErrorCode::RateLimited, 10 * second), None, now);
            cooldowns.soonest(Some(Deadline::after(60 * second, now)), None, now, random).unwrap().1
        };
        assert_eq!((wait(0.0), wait(0.5)), (10 * second, Duration::from_millis(10_500)));
        // The wait including its jitter has to fit.
        let mut cooldowns = TargetCooldowns::default();
        cooldowns.record_failure(0, &failed_with(ErrorCode::RateLimited, 10 * second), None, now);
        let deadline = Some(Deadline::after(Duration::from_millis(10_400), now));
        assert_eq!(cooldowns.soonest(deadline, None, now, 0.5), None);
        assert!(cooldowns.soonest(deadline, None, now, 0.1).is_some());
    }

    /// Pitfalls P24 and P25 (docs/pitfalls.md): a target that gave a delay is not called before it has
    /// passed, whatever the request, and a target that failed because of its account is not called at all.
    #[test]
    fn allows_another_request_only_to_a_target_that_may_succeed() {
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        let of_request =
            Failure { kind: FailureKind::NotProcessed, ..Failure::new(ErrorCode::QuotaExhausted) };
        let cases = [
            (failed_with(ErrorCode::RateLimited, second), None, [false, true]),
            (failed_with(ErrorCode::ServerError, second), None, [false, true]),
            (Outcome::Neutral, Some(rejected_with(Some(second))), [false, true]),
            (Failure::new(ErrorCode::ServerError).into(), None, [true, true]),
            (Failure::new(ErrorCode::Authentication).into(), None, [false, false]),
            (failed_with(ErrorCode::QuotaExhausted, second), None, [false, false]),
            // The credit may be enough for a shorter prompt.
            (of_request.into(), None, [true, true]),
        ];
        for (outcome, error, expected) in cases {
            let mut cooldowns = TargetCooldowns::default();
            cooldowns.record_failure(1, &outcome, error.as_ref(), now);
            let allowed = [now, now + second].map(|now| cooldowns.allows(1, now));
            assert_eq!((allowed, cooldowns.allows(0, now)), (expected, true), "{outcome:?}");
        }
    }

    #[test]
    fn the_number_of_waits_is_bounded() {
        let now = Instant::now();
        let mut cooldowns = TargetCooldowns::default();
        cooldowns.record_failure(0, &Outcome::Neutral, Some(&rejected_with(Some(Duration::ZERO))), now);
        let deadline = Some(Deadline::after(Duration::from_secs(3600), now));
        let waits = std::iter::from_fn(|| cooldowns.soonest(deadline, None, now, 0.0)).collect::<Vec<_>>();
        assert_eq!((waits.len(), waits[0].1), (MAX_WAITS as usize, MIN_WAIT));
    }
}
