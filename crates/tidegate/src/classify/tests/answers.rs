//! A success has to show an answer, in the form that was requested.

use std::time::Duration;

use http::{Method, Request};
use http_body::Body;
use http_body_util::BodyExt;
use proptest::prelude::*;
use tidegate_providers::{Provider, ProviderClassifier};
use tidegate_testkit::strict::Answer;
use tower::Layer;

use crate::circuit_breaker::State;
use crate::classify::ERROR_BODY_LIMIT;
use crate::testing::{chat_request, paused, send, strict, strict_behind, with};
use crate::{
    CircuitBreakerLayer, ClassifyLayer, ErrorCode, FailureKind, FallbackLayer, Outcome, Payload,
    RateLimitLayer, ResilienceBuilder, RetryLayer, TimeoutLayer, UsageMeter, clock,
};

const CHAT: &str = "/v1/chat/completions";
const MESSAGES: &str = "/v1/messages";
const RESPONSES: &str = "/v1/responses";
const GEMINI: &str = "/v1beta/models/g:generateContent";
const GEMINI_STREAM: &str = "/v1beta/models/g:streamGenerateContent?alt=sse";
const COHERE: &str = "/v2/chat";
const EMBEDDINGS: &str = "/v1/embeddings";

const CHAT_ANSWER: &str = r#"{"id":"c","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"a b"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":2}}"#;
const CHAT_EVENTS: &str = "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"a\"}}]}\n\ndata: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\" b\"}}]}\n\ndata: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
const MESSAGE: &str = r#"{"id":"m","type":"message","role":"assistant","content":[{"type":"text","text":"a b"}],"stop_reason":"end_turn","usage":{"input_tokens":3,"output_tokens":2}}"#;
const MESSAGE_EVENTS: &str = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"m\",\"type\":\"message\",\"role\":\"assistant\",\"content\":[],\"usage\":{\"input_tokens\":3}}}\n\nevent: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\nevent: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"a b\"}}\n\nevent: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\nevent: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":2}}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n";
const RESPONSE: &str = r#"{"id":"r","object":"response","status":"completed","output":[{"id":"i","type":"message","content":[{"type":"output_text","text":"a b"}]}]}"#;
const RESPONSE_EVENTS: &str = "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"delta\":\"a b\"}\n\nevent: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"id\":\"r\",\"object\":\"response\",\"status\":\"completed\",\"output\":[{\"id\":\"i\",\"type\":\"message\",\"content\":[{\"type\":\"output_text\",\"text\":\"a b\"}]}]}}\n\n";
const GEMINI_ANSWER: &str =
    r#"{"candidates":[{"content":{"role":"model","parts":[{"text":"a b"}]},"finishReason":"STOP"}]}"#;
const GEMINI_EVENTS: &str = "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"a b\"}]}}]}\n\ndata: {\"candidates\":[{\"finishReason\":\"STOP\"}]}\n\n";
const COHERE_ANSWER: &str = r#"{"id":"k","finish_reason":"COMPLETE","message":{"role":"assistant","content":[{"type":"text","text":"a b"}]}}"#;
const COHERE_EVENTS: &str = "data: {\"type\":\"message-start\",\"id\":\"k\"}\n\ndata: {\"type\":\"content-start\",\"index\":0,\"delta\":{\"message\":{\"content\":{\"type\":\"text\",\"text\":\"\"}}}}\n\ndata: {\"type\":\"content-delta\",\"index\":0,\"delta\":{\"message\":{\"content\":{\"text\":\"a b\"}}}}\n\ndata: {\"type\":\"message-end\",\"delta\":{\"finish_reason\":\"COMPLETE\"}}\n\n";
const VECTORS: &str = r#"{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.1,-0.2]}]}"#;

/// The path, whether a stream was requested, and a good answer in that form.
const GOOD: [(&str, bool, &str); 11] = [
    (CHAT, false, CHAT_ANSWER),
    (CHAT, true, CHAT_EVENTS),
    (MESSAGES, false, MESSAGE),
    (MESSAGES, true, MESSAGE_EVENTS),
    (RESPONSES, false, RESPONSE),
    (RESPONSES, true, RESPONSE_EVENTS),
    (GEMINI, false, GEMINI_ANSWER),
    (GEMINI_STREAM, true, GEMINI_EVENTS),
    (COHERE, false, COHERE_ANSWER),
    (COHERE, true, COHERE_EVENTS),
    (EMBEDDINGS, false, VECTORS),
];

/// What no endpoint answers with.
const NOTHING: [&str; 17] = [
    "",
    " \n",
    "{}",
    "[]",
    "[1]",
    "busy",
    "\"busy\"",
    "<!doctype html><html><body>Sign in</body></html>",
    r#"{"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":0}}"#,
    r#"{"type":"message","content":[]}"#,
    r#"{"object":"list","data":[]}"#,
    r#"{"detail":"upstream is busy"}"#,
    "data: [DONE]\n\n",
    "data: upstream is busy\n\ndata: [DONE]\n\n",
    "error: {\"code\":400,\"message\":\"x\"}\n\ndata: [DONE]\n\n",
    "data: {\"status\":\"warming up\"}\n\ndata: {\"status\":\"ready\"}\n\n",
    ": ping\n\nevent: ping\ndata: {\"type\":\"ping\"}\n\n",
];

fn posted(path: &str, is_stream: bool) -> Request<Payload> {
    let body =
        format!(r#"{{"model":"m","messages":[{{"content":"hi"}}],"input":"hi","stream":{is_stream}}}"#);
    let request = Request::post(format!("http://provider{path}"));
    // As every client of Anthropic's API sends it.
    let version = (path == MESSAGES).then_some("2023-06-01");
    let request =
        version.iter().fold(request, |request, version| request.header("anthropic-version", *version));
    request.body(Payload::from(body)).unwrap()
}

/// The answer in these pieces, with a length that nothing counts. It ends in a reset or like a complete one.
fn pieces(label: Option<&'static str>, pieces: &[&str], is_reset: bool) -> Answer {
    let answer = label.iter().fold(Answer::status(200), |answer, label| answer.header("content-type", label));
    let answer = pieces.iter().fold(answer, |answer, piece| answer.frame(piece.to_string()));
    if is_reset { answer.break_off("reset") } else { answer }
}

#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Complete(String),
    Broken,
    Failed(ErrorCode, FailureKind),
}

/// What a caller sees of the answer, from its head to its end.
async fn seen(request: Request<Payload>, answer: Answer) -> Seen {
    let (inner, provider) = strict();
    provider.then(answer);
    let failed = |outcome: Outcome| {
        let failure = outcome.failure().cloned()?;
        Some(Seen::Failed(failure.code, failure.kind))
    };
    let classifier = ProviderClassifier::new(Provider::OpenAi);
    let seen = match send(&mut ClassifyLayer::new(classifier).layer(inner), request).await {
        Err(error) => failed(Outcome::of_error(&error)).expect("a failure"),
        Ok(response) => match failed(Outcome::of(&response)) {
            Some(failed) => failed,
            None => match response.into_body().collect().await {
                Ok(body) => Seen::Complete(String::from_utf8(body.to_bytes().into()).unwrap()),
                Err(_) => Seen::Broken,
            },
        },
    };
    assert_eq!((provider.live_bodies(), provider.violations()), (0, vec![]));
    seen
}

#[tokio::test(start_paused = true)]
async fn a_success_without_an_answer_is_a_failure_of_the_provider_under_every_label() {
    for body in NOTHING {
        for label in [None, Some("application/json"), Some("text/event-stream"), Some("text/html")] {
            for (path, is_stream, _) in GOOD {
                let seen = seen(posted(path, is_stream), pieces(label, &[body], false)).await;
                let is_failure = matches!(
                    seen,
                    Seen::Failed(_, FailureKind::NoAnswer | FailureKind::InBand | FailureKind::Truncated)
                );
                assert!(is_failure, "{seen:?} for {body:?} as {label:?} at {path}");
            }
        }
    }
    for status in [200, 201, 204, 301, 302, 307] {
        let seen = seen(posted(CHAT, false), Answer::status(status)).await;
        assert_eq!(seen, Seen::Failed(ErrorCode::ServerError, FailureKind::NoAnswer), "{status}");
    }
}

/// Regression: a whole answer ended in an error, and was counted against the provider.
#[tokio::test(start_paused = true)]
async fn a_stream_without_a_terminator_is_complete_after_its_stop_reason_however_it_ends() {
    let chat = CHAT_EVENTS.strip_suffix("data: [DONE]\n\n").unwrap();
    let usage =
        "data: {\"id\":\"c\",\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2}}\n\n";
    let with_usage = format!("{chat}{usage}");
    let goes_on =
        format!("{chat}data: {{\"choices\":[{{\"index\":1,\"delta\":{{\"content\":\"a\"}}}}]}}\n\n");
    let unfinished = &chat[..chat.rfind("data:").unwrap()];
    for (provider, path, body, is_complete) in [
        (Provider::Other, CHAT, chat, true),
        (Provider::Other, CHAT, &with_usage, true),
        (Provider::Gemini, GEMINI_STREAM, GEMINI_EVENTS, true),
        // Another choice goes on, the stop reason is missing, or the terminator is.
        (Provider::Other, CHAT, &goes_on, false),
        (Provider::Other, CHAT, unfinished, false),
        (Provider::OpenAi, CHAT, chat, false),
        (Provider::Other, "/v1/unknown", "data: {\"x\":\"a\"}\n\n", false),
    ] {
        let answer = || pieces(Some("text/event-stream"), &[body], false);
        for answer in [answer().stall(), answer().break_off("reset")] {
            let (inner, upstream) = strict();
            upstream.then(answer);
            let mut service = ClassifyLayer::new(ProviderClassifier::new(provider)).layer(inner);
            let response = send(&mut service, posted(path, true)).await.unwrap();
            let seen = response.into_body().collect().await.map(|body| body.to_bytes());
            assert_eq!(seen.is_ok_and(|seen| seen == body), is_complete, "{provider} {body}");
            assert_eq!(upstream.live_bodies(), 0);
        }
        if path == "/v1/unknown" {
            continue;
        }
        // Put together, the answer is complete in the same cases.
        for answer in [answer().stall(), answer().break_off("reset")] {
            let (inner, upstream) = strict();
            upstream.then(answer);
            let stack = ResilienceBuilder::new("a/m").classify(ProviderClassifier::new(provider));
            let mut service = stack.attempt_timeout(Duration::from_secs(60)).service(inner);
            let path = if path == GEMINI_STREAM { GEMINI } else { path };
            let response = send(&mut service, posted(path, false)).await;
            let is_success = response.is_ok_and(|response| Outcome::borrow(&response).failure().is_none());
            assert_eq!(is_success, is_complete, "{provider} {body}");
            assert_eq!(upstream.live_bodies(), 0);
        }
    }
}

/// Regression: an answer that had arrived was waited for until its time was up, and a reset behind it was a failure.
#[tokio::test(start_paused = true)]
async fn the_terminator_ends_an_answer_that_is_put_together() {
    for pair in GOOD[..10].chunks(2) {
        let [(path, ..), (_, _, events)] = pair else { unreachable!() };
        if *path == GEMINI {
            continue; // Google sends none.
        }
        let answer = || pieces(Some("text/event-stream"), &[events], false);
        let Seen::Complete(whole) = seen(posted(path, false), answer()).await else { panic!("{path}") };
        for answer in [answer().stall(), answer().break_off("reset")] {
            let start = tokio::time::Instant::now();
            assert_eq!(seen(posted(path, false), answer).await, Seen::Complete(whole.clone()), "{path}");
            assert!(start.elapsed() <= Duration::from_secs(1), "{path}");
        }
    }
}

/// Regression: the end of the body made the first token an event, which no reader of the stream sees.
#[tokio::test(start_paused = true)]
async fn a_token_in_an_event_that_never_ended_commits_to_nothing() {
    let first = CHAT_EVENTS.find("\n\n").unwrap();
    for end in 0..2 {
        let answer = pieces(Some("text/event-stream"), &[&CHAT_EVENTS[..first + end]], false);
        let seen = seen(posted(CHAT, true), answer).await;
        assert!(matches!(seen, Seen::Failed(_, FailureKind::Truncated)), "{end}: {seen:?}");
    }
}

/// Regression: the order of the keys of a document decided whether half an answer was a success.
#[tokio::test(start_paused = true)]
async fn a_failure_behind_the_content_of_an_answer_is_one_of_the_provider() {
    let chat = CHAT_ANSWER.strip_suffix('}').unwrap();
    let bodies = [
        (CHAT, CHAT_ANSWER.replace("stop", "insufficient_system_resource"), ErrorCode::Overloaded),
        (CHAT, CHAT_ANSWER.replace("stop", "abort"), ErrorCode::ServerError),
        (CHAT, CHAT_ANSWER.replace("stop", "error"), ErrorCode::ServerError),
        (
            CHAT,
            format!(r#"{chat},"error":{{"message":"x","code":"rate_limit_exceeded"}}}}"#),
            ErrorCode::RateLimited,
        ),
        (
            RESPONSES,
            RESPONSE.replace(r#""status":"completed","#, "").replace("]}]}", r#"]}],"status":"failed"}"#),
            ErrorCode::ServerError,
        ),
        (
            COHERE,
            r#"{"message":{"content":[{"type":"text","text":"a"}]},"finish_reason":"TIMEOUT"}"#.into(),
            ErrorCode::Timeout,
        ),
    ];
    for (path, body, code) in bodies {
        for is_stream in [false, true] {
            let answer = pieces(Some("application/json"), &[&body], false);
            let seen = seen(posted(path, is_stream), answer).await;
            assert_eq!(seen, Seen::Failed(code, FailureKind::InBand), "{body} {is_stream}");
        }
        // Another target answers, and the tokens that were generated are counted.
        let ((first, primary), (second, other)) = (strict(), strict());
        primary.then(pieces(None, &[&body], false));
        let good = GOOD.iter().find(|(of, is_stream, _)| (*of, *is_stream) == (path, false)).unwrap().2;
        other.then(pieces(None, &[good], false));
        let wire = |inner| ClassifyLayer::new(ProviderClassifier::default()).layer(inner);
        let meter = UsageMeter::new(70);
        let request = with(posted(path, false), meter.clone());
        let mut chain = FallbackLayer::new().then("other", wire(second)).layer(wire(first));
        let response = send(&mut chain, request).await.unwrap();
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), good, "{body}");
        let expected = if path == CHAT { 4 } else { 0 };
        assert_eq!(meter.read().output, expected, "{body}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_answer_of_another_endpoint_is_a_failure_of_the_provider() {
    for (path, is_stream, own) in GOOD {
        // Servers with OpenAI's dialect have Cohere's path as well, and may answer with a chat completion to
        // a request for a response.
        let may_be_chat = matches!(path, COHERE | RESPONSES);
        let is_foreign = |other: &&(&str, bool, &str)| other.0 != path && !(may_be_chat && other.0 == CHAT);
        for (other, _, body) in GOOD.iter().filter(is_foreign).filter(|(.., body)| *body != own) {
            let is_same = matches!((path, *other), (GEMINI, GEMINI_STREAM) | (GEMINI_STREAM, GEMINI));
            let seen = seen(posted(path, is_stream), pieces(None, &[body], false)).await;
            let failed = Seen::Failed(ErrorCode::ServerError, FailureKind::NoAnswer);
            assert!(is_same || seen == failed, "{seen:?} for {body} at {path}");
        }
    }
}

/// Regression: every stream of version 1 was a failure.
#[tokio::test(start_paused = true)]
async fn a_stream_of_the_first_version_of_cohere_is_complete_as_lines_and_as_events() {
    let events = [
        r#"{"is_finished":false,"event_type":"stream-start","generation_id":"g"}"#,
        r#"{"is_finished":false,"event_type":"text-generation","text":"a b"}"#,
        r#"{"is_finished":true,"event_type":"stream-end","finish_reason":"COMPLETE","response":{"text":"a b"}}"#,
    ];
    for (label, start, end) in [
        ("application/stream+json", "", "\n"),
        ("application/json", "", "\n"),
        ("text/event-stream", "data: ", "\n\n"),
    ] {
        let lines = events.map(|event| format!("{start}{event}{end}"));
        let answer = pieces(Some(label), &lines.each_ref().map(|line| &**line), false);
        assert_eq!(seen(posted("/v1/chat", true), answer).await, Seen::Complete(lines.concat()), "{label}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_packed_answer_counts_only_if_it_was_asked_for() {
    let packed = |body: &str| pieces(None, &[body], false).header("content-encoding", "deflate");
    for (path, is_stream, body) in GOOD {
        let failed = Seen::Failed(ErrorCode::ServerError, FailureKind::NoAnswer);
        assert_eq!(seen(posted(path, is_stream), packed("x\u{1}\u{2}")).await, failed, "{path}");
        // The label is wrong, and is removed.
        let (mut service, provider) = strict_behind(&ClassifyLayer::new(ProviderClassifier::default()));
        provider.then(packed(body));
        let response = send(&mut service, posted(path, is_stream)).await.unwrap();
        assert_eq!(response.headers().get("content-encoding"), None, "{path}");
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), body, "{path}");

        let mut request = posted(path, is_stream);
        request.headers_mut().insert("accept-encoding", "gzip, deflate".parse().unwrap());
        assert_eq!(
            seen(request, packed("x\u{1}\u{2}")).await,
            Seen::Complete("x\u{1}\u{2}".into()),
            "{path}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_of_protocol_is_not_passed_on() {
    let (mut service, provider) = strict_behind(&ClassifyLayer::new(ProviderClassifier::default()));
    provider.then(Answer::status(101));
    let request = Request::builder().method(Method::GET).uri("http://provider/v1/models");
    let request = request.body(Payload::empty()).unwrap();
    let error = send(&mut service, request).await.expect_err("no response");
    assert_eq!(Outcome::of_error(&error).failure().unwrap().code, ErrorCode::ServerError);
}

#[tokio::test(start_paused = true)]
async fn it_is_counted_retried_and_failed_over() {
    let wire = |inner| ClassifyLayer::new(ProviderClassifier::default()).layer(inner);
    for (is_stream, nothing, good) in
        [(false, r#"{"choices":[]}"#, CHAT_ANSWER), (true, "data: [DONE]\n\n", CHAT_EVENTS)]
    {
        let (inner, provider) = strict();
        provider.then(pieces(None, &[nothing], false));
        provider.then(pieces(None, &[good], false));
        let mut retried = RetryLayer::exponential().layer(wire(inner));
        let response = send(&mut retried, posted(CHAT, is_stream)).await.unwrap();
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), good);
        assert_eq!(provider.calls(), 2);

        let (inner, provider) = strict();
        provider.otherwise(pieces(None, &[nothing], false));
        let layer = CircuitBreakerLayer::new().failure_threshold(1);
        let _ = send(&mut layer.layer(wire(inner)), posted(CHAT, is_stream)).await;
        assert_eq!(layer.handle().state(), State::Open);

        let ((inner, provider), (spare, second)) = (strict(), strict());
        provider.otherwise(pieces(None, &[nothing], false));
        second.otherwise(pieces(None, &[good], false));
        let mut chain = FallbackLayer::new().then("spare/m", spare).layer(wire(inner));
        let response = send(&mut chain, posted(CHAT, is_stream)).await.unwrap();
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), good);
    }
}

/// Regression: the requests of one caller opened the circuit for all.
#[tokio::test(start_paused = true)]
async fn output_that_cannot_be_parsed_is_retried_and_does_not_count_against_the_provider() {
    let groq = r#"{"error":{"message":"x","type":"invalid_request_error","code":"tool_use_failed"}}"#;
    let document = CHAT_ANSWER.replace("stop", "malformed_function_call");
    let ending = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"MALFORMED_FUNCTION_CALL\"}]}\n\n";
    let begun = "data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n".to_owned() + ending;
    let rejection = || Answer::status(400).frame(groq.to_owned());
    let output = |text: &str| pieces(None, &[text], false);
    for (is_stream, answer, is_retried) in [
        (false, rejection(), true),
        (false, output(&document), true),
        (true, output(ending), true),
        (true, output(&begun), false),
    ] {
        let good = if is_stream { CHAT_EVENTS } else { CHAT_ANSWER };
        let (inner, provider) = strict();
        provider.then(answer);
        provider.then(output(good));
        let circuit = CircuitBreakerLayer::new().failure_threshold(1);
        let wire = ClassifyLayer::new(ProviderClassifier::default()).layer(inner);
        let mut service = RetryLayer::exponential().layer(circuit.layer(wire));
        let response = send(&mut service, posted(CHAT, is_stream)).await.unwrap();
        let body = response.into_body().collect().await.ok().map(|body| body.to_bytes());
        assert_eq!(body.is_some_and(|body| body == good), is_retried);
        assert_eq!(
            (circuit.handle().state(), provider.calls()),
            (State::Closed, 1 + usize::from(is_retried))
        );
    }
}

/// The label is wrong, or missing.
#[tokio::test(start_paused = true)]
async fn a_good_answer_is_passed_on_byte_for_byte_under_every_label() {
    for (path, is_stream, body) in GOOD {
        for label in [None, Some("application/json"), Some("text/event-stream"), Some("text/plain")] {
            let seen = seen(posted(path, is_stream), pieces(label, &[" \n", body], false)).await;
            assert_eq!(seen, Seen::Complete(format!(" \n{body}")), "{label:?} at {path}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_in_the_other_form_is_converted() {
    for pair in GOOD[..10].chunks(2) {
        let [(path, _, document), (stream_path, _, events)] = pair else { unreachable!() };
        let Seen::Complete(converted) = seen(posted(path, false), pieces(None, &[events], false)).await
        else {
            panic!("{path}");
        };
        let converted: serde_json::Value = serde_json::from_str(&converted).unwrap();
        assert!(converted.to_string().contains("\"a b\""), "{converted}");
        let Seen::Complete(converted) =
            seen(posted(stream_path, true), pieces(None, &[document], false)).await
        else {
            panic!("{stream_path}");
        };
        assert!(converted.contains("data: {") && converted.contains("\"a b\""), "{converted}");
        // As a stream it is a good answer in turn.
        let again = seen(posted(stream_path, true), pieces(None, &[&converted], false)).await;
        assert_eq!(again, Seen::Complete(converted));
    }
}

#[tokio::test(start_paused = true)]
async fn the_label_and_the_length_of_a_converted_answer_are_its_own() {
    let (mut service, provider) = strict_behind(&ClassifyLayer::new(ProviderClassifier::default()));
    let wrong = Answer::status(200).header("content-type", "text/event-stream").header("content-length", "7");
    provider.then(wrong.frame(CHAT_EVENTS));
    let response = send(&mut service, posted(CHAT, false)).await.unwrap();
    assert_eq!(response.headers()["content-type"], "application/json");
    assert!(!response.headers().contains_key("content-length"));
    // Nor is a length passed on that is not that of the body.
    let wrong = Answer::status(200).header("content-type", "application/json").header("content-length", "20");
    provider.then(wrong.frame(CHAT_ANSWER));
    let response = send(&mut service, posted(CHAT, false)).await.unwrap();
    assert!(!response.headers().contains_key("content-length"));
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), CHAT_ANSWER);
}

/// Each answer, in both forms that may be requested, cut at every byte: by a clean end, and by a reset.
#[tokio::test(start_paused = true)]
async fn an_answer_that_is_cut_at_any_byte_never_looks_complete() {
    for (path, is_stream, body) in GOOD {
        // All that may be missing is the empty line after the last event.
        let end = body.trim_end().len();
        for cut in 0..end {
            for (is_reset, requests_stream) in [(false, is_stream), (true, is_stream), (false, !is_stream)] {
                let seen = seen(posted(path, requests_stream), pieces(None, &[&body[..cut]], is_reset)).await;
                // Without a terminator only its finish reason ends an answer of Google's.
                let is_whole_event = body[..cut].contains("finishReason\":\"STOP\"}]}") && !is_reset;
                let is_complete = matches!(seen, Seen::Complete(_));
                assert!(!is_complete || is_whole_event, "{cut} of {body}: {seen:?}");
            }
        }
    }
}

/// Readers that stop at the length of a body do not reach the end that reports the cut.
#[tokio::test(start_paused = true)]
async fn an_answer_whose_bytes_nobody_counts_has_no_length_before_its_end() {
    let (inner, provider) = strict();
    let breaker = CircuitBreakerLayer::new().failure_threshold(1);
    let mut service = breaker.layer(ClassifyLayer::new(ProviderClassifier::default()).layer(inner));
    let cut = CHAT_ANSWER.trim_end().strip_suffix('}').unwrap();
    // More than is read before the head is passed on.
    let long = cut.replace("a b", &"a b ".repeat(ERROR_BODY_LIMIT / 4));
    provider.then(pieces(None, &[&long], false).pause(Duration::from_secs(1)));
    let response = send(&mut service, posted(CHAT, false)).await.unwrap();
    assert_eq!(response.body().size_hint().exact(), None);
    assert!(response.into_body().collect().await.is_err());
    assert_eq!(breaker.handle().state(), State::Open);
}

/// A document that is cut short is a failure without a response, so that the next attempt may answer, also if
/// its end arrives later than its beginning.
#[tokio::test(start_paused = true)]
async fn an_answer_that_is_cut_short_is_retried() {
    let cut = CHAT_ANSWER.trim_end().strip_suffix('}').unwrap();
    for is_reset in [false, true] {
        for parts in [&[cut][..], &[&cut[..20], &cut[20..]]] {
            for pause in [Duration::ZERO, Duration::from_secs(1)] {
                let (inner, provider) = strict();
                let mut service = RetryLayer::exponential()
                    .layer(ClassifyLayer::new(ProviderClassifier::default()).layer(inner));
                let answer = parts
                    .iter()
                    .fold(Answer::status(200), |answer, part| answer.frame(part.to_string()).pause(pause));
                provider.then(if is_reset { answer.break_off("reset") } else { answer });
                provider.then(pieces(None, &[CHAT_ANSWER], false));
                let response = send(&mut service, posted(CHAT, false)).await.unwrap();
                assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), CHAT_ANSWER);
                assert_eq!(provider.calls(), 2);
            }
        }
    }
}

/// A document that stops in its middle takes no longer than an attempt.
#[tokio::test(start_paused = true)]
async fn an_answer_that_stops_in_its_middle_is_a_timeout() {
    let (inner, provider) = strict();
    let attempt = TimeoutLayer::new(Duration::from_secs(5));
    let mut service = attempt.layer(ClassifyLayer::new(ProviderClassifier::default()).layer(inner));
    provider.then(pieces(None, &[&CHAT_ANSWER[..40]], false).pause(Duration::from_secs(3_600)));
    let error = send(&mut service, posted(CHAT, false)).await.expect_err("no response");
    assert_eq!(Outcome::of_error(&error).failure().unwrap().code, ErrorCode::Timeout);
    assert_eq!((provider.live_bodies(), provider.violations()), (0, vec![]));
}

/// Regression: the time of the attempt, which had passed when the body was read, cut it off at its first byte.
#[tokio::test(start_paused = true)]
async fn an_answer_that_has_arrived_in_time_may_be_read_later() {
    let error = || Answer::status(400).frame(r#"{"error":{"message":"no"}}"#);
    for (answer, length) in [
        (pieces(None, &[CHAT_ANSWER], false), CHAT_ANSWER.len()),
        (pieces(None, &[&CHAT_ANSWER[..40], &CHAT_ANSWER[40..]], false), CHAT_ANSWER.len()),
        (pieces(None, &[CHAT_EVENTS], false), 100),
        (error(), 26),
        (error().break_off("reset"), 26),
    ] {
        let (inner, provider) = strict();
        let stack = ResilienceBuilder::new("a/m").classify(ProviderClassifier::default());
        let mut service = stack.attempt_timeout(Duration::from_secs(2)).service(inner);
        provider.then(answer.after(Duration::from_secs(1)));
        let response = send(&mut service, posted(CHAT, false)).await.unwrap();
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert!(response.into_body().collect().await.unwrap().to_bytes().len() >= length);
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_body_that_is_cut_at_any_byte_yields_its_status() {
    let error =
        r#"{"error":{"type":"insufficient_quota","code":"insufficient_quota","message":"add credit"}}"#;
    for cut in 0..error.len() {
        for is_reset in [false, true] {
            let (mut service, provider) = strict_behind(&ClassifyLayer::new(ProviderClassifier::default()));
            let answer = Answer::status(429).header("content-length", "99").frame(&error[..cut]);
            provider.then(if is_reset { answer.break_off("reset") } else { answer });
            let response = send(&mut service, posted(CHAT, false)).await.unwrap();
            let code = Outcome::of(&response).failure().unwrap().code;
            assert_eq!(
                (response.status().as_u16(), code.category()),
                (429, ErrorCode::RateLimited.category())
            );
            assert!(!response.headers().contains_key("content-length"));
            let body = response.into_body().collect().await.unwrap().to_bytes();
            if cut > 0 || is_reset {
                let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
                assert_eq!(body["error"]["code"], code.code());
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn the_chunks_do_not_affect_the_verdict(
        (path, is_stream, body) in prop_oneof![
            prop::sample::select(GOOD.to_vec()),
            (prop::sample::select(GOOD.to_vec()), prop::sample::select(NOTHING.to_vec()))
                .prop_map(|((path, is_stream, _), body)| (path, is_stream, body)),
        ],
        label in prop::sample::select(vec![None, Some("application/json"), Some("text/event-stream")]),
        is_other_form: bool,
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(body.len() + 1)).collect();
        cuts.extend([0, body.len()]);
        cuts.sort_unstable();
        let parts: Vec<&str> = cuts.windows(2).map(|cut| &body[cut[0]..cut[1]]).collect();
        let request = || posted(path, is_stream != is_other_form);
        let whole = paused().block_on(seen(request(), pieces(label, &[body], false)));
        prop_assert_eq!(paused().block_on(seen(request(), pieces(label, &parts, false))), whole);
    }
}

/// Without content the form of the answer does not matter, nor whether it is the one that was requested; with
/// content the filter came too late for another target.
#[tokio::test(start_paused = true)]
async fn a_content_filter_has_the_same_outcome_in_every_form() {
    const DOCUMENT: &str = r#"{"id":"c","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":CONTENT},"finish_reason":"content_filter"}],"usage":{"prompt_tokens":3,"completion_tokens":2}}"#;
    const EVENTS: &str = "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"content\":CONTENT}}]}\n\ndata: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"content_filter\"}],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2}}\n\ndata: [DONE]\n\n";
    for (is_stream, body) in [(false, DOCUMENT), (true, EVENTS), (false, EVENTS), (true, DOCUMENT)] {
        for (content, is_answer) in [("null", false), ("\"\"", false), ("\"a\"", true)] {
            let body = body.replace("CONTENT", content);
            let seen = seen(posted(CHAT, is_stream), pieces(None, &[&body], false)).await;
            if is_answer {
                assert!(matches!(seen, Seen::Complete(_)), "{is_stream} {body}: {seen:?}")
            } else {
                let expected = Seen::Failed(ErrorCode::InvalidRequest, FailureKind::ContentFilter);
                assert_eq!(seen, expected, "{is_stream} {body}");
            }
        }
    }
}

/// The provider has read the prompt, and bills it.
#[tokio::test(start_paused = true)]
async fn a_filtered_document_falls_back_where_that_is_set_and_its_usage_is_recorded() {
    let filtered = r#"{"choices":[{"message":{"content":""},"finish_reason":"content_filter"}],"usage":{"prompt_tokens":3,"completion_tokens":2}}"#;
    for is_set in [false, true] {
        let ((first, primary), (second, other)) = (strict(), strict());
        primary.then(pieces(Some("application/json"), &[filtered], false));
        other.then(pieces(Some("application/json"), &[CHAT_ANSWER], false));
        let wire = |inner| ClassifyLayer::new(ProviderClassifier::new(Provider::OpenAi)).layer(inner);
        let chain = FallbackLayer::new().then("other", wire(second)).on_content_filter(is_set);
        let meter = UsageMeter::new(70);
        let request = with(posted(CHAT, false), meter.clone());
        let response = send(&mut chain.layer(wire(first)), request).await.unwrap();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, if is_set { CHAT_ANSWER } else { filtered });
        let attempts = if is_set { 2 } else { 1 };
        assert_eq!((other.calls(), meter.read().output), (attempts - 1, 2 * attempts as u64));
    }
}

/// Regression: the stream was taken for one without usage, which follows in an event of its own.
#[tokio::test(start_paused = true)]
async fn the_usage_of_a_filtered_stream_is_awaited_for_a_second_if_it_is_metered() {
    let filtered =
        "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"content_filter\"}]}\n\n";
    let usage = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":77,\"completion_tokens\":9}}\n\n";
    for (pause, is_metered, waits, used) in
        [(500, true, 500, (77, 9)), (5_000, true, 1_000, (70, 0)), (500, false, 0, (0, 0))]
    {
        let (mut service, provider) =
            strict_behind(&ClassifyLayer::new(ProviderClassifier::new(Provider::OpenAi)));
        let answer = pieces(Some("text/event-stream"), &[filtered], false);
        provider.then(answer.pause(Duration::from_millis(pause)).frame(usage).stall());
        let meter = UsageMeter::new(70);
        let request = posted(CHAT, true);
        let request = if is_metered { with(request, meter.clone()) } else { request };
        let start = clock::now();
        let response = send(&mut service, request).await.unwrap();
        assert_eq!((clock::now() - start).as_millis(), waits);
        assert_eq!(Outcome::of(&response).failure().unwrap().kind, FailureKind::ContentFilter);
        assert_eq!((meter.read().input, meter.read().output), used);
    }
}

/// Where no model is known to answer, as at the paths of Bedrock's `InvokeModel`, a document has the dialect
/// of its model.
#[tokio::test(start_paused = true)]
async fn a_filtered_document_at_an_unknown_path_falls_back_where_that_is_set() {
    const INVOKE: &str = "/model/anthropic.claude-v2:1/invoke";
    const OTHER: &str = r#"{"generation":"a b","stop_reason":"refusal"}"#;
    let filtered = MESSAGE.replace("a b", "").replace("end_turn", "refusal");
    let at_end = MESSAGE.replace("end_turn", "refusal");
    for (body, is_filtered) in [(&*filtered, true), (&*at_end, false), (MESSAGE, false), (OTHER, false)] {
        for cut in [0, body.len() / 2] {
            for is_set in [false, true] {
                let ((first, primary), (second, other)) = (strict(), strict());
                primary.then(pieces(Some("application/json"), &[&body[..cut], &body[cut..]], false));
                other.then(pieces(Some("application/json"), &[MESSAGE], false));
                let wire =
                    |inner| ClassifyLayer::new(ProviderClassifier::new(Provider::Bedrock)).layer(inner);
                let chain = FallbackLayer::new().then("other", wire(second)).on_content_filter(is_set);
                let response = send(&mut chain.layer(wire(first)), posted(INVOKE, false)).await.unwrap();
                let falls_back = is_filtered && is_set;
                let failure = Outcome::of(&response).failure().map(|failure| failure.kind);
                assert_eq!(failure.is_some(), is_filtered && !is_set, "{failure:?} for {body}");
                let seen = response.into_body().collect().await.unwrap().to_bytes();
                assert_eq!(seen, if falls_back { MESSAGE } else { body });
                assert_eq!(other.calls(), usize::from(falls_back), "{body}");
            }
        }
    }
}

/// What a stack does with a refusal: the kind of its failure, the number of its attempts, and whether its circuit
/// is closed and its rate limit open for other calls.
async fn refused(request: &str, status: u16, answer: &'static str) -> (Option<FailureKind>, usize, bool) {
    let breaker = CircuitBreakerLayer::new().failure_threshold(1).count_rate_limited(true);
    let limit = RateLimitLayer::per_second(100);
    let retry = RetryLayer::exponential().max_retries(1);
    let (inner, provider) = strict();
    let wire = ClassifyLayer::new(ProviderClassifier::default()).layer(inner);
    let mut service = retry.layer(limit.layer(breaker.layer(wire)));
    let refusal = Answer::status(status)
        .header("retry-after", "20")
        .header("x-ratelimit-limit-requests", "10")
        .header("x-ratelimit-remaining-requests", "0")
        .header("x-ratelimit-reset-requests", "60s");
    provider.otherwise(refusal.frame(answer));
    let result = send(&mut service, chat_request(request)).await;
    let kind = result.ok().and_then(|response| Some(Outcome::of(&response).failure()?.kind));
    let handle = limit.handle();
    let is_open = handle.closed_for().is_none() && handle.remaining() > Some(10);
    (kind, provider.calls(), breaker.handle().state() == State::Closed && is_open)
}

/// Regression: when the network in front of a provider refused the client of one caller, the provider was closed
/// to all others.
#[tokio::test(start_paused = true)]
async fn a_client_that_is_refused_closes_nothing_and_is_not_retried() {
    assert_eq!(refused("{}", 403, "error code: 1010").await, (Some(FailureKind::NotProcessed), 1, true));
}

/// Regression: a caller that selected a service tier without room closed the standard tier to all others.
#[tokio::test(start_paused = true)]
async fn a_service_tier_without_room_closes_nothing() {
    const BUSY: &str = r#"{"error":{"code":"capacity_exceeded","message":"no room in this tier"}}"#;
    const LIMIT: &str = r#"{"type":"error","error":{"type":"rate_limit_error","message":"too fast"}}"#;
    for (request, status, answer) in [
        (r#"{"service_tier":"flex"}"#, 498, BUSY),
        (r#"{"service_tier":"flex"}"#, 429, LIMIT),
        (r#"{"speed":"fast"}"#, 429, LIMIT),
    ] {
        let expected = (Some(FailureKind::NotProcessed), 2, true);
        assert_eq!(refused(request, status, answer).await, expected, "{request} {status}");
    }
    // A server that is down, and an account without credit, are so for all.
    const QUOTA: &str = r#"{"error":{"code":"insufficient_quota","message":"You exceeded your quota"}}"#;
    const DOWN: &str = r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#;
    for (request, status, answer) in [
        (r#"{"service_tier":"default"}"#, 498, BUSY),
        (r#"{"service_tier":"priority"}"#, 429, LIMIT),
        (r#"{"speed":"standard"}"#, 429, LIMIT),
        (r#"{"service_tier":"flex"}"#, 503, "<html>"),
        (r#"{"speed":"fast"}"#, 529, DOWN),
        (r#"{"service_tier":"flex"}"#, 429, QUOTA),
    ] {
        assert!(!refused(request, status, answer).await.2, "{request} {status}");
    }
}
