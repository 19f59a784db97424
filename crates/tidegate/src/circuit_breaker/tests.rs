use std::time::{Duration, Instant};

use http_body_util::BodyExt;
use proptest::prelude::*;
use tidegate_testkit::{contract, strict::Answer};
use tower::{Layer, ServiceExt};

use super::layer::Settings;
use super::state::{Circuit, Mark, Pass, Reason, State};
use super::{CircuitBreakerLayer, Handle};
use crate::testing::{call, complete, rejection, request, strict};
use crate::{ErrorCode, Failure, Gate, Outcome, clock};

const SECOND: Duration = Duration::from_secs(1);
const FAILURE: Mark = Mark::Failure(ErrorCode::Overloaded, None);

fn circuit(change: impl FnOnce(&mut Settings)) -> Circuit {
    let mut settings = Settings { failure_threshold: 3, cooldown: 10 * SECOND, ..Settings::default() };
    change(&mut settings);
    Circuit::new(settings)
}

/// Opens the circuit, and passes its cooldown: the moment at which it lets a probe through.
fn half_open(circuit: &mut Circuit, now: Instant) -> Instant {
    for _ in 0..3 {
        let pass = circuit.admit(now).unwrap();
        circuit.record(pass, FAILURE, now);
    }
    assert_eq!(circuit.state(now), State::Open);
    now + 10 * SECOND
}

#[test]
fn opens_at_the_threshold_and_says_for_how_long() {
    let (mut circuit, now) = (circuit(|_| ()), Instant::now());
    let pass = circuit.admit(now).unwrap();
    circuit.record(pass, FAILURE, now);
    circuit.record(pass, FAILURE, now);
    assert_eq!((circuit.state(now), circuit.peek(now)), (State::Closed, None));
    circuit.record(pass, FAILURE, now);
    let closed = circuit.admit(now + 4 * SECOND).unwrap_err();
    assert_eq!(closed.reason, Reason::Failures(3, ErrorCode::Overloaded));
    assert_eq!(closed.retry_after, Some(6 * SECOND));
    // P33: an expired open circuit that is kept closed to all.
    assert_eq!((circuit.state(now + 10 * SECOND), circuit.peek(now + 10 * SECOND)), (State::HalfOpen, None));
}

/// P01: after 100 000 healthy calls an outage opened the circuit only after 100 000 failures.
#[test]
fn p01_a_long_healthy_past_does_not_delay_the_opening() {
    let (mut circuit, now) = (circuit(|_| ()), Instant::now());
    for _ in 0..100_000 {
        let pass = circuit.admit(now).unwrap();
        circuit.record(pass, Mark::Success, now);
    }
    half_open(&mut circuit, now);
}

#[test]
fn a_success_resets_the_count_and_neutral_changes_nothing() {
    let (mut circuit, now) = (circuit(|_| ()), Instant::now());
    let pass = circuit.admit(now).unwrap();
    for mark in [FAILURE, FAILURE, Mark::Success, FAILURE, FAILURE, Mark::Neutral] {
        circuit.record(pass, mark, now);
        assert_eq!(circuit.state(now), State::Closed);
    }
    circuit.record(pass, FAILURE, now);
    assert_eq!(circuit.state(now), State::Open);
}

/// P06: a result from before the trip closes, or re-opens, the half-open circuit.
#[test]
fn p06_results_of_an_earlier_generation_change_nothing() {
    let (mut circuit, start) = (circuit(|_| ()), Instant::now());
    let stale = circuit.admit(start).unwrap();
    let now = half_open(&mut circuit, start);
    let probe = circuit.admit(now).unwrap();
    for mark in [Mark::Success, FAILURE, Mark::Quota(None), Mark::Neutral] {
        circuit.record(stale, mark, now);
        assert_eq!(circuit.state(now), State::HalfOpen);
        assert!(circuit.admit(now).is_err(), "the probe still holds its slot");
    }
    circuit.record(probe, Mark::Success, now);
    assert_eq!(circuit.state(now), State::Closed);
    (0..10).for_each(|_| circuit.record(stale, FAILURE, now));
    assert_eq!(circuit.state(now), State::Closed);
}

/// P07: a probe that hangs holds half-open for ever.
#[test]
fn p07_a_hung_probe_is_replaced_when_its_lease_ends() {
    let (mut circuit, start) = (circuit(|settings| settings.probe_lease = 60 * SECOND), Instant::now());
    let now = half_open(&mut circuit, start);
    let hung = circuit.admit(now).unwrap();
    assert_eq!(circuit.peek(now).unwrap().reason, Reason::Probing);
    let later = now + 60 * SECOND;
    let second = circuit.admit(later).unwrap();
    circuit.record(hung, FAILURE, later);
    assert_eq!(circuit.state(later), State::HalfOpen);
    circuit.record(second, Mark::Success, later);
    assert_eq!(circuit.state(later), State::Closed);
}

#[test]
fn closes_after_enough_probes_in_a_row_and_any_failure_opens_again() {
    let (mut circuit, start) = (circuit(|settings| settings.success_threshold = 2), Instant::now());
    let now = half_open(&mut circuit, start);
    for mark in [Mark::Success, Mark::Neutral, FAILURE] {
        let probe = circuit.admit(now).unwrap();
        circuit.record(probe, mark, now);
    }
    assert_eq!(circuit.peek(now).unwrap().reason, Reason::ProbeFailed(ErrorCode::Overloaded));
    let now = now + 10 * SECOND;
    for _ in 0..2 {
        assert_eq!(circuit.state(now), State::HalfOpen);
        let probe = circuit.admit(now).unwrap();
        circuit.record(probe, Mark::Success, now);
    }
    assert_eq!(circuit.state(now), State::Closed);
}

#[test]
fn a_wait_that_the_provider_told_is_never_shortened() {
    let (mut circuit, now) = (circuit(|settings| settings.failure_threshold = 1), Instant::now());
    let pass = circuit.admit(now).unwrap();
    circuit.record(pass, Mark::Failure(ErrorCode::Overloaded, Some(90 * SECOND)), now);
    assert_eq!(circuit.peek(now).unwrap().retry_after, Some(90 * SECOND));
}

#[test]
fn an_exhausted_quota_opens_at_once_for_its_own_time() {
    for (told, wait) in [(None, 60 * SECOND), (Some(5 * SECOND), 5 * SECOND)] {
        let (mut circuit, now) = (circuit(|_| ()), Instant::now());
        let pass = circuit.admit(now).unwrap();
        circuit.record(pass, Mark::Quota(told), now);
        let closed = circuit.peek(now).unwrap();
        assert_eq!((closed.reason, closed.retry_after), (Reason::Quota, Some(wait)));
    }
}

/// P26: a 429 reset the failure count; a prompt that was too long marked the account as bad.
#[test]
fn p26_limits_and_the_callers_own_mistakes_change_nothing_in_either_direction() {
    let settings = Settings::default();
    for code in ErrorCode::ALL {
        let expected = match code {
            ErrorCode::ServerError | ErrorCode::Overloaded | ErrorCode::Timeout => Mark::Failure(code, None),
            ErrorCode::QuotaExhausted => Mark::Quota(None),
            _ => Mark::Neutral,
        };
        assert_eq!(Mark::of(&Failure::new(code).into(), &settings), expected, "{code}");
    }
    let strict = Settings { count_rate_limited: true, ..settings };
    let limited = Outcome::from(Failure::new(ErrorCode::RateLimited));
    assert_eq!(Mark::of(&limited, &strict), Mark::Failure(ErrorCode::RateLimited, None));
}

proptest! {
    /// P09: half-open let everybody in. Never more probes at once than configured, whatever happens to them.
    #[test]
    fn p09_half_open_never_has_more_than_its_probes_and_never_wedges(
        max in 1u32..5, steps in prop::collection::vec((0u8..4, 0usize..8), 1..200),
    ) {
        let mut circuit = circuit(|settings| {
            settings.half_open_max = max;
            settings.success_threshold = 1_000;
        });
        let mut now = half_open(&mut circuit, Instant::now());
        let mut live: Vec<Pass> = Vec::new();
        for (step, which) in steps {
            if step == 0 || live.is_empty() {
                if let Ok(pass) = circuit.admit(now) {
                    live.push(pass);
                }
                prop_assert!(live.len() <= max as usize);
                continue;
            }
            let pass = live.swap_remove(which % live.len());
            match step {
                1 => circuit.record(pass, Mark::Success, now),
                2 => circuit.record(pass, Mark::Neutral, now),
                _ => {
                    circuit.record(pass, FAILURE, now);
                    now += 10 * SECOND;
                    live.clear();
                }
            }
        }
        for pass in live {
            circuit.record(pass, Mark::Neutral, now);
        }
        prop_assert!(circuit.admit(now).is_ok());
    }
}

fn opened(handle: &Handle) -> bool {
    handle.state() == State::Open
}

#[tokio::test(start_paused = true)]
async fn keeps_towers_contract() {
    contract::check(|inner| CircuitBreakerLayer::new().layer(inner)).await;
    contract::check(|inner| CircuitBreakerLayer::disabled().layer(inner)).await;
}

/// P13: 100 x HTTP 503 left the breaker closed. P16: the inner service was called though the circuit was open.
#[tokio::test(start_paused = true)]
async fn p13_p16_reads_the_answer_and_does_not_call_once_open() {
    let (inner, provider) = strict();
    let layer = CircuitBreakerLayer::new().failure_threshold(3).cooldown(30 * SECOND);
    let mut service = layer.layer(inner);
    provider.otherwise(Answer::status(503));
    for _ in 0..3 {
        assert_eq!(complete(&mut service).await.unwrap(), 503);
    }
    let refused = rejection(call(&mut service).await);
    assert_eq!((refused.gate(), refused.retry_after()), (Gate::CircuitBreaker, Some(30 * SECOND)));
    assert_eq!(provider.calls(), 3);

    tokio::time::advance(30 * SECOND).await;
    provider.otherwise(Answer::status(200));
    assert_eq!(complete(&mut service).await.unwrap(), 200);
    assert_eq!(layer.handle().state(), State::Closed);
}

/// P03: a hundred streams cut short were recorded as a hundred successes.
#[tokio::test(start_paused = true)]
async fn p03_the_end_of_the_body_is_the_outcome() {
    let (inner, provider) = strict();
    let layer = CircuitBreakerLayer::new().failure_threshold(3);
    let mut service = layer.layer(inner);
    provider.otherwise(Answer::status(200).frame("tok").break_off("connection reset"));
    for _ in 0..3 {
        assert!(!opened(&layer.handle()));
        assert!(complete(&mut service).await.is_err());
    }
    assert!(opened(&layer.handle()));
}

#[tokio::test(start_paused = true)]
async fn callers_that_leave_say_nothing_about_the_provider() {
    let (inner, provider) = strict();
    let layer = CircuitBreakerLayer::new().failure_threshold(2);
    let mut service = layer.layer(inner);
    provider.answer(503);
    complete(&mut service).await.unwrap();
    provider.otherwise(Answer::status(200).frame("tok").stall());
    for _ in 0..50 {
        let mut response = call(&mut service).await.unwrap();
        response.body_mut().frame().await.unwrap().unwrap();
    }
    assert!(!opened(&layer.handle()));
    provider.otherwise(Answer::status(503));
    complete(&mut service).await.unwrap();
    assert!(opened(&layer.handle()), "nor did they reset the count");
}

/// P07: a probe that is dropped, before its head or in its body, leaks its slot.
#[tokio::test(start_paused = true)]
async fn p07_a_dropped_probe_gives_its_slot_back() {
    let (inner, provider) = strict();
    let layer = CircuitBreakerLayer::new().failure_threshold(1).success_threshold(3).cooldown(SECOND);
    let mut service = layer.layer(inner);
    provider.answer(503);
    complete(&mut service).await.unwrap();
    tokio::time::advance(SECOND).await;

    provider.hang();
    let mut probe = tokio_test::task::spawn(service.clone().oneshot(request()));
    assert!(probe.poll().is_pending());
    assert_eq!(rejection(call(&mut service).await).reason(), "circuit half-open, probes under way");
    drop(probe);

    // The probe succeeds with its head: another may go, though the body is not at its end.
    provider.answer(200).stall();
    let body = call(&mut service).await.unwrap();
    provider.answer(200).stall();
    let second = call(&mut service).await.unwrap();
    drop((body, second));
    assert_eq!(layer.handle().state(), State::HalfOpen);
    complete(&mut service).await.unwrap();
    assert_eq!(layer.handle().state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn the_answer_of_a_probe_that_breaks_off_later_is_a_failure_of_its_own() {
    for success_threshold in [1, 2] {
        let (inner, provider) = strict();
        let layer = CircuitBreakerLayer::new()
            .failure_threshold(1)
            .success_threshold(success_threshold)
            .cooldown(SECOND);
        let mut service = layer.layer(inner);
        provider.answer(503);
        complete(&mut service).await.unwrap();
        tokio::time::advance(SECOND).await;
        provider.answer(200).frame("tok").break_off("connection reset");
        let probe = call(&mut service).await.unwrap();
        assert!(!opened(&layer.handle()));
        probe.into_body().collect().await.unwrap_err();
        assert!(opened(&layer.handle()), "success_threshold {success_threshold}");
    }
}

/// P09: a thousand of a thousand were let in.
#[tokio::test(start_paused = true)]
async fn p09_half_open_admits_its_probes_of_a_thousand_callers() {
    let (inner, provider) = strict();
    let layer = CircuitBreakerLayer::new().failure_threshold(1).cooldown(SECOND).half_open_max(3);
    let mut service = layer.layer(inner);
    provider.answer(503);
    complete(&mut service).await.unwrap();
    tokio::time::advance(SECOND).await;
    provider.otherwise(Answer::hang());
    let mut calls: Vec<_> =
        (0..1_000).map(|_| tokio_test::task::spawn(service.clone().oneshot(request()))).collect();
    let refused = calls.iter_mut().filter_map(|call| match call.poll() {
        std::task::Poll::Ready(result) => Some(rejection(result)),
        std::task::Poll::Pending => None,
    });
    assert_eq!(refused.count(), 997);
    assert_eq!(provider.calls(), 1 + 3);
}

/// P17: one layer value is one circuit, however often it is applied.
#[tokio::test(start_paused = true)]
async fn p17_one_layer_is_one_circuit_unless_told_otherwise() {
    let shared = CircuitBreakerLayer::new().failure_threshold(1);
    let apart = shared.clone().per_service();
    for (layer, refused) in [(shared, true), (apart, false)] {
        let (inner, provider) = strict();
        provider.answer(500);
        complete(&mut layer.layer(inner.clone())).await.unwrap();
        assert_eq!(call(&mut layer.layer(inner)).await.is_err(), refused);
    }
}

#[tokio::test(start_paused = true)]
async fn reset_closes_and_forgets() {
    let (inner, provider) = strict();
    let layer = CircuitBreakerLayer::new().failure_threshold(1);
    let mut service = layer.layer(inner);
    provider.answer(500);
    complete(&mut service).await.unwrap();
    assert!(layer.handle().peek().is_some() && layer.handle().cooldown_remaining() == Some(30 * SECOND));
    layer.handle().reset();
    assert_eq!((complete(&mut service).await.unwrap(), layer.handle().peek()), (200, None));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_costs_no_time() {
    let (inner, provider) = strict();
    let mut service = CircuitBreakerLayer::new().failure_threshold(1).layer(inner);
    provider.answer(500);
    complete(&mut service).await.unwrap();
    let start = clock::now();
    assert!(tokio_test::task::spawn(service.oneshot(request())).poll().is_ready());
    assert_eq!(clock::now(), start);
}
