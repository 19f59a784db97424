//! Streams through the gateway, over real sockets: held until their first token, judged at their end.

use std::time::{Duration, Instant};

use tidegate_testkit::{Provider, Reply, Server};
use tidegate_tests::{Seen, Setup};

async fn provider(reply: Reply) -> Server {
    Provider::openai().otherwise(reply).start().await.unwrap()
}

async fn stream(setup: &Setup) -> (Seen, String) {
    let seen = Seen::of(setup.question(true)).await;
    let text = String::from_utf8(seen.body.to_vec()).unwrap();
    (seen, text)
}

/// P22: an error event after the first event got no fallback, and the preamble came twice.
#[tokio::test]
async fn p22_an_error_event_before_the_first_token_falls_over_to_one_clean_stream() {
    // The first event gives the role; the error takes the place of the first token.
    let first = provider(Reply::ok().error_event_at(1, "server_error")).await;
    let second = provider(Reply::text("all is well")).await;
    let setup = Setup::new(&[first.base_url(), second.base_url()], "").await;
    let (seen, text) = stream(&setup).await;
    assert_eq!((seen.status, seen.header("x-tidegate-target")), (200, "second/model"));
    assert_eq!((seen.header("x-tidegate-attempts"), first.log().calls()), ("2", 1));
    assert_eq!(text.matches("\"role\":\"assistant\"").count(), 1, "{text}");
    assert!(text.ends_with("data: [DONE]\n\n") && !text.contains("error"), "{text}");
}

#[tokio::test]
async fn an_error_event_before_the_first_token_is_an_http_error_where_nobody_else_can_be_asked() {
    let first = provider(Reply::ok().error_event_at(1, "server_error")).await;
    let seen = Seen::of(Setup::in_front_of(&first, "").await.question(true)).await;
    assert!(seen.status >= 500, "{}", seen.status);
    assert_eq!((seen.header("x-tidegate-code"), seen.header("content-type")), ("E3001", "application/json"));
    assert_eq!(seen.json()["error"]["code"], "E3001");
}

#[tokio::test]
async fn an_error_event_before_the_first_token_is_retried() {
    let provider =
        Provider::openai().then(Reply::ok().error_event_at(1, "server_error")).start().await.unwrap();
    let policy = r#"retry = { max_retries = 1, initial_delay = "1ms" }"#;
    let (seen, text) = stream(&Setup::in_front_of(&provider, policy).await).await;
    assert_eq!((seen.status, seen.header("x-tidegate-attempts")), (200, "2"));
    assert!(text.ends_with("data: [DONE]\n\n"));
}

/// P21: a stream cut without its terminator ended as a clean 200.
#[tokio::test]
async fn p21_a_cut_after_three_tokens_gives_those_three_and_then_an_error() {
    for reply in [Reply::ok().tokens(8).cut_after(3), Reply::ok().tokens(8).end_after(3)] {
        let provider = provider(reply).await;
        let (seen, text) = stream(&Setup::in_front_of(&provider, "").await).await;
        assert_eq!(seen.status, 200);
        let events: Vec<_> = text.split("\n\n").map(str::trim).filter(|event| !event.is_empty()).collect();
        let error = events.last().unwrap();
        assert!(error.starts_with("data: {\"error\":"), "{text}");
        assert!(text.contains("t3 ") && !text.contains("t4 ") && !text.contains("[DONE]"), "{text}");
    }
}

#[tokio::test]
async fn a_broken_stream_is_told_in_the_callers_dialect() {
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
    let seen = Seen::of(setup.post("/v1/messages").body(body)).await;
    let text = String::from_utf8(seen.body.to_vec()).unwrap();
    assert!(text.trim_end().lines().rev().nth(1).unwrap().starts_with("event: error"), "{text}");
    assert!(text.contains("\"type\":\"api_error\"") && !text.contains("message_stop"), "{text}");
}

/// P23: pings reset the stall timer; plain idle timers kill legitimate thinking.
#[tokio::test]
async fn p23_a_stall_with_pings_ends_by_the_token_clock_and_a_patient_one_lets_it_live() {
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
    let seen = Seen::of(setup.post("/v1/messages").body(body)).await;
    let text = String::from_utf8(seen.body.to_vec()).unwrap();
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
async fn a_slow_head_falls_over_within_the_first_token_clock() {
    let slow = provider(Reply::ok().latency(Duration::from_secs(600))).await;
    let second = provider(Reply::text("quick")).await;
    let policy = r#"timeout = { first_token = "100ms" }"#;
    let setup = Setup::new(&[slow.base_url(), second.base_url()], policy).await;
    let start = Instant::now();
    let (seen, _) = stream(&setup).await;
    assert_eq!((seen.status, seen.header("x-tidegate-target")), (200, "second/model"));
    assert!(start.elapsed() >= Duration::from_millis(100) && start.elapsed() < Duration::from_secs(30));
}

#[tokio::test]
async fn three_cut_streams_open_a_circuit_of_threshold_three_and_fifty_callers_that_leave_do_not() {
    let provider = provider(Reply::ok().tokens(9).stall_after(2)).await;
    let setup = Setup::in_front_of(&provider, "circuit_breaker = { failure_threshold = 3 }").await;
    for _ in 0..50 {
        let mut streaming = setup.question(true).send().await.unwrap();
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

/// P03: a permit of one never sees two live streams, and is free once a caller has left, the connection with it.
#[tokio::test]
async fn p03_the_permit_and_the_connection_go_with_the_caller() {
    let provider = provider(Reply::ok().tokens(9).stall_after(2)).await;
    let setup = Setup::in_front_of(&provider, "backpressure = { max_inflight = 1 }").await;
    for calls in 1..=5 {
        let mut streaming = setup.question(true).send().await.unwrap();
        streaming.chunk().await.unwrap().unwrap();
        let left = Instant::now();
        drop(streaming);
        provider.log().in_flight_is(0).await;
        while setup.signals().await["current_inflight"] != 0 {}
        // Promised within 100 ms; this machine may have other things to do.
        assert!(left.elapsed() < Duration::from_secs(1), "{:?}", left.elapsed());
        assert_eq!((provider.log().max_in_flight(), provider.log().abandoned()), (1, calls));
    }
}

#[tokio::test]
async fn neither_retry_nor_fallback_acts_after_the_first_token() {
    let first = provider(Reply::ok().tokens(8).cut_after(1)).await;
    let second = provider(Reply::text("too late")).await;
    let policy = r#"retry = { max_retries = 3, initial_delay = "1ms" }"#;
    let setup = Setup::new(&[first.base_url(), second.base_url()], policy).await;
    let (seen, _) = stream(&setup).await;
    assert_eq!(
        (seen.header("x-tidegate-target"), first.log().calls(), second.log().calls()),
        ("first/model", 1, 0)
    );
}

/// The error event that ends a broken stream was cut off by the length that the provider had told before.
#[tokio::test]
async fn p21_a_told_length_does_not_cut_off_the_error() {
    let token =
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"},\"finish_reason\":null}]}\n\n";
    let reply = Reply::raw(token).header("content-type", "Text/Event-Stream; charset=utf-8");
    let provider = provider(reply).await;
    let (seen, text) = stream(&Setup::in_front_of(&provider, "").await).await;
    assert_eq!(seen.status, 200);
    assert!(text.starts_with(token) && text.contains("data: {\"error\":"), "{text}");
}

/// To a compressed stream nothing can be added, and nothing is held back.
#[tokio::test]
async fn a_compressed_stream_passes_byte_for_byte() {
    let bytes = &b"\x1f\x8b not \n really"[..];
    let reply =
        Reply::raw(bytes).header("content-type", "text/event-stream").header("content-encoding", "gzip");
    let provider = provider(reply).await;
    let seen = Seen::of(Setup::in_front_of(&provider, "").await.question(true)).await;
    assert_eq!(&seen.body[..], bytes);
}

/// P31: a continuation spliced tool calls. Of text it makes one stream.
#[tokio::test]
async fn p31_a_stream_that_breaks_is_gone_on_with_where_the_policy_says_so() {
    let first = provider(Reply::ok().tokens(8).cut_after(3)).await;
    let second = provider(Reply::text("and all is well")).await;
    let policy = "fallback = { continue_streams = true }";
    let setup = Setup::new(&[first.base_url(), second.base_url()], policy).await;
    let (seen, text) = stream(&setup).await;
    assert_eq!((seen.status, seen.header("x-tidegate-target")), (200, "first/model"));
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
    let asked = second.log().requests();
    let asked: serde_json::Value = serde_json::from_slice(&asked[0].body).unwrap();
    assert_eq!((&asked["model"], &asked["messages"][1]["content"]), (&"model".into(), &"t1 t2 t3 ".into()));
}

#[tokio::test]
async fn a_broken_message_is_gone_on_with_in_its_own_block() {
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
    let seen = Seen::of(setup.post("/v1/messages").body(body)).await;
    let text = String::from_utf8(seen.body.to_vec()).unwrap();
    for kind in
        ["message_start", "content_block_start", "content_block_stop", "message_delta", "message_stop"]
    {
        assert_eq!(text.matches(&format!("event: {kind}\n")).count(), 1, "{kind}: {text}");
    }
    assert!(text.contains("t3 ") && text.contains("end") && !text.contains("event: error"), "{text}");
    let asked: serde_json::Value = serde_json::from_slice(&second.log().requests()[0].body).unwrap();
    assert_eq!((&asked["max_tokens"], &asked["messages"][1]["content"]), (&6.into(), &"t1 t2 t3".into()));
    assert_eq!(
        asked["messages"].as_array().unwrap().len(),
        2,
        "given as the beginning of the model's own message"
    );
}
