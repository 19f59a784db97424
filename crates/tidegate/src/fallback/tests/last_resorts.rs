use std::time::Duration;

use http::{HeaderValue, Request, Response};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tidegate_testkit::contract;
use tidegate_testkit::strict::{Answer, Handle, Strict};
use tower::Layer;

use crate::fallback::deadline_guard::TICK;
use crate::fallback::{
    AnswerCache, Fallback, FallbackInfo, FallbackKind, FallbackLayer, FallbackOverride, PromptKind,
    ResponseBody, StaticAnswers,
};
use crate::testing::{SECOND, chat_request, send, strict, with, with_deadline};
use crate::{
    BoxError, Error, ErrorCode, Failure, Gate, KeyBy, Outcome, Payload, Rejection, ResilienceBuilder, Tenant,
    Trail, Verdict, clock,
};

pub(super) fn question(prompt: &str) -> Request<Payload> {
    chat_request(json!({"model": "m", "messages": [{"role": "user", "content": prompt}]}))
}

/// A chain around one target, with the handle of that target.
pub(super) fn chain(
    change: impl FnOnce(FallbackLayer) -> FallbackLayer,
) -> (Handle, FallbackLayer, Fallback<Strict<Payload>>) {
    let (first, handle) = strict();
    let layer = change(FallbackLayer::new());
    let service = layer.layer(first);
    (handle, layer, service)
}

fn completion(text: &str) -> String {
    json!({"choices": [{"message": {"content": text}, "finish_reason": "stop"}]}).to_string()
}

pub(super) fn json_answer(provider: &Handle, text: &str) -> Answer {
    provider.answer(200).header("content-type", "application/json").body(completion(text))
}

pub(super) type Head = (u16, Option<FallbackInfo>, Option<HeaderValue>);

/// The head, and the text of the body.
pub(super) async fn read<B>(response: Result<Response<ResponseBody<B>>, Error>) -> (Head, String)
where
    B: http_body::Body<Data = bytes::Bytes, Error: Into<crate::BoxError>>,
{
    let response = response.unwrap();
    let info: Option<FallbackInfo> = response.extensions().get().cloned();
    let header = |name: &str| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
    let marks = info.as_ref().map(|info| (info.target().to_owned(), info.kind().name().to_owned()));
    assert_eq!(header("x-tidegate-target").zip(header("x-tidegate-fallback")), marks);
    let head = (response.status().as_u16(), info, response.headers().get("age").cloned());
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (head, String::from_utf8(body.to_vec()).unwrap())
}

pub(super) fn content(body: &str) -> String {
    let body: Value = serde_json::from_str(body).unwrap();
    body["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
}

pub(super) fn strategy(head: &Head) -> Option<FallbackKind> {
    head.1.as_ref().map(FallbackInfo::kind)
}

/// Seed item 26: the fallback of one call.
#[tokio::test]
async fn the_answer_of_a_call_is_its_last_resort_in_any_chain_and_is_given_once() {
    let with_answer = |prompt: &str| with(question(prompt), FallbackOverride::new().answer("low tide"));
    // The target within the chain does not give it: the chain tries its other targets first.
    let (first, mut service, other) = {
        let (first, _, alone) = chain(|layer| layer);
        let (second, other) = strict();
        (first, FallbackLayer::new().then("b", second).layer(alone), other)
    };
    first.otherwise(Answer::status(503));
    other.otherwise(Answer::status(503));
    let ((status, info, _), text) = read(send(&mut service, with_answer("q")).await).await;
    assert_eq!((status, text.contains("low tide"), first.calls(), other.calls()), (200, true, 1, 1));
    let info = info.unwrap();
    assert_eq!(info.kind(), FallbackKind::Emergency);
    assert_eq!(read(send(&mut service, question("q")).await).await.0.0, 503);
    assert_eq!(info.position(), 2);
    // Regression: it was in no statistics.
    let statistics = service.handle().statistics();
    assert_eq!((statistics.len(), &*statistics[1].target, statistics[1].calls), (2, "@emergency", 1));
}

/// Regression: without a chain the answer was ignored.
#[tokio::test]
async fn a_call_gets_its_own_answer_without_a_chain_as_well() {
    let fallback = FallbackOverride::off().answer("low tide");
    let with_answer = || with(question("q"), fallback.clone());
    let streamed = || with_answer().map(Payload::streamed);
    let (first, _, mut alone) = chain(|layer| layer);
    first.otherwise(Answer::status(503));
    let answers =
        [read(send(&mut alone, with_answer()).await).await, read(send(&mut alone, streamed()).await).await];
    for ((status, info, _), text) in answers {
        assert_eq!((status, content(&text)), (200, "low tide".into()));
        assert_eq!(info.map(|info| info.position()), Some(1));
    }
    let (service, first) = strict();
    first.otherwise(Answer::status(503));
    let stack = ResilienceBuilder::new("a/one").service(service);
    for request in [with_answer(), streamed()] {
        let response = stack.send(request).await.unwrap();
        assert_eq!(
            (response.status().as_u16(), response.extensions().get::<FallbackInfo>().is_some()),
            (200, true)
        );
    }
    assert_eq!(stack.send(question("q")).await.unwrap().status(), 503);
}

/// Seed item 58: the configuration of one call.
#[tokio::test]
async fn a_call_without_fallbacks_gets_the_response_of_the_first_target_or_its_own_answer() {
    let (nested, other) = strict();
    let (first, layer, mut service) = chain(|layer| layer.then("b", nested).then_static());
    first.otherwise(Answer::status(503));
    let mut ask = async |fallback: FallbackOverride| {
        let request = with(question("q"), fallback);
        read(send(&mut service, request).await).await
    };
    let ((status, info, _), _) = ask(FallbackOverride::off()).await;
    assert_eq!((status, info), (503, None));
    let ((status, ..), text) = ask(FallbackOverride::off().answer("low tide")).await;
    assert_eq!((status, content(&text)), (200, "low tide".into()));
    assert_eq!((first.calls(), other.calls()), (2, 0));
    other.otherwise(Answer::status(503));
    let (head, _) = ask(FallbackOverride::new()).await;
    assert_eq!((strategy(&head), other.calls()), (Some(FallbackKind::StaticResponse), 1));
    let uses: Vec<_> = layer.handle().statistics().into_iter().map(|it| (it.target, it.calls)).collect();
    assert_eq!(uses, [("b".into(), 1), ("@static".into(), 1), ("@emergency".into(), 1)]);
}

#[tokio::test(start_paused = true)]
async fn keeps_towers_contract() {
    contract::check(|inner| {
        let layer = FallbackLayer::new().then("other", strict().0).then_cached(AnswerCache::new());
        layer.then_simplified().then_static().then_emergency("later").layer(inner)
    })
    .await;
}

/// Seed items 47, 49 and 75: by the kind of prompt, tagged.
#[tokio::test(start_paused = true)]
async fn a_static_answer_is_in_the_callers_dialect_buffered_or_streamed_and_marked() {
    let answers = StaticAnswers::new().with(PromptKind::Code, "no code today");
    let (first, layer, mut service) = chain(|layer| layer.then_static_answers(answers));
    first.otherwise(Answer::status(503));
    let (head, body) = read(send(&mut service, question("a script, please")).await).await;
    let info = head.1.clone().unwrap();
    assert_eq!((head.0, info.target(), info.kind()), (200, "@static", FallbackKind::StaticResponse));
    assert_eq!((content(&body), info.prompt_kind()), ("no code today".into(), Some(PromptKind::Code)));

    let streamed =
        json!({"model": "m", "stream": true, "messages": [{"role": "user", "content": "Really?"}]});
    let response = send(&mut service, chat_request(streamed)).await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let verdicts: Vec<_> = Trail::of(response.extensions()).unwrap().steps();
    let because = Some(ErrorCode::Overloaded);
    assert_eq!(verdicts[0].verdict, Verdict::FellBack { to: "@static".into(), because });
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert!(body.ends_with(b"data: [DONE]\n\n"));
    let statistics = &layer.handle().statistics()[0];
    assert_eq!((&*statistics.target, statistics.calls, statistics.recent_successes), ("@static", 2, 2));
}

#[tokio::test(start_paused = true)]
async fn an_unsupported_or_not_fallbackable_call_is_returned_unchanged() {
    let (first, layer, mut service) = chain(|layer| {
        layer.then_cached(AnswerCache::new()).then_simplified().then_static().then_emergency("later")
    });
    first.answer(503);
    let elsewhere = Request::post("http://provider/v1/embeddings").body(Payload::from("{}")).unwrap();
    assert_eq!(read(send(&mut service, elsewhere).await).await.0.0, 503);
    first.answer(400).extension(Outcome::from(Failure::new(ErrorCode::InvalidRequest)));
    assert_eq!(read(send(&mut service, question("?")).await).await.0.0, 400);
    assert!(layer.handle().statistics().iter().all(|statistics| statistics.calls == 0));
}

/// Seed items 44, 52 and 76: the same or a similar prompt of the same caller. A cache without a matching
/// answer does not count as used.
#[tokio::test(start_paused = true)]
async fn a_cached_answer_is_returned_when_all_targets_fail() {
    let (first, layer, mut service) = chain(|layer| layer.then_cached(AnswerCache::new()));
    let of = |tenant: &str, prompt: &str| with(question(prompt), Tenant(tenant.into()));
    json_answer(&first, "a language");
    let (head, body) = read(send(&mut service, of("a", "What is Rust good for?")).await).await;
    assert_eq!((strategy(&head), content(&body)), (None, "a language".into()));
    tokio::time::advance(30 * SECOND).await;

    first.otherwise(Answer::error("connection refused"));
    let (head, body) = read(send(&mut service, of("a", "What is Rust good for?")).await).await;
    assert_eq!((strategy(&head), content(&body)), (Some(FallbackKind::CachedResponse), "a language".into()));
    assert_eq!((head.1.unwrap().similarity(), head.2), (Some(1.0), Some(HeaderValue::from(30))));
    let (head, body) = read(send(&mut service, of("a", "what is RUST good for")).await).await;
    assert_eq!((strategy(&head), content(&body)), (Some(FallbackKind::CachedResponse), "a language".into()));

    assert!(send(&mut service, of("b", "What is Rust good for?")).await.is_err(), "another tenant's");
    let mut credential = of("a", "What is Rust good for?");
    credential.headers_mut().insert("authorization", HeaderValue::from_static("Bearer x"));
    assert!(send(&mut service, credential).await.is_err(), "another account's");
    assert!(send(&mut service, of("a", "And what is Go good for, then?")).await.is_err());
    let statistics = &layer.handle().statistics()[0];
    assert_eq!((statistics.calls, statistics.successes), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn a_cache_can_be_shared_between_callers() {
    let cache = AnswerCache::new();
    let (first, _, mut service) =
        chain(|layer| layer.then_cached(cache.clone()).cache_by(KeyBy::new(|_| ())));
    json_answer(&first, "yes");
    let request = with(question("Is it?"), Tenant("a".into()));
    read(send(&mut service, request).await).await;
    let (other, _, mut service) =
        chain(|layer| layer.then_cached(cache.clone()).cache_by(KeyBy::new(|_| ())));
    other.answer(503);
    let (head, body) = read(send(&mut service, question("Is it?")).await).await;
    assert_eq!((strategy(&head), content(&body)), (Some(FallbackKind::CachedResponse), "yes".into()));
}

#[tokio::test(start_paused = true)]
async fn only_complete_answers_are_cached() {
    let cache = AnswerCache::new();
    let (first, _, mut service) = chain(|layer| layer.then_cached(cache.clone()));
    let chunk = |delta: Value, reason: Value| {
        format!("data: {}\n\n", json!({"choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}))
    };
    let word = chunk(json!({"content": "yes"}), Value::Null);
    let stream = || first.answer(200).header("content-type", "text/event-stream").frame(word.clone());
    stream().frame(chunk(json!({}), "stop".into())).break_off("reset");
    let mut body = send(&mut service, question("a")).await.unwrap().into_body();
    let mut errors = 0;
    while let Some(frame) = body.frame().await {
        errors += usize::from(frame.is_err());
    }
    assert_eq!(errors, 1);
    stream().frame(chunk(json!({}), "stop".into()));
    let mut body = send(&mut service, question("b")).await.unwrap().into_body();
    body.frame().await.unwrap().unwrap();
    drop(body);
    json_answer(&first, "yes").extension(Outcome::from(Failure::new(ErrorCode::InvalidRequest)));
    read(send(&mut service, question("c")).await).await;
    assert!(cache.is_empty());
    stream().frame(chunk(json!({}), "stop".into()));
    read(send(&mut service, question("d")).await).await;
    assert_eq!(cache.len(), 1);
}

/// Seed item 46: when all targets have failed, all are called again with a simplified prompt.
#[tokio::test(start_paused = true)]
async fn a_simplified_prompt_goes_to_the_first_target_and_then_to_the_others() {
    let (second, other) = strict();
    let (first, layer, mut service) =
        chain(|layer| layer.then("b/two", second).then_simplified().then_static());
    let long = "Tell me.\nIn short.\nNow.\nAnd do not forget the rest of it.";
    first.otherwise(Answer::status(503));
    other.answer(503);
    json_answer(&other, "shorter");
    let (head, body) = read(send(&mut service, question(long)).await).await;
    let info = head.1.unwrap();
    assert_eq!((info.target(), info.kind(), info.position()), ("b/two", FallbackKind::SimplifiedPrompt, 2));
    assert_eq!((content(&body), first.calls(), other.calls()), ("shorter".into(), 2, 2));
    let sent: Value = serde_json::from_slice(other.requests()[1].body.as_deref().unwrap()).unwrap();
    assert_eq!(
        (&sent["messages"][0]["content"], &sent["max_tokens"]),
        (&json!("Tell me.\nIn short.\nNow."), &json!(50))
    );

    // All targets fail with that as well: the next last resort responds.
    other.otherwise(Answer::status(500));
    let (head, _) = read(send(&mut service, question(long)).await).await;
    assert_eq!(strategy(&head), Some(FallbackKind::StaticResponse));
    // A prompt that cannot be simplified is not sent again, and does not count.
    let calls = first.calls();
    let (head, _) = read(send(&mut service, question("Why?")).await).await;
    assert_eq!((strategy(&head), first.calls() - calls), (Some(FallbackKind::StaticResponse), 1));
    let statistics = layer.handle().statistics();
    let simplified = &statistics[1];
    assert_eq!(
        (&*simplified.target, simplified.calls, simplified.successes, simplified.recent),
        ("@simplified", 2, 1, 2)
    );
    assert_eq!(statistics.iter().map(|statistics| statistics.position).collect::<Vec<_>>(), [1, 2, 3]);
}

/// Regression: it would be returned as the answer to the long prompt.
#[tokio::test(start_paused = true)]
async fn the_answer_to_a_simplified_prompt_is_not_cached() {
    let cache = AnswerCache::new();
    let (first, _, mut service) = chain(|layer| layer.then_simplified().then_cached(cache.clone()));
    first.answer(503);
    json_answer(&first, "shorter");
    let (head, _) = read(send(&mut service, question("a\nb\nc\nd")).await).await;
    assert_eq!((strategy(&head), cache.len()), (Some(FallbackKind::SimplifiedPrompt), 0));
}

/// Seed items 51 and 66: the text for when everything else fails, at any time.
#[tokio::test(start_paused = true)]
async fn the_emergency_answer_is_last_and_works_past_the_deadline() {
    let (first, _, mut service) = chain(|layer| layer.then_simplified().then_emergency("Come back later."));
    first.answer(503).after(2 * SECOND);
    let (head, body) = read(send(&mut service, with_deadline(question("a\nb\nc\nd"), SECOND)).await).await;
    assert_eq!((strategy(&head), content(&body)), (Some(FallbackKind::Emergency), "Come back later.".into()));
    assert_eq!(first.calls(), 1);
}

/// The error of an open circuit.
fn reject(wait: Duration) -> impl Fn() -> BoxError {
    move || Rejection::new(Gate::CircuitBreaker, ErrorCode::Overloaded).with_retry_after(wait).into()
}

/// After a wait the order of the chain applies again: a circuit may have been closed meanwhile.
#[tokio::test(start_paused = true)]
async fn after_a_wait_the_first_target_that_admits_is_called() {
    let ((second, other), (third, last)) = (strict(), strict());
    let (first, _, mut service) = chain(|layer| layer.then("b/two", second).then("c/three", third));
    for (still_open, expected) in [(false, "preferred"), (true, "soonest")] {
        first.fail_with(reject(3 * SECOND));
        other.fail_with(reject(4 * SECOND));
        last.fail_with(reject(SECOND));
        let calls = [&first, &other, &last].map(|target| target.calls());
        if still_open {
            first.fail_with(reject(2 * SECOND));
            other.fail_with(reject(3 * SECOND));
            json_answer(&last, "soonest");
        } else {
            json_answer(&first, "preferred");
        }
        let started = clock::now();
        let (head, body) = read(send(&mut service, with_deadline(question("?"), 5 * SECOND)).await).await;
        assert_eq!(content(&body), expected);
        assert_eq!((clock::now() - started).as_secs(), 1, "one wait");
        let called = [&first, &other, &last].map(|target| target.calls());
        let called: Vec<_> = called.iter().zip(calls).map(|(now, before)| now - before).collect();
        let fallback = head.1.as_ref().map(|info| info.target().to_owned());
        let expected =
            if still_open { (vec![2, 2, 2], Some("c/three".to_owned())) } else { (vec![2, 1, 1], None) };
        assert_eq!((called, fallback), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn max_wait_bounds_the_wait_for_a_target() {
    for (max_wait, waits) in [(Duration::ZERO, false), (SECOND / 2, false), (2 * SECOND, true)] {
        let (first, _, mut service) = chain(|layer| layer.then_static().max_wait(max_wait));
        first.fail_with(reject(SECOND));
        json_answer(&first, "back");
        let started = clock::now();
        let (head, _) = read(send(&mut service, with_deadline(question("?"), 60 * SECOND)).await).await;
        let (seconds, expected) = if waits { (1, None) } else { (0, Some(FallbackKind::StaticResponse)) };
        assert_eq!(
            ((clock::now() - started).as_secs(), strategy(&head)),
            (seconds, expected),
            "{max_wait:?}"
        );
    }
}

/// Pitfall P29 (docs/pitfalls.md): the call failed at once while all targets were cooling down, although the
/// first was available again in a second.
#[tokio::test(start_paused = true)]
async fn waits_for_the_target_that_is_available_first() {
    let (second, other) = strict();
    let (first, _, mut service) = chain(|layer| layer.then("b/two", second).then_static());
    first.fail_with(reject(SECOND));
    other.fail_with(reject(3 * SECOND));
    json_answer(&first, "back");
    let started = clock::now();
    let (head, body) = read(send(&mut service, with_deadline(question("?"), 5 * SECOND)).await).await;
    assert_eq!((strategy(&head), content(&body)), (None, "back".into()));
    assert!((SECOND..=SECOND * 11 / 10).contains(&(clock::now() - started)));

    // A target with a delay beyond the deadline is not waited for, and without a deadline there is no wait.
    for request in [with_deadline(question("?"), SECOND), question("?")] {
        first.fail_with(reject(SECOND));
        other.fail_with(reject(3 * SECOND));
        let started = clock::now();
        let (head, _) = read(send(&mut service, request).await).await;
        assert_eq!(
            (strategy(&head), clock::now() - started),
            (Some(FallbackKind::StaticResponse), Duration::ZERO)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_dropped_wait_leaves_nothing_behind() {
    let (second, other) = strict();
    let (first, _, mut service) = chain(|layer| layer.then("b/two", second));
    for handle in [&first, &other] {
        handle.fail_with(|| {
            Rejection::new(Gate::RateLimit, ErrorCode::RateLimited).with_retry_after(SECOND).into()
        });
    }
    let call = send(&mut service, with_deadline(question("?"), 5 * SECOND));
    assert!(tokio_test::task::spawn(call).poll().is_pending());
    assert_eq!((first.calls(), other.calls(), first.live_futures()), (1, 1, 0));
}

/// Regression: a failure of the simplified request was returned to the caller as if it concerned the caller's
/// own request.
#[tokio::test(start_paused = true)]
async fn a_failure_of_the_simplified_request_is_not_reported() {
    let (first, _, mut service) = chain(|layer| layer.then_simplified().then_static());
    first.answer(503);
    first.answer(400).extension(Outcome::from(Failure::new(ErrorCode::InvalidRequest)));
    let (head, _) = read(send(&mut service, question("a\nb\nc\nd")).await).await;
    assert_eq!((strategy(&head), first.calls()), (Some(FallbackKind::StaticResponse), 2));
}

/// Regression: a target that failed in `poll_ready` ended the call, and so did one without a response at the
/// deadline.
#[tokio::test(start_paused = true)]
async fn a_target_that_is_not_ready_or_exceeds_the_deadline_is_skipped() {
    let (second, other) = strict();
    let (first, _, mut service) = chain(|layer| layer.then("b/two", second).then_static());
    first.otherwise(Answer::status(503));
    other.fail_ready("worker gone");
    let (head, _) = read(send(&mut service, question("?")).await).await;
    assert_eq!(strategy(&head), Some(FallbackKind::StaticResponse));
    let (second, other) = strict();
    let (first, _, mut service) = chain(|layer| layer.then("b/two", second).then_static());
    first.answer(503);
    other.hang();
    let started = clock::now();
    let (head, _) = read(send(&mut service, with_deadline(question("?"), SECOND)).await).await;
    assert_eq!(
        (strategy(&head), clock::now() - started),
        (Some(FallbackKind::StaticResponse), SECOND + TICK)
    );
    assert_eq!(other.live_futures(), 0);
}
