//! The figures of a run.

mod fairness;
mod fault_times;
mod futile;
mod quantile;
mod quota;

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Serialize;

use self::quantile::Quantiles;
use crate::caller::{CallEnding, CallOutcome};
use crate::run::Record;
use crate::scenario::{Scale, Scenario};

/// The figures of one scenario and one stack. One line of `--json`.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    /// The scenario.
    pub scenario: String,
    /// The stack.
    pub stack: &'static str,
    /// The seed of the run.
    pub seed: u64,
    /// The calls.
    pub calls: usize,
    /// Those with a complete answer within the patience of their caller.
    pub served: usize,
    /// Their share of the calls whose caller did not leave; none without such a call.
    pub success_rate: Option<f64>,
    /// Tokens of complete answers, a second; none without calls.
    pub goodput: Option<f64>,
    /// Milliseconds to the first token of the streams that were served, in the median.
    pub first_token_p50_ms: Option<u64>,
    /// The same for one of a hundred.
    pub first_token_p99_ms: Option<u64>,
    /// Milliseconds to the end of the calls that were served, in the median.
    pub total_p50_ms: Option<u64>,
    /// The same for one of a hundred.
    pub total_p99_ms: Option<u64>,
    /// Requests on the wire.
    pub attempts: usize,
    /// The same for each call; none without calls.
    pub attempts_per_call: Option<f64>,
    /// Attempts that failed as an earlier response had reported they would: again too long, before the end of
    /// `Retry-After`, or without quota.
    pub futile_attempts: usize,
    /// Attempts that got 429.
    pub rate_limited: usize,
    /// The share of the scarcest limit of the providers that was used; none without limits.
    pub quota_used: Option<f64>,
    /// Tokens that providers bill.
    pub billed_tokens: u64,
    /// Those of attempts that no served caller got.
    pub wasted_tokens: u64,
    /// What the worst-off tenant got of its max-min fair share, from 0 to 1; none with one tenant.
    pub fairness: Option<f64>,
    /// Milliseconds from the start of the first fault after that of the scenario to the first call that does
    /// without its provider.
    pub detect_ms: Option<u64>,
    /// Milliseconds from the end of the fault to the first answer of that provider.
    pub recover_ms: Option<u64>,
    /// Permits that are held after all calls; none without permits.
    pub leaked_permits: Option<usize>,
}

impl Figures {
    /// Computes the figures of a run.
    pub(crate) fn of(
        scenario: &Scenario,
        stack: &'static str,
        seed: u64,
        scale: Scale,
        record: &Record,
    ) -> Self {
        let served = |result: &&CallOutcome| result.ending == CallEnding::Served;
        let results = || record.calls.iter().map(|(_, result)| result);
        let stayed = results().filter(|result| result.ending != CallEnding::Left).count();
        let first_token = Quantiles::of(results().filter(served).filter_map(|result| result.first_token));
        let total = Quantiles::of(results().filter(served).map(|result| result.total));
        let tokens = record.calls.iter().filter(|(_, result)| served(&result));
        let tokens: u64 = tokens.map(|(call, _)| u64::from(call.output)).sum();
        let billed: u64 = record.attempts.iter().map(|attempt| attempt.billed()).sum();
        let (detect, recover) = fault_times::of(scenario, record);
        Self {
            scenario: scenario.name.clone(),
            stack,
            seed,
            calls: record.calls.len(),
            served: results().filter(served).count(),
            success_rate: share(results().filter(served).count(), stayed),
            goodput: (!record.calls.is_empty())
                .then(|| rounded(tokens as f64 / scenario.duration.0.as_secs_f64())),
            first_token_p50_ms: first_token.at(0.5).map(millis),
            first_token_p99_ms: first_token.at(0.99).map(millis),
            total_p50_ms: total.at(0.5).map(millis),
            total_p99_ms: total.at(0.99).map(millis),
            attempts: record.attempts.len(),
            attempts_per_call: share(record.attempts.len(), record.calls.len()),
            futile_attempts: futile::count(&record.attempts),
            rate_limited: record.attempts.iter().filter(|attempt| attempt.status == Some(429)).count(),
            quota_used: quota::used(scenario, scale, record).map(rounded),
            billed_tokens: billed,
            wasted_tokens: billed - useful_tokens(record),
            fairness: fairness::of(scenario, record).map(rounded),
            detect_ms: detect.map(millis),
            recover_ms: recover.map(millis),
            leaked_permits: record.leaked,
        }
    }
}

/// The tokens of the attempts that answered a served call: the last complete one of each.
fn useful_tokens(record: &Record) -> u64 {
    let served = record.calls.iter().filter(|(_, result)| result.ending == CallEnding::Served);
    let mut served: BTreeSet<u32> = served.map(|(call, _)| call.number).collect();
    let answers = record.attempts.iter().rev().filter(|attempt| attempt.is_answer());
    answers.filter(|attempt| served.remove(&attempt.call)).map(|attempt| attempt.billed()).sum()
}

/// None of nothing has no meaning.
fn share(part: usize, whole: usize) -> Option<f64> {
    (whole > 0).then(|| rounded(part as f64 / whole as f64))
}

fn millis(time: Duration) -> u64 {
    time.as_millis() as u64
}

/// Four digits are more than a run means, and the same everywhere.
fn rounded(value: f64) -> f64 {
    (value * 10_000.0).round() / 10_000.0
}
