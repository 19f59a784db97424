//! The circuit as plain data.

use std::time::Instant;

use proptest::prelude::*;

use super::SECOND;
use crate::circuit_breaker::attempt_result::{AttemptResult, Latency};
use crate::circuit_breaker::circuit::{Circuit, CircuitAdmission};
use crate::circuit_breaker::rejections::RejectionCause;
use crate::circuit_breaker::settings::Settings;
use crate::circuit_breaker::{Reason, State};
use crate::store::WindowSpan;
use crate::{ErrorCode, Failure, FailureKind, Outcome};

pub(super) const FAILURE: AttemptResult = AttemptResult::Failure(ErrorCode::Overloaded, None);

pub(super) fn circuit(change: impl FnOnce(&mut Settings)) -> Circuit {
    let mut settings = Settings { failure_threshold: 3, cooldown: 10 * SECOND, ..Settings::default() };
    change(&mut settings);
    Circuit::new(settings)
}

/// The numbers that the module page gives for settings that are absent.
#[test]
fn absent_settings_have_the_documented_values() {
    let settings = Settings::default();
    assert_eq!((settings.window(), settings.slow_call_rate()), (WindowSpan::Calls(100), 0.5));
    assert_eq!(settings.longest_cooldown(), 300 * SECOND);
    let settings = Settings { cooldown: 400 * SECOND, ..settings };
    assert_eq!(settings.longest_cooldown(), 400 * SECOND);
}

/// Short forms for tests without latency and jitter.
pub(super) trait RecordExt {
    fn record_result(&mut self, admission: CircuitAdmission, result: AttemptResult, now: Instant);

    /// Runs one call from admission to the head and to a successful end.
    fn call(&mut self, result: AttemptResult, latency: Latency, now: Instant);
}

impl RecordExt for Circuit {
    fn record_result(&mut self, admission: CircuitAdmission, result: AttemptResult, now: Instant) {
        self.record(admission, result, Latency::Unknown, now, 0.0);
    }

    fn call(&mut self, result: AttemptResult, latency: Latency, now: Instant) {
        let admission = self.admit(now).unwrap();
        match result {
            AttemptResult::Success => {
                if let Some(body) = self.record_head(admission, true, latency, now, 0.0) {
                    self.record_result(body, result, now);
                }
            }
            _ => self.record(admission, result, latency, now, 0.0),
        }
    }
}

/// Opens the circuit, and returns the time at which it admits a probe.
pub(super) fn half_open(circuit: &mut Circuit, now: Instant) -> Instant {
    for _ in 0..3 {
        let admission = circuit.admit(now).unwrap();
        circuit.record_result(admission, FAILURE, now);
    }
    assert_eq!(circuit.state(now), State::Open);
    now + 10 * SECOND
}

/// Seed item 32.
#[test]
fn opens_at_the_threshold_and_returns_for_how_long() {
    let (mut circuit, now) = (circuit(|_| ()), Instant::now());
    let admission = circuit.admit(now).unwrap();
    circuit.record_result(admission, FAILURE, now);
    circuit.record_result(admission, FAILURE, now);
    assert_eq!((circuit.state(now), circuit.peek(now)), (State::Closed, None));
    circuit.record_result(admission, FAILURE, now);
    let rejection = circuit.admit(now + 4 * SECOND).unwrap_err();
    let reason = Reason::Failures { count: 3, code: ErrorCode::Overloaded, alike: true };
    assert_eq!(
        (rejection.cause, circuit.last_transition().unwrap().reason),
        (RejectionCause::Failing, reason)
    );
    assert_eq!(rejection.retry_after, Some(6 * SECOND));
    // Pitfall P33 (docs/pitfalls.md): an open circuit rejected every call after its cooldown had passed.
    assert_eq!((circuit.state(now + 10 * SECOND), circuit.peek(now + 10 * SECOND)), (State::HalfOpen, None));
}

/// Pitfall P01 (docs/pitfalls.md): after 100 000 healthy calls an outage opened the circuit only after 100
/// 000 failures.
#[test]
fn a_long_healthy_past_does_not_delay_the_opening() {
    let second_per_call = |call: u32| call * SECOND / 100;
    for (window, within) in
        [(None, 3), (Some(WindowSpan::Calls(100)), 50), (Some(WindowSpan::Time(10 * SECOND)), 500)]
    {
        let start = Instant::now();
        let mut circuit = circuit(|settings| {
            if let Some(window) = window {
                settings.failure_threshold = u32::MAX;
                settings.failure_rate_threshold = Some(0.5);
                settings.set_window(window);
            }
        });
        for call in 0..100_000 {
            circuit.call(AttemptResult::Success, Latency::Unknown, start + second_per_call(call));
        }
        let mut failures = 0;
        while circuit.state(start) == State::Closed {
            circuit.call(FAILURE, Latency::Unknown, start + second_per_call(100_000 + failures));
            failures += 1;
        }
        assert!(failures <= within, "{window:?}: {failures}");
    }
}

/// Seed item 31.
#[test]
fn a_success_resets_the_count_and_neutral_changes_nothing() {
    let (mut circuit, now) = (circuit(|_| ()), Instant::now());
    let admission = circuit.admit(now).unwrap();
    for result in [FAILURE, FAILURE, AttemptResult::Success, FAILURE, FAILURE, AttemptResult::Neutral] {
        circuit.record_result(admission, result, now);
        assert_eq!(circuit.state(now), State::Closed);
    }
    circuit.record_result(admission, FAILURE, now);
    assert_eq!(circuit.state(now), State::Open);
}

/// Pitfall P06 (docs/pitfalls.md): a result from before the opening closed, or re-opened, the half-open
/// circuit.
#[test]
fn results_of_an_earlier_generation_change_nothing() {
    let (mut circuit, start) = (circuit(|_| ()), Instant::now());
    let stale = circuit.admit(start).unwrap();
    let now = half_open(&mut circuit, start);
    let probe = circuit.admit(now).unwrap();
    for result in [AttemptResult::Success, FAILURE, AttemptResult::Quota(None), AttemptResult::Neutral] {
        circuit.record_result(stale, result, now);
        assert_eq!(circuit.state(now), State::HalfOpen);
        assert!(circuit.admit(now).is_err(), "the probe still holds its slot");
    }
    circuit.record_result(probe, AttemptResult::Success, now);
    assert_eq!(circuit.state(now), State::Closed);
    (0..10).for_each(|_| circuit.record_result(stale, FAILURE, now));
    assert_eq!(circuit.state(now), State::Closed);
}

/// Pitfall P07 (docs/pitfalls.md): a probe that hung kept the circuit half-open for ever.
#[test]
fn a_hung_probe_is_replaced_when_its_lease_ends() {
    let (mut circuit, start) = (circuit(|settings| settings.probe_lease = 60 * SECOND), Instant::now());
    let now = half_open(&mut circuit, start);
    let hung = circuit.admit(now).unwrap();
    assert_eq!(circuit.peek(now).unwrap().cause, RejectionCause::Probing);
    let later = now + 60 * SECOND;
    let second = circuit.admit(later).unwrap();
    circuit.record_result(hung, FAILURE, later);
    assert_eq!(circuit.state(later), State::HalfOpen);
    circuit.record_result(second, AttemptResult::Success, later);
    assert_eq!(circuit.state(later), State::Closed);
}

/// Seed items 22 and 34.
#[test]
fn closes_after_enough_probes_in_a_row_and_any_failure_opens_again() {
    let (mut circuit, start) = (circuit(|settings| settings.success_threshold = 2), Instant::now());
    let now = half_open(&mut circuit, start);
    for result in [AttemptResult::Success, AttemptResult::Neutral, FAILURE] {
        let probe = circuit.admit(now).unwrap();
        circuit.record_result(probe, result, now);
    }
    assert_eq!(circuit.last_transition().unwrap().reason, Reason::ProbeFailed(ErrorCode::Overloaded));
    let now = now + 10 * SECOND;
    for _ in 0..2 {
        assert_eq!(circuit.state(now), State::HalfOpen);
        let probe = circuit.admit(now).unwrap();
        circuit.record_result(probe, AttemptResult::Success, now);
    }
    assert_eq!(circuit.state(now), State::Closed);
}

#[test]
fn a_wait_sent_by_the_provider_is_never_shortened() {
    let (mut circuit, now) = (circuit(|settings| settings.failure_threshold = 1), Instant::now());
    let admission = circuit.admit(now).unwrap();
    circuit.record_result(admission, AttemptResult::Failure(ErrorCode::Overloaded, Some(90 * SECOND)), now);
    assert_eq!(circuit.peek(now).unwrap().retry_after, Some(90 * SECOND));
}

#[test]
fn an_exhausted_quota_opens_the_circuit_at_once_for_its_own_time() {
    for (retry_after, wait) in [(None, 60 * SECOND), (Some(5 * SECOND), 5 * SECOND)] {
        let (mut circuit, now) = (circuit(|_| ()), Instant::now());
        let admission = circuit.admit(now).unwrap();
        circuit.record_result(admission, AttemptResult::Quota(retry_after), now);
        let rejection = circuit.peek(now).unwrap();
        assert_eq!((rejection.cause, rejection.retry_after), (RejectionCause::Quota, Some(wait)));
    }
}

/// Pitfall P26 (docs/pitfalls.md): a 429 reset the failure count, and a prompt that was too long marked the
/// account as bad.
#[test]
fn rate_limits_and_caller_errors_change_nothing_in_either_direction() {
    let settings = Settings::default();
    for code in ErrorCode::ALL {
        let expected = match code {
            ErrorCode::ServerError | ErrorCode::Overloaded | ErrorCode::Timeout => {
                AttemptResult::Failure(code, None)
            }
            ErrorCode::QuotaExhausted => AttemptResult::Quota(None),
            _ => AttemptResult::Neutral,
        };
        assert_eq!(AttemptResult::of(&Failure::new(code).into(), &settings), expected, "{code}");
    }
    let strict = Settings { count_rate_limited: true, ..settings };
    let limited = Outcome::from(Failure::new(ErrorCode::RateLimited));
    assert_eq!(AttemptResult::of(&limited, &strict), AttemptResult::Failure(ErrorCode::RateLimited, None));
    for code in ErrorCode::ALL {
        let neutral = Failure { kind: FailureKind::NotProcessed, ..Failure::new(code) };
        assert_eq!(AttemptResult::of(&neutral.into(), &strict), AttemptResult::Neutral, "{code}");
    }
}

#[test]
fn reasons_distinguish_equal_codes_from_different_ones() {
    for (codes, reason) in [
        ([ErrorCode::Overloaded; 3], "3 consecutive E3002"),
        (
            [ErrorCode::Timeout, ErrorCode::Overloaded, ErrorCode::Overloaded],
            "3 consecutive failures, the last E3002",
        ),
    ] {
        let (mut circuit, now) = (circuit(|_| ()), Instant::now());
        for code in codes {
            circuit.call(AttemptResult::Failure(code, None), Latency::Unknown, now);
        }
        assert_eq!(circuit.last_transition().unwrap().reason.to_string(), reason);
        assert_eq!(circuit.last_failure(), Some((ErrorCode::Overloaded, now)));
    }
}

proptest! {
    /// Pitfall P09 (docs/pitfalls.md): half-open admitted every call. There are never more concurrent probes
    /// than configured, whatever their results.
    #[test]
    fn half_open_never_has_more_than_its_probes_and_never_wedges(
        max in 1u32..5, steps in prop::collection::vec((0u8..4, 0usize..8), 1..200),
    ) {
        let mut circuit = circuit(|settings| {
            settings.half_open_max = max;
            settings.success_threshold = 1_000;
        });
        let mut now = half_open(&mut circuit, Instant::now());
        let mut live: Vec<CircuitAdmission> = Vec::new();
        for (step, which) in steps {
            if step == 0 || live.is_empty() {
                if let Ok(admission) = circuit.admit(now) {
                    live.push(admission);
                }
                prop_assert!(live.len() <= max as usize);
                continue;
            }
            let admission = live.swap_remove(which % live.len());
            match step {
                1 => circuit.record_result(admission, AttemptResult::Success, now),
                2 => circuit.record_result(admission, AttemptResult::Neutral, now),
                _ => {
                    circuit.record_result(admission, FAILURE, now);
                    now += 10 * SECOND;
                    live.clear();
                }
            }
        }
        for admission in live {
            circuit.record_result(admission, AttemptResult::Neutral, now);
        }
        prop_assert!(circuit.admit(now).is_ok());
    }
}
