use std::time::Duration;

use crate::run::Record;
use crate::scenario::{Scale, Scenario};

const MINUTE: Duration = Duration::from_secs(60);

/// The share of the scarcest limit that was used: of its refill over the scenario, and of the first burst.
pub(super) fn used(scenario: &Scenario, scale: Scale, record: &Record) -> Option<f64> {
    let minutes = scenario.duration.0.as_secs_f64() * scale.time / MINUTE.as_secs_f64() + 1.0;
    let max_tokens = |call: u32| record.calls.get(call as usize).map_or(0, |(call, _)| call.max_tokens);
    let limits = scenario.providers.iter().enumerate().flat_map(|(index, provider)| {
        let accepted = record.attempts.iter().filter(move |attempt| {
            attempt.provider == index && attempt.sent <= scenario.duration.0 && attempt.work.is_some()
        });
        let tokens = accepted.clone().filter_map(|attempt| {
            Some(u64::from(attempt.work?.prompt) + u64::from(max_tokens(attempt.call)))
        });
        let share = |used: u64, limit: u32| used as f64 / (f64::from(limit) * minutes);
        let requests = provider.requests_per_minute.map(|limit| share(accepted.count() as u64, limit));
        let tokens = provider.tokens_per_minute.map(|limit| share(tokens.sum(), limit));
        [requests, tokens]
    });
    limits.flatten().max_by(f64::total_cmp)
}
