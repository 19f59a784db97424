use std::time::Duration;

use crate::run::Record;
use crate::scenario::{ProviderSpec, Scale, Scenario};

const MINUTE: Duration = Duration::from_secs(60);

/// The share of the scarcest limit that was used: of its refill over the scenario, and of the first burst.
/// The limits of the members of a group count together, if all have one.
pub(super) fn used(scenario: &Scenario, scale: Scale, record: &Record) -> Option<f64> {
    let minutes = scenario.duration.0.as_secs_f64() * scale.time / MINUTE.as_secs_f64() + 1.0;
    let max_tokens = |call: u32| record.calls.get(call as usize).map_or(0, |(call, _)| call.max_tokens);
    let mut first = 0;
    let limits = scenario.places().flat_map(|members| {
        let place = first..first + members.len();
        first = place.end;
        let accepted = record.attempts.iter().filter(move |attempt| {
            let is_counted = attempt.sent <= scenario.duration.0 && attempt.work.is_some();
            is_counted && place.contains(&attempt.provider)
        });
        let tokens = accepted.clone().filter_map(|attempt| {
            Some(u64::from(attempt.work?.prompt) + u64::from(max_tokens(attempt.call)))
        });
        let share = |used: u64, limit: f64| used as f64 / (limit * minutes);
        let limit = |of: fn(&ProviderSpec) -> Option<u32>| {
            members.iter().map(|member| of(member).map(f64::from)).sum::<Option<f64>>()
        };
        let requests = limit(|member| member.requests_per_minute);
        let requests = requests.map(|limit| share(accepted.count() as u64, limit));
        let tokens = limit(|member| member.tokens_per_minute).map(|limit| share(tokens.sum(), limit));
        [requests, tokens]
    });
    limits.flatten().max_by(f64::total_cmp).filter(|_| !record.calls.is_empty())
}
