use std::collections::BTreeSet;
use std::time::Duration;

use crate::ledger::{AttemptRecord, Refusal};

/// The attempts that failed as an earlier response of the same provider had reported they would.
pub(super) fn count(attempts: &[AttemptRecord]) -> usize {
    let mut refusals: Vec<_> = attempts.iter().filter(|attempt| attempt.refusal.is_some()).collect();
    refusals.sort_by_key(|attempt| attempt.head);
    let mut refusals = refusals.into_iter().peekable();
    let mut requests = BTreeSet::new();
    let mut closed_until: Vec<Duration> = Vec::new();
    let mut futile = 0;
    // Attempts are in the order in which they were sent.
    for attempt in attempts {
        // An error may come at the time at which its request was sent: it precedes later times only.
        let is_reported = |refusal: &&AttemptRecord| refusal.head.is_some_and(|head| head < attempt.sent);
        while let Some(refusal) = refusals.next_if(is_reported) {
            closed_until.resize(closed_until.len().max(refusal.provider + 1), Duration::ZERO);
            match refusal.refusal {
                Some(Refusal::Request) => drop(requests.insert((refusal.call, refusal.provider))),
                Some(Refusal::Until(until)) => {
                    closed_until[refusal.provider] = closed_until[refusal.provider].max(until);
                }
                None => {}
            }
        }
        let is_closed = closed_until.get(attempt.provider).is_some_and(|until| *until > attempt.sent);
        let was_refused = is_closed || requests.contains(&(attempt.call, attempt.provider));
        let has_failed = attempt.status.is_none_or(|status| status >= 400);
        futile += usize::from(was_refused && has_failed);
    }
    futile
}
