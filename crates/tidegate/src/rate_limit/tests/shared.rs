//! Quotas that processes share, through a store in memory. It decides with the bucket that decides in one
//! process.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http::{Request, Response};
use proptest::prelude::*;
use tidegate_testkit::strict::{self, Strict};
use tokio::task::JoinSet;
use tower::{Layer, Service, ServiceExt};

use crate::rate_limit::cost::CallCost;
use crate::rate_limit::quota::Quota;
use crate::rate_limit::quota_set::{QuotaSet, ReopenRamp};
use crate::rate_limit::shared::ExchangeStep;
use crate::rate_limit::shared::WaitingCalls;
use crate::rate_limit::{OnLimit, RateLimit, RateLimitLayer};
use crate::store::{LeaseGrant, LeaseRequest, OnUnavailable, Settings};
use crate::testing::store::{Delays, Server, StoredLimit};
use crate::testing::{MILLI, SECOND, call, complete, of_tenant, paused, rejection, request, strict};
use crate::{
    ClassifyLayer, Error, KeyBy, LimitUnit, Payload, RejectionReason, StatusClassifier, Tenant, clock,
};

/// Two processes with this limit, and the server that they share.
fn two(limit: impl Fn() -> RateLimitLayer, settings: Settings) -> ([RateLimitLayer; 2], Server) {
    let server = Server::new();
    (server.processes(&settings, |store| limit().name("a/b").store(store)), server)
}

fn services(layers: &[RateLimitLayer; 2]) -> ([RateLimit<Strict<Payload>>; 2], strict::Handle) {
    let (inner, provider) = strict();
    ([layers[0].layer(inner.clone()), layers[1].layer(inner)], provider)
}

/// A response closes the gate for so many seconds.
async fn close(service: &mut RateLimit<Strict<Payload>>, provider: &strict::Handle, seconds: u32) {
    provider.answer(429).header("retry-after", &seconds.to_string());
    complete(service).await.unwrap();
}

fn are_closed(layers: &[RateLimitLayer; 2]) -> [bool; 2] {
    layers.each_ref().map(|layer| layer.handle().closed_for().is_some())
}

#[tokio::test(start_paused = true)]
async fn two_processes_have_one_quota_and_a_busy_one_asks_seldom() {
    let limit = || RateLimitLayer::per_second(1000).burst_size(1000);
    let (layers, server) = two(limit, Settings::default());
    let (services, provider) = services(&layers);
    let start = clock::now();
    let mut calls = JoinSet::new();
    for service in services.iter().cycle().take(20) {
        let service = service.clone();
        calls.spawn(async move {
            while clock::now() < start + Duration::from_secs(3) {
                service.clone().oneshot(request()).await.unwrap();
            }
        });
    }
    calls.join_all().await;
    let admitted = provider.calls();
    assert!((3600..=4000).contains(&admitted), "{admitted}");
    let requests = server.lease_requests();
    assert!(requests * 5 < admitted, "{requests} requests for {admitted} calls");
}

#[tokio::test(start_paused = true)]
async fn what_a_process_does_not_use_is_there_for_the_other() {
    let limit = || RateLimitLayer::per_minute(60).on_limit(OnLimit::Reject);
    let (layers, _server) = two(limit, Settings::default());
    let ([mut one, mut other], _provider) = services(&layers);
    for _ in 0..30 {
        complete(&mut one).await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mut admitted = 0;
    while complete(&mut other).await.is_ok() {
        admitted += 1;
    }
    assert!((29..=30).contains(&admitted), "{admitted}");
    let rejected = rejection(call(&mut one).await);
    assert_eq!(rejected.reason(), RejectionReason::RateLimitReached);
    let wait = rejected.retry_after().unwrap();
    assert!(wait > Duration::from_millis(500) && wait <= Duration::from_secs(2), "{wait:?}");
}

#[tokio::test(start_paused = true)]
async fn without_a_store_the_share_decides_and_the_store_is_charged_for_it_afterwards() {
    let limit = || RateLimitLayer::per_minute(60).on_limit(OnLimit::Reject);
    let settings = Settings { processes: Some(2), ..Settings::default() };
    let (layers, server) = two(limit, settings);
    let ([mut one, mut other], _provider) = services(&layers);
    server.stop();
    let start = clock::now();
    complete(&mut one).await.unwrap();
    assert!(clock::now() - start <= Duration::from_millis(51), "{:?}", clock::now() - start);
    let mut admitted = 1;
    while complete(&mut one).await.is_ok() {
        admitted += 1;
    }
    assert_eq!(admitted, 30);
    layers[0].handle().reset();
    assert!(call(&mut one).await.is_err(), "the share stays as it is, as the quota in the store does");
    assert!(!layers[0].handle().shared().unwrap().available);
    server.resume();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(call(&mut one).await.is_err() || layers[0].handle().shared().unwrap().available);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(layers[0].handle().shared().unwrap().available);
    let mut admitted = 0;
    while complete(&mut other).await.is_ok() {
        admitted += 1;
    }
    assert!((28..=31).contains(&admitted), "{admitted}");
}

/// Of a limit that is new while the store is down, the number of processes is not known: it is as large as
/// that of others.
#[tokio::test(start_paused = true)]
async fn a_new_limit_without_a_store_has_the_share_of_an_older_one() {
    let server = Server::new();
    let store = server.store(0, &Settings::default());
    let limit = |name: &str| {
        let limit = RateLimitLayer::per_minute(60).on_limit(OnLimit::Reject).name(name);
        limit.store(store.scope(name))
    };
    let (older, newer) = (limit("a/b"), limit("a/c"));
    let ([mut older, mut newer], _provider) = services(&[older, newer]);
    complete(&mut older).await.unwrap();
    server.stop();
    let mut admitted = 0;
    while complete(&mut newer).await.is_ok() {
        admitted += 1;
    }
    assert_eq!(admitted, 30);
}

#[tokio::test(start_paused = true)]
async fn in_the_closed_mode_no_call_is_admitted_without_a_store() {
    let limit = || RateLimitLayer::per_minute(60).max_wait(Duration::from_secs(1));
    let settings = Settings { mode: OnUnavailable::Closed, ..Settings::default() };
    let (layers, server) = two(limit, settings);
    let ([mut one, _], provider) = services(&layers);
    server.stop();
    let rejected = rejection(call(&mut one).await);
    assert_eq!((rejected.reason(), provider.calls()), (RejectionReason::MaxWaitExceeded, 0));
    server.resume();
    complete(&mut one).await.unwrap();
}

/// A call that is rejected at once is a call: the store is tried again, also if the call is not made because
/// of the rejection.
#[tokio::test(start_paused = true)]
async fn in_the_closed_mode_a_store_is_tried_again_while_calls_are_rejected() {
    let settings = Settings { mode: OnUnavailable::Closed, ..Settings::default() };
    for is_made in [true, false] {
        let limit = || RateLimitLayer::per_minute(60).on_limit(OnLimit::Reject);
        let (layers, server) = two(limit, settings.clone());
        let ([mut one, _], provider) = services(&layers);
        server.stop();
        assert!(call(&mut one).await.is_err());
        tokio::time::sleep(Duration::from_secs(60)).await;
        let requests = server.lease_requests();
        assert!(requests <= 2, "{requests} without a call");
        server.resume();
        if is_made {
            _ = rejection(call(&mut one).await)
        } else {
            _ = layers[0].handle().peek(None).unwrap()
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert!(layers[0].handle().shared().unwrap().available, "{is_made}");
        complete(&mut one).await.unwrap();
        assert_eq!(provider.calls(), 1);
    }
}

/// A runtime that ends drops a task in the moment in which that is spawned: here by a call that ends with the
/// runtime, with the queue locked.
#[test]
fn a_runtime_that_ends_with_a_call_in_flight_ends() {
    let (sender, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = paused();
        let (layers, _server) = two(|| RateLimitLayer::new().tokens_per_minute(1_000), Settings::default());
        runtime.block_on(async {
            let provider =
                tower::service_fn(|_| std::future::pending::<Result<http::Response<Payload>, Error>>());
            tokio::spawn(layers[0].layer(provider).oneshot(request()));
            layers[0].handle().0.wire_reports.store(true, Ordering::Relaxed);
            // The lease expires, and the exchange ends.
            tokio::time::sleep(Duration::from_secs(5)).await;
        });
        drop(runtime);
        sender.send(()).unwrap();
    });
    ended.recv_timeout(Duration::from_secs(20)).expect("the runtime does not end");
}

/// Regression: a response that was dropped outside of a runtime was taken for a store that cannot be reached.
#[test]
fn a_response_that_is_dropped_outside_of_a_runtime_leaves_the_store_available() {
    let runtime = paused();
    let (layers, _server) = two(|| RateLimitLayer::new().tokens_per_minute(1_000), Settings::default());
    let (inner, provider) = strict();
    provider.answer(200).frame("unread").stall();
    let mut service = layers[0].layer(ClassifyLayer::new(StatusClassifier).layer(inner));
    let response = runtime.block_on(async {
        let response = call(&mut service).await.unwrap();
        // The lease expires, and the exchange ends.
        tokio::time::sleep(Duration::from_secs(5)).await;
        response
    });
    drop(response);
    assert!(layers[0].handle().shared().unwrap().available);
}

/// Regression: the first call of a store without a timeout panicked.
#[tokio::test(start_paused = true)]
async fn a_store_may_have_no_timeout() {
    let settings = Settings { timeout: Duration::MAX, ..Settings::default() };
    let (layers, _server) = two(|| RateLimitLayer::per_second(10), settings);
    let ([mut service, _], _provider) = services(&layers);
    complete(&mut service).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_later_of_two_closing_times_holds_in_both_processes() {
    let (layers, _server) = two(|| RateLimitLayer::per_minute(60), Settings::default());
    let ([mut one, mut other], provider) = services(&layers);
    complete(&mut one).await.unwrap();
    complete(&mut other).await.unwrap();
    close(&mut one, &provider, 30).await;
    tokio::time::sleep(Duration::from_millis(10)).await;
    let closed = |layer: &RateLimitLayer| layer.handle().closed_for().unwrap_or_default().as_secs();
    assert_eq!((closed(&layers[0]), closed(&layers[1])), (29, 29));
}

/// Regression: a limit without quotas, as that of the preset for production, shared no closing time.
#[tokio::test(start_paused = true)]
async fn a_429_closes_a_limit_without_quotas_in_every_process() {
    let server = Server::new();
    let layers: [RateLimitLayer; 3] =
        server.processes(&Settings::default(), |store| RateLimitLayer::new().name("a/b").store(store));
    let (inner, provider) = strict();
    let [mut one, mut listening, mut late] = layers.each_ref().map(|layer| layer.layer(inner.clone()));
    let closed = |process: usize| layers[process].handle().closed_for().unwrap_or_default().as_secs();
    complete(&mut listening).await.unwrap();
    close(&mut one, &provider, 60).await;
    tokio::time::sleep(10 * MILLI).await;
    assert_eq!((closed(0), closed(1)), (59, 59));
    complete(&mut late).await.unwrap();
    tokio::time::sleep(10 * MILLI).await;
    assert_eq!(closed(2), 59, "it is read at the first call");
    // The message of a longer time is lost with the connection.
    layers.iter().for_each(|layer| layer.handle().reset());
    server.set_delays(Delays { message: Box::new(|| 3600 * Duration::from_secs(1)), ..Delays::default() });
    close(&mut one, &provider, 120).await;
    tokio::time::sleep(200 * MILLI).await;
    assert_ne!(closed(1), 119);
    server.set_delays(Delays::default());
    server.reconnect();
    tokio::time::sleep(10 * MILLI).await;
    assert_eq!((closed(1), closed(2)), (119, 119));
    assert!(server.lease_requests() < 10, "{} requests", server.lease_requests());
}

/// The gates of both processes are closed for long, and reset when what is left of the leases is reported.
async fn closed_and_reset(
    limit: impl Fn() -> RateLimitLayer,
) -> ([RateLimitLayer; 2], [RateLimit<Strict<Payload>>; 2]) {
    let (layers, _server) = two(limit, Settings::default());
    let (mut services, provider) = services(&layers);
    for service in &mut services {
        complete(service).await.unwrap();
    }
    close(&mut services[0], &provider, 20_000).await;
    tokio::time::sleep(500 * MILLI).await;
    assert_eq!(are_closed(&layers), [true; 2]);
    layers[0].handle().reset();
    tokio::time::sleep(500 * MILLI).await;
    assert_eq!(are_closed(&layers), [false; 2]);
    (layers, services)
}

/// Regression: the next lease closed the gate again, and those of other processes stayed closed.
#[tokio::test(start_paused = true)]
async fn a_reset_opens_the_gate_in_every_process() {
    for limit in [RateLimitLayer::new, || RateLimitLayer::per_minute(60)] {
        let (layers, mut services) = closed_and_reset(limit).await;
        for service in &mut services {
            let start = clock::now();
            complete(service).await.unwrap();
            assert!(clock::now() - start < Duration::from_secs(1));
            tokio::time::sleep(500 * MILLI).await;
        }
        assert_eq!(are_closed(&layers), [false; 2]);
    }
}

/// Regression: what the store had held back until the end of the closed time was known in each process, and
/// calls that do not wait were rejected until then.
#[tokio::test(start_paused = true)]
async fn after_a_reset_no_process_expects_the_end_of_the_closed_time() {
    let limits = [
        || RateLimitLayer::per_second(100).on_limit(OnLimit::Reject),
        || RateLimitLayer::per_minute(10).max_wait(SECOND * 10),
    ];
    for limit in limits {
        let (_layers, mut services) = closed_and_reset(limit).await;
        for service in &mut services {
            complete(service).await.unwrap();
            tokio::time::sleep(10 * SECOND).await;
        }
    }
}

/// Regression: a lease that was to begin at the end of the closed time did not begin earlier.
#[tokio::test(start_paused = true)]
async fn a_call_that_waits_for_the_end_of_the_closed_time_is_admitted_after_a_reset() {
    let (layers, _server) = two(|| RateLimitLayer::per_second(100), Settings::default());
    let ([mut one, mut other], provider) = services(&layers);
    complete(&mut other).await.unwrap();
    close(&mut one, &provider, 5).await;
    let calls = [one, other].map(|service| tokio::spawn(service.oneshot(request())));
    tokio::time::sleep(500 * MILLI).await;
    let start = clock::now();
    layers[0].handle().reset();
    for call in calls {
        call.await.unwrap().unwrap();
        assert!(clock::now() - start < 100 * MILLI, "{:?}", clock::now() - start);
    }
}

/// Regression: the local share was drained until the end of the closed time, and no reset changed that.
#[tokio::test(start_paused = true)]
async fn a_reset_without_a_store_opens_the_gate_of_the_process() {
    let limit = || RateLimitLayer::per_minute(60);
    let (layers, server) = two(limit, Settings { processes: Some(2), ..Settings::default() });
    let ([mut one, _], provider) = services(&layers);
    server.stop();
    close(&mut one, &provider, 3600).await;
    assert!(call(&mut one).await.is_err());
    layers[0].handle().reset();
    complete(&mut one).await.unwrap();
}

/// Regression: it was sent until the gate opened, and undid a reset of another process.
#[tokio::test(start_paused = true)]
async fn a_closing_time_that_does_not_reach_the_store_is_sent_again_for_a_minute() {
    for (down, is_sent) in [(10, true), (600, false)] {
        let (layers, server) = two(RateLimitLayer::new, Settings::default());
        let ([mut one, mut other], provider) = services(&layers);
        let requests = Arc::<AtomicUsize>::default();
        let counter = Arc::clone(&requests);
        let request = move || {
            counter.fetch_add(1, Ordering::Relaxed);
            MILLI
        };
        server.set_delays(Delays { request: Box::new(request), ..Delays::default() });
        server.stop();
        close(&mut one, &provider, 3600).await;
        tokio::time::sleep(down * SECOND).await;
        server.resume();
        tokio::time::sleep(2 * SECOND).await;
        // It is read at the first call.
        complete(&mut other).await.unwrap();
        tokio::time::sleep(SECOND).await;
        assert_eq!(layers[1].handle().closed_for().is_some(), is_sent, "{down} s");
        let requests = requests.load(Ordering::Relaxed);
        assert!(requests <= 65, "{requests} requests");
    }
}

/// Regression: a reset that did not reach the store was one of its process alone.
#[tokio::test(start_paused = true)]
async fn a_reset_that_did_not_reach_the_store_is_sent_again() {
    for limit in [RateLimitLayer::new, || RateLimitLayer::per_minute(60)] {
        // The store is down for so long, and then the connection is lost or not.
        for (down, is_reconnected) in [(SECOND, false), (120 * SECOND, true)] {
            let (layers, server) = two(limit, Settings::default());
            let (mut services, provider) = services(&layers);
            for service in &mut services {
                complete(service).await.unwrap();
            }
            close(&mut services[0], &provider, 20_000).await;
            tokio::time::sleep(500 * MILLI).await;
            assert_eq!(are_closed(&layers), [true; 2]);
            server.stop();
            layers[0].handle().reset();
            tokio::time::sleep(down).await;
            server.resume();
            if is_reconnected {
                server.reconnect();
            }
            tokio::time::sleep(2 * SECOND).await;
            for service in &mut services {
                complete(service).await.unwrap();
            }
            tokio::time::sleep(SECOND).await;
            assert_eq!(are_closed(&layers), [false; 2], "{down:?}");
        }
    }
}

/// Regression: the process that closed the gate had not received the reset, and undid it, or stayed closed
/// alone.
#[tokio::test(start_paused = true)]
async fn a_closing_time_that_is_sent_again_undoes_no_reset() {
    for limit in [RateLimitLayer::new, || RateLimitLayer::per_minute(60)] {
        let (layers, server) = two(limit, Settings::default());
        let ([mut one, mut other], provider) = services(&layers);
        server.stop();
        close(&mut one, &provider, 3600).await;
        tokio::time::sleep(5 * SECOND).await;
        server.set_delays(Delays { message: Box::new(|| 3600 * SECOND), ..Delays::default() });
        server.resume();
        layers[1].handle().reset();
        tokio::time::sleep(5 * SECOND).await;
        // It is read at the first call.
        complete(&mut other).await.unwrap();
        tokio::time::sleep(SECOND).await;
        assert_eq!(are_closed(&layers), [false; 2]);
        complete(&mut one).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_reset_that_is_sent_again_opens_no_gate_that_was_closed_after_it() {
    for down in [SECOND, 120 * SECOND] {
        let (layers, server) = two(RateLimitLayer::new, Settings::default());
        let ([mut one, mut other], provider) = services(&layers);
        complete(&mut one).await.unwrap();
        complete(&mut other).await.unwrap();
        server.stop();
        layers[0].handle().reset();
        tokio::time::sleep(down).await;
        close(&mut other, &provider, 3600).await;
        tokio::time::sleep(10 * SECOND).await;
        server.resume();
        tokio::time::sleep(2 * SECOND).await;
        assert_eq!(are_closed(&layers), [true; 2], "{down:?}");
    }
}

/// Regression: the message of a reset that reached the store late opened a gate that was closed after it, and
/// the closing time was lost.
#[tokio::test(start_paused = true)]
async fn a_late_reset_opens_no_gate_whose_closing_has_not_reached_the_store() {
    // At some of these times the reset reaches the store first.
    for tenths in 0..10 {
        let (layers, server) = two(RateLimitLayer::new, Settings::default());
        let ([mut one, mut other], provider) = services(&layers);
        complete(&mut other).await.unwrap();
        let late = tower::service_fn(async |_: Request<Payload>| {
            tokio::time::sleep(10 * SECOND).await;
            let response = Response::builder().status(429).header("retry-after", "3600");
            Ok::<_, Error>(response.body(Payload::empty()).unwrap())
        });
        let late = tokio::spawn(layers[1].layer(late).oneshot(request()));
        tokio::time::sleep(SECOND).await;
        close(&mut one, &provider, 60).await;
        tokio::time::sleep(SECOND).await;
        assert_eq!(are_closed(&layers), [true; 2]);
        server.stop();
        layers[0].handle().reset();
        late.await.unwrap().unwrap();
        tokio::time::sleep(5 * SECOND + tenths * 100 * MILLI).await;
        server.resume();
        tokio::time::sleep(3 * SECOND).await;
        for layer in &layers {
            assert!(layer.handle().closed_for() > Some(3000 * SECOND), "{tenths}");
        }
    }
}

/// Regression: each of them was sent and published on its own.
#[tokio::test(start_paused = true)]
async fn the_closing_times_of_many_attempts_are_shared_together() {
    for limit in [RateLimitLayer::new, || RateLimitLayer::per_second(1000)] {
        let (layers, server) = two(limit, Settings::default());
        let ([_, mut other], _provider) = services(&layers);
        complete(&mut other).await.unwrap();
        let messages = Arc::<AtomicUsize>::default();
        let counter = Arc::clone(&messages);
        let message = move || {
            counter.fetch_add(1, Ordering::Relaxed);
            MILLI
        };
        server.set_delays(Delays { message: Box::new(message), ..Delays::default() });
        let mut attempts = JoinSet::new();
        for number in 500..750 {
            let late = tower::service_fn(move |_: Request<Payload>| async move {
                tokio::time::sleep(number * MILLI).await;
                let response = Response::builder().status(429).header("retry-after", "20");
                Ok::<_, Error>(response.body(Payload::empty()).unwrap())
            });
            attempts.spawn(layers[0].layer(late).oneshot(request()));
        }
        attempts.join_all().await;
        tokio::time::sleep(500 * MILLI).await;
        let sent = messages.load(Ordering::Relaxed);
        assert!((2..10).contains(&sent), "{sent} messages");
        let closed_for = layers[1].handle().closed_for().unwrap();
        assert!(closed_for >= 19_490 * MILLI, "{closed_for:?}");
    }
}

/// Each process closed the gates of all once more.
#[tokio::test(start_paused = true)]
async fn a_partial_overload_closes_the_gates_of_all_processes_once() {
    let (layers, _server) = two(|| RateLimitLayer::per_minute(600), Settings::default());
    let ([mut one, mut other], provider) = services(&layers);
    // Both listen.
    for service in [&mut one, &mut other] {
        complete(service).await.unwrap();
    }
    provider.answer(529).header("retry-after", "2");
    complete(&mut one).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(are_closed(&layers), [true; 2]);
    complete(&mut other).await.unwrap();
    provider.answer(529).header("retry-after", "2");
    complete(&mut other).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(are_closed(&layers), [false; 2]);
}

/// A dropped call leaves nothing leased behind: its lease is returned when it expires.
#[tokio::test(start_paused = true)]
async fn the_lease_of_a_dropped_call_is_returned() {
    // Before the reply, and when the exchange with the store has ended.
    for time in [Duration::from_micros(1), Duration::from_secs(2)] {
        let limit = || RateLimitLayer::per_minute(10).on_limit(OnLimit::Reject);
        let (layers, server) = two(limit, Settings::default());
        let ([one, mut other], provider) = services(&layers);
        let mut dropped = tokio_test::task::spawn(one.oneshot(request()));
        assert!(dropped.poll().is_pending());
        tokio::time::sleep(time).await;
        drop(dropped);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(server.lease_requests() >= 2);
        for _ in 0..10 {
            complete(&mut other).await.unwrap();
        }
        assert_eq!(provider.calls(), 10);
    }
}

/// What other processes have used is seen with the first lease.
#[tokio::test(start_paused = true)]
async fn the_part_that_is_left_is_that_of_all_processes() {
    let (layers, server) = two(|| RateLimitLayer::per_minute(60), Settings::default());
    let ([mut one, mut other], _provider) = services(&layers);
    let left = |layer: &RateLimitLayer| {
        layer.handle().outlook_for(&Request::new(Payload::from("{}")), clock::now()).left
    };
    for _ in 0..50 {
        complete(&mut one).await.unwrap();
    }
    complete(&mut other).await.unwrap();
    for layer in &layers {
        assert!((0.1..0.2).contains(&left(layer)), "{}", left(layer));
    }
    // Without the store it is that of the share.
    server.stop();
    tokio::time::sleep(Duration::from_secs(60)).await;
    complete(&mut other).await.unwrap();
    assert!(!layers[1].handle().shared().unwrap().available && left(&layers[1]) > 0.9);
}

/// Regression: the store of a limit without calls was available, whatever the calls of others had found.
#[tokio::test(start_paused = true)]
async fn a_store_that_does_not_reply_is_unavailable_for_limits_without_calls_as_well() {
    let server = Server::new();
    let store = server.store(0, &Settings::default());
    let limit = |name: &str| RateLimitLayer::per_minute(60).name(name).store(store.clone());
    let (layers, (inner, _provider)) = ([limit("a/b"), limit("a/c")], strict());
    let available = || layers.each_ref().map(|layer| layer.handle().shared().unwrap().available);
    assert_eq!(available(), [false, false], "before the first request");
    server.stop();
    complete(&mut layers[0].layer(inner.clone())).await.unwrap();
    assert_eq!(available(), [false, false]);
    server.resume();
    complete(&mut layers[1].layer(inner.clone())).await.unwrap();
    assert_eq!(available(), [false, true]);
    tokio::time::sleep(SECOND).await;
    complete(&mut layers[0].layer(inner.clone())).await.unwrap();
    assert_eq!(available(), [true, true]);
    server.stop();
    tokio::time::sleep(60 * SECOND).await;
    complete(&mut layers[0].layer(inner)).await.unwrap();
    assert_eq!(available(), [false, false], "the second has no calls");
}

/// Regression: replies that were later than half of the refill were dropped, so that no call was admitted.
#[tokio::test(start_paused = true)]
async fn a_reply_within_the_timeout_is_used_however_small_the_burst_is() {
    for burst in [1, 2, 4, 8] {
        let limit = || RateLimitLayer::per_second(100).burst_size(burst);
        let (layers, server) = two(limit, Settings::default());
        server.set_delays(Delays {
            request: Box::new(|| 22 * MILLI),
            reply: Box::new(|| 22 * MILLI),
            ..Delays::default()
        });
        let (services, _) = services(&layers);
        for service in services.iter().cycle().take(20) {
            let start = clock::now();
            service.clone().oneshot(request()).await.unwrap();
            assert!(clock::now() - start < 200 * MILLI, "{burst}");
        }
    }
}

/// A reply may take the 50 ms of the timeout, whatever the length of the lease is.
#[test]
fn what_is_held_back_is_what_refills_within_a_lease_and_until_its_reply() {
    let start = Instant::now();
    let per_second = |amount| Quota::new(LimitUnit::Requests, amount, Duration::from_secs(1));
    let waiting = WaitingCalls { all: CallCost::ONE_CALL, first: CallCost::ONE_CALL };
    for (millis, held_back) in [(1, 50), (20, 50), (150, 150), (900, 500)] {
        let settings = Settings { lease: Duration::from_millis(millis), ..Settings::default() };
        let mut limits = QuotaSet::new(&[per_second(1000)], None, start);
        limits.share(&settings, &Arc::default(), Duration::ZERO, start);
        let ExchangeStep::Request(request) = limits.next_step(&waiting, start) else {
            panic!("there is a call")
        };
        assert_eq!(request.quotas[0].burst, 1000 - held_back, "{millis} ms");
    }
}

fn tokens(amount: u64) -> CallCost {
    CallCost { calls: 1, input: amount, output: 0 }
}

/// One call of so many tokens.
fn waiting(amount: u64) -> WaitingCalls {
    WaitingCalls { all: tokens(amount), first: tokens(amount) }
}

/// One token in a millisecond, shared with other processes.
fn shared_tokens(settings: &Settings, now: Instant) -> QuotaSet {
    let quota = Quota::new(LimitUnit::Tokens, 1000, Duration::from_secs(1));
    let mut limits = QuotaSet::new(&[quota], None, now);
    limits.share(settings, &Arc::default(), Duration::from_secs(10), now);
    limits
}

/// Sends the next request to `store`, if there is one. Returns the wait of a lease that is granted.
fn exchange(
    limits: &mut QuotaSet,
    waiting: &WaitingCalls,
    store: &mut StoredLimit,
    now: Instant,
) -> Option<Duration> {
    let ExchangeStep::Request(request) = limits.next_step(waiting, now) else { return None };
    let grant = store.take(&request, now);
    limits.on_grant(&request, &grant, now, now);
    (grant.is_granted && request.quotas.iter().any(|quota| quota.amount > 0)).then_some(grant.wait)
}

/// Charges what another process has spent.
fn charge(store: &mut StoredLimit, amount: u64, now: Instant) {
    let mut other = shared_tokens(&Settings::default(), now);
    if let ExchangeStep::Request(mut request) = other.next_step(&waiting(1), now) {
        (request.quotas[0].amount, request.quotas[0].charged) = (0, amount);
        store.take(&request, now);
    }
}

/// Regression: the local share of an outage bounded the reservations for ever.
#[test]
fn after_an_outage_a_call_may_reserve_a_whole_quota_again() {
    for (mode, bound) in [(OnUnavailable::Open, 250), (OnUnavailable::Closed, 1000)] {
        let start = Instant::now();
        let settings = Settings { mode, processes: Some(4), ..Settings::default() };
        let mut limits = shared_tokens(&settings, start);
        let bounded = |limits: &QuotaSet| limits.bounded(CallCost { output: 5000, ..tokens(0) }).output;
        assert_eq!(bounded(&limits), 1000);
        limits.on_unavailable(start);
        assert_eq!(bounded(&limits), bound, "{mode:?}");
        exchange(&mut limits, &waiting(10), &mut StoredLimit::default(), start + Duration::from_secs(1));
        assert_eq!(bounded(&limits), 1000, "{mode:?}");
    }
}

/// Regression: it was reported when the lease began, seconds later.
#[test]
fn what_a_call_did_not_use_is_reported_while_a_lease_is_reserved_for_later() {
    for (used, unreported) in [(0, [100, 0]), (150, [0, 50])] {
        let (start, mut store) = (Instant::now(), StoredLimit::default());
        let mut limits = shared_tokens(&Settings::default(), start);
        exchange(&mut limits, &waiting(100), &mut store, start).unwrap();
        let reserved = limits.try_reserve(&tokens(100), 0, start).unwrap();
        charge(&mut store, 3_000, start);
        let wait = exchange(&mut limits, &waiting(850), &mut store, start).unwrap();
        let step = limits.next_step(&waiting(850), start);
        assert_eq!(step, ExchangeStep::SleepUntil(start + wait));
        assert!(wait > Duration::from_secs(3) && !limits.shared().unwrap().is_due(&waiting(850), start));
        limits.settle(&reserved, &tokens(used), start);
        assert!(limits.shared().unwrap().is_due(&waiting(850), start));
        let ExchangeStep::SleepUntil(at) = limits.next_step(&waiting(850), start) else { panic!("not yet") };
        assert!(at <= start + Duration::from_millis(150), "{:?}", at - start);
        assert!(!limits.shared().unwrap().is_due(&waiting(850), start), "it is awake in time");
        let ExchangeStep::Request(request) = limits.next_step(&waiting(850), at) else {
            panic!("it is time")
        };
        assert_eq!([request.quotas[0].returned, request.quotas[0].charged], unreported);
    }
}

/// The store returns the rest of the closed time with every lease, also in its last moments.
#[test]
fn a_lease_does_not_shorten_the_ramp_of_a_gate_that_reopens() {
    let start = Instant::now();
    let mut limits =
        QuotaSet::new(&[Quota::new(LimitUnit::Requests, 1000, Duration::from_secs(1))], None, start);
    let close = |limits: &mut QuotaSet, wait: Duration, now: Instant| {
        limits.close(now + wait, ReopenRamp::new(wait, now + wait, 1.0), now);
    };
    close(&mut limits, Duration::from_secs(100), start);
    let spread = Duration::from_secs(100) / 10 / 2;
    let opens = start + Duration::from_secs(100);
    close(&mut limits, Duration::from_millis(2), opens - Duration::from_millis(1));
    let shortfall = limits.shortfall(&CallCost::default(), &CallCost::ONE_CALL, opens);
    assert!(shortfall.wait >= spread, "{:?}", shortfall.wait);
    let first = opens + spread;
    limits.try_reserve(&CallCost::ONE_CALL, 9, first).unwrap();
    let next = limits.shortfall(&CallCost::default(), &CallCost::ONE_CALL, first).wait;
    close(&mut limits, Duration::from_millis(1), first);
    assert_eq!(limits.shortfall(&CallCost::default(), &CallCost::ONE_CALL, first).wait, next);
}

/// The reply of a request that was sent before a reset has what was drained until the gate opens. Regression: a
/// lease of such a reply began at the end of the closed time, and no other was requested before.
#[test]
fn a_reply_from_before_a_reset_holds_no_call_back() {
    let (start, call) = (Instant::now(), CallCost::ONE_CALL);
    let quota = Quota::new(LimitUnit::Requests, 10, Duration::from_secs(1));
    let mut limits = QuotaSet::new(&[quota], None, start);
    limits.share(&Settings::default(), &Arc::default(), Duration::from_secs(10), start);
    let ExchangeStep::Request(request) = limits.next_step(&WaitingCalls { all: call, first: call }, start)
    else {
        panic!("there is a call")
    };
    let reset = start + MILLI;
    limits.open(reset);
    let hour = Duration::from_secs(3600);
    let grant = LeaseGrant { wait: hour, debts: vec![hour], closed_for: hour, ..LeaseGrant::default() };
    let replied = reset + MILLI;
    for is_granted in [false, true] {
        let mut limits = limits.clone();
        limits.on_grant(&request, &LeaseGrant { is_granted, ..grant.clone() }, start, replied);
        assert!(limits.shortfall(&CallCost::default(), &call, replied).is_pending, "{is_granted}");
    }
}

/// Regression: a lease that was reserved or requested before a reset began earlier by the rest of the closed
/// time, also where the closing had drained nothing.
#[test]
fn a_reset_gives_no_tokens_that_have_not_refilled() {
    let (start, minute) = (Instant::now(), SECOND * 60);
    for is_late in [false, true] {
        let (mut store, mut limits) = (StoredLimit::default(), shared_tokens(&Settings::default(), start));
        charge(&mut store, 3_000, start);
        let ExchangeStep::Request(request) = limits.next_step(&waiting(400), start) else { panic!("a call") };
        let grant = LeaseGrant { closed_for: minute, ..store.take(&request, start) };
        assert!(grant.is_granted && grant.wait > 2 * SECOND);
        limits.close(start + minute, ReopenRamp::new(minute, start + minute, 0.0), start);
        let reset = start + MILLI;
        if is_late {
            limits.open(reset);
        }
        limits.on_grant(&request, &grant, start, reset + MILLI);
        if !is_late {
            limits.open(reset + MILLI);
        }
        let now = reset + 2 * MILLI;
        assert!(limits.try_reserve(&tokens(400), 0, now).is_err(), "{is_late}");
        let wait = exchange(&mut limits, &waiting(400), &mut store, now).expect("it is requested again");
        assert!(wait > 2 * SECOND && limits.try_reserve(&tokens(400), 0, now + wait).is_ok(), "{wait:?}");
    }
}

/// One process of the property: its quotas, and the calls that wait.
struct Process {
    limits: QuotaSet,
    waiting: usize,
    /// A request and the reply on its way, with the times at which they are sent and arrive.
    requested: Option<(LeaseRequest, LeaseGrant, [Instant; 2])>,
}

proptest! {
    /// Regression: what was left of a lease counted for a call that waits until after its end, so that each
    /// lease lacked a part of the cost.
    #[test]
    fn a_call_is_admitted_when_its_first_lease_begins(
        cost in 2u64..900,
        left in 1u64..900,
        wait in 0u64..8_000,
    ) {
        let (mut now, mut store) = (Instant::now(), StoredLimit::default());
        let mut limits = shared_tokens(&Settings::default(), now);
        let left = left.min(cost - 1);
        exchange(&mut limits, &waiting(left), &mut store, now);
        charge(&mut store, wait, now);
        let mut granted = None;
        for _ in 0..2_500 {
            if limits.try_reserve(&tokens(cost), 0, now).is_ok() {
                break;
            }
            if let Some(wait) = exchange(&mut limits, &waiting(cost), &mut store, now) {
                prop_assert!(granted.is_none(), "another lease after {:?}", granted);
                granted = Some(wait);
            }
            now += Duration::from_millis(5);
            // Another process takes all that refills.
            charge(&mut store, 5, now);
        }
        prop_assert!(granted.is_some());
    }
}

proptest! {
    /// Wherever calls arrive, and however long replies take: no window of all processes together exceeds the
    /// quota. A lease is used at any time within it.
    #[test]
    fn no_window_of_all_processes_exceeds_the_quota(
        rate in 20u64..400,
        burst in 2u64..200,
        part_of_burst in 3u64..200,
        leases: bool,
        lease in 1u64..200,
        arrivals in prop::collection::vec((0usize..3, 0u64..10, 0usize..8, 0u64..100), 50..250),
    ) {
        let start = Instant::now();
        let quota = Quota::new(LimitUnit::Requests, rate, Duration::from_secs(1));
        let cost = (burst / part_of_burst).max(1);
        let of = |calls: usize| CallCost { calls: cost * calls as u64, ..CallCost::default() };
        let lease = Duration::from_millis(lease);
        let settings = Settings { leases, lease, processes: Some(3), ..Settings::default() };
        let process = || {
            let mut limits = QuotaSet::new(&[quota], burst.try_into().ok(), start);
            limits.share(&settings, &Arc::default(), Duration::from_secs(10), start);
            Process { limits, waiting: 0, requested: None }
        };
        let (mut processes, mut store) = ([process(), process(), process()], StoredLimit::default());
        let (mut now, mut admitted) = (start, Vec::new());
        for (index, elapsed, calls, delay) in arrivals {
            now += Duration::from_millis(elapsed);
            processes[index].waiting += calls;
            for it in &mut processes {
                if let Some((request, grant, [sent, _])) = it.requested.take_if(|(.., [_, at])| *at <= now) {
                    it.limits.on_grant(&request, &grant, sent, now);
                }
                while it.waiting > 0 && it.limits.try_reserve(&of(1), 0, now).is_ok() {
                    admitted.push(now);
                    it.waiting -= 1;
                }
                if it.requested.is_none() {
                    let waiting = WaitingCalls { all: of(it.waiting), first: of(it.waiting.min(1)) };
                    if let ExchangeStep::Request(request) = it.limits.next_step(&waiting, now) {
                        let grant = store.take(&request, now);
                        it.requested = Some((request, grant, [now, now + Duration::from_millis(delay)]));
                    }
                }
            }
        }
        // A burst of few calls leaves no room for the latest reply, and for the 5 ms in which its lease is
        // used.
        let latest = settings.timeout.as_secs_f64();
        let held = if leases { lease.as_secs_f64().max(latest) } else { latest };
        let held_back = (rate as f64 * held).min(burst as f64 / 2.0).floor();
        let extra = (rate as f64 * (latest + 0.005) - held_back).max(0.0) + 1.0;
        for (first, from) in admitted.iter().enumerate() {
            for (count, to) in admitted[first..].iter().enumerate() {
                let allowed = burst as f64 + rate as f64 * (*to - *from).as_secs_f64() + extra;
                let spent = cost as f64 * (count + 1) as f64;
                prop_assert!(spent <= allowed + 1e-6, "{spent} of {allowed}");
            }
        }
    }
}

/// Regression: the services of a layer that is `per_service()` shared their quota through the store.
#[tokio::test(start_paused = true)]
async fn services_with_their_own_limit_share_it_with_those_of_other_processes() {
    let limit = || RateLimitLayer::per_minute(6).on_limit(OnLimit::Reject);
    let (layers, memory) = two(limit, Settings::default());
    let layers = layers.map(RateLimitLayer::per_service);
    let ([one, other], mut admitted) = (services(&layers).0, Vec::new());
    let (second, _provider) = services(&layers);
    for mut service in [one, other].into_iter().chain(second) {
        let mut calls = 0;
        while complete(&mut service).await.is_ok() {
            calls += 1;
        }
        admitted.push(calls);
    }
    assert_eq!(admitted, [6, 0, 6, 0]);
    assert_eq!(memory.limit_names(), ["rate::a/b:service=1", "rate::a/b:service=2"]);
}

/// Regression: a key for which `per_key` made a new layer had neither the store nor the name of the first one,
/// so that each process admitted its whole quota.
#[tokio::test(start_paused = true)]
async fn a_key_with_a_new_layer_is_shared_as_the_others_are() {
    let limit = || {
        RateLimitLayer::per_minute(6).key_by(KeyBy::tenant()).classifier(StatusClassifier).per_key(
            |head, default| {
                if head.extensions.get() == Some(&Tenant("premium".into())) {
                    RateLimitLayer::per_minute(60).on_limit(OnLimit::Reject)
                } else {
                    default
                }
            },
        )
    };
    let (layers, memory) = two(limit, Settings::default());
    let ([one, other], _provider) = services(&layers);
    let mut admitted = 0;
    for mut service in [one, other] {
        while service.ready().await.unwrap().call(of_tenant("premium")).await.is_ok() {
            admitted += 1;
        }
    }
    assert!((54..=60).contains(&admitted), "{admitted}");
    let names = memory.limit_names();
    assert!(names.len() == 1 && names[0].starts_with("rate::a/b:"), "{names:?}");
    let premium = layers[0].handle().of(&of_tenant("premium")).unwrap();
    assert!(premium.0.target() == "a/b" && premium.0.settings().hooks.classifier.is_some());
}

/// Regression: a closing time that could not be read at the first call was not read later.
#[tokio::test(start_paused = true)]
async fn a_read_that_failed_is_repeated() {
    let (layers, server) = two(RateLimitLayer::new, Settings::default());
    let ([mut one, mut other], provider) = services(&layers);
    provider.answer(429).header("retry-after", "60");
    complete(&mut one).await.unwrap();
    tokio::time::sleep(SECOND).await;
    server.stop();
    complete(&mut other).await.unwrap();
    tokio::time::sleep(2 * SECOND).await;
    server.resume();
    complete(&mut other).await.unwrap();
    tokio::time::sleep(SECOND).await;
    assert!(layers[1].handle().closed_for().is_some());
}

/// Regression: the read of the state that ended with its runtime was not made again.
#[test]
fn a_read_that_ends_with_its_runtime_is_made_again() {
    let server = Server::new();
    let layers: [RateLimitLayer; 2] =
        server.processes(&Settings::default(), |store| RateLimitLayer::new().name("a/b").store(store));
    let ([mut one, mut other], provider) = services(&layers);
    let (first, second) = (paused(), paused());
    first.block_on(async {
        close(&mut one, &provider, 60).await;
        tokio::time::sleep(SECOND).await;
        server.set_delays(Delays::all(SECOND));
        complete(&mut other).await.unwrap();
    });
    drop(first);
    server.set_delays(Delays::all(Duration::ZERO));
    second.block_on(async {
        complete(&mut other).await.unwrap();
        tokio::time::sleep(10 * MILLI).await;
        assert_eq!(are_closed(&layers), [true; 2]);
    });
}
