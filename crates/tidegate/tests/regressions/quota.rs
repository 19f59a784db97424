//! Quotas that were spent twice, or for nothing.

use std::time::Duration;

use http::{Request, Response};
use tidegate::rate_limit::OnLimit;
use tidegate::{BoxError, ErrorCode, Gate, Payload, RateLimitLayer, Rejection};
use tower::{Layer, Service, ServiceExt, service_fn};

use crate::support::{SECOND, complete, now, rejection, request, strict};

/// `reset` opened the gate but woke nobody: the first in the queue slept on, and newcomers stood behind it for 49 s.
#[tokio::test(start_paused = true)]
async fn reset_wakes_those_who_wait() {
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

/// P11: a call refused below after five seconds gave its request back, though that had long refilled: two were on the
/// wire in one instant, where one a second was allowed.
#[tokio::test(start_paused = true)]
async fn p11_a_late_refund_creates_nothing() {
    let (inner, provider) = strict();
    let mut service = RateLimitLayer::per_second(1).on_limit(OnLimit::Reject).layer(inner);
    let refuse = || Rejection::new(Gate::Backpressure, ErrorCode::Overloaded).into();
    provider.fail_with(refuse).after(5 * SECOND);
    let mut refused = tokio_test::task::spawn(service.clone().oneshot(request()));
    assert!(refused.poll().is_pending());
    tokio::time::advance(Duration::from_millis(5_001)).await;

    complete(&mut service).await.unwrap();
    rejection(refused.await);
    assert_eq!(rejection(complete(&mut service).await).gate(), Gate::RateLimit);
    assert_eq!(provider.calls(), 2);
}

/// A 429 of a second drained the daily quota: the next 600 calls took 85 minutes.
#[tokio::test(start_paused = true)]
async fn a_pause_of_a_second_does_not_spend_the_day() {
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

/// P25: a 503 that said when to come back was heard by the circuit alone; the gate stayed open, and sent the next.
#[tokio::test(start_paused = true)]
async fn p25_an_ailing_provider_that_names_a_time_closes_the_gate() {
    let (inner, provider) = strict();
    let layer = RateLimitLayer::per_second(10);
    let mut service = layer.layer(inner);
    provider.answer(503).header("retry-after", "7");
    complete(&mut service).await.unwrap();
    assert_eq!(layer.handle().closed_for(), Some(7 * SECOND));
    provider.answer(503);
    tokio::time::advance(7 * SECOND).await;
    complete(&mut service).await.unwrap();
    assert_eq!(layer.handle().closed_for(), None, "one that names no time does not");
}

/// P14: `max_waiting` was looked at, and the place taken, in two steps: of callers that came together, more than that
/// were let into the queue.
#[test]
fn p14_max_waiting_is_a_bound_for_callers_that_come_together() {
    let inner = service_fn(async |_: Request<Payload>| Ok::<_, BoxError>(Response::new(Payload::empty())));
    let layer = RateLimitLayer::per_minute(1).max_wait(600 * SECOND).max_waiting(1);
    let (service, gate) = (layer.layer(inner), layer.handle());
    let _first = service.clone().call(request());
    let most = || {
        let mut service = service.clone();
        let waiting = (0..250_000).map(|_| {
            let _place = service.call(request());
            gate.waiting()
        });
        waiting.max()
    };
    let most =
        std::thread::scope(|scope| [(); 4].map(|()| scope.spawn(most)).map(|caller| caller.join().unwrap()));
    assert_eq!(most.into_iter().max(), Some(Some(1)));
}

/// P32: a quota whose period ends within a century of the end of the clock was added to it, and panicked.
#[tokio::test(start_paused = true)]
async fn p32_a_period_as_long_as_the_clock_does_not_panic() {
    let (inner, provider) = strict();
    let period = Duration::from_secs(i64::MAX as u64 - 2_000_000_000);
    let mut service = RateLimitLayer::new().quota(1, period).burst_size(3).layer(inner);
    for _ in 0..3 {
        // Whether there is room is another matter.
        let _ = complete(&mut service).await;
    }
    assert!(provider.calls() >= 1);
}
