//! What callers observe beside the response of a provider: the format of errors, retries, headers, paths,
//! models, token counts, and half-closed connections.

use crate::support::*;
use serde_json::{Value, json};
use tidegate_gateway::RunningGateway;
use tidegate_testkit::{Provider, Reply, Server, closed_port};

const CHAT: &str = "/v1/chat/completions";
const MESSAGES: &str = "/v1/messages";
const RESPONSES: &str = "/v1/responses";
const REQUEST: &str = r#"{"model":"any","max_tokens":9,"messages":[{"role":"user","content":"hello"}]}"#;
const STREAM_REQUEST: &str =
    r#"{"model":"any","stream":true,"max_tokens":9,"messages":[{"role":"user","content":"hello"}]}"#;

fn provider(name: &str, dialect: &str, base_url: &str) -> String {
    format!("providers.{name} = {{ base_url = \"{base_url}\", dialect = \"{dialect}\" }}\n")
}

fn route_at(path: &str, chain: &[&str]) -> String {
    format!("[[routes]]\npath = {path:?}\nchain = {chain:?}\n")
}

async fn scripted(provider: Provider, reply: Reply) -> Server {
    provider.otherwise(reply).start().await.unwrap()
}

async fn post(gateway: &RunningGateway, path: &str, body: &str) -> reqwest::Response {
    client().post(url(gateway, path)).body(body.to_owned()).send().await.unwrap()
}

async fn get(gateway: &RunningGateway, path: &str, is_anthropic: bool) -> (u16, Value) {
    let request = client().get(url(gateway, path));
    let request = if is_anthropic { request.header("anthropic-version", "2023-06-01") } else { request };
    let response = request.send().await.unwrap();
    (response.status().as_u16(), json(response).await)
}

fn header(response: &reqwest::Response, name: &str) -> Option<String> {
    response.headers().get(name).map(|value| value.to_str().unwrap().to_owned())
}

#[tokio::test]
async fn errors_of_the_gateway_have_the_format_of_the_callers_api() {
    let closed = closed_port().unwrap();
    let slow = scripted(Provider::openai(), Reply::hang()).await;
    let mut file = "body_limit = 1000\n".to_owned()
        + &openai("closed", &closed.base_url())
        + &openai("slow", &slow.base_url())
        + "policies.default = { rate_limiter = { requests_per_minute = 1, burst_size = 1, on_limit = \"reject\" } }\n\
           policies.full = { backpressure = { max_inflight = 1, max_queued = 0 } }\n\
           policies.quick = { timeout = { attempt = \"50ms\" } }\n";
    for path in [CHAT, MESSAGES] {
        for (model, target, policy) in
            [("limited", "closed/m", "default"), ("full", "slow/full", "full"), ("slow", "slow/m", "quick")]
        {
            file += &format!(
                "[[routes]]\npath = {path:?}\nmodel = {model:?}\nchain = [{target:?}]\npolicy = {policy:?}\n"
            );
        }
    }
    let gateway = gateway(&file).await;
    let named = |model: &str| REQUEST.replace("any", model);
    let long = named(&"x".repeat(1000));
    // Uses up the limit, and the only permit.
    assert_eq!(post(&gateway, CHAT, &named("limited")).await.status(), 502);
    let holding = tokio::spawn(chat(&gateway, named("full")).send());
    while slow.log().in_flight() == 0 {
        tokio::task::yield_now().await;
    }
    for (body, status, openai, anthropic, code) in [
        ("{", 400, ("invalid_request_error", "E1001"), "invalid_request_error", "E1001"),
        (&*named("none"), 404, ("invalid_request_error", "model_not_found"), "not_found_error", "E1004"),
        (&long, 413, ("invalid_request_error", "E1005"), "request_too_large", "E1005"),
        (&named("limited"), 429, ("rate_limit_error", "rate_limit_exceeded"), "rate_limit_error", "E2001"),
        (&named("full"), 503, ("server_error", "server_is_overloaded"), "overloaded_error", "E3002"),
        (&named("slow"), 504, ("server_error", "E3003"), "timeout_error", "E3003"),
    ] {
        let response = post(&gateway, CHAT, body).await;
        assert_eq!(
            (response.status().as_u16(), header(&response, "x-tidegate-code")),
            (status, Some(code.into()))
        );
        let error = json(response).await["error"].take();
        assert_eq!((&error["type"], &error["code"]), (&json!(openai.0), &json!(openai.1)), "{error}");
        assert_eq!((&error["standard_code"], &error["param"]), (&json!(code), &Value::Null), "{error}");
        assert!(error["name"].is_string() && error["retryable"].is_boolean(), "{error}");

        let response = post(&gateway, MESSAGES, body).await;
        assert_eq!(
            (response.status().as_u16(), header(&response, "x-tidegate-code")),
            (status, Some(code.into()))
        );
        let body = json(response).await;
        assert_eq!((&body["type"], &body["error"]["type"]), (&json!("error"), &json!(anthropic)), "{body}");
        assert_eq!((&body["error"]["code"], &body["error"]["standard_code"]), (&json!(code), &json!(code)));
    }
    let (status, body) = get(&gateway, "/v1/messages/batches", false).await;
    assert_eq!((status, &body["error"]["type"]), (404, &json!("not_found_error")));
    let (status, body) = get(&gateway, MESSAGES, false).await;
    assert_eq!((status, &body["error"]["type"]), (405, &json!("invalid_request_error")));
    let upgrade = client().get(url(&gateway, "/v1/responses")).header("upgrade", "websocket");
    let response = upgrade.send().await.unwrap();
    assert_eq!((response.status().as_u16(), header(&response, "upgrade")), (426, Some("HTTP/1.1".into())));
    assert_eq!(header(&response, "connection").as_deref(), Some("upgrade"));
    let (status, body) = get(&gateway, "/v1/files", false).await;
    assert_eq!(
        (status, &body["error"]["type"], &body["error"]["code"]),
        (404, &json!("invalid_request_error"), &json!("E1004"))
    );
    holding.abort();
}

#[tokio::test]
async fn clients_are_told_not_to_repeat_a_call_that_was_given_up() {
    let overloaded = Reply::error(503, "server_is_overloaded").header("x-should-retry", "true");
    let bad = scripted(Provider::openai(), overloaded).await;
    let good = scripted(Provider::openai(), Reply::ok()).await;
    let closed = closed_port().unwrap();
    let providers = openai("bad", &bad.base_url())
        + &openai("good", &good.base_url())
        + &openai("closed", &closed.base_url())
        + "policies.retrying = { retry = { max_retries = 1, initial_delay = \"1ms\", max_delay = \"1ms\" } }\n\
           policies.full = { backpressure = { max_inflight = 1, max_queued = 0 }, rate_limiter = { requests_per_minute = 1, burst_size = 1, on_limit = \"reject\" } }\n\
           policies.none = {}\n";
    let routes: String = [
        ("retried", "[\"bad/m\"]", "retrying"),
        ("chain", "[\"bad/m\", \"closed/m\"]", "none"),
        ("once", "[\"bad/m\"]", "none"),
        ("unreachable", "[\"closed/m\"]", "none"),
        ("limited", "[\"good/m\"]", "full"),
        ("good", "[\"bad/m\", \"good/m\"]", "none"),
    ]
    .map(|(model, chain, policy)| {
        format!("[[routes]]\npath = {CHAT:?}\nmodel = {model:?}\nchain = {chain}\npolicy = {policy:?}\n")
    })
    .concat();
    let stopping = gateway(&(providers.clone() + &routes)).await;
    let neutral = gateway(&("stop_client_retries = false\n".to_owned() + &providers + &routes)).await;
    for gateway in [&stopping, &neutral] {
        assert_eq!(post(gateway, CHAT, &REQUEST.replace("any", "limited")).await.status(), 200);
    }
    for (model, status, with, without) in [
        ("retried", 503, Some("false"), Some("true")),
        ("chain", 502, Some("false"), None),
        // Nothing was repeated, so the client may.
        ("once", 503, Some("true"), Some("true")),
        ("unreachable", 502, None, None),
        ("limited", 429, Some("false"), None),
        ("good", 200, None, None),
    ] {
        for (gateway, expected) in [(&stopping, with), (&neutral, without)] {
            let response = post(gateway, CHAT, &REQUEST.replace("any", model)).await;
            assert_eq!(response.status(), status, "{model}");
            assert_eq!(header(&response, "x-should-retry").as_deref(), expected, "{model}");
        }
    }
}

#[tokio::test]
async fn the_deployment_in_the_path_of_an_azure_client_is_the_model() {
    let server = scripted(Provider::openai(), Reply::text("high tide")).await;
    let gateway = gateway(&(openai("p", &server.base_url()) + &route_at(CHAT, &["p/m"]))).await;
    for body in [r#"{"messages":[]}"#, r#"{"model":"other","messages":[]}"#] {
        let path = "/openai/deployments/my-gpt/chat/completions?api-version=2024-10-21";
        let response = post(&gateway, path, body).await;
        assert_eq!(response.status(), 200);
    }
    let request = &server.log().requests()[1];
    let sent: Value = serde_json::from_slice(&request.body).unwrap();
    assert_eq!((&sent["model"], &*request.path), (&json!("m"), CHAT));
}

/// Regression: the client for Azure calls other paths for responses, and for the API without versions.
#[tokio::test]
async fn the_other_paths_of_azure_clients_are_those_of_the_api() {
    let server = Provider::openai().otherwise(Reply::ok()).start().await.unwrap();
    let responses = Provider::responses().otherwise(Reply::ok()).start().await.unwrap();
    let embeddings =
        scripted(Provider::openai(), Reply::raw(r#"{"object":"list","data":[{"embedding":[0.5]}]}"#)).await;
    let file = openai("p", &server.base_url())
        + &openai("r", &responses.base_url())
        + &openai("e", &embeddings.base_url())
        + &route_at(CHAT, &["p/m"])
        + &route_at(RESPONSES, &["r/m"])
        + &route_at("/v1/embeddings", &["e/m"]);
    let gateway = gateway(&file).await;
    for (path, server, sent_to) in [
        ("/openai/responses?api-version=2025-03-01-preview", &responses, RESPONSES),
        ("/openai/v1/responses?api-version=preview", &responses, RESPONSES),
        ("/openai/v1/responses", &responses, RESPONSES),
        ("/openai/v1/chat/completions", &server, CHAT),
        ("/openai/v1//chat/completions/?api-version=v1", &server, CHAT),
        ("/openai/v1/embeddings?api-version=preview", &embeddings, "/v1/embeddings"),
    ] {
        let response = post(&gateway, path, r#"{"model":"any","input":"hi","messages":[]}"#).await;
        assert_eq!(response.status(), 200, "{path}");
        let request = server.log().last().unwrap();
        let sent: Value = serde_json::from_slice(&request.body).unwrap();
        assert_eq!((&sent["model"], &*request.path), (&json!("m"), sent_to), "{path}");
    }
    for path in ["/openai/v1/models", "/openai/models?api-version=2024-10-21"] {
        let (status, list) = get(&gateway, path, false).await;
        assert_eq!((status, &list["data"][0]["id"]), (200, &json!("p/m")), "{path}");
    }
    for path in ["/openai/v1/models/p/m", "/openai/models/p/m"] {
        assert_eq!(get(&gateway, path, false).await.0, 200, "{path}");
    }
    assert_eq!(post(&gateway, "/openai/v1/none", "{}").await.status(), 404);
    assert_eq!(get(&gateway, "/openai/v1/responses", false).await.0, 405);
}

/// Regression: the page of a proxy was returned in place of a count.
#[tokio::test]
async fn only_an_error_of_the_api_rejects_a_token_count() {
    for status in ["400 Bad Request", "401 Unauthorized", "403 Forbidden", "413 Content Too Large"] {
        for (body, is_rejected) in [
            (r#" {"type":"error","error":{"type":"invalid_request_error","message":"no"}}"#, true),
            ("<html>challenge</html>", false),
            ("\"denied\"", false),
            ("[]", false),
            ("{\"error\":", false),
            ("", false),
        ] {
            let length = body.len();
            let response = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}");
            let base_url = fixed_response(vec![response], true).await;
            let file = provider("c", "anthropic", &base_url) + &route_at(MESSAGES, &["c/m"]);
            let response = post(&gateway(&file).await, "/v1/messages/count_tokens", REQUEST).await;
            let expected = if is_rejected { &status[..3] } else { "200" };
            assert_eq!(response.status().as_str(), expected, "{status} {body}");
            assert_eq!(header(&response, "x-tidegate-estimated").is_none(), is_rejected, "{status} {body}");
            let code = header(&response, "x-tidegate-code");
            assert_eq!(code.is_some_and(|code| code.starts_with("E1")), is_rejected, "{status} {body}");
        }
    }
}

/// Regression: the length in a chunked response of a provider was returned, and the connection read out of
/// step.
#[tokio::test]
async fn the_length_of_a_response_is_that_of_the_body_that_is_sent() {
    let answer = r#"{"choices":[{"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}]}"#;
    let error = r#"{"type":"error","error":{"type":"invalid_request_error","message":"no"}}"#;
    for (path, status, body) in [
        (CHAT, "200 OK", answer),
        (CHAT, "400 Bad Request", error),
        (CHAT, "401 Unauthorized", error),
        ("/v1/messages/count_tokens", "200 OK", r#"{"input_tokens":11}"#),
        ("/v1/messages/count_tokens", "400 Bad Request", error),
    ] {
        for is_keyed in [false, true] {
            let chunks = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
            let head = format!(
                "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\ncontent-length: 10\r\n\r\n"
            );
            let base_url = fixed_response(vec![head + &chunks], true).await;
            let dialect = if path == CHAT { "openai" } else { "anthropic" };
            let key = if is_keyed { ", api_key_env = \"PROVIDER_KEY\"" } else { "" };
            let file =
                format!("providers.p = {{ base_url = \"{base_url}\", dialect = \"{dialect}\"{key} }}\n")
                    + &route_at(if path == CHAT { CHAT } else { MESSAGES }, &["p/m"]);
            let gateway = gateway(&file).await;
            let request = request_bytes(REQUEST).replacen(CHAT, path, 1);
            let response = raw(gateway.addr(), &request).await;
            let (head, sent) = response.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with(&format!("HTTP/1.1 {status}")), "{response}");
            let length = format!("content-length: {}", body.len());
            let is_chunked = head.contains("transfer-encoding: chunked") && !head.contains("content-length");
            assert!(
                is_chunked && sent.contains(body) || head.contains(&length) && sent == body,
                "{response}"
            );
        }
    }
}

/// Regression: bodies that are not text were sent to providers, some of which answer 500.
#[tokio::test]
async fn a_body_that_is_not_utf_8_is_not_sent() {
    let server = scripted(Provider::openai(), Reply::ok()).await;
    let gateway = gateway(&(openai("p", &server.base_url()) + &route_at(CHAT, &["p/m"]))).await;
    for path in [CHAT, "/openai/deployments/any/chat/completions"] {
        let body =
            b"{\"model\":\"m\",\n\"messages\":[{\"role\":\"user\",\"content\":\"caf\xe9\"}]}".as_slice();
        let response = client().post(url(&gateway, path)).body(body).send().await.unwrap();
        assert_eq!(
            (response.status().as_u16(), header(&response, "x-tidegate-code").as_deref()),
            (400, Some("E1001"))
        );
        let text = response.text().await.unwrap();
        assert!(text.contains("line 2 column 42"), "{text}");
    }
    assert_eq!(server.log().calls(), 0);
}

#[tokio::test]
async fn a_responses_stream_that_breaks_off_ends_in_an_error_with_the_next_number() {
    for (reply, place) in [
        (Reply::ok().tokens(20).cut_after(3), "the stream broke after 3 tokens"),
        (Reply::ok().tokens(20).reset_after(1), "the stream broke after 1 token"),
        (Reply::ok().tokens(20).stall_after(2), "the stream broke after 2 tokens: no token for 100ms"),
    ] {
        let server = scripted(Provider::responses(), reply).await;
        let file = openai("p", &server.base_url())
            + "policies.default = { timeout = { token_gap = \"100ms\" } }\n"
            + &route_at(RESPONSES, &["p/m"]);
        let gateway = gateway(&file).await;
        let response = post(&gateway, RESPONSES, r#"{"model":"any","stream":true,"input":"hello"}"#).await;
        assert_eq!(response.status(), 200);
        let text = response.text().await.unwrap();
        let events: Vec<Value> = text
            .lines()
            .filter_map(|line| line.strip_prefix("data: "))
            .map(|data| serde_json::from_str(data).unwrap())
            .collect();
        let [.., last, event] = &events[..] else { panic!("{text}") };
        let error = json!({"type": "server_error", "code": event["error"]["code"], "message": place});
        assert_eq!((&event["type"], &event["message"]), (&json!("error"), &json!(place)));
        for (field, value) in error.as_object().unwrap() {
            assert_eq!(&event["error"][field], value, "{field}");
        }
        let number = |event: &Value| event["sequence_number"].as_u64().unwrap();
        assert_eq!(number(event), number(last) + 1);
    }
}

/// Regression: where streams are continued, another error followed that of a stream that cannot be.
#[tokio::test]
async fn the_error_of_a_stream_that_cannot_be_continued_is_not_repeated() {
    let failing =
        scripted(Provider::responses(), Reply::ok().tokens(9).failed_event_at(7, "server_error")).await;
    let spare = scripted(Provider::responses(), Reply::ok()).await;
    let file = openai("p", &failing.base_url())
        + &openai("q", &spare.base_url())
        + "policies.default.fallback.continue_streams = true\n"
        + &route_at(RESPONSES, &["p/m", "q/m"]);
    let gateway = gateway(&file).await;
    let response = post(&gateway, RESPONSES, r#"{"model":"any","stream":true,"input":"hello"}"#).await;
    let text = response.text().await.unwrap();
    let events = text.lines().filter(|line| line.starts_with("event: "));
    assert_eq!(events.skip_while(|event| *event != "event: response.failed").count(), 1, "{text}");
}

#[tokio::test]
async fn an_error_event_of_a_broken_stream_names_the_tokens_before_it() {
    for (path, provider) in [(CHAT, Provider::openai()), (MESSAGES, Provider::anthropic())] {
        let dialect = if path == CHAT { "openai" } else { "anthropic" };
        let server = scripted(provider, Reply::ok().tokens(20).cut_after(4)).await;
        for route in [CHAT, MESSAGES] {
            let file = self::provider("p", dialect, &server.base_url()) + &route_at(route, &["p/m"]);
            let gateway = gateway(&file).await;
            let text = post(&gateway, route, STREAM_REQUEST).await.text().await.unwrap();
            let error = text.lines().rfind(|line| line.starts_with("data: ")).unwrap();
            assert!(error.contains("the stream broke after 4 tokens") && error.contains("E3001"), "{text}");
        }
    }
}

#[tokio::test]
async fn headers_of_the_providers_account_and_origin_stay_in_the_gateway() {
    let names = [
        "set-cookie",
        "alt-svc",
        "openai-organization",
        "openai-project",
        "anthropic-organization-id",
        "x-goog-user-project",
        "x-ms-subscription-id",
    ];
    let kept = ["x-request-id", "x-ratelimit-remaining-requests", "x-ratelimit-limit-project-tokens"];
    for reply in [Reply::ok(), Reply::error(400, "bad"), Reply::status(429)] {
        let reply = names.iter().chain(&kept).fold(reply, |reply, name| reply.header(name, "7"));
        let server = scripted(Provider::openai(), reply).await;
        let file =
            openai("p", &server.base_url()) + &route_at(CHAT, &["p/m"]) + &route_at(MESSAGES, &["p/m"]);
        let gateway = gateway(&file).await;
        for (path, request) in [(CHAT, REQUEST), (CHAT, STREAM_REQUEST), (MESSAGES, REQUEST)] {
            let response = post(&gateway, path, request).await;
            assert!(names.iter().all(|name| header(&response, name).is_none()), "{:?}", response.headers());
            assert_eq!(header(&response, "x-request-id").as_deref(), Some("7"), "{path}");
            if path == CHAT {
                assert!(
                    kept.iter().all(|name| header(&response, name).is_some()),
                    "{:?}",
                    response.headers()
                );
            }
        }
    }
}

#[tokio::test]
async fn a_stream_is_not_buffered_by_a_proxy_in_front() {
    let server = scripted(Provider::openai(), Reply::ok()).await;
    let own = scripted(Provider::openai(), Reply::ok().header("cache-control", "no-store")).await;
    let file = openai("p", &server.base_url())
        + &openai("own", &own.base_url())
        + &route_at(MESSAGES, &["p/m"])
        + &route("own", &["own/m"])
        + &route("*", &["p/m"]);
    let gateway = gateway(&file).await;
    for (path, request, cache) in [
        (CHAT, STREAM_REQUEST, Some("no-cache")),
        (MESSAGES, STREAM_REQUEST, Some("no-cache")),
        (CHAT, &*STREAM_REQUEST.replace("any", "own"), Some("no-store")),
        (CHAT, REQUEST, None),
    ] {
        let response = post(&gateway, path, request).await;
        assert_eq!(header(&response, "cache-control").as_deref(), cache, "{path} {request}");
        assert_eq!(
            header(&response, "x-accel-buffering").as_deref(),
            cache.and(Some("no")),
            "{path} {request}"
        );
    }
}

#[tokio::test]
async fn what_providers_read_of_a_query_reaches_a_target_of_the_callers_dialect() {
    let claude = scripted(Provider::anthropic(), Reply::ok()).await;
    let gpt = scripted(Provider::openai(), Reply::ok()).await;
    let file = provider("claude", "anthropic", &claude.base_url())
        + &openai("gpt", &gpt.base_url())
        + &route_at(MESSAGES, &["claude/m"])
        + &route_at(CHAT, &["claude/m"])
        + "[[routes]]\npath = \"/v1/messages\"\nmodel = \"gpt\"\nchain = [\"gpt/m\"]\n";
    let gateway = gateway(&file).await;
    for (path, body, server, expected) in [
        ("/v1/messages?beta=true&key=secret&$fields=id", REQUEST, &claude, "/v1/messages?beta=true"),
        ("/v1/messages", REQUEST, &claude, "/v1/messages"),
        ("/v1/messages?key=secret", REQUEST, &claude, "/v1/messages"),
        ("/v1/chat/completions?beta=true", REQUEST, &claude, "/v1/messages"),
        ("/v1/messages?beta=true", &*REQUEST.replace("any", "gpt"), &gpt, "/v1/chat/completions"),
    ] {
        assert_eq!(post(&gateway, path, body).await.status(), 200, "{path}");
        assert_eq!(server.log().last().unwrap().path, expected, "{path}");
    }
}

#[tokio::test]
async fn paths_with_doubled_and_trailing_slashes_are_served() {
    let server = scripted(Provider::openai(), Reply::ok()).await;
    let gateway = gateway(&(openai("p", &server.base_url()) + &route("*", &["p/m"]))).await;
    for path in [
        "//v1/chat/completions",
        "/v1//chat/completions",
        "/v1/chat/completions/",
        "/v1/chat//completions//?x=1",
    ] {
        assert_eq!(post(&gateway, path, REQUEST).await.status(), 200, "{path}");
    }
    for path in ["/health", "/health/", "/healthz", "//healthz", "/v1/models/"] {
        assert_eq!(get(&gateway, path, false).await.0, 200, "{path}");
    }
}

#[tokio::test]
async fn models_are_listed_and_described_in_the_callers_dialect() {
    let file = openai("p", "http://127.0.0.1:1/v1")
        + &route("gpt-4o", &["p/m"])
        + &route("org/model", &["p/m"])
        + &route("*", &["p/any"]);
    let gateway = gateway(&file).await;
    for id in ["gpt-4o", "org/model", "org%2Fmodel", "p/any"] {
        let (status, model) = get(&gateway, &format!("/v1/models/{id}"), false).await;
        assert_eq!((status, &model["object"]), (200, &json!("model")), "{id}");
        assert_eq!(model["id"], id.replace("%2F", "/"));
        let (status, model) = get(&gateway, &format!("/v1/models/{id}"), true).await;
        assert_eq!((status, &model["type"], &model["display_name"]), (200, &json!("model"), &model["id"]));
    }
    let (status, body) = get(&gateway, "/v1/models/none/such", false).await;
    assert_eq!((status, &body["error"]["code"]), (404, &json!("model_not_found")));
    assert!(body["error"]["message"].as_str().unwrap().contains("`none/such`"), "{body}");
    let (status, body) = get(&gateway, "/v1/models/none", true).await;
    assert_eq!((status, &body["error"]["type"]), (404, &json!("not_found_error")));
    let (_, list) = get(&gateway, "/v1/models?limit=1000", true).await;
    assert_eq!(
        (&list["has_more"], &list["first_id"], &list["last_id"]),
        (&json!(false), &json!("gpt-4o"), &json!("p/any"))
    );
    let ids = list["data"].as_array().unwrap().iter().map(|model| model["display_name"].as_str().unwrap());
    assert_eq!(ids.collect::<Vec<_>>(), ["gpt-4o", "org/model", "p/any"]);
}

#[tokio::test]
async fn tokens_are_counted_by_a_provider_that_counts_and_estimated_otherwise() {
    let claude = scripted(Provider::anthropic(), Reply::raw(r#"{"input_tokens":11}"#)).await;
    let gpt = scripted(Provider::openai(), Reply::ok()).await;
    let closed = closed_port().unwrap();
    let file = provider("claude", "anthropic", &claude.base_url())
        + &provider("closed", "anthropic", &closed.base_url())
        + &openai("gpt", &gpt.base_url())
        + "policies.default = { circuit_breaker = { failure_threshold = 1, cooldown_seconds = 60 } }\n"
        + &[("claude", "[\"gpt/m\", \"claude/opus\"]"), ("gpt", "[\"gpt/m\"]"), ("closed", "[\"closed/m\"]")]
            .map(|(model, chain)| {
                format!("[[routes]]\npath = {MESSAGES:?}\nmodel = {model:?}\nchain = {chain}\n")
            })
            .concat();
    let gateway = gateway(&file).await;
    let count = async |model: &str| {
        let body = format!(
            r#"{{"model":{model:?},"system":"be brief","tools":[{{"name":"tide_at"}}],"messages":[{{"role":"user","content":"hello"}}]}}"#
        );
        let response = post(&gateway, "/v1/messages/count_tokens?beta=true", &body).await;
        let is_estimated = header(&response, "x-tidegate-estimated").is_some();
        (response.status().as_u16(), is_estimated, json(response).await)
    };
    assert_eq!(count("claude").await, (200, false, json!({"input_tokens": 11})));
    let request = claude.log().last().unwrap();
    assert_eq!(request.path, "/v1/messages/count_tokens?beta=true");
    let sent: Value = serde_json::from_slice(&request.body).unwrap();
    assert_eq!((&sent["model"], request.headers.contains_key("anthropic-version")), (&json!("opus"), true));

    // A rejected request is the caller's, and the rest is estimated.
    claude.script().otherwise(Reply::error(400, "invalid_request_error"));
    let (status, is_estimated, body) = count("claude").await;
    assert_eq!((status, is_estimated, &body["error"]["type"]), (400, false, &json!("invalid_request_error")));
    for reply in
        [Reply::status(404), Reply::status(429), Reply::status(529), Reply::raw("<html>"), Reply::reset()]
    {
        claude.script().otherwise(reply);
        let (status, is_estimated, body) = count("claude").await;
        assert_eq!((status, is_estimated), (200, true));
        assert!((5..40).contains(&body["input_tokens"].as_u64().unwrap()), "{body}");
    }
    for model in ["gpt", "closed"] {
        let (status, is_estimated, body) = count(model).await;
        assert_eq!((status, is_estimated), (200, true), "{model} {body}");
    }
    assert_eq!(gpt.log().calls(), 0);
    let (status, _, body) = count("none").await;
    assert_eq!((status, &body["error"]["type"]), (404, &json!("not_found_error")));
    // No failure was recorded in a circuit.
    let (_, targets) = get(&gateway, "/signals", false).await;
    let targets = targets.as_array().unwrap();
    assert!(targets.iter().all(|target| target["circuit_state"] == "closed"), "{targets:?}");
}

#[tokio::test]
async fn a_caller_that_closes_its_sending_side_receives_the_response() {
    let pause = std::time::Duration::from_millis(200);
    let server = scripted(Provider::openai(), Reply::text("a b c").pace(pause)).await;
    let gateway = gateway(&(openai("p", &server.base_url()) + &route("*", &["p/m"]))).await;
    for request in [REQUEST, STREAM_REQUEST] {
        let response = half_closed(gateway.addr(), &request_bytes(request)).await;
        assert!(response.starts_with("HTTP/1.1 200 "), "{response}");
        assert!(response.contains("stop"), "{response}");
        let old = request_bytes(request).replace("HTTP/1.1", "HTTP/1.0").replace("connection: close\r\n", "");
        let response = half_closed(gateway.addr(), &old).await;
        assert!(response.starts_with("HTTP/1.0 200 "), "{response}");
    }
    assert_eq!((server.log().calls(), server.log().abandoned()), (4, 0));
    // A request that is not complete is not awaited.
    let incomplete = request_bytes(REQUEST).replace("content-length: ", "content-length: 9");
    let started = std::time::Instant::now();
    half_closed(gateway.addr(), &incomplete).await;
    assert!(started.elapsed() < std::time::Duration::from_secs(10));
    assert_eq!(server.log().calls(), 4);
}

/// Regression: the rest of a page that did not fit the socket was lost.
#[tokio::test]
async fn a_caller_that_closes_its_sending_side_receives_a_long_page() {
    let models: String =
        (0..500).map(|number| route(&format!("{number}-{}", "m".repeat(20_000)), &["p/m"])).collect();
    let gateway = gateway(&(openai("p", "http://127.0.0.1:1/v1") + &models)).await;
    for head in [
        "GET /v1/models HTTP/1.0\r\n\r\n",
        "GET /v1/models HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n",
    ] {
        let response = half_closed(gateway.addr(), head).await;
        assert!(response.ends_with("\"list\"}"), "{} bytes", response.len());
    }
}

/// Regression: the end of the connection of such a caller was not noticed during its call.
#[tokio::test]
async fn a_caller_over_http_1_0_that_keeps_its_connection_and_leaves_is_noticed() {
    let server = scripted(Provider::openai(), Reply::hang()).await;
    let gateway = gateway(&(openai("p", &server.base_url()) + &route("*", &["p/m"]))).await;
    let request = request_bytes(REQUEST).replace("HTTP/1.1", "HTTP/1.0").replace("close", "keep-alive");
    let mut caller = tokio::net::TcpStream::connect(gateway.addr()).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut caller, request.as_bytes()).await.unwrap();
    server.log().in_flight_is(1).await;
    drop(caller);
    let left = tokio::time::timeout(std::time::Duration::from_secs(10), server.log().in_flight_is(0));
    left.await.expect("the call is cancelled");
}

/// Regression: the error was plain text.
#[tokio::test]
async fn a_path_that_is_no_text_is_an_error_in_the_dialect_of_the_caller() {
    let gateway = gateway(&(openai("p", "http://127.0.0.1:1/v1") + &route("*", &["p/m"]))).await;
    for (method, path) in [
        ("POST", "/openai/deployments/%FF/chat/completions"),
        ("GET", "/v1/models/%FF"),
        ("GET", "/openai/models/a%C3/b"),
        ("GET", "/calls/%ff"),
        ("POST", "/signals/p/%FF/reset"),
    ] {
        for version in [None, Some("2023-06-01")] {
            let request = client().request(method.parse().unwrap(), url(&gateway, path));
            let request = request.header("content-type", "application/json").body(REQUEST);
            let request =
                version.into_iter().fold(request, |request, it| request.header("anthropic-version", it));
            let response = request.send().await.unwrap();
            assert_eq!(response.status(), 400, "{method} {path}");
            assert_eq!(response.headers()["x-tidegate-code"], "E1001", "{path}");
            let error = json(response).await;
            assert_eq!(error["type"] == "error", version.is_some(), "{path} {error}");
            assert_eq!(error["error"]["type"], "invalid_request_error", "{path} {error}");
        }
    }
}
