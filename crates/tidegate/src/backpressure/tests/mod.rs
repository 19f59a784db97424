mod overload;
mod soak;

use std::time::Duration;

use http::Request;
use http_body_util::BodyExt;
use tidegate_testkit::contract;
use tidegate_testkit::strict::{Answer, Handle, ReceivedRequest};
use tokio::task::JoinSet;
use tokio_test::assert_ready;
use tower::{Layer, ServiceExt};

use super::{Aimd, BackpressureLayer, Gradient, Limit, Order, Round, Vegas};
use crate::priority_semaphore::SWEEP_INTERVAL;
use crate::testing::{
    call, complete, of_tenant, rejection, request, request_with, send, strict, strict_behind, with_deadline,
};
use crate::{Elapsed, Gate, KeyBy, Payload, Priority, Rejection, clock};

#[tokio::test(start_paused = true)]
async fn keeps_towers_contract() {
    contract::check(|inner| BackpressureLayer::max_inflight(1).layer(inner)).await;
    contract::check(|inner| BackpressureLayer::max_inflight(1).adaptive(Aimd::new()).layer(inner)).await;
    contract::check(|inner| BackpressureLayer::max_inflight(1).key_by(KeyBy::path()).layer(inner)).await;
    contract::check(|inner| BackpressureLayer::disabled().layer(inner)).await;
}

/// Pitfall P03 (docs/pitfalls.md): a permit that ends at the response head lets fifty live streams through a
/// limit of one.
#[tokio::test(start_paused = true)]
async fn the_permit_is_held_until_the_body_ends_or_is_dropped() {
    let (inner, provider) = strict();
    let layer = BackpressureLayer::max_inflight(1).max_queued(0);
    let (mut service, gate) = (layer.layer(inner), layer.handle());

    provider.answer(200).frame("tok").stall();
    let mut streaming = call(&mut service).await.unwrap();
    streaming.body_mut().frame().await.unwrap().unwrap();
    assert_eq!(rejection(call(&mut service).await).gate(), Gate::Backpressure);
    drop(streaming);
    assert_eq!(gate.in_flight(), 0);

    provider.answer(200).frame("all").frame(" of it");
    let response = call(&mut service).await.unwrap();
    assert_eq!(gate.in_flight(), 1);
    response.into_body().collect().await.unwrap();
    assert_eq!(gate.in_flight(), 0);

    provider.answer(200).frame("half").break_off("connection reset");
    let response = call(&mut service).await.unwrap();
    response.into_body().collect().await.unwrap_err();
    assert_eq!(gate.in_flight(), 0);
}

/// Pitfall P07 (docs/pitfalls.md): a call that hangs, is dropped or cancelled leaks its permit.
#[tokio::test(start_paused = true)]
async fn a_permit_is_released_wherever_its_call_is_dropped() {
    let (inner, provider) = strict();
    let layer = BackpressureLayer::max_inflight(1);
    let (service, gate) = (layer.layer(inner), layer.handle());
    let spawn = || tokio_test::task::spawn(service.clone().oneshot(request()));
    provider.otherwise(Answer::status(200).stall());

    let streaming = assert_ready!(spawn().poll()).unwrap();
    let (mut granted, mut waits) = (spawn(), spawn());
    assert!(granted.poll().is_pending() && waits.poll().is_pending());
    drop(streaming);
    assert_eq!((gate.in_flight(), gate.queued()), (1, 1));
    drop(granted);
    assert!(waits.is_woken(), "a permit granted to a cancelled call goes to the next one");
    drop(waits);
    assert_eq!((gate.in_flight(), gate.queued()), (0, 0));

    provider.hang();
    let mut hangs = spawn();
    assert!(hangs.poll().is_pending());
    drop(hangs);
    assert_eq!(gate.in_flight(), 0);

    let panics = tower::service_fn(
        |_: Request<Payload>| -> std::future::Ready<Result<http::Response<Payload>, crate::BoxError>> {
            std::panic::resume_unwind(Box::new("in call"))
        },
    );
    let mut service = layer.layer(panics);
    let call = std::panic::AssertUnwindSafe(|| tower::Service::call(&mut service, request()));
    assert!(std::panic::catch_unwind(call).is_err());
    assert_eq!(gate.in_flight(), 0);
}

/// Pitfall P14 (docs/pitfalls.md): ten thousand callers behind one permit, with `poll_ready` ready for each
/// of them.
#[tokio::test(start_paused = true)]
async fn the_queue_is_bounded_in_number() {
    let (inner, provider) = strict();
    let layer = BackpressureLayer::max_inflight(1).max_queued(2);
    let (service, gate) = (layer.layer(inner), layer.handle());
    let held = provider.hang();
    let mut calls = JoinSet::new();
    for _ in 0..3 {
        calls.spawn(service.clone().oneshot(request()));
        tokio::task::yield_now().await;
    }
    assert_eq!((gate.in_flight(), gate.queued()), (1, 2));
    assert!(gate.peek_for(&request()).is_some());
    assert_eq!((gate.peek_for(&from("batch", Priority::Batch)), gate.peek()), (None, None));
    let rejected = rejection(service.clone().oneshot(request()).await);
    assert_eq!(rejected.to_string(), "too many calls in flight, and the queue is full");

    held.release();
    while let Some(response) = calls.join_next().await {
        drop(response.unwrap().unwrap());
    }
    assert_eq!((gate.in_flight(), gate.queued(), provider.calls()), (0, 0, 3));
    assert_eq!(gate.peek(), None);
}

// Pitfall P14 (docs/pitfalls.md).
#[tokio::test(start_paused = true)]
async fn the_queue_is_bounded_in_time() {
    let layer = BackpressureLayer::max_inflight(1).queue_timeout(Duration::from_secs(2));
    let (mut service, provider) = strict_behind(&layer);
    provider.answer(200).stall();
    let _streaming = call(&mut service).await.unwrap();
    let start = clock::now();
    assert_eq!(rejection(call(&mut service).await).gate(), Gate::Backpressure);
    assert_eq!(clock::now() - start, Duration::from_secs(2));

    let urgent = with_deadline(request(), Duration::from_millis(500));
    let start = clock::now();
    assert_eq!(rejection(send(&mut service, urgent).await).gate(), Gate::Deadline);
    assert_eq!((clock::now() - start, layer.handle().queued()), (Duration::from_millis(500), 0));
}

/// Pitfall P15 (docs/pitfalls.md): "reject when full" takes a millisecond, because it is a timeout of zero.
#[tokio::test(start_paused = true)]
async fn a_full_gate_without_a_queue_rejects_at_the_first_poll() {
    let (service, provider) = strict_behind(&BackpressureLayer::max_inflight(1).max_queued(0));
    provider.answer(200).stall();
    let _streaming = service.clone().oneshot(request()).await.unwrap();
    let start = clock::now();
    let mut rejected = tokio_test::task::spawn(service.oneshot(request()));
    assert!(rejected.poll().is_ready());
    assert_eq!(clock::now(), start);
}

#[tokio::test(start_paused = true)]
async fn the_queue_is_first_come_first_served_and_skips_cancelled_calls() {
    let layer = BackpressureLayer::max_inflight(1);
    let (service, provider) = strict_behind(&layer);
    provider.answer(200).stall();
    let streaming = service.clone().oneshot(request()).await.unwrap();

    let queue = |name| tokio_test::task::spawn(service.clone().oneshot(from(name, Priority::Interactive)));
    let (mut first, mut second, mut third) = (queue("first"), queue("second"), queue("third"));
    for call in [&mut first, &mut second, &mut third] {
        assert!(call.poll().is_pending());
    }
    assert_eq!(layer.handle().queued(), 3);
    drop(first);
    drop(streaming);
    assert!(third.poll().is_pending());
    assert!(second.poll().is_ready());
    assert_eq!(provider.requests()[1].headers["caller"], "second");
}

fn from(caller: &'static str, priority: Priority) -> Request<Payload> {
    let mut request = request_with(priority);
    request.headers_mut().insert("caller", caller.parse().unwrap());
    request
}

fn callers(provider: &Handle) -> Vec<String> {
    let name = |seen: ReceivedRequest| {
        seen.headers.get("caller").map_or("", |name| name.to_str().unwrap()).to_owned()
    };
    provider.requests().into_iter().map(name).collect()
}

/// One permit, an endless backlog of batch calls and one interactive call at a time, which is always served
/// next.
#[tokio::test(start_paused = true)]
async fn batch_delays_an_interactive_call_by_at_most_one_service_time() {
    const SERVICE: Duration = Duration::from_secs(1);
    let (inner, provider) = strict();
    provider.otherwise(Answer::status(200).after(SERVICE));
    let service =
        BackpressureLayer::max_inflight(1).max_queued(1_000).queue_timeout(1_000 * SERVICE).layer(inner);
    let mut batch = JoinSet::new();
    for _ in 0..100 {
        batch.spawn(service.clone().oneshot(from("batch", Priority::Batch)));
    }
    let mut start = clock::now();
    for _ in 0..40 {
        service.clone().oneshot(from("person", Priority::Interactive)).await.unwrap();
        // Its own service time, and that of the batch call in flight.
        assert!(clock::now() - start <= 2 * SERVICE, "{:?}", clock::now() - start);
        start = clock::now();
    }
    let served = batch.join_next().await.is_some();
    assert!(served, "batch makes progress");
}

/// Under an endless queue of interactive calls, batch gets every fifth permit.
#[tokio::test(start_paused = true)]
async fn batch_is_never_starved() {
    let (inner, provider) = strict();
    provider.otherwise(Answer::status(200).after(Duration::from_secs(1)));
    let service = BackpressureLayer::max_inflight(1).queue_timeout(Duration::from_secs(100)).layer(inner);
    let mut calls = JoinSet::new();
    let interactive = |calls: &mut JoinSet<_>| {
        calls.spawn(service.clone().oneshot(from("person", Priority::Interactive)));
    };
    (0..10).for_each(|_| interactive(&mut calls));
    tokio::task::yield_now().await;
    for _ in 0..3 {
        calls.spawn(service.clone().oneshot(from("batch", Priority::Batch)));
    }
    while provider.calls() < 20 {
        calls.join_next().await.unwrap().unwrap().unwrap();
        interactive(&mut calls);
    }
    let callers = callers(&provider);
    let batch: Vec<_> = (0..20).filter(|&call| callers[call] == "batch").collect();
    assert_eq!(batch, [5, 10, 15]);
}

#[tokio::test(start_paused = true)]
async fn the_limit_can_change_while_calls_are_queued() {
    let (inner, provider) = strict();
    let layer = BackpressureLayer::max_inflight(1);
    let (service, gate) = (layer.layer(inner), layer.handle());
    provider.otherwise(Answer::status(200).stall());
    let queue = || tokio_test::task::spawn(service.clone().oneshot(request()));
    let (mut first, mut second, mut third) = (queue(), queue(), queue());
    let first = assert_ready!(first.poll()).unwrap();
    assert!(second.poll().is_pending());
    gate.set_limit(2);
    let second = assert_ready!(second.poll()).unwrap();
    assert!(third.poll().is_pending());
    gate.set_limit(0);
    assert_eq!((gate.limit(), gate.in_flight(), gate.queued()), (Some(1), 2, 1));
    drop(first);
    assert!(third.poll().is_pending());
    drop(second);
    let _third = assert_ready!(third.poll()).unwrap();
}

#[tokio::test(start_paused = true)]
async fn newest_first_under_overload_reverses_the_queue() {
    let layer = BackpressureLayer::max_inflight(1).max_queued(4).order(Order::NewestFirstUnderOverload);
    let (service, provider) = strict_behind(&layer);
    provider.otherwise(Answer::status(200).after(Duration::from_secs(1)));
    let mut calls = JoinSet::new();
    for caller in ["in flight", "first", "second", "third", "fourth"] {
        calls.spawn(service.clone().oneshot(from(caller, Priority::Interactive)));
        tokio::task::yield_now().await;
    }
    while let Some(response) = calls.join_next().await {
        drop(response.unwrap().unwrap());
    }
    assert_eq!(callers(&provider), ["in flight", "fourth", "third", "first", "second"]);
}

/// Pitfall P04 (docs/pitfalls.md): waiting for a rejection that is certain from the start.
#[tokio::test(start_paused = true)]
async fn a_call_without_time_to_wait_is_rejected_at_once() {
    let zero_timeout = BackpressureLayer::max_inflight(1).queue_timeout(Duration::ZERO);
    let (mut service, provider) = strict_behind(&zero_timeout);
    provider.answer(200).stall();
    let _streaming = call(&mut service).await.unwrap();
    let start = clock::now();
    let rejected = rejection(call(&mut service).await);
    assert_eq!(rejected.to_string(), "no permit in time");
    let late = with_deadline(request(), Duration::ZERO);
    assert_eq!(zero_timeout.handle().peek_for(&late), Some(rejected));
    assert_eq!(rejection(send(&mut service, late).await).gate(), Gate::Backpressure);
    assert_eq!((clock::now(), zero_timeout.handle().queued()), (start, 0));
}

/// Pitfall P17 (docs/pitfalls.md): one layer value is one limit, however often it is applied.
#[tokio::test(start_paused = true)]
async fn one_layer_is_one_limit_unless_it_is_per_service() {
    let shared = BackpressureLayer::max_inflight(1).max_queued(0);
    let apart = shared.clone().per_service();
    for (layer, rejected) in [(shared, true), (apart, false)] {
        let (inner, provider) = strict();
        provider.answer(200).stall();
        let _streaming = call(&mut layer.layer(inner.clone())).await.unwrap();
        assert_eq!(call(&mut layer.layer(inner)).await.is_err(), rejected);
    }
}

/// Regression, field case M11: a queued call that was granted a permit and not polled, such as a `select!`
/// arm that is kept for later, blocked every call behind it.
#[tokio::test(start_paused = true)]
async fn a_queued_call_that_is_not_polled_blocks_no_other_call() {
    let (inner, provider) = strict();
    let layer = BackpressureLayer::max_inflight(1);
    let (mut service, gate) = (layer.layer(inner), layer.handle());
    provider.answer(200).stall();
    let streaming = call(&mut service).await.unwrap();
    let mut kept = tokio_test::task::spawn(service.clone().oneshot(request()));
    assert!(kept.poll().is_pending());
    drop(streaming);
    assert!(kept.is_woken());
    let start = clock::now();
    for _ in 0..3 {
        assert_eq!(complete(&mut service).await.unwrap(), 200);
    }
    assert!(clock::now() - start <= 2 * SWEEP_INTERVAL, "{:?}", clock::now() - start);
    assert_eq!(kept.await.unwrap().status(), 200, "it queues again when it is polled");
    assert_eq!((provider.calls(), gate.in_flight(), gate.queued()), (5, 0, 0));
}

/// Calls whose time is up are passed over, also when their futures are kept without being polled.
#[tokio::test(start_paused = true)]
async fn queued_calls_that_are_kept_beyond_their_time_are_passed_over() {
    let (inner, provider) = strict();
    let layer = BackpressureLayer::max_inflight(1).max_queued(8).queue_timeout(Duration::from_secs(2));
    let (mut service, gate) = (layer.layer(inner), layer.handle());
    provider.answer(200).stall();
    let streaming = call(&mut service).await.unwrap();
    let mut kept: Vec<_> =
        (0..8).map(|_| tokio_test::task::spawn(service.clone().oneshot(request()))).collect();
    assert!(kept.iter_mut().all(|call| call.poll().is_pending()));
    assert_eq!((gate.queued(), rejection(call(&mut service).await).gate()), (8, Gate::Backpressure));
    tokio::time::advance(Duration::from_secs(2)).await;
    let mut waiting = tokio_test::task::spawn(service.clone().oneshot(request()));
    assert!(waiting.poll().is_pending(), "there is room in the queue");
    assert_eq!(gate.queued(), 1);
    drop(streaming);
    assert_ready!(waiting.poll()).unwrap();
    for call in &mut kept {
        assert_eq!(
            rejection(assert_ready!(call.poll()).map_err(crate::Error::boxed)).gate(),
            Gate::Backpressure
        );
    }
}

/// Bulkheads: a key that uses up its limit does not affect the others.
/// Seed item 20.
#[tokio::test(start_paused = true)]
async fn each_key_has_a_limit_and_a_queue_of_its_own() {
    let (inner, provider) = strict();
    let layer = BackpressureLayer::max_inflight(1).max_queued(1).key_by(KeyBy::tenant());
    let (mut service, gate) = (layer.layer(inner), layer.handle());
    provider.otherwise(Answer::status(200).stall());
    let first = send(&mut service, of_tenant("a")).await.unwrap();
    let mut waits = tokio_test::task::spawn(service.clone().oneshot(of_tenant("a")));
    assert!(waits.poll().is_pending());
    assert!(gate.peek_for(&of_tenant("a")).is_some());
    assert_eq!((gate.peek_for(&of_tenant("b")), gate.peek()), (None, None));
    assert_eq!(rejection(send(&mut service, of_tenant("a")).await).gate(), Gate::Backpressure);
    let other = send(&mut service, of_tenant("b")).await.unwrap();
    assert_eq!((gate.in_flight(), gate.queued(), gate.keys(), gate.limit()), (2, 1, 2, Some(1)));
    drop(first);
    assert!(waits.is_woken() && waits.poll().is_ready());
    drop((waits, other));
    assert_eq!((gate.in_flight(), gate.queued()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_changed_limit_applies_to_present_and_future_keys() {
    let (inner, provider) = strict();
    let layer = BackpressureLayer::max_inflight(1).key_by(KeyBy::tenant());
    let (mut service, gate) = (layer.layer(inner), layer.handle());
    provider.otherwise(Answer::status(200).stall());
    let _first = send(&mut service, of_tenant("a")).await.unwrap();
    let mut waits = tokio_test::task::spawn(service.clone().oneshot(of_tenant("a")));
    assert!(waits.poll().is_pending());
    gate.set_limit(2);
    let _second = assert_ready!(waits.poll()).unwrap();
    let _third = send(&mut service, of_tenant("b")).await.unwrap();
    let _fourth = send(&mut service, of_tenant("b")).await.unwrap();
    assert_eq!((gate.in_flight(), gate.limit()), (4, Some(2)));
}

/// The state of an unused key is dropped; the state of a key with a call in flight stays.
#[tokio::test(start_paused = true)]
async fn keys_are_bounded_and_those_in_use_stay() {
    let (inner, provider) = strict();
    let layer = BackpressureLayer::max_inflight(1).max_queued(0).key_by(KeyBy::tenant()).max_keys(10);
    let (mut service, gate) = (layer.layer(inner), layer.handle());
    provider.answer(200).stall();
    let streaming = send(&mut service, of_tenant("held")).await.unwrap();
    for name in 0..1_000 {
        drop(send(&mut service, of_tenant(&name.to_string())).await.unwrap());
    }
    assert!(gate.keys() <= 11, "{}", gate.keys());
    assert_eq!(gate.in_flight(), 1);
    rejection(send(&mut service, of_tenant("held")).await);
    drop(streaming);
    assert_eq!(gate.in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_disabled_layer_counts_nothing_and_rejects_nothing() {
    let layer = BackpressureLayer::disabled();
    let (mut service, provider) = strict_behind(&layer);
    provider.otherwise(Answer::status(200).body("ok"));
    assert_eq!(complete(&mut service).await.unwrap(), 200);
    assert_eq!((layer.handle().in_flight(), layer.handle().limit(), layer.handle().peek()), (0, None, None));
}

/// Halves the limit at each loss and keeps it otherwise, so that the number of losses can be read from the
/// limit.
#[derive(Clone)]
struct HalveOnLoss;

impl Limit for HalveOnLoss {
    fn update(&mut self, limit: f64, round: &Round) -> f64 {
        if round.lost { limit / 2.0 } else { limit }
    }
}

/// The adaptive limit after one call. It starts at 16, of which half is in force until the unloaded provider
/// has been measured.
async fn limit_after(respond: impl FnOnce(&Handle)) -> usize {
    let (inner, provider) = strict();
    let layer = BackpressureLayer::max_inflight(16).adaptive(HalveOnLoss);
    respond(&provider);
    let _ = complete(&mut layer.layer(inner)).await;
    assert_eq!(layer.handle().in_flight(), 0);
    layer.handle().limit().unwrap()
}

/// A fixed limit is that of a new key.
#[tokio::test(start_paused = true)]
async fn the_adaptive_limit_of_an_unused_key_is_kept() {
    let layer = BackpressureLayer::max_inflight(16).key_by(KeyBy::tenant());
    for (layer, kept) in [(layer.clone().adaptive(HalveOnLoss), Some(Some(4))), (layer, None)] {
        let (mut service, provider) = strict_behind(&layer);
        provider.answer(503);
        send(&mut service, of_tenant("a")).await.unwrap();
        tokio::time::advance(Duration::from_secs(61)).await;
        send(&mut service, of_tenant("b")).await.unwrap();
        assert_eq!(layer.handle().of(&of_tenant("a")).map(|key| key.limit()), kept);
    }
}

#[tokio::test(start_paused = true)]
async fn overload_counts_as_one_loss_per_call() {
    for status in [429, 503, 529, 504] {
        assert_eq!(limit_after(|provider| drop(provider.answer(status))).await, 4, "{status}");
    }
    let elapsed = || Elapsed::new(crate::Clock::Attempt, Duration::from_secs(1));
    assert_eq!(limit_after(|provider| drop(provider.fail_with(move || elapsed().into()))).await, 4);
    let broken_off =
        |provider: &Handle| drop(provider.answer(200).frame("half").break_off("connection reset"));
    assert_eq!(limit_after(broken_off).await, 4);
    let rejected_and_broken_off =
        |provider: &Handle| drop(provider.answer(503).frame("half").break_off("connection reset"));
    assert_eq!(limit_after(rejected_and_broken_off).await, 4, "one call is one loss");
}

#[tokio::test(start_paused = true)]
async fn outcomes_that_do_not_indicate_overload_do_not_change_the_limit() {
    for status in [200, 400, 401, 404, 500] {
        assert_eq!(limit_after(|provider| drop(provider.answer(status))).await, 8, "{status}");
    }
    let ours = || Rejection::new(Gate::CircuitBreaker, crate::ErrorCode::Overloaded);
    assert_eq!(limit_after(|provider| drop(provider.fail_with(move || ours().into()))).await, 8);
    assert_eq!(limit_after(|provider| drop(provider.fail("connection refused"))).await, 8);

    let layer = BackpressureLayer::max_inflight(16).adaptive(HalveOnLoss);
    let (mut service, provider) = strict_behind(&layer);
    provider.hang();
    drop(tokio_test::task::spawn(call(&mut service)).poll());
    provider.answer(200).frame("tok").stall();
    drop(call(&mut service).await.unwrap());
    assert_eq!((layer.handle().limit(), layer.handle().in_flight()), (Some(8), 0), "the caller cancelled");
}

/// A provider that responds in about a second for up to thirty concurrent calls and more slowly beyond,
/// behind the real service.
#[tokio::test(start_paused = true)]
async fn an_adaptive_limit_settles_near_the_capacity_of_the_provider() {
    use std::sync::{Arc, Mutex};
    let workers = Arc::new(tokio::sync::Semaphore::new(30));
    let random = Arc::new(Mutex::new(fastrand::Rng::with_seed(7)));
    let provider = tower::service_fn(move |_: Request<Payload>| {
        let workers = Arc::clone(&workers);
        let time = Duration::from_millis(random.lock().unwrap().u64(800..1_200));
        async move {
            let _working = workers.acquire().await.unwrap();
            tokio::time::sleep(time).await;
            Ok::<_, crate::BoxError>(http::Response::new(Payload::empty()))
        }
    });
    for (name, layer) in [
        ("aimd", BackpressureLayer::max_inflight(200).adaptive(Aimd::new())),
        ("gradient", BackpressureLayer::max_inflight(200).adaptive(Gradient::new())),
        ("vegas", BackpressureLayer::max_inflight(200).adaptive(Vegas::new())),
    ] {
        let layer = layer.max_queued(1_000).queue_timeout(Duration::from_secs(1_000));
        let (service, gate) = (layer.layer(provider.clone()), layer.handle());
        let mut callers = JoinSet::new();
        for _ in 0..100 {
            callers.spawn(service.clone().oneshot(request()));
        }
        let (start, mut limits) = (clock::now(), Vec::new());
        while clock::now() - start < Duration::from_secs(300) {
            drop(callers.join_next().await.unwrap().unwrap().unwrap());
            callers.spawn(service.clone().oneshot(request()));
            if clock::now() - start > Duration::from_secs(200) {
                limits.push(gate.limit().unwrap());
            }
        }
        let mean = limits.iter().sum::<usize>() as f64 / limits.len() as f64;
        assert!((24.0..=36.0).contains(&mean), "{name} settled at {mean}");
        callers.shutdown().await;
        assert_eq!((gate.in_flight(), gate.queued()), (0, 0));
    }
}

/// Regression: a limit of callers followed the failures and the times of each target behind it.
#[tokio::test(start_paused = true)]
async fn a_limit_that_does_not_follow_responses_is_fixed_and_measures_none() {
    let layer = BackpressureLayer::max_inflight(16).adaptive(HalveOnLoss).follow_responses(false);
    let (mut service, provider) = strict_behind(&layer);
    for _ in 0..20 {
        provider.answer(429);
        complete(&mut service).await.unwrap();
        assert_eq!(layer.handle().limit(), Some(16));
    }
    for follows in [true, false] {
        let layer = BackpressureLayer::max_inflight(1).follow_responses(follows);
        let (service, provider) = strict_behind(&layer);
        drop(provider.otherwise(Answer::status(200).after(Duration::from_secs(1))));
        let mut calls = JoinSet::new();
        for _ in 0..9 {
            let mut service = service.clone();
            calls.spawn(async move { complete(&mut service).await });
        }
        assert!(calls.join_all().await.into_iter().all(|status| status.is_ok()));
        assert_eq!(layer.handle().0.answer_time(clock::now()).is_zero(), !follows);
    }
}
