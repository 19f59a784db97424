//! Chains that mix native endpoints: what callers ask in one dialect is asked of a target in its own.

use std::time::Duration;

use serde_json::{Value, json};
use tidegate_testkit::{Provider, Reply, Server};
use tidegate_tests::{Seen, Setup};

const CHAT: &str = "/v1/chat/completions";
const MESSAGES: &str = "/v1/messages";

async fn claude(reply: Reply) -> Server {
    Provider::anthropic().api_key("claude-key").otherwise(reply).start().await.unwrap()
}

async fn gpt(reply: Reply) -> Server {
    Provider::openai().api_key("gpt-key").otherwise(reply).start().await.unwrap()
}

/// A gateway with one route at `path`, whose chain is these providers, each with its dialect.
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

fn question(stream: bool) -> Value {
    json!({"model": "any", "max_tokens": 50, "stream": stream, "messages": [{"role": "user", "content": "hello?"}]})
}

async fn ask(setup: &Setup, path: &str, question: &Value) -> Seen {
    Seen::of(setup.post(path).header("content-type", "application/json").body(question.to_string())).await
}

fn text(seen: &Seen) -> String {
    String::from_utf8(seen.body.to_vec()).unwrap()
}

/// The data of the events, those that are JSON.
fn told(seen: &Seen) -> Vec<Value> {
    let text = text(seen);
    text.lines().filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok()).collect()
}

/// What came of the model in a stream of chunks.
fn said(seen: &Seen) -> String {
    told(seen).iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str()).collect()
}

fn asked(server: &Server) -> Value {
    serde_json::from_slice(&server.log().last().unwrap().body).unwrap()
}

#[tokio::test]
async fn a_chat_is_asked_of_messages_at_their_own_address_under_their_own_key() {
    let claude = claude(Reply::text("high water at noon")).await;
    let setup = setup(CHAT, "", &[("anthropic", &claude)]).await;
    let seen = ask(&setup, CHAT, &question(false)).await;
    assert_eq!(
        (seen.status, seen.header("x-tidegate-target")),
        (200, "anthropic/anthropic-model"),
        "{}",
        text(&seen)
    );
    let answer = seen.json();
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
        asked(&claude)["messages"],
        json!([{"role": "user", "content": [{"type": "text", "text": "hello?"}]}])
    );
}

#[tokio::test]
async fn messages_are_asked_of_a_chat_at_its_own_address_under_its_own_key() {
    let gpt = gpt(Reply::text("high water at noon")).await;
    let setup = setup(MESSAGES, "", &[("openai", &gpt)]).await;
    let seen = ask(&setup, MESSAGES, &question(false)).await;
    assert_eq!(seen.status, 200, "{}", text(&seen));
    let answer = seen.json();
    assert_eq!(answer["content"], json!([{"type": "text", "text": "high water at noon"}]));
    assert_eq!((&answer["type"], &answer["stop_reason"]), (&"message".into(), &"end_turn".into()));
    let request = gpt.log().last().unwrap();
    assert_eq!((&*request.path, request.model.as_deref()), ("/v1/chat/completions", Some("openai-model")));
    assert_eq!(asked(&gpt)["max_completion_tokens"], 50);
}

#[tokio::test]
async fn streams_are_told_in_the_callers_dialect_to_their_end() {
    let claude = claude(Reply::text("high water at noon").pace(Duration::from_millis(1))).await;
    let seen = ask(&setup(CHAT, "", &[("anthropic", &claude)]).await, CHAT, &question(true)).await;
    assert_eq!((seen.status, seen.header("content-type")), (200, "text/event-stream"));
    assert_eq!(said(&seen), "high water at noon", "{}", text(&seen));
    assert!(text(&seen).ends_with("data: [DONE]\n\n") && text(&seen).contains(": ping\n\n"));

    let gpt = gpt(Reply::text("high water at noon").pace(Duration::from_millis(1))).await;
    let seen = ask(&setup(MESSAGES, "", &[("openai", &gpt)]).await, MESSAGES, &question(true)).await;
    assert!(
        text(&seen).ends_with("event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"),
        "{}",
        text(&seen)
    );
    let end = told(&seen).into_iter().rev().find(|event| event["type"] == "message_delta").unwrap();
    assert_eq!(
        (&end["delta"]["stop_reason"], &end["usage"]["output_tokens"]),
        (&"end_turn".into(), &4.into())
    );
}

#[tokio::test]
async fn errors_keep_their_status_and_are_told_in_the_callers_dialect() {
    let claude = claude(Reply::error(529, "overloaded_error")).await;
    let chat = setup(CHAT, "", &[("anthropic", &claude)]).await;
    for stream in [false, true] {
        let seen = ask(&chat, CHAT, &question(stream)).await;
        assert_eq!((seen.status, seen.header("x-tidegate-code")), (529, "E3002"));
        assert_eq!(seen.json()["error"]["code"], "server_is_overloaded");
    }
    let gpt = gpt(Reply::error(429, "insufficient_quota")).await;
    let seen = ask(&setup(MESSAGES, "", &[("openai", &gpt)]).await, MESSAGES, &question(false)).await;
    assert_eq!((seen.status, seen.header("x-tidegate-code")), (429, "E2002"));
    let error = seen.json();
    assert_eq!((&error["type"], &error["error"]["type"]), (&"error".into(), &"billing_error".into()));
}

/// The layers below act on the provider's own words: retried there, and fallen back from here.
#[tokio::test]
async fn a_chain_goes_from_one_dialect_to_the_other_and_back() {
    let overloaded = || Reply::error(503, "overloaded_error");
    let retry = r#"retry = { max_retries = 1, initial_delay = "1ms" }"#;
    let (native, other) = (claude(overloaded()).await, gpt(Reply::text("from the other")).await);
    let chain = [("anthropic", &native), ("openai", &other)];
    for (path, stream) in [(CHAT, false), (CHAT, true), (MESSAGES, false), (MESSAGES, true)] {
        let seen = ask(&setup(path, retry, &chain).await, path, &question(stream)).await;
        assert_eq!(
            (seen.status, seen.header("x-tidegate-target")),
            (200, "openai/openai-model"),
            "{path} {stream}"
        );
        assert_eq!(seen.header("x-tidegate-attempts"), "3");
        assert!(text(&seen).contains("other"), "{}", text(&seen));
    }
    let (first, second) = (gpt(Reply::hang()).await, claude(Reply::text("from the other")).await);
    let policy = r#"timeout = { attempt = "50ms" }"#;
    let seen =
        ask(&setup(CHAT, policy, &[("openai", &first), ("anthropic", &second)]).await, CHAT, &question(true))
            .await;
    assert_eq!(
        (said(&seen).as_str(), seen.header("x-tidegate-target")),
        ("from the other", "anthropic/anthropic-model")
    );
}

#[tokio::test]
async fn what_cannot_be_translated_is_refused_by_its_name_or_asked_of_another() {
    let mut several = question(false);
    several["n"] = 2.into();
    let (native, other) = (claude(Reply::text("one")).await, gpt(Reply::text("two")).await);
    let alone = setup(CHAT, "", &[("anthropic", &native)]).await;
    let seen = ask(&alone, CHAT, &several).await;
    assert_eq!(
        (seen.status, seen.header("x-tidegate-code"), seen.header("x-tidegate-attempts")),
        (400, "E1001", "0")
    );
    let message = seen.json()["error"]["message"].as_str().unwrap().to_owned();
    assert_eq!(message, "`n` has no counterpart in the dialect of the target");

    let chain = setup(CHAT, "", &[("anthropic", &native), ("openai", &other)]).await;
    let seen = ask(&chain, CHAT, &several).await;
    assert_eq!((seen.status, seen.header("x-tidegate-target")), (200, "openai/openai-model"));
    assert_eq!((asked(&other)["n"].as_u64(), native.log().calls()), (Some(2), 0));
}

/// Callers send thoughts back, and Anthropic takes none but its own: where it may be asked next, they are kept.
#[tokio::test]
async fn thoughts_are_told_unless_a_native_target_would_get_them_back() {
    let chunk =
        json!({"choices": [{"index": 0, "message": {"content": "Ebb.", "reasoning_content": "The moon."}}]});
    let thinking = gpt(Reply::raw(chunk.to_string()).header("content-type", "application/json")).await;
    let native = claude(Reply::status(503)).await;
    let alone = setup(MESSAGES, "", &[("openai", &thinking)]).await;
    let content = ask(&alone, MESSAGES, &question(false)).await.json()["content"].clone();
    assert_eq!((&content[0]["thinking"], &content[1]["text"]), (&"The moon.".into(), &"Ebb.".into()));
    let mixed = setup(MESSAGES, "", &[("anthropic", &native), ("openai", &thinking)]).await;
    let content = ask(&mixed, MESSAGES, &question(false)).await.json()["content"].clone();
    assert_eq!(content, json!([{"type": "text", "text": "Ebb."}]));
}

/// Nobody unpacks what was asked for unpacked.
#[tokio::test]
async fn an_answer_that_cannot_be_read_is_a_failure_of_its_provider() {
    let packed = claude(Reply::raw(&b"\x1f\x8b"[..]).header("content-encoding", "gzip")).await;
    let other = gpt(Reply::text("readable")).await;
    let alone = setup(CHAT, "", &[("anthropic", &packed)]).await;
    let seen = ask(&alone, CHAT, &question(false)).await;
    assert_eq!((seen.status, seen.header("x-tidegate-code")), (502, "E3001"));
    let chain = setup(CHAT, "", &[("anthropic", &packed), ("openai", &other)]).await;
    assert_eq!(ask(&chain, CHAT, &question(false)).await.header("x-tidegate-target"), "openai/openai-model");
}

/// P21: before the first token an error with a status, after it an error event of the caller's dialect.
#[tokio::test]
async fn p21_a_stream_that_fails_or_breaks_ends_in_an_error_of_the_callers_dialect() {
    let at_once = claude(Reply::text("high water").error_event_at(3, "overloaded_error")).await;
    let seen = ask(&setup(CHAT, "", &[("anthropic", &at_once)]).await, CHAT, &question(true)).await;
    assert_eq!((seen.status, seen.header("x-tidegate-code")), (503, "E3002"));

    let midway = claude(Reply::text("high water").error_event_at(4, "overloaded_error")).await;
    let seen = ask(&setup(CHAT, "", &[("anthropic", &midway)]).await, CHAT, &question(true)).await;
    let (events, text_) = (told(&seen), text(&seen));
    assert_eq!(said(&seen), "high ");
    assert_eq!(events.last().unwrap()["error"]["code"], "server_is_overloaded", "{text_}");
    assert_eq!(text_.matches("\"error\":").count(), 1, "told once: {text_}");

    let cut = gpt(Reply::text("high water").cut_after(1)).await;
    let seen = ask(&setup(MESSAGES, "", &[("openai", &cut)]).await, MESSAGES, &question(true)).await;
    assert!(text(&seen).contains("high "), "{}", text(&seen));
    assert_eq!(told(&seen).last().unwrap()["type"], "error", "{}", text(&seen));
    assert!(!text(&seen).contains("message_stop"), "{}", text(&seen));
}

/// The fallback goes on with a broken stream in the caller's dialect, whoever is asked in which.
#[tokio::test]
async fn a_broken_stream_is_gone_on_with_across_dialects() {
    let policy = "fallback = { continue_streams = true }";
    let broken = || Reply::ok().tokens(8).cut_after(3);
    let (first, second) = (gpt(broken()).await, claude(Reply::text("and all is well")).await);
    let seen =
        ask(&setup(CHAT, policy, &[("openai", &first), ("anthropic", &second)]).await, CHAT, &question(true))
            .await;
    let whole = text(&seen);
    assert_eq!(said(&seen), "t1 t2 t3 and all is well", "{whole}");
    assert!(
        whole.contains(": continued by anthropic/anthropic-model\n\n") && whole.ends_with("data: [DONE]\n\n"),
        "{whole}"
    );
    assert_eq!(asked(&second)["model"], "anthropic-model");
    assert_eq!(asked(&second)["messages"][1]["content"][0]["text"], "t1 t2 t3 ");

    let (first, second) = (claude(broken()).await, gpt(Reply::text("and all is well")).await);
    let chain = [("anthropic", &first), ("openai", &second)];
    let seen = ask(&setup(CHAT, policy, &chain).await, CHAT, &question(true)).await;
    assert_eq!(said(&seen), "t1 t2 t3 and all is well", "{}", text(&seen));

    let seen = ask(&setup(MESSAGES, policy, &chain).await, MESSAGES, &question(true)).await;
    let whole = text(&seen);
    for kind in
        ["message_start", "content_block_start", "content_block_stop", "message_delta", "message_stop"]
    {
        assert_eq!(whole.matches(&format!("event: {kind}\n")).count(), 1, "{kind}: {whole}");
    }
    assert!(whole.contains("t3 ") && whole.contains("well") && !whole.contains("event: error"), "{whole}");
}

/// P03: the permit of the stack below lives as long as the translated stream.
#[tokio::test]
async fn p03_a_permit_is_held_by_a_translated_stream_and_freed_when_the_caller_leaves() {
    let claude = claude(Reply::ok().tokens(9).stall_after(2)).await;
    let setup =
        setup(CHAT, "backpressure = { max_inflight = 1, max_queued = 0 }", &[("anthropic", &claude)]).await;
    let mut streaming = setup.post(CHAT).body(question(true).to_string()).send().await.unwrap();
    streaming.chunk().await.unwrap().unwrap();
    assert_eq!(ask(&setup, CHAT, &question(false)).await.status, 503);
    drop(streaming);
    claude.log().in_flight_is(0).await;
    assert_eq!((claude.log().calls(), claude.log().abandoned()), (1, 1));
}
