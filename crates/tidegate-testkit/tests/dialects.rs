//! The dialects of the scripted provider: the shapes of responses, streams, errors, rate limit headers and
//! pings.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use tidegate_testkit::provider::{InMemory, ProviderBody};
use tidegate_testkit::{Fault, Provider, Reply};
use tokio::time::Instant;
use tower_service::Service;

const ALL: [fn() -> Provider; 11] = [
    Provider::openai,
    Provider::responses,
    Provider::azure,
    Provider::anthropic,
    Provider::gemini,
    Provider::mistral,
    Provider::groq,
    Provider::deepseek,
    Provider::cohere,
    Provider::openrouter,
    Provider::bedrock,
];

const STREAM: &str = r#"{"model":"m","stream":true}"#;
const JSON: &str = r#"{"model":"m"}"#;

/// Gemini without `alt=sse`.
const ARRAY: &str = "/v1beta/models/m:streamGenerateContent";

async fn post(provider: &InMemory, path: &str, body: &'static str) -> Response<ProviderBody> {
    let request = Request::post(path).body(Full::<Bytes>::from(body)).unwrap();
    provider.clone().call(request).await.unwrap()
}

async fn send(provider: Provider, is_stream: bool) -> Response<ProviderBody> {
    let provider = provider.service();
    post(&provider, &provider.chat_path("m", is_stream), if is_stream { STREAM } else { JSON }).await
}

async fn frames(response: Response<ProviderBody>) -> (Vec<String>, Option<Fault>) {
    let (mut body, mut frames) = (response.into_body(), Vec::new());
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => frames.push(String::from_utf8_lossy(&frame.into_data().unwrap()).into_owned()),
            Err(fault) => return (frames, Some(fault)),
        }
    }
    (frames, None)
}

async fn json_of(response: Response<ProviderBody>) -> Value {
    serde_json::from_str(&frames(response).await.0.concat()).unwrap()
}

/// The frames of a stream of this reply.
async fn stream_frames(provider: fn() -> Provider, reply: Reply) -> Vec<String> {
    let (frames, fault) = frames(send(provider().then(reply), true).await).await;
    assert_eq!(fault, None);
    frames
}

/// The name of an event and its data, if that is JSON.
fn event(frame: &str) -> (&str, Value) {
    let field = |name: &str| frame.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    (field("event: "), serde_json::from_str(field("data: ")).unwrap_or_default())
}

fn names(frames: &[String]) -> Vec<&str> {
    frames.iter().map(|frame| event(frame).0).collect()
}

#[tokio::test(start_paused = true)]
async fn responses_are_created_streamed_and_completed() {
    let frames = stream_frames(Provider::responses, Reply::text("high tide").reasoning(1)).await;
    let expected = [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.reasoning_summary_text.delta",
        "response.output_item.done",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.output_text.done",
        "response.output_item.done",
        "response.completed",
    ];
    assert_eq!(names(&frames), expected);
    for (number, frame) in frames.iter().enumerate() {
        let (name, data) = event(frame);
        assert!(frame.contains(&format!("data: {{\"type\":\"{name}\"")), "{frame}");
        assert_eq!(data["sequence_number"], number);
    }
    let whole = &event(&frames[11]).1["response"];
    assert_eq!((&whole["status"], &whole["usage"]["output_tokens"]), (&json!("completed"), &json!(3)));
    assert_eq!(whole["output"][1]["content"][0]["text"], "high tide");

    let cut = stream_frames(Provider::responses, Reply::ok().tokens(1).stopped_by_length()).await;
    let (name, data) = event(cut.last().unwrap());
    assert_eq!((name, &data["response"]["status"]), ("response.incomplete", &json!("incomplete")));
    assert_eq!(data["response"]["incomplete_details"]["reason"], "max_output_tokens");

    let failed =
        stream_frames(Provider::responses, Reply::ok().failed_event_at(2, "rate_limit_exceeded")).await;
    let (name, data) = event(&failed[2]);
    assert_eq!((name, failed.len()), ("response.failed", 3));
    assert_eq!(data["response"]["error"]["code"], "rate_limit_exceeded");
    let error = stream_frames(Provider::responses, Reply::ok().error_event_at(2, "server_error")).await;
    assert_eq!(event(&error[2]).0, "error");
    assert_eq!(event(&error[2]).1["code"], "server_error");
}

#[tokio::test(start_paused = true)]
async fn gemini_streams_events_or_one_array() {
    let events = stream_frames(Provider::gemini, Reply::text("high tide").reasoning(1)).await;
    assert_eq!(events.len(), 4);
    let chunks: Vec<_> = events.iter().map(|frame| event(frame).1).collect();
    assert_eq!(chunks[0]["candidates"][0]["content"]["parts"][0], json!({"text": "r1 ", "thought": true}));
    assert_eq!(chunks[1]["usageMetadata"]["candidatesTokenCount"], 1);
    assert_eq!(chunks[3]["candidates"][0]["finishReason"], "STOP");

    let provider = Provider::gemini().otherwise(Reply::text("high tide").reasoning(1)).service();
    let array = post(&provider, ARRAY, STREAM).await;
    assert_eq!(array.headers()["content-type"], "application/json");
    assert_eq!(provider.log().last().unwrap().model.as_deref(), Some("m"));
    assert!(provider.log().last().unwrap().is_stream);
    assert_eq!(json_of(array).await, json!(chunks));

    // An error is an element, and the array is closed after it. An array without an element is closed, too.
    for at in [0, 1, 9] {
        provider.script().then(Reply::text("high tide").error_event_at(at, "UNAVAILABLE"));
        let array = json_of(post(&provider, ARRAY, STREAM).await).await;
        let error = &array.as_array().unwrap().last().unwrap()["error"];
        assert_eq!((&error["code"], &error["status"]), (&json!(503), &json!("UNAVAILABLE")));
    }
    provider.script().then(Reply::ok().end_after(2));
    let array = frames(post(&provider, ARRAY, STREAM).await).await.0.concat();
    assert!(array.starts_with('[') && array.ends_with('}'), "{array}");

    let whole =
        json_of(send(Provider::gemini().then(Reply::tool_call("f", r#"{"a":1}"#)), false).await).await;
    let call = &whole["candidates"][0]["content"]["parts"][0]["functionCall"];
    assert_eq!(call, &json!({"name": "f", "args": {"a": 1}}));
}

#[tokio::test(start_paused = true)]
async fn cohere_sends_start_and_end_events() {
    let frames = stream_frames(Provider::cohere, Reply::tool_call("f", r#"{"port":1}"#).reasoning(1)).await;
    let expected = [
        "message-start",
        "content-start",
        "content-delta",
        "content-end",
        "tool-call-start",
        "tool-call-delta",
        "tool-call-delta",
        "tool-call-end",
        "message-end",
    ];
    assert_eq!(names(&frames), expected);
    let last = event(&frames[8]).1;
    assert_eq!(last["delta"]["finish_reason"], "TOOL_CALL");
    assert_eq!(last["delta"]["usage"]["tokens"]["output_tokens"], 3);
}

/// The place of the usage, the first event and the form of reasoning, for each variant of OpenAI's chat.
#[tokio::test(start_paused = true)]
async fn each_variant_of_chat_differs_from_openai() {
    for (provider, events, opening) in [
        (
            Provider::openai as fn() -> Provider,
            5,
            "data: {\"choices\":[{\"delta\":{\"content\":\"\",\"role\"",
        ),
        (Provider::azure, 6, "data: {\"choices\":[],"),
        (Provider::mistral, 5, "data: {\"choices\":[{\"delta\":{\"content\":\"\",\"role\""),
        (Provider::groq, 5, "data: {\"choices\":[{\"delta\":{\"content\":\"\",\"role\""),
        (Provider::deepseek, 6, ": keep-alive\n\n"),
        (Provider::openrouter, 7, ": OPENROUTER PROCESSING\n\n"),
    ] {
        let frames = stream_frames(provider, Reply::text("tide").reasoning(1)).await;
        assert_eq!(frames.len(), events, "{frames:?}");
        assert!(frames[0].starts_with(opening), "{}", frames[0]);
        assert_eq!(frames[events - 1], "data: [DONE]\n\n");
    }
    let last = |frames: Vec<String>, back: usize| event(&frames[frames.len() - back]).1;
    let usage = json!({"prompt_tokens": 7, "completion_tokens": 1, "total_tokens": 8});
    let one = || Reply::text("tide");
    assert_eq!(last(stream_frames(Provider::groq, one()).await, 2)["x_groq"]["usage"], usage);
    assert_eq!(last(stream_frames(Provider::mistral, one()).await, 2)["usage"], usage);
    assert_eq!(last(stream_frames(Provider::deepseek, one()).await, 2)["usage"], usage);
    let extra = last(stream_frames(Provider::openrouter, one()).await, 2);
    assert_eq!((&extra["usage"], &extra["choices"]), (&usage, &json!([])));

    let thought = |provider: fn() -> Provider, at: usize| async move {
        event(&stream_frames(provider, Reply::ok().reasoning(1)).await[at]).1["choices"][0]["delta"].clone()
    };
    let part = json!({"type": "thinking", "thinking": [{"type": "text", "text": "r1 "}]});
    assert_eq!(thought(Provider::mistral, 1).await["content"], json!([part]));
    assert_eq!(thought(Provider::groq, 1).await["reasoning"], "r1 ");
    assert_eq!(thought(Provider::deepseek, 2).await["reasoning_content"], "r1 ");

    let failed = |provider: fn() -> Provider, word: &'static str| async move {
        event(stream_frames(provider, Reply::ok().failed_event_at(2, word)).await.last().unwrap()).1
    };
    assert_eq!(failed(Provider::mistral, "error").await["choices"][0]["finish_reason"], "error");
    assert_eq!(failed(Provider::groq, "at capacity").await["x_groq"]["error"], "at capacity");
    let chunk = failed(Provider::openrouter, "502").await;
    assert_eq!(
        (&chunk["error"]["code"], &chunk["choices"][0]["finish_reason"]),
        (&json!(502), &json!("error"))
    );
}

#[tokio::test(start_paused = true)]
async fn azure_also_accepts_deployment_paths() {
    let provider = Provider::azure().api_key("right").models(["mine"]).service();
    for (path, key, status) in [
        ("/openai/deployments/mine/chat/completions?api-version=1", "right", 200),
        ("/openai/deployments/mine/chat/completions", "wrong", 401),
        ("/openai/deployments/other/chat/completions", "right", 404),
        ("/openai/deployments/mine", "right", 404),
    ] {
        let request = Request::post(path).header("api-key", key).body(Full::<Bytes>::from("{}")).unwrap();
        assert_eq!(provider.clone().call(request).await.unwrap().status(), status, "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn gemini_accepts_its_key_in_a_header_or_in_the_query() {
    let provider = Provider::gemini().api_key("right").service();
    let path = "/v1beta/models/m:generateContent";
    for (query, header, status) in [("?key=right", "", 200), ("?key=wrong", "", 401), ("", "right", 200)] {
        let request = Request::post(format!("{path}{query}"));
        let request = if header.is_empty() { request } else { request.header("x-goog-api-key", header) };
        let request = request.body(Full::<Bytes>::from("{}")).unwrap();
        assert_eq!(provider.clone().call(request).await.unwrap().status(), status, "{query} {header}");
    }
    let models = Request::get("/v1beta/models?key=right").body(Full::<Bytes>::default()).unwrap();
    assert!(json_of(provider.clone().call(models).await.unwrap()).await["models"].is_array());
}

#[tokio::test(start_paused = true)]
async fn bedrock_streams_amazon_messages_with_correct_lengths() {
    let response = send(Provider::bedrock().then(Reply::text("high tide")), true).await;
    assert_eq!(response.headers()["content-type"], "application/vnd.amazon.eventstream");
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    let (mut left, mut names) = (&bytes[..], Vec::new());
    while let Some(length) = left.first_chunk() {
        let (message, rest) = left.split_at(u32::from_be_bytes(*length) as usize);
        let text = String::from_utf8_lossy(message).into_owned();
        let (_, name) = text.split_once(":event-type").unwrap();
        names.push(name[3..].split(['\r', ':']).next().unwrap().to_owned());
        left = rest;
    }
    let expected = [
        "messageStart",
        "contentBlockDelta",
        "contentBlockDelta",
        "contentBlockStop",
        "messageStop",
        "metadata",
    ];
    assert_eq!(names, expected);
}

#[tokio::test(start_paused = true)]
async fn every_dialect_responds_with_the_text_and_the_usage() {
    for provider in ALL {
        let answer = json_of(send(provider().then(Reply::text("high tide").reasoning(2)), false).await).await;
        let text = answer.to_string();
        assert!(text.contains("\"high tide\"") && text.contains("\"r1 r2 \""), "{text}");
        assert!(text.contains("okens\":4") || text.contains("\"candidatesTokenCount\":2"), "{text}");
        let call = json_of(send(provider().then(Reply::tool_call("f", r#"{"a":1}"#)), false).await).await;
        assert!(call.to_string().contains("\"f\""), "{call}");
    }
}

/// The values of an error body, and their places.
#[tokio::test(start_paused = true)]
async fn every_dialect_has_its_own_error_for_a_status() {
    let at = |pointer: &'static str, value: Value| (pointer, value);
    for (provider, status, (pointer, value)) in [
        (Provider::responses as fn() -> Provider, 429, at("/error/code", json!("rate_limit_exceeded"))),
        (Provider::azure, 429, at("/error/code", json!("429"))),
        (Provider::gemini, 503, at("/error/status", json!("UNAVAILABLE"))),
        (Provider::gemini, 503, at("/error/code", json!(503))),
        (Provider::mistral, 429, at("/code", json!("1300"))),
        (Provider::mistral, 401, at("/detail", json!("Unauthorized"))),
        (Provider::groq, 498, at("/error/code", json!("capacity_exceeded"))),
        (Provider::deepseek, 402, at("/error/message", json!("Insufficient Balance"))),
        (Provider::cohere, 401, at("/message", json!("invalid api token"))),
        (Provider::openrouter, 502, at("/error/code", json!(502))),
        (Provider::bedrock, 429, at("/__type", json!("ThrottlingException"))),
    ] {
        let response = send(provider().then(Reply::status(status)), true).await;
        assert_eq!(
            (response.status().as_u16(), &response.headers()["content-type"]),
            (status, &"application/json".parse().unwrap())
        );
        let error = json_of(response).await;
        assert_eq!(error.pointer(pointer), Some(&value), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn every_dialect_sends_exactly_its_own_rate_limit_headers() {
    const MINUTE: Duration = Duration::from_secs(60);
    const DAY: Duration = Duration::from_secs(86_400);
    let limit_headers = |headers: &HeaderMap| {
        let name = |name: &http::HeaderName| name.as_str().to_owned();
        let is_limit = |name: &String| name.contains("ratelimit") || name.contains("retry");
        let mut names: Vec<_> = headers.keys().map(name).filter(is_limit).collect();
        names.sort();
        names
    };
    let openai =
        ["x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"];
    let wait = ["retry-after"];
    let azure = ["retry-after", "retry-after-ms", "x-ms-retry-after-ms"];
    let mistral = ["x-ratelimit-limit-req-minute", "x-ratelimit-remaining-req-minute"];
    for (provider, per, good, refused) in [
        (
            Provider::responses as fn() -> Provider,
            MINUTE,
            &openai[..],
            &["retry-after", "retry-after-ms"][..],
        ),
        (Provider::azure, MINUTE, &openai, &azure),
        (Provider::mistral, MINUTE, &mistral, &wait),
        (Provider::mistral, DAY, &[], &wait),
        (Provider::groq, DAY, &openai, &wait),
        (Provider::groq, MINUTE, &[], &wait),
        (Provider::openrouter, MINUTE, &[], &wait),
        (Provider::deepseek, MINUTE, &[], &[]),
        (Provider::cohere, MINUTE, &[], &[]),
        (Provider::gemini, MINUTE, &[], &[]),
        (Provider::bedrock, MINUTE, &[], &[]),
    ] {
        let provider = provider().rate_limit(1, per).service();
        let path = provider.chat_path("m", false);
        assert_eq!(limit_headers(post(&provider, &path, JSON).await.headers()), good, "{path}");
        let second = post(&provider, &path, JSON).await;
        let mut both: Vec<_> = good.iter().chain(refused).copied().collect();
        both.sort_unstable();
        assert_eq!(
            (second.status().as_u16(), limit_headers(second.headers())),
            (429, both.iter().map(|it| (*it).to_owned()).collect()),
            "{path}"
        );
    }
    let provider = Provider::gemini().rate_limit(1, MINUTE).service();
    let path = provider.chat_path("m", false);
    post(&provider, &path, JSON).await;
    tokio::time::advance(Duration::from_millis(1500)).await;
    let details = json_of(post(&provider, &path, JSON).await).await["error"]["details"].clone();
    assert_eq!(details[1]["retryDelay"], "58.5s");
}

#[tokio::test(start_paused = true)]
async fn a_request_above_the_concurrency_limit_gets_the_overload_status_of_the_dialect() {
    for (provider, status) in
        [(Provider::groq as fn() -> Provider, 498), (Provider::gemini, 503), (Provider::bedrock, 503)]
    {
        let provider = provider().concurrency_limit(1).service();
        let path = provider.chat_path("m", true);
        let first = post(&provider, &path, STREAM).await;
        assert_eq!(post(&provider, &path, STREAM).await.status(), status);
        drop(first);
        assert_eq!(post(&provider, &path, STREAM).await.status(), 200);
    }
}

#[tokio::test(start_paused = true)]
async fn a_quiet_stream_is_pinged_in_every_quiet_period() {
    let second = Duration::from_secs(1);
    let empty = |chunk: Value| format!("data: {chunk}\n\n");
    for (provider, ping) in [
        (Provider::openai as fn() -> Provider, ": keep-alive\n\n".to_owned()),
        (
            Provider::responses,
            "event: keepalive\ndata: {\"type\":\"keepalive\",\"sequence_number\":0}\n\n".into(),
        ),
        (Provider::azure, "event: keepalive\n\n".into()),
        (Provider::anthropic, "event: ping\ndata: {\"type\":\"ping\"}\n\n".into()),
        (
            Provider::gemini,
            empty(
                json!({"candidates": [{"content": {"parts": [{"text": ""}], "role": "model"}, "index": 0}]}),
            ),
        ),
        (Provider::openrouter, ": OPENROUTER PROCESSING\n\n".into()),
    ] {
        let reply = Reply::ok().tokens(3).pace(second).pings(second * 3 / 10).pause_after(0, second * 2);
        let start = Instant::now();
        let paced = stream_frames(provider, reply).await;
        assert_eq!(start.elapsed(), second * 4);
        let without = stream_frames(provider, Reply::ok().tokens(3)).await;
        let mut left: Vec<_> = paced.iter().filter(|frame| **frame != ping).collect();
        left.retain(|frame| without.contains(frame));
        // Six pings in the pause, and three in each of two gaps.
        assert_eq!(paced.len(), without.len() + 12, "{paced:?}");
        assert_eq!(left.len(), without.iter().filter(|frame| **frame != ping).count());
    }
}

#[tokio::test(start_paused = true)]
async fn a_giant_event_is_one_extra_token_and_the_rest_is_unchanged() {
    for provider in ALL {
        let plain = stream_frames(provider, Reply::ok().tokens(4)).await;
        let giant = stream_frames(provider, Reply::ok().tokens(4).giant_event_at(3, 300_000)).await;
        assert_eq!(giant.len(), plain.len() + 1);
        assert!((300_000..301_000).contains(&giant[3].len()), "{}", giant[3].len());
        assert!(giant[3].contains("xxx") && giant[..3] == plain[..3] && giant[4..] == plain[3..]);
    }
}

#[tokio::test(start_paused = true)]
async fn every_dialect_follows_the_scripted_faults() {
    for provider in ALL {
        let whole = stream_frames(provider, Reply::ok().tokens(8)).await;
        let at = whole.iter().position(|frame| frame.contains("t3 ")).unwrap() + 1;
        for (reply, expected) in [
            (Reply::ok().tokens(8).cut_after(3), Some(Fault::cut())),
            (Reply::ok().tokens(8).reset_after(3), Some(Fault::reset())),
            (Reply::ok().tokens(8).end_after(3), None),
        ] {
            let (broken, fault) = frames(send(provider().then(reply), true).await).await;
            assert_eq!((&broken[..], fault), (&whole[..at], expected));
        }
        let malformed = stream_frames(provider, Reply::ok().tokens(8).malformed_event_at(at)).await;
        assert_eq!(malformed.len(), whole.len() + 1);
        let data = malformed[at].split_once("data: ").map_or(&*malformed[at], |(_, data)| data);
        assert!(serde_json::from_str::<Value>(data.trim()).is_err(), "{data}");
        assert_eq!(malformed[at + 1..], whole[at..]);
    }
}
