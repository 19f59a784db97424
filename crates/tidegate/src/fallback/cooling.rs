//! Whether all who could answer are only taking a rest, as plain code.

use std::time::{Duration, Instant};

use crate::{BoxError, Cause, Deadline, ErrorCode, Outcome, Rejection};

/// When each target that was asked in vain may be asked again.
#[derive(Debug, Default)]
pub(super) struct Cooling {
    until: Vec<(usize, Instant)>,
    /// One of them has failed in a way that no rest will mend.
    is_hopeless: bool,
    waits: u32,
}

/// A call waits for the soonest at most so often: somebody else may have been quicker.
const MAX_WAITS: u32 = 8;

/// A shorter rest is none.
const SHORTEST: Duration = Duration::from_millis(10);

impl Cooling {
    /// Takes note of why the target at `place` did not answer.
    pub(super) fn note(&mut self, place: usize, outcome: &Outcome, error: Option<&BoxError>, now: Instant) {
        self.until.retain(|(other, _)| *other != place);
        let rest = match error.and_then(|error| Rejection::find(&**error)) {
            Some(rejection) => rejection.retry_after(),
            None => rest(outcome),
        };
        match rest {
            Some(rest) => self.until.push((place, Deadline::after(rest.max(SHORTEST), now).instant())),
            None => self.is_hopeless = true,
        }
    }

    /// Whether somebody was waited for.
    pub(super) fn has_waited(&self) -> bool {
        self.waits > 0
    }

    /// The target to wait for, and how long, if all are resting and the deadline allows it.
    pub(super) fn soonest(&mut self, deadline: Option<Deadline>, now: Instant) -> Option<(usize, Duration)> {
        let deadline = deadline?;
        if self.is_hopeless || self.waits >= MAX_WAITS {
            return None;
        }
        let &(place, until) = self.until.iter().min_by_key(|(_, until)| *until)?;
        let wait = until.saturating_duration_since(now).max(SHORTEST);
        if !deadline.allows(wait, now) {
            return None;
        }
        self.waits += 1;
        Some((place, wait))
    }
}

/// How long a provider that answered wants to be left alone.
fn rest(outcome: &Outcome) -> Option<Duration> {
    let failure = outcome.failure().filter(|failure| failure.cause == Cause::Answer)?;
    let may_rest = matches!(failure.code, ErrorCode::RateLimited | ErrorCode::Overloaded);
    let hint = failure.hint.filter(|hint| may_rest && !hint.forbids_retry())?;
    hint.wait
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Failure, Gate, Hint, HintSource};

    fn refused(wait: Option<Duration>) -> BoxError {
        let rejection = Rejection::new(Gate::CircuitBreaker, ErrorCode::Overloaded);
        wait.map_or(rejection.clone(), |wait| rejection.with_retry_after(wait)).into()
    }

    fn told(code: ErrorCode, wait: Duration) -> Outcome {
        Failure { hint: Some(Hint::after(wait, HintSource::Body)), ..Failure::new(code) }.into()
    }

    /// P29: an instant error though the first is back in a second.
    #[test]
    fn p29_waits_for_the_soonest_of_all_that_rest() {
        let (now, secs) = (Instant::now(), Duration::from_secs);
        let deadline = Some(Deadline::after(secs(5), now));
        let mut cooling = Cooling::default();
        cooling.note(0, &Outcome::Neutral, Some(&refused(Some(secs(3)))), now);
        cooling.note(1, &told(ErrorCode::RateLimited, secs(1)), None, now);
        assert_eq!(cooling.soonest(deadline, now), Some((1, secs(1))));
        // It was not back after all, and the other one is sooner now.
        let later = now + secs(1);
        cooling.note(1, &told(ErrorCode::Overloaded, secs(10)), None, later);
        assert_eq!(cooling.soonest(deadline, later), Some((0, secs(2))));
        assert_eq!(cooling.soonest(Some(Deadline::after(secs(2), later)), later), None);
        assert_eq!(cooling.soonest(None, later), None);
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
            assert_eq!(cooling.soonest(deadline, now), None, "{outcome:?}");
        }
        assert_eq!(Cooling::default().soonest(deadline, now), None);
    }

    #[test]
    fn does_not_wait_for_ever_in_small_steps() {
        let now = Instant::now();
        let mut cooling = Cooling::default();
        cooling.note(0, &Outcome::Neutral, Some(&refused(Some(Duration::ZERO))), now);
        let deadline = Some(Deadline::after(Duration::from_secs(3600), now));
        let waits = std::iter::from_fn(|| cooling.soonest(deadline, now)).collect::<Vec<_>>();
        assert_eq!((waits.len(), waits[0].1), (MAX_WAITS as usize, SHORTEST));
    }
}
