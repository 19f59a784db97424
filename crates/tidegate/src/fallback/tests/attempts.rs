//! Time, number of attempts and idempotency keys of the calls to each target.

use std::time::Duration;

use http::{HeaderValue, Request};
use serde_json::json;
use tidegate_testkit::strict::{Answer, Handle};
use tower::Layer;

use crate::body::clone_request;
use crate::fallback::deadline_guard::TICK;
use crate::fallback::{FallbackInfo, FallbackKind, FallbackLayer};
#[cfg(feature = "providers")]
use crate::providers::ModelTable;
use crate::retry::RetryOverride;
use crate::testing::{
    SECOND, chat_request, complete, rejection, request, request_with, send, strict, with, with_deadline,
};
use crate::{
    AttemptBudget, CircuitBreakerLayer, ErrorCode, Failure, Gate, Outcome, Payload, ResilienceBuilder,
    RetryLayer, Trail, Verdict, clock,
};

const ANSWER: &str = r#"{"choices":[{"message":{"content":"hi"}}]}"#;

/// A prompt of more than three lines, so that it can be simplified.
fn question() -> Request<Payload> {
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "a\nb\nc\nd"}]});
    chat_request(body)
}

/// A stack that reserves two seconds for the next target.
fn reserving_stack() -> ResilienceBuilder {
    ResilienceBuilder::new("").retry(RetryLayer::exponential().reserve_for_fallback(2 * SECOND))
}

/// Regression: an inner chain in the last position treated its first target as the last one, which then used
/// up all the time.
#[tokio::test(start_paused = true)]
async fn an_inner_chain_in_last_position_reserves_time_for_its_targets() {
    let ((slow, first), (quick, second), (outer, third)) = (strict(), strict(), strict());
    first.hang();
    third.answer(503);
    let inner = reserving_stack()
        .fallback(FallbackLayer::new().then("", reserving_stack().service(quick)))
        .service(slow);
    let mut chain = FallbackLayer::new().then("", inner).layer(outer);
    let started = clock::now();
    let response = send(&mut chain, with_deadline(request(), 10 * SECOND)).await.unwrap();
    assert_eq!((response.status().as_u16(), clock::now() - started), (200, 8 * SECOND));
    assert_eq!(second.calls(), 1);
}

/// Regression: an inner chain in front of another target treated its last target as the last of all.
#[tokio::test(start_paused = true)]
async fn an_inner_chain_in_first_position_reserves_time_for_the_outer_target() {
    let ((a, first), (b, second), (last, third)) = (strict(), strict(), strict());
    first.otherwise(Answer::error_with(|| Failure::new(ErrorCode::Authentication).into()));
    second.hang();
    let inner =
        reserving_stack().fallback(FallbackLayer::new().then("", reserving_stack().service(b))).service(a);
    let mut chain = FallbackLayer::new().then("", last).layer(inner);
    let started = clock::now();
    let response = send(&mut chain, with_deadline(request(), 10 * SECOND)).await.unwrap();
    assert_eq!((response.status().as_u16(), clock::now() - started), (200, 8 * SECOND));
    assert_eq!(third.calls(), 1);
}

/// The target after it could only reject the request.
#[cfg(feature = "providers")]
#[tokio::test(start_paused = true)]
async fn the_last_capable_target_may_use_the_whole_deadline() {
    let ((first, primary), (second, other), (third, incapable)) = (strict(), strict(), strict());
    primary.answer(503);
    other.answer(200).after(SECOND * 19 / 2).frame(ANSWER);
    let models = ModelTable::empty()
        .with("small", crate::ModelCapabilities { context_tokens: Some(0), ..Default::default() });
    let chain = FallbackLayer::new()
        .then("", reserving_stack().service(second))
        .then("c/small", third)
        .models(models);
    let response = send(&mut chain.layer(first), with_deadline(question(), 10 * SECOND)).await.unwrap();
    assert_eq!((response.status().as_u16(), other.calls(), incapable.calls()), (200, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn the_last_target_may_use_the_whole_deadline_without_a_simplified_resort() {
    for (simplifies, expected) in [(false, 10), (true, 8)] {
        let ((first, primary), (second, other)) = (strict(), strict());
        primary.answer(503);
        other.hang();
        let chain = FallbackLayer::new().then("", reserving_stack().service(second));
        let chain = if simplifies { chain.then_simplified() } else { chain };
        let started = clock::now();
        let result = send(&mut chain.layer(first), with_deadline(question(), 10 * SECOND)).await;
        assert_eq!((result.is_ok(), (clock::now() - started).as_secs()), (simplifies, expected));
    }
}

/// All targets for a simplified prompt except the last one reserve time for the others.
#[tokio::test(start_paused = true)]
async fn a_hanging_simplified_prompt_leaves_time_for_the_next_target() {
    let ((first, primary), (second, other)) = (strict(), strict());
    for target in [&primary, &other] {
        target.answer(500);
    }
    primary.hang();
    other.answer(200).after(SECOND * 19 / 10).frame(ANSWER);
    let chain = FallbackLayer::new().then("", reserving_stack().service(second)).then_simplified();
    let mut chat = reserving_stack().fallback(chain).service(first);
    let started = clock::now();
    let request = with(with_deadline(question(), 10 * SECOND), RetryOverride::off());
    let response = send(&mut chat, request).await.unwrap();
    assert_eq!((response.status().as_u16(), clock::now() - started), (200, SECOND * 99 / 10));
}

fn keys(provider: &Handle) -> Vec<Option<HeaderValue>> {
    provider.requests().iter().map(|seen| seen.headers.get("idempotency-key").cloned()).collect()
}

fn keyed(retries: u32) -> ResilienceBuilder {
    ResilienceBuilder::new("").retry(RetryLayer::exponential().max_retries(retries).idempotency_key(true))
}

/// Regression: one call sent the same request to the same target under two keys.
#[tokio::test(start_paused = true)]
async fn a_target_that_is_called_again_gets_the_same_key() {
    let ((first, primary), (second, other)) = (strict(), strict());
    let stack = || keyed(1);
    primary.answer(503);
    primary.answer(429).header("retry-after", "60");
    primary.answer(429).header("retry-after", "2");
    other.otherwise(Answer::status(429).header("retry-after", "1"));
    let chain = FallbackLayer::new().then("", stack().service(second));
    let mut chat = stack().fallback(chain).service(first);
    send(&mut chat, with_deadline(question(), 30 * SECOND)).await.unwrap();
    let (own, others) = (keys(&primary), keys(&other));
    assert!(others.len() > 2 && own[0].is_some() && others[0].is_some());
    assert!(own.iter().all(|key| *key == own[0]) && others.iter().all(|key| *key == others[0]));
    assert_ne!(own[0], others[0]);
}

/// A key identifies one request: with the same key, a provider could return the response to the caller's own
/// request for the simplified one.
#[tokio::test(start_paused = true)]
async fn a_simplified_request_gets_another_key() {
    let stack = || keyed(0);
    for own in [None, Some(HeaderValue::from_static("callers"))] {
        let ((first, primary), (second, other)) = (strict(), strict());
        let chain = FallbackLayer::new().then("", stack().service(second)).then_simplified();
        primary.otherwise(Answer::status(503));
        other.answer(503);
        let mut request = question();
        if let Some(own) = &own {
            request.headers_mut().insert("idempotency-key", own.clone());
        }
        send(&mut stack().fallback(chain).service(first), request).await.unwrap();
        let [before, after] = &keys(&primary)[..] else { panic!("called twice") };
        assert!(after.is_some() && before != after && *after != own);
        assert!(own.is_none() || *before == own);
        // The other target is called with another model.
        assert_eq!(keys(&other)[0].as_ref().map(|key| key == "callers-1"), Some(own.is_some()));
    }
}

/// Regression: the second target of an inner chain had the same key as the second target of the outer chain.
#[tokio::test(start_paused = true)]
async fn no_two_targets_of_nested_chains_share_a_key() {
    let targets = [strict(), strict(), strict(), strict()];
    let [a, b, c, d] = targets.each_ref().map(|(service, _)| service.clone());
    for (_, target) in &targets {
        target.answer(503);
    }
    let inner = FallbackLayer::new().then("", d).layer(c);
    let mut chain = FallbackLayer::new().then("", inner).layer(FallbackLayer::new().then("", b).layer(a));
    let mut request = question();
    request.headers_mut().insert("idempotency-key", HeaderValue::from_static("callers"));
    send(&mut chain, request).await.unwrap();
    let keys = targets.each_ref().map(|(_, target)| keys(target)[0].clone().unwrap());
    assert_eq!(keys, ["callers", "callers--1", "callers-1", "callers-1--1"]);
}

/// Regression: three attempts at each of two targets were followed by eighteen more while they were cooling
/// down.
#[tokio::test(start_paused = true)]
async fn a_target_that_is_called_again_gets_one_attempt() {
    // Three attempts each, and eight more when one was available again. The simplified prompt is not sent to
    // a target that is still cooling down, which at this seed are both.
    let cooling_down = || Answer::status(429).header("retry-after", "1");
    // Three attempts each, and one each with the simplified prompt.
    let failing = || Answer::status(500);
    for (answer, expected) in [(&cooling_down as &dyn Fn() -> Answer, 6 + 8), (&failing, 6 + 2)] {
        let ((first, primary), (second, other)) = (strict(), strict());
        let stack = || {
            let waits = RetryLayer::exponential().initial_delay(SECOND / 100).max_retries(2).seed(3);
            ResilienceBuilder::new("").retry(waits)
        };
        primary.otherwise(answer());
        other.otherwise(answer());
        let chain = FallbackLayer::new().then("", stack().service(second)).then_simplified().seed(3);
        let mut chat = stack().fallback(chain).service(first);
        let response = send(&mut chat, with_deadline(question(), 3_600 * SECOND)).await.unwrap();
        assert_eq!(Outcome::of(&response).failure().map(|failure| failure.code.is_retryable()), Some(true));
        assert_eq!(primary.calls() + other.calls(), expected);
    }
}

/// Pitfalls P24 and P25 (docs/pitfalls.md): a simplified prompt was sent at once to a target that had given a
/// delay of half a minute, and to one that had rejected the credential.
#[tokio::test(start_paused = true)]
async fn a_simplified_prompt_skips_targets_that_cannot_succeed() {
    let targets = [strict(), strict(), strict()];
    let [first, second, third] = targets.each_ref().map(|(service, _)| service.clone());
    targets[0].1.answer(429).header("retry-after", "30");
    targets[1].1.answer(401);
    targets[2].1.answer(500);
    let chain = FallbackLayer::new().then("", second).then("", third).then_simplified();
    let response = send(&mut chain.layer(first), question()).await.unwrap();
    assert_eq!((response.status().as_u16(), targets.map(|(_, target)| target.calls())), (200, [1, 1, 2]));
}

/// Pitfall P25 (docs/pitfalls.md): twenty calls that waited for the same target were sent in the same
/// instant, and one of them slightly early.
#[tokio::test(start_paused = true)]
async fn calls_that_wait_for_a_target_do_not_return_together() {
    let (first, primary) = strict();
    let chain = FallbackLayer::new().then_static().seed(7).layer(first);
    for _ in 0..20 {
        primary.answer(429).header("retry-after", "10");
    }
    let started = tokio::time::Instant::now();
    let calls: Vec<_> = (0..20)
        .map(|_| {
            let mut chain = chain.clone();
            tokio::spawn(async move {
                send(&mut chain, with_deadline(question(), 60 * SECOND)).await.unwrap().status()
            })
        })
        .collect();
    for call in calls {
        assert_eq!(call.await.unwrap(), 200);
    }
    let mut called: Vec<_> = primary.requests()[20..].iter().map(|seen| seen.at - started).collect();
    assert!(called.iter().all(|at| (10 * SECOND..=11 * SECOND).contains(at)), "{called:?}");
    called.dedup();
    assert!(called.len() > 15, "{called:?}");
}

/// Regression: the target had more successes than uses, and the trail named another target.
#[tokio::test(start_paused = true)]
async fn a_target_that_was_waited_for_is_counted_and_named() {
    let ((first, primary), (second, other), (third, last)) = (strict(), strict(), strict());
    primary.answer(429).header("retry-after", "60");
    other.answer(429).header("retry-after", "1");
    last.answer(429).header("retry-after", "60");
    let chain = FallbackLayer::new().then("b/two", second).then("c/three", third);
    let response = send(&mut chain.layer(first), with_deadline(question(), 10 * SECOND)).await.unwrap();
    assert_eq!((response.status().as_u16(), other.calls()), (200, 2));
    let statistics = &chain.handle().statistics()[0];
    assert_eq!((statistics.calls, statistics.successes, statistics.recent), (2, 1, 2));
    let trail = Trail::of(response.extensions()).unwrap();
    assert_eq!(trail.target().as_deref(), Some("b/two"));
    let steps = trail.steps();
    let waiting = steps.iter().find(|step| matches!(step.verdict, Verdict::Waiting(_))).unwrap();
    assert_eq!(waiting.target.as_deref(), Some("b/two"));
}

/// Regression: an inner chain waited for its own targets while the outer chain had one that was available,
/// and their waits multiplied.
#[tokio::test(start_paused = true)]
async fn only_the_outermost_chain_waits() {
    let targets = [strict(), strict(), strict()];
    let [a, b, c] = targets.each_ref().map(|(service, _)| service.clone());
    for (_, target) in &targets[..2] {
        target.otherwise(Answer::status(429).header("retry-after", "5"));
    }
    let mut chain = FallbackLayer::new().then("", c).layer(FallbackLayer::new().then("", b).layer(a));
    let started = clock::now();
    let response = send(&mut chain, with_deadline(question(), 60 * SECOND)).await.unwrap();
    assert_eq!((response.status().as_u16(), clock::now() - started), (200, Duration::ZERO));
    targets[2].1.otherwise(Answer::status(429).header("retry-after", "1"));
    send(&mut chain, with_deadline(question(), 3_600 * SECOND)).await.unwrap();
    let called: usize = targets.iter().map(|(_, target)| target.calls()).sum();
    assert!(called <= 3 + 3 + 8 * 2, "{called}");
}

/// Regression: an inner chain in the last position waited for its own targets while the first target of the
/// outer chain was available again.
#[tokio::test(start_paused = true)]
async fn an_inner_chain_in_last_position_does_not_wait() {
    let targets = [strict(), strict(), strict()];
    let [a, b, c] = targets.each_ref().map(|(service, _)| service.clone());
    targets[0].1.answer(429).header("retry-after", "1");
    for (_, target) in &targets[1..] {
        target.otherwise(Answer::status(429).header("retry-after", "5"));
    }
    let inner = FallbackLayer::new().then("", c).layer(b);
    let mut chain = FallbackLayer::new().then("", inner).layer(a);
    let started = clock::now();
    let response = send(&mut chain, with_deadline(question(), 60 * SECOND)).await.unwrap();
    assert_eq!((response.status().as_u16(), (clock::now() - started).as_secs()), (200, 1));
    assert_eq!(targets.map(|(_, target)| target.calls()), [2, 1, 1]);
}

/// Regression: an attempt that was not sent counted, so that no attempt was left for the next target.
#[tokio::test(start_paused = true)]
async fn a_target_that_cannot_be_made_ready_costs_no_attempt() {
    let ((first, primary), (second, other), (third, last)) = (strict(), strict(), strict());
    primary.answer(503);
    other.fail_ready("worker gone");
    let budget = AttemptBudget::new(2);
    let request = request_with(budget.clone());
    let chain = FallbackLayer::new().then("", second).then("", third);
    let response = send(&mut chain.layer(first), request).await.unwrap();
    assert_eq!((response.status().as_u16(), last.calls(), budget.remaining()), (200, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn no_target_is_called_for_an_expired_call() {
    let (first, primary) = strict();
    let mut request = with_deadline(question(), SECOND);
    tokio::time::advance(SECOND).await;
    let mut chain = FallbackLayer::new().then("", strict().0).layer(first.clone());
    assert_eq!(rejection(send(&mut chain, clone_request(&request).unwrap()).await).gate(), Gate::Deadline);
    // A last resort that calls no target still responds.
    let mut chain = FallbackLayer::new().then_static().layer(first);
    request.extensions_mut().insert(AttemptBudget::new(1));
    let response = send(&mut chain, request).await.unwrap();
    assert_eq!(response.extensions().get().map(FallbackInfo::kind), Some(FallbackKind::StaticResponse));
    assert_eq!(primary.calls(), 0);
}

/// Regression: a target that became ready after the deadline was called if the future was polled later still.
#[tokio::test(start_paused = true)]
async fn a_target_that_is_ready_after_the_deadline_is_not_called() {
    let ((first, primary), (second, other)) = (strict(), strict());
    primary.answer(503);
    other.block();
    let mut chain = FallbackLayer::new().then("", second).layer(first);
    let call = tokio::spawn(async move { send(&mut chain, with_deadline(question(), SECOND)).await });
    tokio::time::sleep(SECOND / 2).await;
    other.unblock();
    tokio::time::advance(SECOND).await;
    assert_eq!((call.await.unwrap().unwrap().status().as_u16(), other.calls()), (503, 0));
}

#[tokio::test(start_paused = true)]
async fn a_simplified_prompt_takes_an_attempt() {
    for attempts in 1..=3 {
        let (first, primary) = strict();
        primary.otherwise(Answer::status(503));
        let request = with(question(), AttemptBudget::new(attempts));
        let layer = FallbackLayer::new().then_simplified().then_static();
        let response = send(&mut layer.layer(first), request).await.unwrap();
        assert_eq!(response.extensions().get().map(FallbackInfo::kind), Some(FallbackKind::StaticResponse));
        assert_eq!(primary.calls(), attempts.min(2) as usize);
    }
}

/// Regression: a first target that ignores the deadline was waited for without a limit, and so was its
/// stream.
#[tokio::test(start_paused = true)]
async fn the_deadline_is_enforced_for_a_first_target_that_ignores_it() {
    let (first, primary) = strict();
    let mut chain = FallbackLayer::new().then_static().layer(first);
    primary.hang();
    let started = clock::now();
    let response = send(&mut chain, with_deadline(question(), SECOND)).await.unwrap();
    assert_eq!(response.extensions().get().map(FallbackInfo::kind), Some(FallbackKind::StaticResponse));
    assert_eq!((clock::now() - started, primary.live_futures()), (SECOND + TICK, 0));

    use http_body_util::BodyExt;
    primary.answer(200).frame("a").stall();
    let mut body = send(&mut chain, with_deadline(question(), SECOND)).await.unwrap().into_body();
    let started = clock::now();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "a");
    let error = body.frame().await.unwrap().unwrap_err();
    assert_eq!(error.to_string(), "deadline passed 1s into the attempt");
    assert_eq!((clock::now() - started, primary.live_bodies()), (SECOND + TICK, 0));
    assert!(body.frame().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_first_target_that_enforces_the_deadline_reports_the_timeout() {
    let (first, primary) = strict();
    let (second, _) = strict();
    let layer = FallbackLayer::new().then("", second);
    let stack = ResilienceBuilder::new("a/one").circuit_breaker(CircuitBreakerLayer::new());
    let mut chat = stack.total_timeout(SECOND).fallback(layer).service(first);
    primary.hang();
    complete(&mut chat).await.unwrap_err();
    let failure = chat.signals().snapshot().last_failure;
    assert_eq!(failure.map(|failure| failure.code), Some(ErrorCode::Timeout));
}
