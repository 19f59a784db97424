//! The handle: forced states, shadow mode, listeners and snapshots.

use std::future::Future;
use std::time::Duration;

use tidegate_testkit::strict::Answer;
use tower::Layer;

use super::{SECOND, fail, opened};
use crate::circuit_breaker::{CircuitBreakerLayer, LastFailure, Reason, State};
use crate::testing::{call, complete, rejection, strict, strict_behind};
use crate::{ErrorCode, Gate, RateLimitLayer, ResilienceBuilder};

#[tokio::test(start_paused = true)]
async fn forced_open_rejects_all_and_forced_closed_rejects_none_until_reset() {
    let (inner, provider) = strict();
    let layer = CircuitBreakerLayer::new().failure_threshold(1);
    let (circuit, mut service) = (layer.handle(), layer.layer(inner));
    circuit.force_open();
    tokio::time::advance(1_000 * SECOND).await;
    let rejected = rejection(call(&mut service).await);
    assert_eq!((rejected.gate(), rejected.to_string().as_str()), (Gate::CircuitBreaker, "circuit held open"));
    assert_eq!((rejected.retry_after(), circuit.peek()), (None, Some(rejected)));
    assert_eq!((circuit.state(), circuit.cooldown_remaining()), (State::Open, None));

    circuit.force_closed();
    fail(&mut service, &provider, 100).await;
    assert_eq!((circuit.state(), circuit.peek()), (State::Closed, None));

    circuit.reset();
    fail(&mut service, &provider, 1).await;
    assert!(opened(&circuit), "it counts again");
    assert_eq!(provider.calls(), 101);
}

/// Regression: calls passed although the circuit was shown as open.
#[tokio::test(start_paused = true)]
async fn a_circuit_that_is_forced_open_rejects_in_shadow_and_where_it_is_disabled() {
    for layer in [CircuitBreakerLayer::new().shadow(true), CircuitBreakerLayer::disabled()] {
        let circuit = layer.handle();
        let (inner, _) = strict();
        let mut alone = layer.layer(inner.clone());
        let stack = ResilienceBuilder::new("").circuit_breaker(layer);
        let mut beside_none = stack.clone().service(inner.clone());
        let mut beside_others = stack.rate_limit(RateLimitLayer::per_second(100)).service(inner);
        for is_forced in [false, true, false] {
            if is_forced {
                circuit.force_open()
            } else {
                circuit.reset()
            }
            assert_eq!((circuit.state() == State::Open, circuit.peek().is_some()), (is_forced, is_forced));
            for result in [
                call(&mut alone).await.is_err(),
                call(&mut beside_none).await.is_err(),
                call(&mut beside_others).await.is_err(),
            ] {
                assert_eq!(result, is_forced);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn in_shadow_all_calls_pass_and_would_be_rejections_are_counted() {
    let (inner, provider) = strict();
    let layer = CircuitBreakerLayer::new().failure_threshold(2).shadow(true);
    let (circuit, mut service) = (layer.handle(), layer.layer(inner));
    fail(&mut service, &provider, 10).await;
    let snapshot = circuit.snapshot();
    assert_eq!((snapshot.state, snapshot.would_have_rejected), (State::Open, 8));
    assert_eq!(snapshot.cooldown_remaining_ms, Some(30_000));
    assert_eq!((circuit.peek(), circuit.cooldown_remaining()), (None, None), "no call is rejected");

    // The calls that shadow mode admits do not close the circuit. Only the probe does.
    provider.otherwise(Answer::status(200));
    complete(&mut service).await.unwrap();
    assert!(opened(&circuit));
    tokio::time::advance(30 * SECOND).await;
    complete(&mut service).await.unwrap();
    assert_eq!(circuit.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn listeners_receive_every_change_with_its_reason() {
    let (inner, provider) = strict();
    let layer = CircuitBreakerLayer::new().failure_threshold(2).cooldown(10 * SECOND);
    let (circuit, mut service) = (layer.handle(), layer.layer(inner));
    let mut changes = circuit.subscribe();
    for status in [503, 503, 500, 200] {
        provider.answer(status);
        complete(&mut service).await.unwrap();
        if opened(&circuit) {
            tokio::time::advance(10 * SECOND).await;
        }
    }
    circuit.force_open();
    circuit.reset();
    let mut received = Vec::new();
    while let Some(change) = changes.try_next() {
        received.push(format!("{} {} {} {:?}", change.from, change.to, change.reason, change.cooldown));
    }
    assert_eq!(
        received,
        [
            "closed open 2 consecutive E3002 Some(10s)",
            "open half_open cooldown passed None",
            "half_open open a probe failed with E3001 Some(10s)",
            "open half_open cooldown passed None",
            "half_open closed a probe succeeded None",
            "closed open forced None",
            "open closed reset None",
        ]
    );
    drop((layer, circuit, service));
    assert_eq!(changes.next().await, None);
}

/// Pitfall P18 (docs/pitfalls.md): names and events were copied for every call although there was no
/// listener.
#[test]
fn nothing_is_allocated_without_a_listener() {
    let circuit = CircuitBreakerLayer::new().handle();
    circuit.force_open();
    circuit.reset();
    assert!(!circuit.0.settings().hooks.listeners.is_ready());
    let _changes = circuit.subscribe();
    assert!(circuit.0.settings().hooks.listeners.is_ready());
}

#[tokio::test(start_paused = true)]
async fn a_slow_listener_misses_the_oldest_changes_and_delays_no_call() {
    let circuit = CircuitBreakerLayer::new().handle();
    let mut changes = circuit.subscribe();
    for _ in 0..1_000 {
        circuit.force_open();
        circuit.reset();
    }
    let mut received = 0;
    while changes.try_next().is_some() {
        received += 1;
    }
    assert_eq!((received, changes.missed()), (64, 2_000 - 64));
    circuit.force_closed();
    assert_eq!(changes.next().await.unwrap().reason, Reason::Forced);
}

/// Seed item 87.
#[tokio::test(start_paused = true)]
async fn a_snapshot_contains_the_rates_and_the_last_failure() {
    let (inner, provider) = strict();
    let layer = CircuitBreakerLayer::new()
        .failure_rate_threshold(0.9)
        .slow_call_threshold(SECOND)
        .sliding_window(60 * SECOND);
    let (circuit, mut service) = (layer.handle(), layer.layer(inner));
    let before = circuit.snapshot();
    assert_eq!((before.failure_rate, before.slow_call_rate, before.last_failure), (None, None, None));
    provider.answer(200);
    provider.answer(200).after(2 * SECOND);
    provider.answer(200);
    provider.answer(529);
    for _ in 0..4 {
        complete(&mut service).await.unwrap();
    }
    tokio::time::advance(5 * SECOND).await;
    let snapshot = circuit.snapshot();
    assert_eq!((snapshot.failure_rate, snapshot.slow_call_rate), (Some(0.25), Some(0.25)));
    assert_eq!(snapshot.calls_in_window, 4);
    assert_eq!(snapshot.last_failure, Some(LastFailure { code: ErrorCode::Overloaded, ago_ms: 5_000 }));
    let json = serde_json::to_value(&snapshot).unwrap();
    assert_eq!((&json["state"], &json["last_failure"]["code"]), (&"closed".into(), &"E3002".into()));
    tokio::time::advance(60 * SECOND).await;
    assert_eq!(circuit.snapshot().calls_in_window, 0, "time passes without calls");
}

/// Seed items 27, 37, 38, 39, 86 and 88: the totals count rejected calls too, and a reset leaves them. Here,
/// they are those since the start, and the rates those of the window. The response time is that of the last 50.
#[tokio::test(start_paused = true)]
async fn the_metrics_count_every_call() {
    let (inner, provider) = strict();
    let layer = CircuitBreakerLayer::new()
        .failure_threshold(2)
        .cooldown(60 * SECOND)
        .slow_call_threshold(2 * SECOND)
        .name("openai/gpt-4o");
    let (circuit, mut service) = (layer.handle(), layer.layer(inner));
    let empty = circuit.metrics();
    assert_eq!((empty.total_calls, empty.avg_response_time, empty.failure_rate), (0, None, None));
    assert_eq!(
        (empty.last_failure_time, empty.last_success_time, empty.last_recovery_time),
        (None, None, None)
    );
    for status in [200, 200, 400, 503, 529] {
        provider.answer(status).after(3 * SECOND);
        complete(&mut service).await.unwrap();
    }
    assert!(opened(&circuit) && call(&mut service).await.is_err());
    let open = circuit.metrics();
    assert_eq!((&*open.name, open.state), ("openai/gpt-4o", State::Open));
    assert_eq!((open.total_calls, open.total_rejected), (6, 1));
    assert_eq!((open.total_successes, open.total_failures, open.total_slow_calls), (2, 2, 5));
    assert_eq!((open.consecutive_successes, open.consecutive_failures), (0, 2));
    assert_eq!((open.failure_rate, open.slow_call_rate, open.window_size), (Some(0.5), Some(1.0), 4));
    assert_eq!(open.avg_response_time, Some(3.0));

    tokio::time::advance(60 * SECOND).await;
    provider.answer(200).after(SECOND);
    complete(&mut service).await.unwrap();
    let closed = circuit.metrics();
    assert_eq!((closed.total_calls, closed.consecutive_successes, closed.consecutive_failures), (7, 1, 0));
    assert_eq!(closed.last_recovery_time, Some(61.0));
    assert_eq!(closed.avg_response_time, Some(2.6));
    assert!(closed.last_failure_time < closed.last_success_time);
    let json = serde_json::to_value(&closed).unwrap();
    assert_eq!(json["config"]["timeout_seconds"], 60.0);
    assert!(json["last_failure_time"].as_str().is_some_and(|time| time.ends_with('Z')));
    circuit.reset();
    let reset = circuit.metrics();
    assert_eq!((reset.total_calls, reset.avg_response_time), (7, None));
    provider.answer(200).after(SECOND);
    complete(&mut service).await.unwrap();
    assert_eq!(circuit.metrics().avg_response_time, Some(1.0));
}

/// Seed item 25: the result of a call has its success, duration, time, error and size.
#[tokio::test(start_paused = true)]
async fn a_listener_receives_the_result_of_every_attempt() {
    let (inner, provider) = strict();
    let layer = CircuitBreakerLayer::new();
    let (circuit, mut service) = (layer.handle(), layer.layer(inner));
    provider.answer(200);
    complete(&mut service).await.unwrap();
    let mut results = circuit.subscribe_to_calls();
    provider.answer(200).body("moonlight").after(SECOND);
    provider.answer(503);
    for _ in 0..2 {
        complete(&mut service).await.unwrap();
    }
    provider.hang();
    let hanging = tokio::time::timeout(SECOND, call(&mut service)).await;
    assert!(hanging.is_err());
    let received: Vec<_> = std::iter::from_fn(|| results.try_next())
        .map(|it| (it.success, it.duration, it.error, it.response_size, it.attempt))
        .collect();
    assert_eq!(
        received,
        [
            (true, Some(SECOND), None, 9, 1),
            (false, Some(Duration::ZERO), Some(ErrorCode::Overloaded), 0, 1),
            (false, None, None, 0, 1),
        ]
    );
}

/// Seed item 35: slowness opens the circuit over the last calls, and the circuit closes again.
#[tokio::test(start_paused = true)]
async fn the_slow_call_rate_may_have_a_window_of_its_own() {
    for (own_window, opens) in [(None, false), (Some(4), true)] {
        let (inner, provider) = strict();
        let mut layer = CircuitBreakerLayer::new().slow_call_threshold(SECOND).minimum_throughput(4);
        if let Some(calls) = own_window {
            layer = layer.slow_call_window_size(calls);
        }
        let (circuit, mut service) = (layer.handle(), layer.layer(inner));
        for wait in [0, 0, 0, 0, 0, 0, 2, 2] {
            provider.answer(200).after(wait * SECOND);
            complete(&mut service).await.unwrap();
        }
        assert_eq!(opened(&circuit), opens, "{own_window:?}");
        tokio::time::advance(30 * SECOND).await;
        provider.answer(200);
        complete(&mut service).await.unwrap();
        assert_eq!(circuit.state(), State::Closed);
    }
}

/// Regression: a listener that read the state while it was woken deadlocked.
#[tokio::test(start_paused = true)]
async fn a_listener_may_read_the_state_while_it_is_woken() {
    struct StateReader(crate::circuit_breaker::Handle);
    impl std::task::Wake for StateReader {
        fn wake(self: std::sync::Arc<Self>) {
            assert_eq!(self.0.state(), State::Open);
        }
    }
    let layer = CircuitBreakerLayer::new();
    let (circuit, mut transitions) = (layer.handle(), layer.handle().subscribe());
    let waker = std::sync::Arc::new(StateReader(circuit.clone())).into();
    let mut next = std::pin::pin!(transitions.next());
    assert!(next.as_mut().poll(&mut std::task::Context::from_waker(&waker)).is_pending());
    circuit.force_open();
}

/// Pitfall P09 (docs/pitfalls.md): a probe without a lease was given up before the next call, so that
/// half-open admitted every call.
#[tokio::test(start_paused = true)]
async fn a_lease_of_zero_still_admits_one_probe() {
    let layer = CircuitBreakerLayer::new().failure_threshold(1).cooldown(SECOND).probe_lease(Duration::ZERO);
    let (mut service, provider) = strict_behind(&layer);
    fail(&mut service, &provider, 1).await;
    tokio::time::advance(SECOND).await;
    provider.otherwise(Answer::hang());
    let mut services: Vec<_> = (0..100).map(|_| service.clone()).collect();
    let mut in_flight: Vec<_> = services.iter_mut().map(|it| tokio_test::task::spawn(call(it))).collect();
    let pending = in_flight.iter_mut().filter_map(|it| it.poll().is_pending().then_some(())).count();
    assert_eq!(pending, 1);
}

#[test]
fn the_rates_are_evaluated_with_absurd_settings() {
    let layer = CircuitBreakerLayer::new().failure_threshold(u32::MAX).failure_rate_threshold(0.5);
    let layer = layer.sliding_window_size(u32::MAX).minimum_throughput(u32::MAX);
    let debug = format!("{layer:?}");
    assert!(debug.contains("1048576"), "{debug}");
}
