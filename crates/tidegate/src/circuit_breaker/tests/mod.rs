mod cooldown;
mod handle;
mod keyed;
mod long_streams;
#[cfg(tidegate_loom)]
mod loom;
mod open_budget;
mod ramp_up;
mod rare_calls;
mod rates;
mod reference_model;
mod shared;
mod shared_probes;
mod shared_windows;
mod soak;
mod state;
mod window;

use http_body_util::BodyExt;
use tidegate_testkit::contract;
use tidegate_testkit::strict::{self, Answer, Strict};
use tower::{Layer, ServiceExt};

use super::{CircuitBreaker, CircuitBreakerLayer, Handle, State};
use crate::chain_position::AttemptNumber;
use crate::testing::{SECOND, call, complete, rejection, request, request_with, send, strict, strict_behind};
use crate::{
    ErrorCode, Failure, Gate, HintSource, Outcome, Payload, RejectionReason, RetryHint, StreamOutcome,
    TimeoutLayer, clock,
};

fn opened(handle: &Handle) -> bool {
    handle.state() == State::Open
}

/// Makes calls to which the provider responds with status 503.
async fn fail(service: &mut CircuitBreaker<Strict<Payload>>, provider: &strict::Handle, calls: usize) {
    for _ in 0..calls {
        provider.answer(503);
        assert_eq!(complete(service).await.unwrap(), 503);
    }
}

#[tokio::test(start_paused = true)]
async fn keeps_towers_contract() {
    contract::check(|inner| CircuitBreakerLayer::new().layer(inner)).await;
    contract::check(|inner| CircuitBreakerLayer::disabled().layer(inner)).await;
}

/// Pitfall P13 (docs/pitfalls.md): 100 responses with status 503 left the breaker closed. Pitfall P16: the
/// inner service was called although the circuit was open.
#[tokio::test(start_paused = true)]
async fn reads_the_response_status_and_does_not_call_the_inner_service_once_open() {
    let layer = CircuitBreakerLayer::new().failure_threshold(3).cooldown(30 * SECOND);
    let (mut service, provider) = strict_behind(&layer);
    fail(&mut service, &provider, 3).await;
    let rejected = rejection(call(&mut service).await);
    assert_eq!((rejected.gate(), rejected.retry_after()), (Gate::CircuitBreaker, Some(30 * SECOND)));
    assert_eq!(provider.calls(), 3);

    tokio::time::advance(30 * SECOND).await;
    provider.otherwise(Answer::status(200));
    assert_eq!(complete(&mut service).await.unwrap(), 200);
    assert_eq!(layer.handle().state(), State::Closed);
}

/// Pitfall P03 (docs/pitfalls.md): a hundred truncated streams were recorded as a hundred successes.
#[tokio::test(start_paused = true)]
async fn the_end_of_the_body_is_the_outcome() {
    let layer = CircuitBreakerLayer::new().failure_threshold(3);
    let (mut service, provider) = strict_behind(&layer);
    provider.otherwise(Answer::status(200).frame("tok").break_off("connection reset"));
    for _ in 0..3 {
        assert!(!opened(&layer.handle()));
        assert!(complete(&mut service).await.is_err());
    }
    assert!(opened(&layer.handle()));
}

#[tokio::test(start_paused = true)]
async fn dropped_calls_are_neutral() {
    let layer = CircuitBreakerLayer::new().failure_threshold(2);
    let (mut service, provider) = strict_behind(&layer);
    fail(&mut service, &provider, 1).await;
    provider.otherwise(Answer::status(200).frame("tok").stall());
    for _ in 0..50 {
        let mut response = call(&mut service).await.unwrap();
        response.body_mut().frame().await.unwrap().unwrap();
    }
    assert!(!opened(&layer.handle()));
    provider.otherwise(Answer::status(503));
    complete(&mut service).await.unwrap();
    assert!(opened(&layer.handle()), "the dropped calls do not reset the count");
}

/// Pitfall P07 (docs/pitfalls.md): a probe that was dropped, before its head or in its body, leaked its slot.
#[tokio::test(start_paused = true)]
async fn a_dropped_probe_releases_its_slot() {
    let layer = CircuitBreakerLayer::new().failure_threshold(1).success_threshold(3).cooldown(SECOND);
    let (mut service, provider) = strict_behind(&layer);
    fail(&mut service, &provider, 1).await;
    tokio::time::advance(SECOND).await;

    provider.hang();
    let mut probe = tokio_test::task::spawn(service.clone().oneshot(request()));
    assert!(probe.poll().is_pending());
    assert_eq!(rejection(call(&mut service).await).reason(), RejectionReason::ProbesInFlight);
    drop(probe);

    // The probe succeeds with its head. Another probe may start although the body has not ended.
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
async fn the_body_of_a_successful_probe_that_breaks_off_is_a_failure() {
    for success_threshold in [1, 2] {
        let layer = CircuitBreakerLayer::new()
            .failure_threshold(1)
            .success_threshold(success_threshold)
            .cooldown(SECOND);
        let (mut service, provider) = strict_behind(&layer);
        fail(&mut service, &provider, 1).await;
        tokio::time::advance(SECOND).await;
        provider.answer(200).frame("tok").break_off("connection reset");
        let probe = call(&mut service).await.unwrap();
        assert!(!opened(&layer.handle()));
        probe.into_body().collect().await.unwrap_err();
        assert!(opened(&layer.handle()), "success_threshold {success_threshold}");
    }
}

/// Pitfall P09 (docs/pitfalls.md): a thousand of a thousand calls were admitted.
/// Seed item 33.
#[tokio::test(start_paused = true)]
async fn half_open_admits_only_its_probes_of_a_thousand_callers() {
    let layer = CircuitBreakerLayer::new().failure_threshold(1).cooldown(SECOND).half_open_max(3);
    let (mut service, provider) = strict_behind(&layer);
    fail(&mut service, &provider, 1).await;
    tokio::time::advance(SECOND).await;
    provider.otherwise(Answer::hang());
    let mut calls: Vec<_> =
        (0..1_000).map(|_| tokio_test::task::spawn(service.clone().oneshot(request()))).collect();
    let mut rejected = 0;
    for call in &mut calls {
        // A task that is rejected too often without a pause has to yield.
        tokio::task::yield_now().await;
        if let std::task::Poll::Ready(result) = call.poll() {
            rejection(result);
            rejected += 1;
        }
    }
    assert_eq!(rejected, 997);
    assert_eq!(provider.calls(), 1 + 3);
}

/// Pitfall P08 (docs/pitfalls.md): calls cut off by an outer timeout were not recorded: 100 of 100 timeouts,
/// circuit closed.
#[tokio::test(start_paused = true)]
async fn timeouts_count_whether_the_timer_is_inside_or_outside() {
    let (inner, provider) = strict();
    let layer = CircuitBreakerLayer::new();
    let mut service = layer.layer(TimeoutLayer::new(SECOND).layer(inner.clone()));
    provider.otherwise(Answer::hang());
    for _ in 0..5 {
        call(&mut service).await.err().unwrap();
    }
    assert!(opened(&layer.handle()), "the timer of the stack, inside");

    let layer = CircuitBreakerLayer::new().slow_call_threshold(SECOND);
    let mut service = layer.layer(inner);
    for _ in 0..20 {
        assert!(tokio::time::timeout(2 * SECOND, call(&mut service)).await.is_err());
    }
    assert!(opened(&layer.handle()), "the caller's timer, outside");
    assert!(layer.handle().snapshot().reason.unwrap().to_string().starts_with("slow call rate 100 %"));
}

#[tokio::test(start_paused = true)]
async fn the_latency_of_a_stream_is_recorded_at_its_first_token() {
    let layer = CircuitBreakerLayer::new().slow_call_threshold(SECOND).sliding_window_size(2);
    let (mut service, provider) = strict_behind(&layer);
    // These streams begin quickly and are long: they are not slow.
    for _ in 0..5 {
        provider.answer(200).frame("tok").pause(60 * SECOND).frame("tok");
        complete(&mut service).await.unwrap();
    }
    assert_eq!(layer.handle().snapshot().slow_call_rate, Some(0.0));
    // These streams begin slowly. That is known before the body ends.
    provider.otherwise(Answer::status(200).after(SECOND).stall());
    let first = call(&mut service).await.unwrap();
    let _bodies = (first, call(&mut service).await);
    assert!(opened(&layer.handle()));
}

/// Regression: the latency of a head without a token was dropped, and the circuit closed.
#[tokio::test(start_paused = true)]
async fn a_slow_probe_that_is_passed_on_without_a_token_opens_it_again() {
    for (delay, is_read, expected) in [
        (2 * SECOND, true, State::Open),
        (2 * SECOND, false, State::Open),
        (SECOND / 2, true, State::Closed),
        (SECOND / 2, false, State::HalfOpen),
    ] {
        let layer = CircuitBreakerLayer::new().failure_threshold(1).slow_call_threshold(SECOND);
        let (mut service, provider) = strict_behind(&layer);
        provider.answer(529);
        complete(&mut service).await.unwrap();
        tokio::time::sleep(60 * SECOND).await;
        let unproven = StreamOutcome::new();
        unproven.set_unproven();
        provider.answer(200).frame("event").extension(unproven).after(delay);
        let body = call(&mut service).await.unwrap().into_body();
        if is_read {
            body.collect().await.unwrap();
        } else {
            drop(body);
        }
        assert_eq!(layer.handle().state(), expected, "{delay:?}, {is_read}");
    }
}

/// Seed item 35.
#[tokio::test(start_paused = true)]
async fn opens_on_slow_calls_alone_and_recovers() {
    let (inner, provider) = strict();
    let layer = CircuitBreakerLayer::new()
        .slow_call_threshold(2 * SECOND)
        .slow_call_rate_threshold(0.8)
        .minimum_throughput(10)
        .cooldown(10 * SECOND);
    let (circuit, mut service) = (layer.handle(), layer.layer(inner));
    provider.otherwise(Answer::status(200).after(3 * SECOND));
    for _ in 0..10 {
        assert!(!opened(&circuit));
        assert_eq!(complete(&mut service).await.unwrap(), 200);
    }
    assert!(opened(&circuit));
    tokio::time::advance(10 * SECOND).await;
    complete(&mut service).await.unwrap();
    assert!(opened(&circuit), "a slow probe opens it again");
    tokio::time::advance(10 * SECOND).await;
    provider.otherwise(Answer::status(200).after(SECOND));
    complete(&mut service).await.unwrap();
    assert_eq!(circuit.state(), State::Closed);
}

/// Pitfall P01 (docs/pitfalls.md): after 100 000 healthy calls an outage opened the circuit only after 100
/// 000 failures.
#[tokio::test(start_paused = true)]
async fn an_outage_after_100_000_healthy_calls_opens_within_half_a_window() {
    let layer = CircuitBreakerLayer::new().failure_threshold(u32::MAX).failure_rate_threshold(0.5);
    let (mut service, provider) = strict_behind(&layer);
    for _ in 0..100_000 {
        complete(&mut service).await.unwrap();
    }
    provider.otherwise(Answer::status(503));
    let mut failures = 0;
    while !opened(&layer.handle()) {
        complete(&mut service).await.unwrap();
        failures += 1;
    }
    assert_eq!(failures, 50);
}

/// Pitfall P17 (docs/pitfalls.md). One layer value is one circuit, however often it is applied.
#[tokio::test(start_paused = true)]
async fn one_layer_is_one_circuit_unless_it_is_per_service() {
    let shared = CircuitBreakerLayer::new().failure_threshold(1);
    let separate = shared.clone().per_service();
    for (layer, rejected) in [(shared, true), (separate, false)] {
        let (inner, provider) = strict();
        provider.answer(500);
        complete(&mut layer.layer(inner.clone())).await.unwrap();
        assert_eq!(call(&mut layer.layer(inner)).await.is_err(), rejected);
    }
}

/// Seed item 39: the totals stay. What the latest calls showed is cleared everywhere.
#[tokio::test(start_paused = true)]
async fn reset_closes_the_circuit_and_clears_its_statistics() {
    let (inner, provider) = strict();
    let layer = CircuitBreakerLayer::new().failure_threshold(5);
    let (circuit, mut service) = (layer.handle(), layer.layer(inner));
    for status in [200, 500, 500, 500, 500, 500] {
        provider.answer(status);
        complete(&mut service).await.unwrap();
    }
    assert!(circuit.peek().is_some() && circuit.cooldown_remaining() == Some(30 * SECOND));
    circuit.reset();
    let (snapshot, metrics) = (circuit.snapshot(), circuit.metrics());
    assert_eq!(
        (snapshot.last_failure, metrics.last_failure_time, metrics.last_success_time),
        (None, None, None)
    );
    assert_eq!((metrics.consecutive_failures, metrics.consecutive_successes), (0, 0));
    assert_eq!((metrics.total_successes, metrics.total_failures), (1, 5));
    assert_eq!((complete(&mut service).await.unwrap(), circuit.peek()), (200, None));
    assert_eq!(circuit.metrics().consecutive_successes, 1);
}

#[tokio::test(start_paused = true)]
async fn a_rejection_takes_no_time() {
    let (mut service, provider) = strict_behind(&CircuitBreakerLayer::new().failure_threshold(1));
    fail(&mut service, &provider, 1).await;
    let start = clock::now();
    assert!(tokio_test::task::spawn(service.oneshot(request())).poll().is_ready());
    assert_eq!(clock::now(), start);
}

/// The attempts of a call count one by one, up to the configured number, or to one below the threshold.
/// Probes and successes always count.
#[tokio::test(start_paused = true)]
async fn one_call_does_not_open_the_circuit_by_its_retries_unless_configured() {
    for (threshold, counted, calls_to_open) in [
        (3, None, 2),
        (3, Some(1), 3),
        (3, Some(2), 2),
        (3, Some(3), 1),
        (2, None, 2),
        (1, None, 1),
        (5, None, 2),
    ] {
        let (inner, provider) = strict();
        let breaker = CircuitBreakerLayer::new().failure_threshold(threshold).cooldown(30 * SECOND);
        let breaker = counted.into_iter().fold(breaker, CircuitBreakerLayer::max_attempts_counted_per_call);
        let retry = crate::RetryLayer::exponential().max_retries(2).initial_delay(SECOND / 100);
        let mut service = retry.layer(breaker.layer(inner));
        provider.otherwise(Answer::status(503));
        for call in 1..=calls_to_open {
            assert!(!opened(&breaker.handle()), "{threshold} {counted:?}: before call {call}");
            let _ = complete(&mut service).await;
        }
        assert!(opened(&breaker.handle()), "{threshold} {counted:?}");

        tokio::time::advance(30 * SECOND).await;
        let _ = complete(&mut service).await;
        assert!(opened(&breaker.handle()), "{threshold} {counted:?}: the probe failed");
    }
}

/// Regressions: with a threshold of 1 a failure after an attempt that does not count was ignored, and so was
/// the broken body of a probe that was a later attempt.
#[tokio::test(start_paused = true)]
async fn a_later_attempt_counts_if_it_alone_opens_the_circuit_or_is_a_probe() {
    let layer = CircuitBreakerLayer::new().failure_threshold(1).success_threshold(2).cooldown(30 * SECOND);
    let (mut service, provider) = strict_behind(&layer);
    let later = || request_with(AttemptNumber::nth(2));
    provider.then(Answer::status(503));
    let _ = send(&mut service, later()).await;
    assert!(opened(&layer.handle()));

    for broken in ["at once", "a second time"] {
        tokio::time::advance(3600 * SECOND).await;
        provider.then(Answer::status(200).frame("a").break_off("reset"));
        let response = send(&mut service, later()).await.unwrap();
        response.into_body().collect().await.unwrap_err();
        assert!(opened(&layer.handle()), "{broken}");
    }
    layer.handle().reset();
    let layer = CircuitBreakerLayer::new().failure_threshold(2).success_threshold(2).cooldown(30 * SECOND);
    let (mut service, provider) = strict_behind(&layer);
    fail(&mut service, &provider, 2).await;
    assert!(opened(&layer.handle()));
    tokio::time::advance(30 * SECOND).await;
    provider.then(Answer::status(200).frame("a").break_off("reset"));
    let response = send(&mut service, later()).await.unwrap();
    response.into_body().collect().await.unwrap_err();
    assert!(opened(&layer.handle()), "the body of the probe broke");
}

/// Pitfall P28 (docs/pitfalls.md): a failure that does not count is a failure with a wait nevertheless.
#[tokio::test(start_paused = true)]
async fn the_wait_of_a_failure_that_does_not_count_applies() {
    let (inner, provider) = strict();
    let layer = CircuitBreakerLayer::new().failure_threshold(3).max_attempts_counted_per_call(1);
    let (circuit, mut service) = (layer.handle(), layer.layer(inner));
    let retry_hint = Some(RetryHint::after(300 * SECOND, HintSource::Body));
    let failure = Failure { retry_hint, ..Failure::new(ErrorCode::Overloaded) };
    provider.answer(503);
    provider.answer(503).extension(Outcome::from(failure));
    complete(&mut service).await.unwrap();
    let later = request_with(AttemptNumber::nth(2));
    send(&mut service, later).await.unwrap();
    provider.otherwise(Answer::status(503));
    for _ in 0..2 {
        assert!(!opened(&circuit));
        complete(&mut service).await.unwrap();
    }
    assert_eq!(circuit.cooldown_remaining(), Some(300 * SECOND));
}
