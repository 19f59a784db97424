//! Whether all who could answer are only taking a rest, as plain code.

use std::time::{Duration, Instant};

use crate::after_hint::after_hint;
use crate::{BoxError, Deadline, ErrorCode, Failure, FailureKind, Outcome, Rejection};

/// When each target that was asked in vain may be asked again.
#[derive(Debug, Default)]
pub(super) struct Cooling {
    targets: Vec<Asked>,
    waits: u32,
}

/// A target that was asked in vain.
#[derive(Debug)]
struct Asked {
    place: usize,
    /// When it wants to be asked again, if it said so.
    until: Option<Instant>,
    /// After a rest it may answer: nothing else is wrong with it.
    only_rests: bool,
    /// Nothing that a request can say makes it answer: the account is at fault.
    is_shut: bool,
}

/// A call waits for the soonest at most so often: somebody else may have been quicker.
const MAX_WAITS: u32 = 8;

/// A shorter rest is none.
const SHORTEST: Duration = Duration::from_millis(10);

impl Cooling {
    /// Takes note of why the target at `place` did not answer.
    pub(super) fn note(&mut self, place: usize, outcome: &Outcome, error: Option<&BoxError>, now: Instant) {
        self.targets.retain(|asked| asked.place != place);
        let failure = outcome.failure();
        let (wait, only_rests) = match error.and_then(|error| Rejection::find(&**error)) {
            Some(rejection) => (rejection.retry_after(), rejection.retry_after().is_some()),
            None => (failure.and_then(Failure::wait), rests(outcome)),
        };
        let until = wait.map(|wait| Deadline::after(wait.max(SHORTEST), now).instant());
        let is_shut = failure.is_some_and(|failure| {
            matches!(failure.code, ErrorCode::Authentication | ErrorCode::QuotaExhausted)
        });
        self.targets.push(Asked { place, until, only_rests, is_shut });
    }

    /// Whether the target at `place` may be asked something else at `now`.
    pub(super) fn allows(&self, place: usize, now: Instant) -> bool {
        let asked = self.targets.iter().find(|asked| asked.place == place);
        asked.is_none_or(|asked| !asked.is_shut && asked.until.is_none_or(|until| until <= now))
    }

    /// Whether somebody was waited for.
    pub(super) fn has_waited(&self) -> bool {
        self.waits > 0
    }

    /// The target to wait for, and how long, if all are resting and the deadline allows it. The wait is spread by
    /// `random` in 0..1, for others wait as well.
    pub(super) fn soonest(
        &mut self,
        deadline: Option<Deadline>,
        now: Instant,
        random: f64,
    ) -> Option<(usize, Duration)> {
        let deadline = deadline?;
        if self.waits >= MAX_WAITS || self.targets.iter().any(|asked| !asked.only_rests) {
            return None;
        }
        let until = |asked: &Asked| Some((asked.place, asked.until?));
        let (place, until) = self.targets.iter().filter_map(until).min_by_key(|(_, until)| *until)?;
        let wait = after_hint(until.saturating_duration_since(now).max(SHORTEST), random);
        if !deadline.allows(wait, now) {
            return None;
        }
        self.waits += 1;
        Some((place, wait))
    }
}

/// Whether a provider that answered has said that it is busy for now, and until when.
fn rests(outcome: &Outcome) -> bool {
    let failure = outcome.failure().filter(|failure| failure.cause == FailureKind::Answer);
    failure.is_some_and(|failure| {
        let is_busy = matches!(failure.code, ErrorCode::RateLimited | ErrorCode::Overloaded);
        is_busy && failure.hint.is_some_and(|hint| hint.wait.is_some() && !hint.forbids_retry())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Gate, HintSource, RetryHint};

    fn refused(wait: Option<Duration>) -> BoxError {
        let rejection = Rejection::new(Gate::CircuitBreaker, ErrorCode::Overloaded);
        wait.map_or(rejection.clone(), |wait| rejection.with_retry_after(wait)).into()
    }

    fn told(code: ErrorCode, wait: Duration) -> Outcome {
        Failure { hint: Some(RetryHint::after(wait, HintSource::Body)), ..Failure::new(code) }.into()
    }

    /// P29: an instant error though the first is back in a second.
    #[test]
    fn p29_waits_for_the_soonest_of_all_that_rest() {
        let (now, secs) = (Instant::now(), Duration::from_secs);
        let deadline = Some(Deadline::after(secs(5), now));
        let mut cooling = Cooling::default();
        cooling.note(0, &Outcome::Neutral, Some(&refused(Some(secs(3)))), now);
        cooling.note(1, &told(ErrorCode::RateLimited, secs(1)), None, now);
        assert_eq!(cooling.soonest(deadline, now, 0.0), Some((1, secs(1))));
        // It was not back after all, and the other one is sooner now.
        let later = now + secs(1);
        cooling.note(1, &told(ErrorCode::Overloaded, secs(10)), None, later);
        assert_eq!(cooling.soonest(deadline, later, 0.0), Some((0, secs(2))));
        assert_eq!(cooling.soonest(Some(Deadline::after(secs(2), later)), later, 0.0), None);
        assert_eq!(cooling.soonest(None, later, 0.0), None);
    }

    #[test]
    fn one_that_no_rest_will_mend_is_not_waited_for() {
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        let deadline = Some(Deadline::after(5 * second, now));
        let hopeless = [
            (Failure::new(ErrorCode::ServerError).into(), None),
            (told(ErrorCode::QuotaExhausted, second), None),
            (told(ErrorCode::Authentication, second), None),
            (Outcome::Neutral, Some(refused(None))),
        ];
        for (outcome, error) in hopeless {
            let mut cooling = Cooling::default();
            cooling.note(0, &Outcome::Neutral, Some(&refused(Some(second))), now);
            cooling.note(1, &outcome, error.as_ref(), now);
            assert_eq!(cooling.soonest(deadline, now, 0.0), None, "{outcome:?}");
        }
        assert_eq!(Cooling::default().soonest(deadline, now, 0.0), None);
    }

    /// P25: all who waited woke in the same instant.
    #[test]
    fn p25_a_wait_is_never_cut_short_and_spread() {
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        let wait = |random| {
            let mut cooling = Cooling::default();
            cooling.note(0, &told(ErrorCode::RateLimited, 10 * second), None, now);
            cooling.soonest(Some(Deadline::after(60 * second, now)), now, random).unwrap().1
        };
        assert_eq!((wait(0.0), wait(0.5)), (10 * second, Duration::from_millis(10_500)));
        // As it is spread it has to fit.
        let mut cooling = Cooling::default();
        cooling.note(0, &told(ErrorCode::RateLimited, 10 * second), None, now);
        let deadline = Some(Deadline::after(Duration::from_millis(10_400), now));
        assert_eq!(cooling.soonest(deadline, now, 0.5), None);
        assert!(cooling.soonest(deadline, now, 0.1).is_some());
    }

    /// P24, P25: who said when to come back is not asked before, whatever it is asked, and an account that is at fault
    /// not at all.
    #[test]
    fn p24_a_target_is_asked_something_else_only_if_it_may_answer() {
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        let cases = [
            (told(ErrorCode::RateLimited, second), None, [false, true]),
            (told(ErrorCode::ServerError, second), None, [false, true]),
            (Outcome::Neutral, Some(refused(Some(second))), [false, true]),
            (Failure::new(ErrorCode::ServerError).into(), None, [true, true]),
            (Failure::new(ErrorCode::Authentication).into(), None, [false, false]),
            (told(ErrorCode::QuotaExhausted, second), None, [false, false]),
        ];
        for (outcome, error, expected) in cases {
            let mut cooling = Cooling::default();
            cooling.note(1, &outcome, error.as_ref(), now);
            let allowed = [now, now + second].map(|now| cooling.allows(1, now));
            assert_eq!((allowed, cooling.allows(0, now)), (expected, true), "{outcome:?}");
        }
    }

    #[test]
    fn does_not_wait_for_ever_in_small_steps() {
        let now = Instant::now();
        let mut cooling = Cooling::default();
        cooling.note(0, &Outcome::Neutral, Some(&refused(Some(Duration::ZERO))), now);
        let deadline = Some(Deadline::after(Duration::from_secs(3600), now));
        let waits = std::iter::from_fn(|| cooling.soonest(deadline, now, 0.0)).collect::<Vec<_>>();
        assert_eq!((waits.len(), waits[0].1), (MAX_WAITS as usize, SHORTEST));
    }
}
