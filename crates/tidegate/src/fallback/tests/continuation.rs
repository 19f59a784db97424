use std::time::Duration;

use http::Request;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tidegate_testkit::contract;
use tidegate_testkit::strict::{Answer, Handle};
use tower::Layer;

use crate::fallback::cutoff::TICK;
use crate::fallback::{AnswerCache, FallbackLayer, TargetStatistics};
use crate::providers::continuation::StreamContinuation;
use crate::testing::{send, strict};
use crate::{
    AttemptBudget, ClassifyLayer, Deadline, ErrorCode, FailureKind, HttpService, Outcome, Payload, Rejection,
    Trail, Verdict, clock,
    providers::{Provider, ProviderClassifier},
};

fn question() -> Request<Payload> {
    let body = json!({"stream": true, "messages": [{"role": "user", "content": "A tale."}]}).to_string();
    Request::post("http://provider/v1/chat/completions").body(Payload::from(body)).unwrap()
}

fn chunk(id: &str, delta: Value) -> String {
    let choice = json!({"index": 0, "delta": delta, "finish_reason": null});
    format!("data: {}\n\n", json!({"id": id, "choices": [choice]}))
}

fn word(id: &str, word: &str) -> String {
    chunk(id, json!({"content": word}))
}

fn stream(provider: &Handle) -> Answer {
    provider.answer(200).header("content-type", "text/event-stream")
}

const DONE: &str = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";

/// A chain of three, each behind its own wire.
struct Chain {
    layer: FallbackLayer,
    targets: [Handle; 3],
    service: crate::fallback::Fallback<crate::classify::Classify<tidegate_testkit::strict::Strict<Payload>>>,
}

fn chain(change: impl FnOnce(FallbackLayer) -> FallbackLayer) -> Chain {
    let wire = ClassifyLayer::new(ProviderClassifier::new(Provider::OpenAi));
    let [(first, a), (second, b), (third, c)] = [strict(), strict(), strict()];
    let layer = FallbackLayer::new().then("b/two", wire.layer(second)).then("c/three", wire.layer(third));
    let layer = change(layer);
    let service = layer.layer(wire.layer(first));
    Chain { layer, targets: [a, b, c], service }
}

fn continuing() -> Chain {
    chain(|layer| layer.continue_streams(StreamContinuation))
}

/// The whole answer, and how it ended.
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
async fn the_next_target_goes_on_with_the_text_in_the_same_stream() {
    let Chain { layer, targets: [a, b, c], mut service } = continuing();
    stream(&a).frame(word("a", "Once ")).frame(word("a", "upon")).frame("data: {\"ha").break_off("reset");
    stream(&b).frame(word("b", " a time")).frame(DONE);
    let (text, outcome, trail) = read(&mut service, question()).await;
    assert_eq!(outcome, Outcome::Success);
    let begun = word("a", "Once ") + &word("a", "upon");
    let rest = text.strip_prefix(&*begun).unwrap();
    assert!(
        rest.starts_with(": continued by b/two\n\ndata: {") && rest.ends_with("data: [DONE]\n\n"),
        "{rest}"
    );
    assert!(
        rest.contains(" a time") && rest.contains("\"id\":\"a\"") && !rest.contains("\"id\":\"b\""),
        "{rest}"
    );
    let asked: Value = serde_json::from_slice(b.requests()[0].body.as_deref().unwrap()).unwrap();
    assert_eq!(asked["messages"][1], json!({"role": "assistant", "content": "Once upon"}));
    let because = Some(ErrorCode::ServerError);
    let verdicts: Vec<_> = trail.unwrap().steps().into_iter().map(|step| step.verdict).collect();
    assert_eq!(
        verdicts,
        [Verdict::Answered, Verdict::Continued { by: "b/two".into(), because }, Verdict::Answered]
    );
    let expected = TargetStatistics {
        target: "b/two".into(),
        priority: 1,
        asked: 1,
        answered: 1,
        passed_over: 0,
        recent: 1,
        recent_answered: 1,
    };
    assert_eq!((&layer.handle().statistics()[0], c.calls()), (&expected, 0));
}

#[tokio::test(start_paused = true)]
async fn the_broken_stream_is_gone_before_another_is_asked_for() {
    // Without a wire, which lets go of a broken stream by itself.
    let ((first, a), (second, b)) = (strict(), strict());
    let mut service =
        FallbackLayer::new().then("b/two", second).continue_streams(StreamContinuation).layer(first);
    stream(&a).frame(word("a", "x")).break_off("reset");
    let held = stream(&b).frame(word("b", "y")).frame(DONE).hold();
    let mut body = send(&mut service, question()).await.unwrap().into_body();
    body.frame().await.unwrap().unwrap();
    let mut next = tokio_test::task::spawn(async move { body.frame().await });
    assert!(next.poll().is_pending());
    assert_eq!((a.live_bodies(), b.calls()), (0, 1));
    // The reader leaves: nothing is left behind.
    drop(next);
    assert_eq!((b.live_futures(), b.live_bodies()), (0, 0));
    held.release();
}

#[tokio::test(start_paused = true)]
async fn a_second_break_is_gone_on_with_by_a_third() {
    let Chain { targets: [a, b, c], mut service, .. } = continuing();
    stream(&a).frame(word("a", "one ")).break_off("reset");
    stream(&b).frame(word("b", "two ")).frame("data: {\"error\":{\"type\":\"server_error\"}}\n\n");
    stream(&c).frame(word("c", "three")).frame(DONE);
    let (text, outcome, _) = read(&mut service, question()).await;
    assert_eq!(outcome, Outcome::Success);
    assert!(
        !text.contains("error") && text.contains("one ") && text.contains("two ") && text.contains("three"),
        "{text}"
    );
    let asked: Value = serde_json::from_slice(c.requests()[0].body.as_deref().unwrap()).unwrap();
    assert_eq!(asked["messages"][1]["content"], "one two ");
    assert_eq!(text.matches("x_tidegate").count(), 2);
}

#[tokio::test(start_paused = true)]
async fn where_nobody_goes_on_the_reader_gets_every_byte_and_the_error_of_the_stream_that_broke() {
    let Chain { targets: [a, b, c], mut service, .. } = continuing();
    let error = "data: {\"error\":{\"type\":\"overloaded_error\"}}\n\n";
    stream(&a).frame(word("a", "x")).frame(error);
    b.answer(500);
    // An answer, but not one that could be part of a stream.
    c.answer(200).header("content-type", "application/json").body("{}");
    let (text, outcome, _) = read(&mut service, question()).await;
    assert_eq!(text, word("a", "x") + error);
    let failure = outcome.failure().unwrap().clone();
    assert_eq!((failure.cause, failure.code), (FailureKind::InBand, ErrorCode::Overloaded));
    assert_eq!((b.calls(), c.calls()), (1, 1));
}

/// P31: a continuation spliced tool calls. (litellm 31067)
#[tokio::test(start_paused = true)]
async fn p31_a_stream_that_calls_a_tool_ends_in_its_error() {
    let Chain { targets: [a, b, _], mut service, .. } = continuing();
    let call = json!({"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": "{"}}]});
    stream(&a).frame(word("a", "let me see")).frame(chunk("a", call.clone())).break_off("reset");
    let mut request = question();
    let attempts = AttemptBudget::new(2);
    request.extensions_mut().insert(attempts.clone());
    let (text, outcome, _) = read(&mut service, request).await;
    assert_eq!(attempts.remaining(), 1, "nobody was asked");
    assert_eq!(text, word("a", "let me see") + &chunk("a", call));
    assert!(outcome.failure().is_some());
    assert_eq!(b.calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn off_by_default_and_only_for_what_another_may_do_better() {
    let Chain { targets: [a, b, _], mut service, .. } = chain(|layer| layer);
    stream(&a).frame(word("a", "x")).break_off("reset");
    let (text, outcome, _) = read(&mut service, question()).await;
    assert_eq!((text, outcome.failure().is_some(), b.calls()), (word("a", "x"), true, 0));

    let Chain { targets: [a, b, _], mut service, .. } = continuing();
    let invalid = "data: {\"error\":{\"type\":\"invalid_request_error\"}}\n\n";
    stream(&a).frame(word("a", "x")).frame(invalid);
    let (text, outcome, _) = read(&mut service, question()).await;
    assert_eq!((text, b.calls()), (word("a", "x") + invalid, 0));
    assert_eq!(outcome.failure().unwrap().code, ErrorCode::InvalidRequest);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_holds_is_the_providers_byte_for_byte() {
    let Chain { targets: [a, b, _], mut service, .. } = continuing();
    let whole = word("a", "Once") + ": ping\r\n\r\n" + &word("a", " upon") + DONE;
    let whole = whole.trim_end().to_owned();
    stream(&a).frame(whole[..30].to_owned()).frame(whole[30..].to_owned());
    let (text, outcome, _) = read(&mut service, question()).await;
    assert_eq!((text, outcome, b.calls()), (whole, Outcome::Success, 0));
}

#[tokio::test(start_paused = true)]
async fn nobody_is_asked_past_the_deadline_and_a_wait_for_somebody_ends_with_it() {
    let with_deadline = || {
        let mut request = question();
        Deadline::after(Duration::from_secs(5), clock::now()).tighten(request.extensions_mut());
        request
    };
    let Chain { targets: [a, b, _], mut service, .. } = continuing();
    stream(&a).frame(word("a", "x")).pause(Duration::from_secs(5)).break_off("reset");
    let (_, outcome, _) = read(&mut service, with_deadline()).await;
    assert!(outcome.failure().is_some());
    assert_eq!(b.calls(), 0);

    let Chain { targets: [a, b, _], mut service, .. } = continuing();
    stream(&a).frame(word("a", "x")).break_off("reset");
    b.block();
    let started = clock::now();
    let (_, outcome, _) = read(&mut service, with_deadline()).await;
    assert_eq!((clock::now() - started, b.calls()), (Duration::from_secs(5), 0));
    assert!(outcome.failure().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_refusal_of_ours_is_passed_over_like_any_other_failure() {
    let Chain { targets: [a, b, c], mut service, .. } = continuing();
    stream(&a).frame(word("a", "x")).break_off("reset");
    b.fail_with(|| Rejection::new(crate::Gate::CircuitBreaker, ErrorCode::Overloaded).into());
    stream(&c).frame(word("c", "y")).frame(DONE);
    let (text, outcome, _) = read(&mut service, question()).await;
    assert_eq!((outcome, text.contains(": continued by c/three")), (Outcome::Success, true));
}

/// Half of one model's answer and half of another's was remembered as the answer of the first.
#[tokio::test(start_paused = true)]
async fn what_two_models_have_said_is_not_remembered() {
    for breaks in [false, true] {
        let ((first, a), (second, b)) = (strict(), strict());
        let wire = ClassifyLayer::new(ProviderClassifier::new(Provider::OpenAi));
        let cache = AnswerCache::new();
        let chain = FallbackLayer::new().then("b/two", wire.layer(second)).then_cached(cache.clone());
        let mut service = chain.continue_streams(StreamContinuation).layer(wire.layer(first));
        let answer = stream(&a).frame(word("a", "x"));
        if breaks {
            answer.break_off("reset");
        } else {
            answer.frame(DONE);
        }
        stream(&b).frame(word("b", "y")).frame(DONE);
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

/// With trailers a truncated stream ended clean, and a good one was one whose reader had left.
#[tokio::test(start_paused = true)]
async fn trailers_are_told_at_the_end_and_are_not_the_end() {
    let Chain { targets: [a, b, _], mut service, .. } = continuing();
    stream(&a).frame(word("a", "x")).trailers(trailers());
    stream(&b).frame(word("b", "y")).frame(DONE);
    let (text, outcome, _) = read(&mut service, question()).await;
    assert!(text.contains("continued by b/two") && outcome == Outcome::Success, "{text}");

    let Chain { targets: [a, b, c], mut service, .. } = continuing();
    stream(&a).frame(word("a", "x")).trailers(trailers());
    b.answer(500);
    c.answer(500);
    let mut body = send(&mut service, question()).await.unwrap().into_body();
    body.frame().await.unwrap().unwrap();
    let error = body.frame().await.unwrap().unwrap_err();
    assert_eq!(Outcome::of_error(&*error).failure().unwrap().cause, FailureKind::Truncated);

    let Chain { targets: [a, ..], mut service, .. } = continuing();
    stream(&a).frame(word("a", "x")).frame(DONE).trailers(trailers()).pause(Duration::from_millis(1));
    let body = send(&mut service, question()).await.unwrap().into_body();
    let collected = body.collect().await.unwrap();
    assert_eq!((collected.trailers(), a.finished_bodies(), a.dropped_bodies()), (Some(&trailers()), 1, 0));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_cannot_be_part_of_the_stream_is_passed_over() {
    const MESSAGE: &str = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{}}\n\n\
        event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"y\"}}\n\n\
        event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";
    // In another dialect; failed before its first token; and refused, since the request was not the caller's.
    let answers: [fn(&Handle); 3] = [
        |b| drop(stream(b).frame(MESSAGE)),
        |b| drop(stream(b).frame("data: {\"error\":{\"type\":\"server_error\"}}\n\n")),
        |b| {
            b.answer(400).body("{\"error\":{\"type\":\"invalid_request_error\",\"message\":\"no prefix\"}}");
        },
    ];
    for answer in answers {
        let Chain { targets: [a, b, c], mut service, .. } = continuing();
        stream(&a).frame(word("a", "x")).break_off("reset");
        answer(&b);
        stream(&c).frame(word("c", "z")).frame(DONE);
        let (text, outcome, _) = read(&mut service, question()).await;
        assert_eq!((outcome, b.calls(), c.calls()), (Outcome::Success, 1, 1), "{text}");
        assert!(
            !text.contains("message_stop") && !text.contains("error") && text.contains("c/three"),
            "{text}"
        );
    }
}

/// A target may be a chain with last resorts of its own: "sorry" stood in the middle of a sentence.
#[tokio::test(start_paused = true)]
async fn a_composed_answer_is_no_rest_of_a_stream() {
    let wire = ClassifyLayer::new(ProviderClassifier::new(Provider::OpenAi));
    let [(first, a), (second, b), (third, c)] = [strict(), strict(), strict()];
    let inner = FallbackLayer::new().then_static().layer(wire.layer(second));
    let layer = FallbackLayer::new().then("b/two", inner).then("c/three", wire.layer(third));
    let mut service = layer.continue_streams(StreamContinuation).layer(wire.layer(first));
    stream(&a).frame(word("a", "Once upon")).break_off("reset");
    b.answer(503);
    stream(&c).frame(word("c", " a time")).frame(DONE);
    let (text, outcome, _) = read(&mut service, question()).await;
    assert_eq!((outcome, b.calls(), c.calls()), (Outcome::Success, 1, 1));
    assert!(text.contains(" a time") && !text.contains("orry"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_target_that_knows_no_deadline_does_not_hold_the_stream_past_it() {
    let ((first, a), (second, b)) = (strict(), strict());
    let wire = ClassifyLayer::new(ProviderClassifier::new(Provider::OpenAi));
    let chain = FallbackLayer::new().then("b/two", second).continue_streams(StreamContinuation);
    let mut service = chain.layer(wire.layer(first));
    stream(&a).frame(word("a", "x")).break_off("reset");
    b.hang();
    let mut request = question();
    Deadline::after(Duration::from_secs(5), clock::now()).tighten(request.extensions_mut());
    let started = clock::now();
    let (_, outcome, _) = read(&mut service, request).await;
    assert_eq!((clock::now() - started, b.live_futures()), (Duration::from_secs(5) + TICK, 0));
    assert!(outcome.failure().is_some());
}

#[tokio::test(start_paused = true)]
async fn lengths_told_before_are_corrected() {
    let Chain { targets: [a, b, _], mut service, .. } = continuing();
    stream(&a).header("content-length", "9000").frame(word("a", "x")).break_off("reset");
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
    let asked = &b.requests()[0];
    let told: usize = asked.headers["content-length"].to_str().unwrap().parse().unwrap();
    assert_eq!(told, asked.body.as_deref().unwrap().len());
}
