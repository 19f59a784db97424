//! Failure rates and slow call rates.

use std::time::Instant;

use super::SECOND;
use super::state::{FAILURE, RecordExt, circuit};
use crate::circuit_breaker::attempt_result::{AttemptResult, Latency};
use crate::circuit_breaker::settings::Settings;
use crate::circuit_breaker::{Reason, State};

fn by_rate(settings: &mut Settings) {
    settings.failure_threshold = u32::MAX;
    settings.failure_rate_threshold = Some(0.5);
    settings.minimum_throughput = 10;
    settings.sliding_window_size = Some(20);
}

/// Seed item 70.
#[test]
fn opens_at_the_failure_rate_but_not_on_a_handful_of_calls() {
    let (mut circuit, now) = (circuit(by_rate), Instant::now());
    (0..9).for_each(|_| circuit.call(FAILURE, Latency::Unknown, now));
    assert_eq!(circuit.state(now), State::Closed);
    // Nine of eighteen calls are half, but the last call was not a failure.
    (0..9).for_each(|_| circuit.call(AttemptResult::Success, Latency::Unknown, now));
    assert_eq!(circuit.state(now), State::Closed);
    circuit.call(FAILURE, Latency::Unknown, now);
    assert_eq!(circuit.last_transition().unwrap().reason, Reason::FailureRate { failures: 10, calls: 19 });
    assert_eq!(circuit.last_transition().unwrap().reason.to_string(), "failure rate 52 % of 19 calls");
    // The windows are cleared once the circuit has closed again.
    let now = now + 10 * SECOND;
    circuit.call(AttemptResult::Success, Latency::Unknown, now);
    (0..8).for_each(|_| circuit.call(FAILURE, Latency::Unknown, now));
    assert_eq!(circuit.state(now), State::Closed);
}

#[test]
fn a_window_smaller_than_the_minimum_is_evaluated_when_full() {
    let now = Instant::now();
    let mut circuit = circuit(|settings| {
        by_rate(settings);
        settings.sliding_window_size = Some(4);
    });
    (0..3).for_each(|_| circuit.call(FAILURE, Latency::Unknown, now));
    assert_eq!(circuit.state(now), State::Closed);
    circuit.call(FAILURE, Latency::Unknown, now);
    assert_eq!(circuit.state(now), State::Open);
}

#[test]
fn neutral_calls_are_not_in_the_window() {
    let (mut circuit, now) = (circuit(by_rate), Instant::now());
    (0..1_000).for_each(|_| circuit.call(AttemptResult::Neutral, Latency::Unknown, now));
    (0..10).for_each(|_| circuit.call(FAILURE, Latency::Unknown, now));
    assert_eq!(circuit.last_transition().unwrap().reason, Reason::FailureRate { failures: 10, calls: 10 });
}

fn by_pace(settings: &mut Settings) {
    settings.slow_call_threshold = Some(SECOND);
    settings.minimum_throughput = 10;
    settings.success_threshold = 2;
}

#[test]
fn opens_on_slow_calls_alone_and_recovers() {
    let (mut circuit, now) = (circuit(by_pace), Instant::now());
    for latency in [Latency::Fast, Latency::Slow].repeat(4) {
        circuit.call(AttemptResult::Success, latency, now);
    }
    circuit.call(AttemptResult::Success, Latency::Fast, now);
    assert_eq!(circuit.state(now), State::Closed);
    circuit.call(AttemptResult::Success, Latency::Slow, now);
    assert_eq!(circuit.last_transition().unwrap().reason.to_string(), "slow call rate 50 % of 10 calls");

    let now = now + 10 * SECOND;
    circuit.call(AttemptResult::Success, Latency::Fast, now);
    assert_eq!(circuit.state(now), State::HalfOpen);
    circuit.call(AttemptResult::Success, Latency::Slow, now);
    assert_eq!(
        (circuit.state(now), circuit.last_transition().unwrap().reason),
        (State::Open, Reason::ProbeSlow)
    );

    let now = now + 10 * SECOND;
    (0..2).for_each(|_| circuit.call(AttemptResult::Success, Latency::Fast, now));
    assert_eq!(circuit.state(now), State::Closed);
    assert_eq!(circuit.window_totals(now)[1].calls, 0, "the slow calls are cleared");
}

/// Pitfall P08 (docs/pitfalls.md): calls cut off by an outer timeout were not recorded.
#[test]
fn calls_dropped_after_a_long_wait_are_slow() {
    let (mut circuit, now) = (circuit(by_pace), Instant::now());
    (0..10).for_each(|_| circuit.call(AttemptResult::Neutral, Latency::Slow, now));
    assert_eq!(circuit.state(now), State::Open);
    circuit.call(AttemptResult::Neutral, Latency::Slow, now + 10 * SECOND);
    assert_eq!(circuit.last_transition().unwrap().reason, Reason::ProbeSlow);
}

#[test]
fn a_slow_failure_counts_as_failed_and_as_slow() {
    let now = Instant::now();
    let mut circuit = circuit(|settings| {
        by_pace(settings);
        by_rate(settings);
    });
    circuit.call(FAILURE, Latency::Slow, now);
    circuit.call(FAILURE, Latency::Fast, now);
    assert_eq!(circuit.window_totals(now).map(|totals| (totals.bad, totals.calls)), [(2, 2), (1, 2)]);
}
