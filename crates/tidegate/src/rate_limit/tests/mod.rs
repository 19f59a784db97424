mod cooldown_table;
mod credits;
#[cfg(tidegate_loom)]
mod loom;
mod properties;
mod reported_quotas;
mod shared;
mod shares;
mod successor;
mod tenants;
mod tokens;

use std::time::Duration;

use http::{HeaderName, HeaderValue};
use tidegate_testkit::contract;
use tidegate_testkit::strict::Answer;
use tokio::task::JoinSet;
use tower::{Layer, ServiceExt};

use super::cost::{CallCost, Reserved};
use super::{OnLimit, RateLimitLayer};
use crate::testing::{
    call, complete, of_tenant, rejection, request, request_with, secs, send, strict, strict_behind,
};
use crate::{
    Deadline, ErrorCode, Failure, Gate, KeyBy, Priority, Rejection, RejectionReason, ResilienceBuilder, clock,
};

#[tokio::test(start_paused = true)]
async fn keeps_towers_contract() {
    contract::check(|inner| RateLimitLayer::per_second(2).burst_size(1).layer(inner)).await;
    contract::check(|inner| RateLimitLayer::disabled().layer(inner)).await;
}

/// Pitfall P04 (docs/pitfalls.md): a rejection that was certain at once came after a wait of 300 ms. Pitfall
/// P12: no waiter wakes in vain, and waiters do not all wake together.
#[tokio::test(start_paused = true)]
async fn a_wait_beyond_max_wait_is_rejected_at_once() {
    let (mut service, provider) =
        strict_behind(&RateLimitLayer::per_minute(1).max_wait(Duration::from_millis(300)));
    complete(&mut service).await.unwrap();
    let start = clock::now();
    let rejected = rejection(call(&mut service).await);
    assert_eq!(clock::now(), start);
    assert_eq!((rejected.code(), rejected.retry_after()), (ErrorCode::RateLimited, Some(secs(60))));
    assert_eq!(provider.calls(), 1);
}

/// Regression: a call that got its room at the end of its longest wait was rejected, although it had waited
/// for it.
#[tokio::test(start_paused = true)]
async fn a_wait_as_long_as_max_wait_ends_in_an_admission() {
    for wait in [100, 101, 150] {
        let layer = RateLimitLayer::per_second(10).burst_size(1).max_wait(Duration::from_millis(wait));
        let (mut service, provider) = strict_behind(&layer);
        complete(&mut service).await.unwrap();
        let start = clock::now();
        complete(&mut service).await.unwrap();
        assert_eq!((clock::now() - start, provider.calls()), (Duration::from_millis(100), 2), "{wait} ms");
    }
}

// Pitfall P04 (docs/pitfalls.md).
#[tokio::test(start_paused = true)]
async fn a_wait_past_the_deadline_is_rejected_at_once() {
    let (inner, _provider) = strict();
    let layer = RateLimitLayer::per_second(1);
    let mut service = layer.layer(inner);
    complete(&mut service).await.unwrap();
    let start = clock::now();
    let mut with_deadline = request();
    let deadline = Deadline::after(Duration::from_millis(999), start).tighten(with_deadline.extensions_mut());
    assert!(layer.handle().peek(Some(deadline)).is_some());
    assert_eq!(rejection(send(&mut service, with_deadline).await).gate(), Gate::Deadline);
    assert_eq!((clock::now(), layer.handle().waiting()), (start, 0));
}

/// Pitfall P12 (docs/pitfalls.md): all waiters slept until the same instant and woke together.
#[tokio::test(start_paused = true)]
async fn waiters_are_served_in_order_at_the_pace_of_the_quota() {
    let (service, provider) = strict_behind(&RateLimitLayer::per_second(5));
    let start = tokio::time::Instant::now();
    let mut calls = JoinSet::new();
    for number in 0..16 {
        let mut request = request();
        request.headers_mut().insert("number", number.into());
        calls.spawn(service.clone().oneshot(request));
        tokio::task::yield_now().await;
    }
    while let Some(response) = calls.join_next().await {
        assert_eq!(response.unwrap().unwrap().status(), 200);
    }
    let received = provider.requests();
    for (number, request) in received.iter().enumerate() {
        assert_eq!(request.headers["number"], number.to_string());
        let due = Duration::from_millis(200) * (number as u32).saturating_sub(4);
        let late = request.at - start - due;
        // A tokio timer fires at most one tick late.
        assert!(late <= Duration::from_millis(number as u64 + 1), "{number} came {late:?} late");
    }
}

#[tokio::test(start_paused = true)]
async fn a_dropped_waiter_passes_the_queue_head_to_the_next() {
    let layer = RateLimitLayer::per_second(1);
    let (service, provider) = strict_behind(&layer);
    service.clone().oneshot(request()).await.unwrap();
    let mut first = tokio_test::task::spawn(service.clone().oneshot(request()));
    let mut second = tokio_test::task::spawn(service.clone().oneshot(request()));
    assert!(first.poll().is_pending() && second.poll().is_pending());
    assert_eq!(layer.handle().waiting(), 2);
    drop(first);
    let start = clock::now();
    second.await.unwrap();
    assert!(clock::now() - start <= Duration::from_millis(1_001));
    assert_eq!((layer.handle().waiting(), provider.calls()), (0, 2));
}

/// Regression: the rejection of a queued call that timed out did not name the quota; only immediate
/// rejections did.
#[tokio::test(start_paused = true)]
async fn a_queued_call_that_times_out_names_the_quota_it_waited_for() {
    let (inner, _provider) = strict();
    let layer = RateLimitLayer::per_minute(60).burst_size(1).max_wait(secs(60));
    let service = layer.layer(inner);
    service.clone().oneshot(request()).await.unwrap();
    let mut first = tokio_test::task::spawn(service.clone().oneshot(request()));
    assert!(first.poll().is_pending());
    let with_deadline = request_with(Deadline::after(secs(3), clock::now()));
    let with_deadline = tokio::spawn(service.oneshot(with_deadline));
    tokio::task::yield_now().await;
    // Another call used more than it had reserved. That is charged before the two waiting calls.
    let now = clock::now();
    let spent = Reserved { cost: CallCost::default(), at: now, total_spent: CallCost::default() };
    layer.handle().settle(&spent, &CallCost { calls: 30, ..CallCost::default() });
    let rejection = rejection(with_deadline.await.unwrap());
    // It is rejected at its slot, when it is certain that there will be no room before its deadline.
    assert_eq!(clock::now() - now, secs(2));
    assert_eq!((rejection.gate(), rejection.quota()), (Gate::Deadline, Some("requests per minute")));
    // The wait covers the 30 calls, the first call in the queue and this call, less the two seconds that have
    // passed.
    assert_eq!(rejection.retry_after(), Some(secs(30)));
    assert!(rejection.to_string().contains("requests per minute"), "{rejection}");
}

#[tokio::test(start_paused = true)]
async fn the_number_of_waiters_is_bounded_and_reject_mode_has_none() {
    let (inner, _provider) = strict();
    let service = RateLimitLayer::per_second(1).max_waiting(1).layer(inner.clone());
    service.clone().oneshot(request()).await.unwrap();
    let mut waiting = tokio_test::task::spawn(service.clone().oneshot(request()));
    assert!(waiting.poll().is_pending());
    assert_eq!(rejection(service.oneshot(request()).await).reason(), RejectionReason::RateQueueFull);

    let mut service = RateLimitLayer::per_second(1).on_limit(OnLimit::Reject).layer(inner);
    complete(&mut service).await.unwrap();
    assert_eq!(rejection(call(&mut service).await).retry_after(), Some(secs(1)));
}

#[tokio::test(start_paused = true)]
async fn a_429_closes_the_gate_for_all_calls_until_the_latest_reported_time() {
    let layer = RateLimitLayer::per_second(100).max_wait(secs(60));
    let (service, provider) = strict_behind(&layer);
    let start = clock::now();
    layer.handle().on_outcome(&limited(secs(30)), clock::now());
    layer.handle().on_outcome(&limited(secs(2)), clock::now());
    assert_eq!(layer.handle().closed_for(), Some(secs(30)));
    assert_eq!(layer.handle().remaining(), Some(0));
    service.clone().oneshot(request()).await.unwrap();
    assert!(clock::now() - start >= secs(30));
    assert_eq!(provider.calls(), 1);
}

fn limited(wait: Duration) -> crate::Outcome {
    let hint = crate::RetryHint::after(wait, crate::HintSource::Header("retry-after"));
    crate::Failure { retry_hint: Some(hint), ..crate::Failure::new(ErrorCode::RateLimited) }.into()
}

/// A provider that rejected half of the calls for two seconds each got nearly none.
#[tokio::test(start_paused = true)]
async fn a_partial_overload_closes_the_gate_once_and_a_429_each_time() {
    for (status, least, most) in [(529, 500, 600), (429, 20, 200)] {
        let layer = RateLimitLayer::new().max_wait(Duration::ZERO).on_limit(OnLimit::Reject);
        let (service, provider) = strict_behind(&layer);
        let mut random = fastrand::Rng::with_seed(7);
        fastrand::seed(7);
        for _ in 0..600 {
            tokio::time::advance(Duration::from_millis(100)).await;
            if random.bool() {
                provider.answer(status).header("retry-after", "2")
            } else {
                provider.answer(200)
            };
            let _ = complete(&mut service.clone()).await;
            // The answer is left if the gate was closed.
            provider.clear();
        }
        assert!((least..=most).contains(&provider.calls()), "{} with {status} (seed 7)", provider.calls());
    }
}

#[tokio::test(start_paused = true)]
async fn a_reset_forgets_overloads() {
    let layer = RateLimitLayer::new().on_limit(OnLimit::Reject);
    let (mut service, provider) = strict_behind(&layer);
    provider.answer(529).header("retry-after", "3600");
    complete(&mut service).await.unwrap();
    layer.handle().reset();
    for (seconds, is_closed) in [("2", true), ("3", false)] {
        provider.answer(529).header("retry-after", seconds);
        complete(&mut service).await.unwrap();
        assert_eq!(layer.handle().closed_for().is_some(), is_closed, "{seconds}");
        tokio::time::advance(secs(3)).await;
        complete(&mut service).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn follows_retry_after_and_closes_for_the_default_wait_without_one() {
    for (header, wait) in [(Some("7"), secs(7)), (None, secs(1))] {
        let (mut service, provider) = strict_behind(&RateLimitLayer::new());
        let reply = provider.answer(429);
        if let Some(seconds) = header {
            reply.header("retry-after", seconds);
        }
        assert_eq!(complete(&mut service).await.unwrap(), 429);
        let start = clock::now();
        complete(&mut service).await.unwrap();
        let waited = clock::now() - start;
        // The reported wait, and at most a twentieth of it or 25 ms: other clients got the same wait.
        let spread = (wait / 20).max(Duration::from_millis(25)) + Duration::from_millis(2);
        assert!(waited >= wait && waited <= wait + spread, "{waited:?}");
    }
}

/// Pitfall P12 (docs/pitfalls.md), after a 429: the gate opens with one call and keeps the pace, because the
/// burst depends on the provider.
#[tokio::test(start_paused = true)]
async fn a_closed_gate_opens_with_one_call_and_not_with_a_burst() {
    let layer = RateLimitLayer::per_second(10).burst_size(50).max_wait(secs(60));
    let (service, provider) = strict_behind(&layer);
    layer.handle().on_outcome(&limited(secs(2)), clock::now());
    let start = tokio::time::Instant::now();
    let mut calls = JoinSet::new();
    (0..20).for_each(|_| drop(calls.spawn(service.clone().oneshot(request()))));
    calls.join_all().await.into_iter().for_each(|result| drop(result.unwrap()));
    let received = provider.requests();
    assert_eq!(received.len(), 20);
    for (number, received) in received.iter().enumerate() {
        let due = secs(2) + Duration::from_millis(100) * number as u32;
        // The first call may come a twentieth of the wait later, and then passes a tick late.
        let latest = due + Duration::from_millis(250);
        assert!((due..=latest).contains(&(received.at - start)), "{number}: {:?}", received.at - start);
    }
}

/// A pause of a second must not cost the rest of the day.
#[tokio::test(start_paused = true)]
async fn a_429_costs_nothing_of_a_daily_quota() {
    let (mut service, provider) = strict_behind(&RateLimitLayer::per_day(1_000));
    provider.answer(429).header("retry-after", "1");
    complete(&mut service).await.unwrap();
    let start = clock::now();
    for _ in 0..10 {
        assert_eq!(complete(&mut service).await.unwrap(), 200);
    }
    assert!(clock::now() - start < secs(2), "{:?}", clock::now() - start);
}

/// Pitfall P10 (docs/pitfalls.md): a token was taken in `poll_ready` and lost with a clone that was dropped.
#[tokio::test(start_paused = true)]
async fn readiness_reserves_nothing_and_a_rejection_below_returns_the_reservation() {
    let layer = RateLimitLayer::per_minute(5);
    let (service, provider) = strict_behind(&layer);
    for _ in 0..100 {
        service.clone().ready().await.unwrap();
    }
    assert_eq!(layer.handle().remaining(), Some(5));

    provider.fail_with(|| Rejection::new(Gate::CircuitBreaker, ErrorCode::Overloaded).into());
    assert!(service.clone().oneshot(request()).await.is_err());
    assert_eq!(layer.handle().remaining(), Some(5));
    provider.fail("connection reset");
    assert!(service.clone().oneshot(request()).await.is_err());
    assert_eq!(layer.handle().remaining(), Some(4));
}

/// Pitfall P17 (docs/pitfalls.md). One layer value is one limit, however often it is applied.
#[tokio::test(start_paused = true)]
async fn one_layer_is_one_limit_unless_it_is_per_service() {
    let shared = RateLimitLayer::per_minute(1).on_limit(OnLimit::Reject);
    let separate = shared.clone().per_service();
    for (layer, rejected) in [(shared, true), (separate, false)] {
        let (inner, _provider) = strict();
        call(&mut layer.layer(inner.clone())).await.unwrap();
        assert_eq!(call(&mut layer.layer(inner)).await.is_err(), rejected);
    }
}

#[tokio::test(start_paused = true)]
async fn every_quota_has_to_have_room_and_none_is_spent_unless_all_are() {
    let (inner, _provider) = strict();
    let layer = RateLimitLayer::per_minute(3).quota(2, secs(1)).on_limit(OnLimit::Reject);
    let mut service = layer.layer(inner);
    call(&mut service).await.unwrap();
    call(&mut service).await.unwrap();
    assert_eq!(rejection(call(&mut service).await).retry_after(), Some(Duration::from_millis(500)));
    tokio::time::advance(secs(1)).await;
    call(&mut service).await.unwrap();
    assert_eq!(layer.handle().remaining(), Some(0));
    let wait = rejection(call(&mut service).await).retry_after().unwrap();
    assert!(wait > secs(18) && wait <= secs(20), "{wait:?}");
    layer.handle().reset();
    assert_eq!(layer.handle().remaining(), Some(2));
}

/// Pitfall P32 (docs/pitfalls.md): a wait was negative when a closed period ended, and absurd while it
/// lasted.
#[tokio::test(start_paused = true)]
async fn an_implausible_wait_neither_panics_nor_closes_for_ever() {
    let layer = RateLimitLayer::per_second(1).default_retry_after(Duration::MAX);
    let (mut service, provider) = strict_behind(&layer);
    provider.answer(429).header("retry-after", "99999999999999999999");
    complete(&mut service).await.unwrap();
    assert!(layer.handle().closed_for().is_some_and(|wait| wait <= secs(86_400)));
    tokio::time::advance(secs(100_000)).await;
    assert_eq!((layer.handle().closed_for(), complete(&mut service).await.unwrap()), (None, 200));
    provider.answer(429);
    complete(&mut { service }).await.unwrap();
    assert!(layer.handle().closed_for() > Some(secs(86_400)));
}

/// An interactive call does not wait behind a long batch job, and the batch job is not starved.
#[tokio::test(start_paused = true)]
async fn interactive_calls_go_first_and_batch_calls_get_every_fifth_grant() {
    let layer = RateLimitLayer::per_second(10).burst_size(1).max_wait(secs(60));
    let (service, provider) = strict_behind(&layer);
    service.clone().oneshot(request()).await.unwrap();
    let mut calls = JoinSet::new();
    for priority in [Priority::Batch; 4].into_iter().chain([Priority::Interactive; 12]) {
        let mut request = request_with(priority);
        request.headers_mut().insert("priority", priority.name().parse().unwrap());
        calls.spawn(service.clone().oneshot(request));
        tokio::task::yield_now().await;
    }
    while let Some(response) = calls.join_next().await {
        response.unwrap().unwrap();
    }
    let order: String = provider.requests()[1..]
        .iter()
        .map(|received| &received.headers["priority"] == "batch")
        .map(|batch| if batch { 'b' } else { 'i' })
        .collect();
    assert_eq!(order, "iiiibiiiibiiiibb");
}

#[tokio::test(start_paused = true)]
async fn batch_calls_cannot_fill_the_queue_of_interactive_calls() {
    let (inner, _provider) = strict();
    let layer = RateLimitLayer::per_second(1).max_waiting(2);
    let service = layer.layer(inner);
    service.clone().oneshot(request()).await.unwrap();
    let wait = |priority: Priority| {
        let request = request_with(priority);
        let mut task = tokio_test::task::spawn(service.clone().oneshot(request));
        (task.poll().is_pending(), task)
    };
    let queued = [
        wait(Priority::Batch),
        wait(Priority::Batch),
        wait(Priority::Interactive),
        wait(Priority::Interactive),
    ];
    assert!(queued.iter().all(|(waits, _)| *waits));
    assert!(!wait(Priority::Batch).0 && !wait(Priority::Interactive).0);
    drop(queued);
    assert_eq!(layer.handle().waiting(), 0);
}

/// A tenant that has used up its limit does not delay other tenants.
#[tokio::test(start_paused = true)]
async fn each_key_has_its_own_limit_and_per_key_may_replace_it() {
    let layer = RateLimitLayer::per_minute(1)
        .on_limit(OnLimit::Reject)
        .key_by(KeyBy::header(HeaderName::from_static("x-user")))
        .per_key(|head, default| {
            if head.headers.contains_key("x-premium") {
                RateLimitLayer::per_minute(3).on_limit(OnLimit::Reject)
            } else {
                default
            }
        });
    let (service, provider) = strict_behind(&layer);
    let send_as = async |user: &'static str, is_premium: bool| {
        let mut request = request();
        request.headers_mut().insert("x-user", HeaderValue::from_static(user));
        if is_premium {
            request.headers_mut().insert("x-premium", HeaderValue::from_static("1"));
        }
        service.clone().oneshot(request).await.is_ok()
    };
    assert!(send_as("a", false).await && !send_as("a", false).await && send_as("b", false).await);
    assert!(
        send_as("c", true).await
            && send_as("c", true).await
            && send_as("c", true).await
            && !send_as("c", true).await
    );
    assert_eq!((provider.calls(), layer.handle().remaining()), (5, Some(1)));
    // A report for one key does not apply to another.
    provider.answer(429).header("retry-after", "30");
    assert!(send_as("d", true).await && !send_as("d", true).await && send_as("e", false).await);
}

/// A limit of callers is none of the provider that responds.
#[tokio::test(start_paused = true)]
async fn a_limit_that_does_not_follow_responses_counts_requests_alone() {
    for follows in [true, false] {
        let (inner, provider) = strict();
        let layer = RateLimitLayer::per_minute(60).follow_responses(follows);
        let mut service = ResilienceBuilder::new("a/m").rate_limit(layer.clone()).service(inner);
        let is_closed = || layer.handle().closed_for().is_some();
        for response in [
            Answer::status(429).header("retry-after", "30"),
            Answer::status(200)
                .header("x-ratelimit-remaining-requests", "0")
                .header("x-ratelimit-reset-requests", "30s"),
            Answer::error_with(|| Failure::new(ErrorCode::RateLimited).into()),
        ] {
            drop(provider.then(response));
            let _ = call(&mut service).await;
            assert_eq!(is_closed(), follows);
            layer.handle().reset();
        }
    }
}

/// Regression: a new layer for a key followed the responses that its layer does not follow.
#[tokio::test(start_paused = true)]
async fn a_new_layer_for_a_key_follows_no_responses_if_its_layer_does_not() {
    let layer = RateLimitLayer::per_minute(60).follow_responses(false).key_by(KeyBy::tenant());
    let layer = layer.per_key(|_, _| RateLimitLayer::per_minute(600));
    let (mut service, provider) = strict_behind(&layer);
    drop(
        provider.otherwise(
            Answer::status(429)
                .header("retry-after", "30")
                .header("x-ratelimit-remaining-requests", "0")
                .header("x-ratelimit-reset-requests", "30s"),
        ),
    );
    for _ in 0..2 {
        send(&mut service, of_tenant("premium")).await.unwrap();
    }
    let limit = layer.handle().of(&of_tenant("premium")).unwrap();
    assert_eq!((limit.closed_for(), limit.remaining()), (None, Some(598)));
}

/// Regression: the name of a stack stayed with the layers that were made of its layer.
#[test]
fn a_changed_layer_has_not_the_name_of_a_stack() {
    let plan = RateLimitLayer::per_minute(60);
    let name_in = |stack: &str, layer: &RateLimitLayer| {
        drop(ResilienceBuilder::new(stack).rate_limit(layer.clone()).build());
        layer.handle().0.target().to_owned()
    };
    assert_eq!(name_in("a/m", &plan), "a/m");
    assert_eq!(name_in("b/m", &plan.clone()), "a/m", "it is the same limit");
    assert_eq!(name_in("b/m", &plan.clone().burst_size(5)), "b/m");
    assert_eq!(name_in("b/m", &RateLimitLayer::new().name("own").burst_size(5)), "own");
}

#[tokio::test(start_paused = true)]
async fn keys_are_bounded_and_idle_ones_are_dropped() {
    let (inner, _provider) = strict();
    let by = KeyBy::header(HeaderName::from_static("x-user"));
    let layer = RateLimitLayer::per_second(1).on_limit(OnLimit::Reject).key_by(by).max_keys(100);
    let service = layer.layer(inner);
    for user in 0..1_000_u32 {
        let mut request = request();
        request.headers_mut().insert("x-user", user.into());
        service.clone().oneshot(request).await.unwrap();
    }
    assert!(layer.handle().keys() <= 101, "{}", layer.handle().keys());
    tokio::time::advance(secs(120)).await;
    service.oneshot(request()).await.unwrap();
    assert_eq!(layer.handle().keys(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_key_is_kept_while_its_provider_keeps_it_closed_and_until_the_first_call_may_pass() {
    let layer = RateLimitLayer::new().key_by(KeyBy::tenant());
    let (mut service, provider) = strict_behind(&layer);
    fastrand::seed(7);
    provider.answer(429).header("retry-after", "600");
    send(&mut service, of_tenant("limited")).await.unwrap();
    // A new key drops those that equal a new one.
    for (wait, new_key, expected) in [(61, "b", Some(true)), (539, "c", Some(false)), (61, "d", None)] {
        tokio::time::advance(secs(wait)).await;
        send(&mut service, of_tenant(new_key)).await.unwrap();
        let limited = layer.handle().of(&of_tenant("limited"));
        assert_eq!(limited.map(|key| key.closed_for().is_some()), expected, "{new_key}");
    }
}

/// Regression: a call at the head of the queue that was not polled, such as a `select!` arm that is kept for
/// later, blocked every call behind it until `max_wait`.
#[tokio::test(start_paused = true)]
async fn a_queued_call_that_is_not_polled_delays_no_other_call() {
    let layer = RateLimitLayer::per_second(1).max_wait(secs(60));
    let (service, provider) = strict_behind(&layer);
    service.clone().oneshot(request()).await.unwrap();
    let began = clock::now();
    let mut kept = tokio_test::task::spawn(service.clone().oneshot(request()));
    assert!(kept.poll().is_pending());
    let never_polled = service.clone().oneshot(request());
    for _ in 0..3 {
        service.clone().oneshot(request()).await.unwrap();
    }
    // The kept call has its own slot, at two seconds, so that the others are sent at three, four and five.
    assert_eq!(clock::now() - began, secs(5));
    // It comes three seconds late, so that it reserves again: no window gets more than its rate.
    assert!(kept.is_woken() && kept.poll().is_pending());
    tokio::time::sleep(secs(1)).await;
    assert!(kept.poll().is_ready());
    drop(never_polled);
    assert_eq!((layer.handle().waiting(), provider.requests().len()), (0, 5));
}

/// The slot of a call that leaves the queue goes to the next one, and so does a reservation that was granted
/// to a call that is dropped without being polled again.
#[tokio::test(start_paused = true)]
async fn the_room_of_a_dropped_call_goes_to_the_next() {
    let (inner, _provider) = strict();
    let layer = RateLimitLayer::per_second(1).max_wait(secs(60));
    let service = layer.layer(inner);
    service.clone().oneshot(request()).await.unwrap();
    let began = clock::now();
    let mut first = tokio_test::task::spawn(service.clone().oneshot(request()));
    let mut second = tokio_test::task::spawn(service.clone().oneshot(request()));
    let third = tokio::spawn(service.clone().oneshot(request()));
    assert!(first.poll().is_pending() && second.poll().is_pending());
    tokio::task::yield_now().await;
    drop(first);
    tokio::time::sleep(secs(1)).await;
    assert!(second.is_woken());
    drop(second);
    third.await.unwrap().unwrap();
    assert_eq!((clock::now() - began, layer.handle().waiting()), (secs(1), 0));
}
