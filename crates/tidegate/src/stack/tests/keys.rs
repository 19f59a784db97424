//! Gates with keys in one stack: whatever looks at a gate looks at the state of the same key.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::HeaderName;
use tidegate_testkit::strict::{Answer, Handle, Strict};
use tokio_test::task::spawn;

use super::{SECOND, full};
use crate::circuit_breaker::State;
use crate::rate_limit::OnLimit;
use crate::stack::{KeySignals, Resilience, Signals};
use crate::testing::{of_tenant, rejection, send, strict, with, with_deadline};
use crate::{
    BackpressureLayer, CircuitBreakerLayer, Gate, KeyBy, Payload, Priority, RateLimitLayer, RejectionReason,
    RetryLayer, clock,
};

fn service(
    backpressure: BackpressureLayer,
    rate_limit: RateLimitLayer,
) -> (Resilience<Strict<Payload>>, Handle, Signals) {
    let (inner, provider) = strict();
    let stack = full("")
        .backpressure(backpressure)
        .rate_limit(rate_limit)
        .circuit_breaker(CircuitBreakerLayer::new().failure_threshold(1).key_by(KeyBy::tenant()))
        .retry(RetryLayer::disabled())
        .service(inner);
    let signals = stack.signals();
    (stack, provider, signals)
}

/// A limit of 1 call in flight and 3 requests a minute, for each tenant.
fn keyed() -> (Resilience<Strict<Payload>>, Handle, Signals) {
    service(
        BackpressureLayer::max_inflight(1).max_queued(0).key_by(KeyBy::tenant()),
        RateLimitLayer::per_minute(3).on_limit(OnLimit::Reject).key_by(KeyBy::tenant()),
    )
}

/// Pitfall P33 (docs/pitfalls.md), and field case M12: preflight passed a call that was rejected at once,
/// because it looked at a limit that no call uses.
#[tokio::test(start_paused = true)]
async fn preflight_looks_at_the_gates_of_the_key_and_acquires_nothing() {
    let (mut stack, provider, signals) = keyed();
    let gate = |tenant: &str| signals.preflight_for(&of_tenant(tenant)).map_err(|rejection| rejection.gate());
    provider.answer(503);
    send(&mut stack, of_tenant("failing")).await.unwrap();
    provider.otherwise(Answer::status(200).stall());
    let _in_flight = send(&mut stack, of_tenant("busy")).await.unwrap();
    for _ in 0..3 {
        drop(send(&mut stack, of_tenant("fast")).await.unwrap());
    }
    for _ in 0..10 {
        assert_eq!(gate("failing"), Err(Gate::CircuitBreaker));
        assert_eq!(gate("busy"), Err(Gate::Backpressure));
        assert_eq!(gate("fast"), Err(Gate::RateLimit));
        assert_eq!((gate("new"), signals.preflight(None)), (Ok(()), Ok(())));
    }
    for tenant in ["failing", "busy", "fast"] {
        assert_eq!(rejection(send(&mut stack, of_tenant(tenant)).await).gate(), gate(tenant).unwrap_err());
    }
    assert!(send(&mut stack, of_tenant("new")).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn signals_of_a_request_are_those_of_its_key() {
    let (mut stack, provider, signals) = keyed();
    provider.answer(503);
    send(&mut stack, of_tenant("failing")).await.unwrap();
    provider.otherwise(Answer::status(200).stall());
    let _in_flight = send(&mut stack, of_tenant("busy")).await.unwrap();
    let read = |tenant: &str| {
        let KeySignals { circuit_state, cooldown_remaining_ms, current_inflight, rate_remaining, .. } =
            signals.of(&of_tenant(tenant));
        (circuit_state, cooldown_remaining_ms, current_inflight, rate_remaining)
    };
    assert_eq!(read("failing"), (State::Open, Some(30_000), 0, Some(2)));
    assert_eq!(read("busy"), (State::Closed, None, 1, Some(2)));
    assert_eq!(read("new"), (State::Closed, None, 0, Some(3)));
    assert_eq!(signals.keys(10).len(), 2, "reading creates no key");
}

#[tokio::test(start_paused = true)]
async fn keys_are_listed_once_each_with_the_busiest_first() {
    let (mut stack, provider, signals) = service(
        BackpressureLayer::max_inflight(9).key_by(KeyBy::tenant()),
        RateLimitLayer::per_minute(60).key_by(KeyBy::tenant()),
    );
    let id = |tenant: &str| signals.of(&of_tenant(tenant)).key.unwrap();
    provider.answer(503);
    send(&mut stack, of_tenant("failing")).await.unwrap();
    send(&mut stack, of_tenant("idle")).await.unwrap();
    provider.otherwise(Answer::status(200).stall());
    let mut in_flight = Vec::new();
    for tenant in ["one", "two", "two"] {
        in_flight.push(send(&mut stack, of_tenant(tenant)).await.unwrap());
    }
    let listed = |limit| signals.keys(limit).into_iter().map(|key| key.key.unwrap()).collect::<Vec<_>>();
    assert_eq!(listed(10), [id("two"), id("one"), id("failing"), id("idle")]);
    assert_eq!((listed(2), listed(0)), (vec![id("two"), id("one")], vec![]));

    let printed = serde_json::to_string(&signals.keys(10)).unwrap();
    assert!(printed.contains(&format!("\"key\":\"{}\"", id("two"))), "{printed}");
    for tenant in ["one", "two", "failing", "idle"] {
        assert!(!format!("{printed}{:?}", signals.keys(10)).contains(&format!("\"{tenant}")), "{printed}");
    }
}

/// The same value in another part of the head is another key.
#[test]
fn the_id_of_a_key_depends_on_the_part_of_the_head() {
    let header = |name: &'static str| KeyBy::header(HeaderName::from_static(name));
    let mut request = of_tenant("a");
    for name in ["x-user", "x-team"] {
        request.headers_mut().insert(name, "a".parse().unwrap());
    }
    let id = |by: KeyBy| by.key(&request, crate::key::hasher());
    let mut ids = vec![id(KeyBy::tenant()), id(header("x-user")), id(header("x-team"))];
    assert_eq!(id(KeyBy::tenant()), ids[0]);
    ids.dedup();
    assert_eq!(ids.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn the_snapshot_sums_calls_and_shows_the_key_that_is_worst_off() {
    let (mut stack, provider, signals) = keyed();
    let snapshot = signals.snapshot();
    assert_eq!((snapshot.keys, snapshot.unhealthy_keys, snapshot.rate_remaining), (0, 0, Some(3)));
    provider.answer(503);
    send(&mut stack, of_tenant("failing")).await.unwrap();
    provider.otherwise(Answer::status(200).stall());
    let _in_flight =
        [send(&mut stack, of_tenant("a")).await.unwrap(), send(&mut stack, of_tenant("b")).await.unwrap()];
    drop(send(&mut stack, of_tenant("c")).await.unwrap());
    drop(send(&mut stack, of_tenant("c")).await.unwrap());
    let snapshot = signals.snapshot();
    assert_eq!((snapshot.keys, snapshot.unhealthy_keys), (4, 1));
    assert_eq!((snapshot.circuit_state, snapshot.cooldown_remaining_ms), (State::Open, Some(30_000)));
    assert_eq!((snapshot.current_inflight, snapshot.max_inflight), (2, Some(1)));
    assert_eq!(snapshot.rate_remaining, Some(1));
}

#[tokio::test(start_paused = true)]
async fn health_covers_every_key_and_its_score_is_the_mean() {
    let (mut stack, provider, signals) = keyed();
    assert!(signals.is_healthy() && signals.health_score() > 0.999);
    for tenant in ["a", "b", "c"] {
        send(&mut stack, of_tenant(tenant)).await.unwrap();
    }
    assert!(signals.is_healthy());
    provider.answer(503);
    send(&mut stack, of_tenant("failing")).await.unwrap();
    assert!(!signals.is_healthy() && (signals.health_score() - 0.75).abs() < 1e-9);
    let (snapshot, metrics) = (signals.snapshot(), signals.circuit_metrics());
    assert_eq!((metrics.state, metrics.failure_rate), (snapshot.circuit_state, snapshot.failure_rate));
    assert_eq!((metrics.total_calls, metrics.total_failures), (4, 1));
    assert!(signals.of(&of_tenant("a")).is_healthy() && !signals.of(&of_tenant("failing")).is_healthy());
    // A 429 closes the rate limit of its key.
    provider.answer(429).header("retry-after", "7");
    send(&mut stack, of_tenant("a")).await.unwrap();
    assert_eq!(signals.of(&of_tenant("a")).rate_closed_ms, Some(7_000));
    assert_eq!(
        (signals.of(&of_tenant("b")).rate_closed_ms, signals.snapshot().rate_closed_ms),
        (None, Some(7_000))
    );
    assert!((signals.health_score() - 0.625).abs() < 1e-9);
    assert_eq!(signals.health(), (signals.is_healthy(), signals.health_score()));
}

#[tokio::test(start_paused = true)]
async fn reset_applies_to_every_key() {
    let (mut stack, provider, signals) = keyed();
    provider.answer(503);
    send(&mut stack, of_tenant("failing")).await.unwrap();
    for _ in 0..3 {
        send(&mut stack, of_tenant("fast")).await.unwrap();
    }
    provider.answer(429).header("retry-after", "30");
    send(&mut stack, of_tenant("limited")).await.unwrap();
    for tenant in ["failing", "fast", "limited"] {
        assert!(signals.preflight_for(&of_tenant(tenant)).is_err(), "{tenant}");
    }
    signals.reset();
    assert!(signals.is_healthy() && signals.snapshot().rate_remaining == Some(3));
    for tenant in ["failing", "fast", "limited"] {
        assert_eq!(signals.preflight_for(&of_tenant(tenant)), Ok(()), "{tenant}");
        send(&mut stack, of_tenant(tenant)).await.unwrap();
    }
}

/// Field case M13: a caller that waited for its own rate held a shared permit, so that other keys starved.
#[tokio::test(start_paused = true)]
async fn a_caller_that_waits_for_its_own_rate_holds_no_permit() {
    let (mut stack, provider, signals) = service(
        BackpressureLayer::max_inflight(1).max_queued(0),
        RateLimitLayer::per_second(1).key_by(KeyBy::tenant()),
    );
    send(&mut stack, of_tenant("a")).await.unwrap();
    let mut waiting = spawn(stack.send(of_tenant("a")));
    assert!(waiting.poll().is_pending());
    let snapshot = signals.snapshot();
    assert_eq!((snapshot.current_inflight, snapshot.rate_waiting), (0, 1));
    assert_eq!((signals.of(&of_tenant("a")).rate_waiting, signals.of(&of_tenant("b")).rate_waiting), (1, 0));
    send(&mut stack, of_tenant("b")).await.unwrap();
    tokio::time::advance(SECOND).await;
    assert_eq!(waiting.await.unwrap().status(), 200);
    assert_eq!(provider.calls(), 3);
}

/// Field case M12: a call that its own rate was certain to reject waited for a permit first.
#[tokio::test(start_paused = true)]
async fn a_call_that_its_own_rate_rejects_does_not_wait_for_a_permit() {
    let (mut stack, provider, signals) = service(
        BackpressureLayer::max_inflight(1).queue_timeout(30 * SECOND),
        RateLimitLayer::per_minute(1).key_by(KeyBy::tenant()),
    );
    send(&mut stack, of_tenant("a")).await.unwrap();
    provider.answer(200).stall();
    let _streaming = send(&mut stack, of_tenant("b")).await.unwrap();
    let start = clock::now();
    assert_eq!(signals.preflight_for(&of_tenant("a")).unwrap_err().gate(), Gate::RateLimit);
    let rejected = rejection(send(&mut stack, of_tenant("a")).await);
    assert_eq!((rejected.gate(), rejected.retry_after()), (Gate::RateLimit, Some(60 * SECOND)));
    assert_eq!((clock::now(), signals.snapshot().queued), (start, 0));
}

/// A keyed rate comes before the permit. A call that the permit rejects afterwards has used nothing of its
/// quotas.
#[tokio::test(start_paused = true)]
async fn a_call_that_another_gate_rejects_returns_what_its_key_reserved() {
    let (mut stack, provider, signals) = service(
        BackpressureLayer::max_inflight(1).max_queued(1),
        RateLimitLayer::per_minute(3).tokens_per_minute(10_000).key_by(KeyBy::tenant()),
    );
    provider.otherwise(Answer::status(200).stall());
    let streaming = send(&mut stack, of_tenant("a")).await.unwrap();
    let mut queued = spawn(stack.send(of_tenant("b")));
    assert!(queued.poll().is_pending());
    assert_eq!(signals.of(&of_tenant("b")).rate_remaining, Some(2));
    assert_eq!(rejection(send(&mut stack, of_tenant("c")).await).reason(), RejectionReason::QueueFull);
    drop(queued);
    for tenant in ["b", "c"] {
        let of_key = signals.of(&of_tenant(tenant));
        assert_eq!((of_key.rate_remaining, of_key.tokens_remaining), (Some(3), Some(10_000)), "{tenant}");
    }
    drop(streaming);
}

#[tokio::test(start_paused = true)]
async fn preflight_knows_the_cost_the_priority_and_the_deadline_of_a_request() {
    let (mut stack, _, signals) = service(
        BackpressureLayer::max_inflight(10),
        RateLimitLayer::new()
            .tokens_per_minute(6_000)
            .max_wait(20 * SECOND)
            .max_waiting(1)
            .key_by(KeyBy::tenant()),
    );
    let costing = |tokens: u32| {
        let body = format!(r#"{{"max_tokens":{tokens},"messages":[]}}"#);
        of_tenant("a").map(|_| Payload::from(body))
    };
    send(&mut stack, costing(2_900)).await.unwrap();
    send(&mut stack, costing(2_900)).await.unwrap();
    // 2 900 tokens take about half a minute, 100 no time or about a second.
    assert_eq!(signals.preflight_for(&costing(50)), Ok(()));
    assert_eq!(signals.preflight_for(&costing(1_500)), Ok(()), "within max_wait");
    assert_eq!(
        signals.preflight_for(&costing(2_900)).unwrap_err().reason(),
        RejectionReason::MaxWaitExceeded
    );
    let hurried = with_deadline(costing(1_500), SECOND);
    assert_eq!(signals.preflight_for(&hurried).unwrap_err().reason(), RejectionReason::RateLimitPastDeadline);
    let mut waiting = spawn(stack.send(costing(1_500)));
    assert!(waiting.poll().is_pending());
    assert_eq!(signals.preflight_for(&costing(50)).unwrap_err().reason(), RejectionReason::RateQueueFull);
    let batch = with(costing(50), Priority::Batch);
    assert_eq!(signals.preflight_for(&batch), Ok(()), "the queue of batch calls is empty");
}

/// Calls of one key that wait for a permit longer than a reservation lasts reserve again, each in its turn.
#[tokio::test(start_paused = true)]
async fn calls_that_wait_for_their_rate_and_a_permit_start_in_the_order_in_which_they_came() {
    const CALLS: usize = 12;
    for (per_second, takes) in [(2, 300), (5, 250), (5, 150), (10, 120), (1, 2_000), (20, 400)] {
        let (stack, provider, _) = service(
            BackpressureLayer::max_inflight(1).max_queued(CALLS).queue_timeout(60 * SECOND),
            RateLimitLayer::per_second(per_second).max_wait(60 * SECOND).key_by(KeyBy::tenant()),
        );
        provider.otherwise(Answer::status(200).after(Duration::from_millis(takes)));
        let started = Arc::new(Mutex::new(Vec::new()));
        let calls = (0..CALLS).map(|number| {
            let (mut stack, started) = (stack.clone(), Arc::clone(&started));
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(40) * number as u32).await;
                let response = send(&mut stack, of_tenant("a")).await;
                started.lock().unwrap().push(number);
                response.unwrap();
            })
        });
        for call in Vec::from_iter(calls) {
            call.await.unwrap();
        }
        let started = started.lock().unwrap().clone();
        assert_eq!(started, Vec::from_iter(0..CALLS), "{per_second} a second, each takes {takes} ms");
    }
}

/// The result and the end, in seconds, of a call that waits for a permit while a 429 closes the gate of its
/// key for 4 seconds, and of a call of another key that comes when it has lost its reservation. `busy` is the
/// answer to another call of its key.
async fn send_back(
    backpressure: BackpressureLayer,
    closed_after: Duration,
    busy: Answer,
) -> [(Result<u16, RejectionReason>, f64); 2] {
    let (stack, provider, _) =
        service(backpressure, RateLimitLayer::per_second(10).max_wait(5 * SECOND).key_by(KeyBy::tenant()));
    let limited = Answer::status(429).header("retry-after", "4").after(closed_after);
    let other = Answer::status(200).after(6 * SECOND);
    [limited, busy, other].into_iter().for_each(|answer| _ = provider.then(answer));
    provider.otherwise(Answer::status(200).after(10 * SECOND));
    let start = clock::now();
    let call = |tenant: &'static str, after: u32| {
        let mut stack = stack.clone();
        tokio::spawn(async move {
            tokio::time::sleep(after * SECOND).await;
            let result = match send(&mut stack, of_tenant(tenant)).await {
                Ok(response) => Ok(response.status().as_u16()),
                error => Err(rejection(error).reason()),
            };
            (result, (clock::now() - start).as_secs_f64().round())
        })
    };
    let [_limited, _busy, sent_back] = ["a"; 3].map(|tenant| call(tenant, 0));
    let (_other, late) = (call("b", 3), call("c", 4));
    [sent_back.await.unwrap(), late.await.unwrap()]
}

#[tokio::test(start_paused = true)]
async fn a_call_that_comes_back_to_a_queue_precedes_those_that_came_later_and_waits_no_longer_than_at_first()
{
    let bulkhead = |timeout: u32| BackpressureLayer::max_inflight(2).queue_timeout(timeout * SECOND);
    let after = |seconds| Answer::status(200).after(Duration::from_secs(seconds));
    let at_once = Duration::from_millis(50);
    assert_eq!(send_back(bulkhead(60), at_once, after(8)).await, [(Ok(200), 18.0), (Ok(200), 19.0)]);
    // Two seconds for a permit, four for the rate, and the other two for a permit.
    let [sent_back, _] = send_back(bulkhead(4), 2 * SECOND, after(60)).await;
    assert_eq!(sent_back, (Err(RejectionReason::QueueTimeout), 8.0));
    // Four seconds for the rate, and no other three.
    let limited_again = Answer::status(429).header("retry-after", "3").after(Duration::from_millis(6_300));
    let [sent_back, _] = send_back(bulkhead(60), 2 * SECOND, limited_again).await;
    assert_eq!(sent_back, (Err(RejectionReason::MaxWaitExceeded), 6.0));
}
