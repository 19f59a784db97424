//! Who is asked with how much time, how often, and under which key.

use std::time::Duration;

use http::{HeaderValue, Request};
use serde_json::json;
use tidegate_testkit::strict::{Answer, Handle};
use tower::Layer;

use crate::fallback::cutoff::TICK;
use crate::fallback::{FallbackInfo, FallbackKind, FallbackLayer};
#[cfg(feature = "providers")]
use crate::providers::ModelTable;
use crate::replay::copy;
use crate::testing::{complete, rejection, request, send, strict};
use crate::{
    AttemptBudget, CircuitBreakerLayer, Deadline, ErrorCode, Failure, Gate, Outcome, Payload,
    ResilienceBuilder, RetryLayer, RetryOverride, Trail, clock,
};

const SECOND: Duration = Duration::from_secs(1);

/// Of more than three lines, so that there is something to simplify.
fn question() -> Request<Payload> {
    let body = json!({"model": "m", "messages": [{"role": "user", "content": "a\nb\nc\nd"}]});
    Request::post("http://provider/v1/chat/completions").body(Payload::from(body.to_string())).unwrap()
}

fn within(mut request: Request<Payload>, time: Duration) -> Request<Payload> {
    Deadline::after(time, clock::now()).tighten(request.extensions_mut());
    request
}

/// A stack that keeps two seconds for whoever comes next.
fn reserving() -> ResilienceBuilder {
    ResilienceBuilder::new("").retry(RetryLayer::exponential().reserve_for_fallback(2 * SECOND))
}

/// Once asked at the end of another chain, a chain took its first target for the last one: that took all the time.
#[tokio::test(start_paused = true)]
async fn a_chain_at_the_end_of_a_chain_keeps_time_for_its_own_targets() {
    let ((slow, first), (quick, second), (outer, third)) = (strict(), strict(), strict());
    first.hang();
    third.answer(503);
    let inner = reserving().fallback(FallbackLayer::new().then("", reserving().service(quick))).service(slow);
    let mut chain = FallbackLayer::new().then("", inner).layer(outer);
    let started = clock::now();
    let response = send(&mut chain, within(request(), 10 * SECOND)).await.unwrap();
    assert_eq!((response.status().as_u16(), clock::now() - started), (200, 8 * SECOND));
    assert_eq!(second.calls(), 1);
}

/// And in front of another one, it took its last target for the last of all.
#[tokio::test(start_paused = true)]
async fn a_chain_in_front_of_a_target_keeps_time_for_that() {
    let ((a, first), (b, second), (last, third)) = (strict(), strict(), strict());
    first.otherwise(Answer::error_with(|| Failure::new(ErrorCode::Authentication).into()));
    second.hang();
    let inner = reserving().fallback(FallbackLayer::new().then("", reserving().service(b))).service(a);
    let mut chain = FallbackLayer::new().then("", last).layer(inner);
    let started = clock::now();
    let response = send(&mut chain, within(request(), 10 * SECOND)).await.unwrap();
    assert_eq!((response.status().as_u16(), clock::now() - started), (200, 8 * SECOND));
    assert_eq!(third.calls(), 1);
}

/// Whoever comes after it could only refuse.
#[cfg(feature = "providers")]
#[tokio::test(start_paused = true)]
async fn the_last_target_that_is_fit_has_all_the_time() {
    let ((first, primary), (second, other), (third, unfit)) = (strict(), strict(), strict());
    primary.answer(503);
    other.answer(200).after(SECOND * 19 / 2);
    let models = ModelTable::empty()
        .with("small", crate::ModelCapabilities { context_tokens: Some(0), ..Default::default() });
    let chain =
        FallbackLayer::new().then("", reserving().service(second)).then("c/small", third).models(models);
    let response = send(&mut chain.layer(first), within(question(), 10 * SECOND)).await.unwrap();
    assert_eq!((response.status().as_u16(), other.calls(), unfit.calls()), (200, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn the_last_target_has_all_the_time_unless_all_are_to_be_asked_with_less() {
    for (simplifies, expected) in [(false, 10), (true, 8)] {
        let ((first, primary), (second, other)) = (strict(), strict());
        primary.answer(503);
        other.hang();
        let chain = FallbackLayer::new().then("", reserving().service(second));
        let chain = if simplifies { chain.then_simplified() } else { chain };
        let started = clock::now();
        let result = send(&mut chain.layer(first), within(question(), 10 * SECOND)).await;
        assert_eq!((result.is_ok(), (clock::now() - started).as_secs()), (simplifies, expected));
    }
}

/// Of those who are asked with less, all but the last leave the others time.
#[tokio::test(start_paused = true)]
async fn a_simplified_prompt_that_hangs_leaves_the_next_target_its_time() {
    let ((first, primary), (second, other)) = (strict(), strict());
    for target in [&primary, &other] {
        target.answer(500);
    }
    primary.hang();
    other.answer(200).after(SECOND * 19 / 10);
    let chain = FallbackLayer::new().then("", reserving().service(second)).then_simplified();
    let mut chat = reserving().fallback(chain).service(first);
    let started = clock::now();
    let mut request = within(question(), 10 * SECOND);
    request.extensions_mut().insert(RetryOverride::off());
    let response = send(&mut chat, request).await.unwrap();
    assert_eq!((response.status().as_u16(), clock::now() - started), (200, SECOND * 99 / 10));
}

fn keys(provider: &Handle) -> Vec<Option<HeaderValue>> {
    provider.requests().iter().map(|seen| seen.headers.get("idempotency-key").cloned()).collect()
}

fn keyed(retries: u32) -> ResilienceBuilder {
    ResilienceBuilder::new("").retry(RetryLayer::exponential().max_retries(retries).idempotency_key(true))
}

/// One call asked the same target twice under two keys.
#[tokio::test(start_paused = true)]
async fn a_target_that_is_asked_once_more_is_given_the_key_it_had() {
    let ((first, primary), (second, other)) = (strict(), strict());
    let stack = || keyed(1);
    primary.answer(503);
    primary.answer(429).header("retry-after", "60");
    primary.answer(429).header("retry-after", "2");
    other.otherwise(Answer::status(429).header("retry-after", "1"));
    let chain = FallbackLayer::new().then("", stack().service(second));
    let mut chat = stack().fallback(chain).service(first);
    send(&mut chat, within(question(), 30 * SECOND)).await.unwrap();
    let (own, others) = (keys(&primary), keys(&other));
    assert!(others.len() > 2 && own[0].is_some() && others[0].is_some());
    assert!(own.iter().all(|key| *key == own[0]) && others.iter().all(|key| *key == others[0]));
    assert_ne!(own[0], others[0]);
}

/// A key stands for one request: under it the simplified one could be answered with what the caller's own came to.
#[tokio::test(start_paused = true)]
async fn a_simplified_request_is_another_request() {
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
        let [before, after] = &keys(&primary)[..] else { panic!("asked twice") };
        assert!(after.is_some() && before != after && *after != own);
        assert!(own.is_none() || *before == own);
        // And another target is asked for another model.
        assert_eq!(keys(&other)[0].as_ref().map(|key| key == "callers-1"), Some(own.is_some()));
    }
}

/// The second target of a chain within a chain had the key of the second one of the chain around it.
#[tokio::test(start_paused = true)]
async fn no_two_targets_have_the_callers_key_however_chains_are_put_into_each_other() {
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

/// Three attempts at each of two targets, and eighteen more while they rested.
#[tokio::test(start_paused = true)]
async fn whoever_is_asked_once_more_is_asked_once() {
    // Three each, and eight more when one was back; with less nobody is asked who still rests, as at this seed both do.
    let resting = || Answer::status(429).header("retry-after", "1");
    // Three each, and one each with less.
    let failing = || Answer::status(500);
    for (answer, expected) in [(&resting as &dyn Fn() -> Answer, 6 + 8), (&failing, 6 + 2)] {
        let ((first, primary), (second, other)) = (strict(), strict());
        let stack = || {
            let waits = RetryLayer::exponential().initial_delay(SECOND / 100).max_retries(2).seed(3);
            ResilienceBuilder::new("").retry(waits)
        };
        primary.otherwise(answer());
        other.otherwise(answer());
        let chain = FallbackLayer::new().then("", stack().service(second)).then_simplified().seed(3);
        let mut chat = stack().fallback(chain).service(first);
        let response = send(&mut chat, within(question(), 3_600 * SECOND)).await.unwrap();
        assert_eq!(Outcome::of(&response).failure().map(|failure| failure.code.is_retryable()), Some(true));
        assert_eq!(primary.calls() + other.calls(), expected);
    }
}

/// P24, P25: a simplified prompt went at once to who had asked for half a minute, and with a key that is wrong.
#[tokio::test(start_paused = true)]
async fn p25_a_simplified_prompt_goes_to_nobody_who_would_not_answer_it() {
    let targets = [strict(), strict(), strict()];
    let [first, second, third] = targets.each_ref().map(|(service, _)| service.clone());
    targets[0].1.answer(429).header("retry-after", "30");
    targets[1].1.answer(401);
    targets[2].1.answer(500);
    let chain = FallbackLayer::new().then("", second).then("", third).then_simplified();
    let response = send(&mut chain.layer(first), question()).await.unwrap();
    assert_eq!((response.status().as_u16(), targets.map(|(_, target)| target.calls())), (200, [1, 1, 2]));
}

/// P25: twenty callers who waited for the same target asked it in the same instant, and one of them a moment early.
#[tokio::test(start_paused = true)]
async fn p25_those_who_wait_for_one_that_is_back_do_not_come_together() {
    let (first, primary) = strict();
    let chain = FallbackLayer::new().then_static().seed(7).layer(first);
    for _ in 0..20 {
        primary.answer(429).header("retry-after", "10");
    }
    let started = tokio::time::Instant::now();
    let calls: Vec<_> = (0..20)
        .map(|_| {
            let mut chain = chain.clone();
            tokio::spawn(
                async move { send(&mut chain, within(question(), 60 * SECOND)).await.unwrap().status() },
            )
        })
        .collect();
    for call in calls {
        assert_eq!(call.await.unwrap(), 200);
    }
    let mut asked: Vec<_> = primary.requests()[20..].iter().map(|seen| seen.at - started).collect();
    assert!(asked.iter().all(|at| (10 * SECOND..=11 * SECOND).contains(at)), "{asked:?}");
    asked.dedup();
    assert!(asked.len() > 15, "{asked:?}");
}

/// It had answered more often than it was asked, and the trail spoke of another target.
#[tokio::test(start_paused = true)]
async fn a_target_that_was_waited_for_is_counted_and_named() {
    let ((first, primary), (second, other)) = (strict(), strict());
    primary.answer(429).header("retry-after", "60");
    other.answer(429).header("retry-after", "1");
    let chain = FallbackLayer::new().then("b/two", second);
    let response = send(&mut chain.layer(first), within(question(), 10 * SECOND)).await.unwrap();
    assert_eq!((response.status().as_u16(), other.calls()), (200, 2));
    let statistics = &chain.handle().statistics()[0];
    assert_eq!((statistics.asked, statistics.answered, statistics.recent), (2, 1, 2));
    assert_eq!(Trail::of(response.extensions()).unwrap().target().as_deref(), Some("b/two"));
}

/// A chain slept for its own targets while the one around it had an idle one, and their waits multiplied.
#[tokio::test(start_paused = true)]
async fn only_the_outermost_chain_waits() {
    let targets = [strict(), strict(), strict()];
    let [a, b, c] = targets.each_ref().map(|(service, _)| service.clone());
    for (_, target) in &targets[..2] {
        target.otherwise(Answer::status(429).header("retry-after", "5"));
    }
    let mut chain = FallbackLayer::new().then("", c).layer(FallbackLayer::new().then("", b).layer(a));
    let started = clock::now();
    let response = send(&mut chain, within(question(), 60 * SECOND)).await.unwrap();
    assert_eq!((response.status().as_u16(), clock::now() - started), (200, Duration::ZERO));
    targets[2].1.otherwise(Answer::status(429).header("retry-after", "1"));
    send(&mut chain, within(question(), 3_600 * SECOND)).await.unwrap();
    let asked: usize = targets.iter().map(|(_, target)| target.calls()).sum();
    assert!(asked <= 3 + 3 + 8 * 2, "{asked}");
}

/// As the last target of the chain around it, it slept for its own targets while the first one out there was back.
#[tokio::test(start_paused = true)]
async fn a_chain_at_the_end_of_a_chain_does_not_wait_either() {
    let targets = [strict(), strict(), strict()];
    let [a, b, c] = targets.each_ref().map(|(service, _)| service.clone());
    targets[0].1.answer(429).header("retry-after", "1");
    for (_, target) in &targets[1..] {
        target.otherwise(Answer::status(429).header("retry-after", "5"));
    }
    let inner = FallbackLayer::new().then("", c).layer(b);
    let mut chain = FallbackLayer::new().then("", inner).layer(a);
    let started = clock::now();
    let response = send(&mut chain, within(question(), 60 * SECOND)).await.unwrap();
    assert_eq!((response.status().as_u16(), (clock::now() - started).as_secs()), (200, 1));
    assert_eq!(targets.map(|(_, target)| target.calls()), [2, 1, 1]);
}

/// An attempt that reached nobody was paid for, so that nobody was left to be asked.
#[tokio::test(start_paused = true)]
async fn a_target_that_cannot_be_made_ready_costs_no_attempt() {
    let ((first, primary), (second, other), (third, last)) = (strict(), strict(), strict());
    primary.answer(503);
    other.fail_ready("worker gone");
    let budget = AttemptBudget::new(2);
    let mut request = request();
    request.extensions_mut().insert(budget.clone());
    let chain = FallbackLayer::new().then("", second).then("", third);
    let response = send(&mut chain.layer(first), request).await.unwrap();
    assert_eq!((response.status().as_u16(), last.calls(), budget.remaining()), (200, 1, 0));
}

#[tokio::test(start_paused = true)]
async fn nobody_is_asked_for_a_call_whose_time_is_over() {
    let (first, primary) = strict();
    let mut request = within(question(), SECOND);
    tokio::time::advance(SECOND).await;
    let mut chain = FallbackLayer::new().then("", strict().0).layer(first.clone());
    assert_eq!(rejection(send(&mut chain, copy(&request).unwrap()).await).gate(), Gate::Deadline);
    // Whoever asks nobody still answers.
    let mut chain = FallbackLayer::new().then_static().layer(first);
    request.extensions_mut().insert(AttemptBudget::new(1));
    let response = send(&mut chain, request).await.unwrap();
    assert_eq!(response.extensions().get().map(FallbackInfo::strategy), Some(FallbackKind::StaticResponse));
    assert_eq!(primary.calls(), 0);
}

/// A target that was ready as late as that was asked, if its caller looked later still.
#[tokio::test(start_paused = true)]
async fn nobody_is_asked_who_is_ready_after_the_deadline() {
    let ((first, primary), (second, other)) = (strict(), strict());
    primary.answer(503);
    other.block();
    let mut chain = FallbackLayer::new().then("", second).layer(first);
    let call = tokio::spawn(async move { send(&mut chain, within(question(), SECOND)).await });
    tokio::time::sleep(SECOND / 2).await;
    other.unblock();
    tokio::time::advance(SECOND).await;
    assert_eq!((call.await.unwrap().unwrap().status().as_u16(), other.calls()), (503, 0));
}

#[tokio::test(start_paused = true)]
async fn a_simplified_prompt_is_an_attempt_as_any_other() {
    for attempts in 1..=3 {
        let (first, primary) = strict();
        primary.otherwise(Answer::status(503));
        let mut request = question();
        request.extensions_mut().insert(AttemptBudget::new(attempts));
        let layer = FallbackLayer::new().then_simplified().then_static();
        let response = send(&mut layer.layer(first), request).await.unwrap();
        assert_eq!(
            response.extensions().get().map(FallbackInfo::strategy),
            Some(FallbackKind::StaticResponse)
        );
        assert_eq!(primary.calls(), attempts.min(2) as usize);
    }
}

/// A first target without any sense of time was waited for for ever, and so was a stream.
#[tokio::test(start_paused = true)]
async fn the_deadline_is_kept_for_a_first_target_that_knows_none() {
    let (first, primary) = strict();
    let mut chain = FallbackLayer::new().then_static().layer(first);
    primary.hang();
    let started = clock::now();
    let response = send(&mut chain, within(question(), SECOND)).await.unwrap();
    assert_eq!(response.extensions().get().map(FallbackInfo::strategy), Some(FallbackKind::StaticResponse));
    assert_eq!((clock::now() - started, primary.live_futures()), (SECOND + TICK, 0));

    use http_body_util::BodyExt;
    primary.answer(200).frame("a").stall();
    let mut body = send(&mut chain, within(question(), SECOND)).await.unwrap().into_body();
    let started = clock::now();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "a");
    let error = body.frame().await.unwrap().unwrap_err();
    assert_eq!(error.to_string(), "deadline passed 1s into the attempt");
    assert_eq!((clock::now() - started, primary.live_bodies()), (SECOND + TICK, 0));
    assert!(body.frame().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_first_target_that_keeps_the_deadline_is_left_to_say_so() {
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
