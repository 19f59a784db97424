//! Streams through the gateway, over real sockets: held back until the first token, classified at the end.

use std::io::Write;
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use tidegate_testkit::{Provider, Reply, Server};
use tidegate_tests::{ClientResponse, Setup};

async fn provider(reply: Reply) -> Server {
    Provider::openai().otherwise(reply).start().await.unwrap()
}

async fn stream(setup: &Setup) -> (ClientResponse, String) {
    let response = ClientResponse::of(setup.chat_request(true)).await;
    let text = String::from_utf8(response.body.to_vec()).unwrap();
    (response, text)
}

/// An error event after the first event got no fallback, and the preamble was sent twice.
/// Pitfall P22 (docs/pitfalls.md).
#[tokio::test]
async fn an_error_event_before_the_first_token_falls_back_to_one_clean_stream() {
    // The first event carries the role. The error replaces the first token.
    let first = provider(Reply::ok().error_event_at(1, "server_error")).await;
    let second = provider(Reply::text("all is well")).await;
    let setup = Setup::new(&[first.base_url(), second.base_url()], "").await;
    let (response, text) = stream(&setup).await;
    assert_eq!((response.status, response.header("x-tidegate-target")), (200, "second/model"));
    assert_eq!((response.header("x-tidegate-attempts"), first.log().calls()), ("2", 1));
    assert_eq!(text.matches("\"role\":\"assistant\"").count(), 1, "{text}");
    assert!(text.ends_with("data: [DONE]\n\n") && !text.contains("error"), "{text}");
}

#[tokio::test]
async fn an_error_event_before_the_first_token_is_an_http_error_without_another_target() {
    let first = provider(Reply::ok().error_event_at(1, "server_error")).await;
    let response = ClientResponse::of(Setup::in_front_of(&first, "").await.chat_request(true)).await;
    assert!(response.status >= 500, "{}", response.status);
    assert_eq!(
        (response.header("x-tidegate-code"), response.header("content-type")),
        ("E3001", "application/json")
    );
    assert_eq!(response.json()["error"]["code"], "E3001");
}

#[tokio::test]
async fn an_error_event_before_the_first_token_is_retried() {
    let provider =
        Provider::openai().then(Reply::ok().error_event_at(1, "server_error")).start().await.unwrap();
    let policy = r#"retry = { max_retries = 1, initial_delay = "1ms" }"#;
    let (response, text) = stream(&Setup::in_front_of(&provider, policy).await).await;
    assert_eq!((response.status, response.header("x-tidegate-attempts")), (200, "2"));
    assert!(text.ends_with("data: [DONE]\n\n"));
}

/// A stream that was cut without its terminator ended as a clean 200.
/// Pitfall P21 (docs/pitfalls.md).
#[tokio::test]
async fn a_cut_after_three_tokens_delivers_those_three_and_then_an_error() {
    for reply in [Reply::ok().tokens(8).cut_after(3), Reply::ok().tokens(8).end_after(3)] {
        let provider = provider(reply).await;
        let (response, text) = stream(&Setup::in_front_of(&provider, "").await).await;
        assert_eq!(response.status, 200);
        let events: Vec<_> = text.split("\n\n").map(str::trim).filter(|event| !event.is_empty()).collect();
        let error = events.last().unwrap();
        assert!(error.starts_with("data: {\"error\":"), "{text}");
        assert!(text.contains("t3 ") && !text.contains("t4 ") && !text.contains("[DONE]"), "{text}");
    }
}

#[tokio::test]
async fn a_broken_stream_ends_with_an_error_in_the_callers_dialect() {
    let provider = Provider::anthropic().otherwise(Reply::ok().tokens(8).end_after(3)).start().await.unwrap();
    let file = format!(
        r#"
        listen = "127.0.0.1:0"
        providers.claude = {{ base_url = "{}", dialect = "anthropic" }}
        routes = [{{ path = "/v1/messages", chain = ["claude/model"] }}]
        "#,
        provider.base_url(),
    );
    let setup = Setup::of_file(&file, |_| None).await;
    let body = r#"{"model":"any","max_tokens":9,"stream":true,"messages":[{"role":"user","content":"hi"}]}"#;
    let response = ClientResponse::of(setup.post("/v1/messages").body(body)).await;
    let text = String::from_utf8(response.body.to_vec()).unwrap();
    assert!(text.trim_end().lines().rev().nth(1).unwrap().starts_with("event: error"), "{text}");
    assert!(text.contains("\"type\":\"api_error\"") && !text.contains("message_stop"), "{text}");
}

/// Pings reset the stall timer, and a plain idle timer ends legitimate reasoning.
/// Pitfall P23 (docs/pitfalls.md).
#[tokio::test]
async fn a_stall_with_pings_ends_by_the_token_clock_and_lives_under_a_long_one() {
    let pinged = || Reply::ok().tokens(5).stall_after(2).pings(Duration::from_millis(10));
    let provider = Provider::anthropic().otherwise(pinged()).start().await.unwrap();
    let file = |clock: &str| {
        format!(
            r#"
            listen = "127.0.0.1:0"
            providers.claude = {{ base_url = "{}", dialect = "anthropic" }}
            policies.default = {{ timeout = {{ token_gap = "{clock}" }} }}
            routes = [{{ path = "/v1/messages", chain = ["claude/model"] }}]
            "#,
            provider.base_url(),
        )
    };
    let body = r#"{"model":"any","max_tokens":9,"stream":true,"messages":[{"role":"user","content":"hi"}]}"#;
    let setup = Setup::of_file(&file("200ms"), |_| None).await;
    let start = Instant::now();
    let response = ClientResponse::of(setup.post("/v1/messages").body(body)).await;
    let text = String::from_utf8(response.body.to_vec()).unwrap();
    assert!(start.elapsed() >= Duration::from_millis(200), "{:?}", start.elapsed());
    assert!(text.contains("event: ping") && text.contains("timeout_error"), "{text}");

    let setup = Setup::of_file(&file("60s"), |_| None).await;
    let mut alive = setup.post("/v1/messages").body(body).send().await.unwrap();
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(400) {
        alive.chunk().await.unwrap().expect("still pinging");
    }
}

#[tokio::test]
async fn a_slow_head_falls_back_within_the_first_token_clock() {
    let slow = provider(Reply::ok().latency(Duration::from_secs(600))).await;
    let second = provider(Reply::text("quick")).await;
    let policy = r#"timeout = { first_token = "100ms" }"#;
    let setup = Setup::new(&[slow.base_url(), second.base_url()], policy).await;
    let start = Instant::now();
    let (response, _) = stream(&setup).await;
    assert_eq!((response.status, response.header("x-tidegate-target")), (200, "second/model"));
    assert!(start.elapsed() >= Duration::from_millis(100) && start.elapsed() < Duration::from_secs(30));
}

#[tokio::test]
async fn three_cut_streams_open_a_circuit_of_threshold_three_and_fifty_disconnects_do_not() {
    let provider = provider(Reply::ok().tokens(9).stall_after(2)).await;
    let setup = Setup::in_front_of(&provider, "circuit_breaker = { failure_threshold = 3 }").await;
    for _ in 0..50 {
        let mut streaming = setup.chat_request(true).send().await.unwrap();
        streaming.chunk().await.unwrap().unwrap();
    }
    provider.log().in_flight_is(0).await;
    assert_eq!(setup.signals().await["circuit_state"], "closed");

    provider.script().otherwise(Reply::ok().tokens(9).cut_after(3));
    for _ in 0..3 {
        assert_eq!(setup.signals().await["circuit_state"], "closed");
        stream(&setup).await;
    }
    assert_eq!(setup.signals().await["circuit_state"], "open");
}

/// A limit of one never admits two live streams. The permit and the connection are released when the caller
/// disconnects.
/// Pitfall P03 (docs/pitfalls.md).
#[tokio::test]
async fn the_permit_and_the_connection_end_when_the_caller_disconnects() {
    let provider = provider(Reply::ok().tokens(9).stall_after(2)).await;
    let policy = "backpressure = { max_inflight = 1, max_queued = 0 }";
    let setup = Setup::in_front_of(&provider, policy).await;
    let mut soonest = Duration::MAX;
    for calls in 1..=5 {
        let mut streaming = setup.chat_request(true).send().await.unwrap();
        streaming.chunk().await.unwrap().unwrap();
        // A second stream while the first one is live.
        assert_eq!(ClientResponse::of(setup.chat_request(true)).await.status, 503);
        let disconnected = Instant::now();
        drop(streaming);
        provider.log().in_flight_is(0).await;
        setup.signal_reaches("current_inflight", |calls| *calls == 0).await;
        soonest = soonest.min(disconnected.elapsed());
        assert_eq!((provider.log().max_in_flight(), provider.log().abandoned()), (1, calls));
    }
    // The fastest of five releases is checked, because the machine may have other load.
    assert!(soonest < Duration::from_secs(1), "{soonest:?}");
}

#[tokio::test]
async fn neither_retry_nor_fallback_acts_after_the_first_token() {
    let first = provider(Reply::ok().tokens(8).cut_after(1)).await;
    let second = provider(Reply::text("too late")).await;
    let policy = r#"retry = { max_retries = 3, initial_delay = "1ms" }"#;
    let setup = Setup::new(&[first.base_url(), second.base_url()], policy).await;
    let (response, _) = stream(&setup).await;
    assert_eq!(
        (response.header("x-tidegate-target"), first.log().calls(), second.log().calls()),
        ("first/model", 1, 0)
    );
}

/// The error event at the end of a broken stream was cut off by the length that the provider had declared.
/// Pitfall P21 (docs/pitfalls.md).
#[tokio::test]
async fn a_declared_length_does_not_cut_off_the_error() {
    let token =
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"},\"finish_reason\":null}]}\n\n";
    let reply = Reply::raw(token).header("content-type", "Text/Event-Stream; charset=utf-8");
    let provider = provider(reply).await;
    let (response, text) = stream(&Setup::in_front_of(&provider, "").await).await;
    assert_eq!(response.status, 200);
    assert!(text.starts_with(token) && text.contains("data: {\"error\":"), "{text}");
}

/// An error event could not be appended to a compressed stream.
#[tokio::test]
async fn a_compressed_stream_is_unpacked_and_its_cut_ends_in_an_error_event() {
    let token = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"}}]}\n\n";
    for (events, end) in [(format!("{token}data: [DONE]\n\n"), "data: [DONE]\n\n"), (token.into(), "}}\n\n")]
    {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
        gzip.write_all(events.as_bytes()).unwrap();
        let reply = Reply::raw(gzip.finish().unwrap())
            .header("content-type", "text/event-stream")
            .header("content-encoding", "gzip");
        let provider = provider(reply).await;
        let (response, text) = stream(&Setup::in_front_of(&provider, "").await).await;
        assert_eq!(response.headers.get("content-encoding"), None);
        assert!(text.starts_with(&events) && text.ends_with(end), "{text}");
        assert_eq!(text.contains("data: {\"error\":"), !events.contains("[DONE]"), "{text}");
    }
}

/// A continuation spliced tool calls. Text is continued as one stream.
/// Pitfall P31 (docs/pitfalls.md).
#[tokio::test]
async fn a_broken_stream_is_continued_if_the_policy_enables_it() {
    let first = provider(Reply::ok().tokens(8).cut_after(3)).await;
    let second = provider(Reply::text("and all is well")).await;
    let policy = "fallback = { continue_streams = true }";
    let setup = Setup::new(&[first.base_url(), second.base_url()], policy).await;
    let (response, text) = stream(&setup).await;
    assert_eq!((response.status, response.header("x-tidegate-target")), (200, "first/model"));
    assert!(text.contains("t3 ") && !text.contains("t4 "), "{text}");
    assert!(text.contains(": continued by second/model\n\n") && text.contains("well"), "{text}");
    assert_eq!(text.matches("\"role\":\"assistant\"").count(), 1, "{text}");
    assert!(text.ends_with("data: [DONE]\n\n") && !text.contains("error"), "{text}");
    let ids: std::collections::BTreeSet<_> = text
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line.strip_prefix("data: ")?).ok())
        .map(|chunk| chunk["id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(ids.len(), 1, "{text}");
    let sent = second.log().requests();
    let sent: serde_json::Value = serde_json::from_slice(&sent[0].body).unwrap();
    assert_eq!((&sent["model"], &sent["messages"][1]["content"]), (&"model".into(), &"t1 t2 t3 ".into()));
}

#[tokio::test]
async fn a_broken_message_is_continued_in_its_own_block() {
    let claude = |reply| async { Provider::anthropic().otherwise(reply).start().await.unwrap() };
    let (first, second) =
        (claude(Reply::ok().tokens(8).cut_after(3)).await, claude(Reply::text("the end")).await);
    let file = format!(
        r#"
        listen = "127.0.0.1:0"
        providers.one = {{ base_url = "{}", dialect = "anthropic" }}
        providers.anthropic = {{ base_url = "{}", dialect = "anthropic" }}
        policies.default = {{ fallback = {{ continue_streams = true }} }}
        routes = [{{ path = "/v1/messages", chain = ["one/model", "anthropic/claude-3-5-haiku"] }}]
        "#,
        first.base_url(),
        second.base_url(),
    );
    let setup = Setup::of_file(&file, |_| None).await;
    let body = r#"{"model":"any","max_tokens":9,"stream":true,"messages":[{"role":"user","content":"hi"}]}"#;
    let response = ClientResponse::of(setup.post("/v1/messages").body(body)).await;
    let text = String::from_utf8(response.body.to_vec()).unwrap();
    for kind in
        ["message_start", "content_block_start", "content_block_stop", "message_delta", "message_stop"]
    {
        assert_eq!(text.matches(&format!("event: {kind}\n")).count(), 1, "{kind}: {text}");
    }
    assert!(text.contains("t3 ") && text.contains("end") && !text.contains("event: error"), "{text}");
    let sent: serde_json::Value = serde_json::from_slice(&second.log().requests()[0].body).unwrap();
    assert_eq!((&sent["max_tokens"], &sent["messages"][1]["content"]), (&6.into(), &"t1 t2 t3".into()));
    assert_eq!(
        sent["messages"].as_array().unwrap().len(),
        2,
        "given as the beginning of the model's own message"
    );
}

/// A stream is never continued across a tool call.
/// Pitfall P31 (docs/pitfalls.md).
#[tokio::test]
async fn a_stream_with_a_tool_call_is_not_continued() {
    let first = provider(Reply::tool_call("tide_at", r#"{"port":"Brest","day":"today"}"#).cut_after(2)).await;
    let second = provider(Reply::text("no")).await;
    let policy = "fallback = { continue_streams = true }";
    let setup = Setup::new(&[first.base_url(), second.base_url()], policy).await;
    let (_, text) = stream(&setup).await;
    assert_eq!(second.log().calls(), 0);
    assert!(text.contains("tide_at") && text.contains("\"error\"") && !text.contains("[DONE]"), "{text}");
}

#[tokio::test]
async fn a_continued_break_counts_once_against_its_target() {
    let first = provider(Reply::ok().tokens(8).cut_after(3)).await;
    let second = provider(Reply::text("and all is well")).await;
    let policy = r#"
        fallback = { continue_streams = true }
        circuit_breaker = { failure_threshold = 2 }
        backpressure = { max_inflight = 1 }
    "#;
    let setup = Setup::new(&[first.base_url(), second.base_url()], policy).await;
    for _ in 0..2 {
        assert_eq!(setup.signals().await["circuit_state"], "closed");
        assert!(stream(&setup).await.1.ends_with("data: [DONE]\n\n"));
    }
    assert_eq!(setup.signals().await["circuit_state"], "open");
}

/// Continued chunks of Azure had no id, and Mistral's reasoning reached the caller.
#[tokio::test]
async fn every_variant_of_chat_continues_every_other() {
    let variants = || {
        let makes: [fn() -> Provider; 6] = [
            Provider::azure,
            Provider::openrouter,
            Provider::groq,
            Provider::mistral,
            Provider::deepseek,
            Provider::openai,
        ];
        makes
    };
    for (number, make) in variants().into_iter().enumerate() {
        let next = variants()[(number + 1) % 6];
        let first = make().otherwise(Reply::ok().tokens(8).cut_after(3)).start().await.unwrap();
        let second = next().otherwise(Reply::text("and all is well").reasoning(2)).start().await.unwrap();
        let policy = "fallback = { continue_streams = true }";
        let (_, text) = stream(&Setup::new(&[first.base_url(), second.base_url()], policy).await).await;
        let (before, after) = text.split_once(": continued by second/model\n\n").unwrap();
        let id = |part: &str| {
            let events = part.lines().filter_map(|line| line.strip_prefix("data: "));
            let chunks = events.filter_map(|data| serde_json::from_str::<serde_json::Value>(data).ok());
            let ids = chunks.filter(|chunk| chunk["choices"].as_array().is_some_and(|c| !c.is_empty()));
            ids.map(|chunk| chunk["id"].as_str().unwrap().to_owned())
                .collect::<std::collections::BTreeSet<_>>()
        };
        assert_eq!((id(before), id(before).len()), (id(after), 1), "{number}: {text}");
        assert!(
            !after.contains("reasoning") && !after.contains("thinking") && !after.contains("role"),
            "{text}"
        );
        assert!(after.contains("well"), "{text}");
    }
}

/// The quota was exhausted after `response.created`, and no other target was tried (bifrost 5395).
/// Pitfall P22 (docs/pitfalls.md).
#[tokio::test]
async fn an_error_after_response_created_falls_back_and_a_cut_ends_in_the_same_dialect() {
    let responses = |reply| async { Provider::responses().otherwise(reply).start().await.unwrap() };
    let first = responses(Reply::ok().error_event_at(1, "server_error")).await;
    let second = responses(Reply::text("all is well")).await;
    let cut = responses(Reply::ok().tokens(8).cut_after(3)).await;
    let file = format!(
        r#"
        listen = "127.0.0.1:0"
        providers.first = {{ base_url = "{}", dialect = "openai" }}
        providers.second = {{ base_url = "{}", dialect = "openai" }}
        providers.cut = {{ base_url = "{}", dialect = "openai" }}
        routes = [
            {{ path = "/v1/responses", model = "good", chain = ["first/model", "second/model"] }},
            {{ path = "/v1/responses", chain = ["cut/model"] }},
        ]
        "#,
        first.base_url(),
        second.base_url(),
        cut.base_url(),
    );
    let setup = Setup::of_file(&file, |_| None).await;
    let send = async |model: &str| {
        let body = serde_json::json!({"model": model, "stream": true, "input": "hello?"});
        let response = ClientResponse::of(setup.post("/v1/responses").body(body.to_string())).await;
        let text = String::from_utf8(response.body.to_vec()).unwrap();
        (response, text)
    };
    let (response, text) = send("good").await;
    assert_eq!((response.status, response.header("x-tidegate-target")), (200, "second/model"));
    assert_eq!((text.matches("event: response.created\n").count(), first.log().calls()), (1, 1), "{text}");
    assert!(text.contains("response.completed") && !text.contains("event: error"), "{text}");
    let (_, text) = send("any").await;
    assert!(text.contains("t3 ") && !text.contains("t4 ") && !text.contains("response.completed"), "{text}");
    assert!(text.rsplit("\n\n").nth(1).unwrap().starts_with("event: error\ndata: {"), "{text}");
}
