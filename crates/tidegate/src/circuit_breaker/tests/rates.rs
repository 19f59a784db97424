//! Failure rates and slow call rates.

use std::time::Instant;

use super::SECOND;
use super::state::{FAILURE, Marking, circuit};
use crate::circuit_breaker::mark::{Mark, Pace};
use crate::circuit_breaker::settings::Settings;
use crate::circuit_breaker::window::Span;
use crate::circuit_breaker::{Reason, State};

fn by_rate(settings: &mut Settings) {
    settings.failure_threshold = u32::MAX;
    settings.failure_rate_threshold = Some(0.5);
    settings.minimum_throughput = 10;
    settings.window = Span::Calls(20);
}

#[test]
fn opens_at_the_failure_rate_but_not_on_a_handful_of_calls() {
    let (mut circuit, now) = (circuit(by_rate), Instant::now());
    (0..9).for_each(|_| circuit.call(FAILURE, Pace::Unknown, now));
    assert_eq!(circuit.state(now), State::Closed);
    // Nine of eighteen are half, but it was not a failure that made it so.
    (0..9).for_each(|_| circuit.call(Mark::Success, Pace::Unknown, now));
    assert_eq!(circuit.state(now), State::Closed);
    circuit.call(FAILURE, Pace::Unknown, now);
    assert_eq!(circuit.latest().unwrap().reason, Reason::FailureRate { failures: 10, calls: 19 });
    assert_eq!(circuit.latest().unwrap().reason.to_string(), "failure rate 52 % of 19 calls");
    // And once it has closed again, nobody remembers.
    let now = now + 10 * SECOND;
    circuit.call(Mark::Success, Pace::Unknown, now);
    (0..8).for_each(|_| circuit.call(FAILURE, Pace::Unknown, now));
    assert_eq!(circuit.state(now), State::Closed);
}

#[test]
fn a_window_smaller_than_the_minimum_is_judged_when_full() {
    let now = Instant::now();
    let mut circuit = circuit(|settings| {
        by_rate(settings);
        settings.window = Span::Calls(4);
    });
    (0..3).for_each(|_| circuit.call(FAILURE, Pace::Unknown, now));
    assert_eq!(circuit.state(now), State::Closed);
    circuit.call(FAILURE, Pace::Unknown, now);
    assert_eq!(circuit.state(now), State::Open);
}

#[test]
fn neutral_calls_are_not_in_the_window() {
    let (mut circuit, now) = (circuit(by_rate), Instant::now());
    (0..1_000).for_each(|_| circuit.call(Mark::Neutral, Pace::Unknown, now));
    (0..10).for_each(|_| circuit.call(FAILURE, Pace::Unknown, now));
    assert_eq!(circuit.latest().unwrap().reason, Reason::FailureRate { failures: 10, calls: 10 });
}

fn by_pace(settings: &mut Settings) {
    settings.slow_call_threshold = Some(SECOND);
    settings.minimum_throughput = 10;
    settings.success_threshold = 2;
}

#[test]
fn opens_on_slowness_alone_and_recovers_from_it() {
    let (mut circuit, now) = (circuit(by_pace), Instant::now());
    for pace in [Pace::Fast, Pace::Slow].repeat(4) {
        circuit.call(Mark::Success, pace, now);
    }
    circuit.call(Mark::Success, Pace::Fast, now);
    assert_eq!(circuit.state(now), State::Closed);
    circuit.call(Mark::Success, Pace::Slow, now);
    assert_eq!(circuit.latest().unwrap().reason.to_string(), "slow call rate 50 % of 10 calls");

    let now = now + 10 * SECOND;
    circuit.call(Mark::Success, Pace::Fast, now);
    assert_eq!(circuit.state(now), State::HalfOpen);
    circuit.call(Mark::Success, Pace::Slow, now);
    assert_eq!((circuit.state(now), circuit.latest().unwrap().reason), (State::Open, Reason::ProbeSlow));

    let now = now + 10 * SECOND;
    (0..2).for_each(|_| circuit.call(Mark::Success, Pace::Fast, now));
    assert_eq!(circuit.state(now), State::Closed);
    assert_eq!(circuit.tallies(now)[1].calls, 0, "what was slow is forgotten");
}

/// P08: calls cut by an outer time-out were recorded as nothing.
#[test]
fn p08_callers_that_leave_after_a_long_wait_saw_that_it_is_slow() {
    let (mut circuit, now) = (circuit(by_pace), Instant::now());
    (0..10).for_each(|_| circuit.call(Mark::Neutral, Pace::Slow, now));
    assert_eq!(circuit.state(now), State::Open);
    circuit.call(Mark::Neutral, Pace::Slow, now + 10 * SECOND);
    assert_eq!(circuit.latest().unwrap().reason, Reason::ProbeSlow);
}

#[test]
fn a_slow_failure_is_both() {
    let now = Instant::now();
    let mut circuit = circuit(|settings| {
        by_pace(settings);
        by_rate(settings);
    });
    circuit.call(FAILURE, Pace::Slow, now);
    circuit.call(FAILURE, Pace::Fast, now);
    assert_eq!(circuit.tallies(now).map(|tally| (tally.bad, tally.calls)), [(2, 2), (1, 2)]);
}
