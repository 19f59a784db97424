use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use tidegate_testkit::{contract, strict::Answer};
use tower::{Layer, ServiceExt};

use super::RetryLayer;
use super::backoff::Backoff;
use super::backoff::tests::after;
use super::policy::{RetryContext, RetryDecision, RetryPolicy};
use crate::testing::{
    SECOND, call, complete, paused, request, request_with, send, strict, strict_behind, with, with_deadline,
};
use crate::{
    AttemptBudget, BackpressureLayer, Deadline, ErrorCode, Failure, Gate, HintSource, LimitScope, Outcome,
    Rejection, RetryHint, Trail, clock,
};

mod adaptive;
mod attempts;
mod compositions;
mod headers;
mod per_call;
mod promises;
mod reserve;
mod run;
mod statistics;

fn policy() -> RetryPolicy {
    RetryLayer::exponential().handle().0.policy
}

fn attempt(number: u32, now: Instant) -> RetryContext {
    RetryContext { history: after(number), deadline: None, now, random: 0.5 }
}

fn failure_with_hint(code: ErrorCode, wait: Duration) -> Failure {
    Failure { retry_hint: Some(RetryHint::after(wait, HintSource::Body)), ..Failure::new(code) }
}

/// Seed item 80.
#[test]
fn an_error_code_is_retried_if_it_is_retryable() {
    let now = Instant::now();
    for code in ErrorCode::ALL {
        let again = policy().decide(&Failure::new(code).into(), attempt(1, now));
        assert_eq!(again == RetryDecision::RetryAfter(SECOND / 2), code.is_retryable(), "{code}");
    }
    for outcome in [Outcome::Success, Outcome::Neutral] {
        assert_eq!(policy().decide(&outcome, attempt(1, now)), RetryDecision::Return);
    }
    let failure = Failure::new(ErrorCode::Overloaded).into();
    assert_ne!(policy().decide(&failure, attempt(3, now)), RetryDecision::Return);
    assert_eq!(policy().decide(&failure, attempt(4, now)), RetryDecision::Return);
}

/// Pitfall P25 (docs/pitfalls.md): with a wait of 53 s given, all attempts were used up in 33 s; a
/// Retry-After of days was waited for.
#[test]
fn a_wait_given_by_the_provider_replaces_the_back_off_or_ends_the_retries() {
    let now = Instant::now();
    let decide = |wait, deadline: Option<Duration>| {
        let deadline = deadline.map(|budget| Deadline::after(budget, now));
        policy().decide(
            &failure_with_hint(ErrorCode::RateLimited, wait).into(),
            RetryContext { deadline, ..attempt(1, now) },
        )
    };
    assert_eq!(decide(20 * SECOND, None), RetryDecision::RetryAfter(21 * SECOND));
    let own = policy().backoff.base(attempt(1, now).history);
    assert_eq!(decide(Duration::ZERO, None), RetryDecision::RetryAfter(own.mul_f64(1.05)), "zero is no wait");
    assert_eq!(decide(30 * SECOND, None), RetryDecision::RetryAfter(30 * SECOND * 105 / 100));
    assert_eq!(decide(31 * SECOND, None), RetryDecision::Return);
    assert_eq!(decide(20 * SECOND, Some(20 * SECOND)), RetryDecision::Return);
    assert_eq!(
        decide(20 * SECOND, Some(21 * SECOND)),
        RetryDecision::Return,
        "no time is left for an attempt"
    );
    assert_eq!(decide(20 * SECOND, Some(22 * SECOND)), RetryDecision::RetryAfter(21 * SECOND));
    let slow = RetryPolicy { backoff: Backoff { initial: 40 * SECOND, ..policy().backoff }, ..policy() };
    let zero = failure_with_hint(ErrorCode::RateLimited, Duration::ZERO);
    assert_eq!(slow.decide(&zero.into(), attempt(1, now)), RetryDecision::RetryAfter(30 * SECOND), "the cap");
}

/// Pitfall P24 (docs/pitfalls.md): `insufficient_quota` retried like a rate limit; a daily quota retried for
/// minutes.
#[test]
fn exhausted_quotas_and_daily_limits_are_not_retried() {
    let now = Instant::now();
    let daily = RetryHint { scope: LimitScope::Daily, ..RetryHint::after(SECOND, HintSource::Body) };
    let per_day = Failure { retry_hint: Some(daily), ..Failure::new(ErrorCode::RateLimited) };
    for failure in [failure_with_hint(ErrorCode::QuotaExhausted, SECOND), per_day] {
        assert_eq!(policy().decide(&failure.into(), attempt(1, now)), RetryDecision::Return);
    }
}

#[test]
fn should_retry_of_the_provider_overrides_the_code() {
    let now = Instant::now();
    let should = |code, retry| {
        let hint = Some(RetryHint { should_retry: Some(retry), ..RetryHint::default() });
        policy().decide(&Failure { retry_hint: hint, ..Failure::new(code) }.into(), attempt(1, now))
    };
    assert_eq!(should(ErrorCode::Overloaded, false), RetryDecision::Return);
    assert_eq!(should(ErrorCode::InvalidRequest, true), RetryDecision::RetryAfter(SECOND / 2));
}

/// Pitfall P20 (docs/pitfalls.md): an open circuit retried in a tight loop.
#[test]
fn rejections_are_retried_only_if_enabled_and_in_time() {
    let now = Instant::now();
    let open = Rejection::new(Gate::CircuitBreaker, ErrorCode::Overloaded);
    let timed = open.clone().with_retry_after(SECOND);
    let deadline = |budget| RetryContext { deadline: Some(Deadline::after(budget, now)), ..attempt(1, now) };
    assert_eq!(policy().decide_on_rejection(&timed, deadline(60 * SECOND)), RetryDecision::Return);

    let retrying = RetryPolicy { retry_rejections: true, ..policy() };
    assert_eq!(
        retrying.decide_on_rejection(&timed, deadline(60 * SECOND)),
        RetryDecision::RetryAfter(Duration::from_millis(1_050))
    );
    assert_eq!(retrying.decide_on_rejection(&timed, deadline(SECOND)), RetryDecision::Return);
    assert_eq!(retrying.decide_on_rejection(&timed, attempt(1, now)), RetryDecision::Return);
    assert_eq!(retrying.decide_on_rejection(&open, deadline(60 * SECOND)), RetryDecision::Return);
    let beyond_the_cap = open.with_retry_after(31 * SECOND);
    assert_eq!(retrying.decide_on_rejection(&beyond_the_cap, deadline(60 * SECOND)), RetryDecision::Return);
}

#[tokio::test(start_paused = true)]
async fn keeps_towers_contract() {
    contract::check(|inner| RetryLayer::exponential().layer(inner)).await;
    contract::check(|inner| RetryLayer::disabled().layer(inner)).await;
}

/// A service that counts its clones.
struct CountedClones<S>(S, Arc<AtomicUsize>);

impl<S: Clone> Clone for CountedClones<S> {
    fn clone(&self) -> Self {
        self.1.fetch_add(1, Ordering::Relaxed);
        Self(self.0.clone(), Arc::clone(&self.1))
    }
}

impl<S: tower::Service<R>, R> tower::Service<R> for CountedClones<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> S::Future {
        self.0.call(request)
    }
}

/// The service was cloned for every call: two threads updated the same reference counts, once for each part
/// of the stack.
#[tokio::test(start_paused = true)]
async fn the_service_is_cloned_for_second_attempts_and_not_for_every_call() {
    let (inner, provider) = strict();
    let clones = Arc::new(AtomicUsize::new(0));
    let mut service = RetryLayer::exponential().layer(CountedClones(inner, Arc::clone(&clones)));
    for _ in 0..100 {
        complete(&mut service).await.unwrap();
    }
    assert_eq!(clones.load(Ordering::Relaxed), 1, "one clone is kept for all retries");
    provider.answer(503);
    provider.answer(503);
    complete(&mut service).await.unwrap();
    assert_eq!((clones.load(Ordering::Relaxed), provider.calls()), (3, 103));
}

#[tokio::test(start_paused = true)]
async fn retries_until_success_and_records_a_trail() {
    let layer = RetryLayer::exponential();
    let (mut service, provider) = strict_behind(&layer);
    provider.answer(503);
    provider.fail("connection reset");
    let response = call(&mut service).await.unwrap();
    assert_eq!((response.status().as_u16(), provider.calls()), (200, 3));
    assert_eq!(Trail::of(response.extensions()).unwrap().attempts(), 3);
    for seen in provider.requests() {
        assert_eq!(seen.body.as_deref(), Some(&b"{}"[..]));
    }
    let statistics = layer.handle().statistics();
    assert_eq!((statistics.retries, statistics.successful_retries), (2, 1));
    let first_try = call(&mut service).await.unwrap();
    assert!(first_try.extensions().is_empty());
}

#[tokio::test(start_paused = true)]
async fn out_of_attempts_the_last_response_or_error_is_returned_unchanged() {
    let (inner, provider) = strict();
    provider.otherwise(Answer::status(503).header("x-request-id", "7").body("no room"));
    let response = call(&mut RetryLayer::exponential().max_retries(2).layer(inner.clone())).await.unwrap();
    assert_eq!((response.status().as_u16(), provider.calls()), (503, 3));
    assert_eq!(response.headers()["x-request-id"], "7");
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "no room");

    provider.otherwise(Answer::error("connection refused"));
    let error = call(&mut RetryLayer::exponential().max_retries(2).layer(inner)).await.err().unwrap();
    assert_eq!(error.to_string(), "connection refused");
}

/// Pitfall P05 (docs/pitfalls.md): the failed response was kept during the back-off. It held its connection,
/// and could deadlock.
#[tokio::test(start_paused = true)]
async fn the_failed_response_is_dropped_before_the_wait() {
    let (inner, provider) = strict();
    let gate = BackpressureLayer::max_inflight(1);
    let layer = RetryLayer::exponential();
    provider.answer(503).header("retry-after", "5").frame("never read").stall();
    let mut waiting = tokio_test::task::spawn(layer.layer(gate.layer(inner)).oneshot(request()));
    assert!(waiting.poll().is_pending());
    assert_eq!((provider.live_bodies(), gate.handle().in_flight()), (0, 0));
    assert_eq!(waiting.await.unwrap().status(), 200);
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_never_shortened() {
    let (inner, provider) = strict();
    provider.answer(429).header("retry-after", "3");
    let start = clock::now();
    call(&mut RetryLayer::exponential().layer(inner)).await.unwrap();
    let waited = clock::now() - start;
    assert!(waited >= 3 * SECOND && waited <= Duration::from_millis(3_302), "{waited:?}");
}

/// Regression: zero in a header was dropped when it was read, and the jitter was the full one.
#[tokio::test(start_paused = true)]
async fn a_wait_of_zero_in_a_header_is_the_own_back_off_at_least() {
    for (status, name, value) in [
        (429, "retry-after", "0"),
        (503, "retry-after-ms", "0"),
        (429, "retry-after", "Wed, 21 Oct 2015 07:28:00 GMT"),
    ] {
        for seed in 0..20 {
            let (inner, provider) = strict();
            provider.answer(status).header(name, value);
            provider.answer(200);
            let start = clock::now();
            call(&mut RetryLayer::exponential().seed(seed).layer(inner)).await.unwrap();
            let waited = clock::now() - start;
            assert!(
                (SECOND..=Duration::from_millis(1_102)).contains(&waited),
                "{name}: {value}, {seed}: {waited:?}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_retry_past_the_deadline_is_not_started() {
    let (inner, provider) = strict();
    provider.answer(503).header("retry-after", "3");
    let request = with_deadline(request(), 2 * SECOND);
    let start = clock::now();
    let response = send(&mut RetryLayer::exponential().layer(inner), request).await.unwrap();
    assert_eq!(
        (response.status().as_u16(), provider.calls(), clock::now() - start),
        (503, 1, Duration::ZERO)
    );
}

/// Pitfall P19 (docs/pitfalls.md): a retry that requires `Request: Clone`, and clones for the last attempt
/// too.
#[tokio::test(start_paused = true)]
async fn the_request_is_not_cloned_for_the_last_attempt() {
    #[derive(Debug)]
    struct CountedExtension(Arc<AtomicUsize>);
    impl Clone for CountedExtension {
        fn clone(&self) -> Self {
            self.0.fetch_add(1, Ordering::Relaxed);
            Self(self.0.clone())
        }
    }
    for (retries, attempts, expected) in [(0, 9, 0), (1, 9, 1), (3, 9, 3), (3, 2, 1), (3, 1, 0)] {
        let (inner, provider) = strict();
        provider.otherwise(Answer::status(503));
        let extension = CountedExtension(Arc::default());
        let count = extension.0.clone();
        let request = with(request_with(extension), AttemptBudget::new(attempts));
        send(&mut RetryLayer::exponential().max_retries(retries).layer(inner), request).await.unwrap();
        assert_eq!(count.load(Ordering::Relaxed), expected, "{retries} retries, {attempts} attempts");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_past_the_cap_is_sent_once_and_not_retried() {
    let (service, provider) = strict_behind(&RetryLayer::exponential().body_cap(3));
    provider.answer(503);
    let request = request().map(|_| Full::new(Bytes::from_static(b"long")));
    let response = service.oneshot(request).await.unwrap();
    assert_eq!((response.status().as_u16(), provider.calls()), (503, 1));
}

#[tokio::test(start_paused = true)]
async fn retries_of_all_calls_together_stay_within_the_budget() {
    let layer = RetryLayer::exponential().budget(0.1, 0).max_retries(3);
    let (mut service, provider) = strict_behind(&layer);
    provider.otherwise(Answer::status(503));
    for _ in 0..100 {
        complete(&mut service).await.unwrap();
    }
    assert_eq!(provider.calls(), 110);
    let statistics = layer.handle().statistics();
    assert_eq!((statistics.retries, statistics.successful_retries), (10, 0));
    assert!(statistics.out_of_budget >= 90);
}

/// Without growth, all calls to a provider that is down for minutes would be retried at once.
#[tokio::test(start_paused = true)]
async fn decorrelated_waits_grow_from_one_to_the_next() {
    let (inner, provider) = strict();
    provider.otherwise(Answer::status(503));
    let layer = RetryLayer::new(super::Strategy::DecorrelatedJitter).initial_delay(SECOND).seed(7);
    complete(&mut layer.max_retries(9).layer(inner)).await.unwrap();
    let waits: Vec<_> = provider.requests().windows(2).map(|two| two[1].at - two[0].at).collect();
    assert!(waits.len() == 9 && waits.iter().any(|wait| *wait > 4 * SECOND), "{waits:?}");
}

#[tokio::test(start_paused = true)]
async fn equal_seeds_give_equal_waits() {
    let mut runs = Vec::new();
    for _ in 0..2 {
        let (inner, provider) = strict();
        provider.otherwise(Answer::status(503));
        let start = tokio::time::Instant::now();
        complete(&mut RetryLayer::exponential().seed(7).layer(inner)).await.unwrap();
        runs.push(provider.requests().iter().map(|seen| seen.at - start).collect::<Vec<_>>());
    }
    assert_eq!(runs[0], runs[1]);
}
