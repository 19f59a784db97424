//! Forwarding of requests and responses, and the responses of the gateway itself.

use std::time::{Duration, Instant};

use crate::support::*;
use http_body_util::BodyExt;
use serde_json::Value;
use tidegate_testkit::{Provider, Reply, closed_port};

const REQUEST: &str = r#"{"model":"any","messages":[]}"#;
/// By which clients of Anthropic's API recognise a prompt that is too long.
const LONG_PREFIX: &str = "prompt is too long: ";
const STREAM_REQUEST: &str = r#"{"model":"any","stream":true,"messages":[]}"#;

#[tokio::test]
async fn bodies_are_forwarded_byte_for_byte_except_for_the_model() {
    let odd =
        "{ \"choices\" : [ {\"finish_reason\":\"stop\"} ],\r\n \"b\":\"\\u00e9\u{e9}\", \"a\" : 1.0e+1 }\n";
    let provider = Provider::openai().then(Reply::raw(odd)).start().await.unwrap();
    let gateway = gateway(&(openai("p", &provider.base_url()) + &route("*", &["p/org/model-7"]))).await;

    let body = "{ \"messages\" : [ {\"model\":\"not me\"} ],\n \"model\" :\t\"g\\u0070t\" , \"x\":1.50 }";
    let response = chat(&gateway, body).header("x-stainless-lang", "rust").send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["x-tidegate-target"], "p/org/model-7");
    assert_eq!(response.headers()["x-tidegate-attempts"], "1");
    assert!(!response.headers().contains_key("x-tidegate-fallback"));
    assert!(!response.headers().contains_key("x-tidegate-code"));
    assert_eq!(response.text().await.unwrap(), odd);

    let request = provider.log().last().unwrap();
    assert_eq!(request.path, "/v1/chat/completions");
    assert_eq!(request.headers["x-stainless-lang"], "rust");
    assert_eq!(request.headers["host"], provider.addr().to_string());
    assert_eq!(request.body, body.replace("\"g\\u0070t\"", "\"org/model-7\""));
    assert_eq!(request.headers["content-length"], request.body.len().to_string());
}

#[tokio::test]
async fn a_stream_is_forwarded_event_by_event() {
    const TOKEN: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"hi\"}}]}\n\n";
    let reply = Reply::raw(TOKEN).frame(": ping\r\n\r\n").frame("data: broken \u{e9}").stall_after(2);
    let provider = Provider::openai().then(reply.header("content-type", "text/event-stream"));
    let provider = provider.start().await.unwrap();
    let gateway = gateway(&(openai("p", &provider.base_url()) + &route("*", &["p/m"]))).await;

    let mut response = chat(&gateway, STREAM_REQUEST).send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut seen = Vec::new();
    // The provider stalls after this, so these bytes were forwarded before the end of the stream.
    while seen.len() < TOKEN.len() + 10 {
        seen.extend_from_slice(&response.chunk().await.unwrap().unwrap());
    }
    assert_eq!(seen, format!("{TOKEN}: ping\r\n\r\n").as_bytes());

    drop(response);
    provider.log().in_flight_is(0).await;
    assert_eq!(provider.log().abandoned(), 1);
}

#[tokio::test]
async fn a_stream_that_breaks_off_ends_in_an_error_event() {
    let provider = Provider::openai().then(Reply::ok().tokens(20).cut_after(3)).start().await.unwrap();
    let gateway = gateway(&(openai("p", &provider.base_url()) + &route("*", &["p/m"]))).await;
    let response = raw(gateway.addr(), &request_bytes(STREAM_REQUEST)).await;
    assert!(response.starts_with("HTTP/1.1 200 OK"), "{response}");
    assert!(response.contains("t3 ") && !response.contains("t4 "), "{response}");
    assert!(response.contains("data: {\"error\":") && !response.contains("[DONE]"), "{response}");
}

#[tokio::test]
async fn a_response_that_breaks_off_closes_the_connection() {
    // Longer than what is read before the head is forwarded.
    let provider =
        Provider::openai().then(Reply::ok().tokens(40_000).cut_after(30_000)).start().await.unwrap();
    let gateway = gateway(&(openai("p", &provider.base_url()) + &route("*", &["p/m"]))).await;
    let response = chat(&gateway, REQUEST).send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(response.bytes().await.is_err());
}

/// Attack M7 of the field: the caller got 20 bytes of a chunked body as the whole response.
#[tokio::test]
async fn a_length_beside_chunks_does_not_shorten_a_response() {
    let body = r#"{"id":"c","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"a b"},"finish_reason":"stop"}]}"#;
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 20\r\ntransfer-encoding: chunked\r\n\r\n";
    let parts = vec![head.to_owned(), format!("{:x}\r\n{body}\r\n", body.len()), "0\r\n\r\n".to_owned()];
    let gateway = gateway(&(openai("p", &fixed_response(parts, true).await) + &route("*", &["p/m"]))).await;
    let response = chat(&gateway, REQUEST).send().await.unwrap();
    match response.status().as_u16() {
        200 => assert_eq!(response.bytes().await.unwrap(), body),
        status => assert_eq!(status, 502),
    }
}

/// Regression: trailers got around the checks of headers, so that a caller of HTTP/2 received the key of the
/// provider.
#[tokio::test]
async fn trailers_of_a_provider_are_not_forwarded() {
    let answers = [
        (
            "application/json",
            r#"{"choices":[{"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}]}"#,
        ),
        ("text/event-stream", "data: {\"choices\":[{\"delta\":{\"content\":\"hi\"}}]}\n\ndata: [DONE]\n\n"),
    ];
    let client = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().unwrap();
    for (media_type, body) in answers {
        let parts = vec![
            format!("HTTP/1.1 200 OK\r\ncontent-type: {media_type}\r\ntransfer-encoding: chunked\r\n\r\n"),
            format!("{:x}\r\n{body}\r\n", body.len()),
            format!("0\r\nx-debug: {KEY}\r\nset-cookie: a=b\r\n\r\n"),
        ];
        let file = openai_with_key("p", &fixed_response(parts, true).await) + &route("*", &["p/m"]);
        let gateway = gateway(&file).await;
        let request = client.post(url(&gateway, "/v1/chat/completions"));
        let request = request.body(if media_type.contains("stream") { STREAM_REQUEST } else { REQUEST });
        let response: http::Response<reqwest::Body> = request.send().await.unwrap().into();
        let collected = response.into_body().collect().await.unwrap();
        assert_eq!(collected.trailers(), None, "{media_type}");
        assert_eq!(collected.to_bytes(), body, "{media_type}");
    }
}

/// Whatever length was announced.
#[tokio::test]
async fn a_document_that_breaks_off_right_after_its_head_falls_back() {
    let body = format!(r#"{{"choices":[{{"message":{{"content":"{}"#, "x".repeat(100_000));
    let other = Provider::openai().otherwise(Reply::ok()).start().await.unwrap();
    for framing in ["content-length: 200000\r\n\r\n", "transfer-encoding: chunked\r\n\r\nffff0\r\n"] {
        for cut in [0, 1, 2, 50, 1000, 60_000] {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{framing}");
            let broken = fixed_response(vec![head, body[..cut].to_owned()], false).await;
            let file = openai("p", &broken) + &openai("q", &other.base_url()) + &route("*", &["p/m", "q/m"]);
            let response = chat(&gateway(&file).await, REQUEST).send().await.unwrap();
            assert_eq!(response.status(), 200, "{framing:?} {cut}");
            assert_eq!(response.headers()["x-tidegate-target"], "q/m", "{framing:?} {cut}");
            response.bytes().await.unwrap();
        }
    }
}

/// Attack M7 of the field: a web page with a 200 was a success.
#[tokio::test]
async fn a_web_page_is_no_answer() {
    let page = "<!doctype html><html><body>Sign in</body></html>";
    let head =
        format!("HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: {}\r\n\r\n", page.len());
    let gateway = gateway(
        &(openai("p", &fixed_response(vec![head, page.to_owned()], true).await) + &route("*", &["p/m"])),
    )
    .await;
    let response = chat(&gateway, REQUEST).send().await.unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["x-tidegate-code"]),
        (502, &"E3001".parse().unwrap())
    );
}

/// Attack M8 of the field: an error body that broke off left the caller without a status line.
#[tokio::test]
async fn an_error_body_that_breaks_off_keeps_its_status() {
    let body =
        r#"{"error":{"type":"insufficient_quota","code":"insufficient_quota","message":"add credit"}}"#;
    for framing in ["content-length: 500\r\n\r\n", "transfer-encoding: chunked\r\n\r\n1f4\r\n"] {
        for cut in [0, 1, 20, body.len()] {
            let head =
                format!("HTTP/1.1 429 Too Many Requests\r\ncontent-type: application/json\r\n{framing}");
            let base_url = fixed_response(vec![head, body[..cut].to_owned()], false).await;
            let gateway = gateway(&(openai("p", &base_url) + &route("*", &["p/m"]))).await;
            let response = chat(&gateway, REQUEST).send().await.unwrap();
            assert_eq!(response.status(), 429, "{framing:?} {cut}");
            let error: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
            assert!(error["error"]["code"].is_string(), "{error}");
        }
    }
}

#[tokio::test]
async fn a_short_response_that_breaks_off_is_a_bad_gateway() {
    let provider = Provider::openai().then(Reply::ok().tokens(20).cut_after(3)).start().await.unwrap();
    let gateway = gateway(&(openai("p", &provider.base_url()) + &route("*", &["p/m"]))).await;
    let response = chat(&gateway, REQUEST).send().await.unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["x-tidegate-code"]),
        (502, &"E3001".parse().unwrap())
    );
    let body: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
    assert_eq!(body["error"]["standard_code"], "E3001");
}

/// Attack L12 of the field: a call on which the provider failed three times opened the circuit for all
/// others.
#[tokio::test]
async fn the_attempts_of_one_call_do_not_open_the_circuit_for_others() {
    let provider = (0..3).fold(Provider::openai(), |provider, _| provider.then(Reply::status(500)));
    let provider = provider.otherwise(Reply::ok()).start().await.unwrap();
    let policy = "[policies.default]\nretry = { max_retries = 2, initial_delay = \"1ms\" }\n\
                  circuit_breaker = { failure_threshold = 3 }\n";
    let gateway = gateway(&(openai("p", &provider.base_url()) + policy + &route("*", &["p/m"]))).await;
    let failed = chat(&gateway, REQUEST).send().await.unwrap();
    assert_eq!(
        (failed.status().as_u16(), &failed.headers()["x-tidegate-attempts"]),
        (500, &"3".parse().unwrap())
    );
    assert_eq!(chat(&gateway, REQUEST).send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn an_error_response_of_a_provider_is_forwarded_unchanged() {
    let reply = Reply::error(429, "insufficient_quota").retry_after(7).header("x-odd", "kept");
    let provider = Provider::openai().otherwise(reply).start().await.unwrap();
    let gateway = gateway(&(openai("p", &provider.base_url()) + &route("*", &["p/m"]))).await;

    let direct = client().post(provider.base_url() + "/chat/completions").body(REQUEST).send().await.unwrap();
    let response = chat(&gateway, REQUEST).send().await.unwrap();
    assert_eq!(response.status(), 429);
    assert_eq!(response.headers()["retry-after"], "7");
    assert_eq!(response.headers()["x-odd"], "kept");
    assert_eq!(response.headers()["x-tidegate-code"], "E2002");
    assert_eq!(response.headers()["x-tidegate-target"], "p/m");
    assert_eq!(response.bytes().await.unwrap(), direct.bytes().await.unwrap());
}

/// A failure in a response of 200 that has not begun, in whatever form, at a target of either dialect: what
/// clients read of it is the same as for a response with an error status. A client that does not find
/// `context_length_exceeded` or Anthropic's own words repeats the long prompt instead of shortening it.
#[tokio::test]
async fn an_error_in_a_success_keeps_its_status_its_code_and_its_message() {
    const LONG: &str = "This model's maximum context length is 8192 tokens, and the prompt has 9000";
    let of_openai = |message: &str, code: &str| {
        let error =
            format!(r#"{{"error":{{"message":"{message}","type":null,"param":null,"code":{code}}}}}"#);
        let events = format!("data: {error}\n\ndata: [DONE]\n\n");
        (error, events)
    };
    let of_anthropic = |message: &str, kind: &str| {
        let error = format!(r#"{{"type":"error","error":{{"type":"{kind}","message":"{message}"}}}}"#);
        let events = format!("event: error\ndata: {error}\n\n");
        (error, events)
    };
    let invalid = "invalid_request_error";
    let cases = [
        ("openai", of_openai(LONG, "400"), LONG, 400, "context_length_exceeded", (invalid, LONG_PREFIX)),
        (
            "openai",
            of_openai("no", r#""content_filter""#),
            "no",
            400,
            "content_policy_violation",
            (invalid, ""),
        ),
        ("openai", of_openai("tools[0] is odd", "400"), "tools[0] is odd", 400, "E1001", (invalid, "")),
        ("openai", of_openai("upstream died", "502"), "upstream died", 502, "E3001", ("api_error", "")),
        (
            "anthropic",
            of_anthropic("prompt is too long: 3 > 2", invalid),
            "prompt is too long: 3 > 2",
            400,
            "context_length_exceeded",
            (invalid, ""),
        ),
        ("anthropic", of_anthropic("tools.0 is odd", invalid), "tools.0 is odd", 400, "E1001", (invalid, "")),
        (
            "anthropic",
            of_anthropic("Overloaded", "overloaded_error"),
            "Overloaded",
            503,
            "server_is_overloaded",
            ("overloaded_error", ""),
        ),
    ];
    for (dialect, (document, events), message, status, code, (kind, prefix)) in cases {
        for (media_type, body) in [("application/json", document), ("text/event-stream", events)] {
            let reply = Reply::raw(body.clone()).header("content-type", media_type);
            let provider = match dialect {
                "openai" => Provider::openai(),
                _ => Provider::anthropic(),
            };
            let provider = provider.otherwise(reply).start().await.unwrap();
            let base_url = provider.base_url();
            let file = format!("providers.p = {{ base_url = \"{base_url}\", dialect = \"{dialect}\" }}\n");
            let messages = "[[routes]]\npath = \"/v1/messages\"\nmodel = \"*\"\nchain = [\"p/m\"]\n";
            let gateway = gateway(&(file + &route("*", &["p/m"]) + messages)).await;
            for stream in ["", r#""stream":true,"#] {
                let request = format!(
                    r#"{{"model":"any",{stream}"max_tokens":9,"messages":[{{"role":"user","content":"hi"}}]}}"#
                );
                let case = format!("{body} {stream}");
                let response = chat(&gateway, request.clone()).send().await.unwrap();
                assert_eq!(response.status(), status, "{case}");
                let error = json(response).await["error"].take();
                assert_eq!((&error["code"], &error["message"]), (&code.into(), &message.into()), "{case}");

                let response =
                    client().post(url(&gateway, "/v1/messages")).body(request).send().await.unwrap();
                assert_eq!(response.status(), status, "{case}");
                let error = json(response).await["error"].take();
                let message = format!("{prefix}{message}");
                assert_eq!((&error["type"], &error["message"]), (&kind.into(), &message.into()), "{case}");
            }
        }
    }
}

/// Regression: an error in a coding that is not unpacked was forwarded as it was, with whatever key is in it.
#[tokio::test]
async fn a_packed_error_is_replaced() {
    for coding in ["br", "zstd", "gzip, br", "unknown"] {
        let reply = Reply::status(401).header("content-encoding", coding);
        let provider = Provider::openai().otherwise(reply).start().await.unwrap();
        let gateway = gateway(&(openai("p", &provider.base_url()) + &route("*", &["p/m"]))).await;
        let response = chat(&gateway, REQUEST.to_owned()).send().await.unwrap();
        assert_eq!(response.status(), 401, "{coding}");
        assert!(!response.headers().contains_key("content-encoding"), "{coding}");
        assert_eq!(json(response).await["error"]["standard_code"], "E1002", "{coding}");
    }
}

/// Regression: the page of a network in front of the last provider was an error of the caller's key, which
/// its client does not repeat.
#[tokio::test]
async fn a_page_of_the_network_is_a_bad_gateway_in_the_format_of_the_caller() {
    const JSON: &str = r#"{"title":"Error 1010","status":403,"error_code":1010,"cloudflare_error":true}"#;
    const PAGE: &str = "<html><body>Prove that you are a person</body></html>";
    for (status, header, body) in [
        (403, ("cf-mitigated", "challenge"), PAGE),
        (403, ("content-type", "text/plain"), "error code: 1010"),
        (403, ("content-type", "application/json"), JSON),
        (405, ("x-amzn-waf-action", "captcha"), PAGE),
    ] {
        let page = format!(
            "HTTP/1.1 {status} No\r\n{}: {}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            header.0,
            header.1,
            body.len()
        );
        let file = openai("p", &fixed_response(vec![page], true).await)
            + &route("*", &["p/m"])
            + "[[routes]]\npath = \"/v1/messages\"\nmodel = \"*\"\nchain = [\"p/m\"]\n";
        let gateway = gateway(&file).await;
        for (path, kind) in [("/v1/chat/completions", "server_error"), ("/v1/messages", "api_error")] {
            let request = r#"{"model":"any","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}"#;
            let response = client().post(url(&gateway, path)).body(request).send().await.unwrap();
            let code = response.headers()["x-tidegate-code"].clone();
            assert_eq!((response.status().as_u16(), code), (502, "E3001".parse().unwrap()), "{path} {body}");
            let error = json(response).await["error"].take();
            assert_eq!(
                (&error["type"], &error["standard_code"]),
                (&kind.into(), &"E3001".into()),
                "{path} {body}"
            );
        }
    }
}

#[tokio::test]
async fn each_target_of_a_chain_receives_the_original_body_with_its_own_model() {
    let down = Provider::openai().otherwise(Reply::status(503)).start().await.unwrap();
    let up = Provider::openai().start().await.unwrap();
    let file = openai("down", &down.base_url()) + &openai("up", &up.base_url());
    let gateway = gateway(&(file + &route("gpt-4o", &["down/first", "up/second"]))).await;

    let body = r#"{"n":1,"model":"gpt-4o","messages":["original"]}"#;
    let response = chat(&gateway, body).send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["x-tidegate-target"], "up/second");
    assert_eq!(response.headers()["x-tidegate-attempts"], "2");
    assert_eq!(response.headers()["x-tidegate-fallback"], "alternative_model");
    assert_eq!(down.log().last().unwrap().body, body.replace("gpt-4o", "first"));
    assert_eq!(up.log().last().unwrap().body, body.replace("gpt-4o", "second"));
}

// Pitfall P31 (docs/pitfalls.md): a fallback was chosen although its context was too small for the prompt
// (litellm 31557).
#[tokio::test]
async fn a_target_that_is_configured_as_too_small_is_skipped() {
    let down = Provider::openai().then(Reply::status(503)).start().await.unwrap();
    let small = Provider::openai().start().await.unwrap();
    let large = Provider::openai().then(Reply::ok()).start().await.unwrap();
    let providers =
        openai("p", &down.base_url()) + &openai("q", &small.base_url()) + &openai("r", &large.base_url());
    let models = "[models.\"q/m\"]\ncontext_tokens = 10\n";
    let gateway = gateway(&(providers + models + &route("*", &["p/m", "q/m", "r/m"]))).await;
    let long =
        format!(r#"{{"model":"any","messages":[{{"role":"user","content":"{}"}}]}}"#, "word ".repeat(11));
    let response = chat(&gateway, long).send().await.unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["x-tidegate-target"]),
        (200, &"r/m".parse().unwrap())
    );
    assert!(small.log().last().is_none() && large.log().last().is_some());
}

#[tokio::test]
async fn a_transport_error_is_502_and_a_timeout_is_504() {
    let (closed, slow) = (closed_port().unwrap(), Provider::openai().otherwise(Reply::hang()));
    let slow = slow.start().await.unwrap();
    let file = openai("closed", &closed.base_url())
        + &openai("slow", &slow.base_url())
        + "policies.default.timeout.attempt = \"100ms\"\n"
        + &route("closed", &["closed/m"])
        + &route("slow", &["slow/m"])
        + &route("both", &["slow/m", "closed/m"]);
    let gateway = gateway(&file).await;
    for (model, status, code, target, attempts) in [
        ("closed", 502, "E3001", "closed/m", 1),
        ("slow", 504, "E3003", "slow/m", 1),
        ("both", 502, "E3001", "closed/m", 2),
    ] {
        let response = chat(&gateway, REQUEST.replace("any", model)).send().await.unwrap();
        assert_eq!(response.status(), status, "{model}");
        assert_eq!(response.headers()["x-tidegate-code"], code);
        assert_eq!(response.headers()["x-tidegate-target"], target);
        assert_eq!(response.headers()["x-tidegate-attempts"], attempts.to_string());
        assert_eq!(response.headers().contains_key("x-tidegate-fallback"), model == "both");
        let body: Value = json(response).await;
        assert_eq!(body["error"]["code"], code);
        assert!(!body.to_string().contains("127.0.0.1"), "{body}");
    }
}

#[tokio::test]
async fn the_total_timeout_applies_to_the_whole_chain() {
    let slow = Provider::openai().otherwise(Reply::hang()).start().await.unwrap();
    let file = openai("one", &slow.base_url())
        + &openai("two", &slow.base_url())
        + &openai("three", &slow.base_url())
        + "policies.default.timeout = { total = \"1500ms\", attempt = \"1s\" }\n"
        + &route("*", &["one/m", "two/m", "three/m"]);
    let gateway = gateway(&file).await;
    let started = Instant::now();
    let response = chat(&gateway, REQUEST).send().await.unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["x-tidegate-code"]),
        (504, &"E3003".parse().unwrap())
    );
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(1490) && took < Duration::from_secs(8), "{took:?}");
    assert_eq!(slow.log().calls(), 2);
}

#[tokio::test]
async fn routes_with_the_same_target_and_policy_share_the_gates() {
    let provider = Provider::openai().otherwise(Reply::status(500)).start().await.unwrap();
    let file = openai("p", &provider.base_url())
        + "policies.default.circuit_breaker = { failure_threshold = 1, cooldown_seconds = 60 }\n"
        + "policies.other.circuit_breaker = { failure_threshold = 1, cooldown_seconds = 60 }\n"
        + &route("one", &["p/m"])
        + &route("two", &["p/m"])
        + &route("three", &["p/m"])
        + "policy = \"other\"\n";
    let gateway = gateway(&file).await;
    let send = async |model: &str| chat(&gateway, REQUEST.replace("any", model)).send().await.unwrap();

    assert_eq!(send("one").await.status(), 500);
    let rejected = send("two").await;
    assert_eq!(rejected.status(), 503);
    let headers = rejected.headers();
    assert_eq!(
        (&headers["x-tidegate-code"], &headers["x-tidegate-attempts"]),
        (&"E3002".parse().unwrap(), &"0".parse().unwrap())
    );
    assert_eq!(headers["x-tidegate-target"], "p/m");
    let wait: u64 = headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((55..=66).contains(&wait), "{wait}");
    assert_eq!(send("three").await.status(), 500);
    assert_eq!(provider.log().calls(), 2);

    let signals = client().get(url(&gateway, "/signals")).send().await.unwrap();
    let signals: Value = json(signals).await;
    let seen: Vec<_> = signals
        .as_array()
        .unwrap()
        .iter()
        .map(|gates| (&gates["policy"], &gates["target"], &gates["circuit_state"]))
        .collect();
    assert_eq!(
        serde_json::to_value(seen).unwrap(),
        serde_json::json!([["default", "p/m", "open"], ["other", "p/m", "open"]])
    );
}

#[tokio::test]
async fn an_invalid_request_is_rejected_with_an_error_body() {
    let provider = Provider::openai().start().await.unwrap();
    let file = "body_limit = 1000\n".to_owned()
        + &openai("p", &provider.base_url())
        + &route("gpt-4o", &["p/m"])
        + &route("gpt-4o-mini", &["p/m"]);
    let gateway = gateway(&file).await;
    let chats = "/v1/chat/completions";
    let long = format!("{{\"model\":\"gpt-4o\",\"x\":\"{}\"}}", "x".repeat(1000));
    let other_case = "body has a field that is `model` in another case";
    let served = "is not served at /v1/chat/completions, which serves `gpt-4o`, `gpt-4o-mini`";
    for (method, path, body, status, code, message) in [
        ("POST", chats, REQUEST, 404, "model_not_found", &*format!("model `any` {served}")),
        ("POST", chats, "{", 400, "E1001", "body is not JSON, see line 1 column 1"),
        ("POST", chats, "{}", 400, "E1001", "body has no `model`"),
        ("POST", chats, "{\"model\":[]}", 400, "E1001", "`model` is not a string"),
        ("POST", chats, r#"{"model":"gpt-4o","model":"m"}"#, 400, "E1001", "body has more than one `model`"),
        ("POST", chats, r#"{"model":"gpt-4o","MOD\u0045L":"m"}"#, 400, "E1001", other_case),
        ("POST", chats, &long, 413, "E1005", "body is larger than 1000 bytes"),
        ("POST", "/v1/messages", REQUEST, 404, "E1004", "no model is served at /v1/messages"),
        ("POST", "/v1/completions", REQUEST, 404, "E1004", "nothing is served at this path, see /"),
        ("GET", chats, "", 405, "E1001", "wrong method for this path, see /"),
        ("DELETE", "/signals", "", 405, "E1001", "wrong method for this path, see /"),
    ] {
        let request = client().request(method.parse().unwrap(), url(&gateway, path)).body(body.to_owned());
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), status, "{method} {path} {message}");
        let standard_code = response.headers()["x-tidegate-code"].to_str().unwrap().to_owned();
        assert_eq!(response.headers()["content-type"], "application/json");
        let body: Value = json(response).await;
        assert_eq!(body["error"]["standard_code"], standard_code);
        assert_eq!((&body["error"]["code"], &body["error"]["message"]), (&code.into(), &message.into()));
    }
    // A body without a length.
    let chunks =
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n".to_owned();
    let response = raw(gateway.addr(), &(chunks + &format!("{:x}\r\n{long}\r\n0\r\n\r\n", long.len()))).await;
    assert!(response.starts_with("HTTP/1.1 413 "), "{response}");
    // A caller with `Expect` does not send the body. A caller that reads only after sending receives the
    // response as well.
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 2000000\r\n";
    let response = raw(gateway.addr(), &format!("{head}expect: 100-continue\r\n\r\n")).await;
    assert!(response.starts_with("HTTP/1.1 413 "), "{response}");
    let response = raw(gateway.addr(), &format!("{head}\r\n{}", "x".repeat(2_000_000))).await;
    assert!(response.starts_with("HTTP/1.1 413 "), "{response}");
    // A very long model name is truncated in the message.
    let long_name = REQUEST.replace("any", &"n\u{e9}".repeat(300));
    let response = chat(&gateway, long_name).send().await.unwrap();
    assert_eq!(response.status(), 404);
    assert!(response.text().await.unwrap().len() < 500);
    assert_eq!(provider.log().calls(), 0);
}

#[tokio::test]
async fn a_head_that_is_too_large_is_rejected() {
    let provider = Provider::openai().start().await.unwrap();
    let gateway = gateway(&(openai("p", &provider.base_url()) + &route("*", &["p/m"]))).await;
    let many: String = (0..500).map(|number| format!("x-{number}: 1\r\n")).collect();
    let response =
        raw(gateway.addr(), &format!("GET /healthz HTTP/1.1\r\nhost: localhost\r\n{many}\r\n")).await;
    assert!(response.starts_with("HTTP/1.1 431 "), "{response}");
    let large = "x".repeat(100_000);
    let response =
        raw(gateway.addr(), &format!("GET /healthz HTTP/1.1\r\nhost: localhost\r\nx: {large}\r\n\r\n")).await;
    assert!(response.starts_with("HTTP/1.1 431 "), "{response}");
}

/// hyper has such a limit over HTTP/1 only.
#[tokio::test]
async fn too_many_headers_are_rejected_over_each_version_of_http() {
    let provider = Provider::openai().otherwise(Reply::ok()).start().await.unwrap();
    let gateway = gateway(&(openai("p", &provider.base_url()) + &route("*", &["p/m"]))).await;
    let http2 = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().unwrap();
    for (version, client) in [("HTTP/1.1", client()), ("HTTP/2.0", http2)] {
        let send = async |count: usize, name: fn(usize) -> String| {
            let request = client.post(url(&gateway, "/v1/chat/completions")).body(REQUEST);
            let request = request.header("content-type", "application/json");
            let request = (0..count).fold(request, |request, number| request.header(name(number), "1"));
            let response = request.send().await.unwrap();
            assert_eq!(format!("{:?}", response.version()), version);
            response.status()
        };
        // The client adds a few of its own.
        assert_eq!(send(90, |number| format!("x-{number}")).await, 200);
        assert_eq!(send(100, |number| format!("x-{number}")).await, 431);
        assert_eq!(send(100, |_| "x-same".to_owned()).await, 431);
    }
    assert_eq!(provider.log().calls(), 2);
}

#[tokio::test]
async fn the_pages_are_served() {
    let file =
        openai("p", "http://127.0.0.1:1/v1") + &route("gpt-4o", &["p/m"]) + &route("*", &["p/m", "p/n"]);
    let gateway = gateway(&file).await;
    let get = async |path: &str| {
        let response = client().get(url(&gateway, path)).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    };
    assert_eq!(get("/healthz").await, (200, r#"{"status":"ok"}"#.to_owned()));
    assert_eq!(get("/readyz").await, (200, r#"{"status":"ready"}"#.to_owned()));
    assert!(get("/").await.1.contains("/v1/chat/completions"));
    let models: Value = serde_json::from_str(&get("/v1/models").await.1).unwrap();
    let ids: Vec<_> =
        models["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap()).collect();
    assert_eq!((models["object"].as_str().unwrap(), ids), ("list", vec!["gpt-4o", "p/m", "p/n"]));
}

/// Seed item 65.
#[tokio::test]
async fn an_error_has_the_course_of_its_call_if_the_caller_wants_it() {
    let provider = Provider::openai().otherwise(Reply::status(503).message("down")).start().await.unwrap();
    let retry = "policies.default.retry = { max_retries = 1, initial_delay = \"1ms\" }\n";
    let chain = route("*", &["p/m", "p/other"]);
    let gateway = gateway(&(retry.to_owned() + &openai("p", &provider.base_url()) + &chain)).await;

    let plain = chat(&gateway, REQUEST).header("x-tidegate-details", "none").send().await.unwrap();
    assert_eq!(json(plain).await["resilience"], Value::Null);
    let response = chat(&gateway, REQUEST).header("x-tidegate-details", "trail").send().await.unwrap();
    assert_eq!(response.status(), 503);
    let body = json(response).await;
    assert_eq!(body["error"]["message"], "down");
    let details = &body["resilience"];
    let used = ["circuit_breaker_used", "retry_used", "fallback_used"].map(|name| details[name].as_bool());
    assert_eq!(used, [Some(false), Some(true), Some(true)], "{details}");
    assert_eq!((&details["trail"]["attempts"], &details["trail"]["target"]), (&4.into(), &"p/other".into()));
    for at in [&details["timestamp"], &details["trail"]["steps"][0]["at"]] {
        assert!(at.as_str().unwrap().ends_with('Z'), "{details}");
    }
    assert!(
        provider.log().requests().iter().all(|request| !request.headers.contains_key("x-tidegate-details"))
    );
}

/// An error of the gateway itself has them, too, and a response that is no error has not.
#[tokio::test]
async fn a_rejection_has_the_course_of_its_call_as_well() {
    let provider = Provider::openai().then(Reply::ok()).otherwise(Reply::status(500)).start().await.unwrap();
    let circuit = "policies.default.circuit_breaker = { failure_threshold = 1 }\n";
    let file = circuit.to_owned() + &openai("p", &provider.base_url()) + &route("*", &["p/m"]);
    let gateway = gateway(&file).await;
    let mut bodies = Vec::new();
    for _ in 0..3 {
        let response = chat(&gateway, REQUEST).header("x-tidegate-details", "trail").send().await.unwrap();
        bodies.push(json(response).await);
    }
    assert_eq!(bodies[0]["resilience"], Value::Null);
    assert_eq!(bodies[2]["error"]["standard_code"], "E3002");
    assert_eq!(bodies[2]["resilience"]["circuit_breaker_used"], true, "{}", bodies[2]);
}
