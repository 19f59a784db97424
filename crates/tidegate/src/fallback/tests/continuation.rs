use std::time::Duration;

use http::Request;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tidegate_testkit::contract;
use tidegate_testkit::strict::{Answer, Handle};
use tower::Layer;

use crate::fallback::deadline_guard::TICK;
use crate::fallback::{AnswerCache, FallbackLayer, TargetStatistics};
use crate::hedge::HedgeLayer;
use crate::testing::{SECOND, chat_request, send, strict, with, with_deadline};
use crate::translators::StreamContinuation;
use crate::{
    AttemptBudget, ClassifyLayer, ErrorCode, FailureKind, HttpService, Outcome, Payload, Rejection, Trail,
    Verdict, clock,
    providers::{Provider, ProviderClassifier},
};

fn question() -> Request<Payload> {
    let body = json!({"stream": true, "messages": [{"role": "user", "content": "A tale."}]});
    chat_request(body)
}

fn chunk(id: &str, delta: Value) -> String {
    let choice = json!({"index": 0, "delta": delta, "finish_reason": null});
    format!("data: {}\n\n", json!({"id": id, "choices": [choice]}))
}

fn text_chunk(id: &str, text_chunk: &str) -> String {
    chunk(id, json!({"content": text_chunk}))
}

fn stream(provider: &Handle) -> Answer {
    provider.answer(200).header("content-type", "text/event-stream")
}

const DONE: &str = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";

/// A chain of three targets, each behind its own wire.
struct TestChain {
    layer: FallbackLayer,
    targets: [Handle; 3],
    service: crate::fallback::Fallback<crate::classify::Classify<tidegate_testkit::strict::Strict<Payload>>>,
}

fn chain(change: impl FnOnce(FallbackLayer) -> FallbackLayer) -> TestChain {
    let wire = ClassifyLayer::new(ProviderClassifier::new(Provider::OpenAi));
    let [(first, a), (second, b), (third, c)] = [strict(), strict(), strict()];
    let layer = FallbackLayer::new().then("b/two", wire.layer(second)).then("c/three", wire.layer(third));
    let layer = change(layer);
    let service = layer.layer(wire.layer(first));
    TestChain { layer, targets: [a, b, c], service }
}

fn continuing_chain() -> TestChain {
    chain(|layer| layer.continue_streams(StreamContinuation))
}

/// The whole body, and its outcome.
async fn read<S>(service: &mut S, request: Request<Payload>) -> (String, Outcome, Option<Trail>)
where
    S: HttpService<Payload, Body: http_body::Body<Data = bytes::Bytes> + Unpin>,
{
    let response = send(service, request).await.unwrap();
    let trail = Trail::of(response.extensions()).cloned();
    let (mut body, mut bytes) = (response.into_body(), Vec::new());
    let outcome = loop {
        match body.frame().await {
            Some(Ok(frame)) => bytes.extend(frame.into_data().expect("no trailers")),
            Some(Err(error)) => break Outcome::of_error(&*error.into()),
            None => break Outcome::Success,
        }
    };
    (String::from_utf8(bytes).unwrap(), outcome, trail)
}

#[tokio::test(start_paused = true)]
async fn keeps_towers_contract() {
    contract::check(|inner| {
        FallbackLayer::new().then("other", strict().0).continue_streams(StreamContinuation).layer(inner)
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_next_target_continues_the_text_in_the_same_stream() {
    let TestChain { layer, targets: [a, b, c], mut service } = continuing_chain();
    stream(&a)
        .frame(text_chunk("a", "Once "))
        .frame(text_chunk("a", "upon"))
        .frame("data: {\"ha")
        .break_off("reset");
    stream(&b).frame(text_chunk("b", " a time")).frame(DONE);
    let (text, outcome, trail) = read(&mut service, question()).await;
    assert_eq!(outcome, Outcome::Success);
    let before_break = text_chunk("a", "Once ") + &text_chunk("a", "upon");
    let rest = text.strip_prefix(&*before_break).unwrap();
    assert!(
        rest.starts_with(": continued by b/two\n\ndata: {") && rest.ends_with("data: [DONE]\n\n"),
        "{rest}"
    );
    assert!(
        rest.contains(" a time") && rest.contains("\"id\":\"a\"") && !rest.contains("\"id\":\"b\""),
        "{rest}"
    );
    let sent: Value = serde_json::from_slice(b.requests()[0].body.as_deref().unwrap()).unwrap();
    assert_eq!(sent["messages"][1], json!({"role": "assistant", "content": "Once upon"}));
    let because = Some(ErrorCode::ServerError);
    let verdicts: Vec<_> = trail.unwrap().steps().into_iter().map(|step| step.verdict).collect();
    assert_eq!(
        verdicts,
        [Verdict::Succeeded, Verdict::Continued { by: "b/two".into(), because }, Verdict::Succeeded]
    );
    let expected = TargetStatistics {
        target: "b/two".into(),
        position: 1,
        calls: 1,
        successes: 1,
        skips: 0,
        recent: 1,
        recent_successes: 1,
        success_rate: Some(1.0),
    };
    assert_eq!((&layer.handle().statistics()[0], c.calls()), (&expected, 0));
}

/// To the end of the stream it would make the target look slow, and no call at it would be hedged.
#[tokio::test(start_paused = true)]
async fn a_continuation_is_measured_to_its_first_token() {
    let hedge = HedgeLayer::new().min_samples(5).max_extra_requests(1.0).max_extra_tokens(1.0);
    let TestChain { targets: [a, b, c], mut service, .. } =
        chain(|layer| layer.continue_streams(StreamContinuation).hedge(hedge));
    for _ in 0..5 {
        stream(&a).frame(text_chunk("a", "Once ")).break_off("reset");
        stream(&b).after(SECOND).frame(text_chunk("b", "upon")).pause(600 * SECOND).frame(DONE);
        read(&mut service, question()).await;
    }
    a.answer(503);
    b.hang();
    stream(&c).frame(text_chunk("c", "Once")).frame(DONE);
    let start = clock::now();
    let (text, outcome, _) = tokio::time::timeout(60 * SECOND, read(&mut service, question())).await.unwrap();
    assert_eq!((outcome, (clock::now() - start).as_secs()), (Outcome::Success, 1), "{text}");
}

#[tokio::test(start_paused = true)]
async fn the_broken_stream_is_dropped_before_the_next_call() {
    // Without a wire, which drops a broken stream by itself.
    let ((first, a), (second, b)) = (strict(), strict());
    let mut service =
        FallbackLayer::new().then("b/two", second).continue_streams(StreamContinuation).layer(first);
    stream(&a).frame(text_chunk("a", "x")).break_off("reset");
    let held = stream(&b).frame(text_chunk("b", "y")).frame(DONE).hold();
    let mut body = send(&mut service, question()).await.unwrap().into_body();
    body.frame().await.unwrap().unwrap();
    let mut next = tokio_test::task::spawn(async move { body.frame().await });
    assert!(next.poll().is_pending());
    assert_eq!((a.live_bodies(), b.calls()), (0, 1));
    // The caller drops the body: nothing is left behind.
    drop(next);
    assert_eq!((b.live_futures(), b.live_bodies()), (0, 0));
    held.release();
}

#[tokio::test(start_paused = true)]
async fn a_third_target_continues_after_a_second_break() {
    let TestChain { targets: [a, b, c], mut service, .. } = continuing_chain();
    stream(&a).frame(text_chunk("a", "one ")).break_off("reset");
    stream(&b).frame(text_chunk("b", "two ")).frame("data: {\"error\":{\"type\":\"server_error\"}}\n\n");
    stream(&c).frame(text_chunk("c", "three")).frame(DONE);
    let (text, outcome, _) = read(&mut service, question()).await;
    assert_eq!(outcome, Outcome::Success);
    assert!(
        !text.contains("error") && text.contains("one ") && text.contains("two ") && text.contains("three"),
        "{text}"
    );
    let sent: Value = serde_json::from_slice(c.requests()[0].body.as_deref().unwrap()).unwrap();
    assert_eq!(sent["messages"][1]["content"], "one two ");
    assert_eq!(text.matches("x_tidegate").count(), 2);
}

#[tokio::test(start_paused = true)]
async fn without_a_continuation_the_caller_gets_every_byte_and_the_original_error() {
    let TestChain { targets: [a, b, c], mut service, .. } = continuing_chain();
    let error = "data: {\"error\":{\"type\":\"overloaded_error\"}}\n\n";
    stream(&a).frame(text_chunk("a", "x")).frame(error);
    b.answer(500);
    // A response that cannot be part of a stream.
    c.answer(200).header("content-type", "application/json").body("{}");
    let (text, outcome, _) = read(&mut service, question()).await;
    assert_eq!(text, text_chunk("a", "x") + error);
    let failure = outcome.failure().unwrap().clone();
    assert_eq!((failure.kind, failure.code), (FailureKind::InBand, ErrorCode::Overloaded));
    assert_eq!((b.calls(), c.calls()), (1, 1));
}

/// Pitfall P31 (docs/pitfalls.md): a continuation spliced tool calls. (litellm 31067)
#[tokio::test(start_paused = true)]
async fn a_stream_with_a_tool_call_ends_with_its_error() {
    let TestChain { targets: [a, b, _], mut service, .. } = continuing_chain();
    let call = json!({"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": "{"}}]});
    stream(&a).frame(text_chunk("a", "let me see")).frame(chunk("a", call.clone())).break_off("reset");
    let attempts = AttemptBudget::new(2);
    let request = with(question(), attempts.clone());
    let (text, outcome, _) = read(&mut service, request).await;
    assert_eq!(attempts.remaining(), 1, "no attempt was taken");
    assert_eq!(text, text_chunk("a", "let me see") + &chunk("a", call));
    assert!(outcome.failure().is_some());
    assert_eq!(b.calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn is_off_by_default_and_only_for_fallbackable_errors() {
    let TestChain { targets: [a, b, _], mut service, .. } = chain(|layer| layer);
    stream(&a).frame(text_chunk("a", "x")).break_off("reset");
    let (text, outcome, _) = read(&mut service, question()).await;
    assert_eq!((text, outcome.failure().is_some(), b.calls()), (text_chunk("a", "x"), true, 0));

    let TestChain { targets: [a, b, _], mut service, .. } = continuing_chain();
    let invalid = "data: {\"error\":{\"type\":\"invalid_request_error\"}}\n\n";
    stream(&a).frame(text_chunk("a", "x")).frame(invalid);
    let (text, outcome, _) = read(&mut service, question()).await;
    assert_eq!((text, b.calls()), (text_chunk("a", "x") + invalid, 0));
    assert_eq!(outcome.failure().unwrap().code, ErrorCode::InvalidRequest);
}

#[tokio::test(start_paused = true)]
async fn an_unbroken_stream_passes_byte_for_byte() {
    let TestChain { targets: [a, b, _], mut service, .. } = continuing_chain();
    let whole = text_chunk("a", "Once") + ": ping\r\n\r\n" + &text_chunk("a", " upon") + DONE;
    let whole = whole.trim_end().to_owned();
    stream(&a).frame(whole[..30].to_owned()).frame(whole[30..].to_owned());
    let (text, outcome, _) = read(&mut service, question()).await;
    assert_eq!((text, outcome, b.calls()), (whole, Outcome::Success, 0));
}

#[tokio::test(start_paused = true)]
async fn no_target_is_called_after_the_deadline_and_a_wait_ends_with_it() {
    let with_deadline = || with_deadline(question(), Duration::from_secs(5));
    let TestChain { targets: [a, b, _], mut service, .. } = continuing_chain();
    stream(&a).frame(text_chunk("a", "x")).pause(Duration::from_secs(5)).break_off("reset");
    let (_, outcome, _) = read(&mut service, with_deadline()).await;
    assert!(outcome.failure().is_some());
    assert_eq!(b.calls(), 0);

    let TestChain { targets: [a, b, _], mut service, .. } = continuing_chain();
    stream(&a).frame(text_chunk("a", "x")).break_off("reset");
    b.block();
    let started = clock::now();
    let (_, outcome, _) = read(&mut service, with_deadline()).await;
    assert_eq!((clock::now() - started, b.calls()), (Duration::from_secs(5), 0));
    assert!(outcome.failure().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_rejection_is_handled_like_any_other_failure() {
    let TestChain { targets: [a, b, c], mut service, .. } = continuing_chain();
    stream(&a).frame(text_chunk("a", "x")).break_off("reset");
    b.fail_with(|| Rejection::new(crate::Gate::CircuitBreaker, ErrorCode::Overloaded).into());
    stream(&c).frame(text_chunk("c", "y")).frame(DONE);
    let (text, outcome, _) = read(&mut service, question()).await;
    assert_eq!((outcome, text.contains(": continued by c/three")), (Outcome::Success, true));
}

/// Regression: half of one model's answer and half of another's were cached as the answer of the first.
#[tokio::test(start_paused = true)]
async fn a_spliced_answer_is_not_cached() {
    for breaks in [false, true] {
        let ((first, a), (second, b)) = (strict(), strict());
        let wire = ClassifyLayer::new(ProviderClassifier::new(Provider::OpenAi));
        let cache = AnswerCache::new();
        let chain = FallbackLayer::new().then("b/two", wire.layer(second)).then_cached(cache.clone());
        let mut service = chain.continue_streams(StreamContinuation).layer(wire.layer(first));
        let answer = stream(&a).frame(text_chunk("a", "x"));
        if breaks {
            answer.break_off("reset");
        } else {
            answer.frame(DONE);
        }
        stream(&b).frame(text_chunk("b", "y")).frame(DONE);
        let (text, outcome, _) = read(&mut service, question()).await;
        assert_eq!((outcome, text.contains(": continued by b/two")), (Outcome::Success, breaks));
        assert_eq!(cache.len(), usize::from(!breaks));
    }
}

fn trailers() -> http::HeaderMap {
    http::HeaderMap::from_iter([(
        http::HeaderName::from_static("x-end"),
        http::HeaderValue::from_static("1"),
    )])
}

/// Regression: with trailers, a truncated stream ended without an error, and a complete one counted as
/// dropped by the caller.
#[tokio::test(start_paused = true)]
async fn trailers_are_delivered_at_the_end_and_do_not_end_the_stream() {
    let TestChain { targets: [a, b, _], mut service, .. } = continuing_chain();
    stream(&a).frame(text_chunk("a", "x")).trailers(trailers());
    stream(&b).frame(text_chunk("b", "y")).frame(DONE);
    let (text, outcome, _) = read(&mut service, question()).await;
    assert!(text.contains("continued by b/two") && outcome == Outcome::Success, "{text}");

    let TestChain { targets: [a, b, c], mut service, .. } = continuing_chain();
    stream(&a).frame(text_chunk("a", "x")).trailers(trailers());
    b.answer(500);
    c.answer(500);
    let mut body = send(&mut service, question()).await.unwrap().into_body();
    body.frame().await.unwrap().unwrap();
    let error = body.frame().await.unwrap().unwrap_err();
    assert_eq!(Outcome::of_error(&*error).failure().unwrap().kind, FailureKind::Truncated);

    let TestChain { targets: [a, ..], mut service, .. } = continuing_chain();
    stream(&a).frame(text_chunk("a", "x")).frame(DONE).trailers(trailers()).pause(Duration::from_millis(1));
    let body = send(&mut service, question()).await.unwrap().into_body();
    let collected = body.collect().await.unwrap();
    assert_eq!((collected.trailers(), a.finished_bodies(), a.dropped_bodies()), (Some(&trailers()), 1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_response_that_cannot_be_spliced_is_skipped() {
    const MESSAGE: &str = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{}}\n\n\
        event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"y\"}}\n\n\
        event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";
    // In another dialect; failed before its first token; and rejected, since the request was not the
    // caller's.
    let answers: [fn(&Handle); 3] = [
        |b| drop(stream(b).frame(MESSAGE)),
        |b| drop(stream(b).frame("data: {\"error\":{\"type\":\"server_error\"}}\n\n")),
        |b| {
            b.answer(400).body("{\"error\":{\"type\":\"invalid_request_error\",\"message\":\"no prefix\"}}");
        },
    ];
    for answer in answers {
        let TestChain { targets: [a, b, c], mut service, .. } = continuing_chain();
        stream(&a).frame(text_chunk("a", "x")).break_off("reset");
        answer(&b);
        stream(&c).frame(text_chunk("c", "z")).frame(DONE);
        let (text, outcome, _) = read(&mut service, question()).await;
        assert_eq!((outcome, b.calls(), c.calls()), (Outcome::Success, 1, 1), "{text}");
        assert!(
            !text.contains("message_stop") && !text.contains("error") && text.contains("c/three"),
            "{text}"
        );
    }
}

/// Regression: a target may be a chain with last resorts of its own, and "sorry" appeared in the middle of a
/// sentence.
#[tokio::test(start_paused = true)]
async fn a_composed_answer_does_not_continue_a_stream() {
    let wire = ClassifyLayer::new(ProviderClassifier::new(Provider::OpenAi));
    let [(first, a), (second, b), (third, c)] = [strict(), strict(), strict()];
    let inner = FallbackLayer::new().then_static().layer(wire.layer(second));
    let layer = FallbackLayer::new().then("b/two", inner).then("c/three", wire.layer(third));
    let mut service = layer.continue_streams(StreamContinuation).layer(wire.layer(first));
    stream(&a).frame(text_chunk("a", "Once upon")).break_off("reset");
    b.answer(503);
    stream(&c).frame(text_chunk("c", " a time")).frame(DONE);
    let (text, outcome, _) = read(&mut service, question()).await;
    assert_eq!((outcome, b.calls(), c.calls()), (Outcome::Success, 1, 1));
    assert!(text.contains(" a time") && !text.contains("orry"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_target_without_a_deadline_is_cancelled_at_the_deadline() {
    let ((first, a), (second, b)) = (strict(), strict());
    let wire = ClassifyLayer::new(ProviderClassifier::new(Provider::OpenAi));
    let chain = FallbackLayer::new().then("b/two", second).continue_streams(StreamContinuation);
    let mut service = chain.layer(wire.layer(first));
    stream(&a).frame(text_chunk("a", "x")).break_off("reset");
    b.hang();
    let request = with_deadline(question(), Duration::from_secs(5));
    let started = clock::now();
    let (_, outcome, _) = read(&mut service, request).await;
    assert_eq!((clock::now() - started, b.live_futures()), (Duration::from_secs(5) + TICK, 0));
    assert!(outcome.failure().is_some());
}

#[tokio::test(start_paused = true)]
async fn content_lengths_are_corrected() {
    let TestChain { targets: [a, b, _], mut service, .. } = continuing_chain();
    stream(&a).header("content-length", "9000").frame(text_chunk("a", "x")).break_off("reset");
    stream(&b).frame(DONE);
    let mut request = question();
    let length = request.body().bytes().unwrap().len();
    request.headers_mut().insert("content-length", length.into());
    let response = send(&mut service, request).await.unwrap();
    assert_eq!(response.headers().get("content-length"), None);
    let mut body = response.into_body();
    while let Some(frame) = body.frame().await {
        frame.unwrap();
    }
    assert!(http_body::Body::is_end_stream(&body));
    let sent = &b.requests()[0];
    let content_length: usize = sent.headers["content-length"].to_str().unwrap().parse().unwrap();
    assert_eq!(content_length, sent.body.as_deref().unwrap().len());
}
