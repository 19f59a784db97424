//! Chains of mixed dialects: a request in one dialect is sent to a target in the target's own dialect.

use std::time::Duration;

use serde_json::{Value, json};
use tidegate_testkit::{Provider, Reply, Server};
use tidegate_tests::{ClientResponse, Setup};

const CHAT: &str = "/v1/chat/completions";
const MESSAGES: &str = "/v1/messages";

async fn claude(reply: Reply) -> Server {
    Provider::anthropic().api_key("claude-key").otherwise(reply).start().await.unwrap()
}

async fn gpt(reply: Reply) -> Server {
    Provider::openai().api_key("gpt-key").otherwise(reply).start().await.unwrap()
}

/// A gateway with one route at `path`. Its chain is these providers, each with its dialect.
async fn setup(path: &str, policy: &str, providers: &[(&str, &Server)]) -> Setup {
    let mut file = format!("listen = \"127.0.0.1:0\"\n[policies.default]\n{policy}\n");
    for (dialect, server) in providers {
        let (url, key) = (server.base_url(), if *dialect == "openai" { "GPT_KEY" } else { "CLAUDE_KEY" });
        file += &format!(
            "[providers.{dialect}]\nbase_url = \"{url}\"\ndialect = \"{dialect}\"\napi_key_env = \"{key}\"\n"
        );
    }
    let chain: Vec<_> = providers.iter().map(|(dialect, _)| format!("{dialect}/{dialect}-model")).collect();
    file += &format!("[[routes]]\npath = \"{path}\"\nchain = {chain:?}\n");
    let env = |variable: &str| match variable {
        "GPT_KEY" => Some("gpt-key".into()),
        "CLAUDE_KEY" => Some("claude-key".into()),
        _ => None,
    };
    Setup::of_file(&file, env).await
}

fn chat_request(stream: bool) -> Value {
    json!({"model": "any", "max_tokens": 50, "stream": stream, "messages": [{"role": "user", "content": "hello?"}]})
}

async fn send(setup: &Setup, path: &str, chat_request: &Value) -> ClientResponse {
    ClientResponse::of(
        setup.post(path).header("content-type", "application/json").body(chat_request.to_string()),
    )
    .await
}

fn text(response: &ClientResponse) -> String {
    String::from_utf8(response.body.to_vec()).unwrap()
}

/// The data of the events that are JSON.
fn event_data(response: &ClientResponse) -> Vec<Value> {
    let text = text(response);
    text.lines().filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok()).collect()
}

/// The text in a stream of chunks.
fn streamed_text(response: &ClientResponse) -> String {
    event_data(response).iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str()).collect()
}

fn last_request_body(server: &Server) -> Value {
    serde_json::from_slice(&server.log().last().unwrap().body).unwrap()
}

#[tokio::test]
async fn a_chat_request_is_sent_as_messages_with_the_path_and_key_of_the_target() {
    let claude = claude(Reply::text("high water at noon")).await;
    let setup = setup(CHAT, "", &[("anthropic", &claude)]).await;
    let response = send(&setup, CHAT, &chat_request(false)).await;
    assert_eq!(
        (response.status, response.header("x-tidegate-target")),
        (200, "anthropic/anthropic-model"),
        "{}",
        text(&response)
    );
    let answer = response.json();
    assert_eq!(answer["choices"][0]["message"]["content"], "high water at noon");
    assert_eq!(
        (&answer["object"], &answer["usage"]["completion_tokens"]),
        (&"chat.completion".into(), &4.into())
    );
    assert!(answer["created"].as_u64().unwrap() > 1_700_000_000);
    let request = claude.log().last().unwrap();
    assert_eq!((&*request.path, request.model.as_deref()), ("/v1/messages", Some("anthropic-model")));
    assert_eq!(request.headers["anthropic-version"], "2023-06-01");
    assert_eq!(request.headers["accept-encoding"], "identity");
    assert!(!request.headers.contains_key("authorization"));
    assert_eq!(
        last_request_body(&claude)["messages"],
        json!([{"role": "user", "content": [{"type": "text", "text": "hello?"}]}])
    );
}

#[tokio::test]
async fn a_messages_request_is_sent_as_chat_with_the_path_and_key_of_the_target() {
    let gpt = gpt(Reply::text("high water at noon")).await;
    let setup = setup(MESSAGES, "", &[("openai", &gpt)]).await;
    let response = send(&setup, MESSAGES, &chat_request(false)).await;
    assert_eq!(response.status, 200, "{}", text(&response));
    let answer = response.json();
    assert_eq!(answer["content"], json!([{"type": "text", "text": "high water at noon"}]));
    assert_eq!((&answer["type"], &answer["stop_reason"]), (&"message".into(), &"end_turn".into()));
    let request = gpt.log().last().unwrap();
    assert_eq!((&*request.path, request.model.as_deref()), ("/v1/chat/completions", Some("openai-model")));
    assert_eq!(last_request_body(&gpt)["max_completion_tokens"], 50);
}

#[tokio::test]
async fn streams_are_translated_to_the_callers_dialect_to_their_end() {
    let claude = claude(Reply::text("high water at noon").pace(Duration::from_millis(1))).await;
    let response = send(&setup(CHAT, "", &[("anthropic", &claude)]).await, CHAT, &chat_request(true)).await;
    assert_eq!((response.status, response.header("content-type")), (200, "text/event-stream"));
    assert_eq!(streamed_text(&response), "high water at noon", "{}", text(&response));
    assert!(text(&response).ends_with("data: [DONE]\n\n") && text(&response).contains(": ping\n\n"));

    let gpt = gpt(Reply::text("high water at noon").pace(Duration::from_millis(1))).await;
    let response = send(&setup(MESSAGES, "", &[("openai", &gpt)]).await, MESSAGES, &chat_request(true)).await;
    assert!(
        text(&response).ends_with("event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"),
        "{}",
        text(&response)
    );
    let end = event_data(&response).into_iter().rev().find(|event| event["type"] == "message_delta").unwrap();
    assert_eq!(
        (&end["delta"]["stop_reason"], &end["usage"]["output_tokens"]),
        (&"end_turn".into(), &4.into())
    );
}

#[tokio::test]
async fn errors_keep_their_status_and_are_translated_to_the_callers_dialect() {
    let claude = claude(Reply::error(529, "overloaded_error")).await;
    let chat = setup(CHAT, "", &[("anthropic", &claude)]).await;
    for stream in [false, true] {
        let response = send(&chat, CHAT, &chat_request(stream)).await;
        assert_eq!((response.status, response.header("x-tidegate-code")), (529, "E3002"));
        assert_eq!(response.json()["error"]["code"], "server_is_overloaded");
    }
    let gpt = gpt(Reply::error(429, "insufficient_quota")).await;
    let response =
        send(&setup(MESSAGES, "", &[("openai", &gpt)]).await, MESSAGES, &chat_request(false)).await;
    assert_eq!((response.status, response.header("x-tidegate-code")), (429, "E2002"));
    let error = response.json();
    assert_eq!((&error["type"], &error["error"]["type"]), (&"error".into(), &"billing_error".into()));
}

/// The layers below the translation classify the provider's own response: the target retries, and the chain
/// falls back.
#[tokio::test]
async fn a_chain_falls_back_between_dialects_in_both_directions() {
    let overloaded = || Reply::error(503, "overloaded_error");
    let retry = r#"retry = { max_retries = 1, initial_delay = "1ms" }"#;
    let (native, other) = (claude(overloaded()).await, gpt(Reply::text("from the other")).await);
    let chain = [("anthropic", &native), ("openai", &other)];
    for (path, stream) in [(CHAT, false), (CHAT, true), (MESSAGES, false), (MESSAGES, true)] {
        let response = send(&setup(path, retry, &chain).await, path, &chat_request(stream)).await;
        assert_eq!(
            (response.status, response.header("x-tidegate-target")),
            (200, "openai/openai-model"),
            "{path} {stream}"
        );
        assert_eq!(response.header("x-tidegate-attempts"), "3");
        assert!(text(&response).contains("other"), "{}", text(&response));
    }
    let (first, second) = (gpt(Reply::hang()).await, claude(Reply::text("from the other")).await);
    let policy = r#"timeout = { attempt = "50ms" }"#;
    let response = send(
        &setup(CHAT, policy, &[("openai", &first), ("anthropic", &second)]).await,
        CHAT,
        &chat_request(true),
    )
    .await;
    assert_eq!(
        (streamed_text(&response).as_str(), response.header("x-tidegate-target")),
        ("from the other", "anthropic/anthropic-model")
    );
}

#[tokio::test]
async fn an_untranslatable_field_is_rejected_by_name_or_sent_to_another_target() {
    let mut several = chat_request(false);
    several["n"] = 2.into();
    let (native, other) = (claude(Reply::text("one")).await, gpt(Reply::text("two")).await);
    let alone = setup(CHAT, "", &[("anthropic", &native)]).await;
    let response = send(&alone, CHAT, &several).await;
    assert_eq!(
        (response.status, response.header("x-tidegate-code"), response.header("x-tidegate-attempts")),
        (400, "E1001", "0")
    );
    let message = response.json()["error"]["message"].as_str().unwrap().to_owned();
    assert_eq!(message, "`n` has no counterpart in the dialect of the target");

    let chain = setup(CHAT, "", &[("anthropic", &native), ("openai", &other)]).await;
    let response = send(&chain, CHAT, &several).await;
    assert_eq!((response.status, response.header("x-tidegate-target")), (200, "openai/openai-model"));
    assert_eq!((last_request_body(&other)["n"].as_u64(), native.log().calls()), (Some(2), 0));
}

/// Callers send reasoning back, and Anthropic accepts only its own. Reasoning is omitted if a later request
/// may go to Anthropic.
#[tokio::test]
async fn reasoning_is_translated_unless_a_native_target_could_receive_it() {
    let chunk =
        json!({"choices": [{"index": 0, "message": {"content": "Ebb.", "reasoning_content": "The moon."}}]});
    let thinking = gpt(Reply::raw(chunk.to_string()).header("content-type", "application/json")).await;
    let native = claude(Reply::status(503)).await;
    let alone = setup(MESSAGES, "", &[("openai", &thinking)]).await;
    let content = send(&alone, MESSAGES, &chat_request(false)).await.json()["content"].clone();
    assert_eq!((&content[0]["thinking"], &content[1]["text"]), (&"The moon.".into(), &"Ebb.".into()));
    let mixed = setup(MESSAGES, "", &[("anthropic", &native), ("openai", &thinking)]).await;
    let content = send(&mixed, MESSAGES, &chat_request(false)).await.json()["content"].clone();
    assert_eq!(content, json!([{"type": "text", "text": "Ebb."}]));
}

/// The request accepts only `identity`, so a compressed response is not decompressed.
#[tokio::test]
async fn an_unreadable_response_is_a_failure_of_its_provider() {
    let packed = claude(Reply::raw(&b"\x1f\x8b"[..]).header("content-encoding", "gzip")).await;
    let other = gpt(Reply::text("readable")).await;
    let alone = setup(CHAT, "", &[("anthropic", &packed)]).await;
    let response = send(&alone, CHAT, &chat_request(false)).await;
    assert_eq!((response.status, response.header("x-tidegate-code")), (502, "E3001"));
    let chain = setup(CHAT, "", &[("anthropic", &packed), ("openai", &other)]).await;
    assert_eq!(
        send(&chain, CHAT, &chat_request(false)).await.header("x-tidegate-target"),
        "openai/openai-model"
    );
}

/// Before the first token a failure is an error with a status. After it a failure is an error event in the
/// caller's dialect.
/// Pitfall P21 (docs/pitfalls.md).
#[tokio::test]
async fn a_stream_that_fails_or_breaks_ends_with_an_error_in_the_callers_dialect() {
    let at_once = claude(Reply::text("high water").error_event_at(3, "overloaded_error")).await;
    let response = send(&setup(CHAT, "", &[("anthropic", &at_once)]).await, CHAT, &chat_request(true)).await;
    assert_eq!((response.status, response.header("x-tidegate-code")), (503, "E3002"));

    let midway = claude(Reply::text("high water").error_event_at(4, "overloaded_error")).await;
    let response = send(&setup(CHAT, "", &[("anthropic", &midway)]).await, CHAT, &chat_request(true)).await;
    let (events, text_) = (event_data(&response), text(&response));
    assert_eq!(streamed_text(&response), "high ");
    assert_eq!(events.last().unwrap()["error"]["code"], "server_is_overloaded", "{text_}");
    assert_eq!(text_.matches("\"error\":").count(), 1, "one error: {text_}");

    let cut = gpt(Reply::text("high water").cut_after(1)).await;
    let response = send(&setup(MESSAGES, "", &[("openai", &cut)]).await, MESSAGES, &chat_request(true)).await;
    assert!(text(&response).contains("high "), "{}", text(&response));
    assert_eq!(event_data(&response).last().unwrap()["type"], "error", "{}", text(&response));
    assert!(!text(&response).contains("message_stop"), "{}", text(&response));
}

/// The fallback continues a broken stream in the caller's dialect, whatever the dialects of the targets.
#[tokio::test]
async fn a_broken_stream_is_continued_across_dialects() {
    let policy = "fallback = { continue_streams = true }";
    let broken = || Reply::ok().tokens(8).cut_after(3);
    let (first, second) = (gpt(broken()).await, claude(Reply::text("and all is well")).await);
    let response = send(
        &setup(CHAT, policy, &[("openai", &first), ("anthropic", &second)]).await,
        CHAT,
        &chat_request(true),
    )
    .await;
    let whole = text(&response);
    assert_eq!(streamed_text(&response), "t1 t2 t3 and all is well", "{whole}");
    assert!(
        whole.contains(": continued by anthropic/anthropic-model\n\n") && whole.ends_with("data: [DONE]\n\n"),
        "{whole}"
    );
    assert_eq!(last_request_body(&second)["model"], "anthropic-model");
    assert_eq!(last_request_body(&second)["messages"][1]["content"][0]["text"], "t1 t2 t3 ");

    let (first, second) = (claude(broken()).await, gpt(Reply::text("and all is well")).await);
    let chain = [("anthropic", &first), ("openai", &second)];
    let response = send(&setup(CHAT, policy, &chain).await, CHAT, &chat_request(true)).await;
    assert_eq!(streamed_text(&response), "t1 t2 t3 and all is well", "{}", text(&response));

    let response = send(&setup(MESSAGES, policy, &chain).await, MESSAGES, &chat_request(true)).await;
    let whole = text(&response);
    for kind in
        ["message_start", "content_block_start", "content_block_stop", "message_delta", "message_stop"]
    {
        assert_eq!(whole.matches(&format!("event: {kind}\n")).count(), 1, "{kind}: {whole}");
    }
    assert!(whole.contains("t3 ") && whole.contains("well") && !whole.contains("event: error"), "{whole}");
}

/// The permit of the stack below lives as long as the translated stream.
/// Pitfall P03 (docs/pitfalls.md).
#[tokio::test]
async fn a_permit_is_held_by_a_translated_stream_and_released_when_the_caller_disconnects() {
    let claude = claude(Reply::ok().tokens(9).stall_after(2)).await;
    let setup =
        setup(CHAT, "backpressure = { max_inflight = 1, max_queued = 0 }", &[("anthropic", &claude)]).await;
    let mut streaming = setup.post(CHAT).body(chat_request(true).to_string()).send().await.unwrap();
    streaming.chunk().await.unwrap().unwrap();
    assert_eq!(send(&setup, CHAT, &chat_request(false)).await.status, 503);
    drop(streaming);
    claude.log().in_flight_is(0).await;
    assert_eq!((claude.log().calls(), claude.log().abandoned()), (1, 1));
}
