mod reported_quotas;
mod properties;
mod tokens;

use std::time::Duration;

use http::{HeaderName, HeaderValue};
use tidegate_testkit::contract;
use tokio::task::JoinSet;
use tower::{Layer, ServiceExt};

use super::quota_set::Reserved;
use super::quota::CallCost;
use super::{OnLimit, RateLimitLayer};
use crate::testing::{call, complete, rejection, request, send, strict};
use crate::{Deadline, ErrorCode, Gate, KeyBy, Priority, Rejection, clock};

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

#[tokio::test(start_paused = true)]
async fn keeps_towers_contract() {
    contract::check(|inner| RateLimitLayer::per_second(2).burst_size(1).layer(inner)).await;
    contract::check(|inner| RateLimitLayer::disabled().layer(inner)).await;
}

/// P04: 300 ms waited for a refusal that was certain at once. P12: nobody wakes in vain, or all together.
#[tokio::test(start_paused = true)]
async fn p04_a_wait_in_vain_is_refused_at_once() {
    let (inner, provider) = strict();
    let mut service = RateLimitLayer::per_minute(1).max_wait(Duration::from_millis(300)).layer(inner);
    complete(&mut service).await.unwrap();
    let start = clock::now();
    let refused = rejection(call(&mut service).await);
    assert_eq!(clock::now(), start);
    assert_eq!((refused.code(), refused.retry_after()), (ErrorCode::RateLimited, Some(secs(60))));
    assert_eq!(provider.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn p04_a_wait_past_the_deadline_is_refused_at_once() {
    let (inner, _provider) = strict();
    let layer = RateLimitLayer::per_second(1);
    let mut service = layer.layer(inner);
    complete(&mut service).await.unwrap();
    let start = clock::now();
    let mut hurried = request();
    let deadline = Deadline::after(Duration::from_millis(999), start).tighten(hurried.extensions_mut());
    assert!(layer.handle().peek(Some(deadline)).is_some());
    assert_eq!(rejection(send(&mut service, hurried).await).gate(), Gate::Deadline);
    assert_eq!((clock::now(), layer.handle().waiting()), (start, 0));
}

/// P12: all waiters slept until the same instant and woke together.
#[tokio::test(start_paused = true)]
async fn p12_waiters_are_served_in_order_at_the_pace_of_the_quota() {
    let (inner, provider) = strict();
    let service = RateLimitLayer::per_second(5).layer(inner);
    let start = tokio::time::Instant::now();
    let mut calls = JoinSet::new();
    for number in 0..16 {
        let mut request = request();
        request.headers_mut().insert("number", number.into());
        calls.spawn(service.clone().oneshot(request));
        tokio::task::yield_now().await;
    }
    while let Some(answer) = calls.join_next().await {
        assert_eq!(answer.unwrap().unwrap().status(), 200);
    }
    let seen = provider.requests();
    for (number, request) in seen.iter().enumerate() {
        assert_eq!(request.headers["number"], number.to_string());
        let due = Duration::from_millis(200) * (number as u32).saturating_sub(4);
        let late = request.at - start - due;
        // A timer of tokio's fires at most a tick late.
        assert!(late <= Duration::from_millis(number as u64 + 1), "{number} came {late:?} late");
    }
}

#[tokio::test(start_paused = true)]
async fn a_waiter_that_leaves_gives_its_turn_to_the_next() {
    let (inner, provider) = strict();
    let layer = RateLimitLayer::per_second(1);
    let service = layer.layer(inner);
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

/// It was told that its time was up, and not for lack of what: only those that were refused at once were.
#[tokio::test(start_paused = true)]
async fn a_waiter_whose_time_is_up_in_the_queue_is_told_what_it_waited_for() {
    let (inner, _provider) = strict();
    let layer = RateLimitLayer::per_minute(60).burst_size(1).max_wait(secs(60));
    let service = layer.layer(inner);
    service.clone().oneshot(request()).await.unwrap();
    let mut first = tokio_test::task::spawn(service.clone().oneshot(request()));
    assert!(first.poll().is_pending());
    let mut hurried = request();
    hurried.extensions_mut().insert(Deadline::after(secs(3), clock::now()));
    let hurried = tokio::spawn(service.oneshot(hurried));
    tokio::task::yield_now().await;
    // What somebody else took beyond his reservation is owed before the two.
    let now = clock::now();
    let spent = Reserved { cost: CallCost::default(), at: now, total_spent: CallCost::default() };
    layer.handle().settle(&spent, &CallCost { calls: 30, ..CallCost::default() });
    let rejection = rejection(hurried.await.unwrap());
    assert_eq!(clock::now() - now, secs(3));
    assert_eq!((rejection.gate(), rejection.quota()), (Gate::Deadline, Some("requests per minute")));
    // After the 30, the first in the queue, and one of its own, of which three seconds have passed.
    assert_eq!(rejection.retry_after(), Some(secs(29)));
    assert!(rejection.to_string().contains("requests per minute"), "{rejection}");
}

#[tokio::test(start_paused = true)]
async fn the_number_of_waiters_is_bounded_and_reject_mode_has_none() {
    let (inner, _provider) = strict();
    let service = RateLimitLayer::per_second(1).max_waiting(1).layer(inner.clone());
    service.clone().oneshot(request()).await.unwrap();
    let mut waiting = tokio_test::task::spawn(service.clone().oneshot(request()));
    assert!(waiting.poll().is_pending());
    assert_eq!(
        rejection(service.oneshot(request()).await).reason(),
        "rate limit reached and too many waiting"
    );

    let mut service = RateLimitLayer::per_second(1).on_limit(OnLimit::Reject).layer(inner);
    complete(&mut service).await.unwrap();
    assert_eq!(rejection(call(&mut service).await).retry_after(), Some(secs(1)));
}

#[tokio::test(start_paused = true)]
async fn a_429_closes_the_gate_for_everybody_until_the_latest_moment_heard() {
    let (inner, provider) = strict();
    let layer = RateLimitLayer::per_second(100).max_wait(secs(60));
    let service = layer.layer(inner);
    let start = clock::now();
    layer.handle().on_outcome(&limited(secs(30)));
    layer.handle().on_outcome(&limited(secs(2)));
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

#[tokio::test(start_paused = true)]
async fn listens_to_retry_after_and_pauses_for_a_429_that_names_no_time() {
    for (header, wait) in [(Some("7"), secs(7)), (None, secs(1))] {
        let (inner, provider) = strict();
        let mut service = RateLimitLayer::new().layer(inner);
        let answer = provider.answer(429);
        if let Some(seconds) = header {
            answer.header("retry-after", seconds);
        }
        assert_eq!(complete(&mut service).await.unwrap(), 429);
        let start = clock::now();
        complete(&mut service).await.unwrap();
        let waited = clock::now() - start;
        // The wait that was told, and a twentieth of it or 25 ms at the most: others were told the same.
        let spread = (wait / 20).max(Duration::from_millis(25)) + Duration::from_millis(2);
        assert!(waited >= wait && waited <= wait + spread, "{waited:?}");
    }
}

/// P12, after a 429: the burst was the provider's to give, so the gate opens with one and keeps the pace.
#[tokio::test(start_paused = true)]
async fn p12_a_closed_gate_opens_with_one_call_and_not_with_a_burst() {
    let (inner, provider) = strict();
    let layer = RateLimitLayer::per_second(10).burst_size(50).max_wait(secs(60));
    let service = layer.layer(inner);
    layer.handle().on_outcome(&limited(secs(2)));
    let start = tokio::time::Instant::now();
    let mut calls = JoinSet::new();
    (0..20).for_each(|_| drop(calls.spawn(service.clone().oneshot(request()))));
    while calls.join_next().await.is_some() {}
    for (number, seen) in provider.requests().iter().enumerate() {
        assert!(seen.at - start >= secs(2) + Duration::from_millis(100) * number as u32);
    }
}

/// P10: a token that was taken in `poll_ready`, and burnt by a clone that was dropped.
#[tokio::test(start_paused = true)]
async fn p10_readiness_takes_nothing_and_a_refusal_below_gives_back() {
    let (inner, provider) = strict();
    let layer = RateLimitLayer::per_minute(5);
    let service = layer.layer(inner);
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

/// P17: one layer value is one limit, however often it is applied.
#[tokio::test(start_paused = true)]
async fn p17_one_layer_is_one_limit_unless_told_otherwise() {
    let shared = RateLimitLayer::per_minute(1).on_limit(OnLimit::Reject);
    let apart = shared.clone().per_service();
    for (layer, refused) in [(shared, true), (apart, false)] {
        let (inner, _provider) = strict();
        call(&mut layer.layer(inner.clone())).await.unwrap();
        assert_eq!(call(&mut layer.layer(inner)).await.is_err(), refused);
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

/// P32: a negative wait when a block ends, an absurd one while it lasts.
#[tokio::test(start_paused = true)]
async fn p32_an_absurd_wait_neither_panics_nor_closes_for_ever() {
    let (inner, provider) = strict();
    let layer = RateLimitLayer::per_second(1).default_retry_after(Duration::MAX);
    let mut service = layer.layer(inner);
    provider.answer(429).header("retry-after", "99999999999999999999");
    complete(&mut service).await.unwrap();
    assert!(layer.handle().closed_for() <= Some(secs(86_400)));
    tokio::time::advance(secs(100_000)).await;
    assert_eq!((layer.handle().closed_for(), complete(&mut service).await.unwrap()), (None, 200));
    provider.answer(429);
    complete(&mut { service }).await.unwrap();
    assert!(layer.handle().closed_for() > Some(secs(86_400)));
}

/// A person does not wait behind a night's work, and the work is not put off for ever.
#[tokio::test(start_paused = true)]
async fn interactive_calls_go_before_batch_and_batch_gets_every_fifth_turn() {
    let (inner, provider) = strict();
    let layer = RateLimitLayer::per_second(10).burst_size(1).max_wait(secs(60));
    let service = layer.layer(inner);
    service.clone().oneshot(request()).await.unwrap();
    let mut calls = JoinSet::new();
    for priority in [Priority::Batch; 4].into_iter().chain([Priority::Interactive; 12]) {
        let mut request = request();
        request.extensions_mut().insert(priority);
        request.headers_mut().insert("priority", priority.name().parse().unwrap());
        calls.spawn(service.clone().oneshot(request));
        tokio::task::yield_now().await;
    }
    while let Some(answer) = calls.join_next().await {
        answer.unwrap().unwrap();
    }
    let order: String = provider.requests()[1..]
        .iter()
        .map(|seen| &seen.headers["priority"] == "batch")
        .map(|batch| if batch { 'b' } else { 'i' })
        .collect();
    // The first of them had the turn already when the people came.
    assert_eq!(order, "biiiibiiiibiiiib");
}

#[tokio::test(start_paused = true)]
async fn batch_cannot_take_the_places_that_people_would_wait_in() {
    let (inner, _provider) = strict();
    let layer = RateLimitLayer::per_second(1).max_waiting(2);
    let service = layer.layer(inner);
    service.clone().oneshot(request()).await.unwrap();
    let wait = |priority: Priority| {
        let mut request = request();
        request.extensions_mut().insert(priority);
        let mut task = tokio_test::task::spawn(service.clone().oneshot(request));
        (task.poll().is_pending(), task)
    };
    let held = [
        wait(Priority::Batch),
        wait(Priority::Batch),
        wait(Priority::Interactive),
        wait(Priority::Interactive),
    ];
    assert!(held.iter().all(|(waits, _)| *waits));
    assert!(!wait(Priority::Batch).0 && !wait(Priority::Interactive).0);
    drop(held);
    assert_eq!(layer.handle().waiting(), 0);
}

/// A tenant who has used up his limit is in nobody's way.
#[tokio::test(start_paused = true)]
async fn each_key_has_a_limit_of_its_own_and_some_another_one() {
    let (inner, provider) = strict();
    let layer = RateLimitLayer::per_minute(1)
        .on_limit(OnLimit::Reject)
        .key_by(KeyBy::header(HeaderName::from_static("x-user")))
        .per_key(|head, usual| match head.headers.contains_key("x-premium") {
            true => RateLimitLayer::per_minute(3).on_limit(OnLimit::Reject),
            false => usual,
        });
    let service = layer.layer(inner);
    let ask = async |user: &'static str, is_premium: bool| {
        let mut request = request();
        request.headers_mut().insert("x-user", HeaderValue::from_static(user));
        if is_premium {
            request.headers_mut().insert("x-premium", HeaderValue::from_static("1"));
        }
        service.clone().oneshot(request).await.is_ok()
    };
    assert!(ask("a", false).await && !ask("a", false).await && ask("b", false).await);
    assert!(ask("c", true).await && ask("c", true).await && ask("c", true).await && !ask("c", true).await);
    assert_eq!((provider.calls(), layer.handle().remaining()), (5, Some(1)));
    // What one key learns, no other does.
    provider.answer(429).header("retry-after", "30");
    assert!(ask("d", true).await && !ask("d", true).await && ask("e", false).await);
}

#[tokio::test(start_paused = true)]
async fn keys_are_bounded_and_idle_ones_forgotten() {
    let (inner, _provider) = strict();
    let by = KeyBy::header(HeaderName::from_static("x-user"));
    let layer = RateLimitLayer::per_second(1).on_limit(OnLimit::Reject).key_by(by).max_keys(100);
    let service = layer.layer(inner);
    for user in 0..1_000_u32 {
        let mut request = request();
        request.headers_mut().insert("x-user", user.into());
        service.clone().oneshot(request).await.unwrap();
    }
    assert!(layer.keys() <= 101, "{}", layer.keys());
    tokio::time::advance(secs(120)).await;
    service.oneshot(request()).await.unwrap();
    assert_eq!(layer.keys(), 1);
}
