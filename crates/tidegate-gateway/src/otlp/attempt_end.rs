//! How the attempts of a call ended, as its trail shows.

use std::time::SystemTime;

use tidegate::provider::{Step, Verdict};
use tidegate::{ErrorCode, Trail};

/// Where the trail of a call was when an attempt began.
#[derive(Clone, Copy, Debug)]
pub(super) struct AttemptOrigin {
    /// The branch in which the attempt is recorded.
    branch: u32,
    /// The number of steps before.
    steps: usize,
}

/// The result of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SpanResult {
    Succeeded,
    /// It failed, or was cancelled.
    Failed {
        code: ErrorCode,
        at: SystemTime,
    },
}

/// The end of an attempt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct SpanEnd {
    /// `None` if it was dropped before its result.
    pub(super) result: Option<SpanResult>,
    /// The index of the first attempt that began after it, not beside it.
    pub(super) next: Option<usize>,
}

impl AttemptOrigin {
    pub(super) fn of(trail: &Trail) -> Self {
        Self { branch: trail.branch_number(), steps: trail.steps().len() }
    }
}

/// The ends of the attempts that began at these origins, in that order. The attempts of one branch follow
/// each other, so that a step belongs to the latest one of its branch. The steps are those of the whole call.
pub(super) fn attempt_ends(origins: &[AttemptOrigin], steps: &[Step]) -> Vec<SpanEnd> {
    let mut ends: Vec<_> = (1..=origins.len()).map(|next| dropped(origins, next)).collect();
    let mut delivering = None;
    for (position, step) in steps.iter().enumerate() {
        let mut attempt =
            origins.iter().rposition(|origin| origin.branch == step.branch && origin.steps <= position);
        let result = match step.verdict {
            Verdict::Succeeded => {
                delivering = attempt;
                SpanResult::Succeeded
            }
            Verdict::Failed(code) => SpanResult::Failed { code, at: step.at },
            Verdict::Cancelled => SpanResult::Failed { code: ErrorCode::Cancelled, at: step.at },
            // Recorded by the call, whichever branch the broken stream is from.
            Verdict::Continued { because, .. } => {
                attempt = delivering.take();
                SpanResult::Failed { code: because.unwrap_or(ErrorCode::Unknown), at: step.at }
            }
            _ => continue,
        };
        let is_break = matches!(step.verdict, Verdict::Continued { .. });
        if let Some(end) = attempt.and_then(|attempt| ends.get_mut(attempt))
            && (end.result.is_none() || is_break)
        {
            let next = origins.iter().position(|origin| origin.steps > position);
            *end = SpanEnd { result: Some(result), next };
        }
    }
    ends
}

/// The end of the attempt before `next`, if no step shows its result: the next one of its branch replaces it.
fn dropped(origins: &[AttemptOrigin], next: usize) -> SpanEnd {
    let branch = origins.get(next - 1).map(|origin| origin.branch);
    let later = origins.iter().skip(next).position(|origin| Some(origin.branch) == branch);
    SpanEnd { result: None, next: later.map(|later| next + later) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tidegate::Outcome;
    use tidegate::provider::Failure;

    use super::*;

    fn hedge(trail: &Trail, target: &str) -> Trail {
        let branch = trail.branch(Verdict::Hedged { to: target.into(), after: Duration::from_secs(1) });
        branch.enter(&target.into());
        branch
    }

    fn fail(trail: &Trail, code: ErrorCode) {
        trail.attempt(&Failure::new(code).into());
    }

    /// The result of an attempt, and the attempt that follows it.
    type ShortEnd = (Option<Result<(), ErrorCode>>, Option<usize>);

    fn ends(origins: &[AttemptOrigin], trail: &Trail) -> Vec<ShortEnd> {
        let ends = attempt_ends(origins, &trail.steps());
        let code = |result| match result {
            SpanResult::Succeeded => Ok(()),
            SpanResult::Failed { code, .. } => Err(code),
        };
        ends.into_iter().map(|end| (end.result.map(code), end.next)).collect()
    }

    #[test]
    fn attempts_that_follow_each_other_have_the_steps_between_their_beginnings() {
        let trail = Trail::new();
        let first = AttemptOrigin::of(&trail);
        fail(&trail, ErrorCode::Overloaded);
        trail.push(Verdict::Waiting(Duration::from_secs(1)));
        let dropped = AttemptOrigin::of(&trail);
        let last = AttemptOrigin::of(&trail);
        trail.attempt(&Outcome::Success);
        let expected = [(Some(Err(ErrorCode::Overloaded)), Some(1)), (None, Some(2)), (Some(Ok(())), None)];
        assert_eq!(ends(&[first, dropped, last], &trail), expected);
    }

    #[test]
    fn the_outcome_of_a_hedge_is_its_own_at_the_same_target_as_well() {
        for target in ["a/m", "b/m"] {
            for hedge_wins in [true, false] {
                let trail = Trail::new();
                trail.enter(&"a/m".into());
                let first = AttemptOrigin::of(&trail);
                let branch = hedge(&trail, target);
                let second = AttemptOrigin::of(&branch);
                branch.open();
                let (winner, loser) = if hedge_wins { (&branch, &trail) } else { (&trail, &branch) };
                winner.attempt(&Outcome::Success);
                loser.cancelled();
                let (won, lost) = ((Some(Ok(())), None), (Some(Err(ErrorCode::Cancelled)), None));
                let expected = if hedge_wins { [lost, won] } else { [won, lost] };
                assert_eq!(ends(&[first, second], &trail), expected, "{target} {hedge_wins}");
            }
        }
    }

    #[test]
    fn both_attempts_may_fail_in_any_order_before_the_next_one() {
        for hedge_is_first in [true, false] {
            let trail = Trail::new();
            let first = AttemptOrigin::of(&trail);
            let branch = hedge(&trail, "b/m");
            let second = AttemptOrigin::of(&branch);
            if hedge_is_first {
                fail(&branch, ErrorCode::Timeout);
            }
            fail(&trail, ErrorCode::Overloaded);
            if !hedge_is_first {
                fail(&branch, ErrorCode::Timeout);
            }
            let third = AttemptOrigin::of(&trail);
            trail.attempt(&Outcome::Success);
            let expected = [
                (Some(Err(ErrorCode::Overloaded)), Some(2)),
                (Some(Err(ErrorCode::Timeout)), Some(2)),
                (Some(Ok(())), None),
            ];
            assert_eq!(ends(&[first, second, third], &trail), expected);
        }
    }

    #[test]
    fn the_stream_that_another_target_continues_is_that_of_the_attempt_that_won() {
        let trail = Trail::new();
        let first = AttemptOrigin::of(&trail);
        let branch = hedge(&trail, "b/m");
        let second = AttemptOrigin::of(&branch);
        branch.attempt(&Outcome::Success);
        trail.cancelled();
        trail.push(Verdict::Continued { by: "c/m".into(), because: Some(ErrorCode::ServerError) });
        let third = AttemptOrigin::of(&trail);
        trail.attempt(&Outcome::Success);
        let expected = [
            (Some(Err(ErrorCode::Cancelled)), Some(2)),
            (Some(Err(ErrorCode::ServerError)), Some(2)),
            (Some(Ok(())), None),
        ];
        assert_eq!(ends(&[first, second, third], &trail), expected);
    }
}
