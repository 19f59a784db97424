//! A circuit that processes share, as one of them sees it.

use std::time::{Duration, Instant};

use super::SECOND;
use super::state::{FAILURE, RecordExt, circuit};
use crate::circuit_breaker::attempt_result::{AttemptResult, Latency};
use crate::circuit_breaker::circuit::Circuit;
use crate::circuit_breaker::rejections::RejectionCause;
use crate::circuit_breaker::settings::Settings;
use crate::circuit_breaker::{Reason, State};

fn shared() -> Circuit {
    let mut circuit = circuit(|settings| settings.half_open_max = 2);
    circuit.share();
    circuit
}

#[test]
fn no_call_is_a_probe_before_it_is_the_turn_of_this_process() {
    let (mut circuit, start) = (shared(), Instant::now());
    circuit.open_elsewhere(10 * SECOND, false, start);
    assert_eq!(circuit.last_transition().unwrap().reason, Reason::OpenElsewhere);
    assert_eq!(circuit.admit(start).unwrap_err().cause, RejectionCause::Failing);
    let later = start + 10 * SECOND;
    for _ in 0..2 {
        let rejection = circuit.admit(later).unwrap_err();
        assert_eq!(rejection.cause, RejectionCause::Probing);
        assert_eq!(rejection.retry_after, Some(Duration::from_millis(50)));
    }
    circuit.begin_turn(later + SECOND);
    assert!(circuit.admit(later).is_ok() && circuit.admit(later).is_ok());
    assert_eq!(circuit.admit(later).unwrap_err().cause, RejectionCause::Probing);
}

#[test]
fn a_turn_ends_with_its_result_and_without_a_probe() {
    let start = Instant::now();
    let half_open = || {
        let mut circuit = shared();
        circuit.open_elsewhere(Duration::ZERO, false, start);
        circuit.begin_turn(start + SECOND);
        circuit
    };
    let mut failed = half_open();
    failed.call(FAILURE, Latency::Unknown, start);
    assert!(failed.state(start) == State::Open && !failed.has_turn());
    let mut idle = half_open();
    let probe = idle.admit(start).unwrap();
    assert!(!idle.end_idle_turn() && idle.has_turn());
    idle.record_result(probe, AttemptResult::Neutral, start);
    assert!(idle.end_idle_turn() && !idle.has_turn());
    assert_eq!(idle.admit(start).unwrap_err().cause, RejectionCause::Probing);
    let mut succeeded = half_open();
    succeeded.call(AttemptResult::Success, Latency::Unknown, start);
    assert!(succeeded.state(start) == State::Closed && !succeeded.has_turn());
}

/// Regression: a process that was suspended opened the circuit that another one had closed meanwhile.
#[test]
fn a_probe_that_fails_after_its_lease_opens_no_shared_circuit() {
    let start = Instant::now();
    let lease = Settings::default().probe_lease;
    for (is_shared, after, expected) in
        [(true, lease, State::HalfOpen), (true, lease - SECOND, State::Open), (false, lease, State::Open)]
    {
        for (result, latency) in [(FAILURE, Latency::Unknown), (AttemptResult::Success, Latency::Slow)] {
            let mut circuit = if is_shared { shared() } else { circuit(|_| {}) };
            circuit.open_elsewhere(Duration::ZERO, false, start);
            circuit.begin_turn(start + SECOND);
            let probe = circuit.admit(start).unwrap();
            circuit.record(probe, result, latency, start + after, 0.0);
            assert_eq!(circuit.state(start + after), expected, "{is_shared} {after:?} {result:?}");
            assert!(circuit.probes() == 0, "its slot is free");
        }
    }
}

/// Regression: with a lease shorter than the attempt, the circuit was never opened again.
#[test]
fn a_probe_that_fails_after_its_lease_counts_while_no_other_process_can_have_the_turn() {
    let (mut circuit, start) = (shared(), Instant::now());
    circuit.open_elsewhere(Duration::ZERO, false, start);
    circuit.begin_turn(start + SECOND);
    let probe = circuit.admit(start).unwrap();
    let now = start + Settings::default().probe_lease + SECOND;
    circuit.begin_turn(now + SECOND);
    circuit.record_result(probe, FAILURE, now);
    assert_eq!(circuit.state(now), State::Open);
}

#[test]
fn the_later_time_holds_and_a_forced_state_stays() {
    let (mut circuit, start) = (shared(), Instant::now());
    circuit.open_elsewhere(10 * SECOND, false, start);
    circuit.open_elsewhere(5 * SECOND, false, start);
    assert_eq!(circuit.cooldown_remaining(start), Some(10 * SECOND));
    circuit.open_elsewhere(20 * SECOND, false, start);
    circuit.open_elsewhere(5 * SECOND, true, start);
    assert_eq!(circuit.admit(start).unwrap_err().cause, RejectionCause::Quota);
    assert_eq!(circuit.cooldown_remaining(start), Some(20 * SECOND));
    circuit.close_elsewhere(start);
    assert_eq!(circuit.last_transition().unwrap().reason, Reason::ClosedElsewhere);
    assert!(circuit.admit(start).is_ok());
    circuit.force(false, start);
    circuit.open_elsewhere(10 * SECOND, false, start);
    assert_eq!(circuit.state(start), State::Closed);
    circuit.force(true, start);
    circuit.close_elsewhere(start);
    assert_eq!(circuit.state(start), State::Open);
}

/// A shared circuit whose cooldown of 10 s doubles.
fn growing() -> Circuit {
    let mut circuit = circuit(|settings| {
        (settings.cooldown, settings.cooldown_growth) = (10 * SECOND, 2.0);
    });
    circuit.share();
    circuit
}

/// Regression: a cooldown that the store ended a moment later counted as another opening.
#[test]
fn the_later_end_of_a_cooldown_is_no_further_opening() {
    let mut circuit = growing();
    let start = Instant::now();
    circuit.open_elsewhere(10 * SECOND, false, start);
    let end = start + 10 * SECOND;
    circuit.open_elsewhere(Duration::from_millis(1), false, end);
    let now = end + SECOND;
    circuit.begin_turn(now + SECOND);
    circuit.call(FAILURE, Latency::Unknown, now);
    assert_eq!(circuit.remaining_cooldown(now), Some((20 * SECOND, false)));
}

/// Regression: each process counted its own openings alone, so that in a fleet the cooldown hardly grew.
#[test]
fn an_opening_elsewhere_lets_the_cooldown_grow() {
    let mut circuit = growing();
    let start = Instant::now();
    // Each of two processes probes in turn. A message that is sent again is no other opening.
    let mut now = start;
    for (wait, next) in [(10, 20), (40, 80)] {
        circuit.open_elsewhere(wait * SECOND, false, now);
        circuit.open_elsewhere(wait * SECOND, false, now);
        now += wait * SECOND;
        circuit.begin_turn(now + SECOND);
        circuit.call(FAILURE, Latency::Unknown, now);
        assert_eq!(circuit.remaining_cooldown(now), Some((next * SECOND, false)));
        now += next * SECOND;
    }
    // One that has been closed for as long begins anew.
    circuit.close_elsewhere(now);
    now += 80 * SECOND;
    circuit.open_elsewhere(10 * SECOND, false, now);
    now += 10 * SECOND;
    circuit.begin_turn(now + SECOND);
    circuit.call(FAILURE, Latency::Unknown, now);
    assert_eq!(circuit.remaining_cooldown(now), Some((20 * SECOND, false)));
}
