//! How the traffic ramps up after the circuit has closed.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::SECOND;
use super::state::{FAILURE, RecordExt, circuit, half_open};
use crate::circuit_breaker::State;
use crate::circuit_breaker::attempt_result::{AttemptResult, Latency};
use crate::circuit_breaker::circuit::Circuit;
use crate::circuit_breaker::circuit::ramp_up::RampUp;
use crate::circuit_breaker::rejections::RejectionCause;

/// Returns a circuit that has just closed, and the time at which it closed.
fn closed() -> (Circuit, Instant) {
    let mut circuit = circuit(|settings| settings.ramp_up = Some(100 * SECOND));
    let now = half_open(&mut circuit, Instant::now());
    circuit.call(AttemptResult::Success, Latency::Unknown, now);
    assert_eq!(circuit.state(now), State::Closed);
    (circuit, now)
}

fn admitted(circuit: &mut Circuit, now: Instant, calls: u32) -> usize {
    (0..calls).filter(|_| circuit.admit(now).is_ok()).count()
}

/// Seed item 72.
#[test]
fn begins_with_a_tenth_and_ends_with_all_calls() {
    let (mut circuit, now) = closed();
    assert!((100..=101).contains(&admitted(&mut circuit, now, 1_000)));
    assert!((549..=551).contains(&admitted(&mut circuit, now + 50 * SECOND, 1_000)));
    assert!(!circuit.admits_all());
    assert_eq!(admitted(&mut circuit, now + 100 * SECOND, 1_000), 1_000);
    assert!(circuit.admits_all(), "no call needs the lock any more");
}

#[test]
fn rejected_calls_get_a_short_wait_and_peek_rejects_none() {
    let (mut circuit, now) = closed();
    circuit.admit(now).unwrap();
    let rejection = circuit.admit(now).unwrap_err();
    assert_eq!((rejection.cause, rejection.retry_after), (RejectionCause::Ramping, Some(SECOND)));
    assert_eq!(circuit.peek(now), None);
    let near_its_end = now + 100 * SECOND - SECOND / 4;
    let soonest = (0..1_000).find_map(|_| circuit.admit(near_its_end).err()).unwrap();
    assert_eq!(soonest.retry_after, Some(SECOND / 4));
}

#[test]
fn failures_count_while_it_ramps_up() {
    let (mut circuit, now) = closed();
    let admission = circuit.admit(now).unwrap();
    (0..3).for_each(|_| circuit.record_result(admission, FAILURE, now));
    assert_eq!(circuit.state(now), State::Open);
}

#[test]
fn a_reset_is_not_ramped() {
    let (mut circuit, now) = closed();
    circuit.reset(now);
    assert_eq!(admitted(&mut circuit, now, 1_000), 1_000);
}

proptest! {
    /// Of every run of calls the ramp admits at most the share at the end of the run, and at least the share
    /// at its beginning, each to within one call.
    #[test]
    fn every_run_of_calls_gets_its_share(
        gaps in prop::collection::vec(0u64..200, 1..300), from in 0usize..300,
    ) {
        let start = Instant::now();
        let mut ramp = RampUp::new(10 * SECOND, start);
        let share = |at: Duration| (0.1 + 0.09 * at.as_secs_f64()).min(1.0);
        let mut at = Duration::ZERO;
        let (mut calls, mut passed, mut least) = (0, 0, f64::NAN);
        for (number, gap) in gaps.into_iter().enumerate() {
            at += Duration::from_millis(gap);
            let admitted = ramp.admit(start + at).is_ok();
            if number >= from {
                least = least.min(share(at));
                calls += 1;
                passed += u32::from(admitted);
            }
        }
        let (calls, passed) = (f64::from(calls), f64::from(passed));
        prop_assert!(passed <= calls * share(at) + 1.0001, "{passed} of {calls}");
        prop_assert!(calls == 0.0 || passed >= calls * least - 1.0001, "{passed} of {calls}");
    }
}
