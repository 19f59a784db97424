//! Quotas that were used twice, or for nothing.

use std::time::Duration;

use http::{Request, Response};
use tidegate::provider::Gate;
use tidegate::rate_limit::OnLimit;
use tidegate::{BoxError, ErrorCode, Payload, RateLimitLayer, Rejection};
use tower::{Layer, Service, ServiceExt, service_fn};

use crate::support::{SECOND, complete, now, rejection, request, strict};

/// `reset` opened the gate but woke no task: the first call in the queue kept waiting, and new calls queued
/// behind it for 49 s.
#[tokio::test(start_paused = true)]
async fn reset_wakes_waiting_calls() {
    let (inner, provider) = strict();
    let layer = RateLimitLayer::per_second(100).max_wait(60 * SECOND);
    let mut service = layer.layer(inner);
    provider.answer(429).header("retry-after", "50");
    complete(&mut service).await.unwrap();
    let mut waiting = tokio_test::task::spawn(service.clone().oneshot(request()));
    assert!(waiting.poll().is_pending());
    tokio::time::advance(SECOND).await;

    layer.handle().reset();
    let start = now();
    assert!(waiting.is_woken());
    waiting.await.unwrap();
    complete(&mut service).await.unwrap();
    assert_eq!(now(), start);
}

/// Pitfall P11 (docs/pitfalls.md): a call that was rejected below after five seconds refunded its request,
/// although the quota had refilled by then. Two requests were sent at one instant with a quota of one a
/// second.
#[tokio::test(start_paused = true)]
async fn a_late_refund_does_not_exceed_the_quota() {
    let (inner, provider) = strict();
    let mut service = RateLimitLayer::per_second(1).on_limit(OnLimit::Reject).layer(inner);
    let reject = || Rejection::new(Gate::Backpressure, ErrorCode::Overloaded).into();
    provider.fail_with(reject).after(5 * SECOND);
    let mut rejected = tokio_test::task::spawn(service.clone().oneshot(request()));
    assert!(rejected.poll().is_pending());
    tokio::time::advance(Duration::from_millis(5_001)).await;

    complete(&mut service).await.unwrap();
    rejection(rejected.await);
    assert_eq!(rejection(complete(&mut service).await).gate(), Gate::RateLimit);
    assert_eq!(provider.calls(), 2);
}

/// A 429 with a `retry-after` of a second drained the daily quota: the next 600 calls took 85 minutes.
#[tokio::test(start_paused = true)]
async fn a_retry_after_of_a_second_does_not_use_up_the_daily_quota() {
    let (inner, provider) = strict();
    let day = 86_400 * SECOND;
    let layer = RateLimitLayer::per_second(10).quota(10_000, day);
    let mut service = layer.layer(inner);
    provider.answer(429).header("retry-after", "1");
    complete(&mut service).await.unwrap();
    tokio::time::advance(60 * SECOND).await;
    let start = now();
    for _ in 0..600 {
        assert_eq!(complete(&mut service).await.unwrap(), 200);
    }
    let took = now() - start;
    assert!(took < 61 * SECOND, "{took:?}");
}

/// Pitfall P25 (docs/pitfalls.md): only the circuit used the `retry-after` of a 503. The rate limit stayed
/// open and sent the next call.
#[tokio::test(start_paused = true)]
async fn a_503_with_retry_after_closes_the_gate() {
    let (inner, provider) = strict();
    let layer = RateLimitLayer::per_second(10);
    let mut service = layer.layer(inner);
    provider.answer(503).header("retry-after", "7");
    complete(&mut service).await.unwrap();
    assert_eq!(layer.handle().closed_for(), Some(7 * SECOND));
    provider.answer(503);
    tokio::time::advance(7 * SECOND).await;
    complete(&mut service).await.unwrap();
    assert_eq!(layer.handle().closed_for(), None, "a 503 without retry-after does not");
}

/// Pitfall P14 (docs/pitfalls.md): `max_waiting` was checked and the place in the queue taken in two steps.
/// Of concurrent callers, more than the limit were queued.
#[test]
fn max_waiting_bounds_concurrent_callers() {
    let inner = service_fn(async |_: Request<Payload>| Ok::<_, BoxError>(Response::new(Payload::empty())));
    let layer = RateLimitLayer::per_minute(1).max_wait(600 * SECOND).max_waiting(1);
    let (service, gate) = (layer.layer(inner), layer.handle());
    let _first = service.clone().call(request());
    let most = || {
        let mut service = service.clone();
        let waiting = (0..250_000).map(|_| {
            let _queued = service.call(request());
            gate.waiting()
        });
        waiting.max()
    };
    let most =
        std::thread::scope(|scope| [(); 4].map(|()| scope.spawn(most)).map(|caller| caller.join().unwrap()));
    assert_eq!(most.into_iter().max(), Some(Some(1)));
}

/// Pitfall P32 (docs/pitfalls.md): the period of a quota was added to the clock, which panicked if the sum
/// was within a century of the end of the clock.
#[tokio::test(start_paused = true)]
async fn a_period_as_long_as_the_clock_does_not_panic() {
    let (inner, provider) = strict();
    let period = Duration::from_secs(i64::MAX as u64 - 2_000_000_000);
    let mut service = RateLimitLayer::new().quota(1, period).burst_size(3).layer(inner);
    for _ in 0..3 {
        // Whether the quota allows the call is not tested here.
        let _ = complete(&mut service).await;
    }
    assert!(provider.calls() >= 1);
}
