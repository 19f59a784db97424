//! More calls than the provider can answer, by callers who wait for as long as their deadline allows.

use std::convert::Infallible;
use std::time::Duration;

use http::{Request, Response};
use http_body_util::BodyExt;
use tidegate_testkit::strict::Answer;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tower::{Layer, ServiceExt};

use super::super::{Aimd, BackpressureLayer, Order};
use crate::circuit_breaker::State;
use crate::testing::{
    SECOND, of_tenant, rejection, request, request_with, strict, strict_behind, with_deadline,
};
use crate::{
    CircuitBreakerLayer, Error, FallbackLayer, Payload, Rejection, RejectionReason, ResilienceBuilder,
    RetryLayer,
};

/// The number of calls that a provider with fifty places answers, at so many calls per second for five
/// minutes. An answer takes `time` of the number of its call. Deadlines are half a minute away.
async fn goodput(calls_per_second: u32, time: impl Fn(u32) -> Duration) -> (usize, usize) {
    let provider = tower::service_fn(async move |request: Request<Payload>| {
        let time: Duration = *request.extensions().get().unwrap();
        sleep(time).await;
        Ok::<_, Infallible>(Response::new(Payload::from("{}")))
    });
    let backpressure = BackpressureLayer::max_inflight(50).max_queued(1_000).queue_timeout(60 * SECOND);
    let circuit = CircuitBreakerLayer::new();
    let handle = circuit.handle();
    let service = ResilienceBuilder::new("p/m")
        .backpressure(backpressure)
        .circuit_breaker(circuit)
        .total_timeout(30 * SECOND)
        .service(provider);
    let start = Instant::now();
    let mut calls = JoinSet::new();
    for number in 0..300 * calls_per_second {
        sleep_until(start + number * SECOND / calls_per_second).await;
        let request = request_with(time(number));
        let call = service.clone().oneshot(request);
        calls.spawn(async move {
            let result = match call.await {
                Ok(response) => response.into_body().collect().await.map(drop),
                Err(error) => Err(error),
            };
            result.map_err(|error| Rejection::find(&*error).cloned())
        });
        assert_eq!(handle.state(), State::Closed, "call {number} at {calls_per_second}/s");
    }
    let (mut answered, mut cut) = (0, 0);
    while let Some(result) = calls.join_next().await {
        match result.unwrap() {
            Ok(()) => answered += 1,
            Err(Some(_)) => {}
            Err(None) => cut += 1,
        }
    }
    (answered, cut)
}

/// Regression: callers got a permit when they had no time left, were cut off, and opened the circuit. Of five
/// answers per second the provider gave 0.6.
#[tokio::test(start_paused = true)]
async fn overload_leaves_nine_tenths_of_the_capacity() {
    for calls_per_second in [6, 15, 40] {
        let (answered, cut) = goodput(calls_per_second, |_| 10 * SECOND).await;
        assert!(answered >= 300 * 5 * 9 / 10, "{answered} of {} at {calls_per_second}/s", 300 * 5);
        assert_eq!(cut, 0, "{calls_per_second}/s");
    }
    // From 6 s to 14 s.
    let (answered, cut) =
        goodput(15, |number| Duration::from_millis(6_000 + u64::from(number * 7_919 % 8_001))).await;
    assert!(answered >= 300 * 5 * 9 / 10 && cut < answered / 10, "{answered} answered, {cut} cut off");
}

#[tokio::test(start_paused = true)]
async fn a_call_leaves_the_queue_when_no_time_is_left_for_an_answer() {
    let (inner, provider) = strict();
    let layer = BackpressureLayer::max_inflight(1).queue_timeout(60 * SECOND);
    let (service, gate) = (layer.layer(inner), layer.handle());
    provider.otherwise(Answer::status(200).after(10 * SECOND));
    let send = |time: Duration| {
        let call = service.clone().oneshot(with_deadline(request(), time));
        tokio::spawn(async move { call.await?.into_body().collect().await.map_err(Error::boxed) })
    };
    // The second call is queued and measured.
    let calls = [send(60 * SECOND), send(60 * SECOND)];
    for call in calls {
        call.await.unwrap().unwrap();
    }
    let start = Instant::now();
    let holding = send(60 * SECOND);
    tokio::task::yield_now().await;
    let waiting = send(15 * SECOND);
    tokio::task::yield_now().await;
    let doomed = send(9 * SECOND);
    let rejected = rejection(doomed.await.unwrap());
    assert_eq!((rejected.reason(), start.elapsed()), (RejectionReason::QueueTimeout, Duration::ZERO));
    assert_eq!(gate.queued(), 1);
    assert_eq!(rejection(waiting.await.unwrap()).reason(), RejectionReason::QueueTimeout);
    assert_eq!(start.elapsed().as_millis(), 15_000 - 10_625);
    holding.await.unwrap().unwrap();
}

/// Regressions: beside a flood of one tenant, another got one call of sixteen through, and with the newest first
/// none.
#[tokio::test(start_paused = true)]
async fn a_flood_of_one_tenant_leaves_another_its_share() {
    for order in [Order::Fifo, Order::NewestFirstUnderOverload] {
        let provider = tower::service_fn(async |_: Request<Payload>| {
            sleep(SECOND).await;
            Ok::<_, Infallible>(Response::new(Payload::empty()))
        });
        let layer = BackpressureLayer::max_inflight(4).max_queued(16).queue_timeout(10 * SECOND).order(order);
        let (service, gate) = (layer.layer(provider), layer.handle());
        let mut flood = JoinSet::new();
        for _ in 0..100 {
            let (service, request) = (service.clone(), of_tenant("flood"));
            flood.spawn(async move {
                // Each caller sends its next call as soon as it has an answer or a rejection.
                for _ in 0..60 {
                    let mut request_again = crate::testing::request();
                    request_again.extensions_mut().clone_from(request.extensions());
                    if service.clone().oneshot(request_again).await.is_err() {
                        sleep(SECOND / 10).await;
                    }
                }
            });
        }
        sleep(SECOND).await;
        assert_eq!(gate.queued(), 16);
        assert!(gate.peek_for(&of_tenant("flood")).is_some() && gate.peek_for(&of_tenant("other")).is_none());
        for number in 0..30 {
            let start = Instant::now();
            service.clone().oneshot(of_tenant("other")).await.unwrap();
            assert!(start.elapsed() <= 3 * SECOND, "{order:?}: call {number} took {:?}", start.elapsed());
        }
        flood.shutdown().await;
    }
}

/// Pitfall P08 (docs/pitfalls.md): an attempt that had its share of time is a failure nevertheless.
#[tokio::test(start_paused = true)]
async fn a_deadline_that_leaves_less_time_than_answers_take_is_neutral() {
    let (inner, provider) = strict();
    let circuit = CircuitBreakerLayer::new();
    let handle = circuit.handle();
    let service = ResilienceBuilder::new("p/m")
        .backpressure(BackpressureLayer::max_inflight(1).queue_timeout(60 * SECOND))
        .circuit_breaker(circuit)
        .service(inner);
    let send = |time: Duration| {
        let call = service.clone().oneshot(with_deadline(request(), time));
        tokio::spawn(async move { call.await?.into_body().collect().await.map_err(Error::boxed) })
    };
    provider.otherwise(Answer::status(200).after(10 * SECOND));
    for call in [send(60 * SECOND), send(60 * SECOND)] {
        call.await.unwrap().unwrap();
    }
    for _ in 0..6 {
        send(6 * SECOND).await.unwrap().unwrap_err();
        assert_eq!(handle.state(), State::Closed);
    }
    for call in [send(60 * SECOND), send(60 * SECOND)] {
        call.await.unwrap().unwrap();
    }
    provider.otherwise(Answer::hang());
    for number in 0..10 {
        send(11 * SECOND).await.unwrap().unwrap_err();
        assert_eq!(handle.state() == State::Open, number >= 4, "{number}");
    }
}

/// Such a deadline is no sign of overload either.
#[tokio::test(start_paused = true)]
async fn a_deadline_that_leaves_less_time_than_answers_take_lowers_no_limit() {
    let limit = BackpressureLayer::max_inflight(20).adaptive(Aimd::new());
    let handle = limit.handle();
    let (service, provider) = strict_behind(&ResilienceBuilder::new("p/m").backpressure(limit).build());
    let send = async |time: Duration| {
        let request = with_deadline(request(), time);
        service.clone().oneshot(request).await?.into_body().collect().await.map_err(Error::boxed)
    };
    provider.otherwise(Answer::status(200).after(10 * SECOND));
    for _ in 0..3 {
        send(60 * SECOND).await.unwrap();
    }
    let before = handle.limit();
    for _ in 0..6 {
        send(2 * SECOND).await.unwrap_err();
    }
    assert_eq!(handle.limit(), before);
}

/// Pitfall P08 (docs/pitfalls.md): where streams outlast the deadline of their head, a provider that hangs had
/// no failures. Where heads take longer than deadlines allow, those that time out do not excuse each other for
/// ever.
#[tokio::test(start_paused = true)]
async fn a_provider_that_hangs_before_its_head_opens_the_circuit() {
    for (head, end, deadline, calls) in [(1, 27, 20, 5), (19, 27, 20, 5), (1, 300, 2, 5), (25, 25, 20, 10)] {
        let (inner, provider) = strict();
        let circuit = CircuitBreakerLayer::new();
        let handle = circuit.handle();
        let service = ResilienceBuilder::new("p/m")
            .backpressure(BackpressureLayer::max_inflight(20).adaptive(Aimd::new()))
            .circuit_breaker(circuit)
            .service(inner);
        let send = async |time: Duration| {
            let request = with_deadline(request(), time);
            service.clone().oneshot(request).await?.into_body().collect().await.map_err(Error::boxed)
        };
        provider.otherwise(Answer::status(200).after(head * SECOND).pause((end - head) * SECOND).frame("{}"));
        for _ in 0..3 {
            send(600 * SECOND).await.unwrap();
        }
        provider.otherwise(Answer::hang());
        for _ in 0..calls {
            assert_eq!(handle.state(), State::Closed);
            send(deadline * SECOND).await.unwrap_err();
        }
        assert_eq!(handle.state(), State::Open, "heads after {head} s, ends after {end} s");
    }
}

/// The same with a deadline of the head that leaves time for a fallback.
#[tokio::test(start_paused = true)]
async fn a_provider_that_hangs_into_the_reserve_of_a_fallback_opens_the_circuit() {
    let ((inner, provider), (second, other)) = (strict(), strict());
    let circuit = CircuitBreakerLayer::new();
    let handle = circuit.handle();
    let service = ResilienceBuilder::new("p/m")
        .backpressure(BackpressureLayer::max_inflight(20).adaptive(Aimd::new()))
        .circuit_breaker(circuit)
        .retry(RetryLayer::exponential().reserve_for_fallback(10 * SECOND))
        .total_timeout(30 * SECOND)
        .fallback(FallbackLayer::new().then("other", ResilienceBuilder::new("other").service(second)))
        .service(inner);
    let send = async || service.clone().oneshot(request()).await?.into_body().collect().await;
    let event = "data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\n";
    let stream = Answer::status(200).header("content-type", "text/event-stream").after(SECOND);
    provider.otherwise(stream.frame(event).pause(26 * SECOND).frame("data: [DONE]\n\n"));
    other.otherwise(Answer::status(200));
    for _ in 0..3 {
        send().await.unwrap();
    }
    provider.otherwise(Answer::hang());
    for number in 1..=5 {
        send().await.unwrap();
        assert_eq!((handle.state() == State::Open, other.calls()), (number == 5, number));
    }
}
