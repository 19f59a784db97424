//! Who may use the gateway: web pages, callers with keys, other machines.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::*;
use futures_util::{StreamExt, stream};
use serde_json::Value;
use tidegate_gateway::{Config, Gateway, RunningGateway};
use tidegate_testkit::{Provider, Reply, Server};
use tokio::task::JoinSet;

const CHAT: &str = "/v1/chat/completions";
const MESSAGES: &str = "/v1/messages";
const REQUEST: &str = r#"{"model":"any","max_tokens":9,"messages":[{"role":"user","content":"hello"}]}"#;

async fn scripted(reply: Reply) -> Server {
    Provider::openai().otherwise(reply).start().await.unwrap()
}

fn routes(server: &Server) -> String {
    openai("p", &server.base_url())
        + &[CHAT, MESSAGES].map(|path| format!("[[routes]]\npath = {path:?}\nchain = [\"p/m\"]\n")).concat()
}

/// Sends a request with these headers. `host` is one of them.
async fn send(
    gateway: &RunningGateway,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> (u16, String) {
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nconnection: close\r\n{headers}content-length: {length}\r\n\r\n{body}"
    );
    let response = raw(gateway.addr(), &request).await;
    (response[9..12].parse().unwrap(), response)
}

/// Checks that the error in a response has the form of the API at `path`.
fn check_error(path: &str, status: u16, response: &str) {
    let (_, body) = response.split_once("\r\n\r\n").unwrap();
    let body: Value = serde_json::from_str(body).unwrap();
    let (openai, anthropic) = match status {
        400 | 415 => ("invalid_request_error", "invalid_request_error"),
        401 => ("invalid_request_error", "authentication_error"),
        _ => ("invalid_request_error", "permission_error"),
    };
    match path {
        MESSAGES => assert_eq!((&body["type"], &body["error"]["type"]), (&"error".into(), &anthropic.into())),
        _ => assert_eq!((&body["error"]["type"], &body["error"]["param"]), (&openai.into(), &Value::Null)),
    }
}

/// Over HTTP/2 a response that ends before its request is followed by a reset, which some clients report
/// instead.
#[tokio::test]
async fn a_refusal_over_http_2_follows_the_end_of_the_request() {
    let server = scripted(Reply::ok()).await;
    let gateway = gateway(&routes(&server)).await;
    for (name, value, status) in
        [("origin", "https://elsewhere.example", 403), ("content-type", "text/plain", 415)]
    {
        let (has_ended, delay) = (Arc::new(AtomicBool::new(false)), Duration::from_millis(50));
        let end = Arc::clone(&has_ended);
        let late = async move {
            tokio::time::sleep(delay).await;
            end.store(true, Ordering::Relaxed);
            Ok::<_, std::io::Error>(&REQUEST[9..])
        };
        let body = stream::iter([Ok(&REQUEST[..9])]).chain(stream::once(late));
        let client = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().unwrap();
        let request = client.post(format!("http://{}{CHAT}", gateway.addr())).header(name, value);
        let response = request.body(reqwest::Body::wrap_stream(body)).send().await.unwrap();
        assert_eq!((response.status().as_u16(), response.version()), (status, reqwest::Version::HTTP_2));
        assert!(has_ended.load(Ordering::Relaxed), "{name}");
    }
}

/// Regression: the memory for a long query was counted nowhere.
#[tokio::test]
async fn a_request_with_a_long_path_or_query_is_refused() {
    let server = scripted(Reply::ok()).await;
    let gateway = gateway(&routes(&server)).await;
    let json = ("content-type", "application/json");
    for (uri, status) in [
        (format!("{CHAT}?a={}", "x".repeat(8_000)), 200),
        (format!("{CHAT}?a={}", "x".repeat(9_000)), 414),
        (format!("/openai/deployments/{}/chat/completions", "x".repeat(9_000)), 414),
    ] {
        let (found, response) = send(&gateway, "POST", &uri, &[("host", "localhost"), json], REQUEST).await;
        assert_eq!(found, status, "{response}");
        assert_eq!(response.contains("longer than 8192 bytes"), status == 414, "{response}");
    }
}

/// Regression: any page that a developer had open could send prompts and read `/signals`.
#[tokio::test]
async fn a_web_page_cannot_use_a_gateway_on_loopback() {
    let server = scripted(Reply::ok()).await;
    let gateway = gateway(&routes(&server)).await;
    let own = gateway.addr().to_string();
    let (host, json) = (("host", &*own), ("content-type", "application/json"));
    let cross_site = ("sec-fetch-site", "cross-site");
    for path in [CHAT, MESSAGES] {
        for (headers, status) in [
            // A simple request, which needs no preflight.
            (
                &[host, ("content-type", "text/plain"), ("origin", "https://evil.example"), cross_site][..],
                403,
            ),
            (&[host, json, ("origin", "https://evil.example")], 403),
            (&[host, json, ("origin", "null")], 403),
            (&[host, json, ("origin", "http://localhost:3000"), ("sec-fetch-site", "same-site")], 403),
            (&[host, json, cross_site], 403),
            // A host of the page that resolves to the gateway.
            (&[("host", "evil.example"), json], 403),
            (&[("host", "evil.example:8787"), json, ("sec-fetch-site", "same-origin")], 403),
            (&[host, host, json], 400),
            (&[host, ("content-type", "text/plain;charset=UTF-8")], 415),
            (&[host, ("content-type", "application/x-www-form-urlencoded")], 415),
            (&[host, ("content-type", "multipart/form-data; boundary=x")], 415),
            (&[host, json, json], 415),
        ] {
            let (found, response) = send(&gateway, "POST", path, headers, REQUEST).await;
            assert_eq!(found, status, "{path} {headers:?} {response}");
            check_error(path, status, &response);
            assert!(!response.contains("access-control-"), "{response}");
        }
    }
    for path in ["/", "/signals", "/calls", "/v1/models", "/healthz", "/none"] {
        assert_eq!(send(&gateway, "GET", path, &[host, cross_site], "").await.0, 403, "{path}");
        assert_eq!(send(&gateway, "GET", path, &[("host", "evil.example")], "").await.0, 403, "{path}");
    }
    let preflight = [host, ("origin", "https://evil.example"), ("access-control-request-method", "POST")];
    let (status, response) = send(&gateway, "OPTIONS", CHAT, &preflight, "").await;
    assert!(status == 405 && response.contains("allow: POST"), "{response}");
    assert!(!response.contains("access-control-"), "{response}");
    assert_eq!(server.log().calls(), 0);

    // Programs, and the address bar of a browser.
    for headers in [
        &[host, json][..],
        &[host],
        &[("host", "localhost"), ("content-type", "application/json; charset=utf-8")],
        &[("host", "[::1]:1"), ("content-type", "application/vnd.api+json")],
        // The fetch of Node.js.
        &[host, json, ("sec-fetch-mode", "cors")],
        &[host, json, ("origin", &format!("http://{own}")), ("sec-fetch-site", "same-origin")],
    ] {
        assert_eq!(send(&gateway, "POST", CHAT, headers, REQUEST).await.0, 200, "{headers:?}");
    }
    assert_eq!(send(&gateway, "GET", "/signals", &[host, ("sec-fetch-site", "none")], "").await.0, 200);
    let link = [host, cross_site, ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")];
    assert_eq!(send(&gateway, "GET", "/", &link, "").await.0, 200);
}

#[tokio::test]
async fn pages_and_hosts_of_the_file_are_accepted() {
    // The permission of the provider is for its own clients.
    let server = scripted(Reply::ok().header("access-control-allow-origin", "*")).await;
    let file =
        "hosts = [\"Gateway.internal\"]\norigins = [\"https://app.example\"]\n".to_owned() + &routes(&server);
    let gateway = gateway(&file).await;
    let (host, origin) = (("host", "gateway.internal:80"), ("origin", "https://app.example"));
    let json = ("content-type", "application/json");
    let (status, response) =
        send(&gateway, "POST", CHAT, &[host, json, origin, ("sec-fetch-site", "cross-site")], REQUEST).await;
    assert_eq!(status, 200, "{response}");
    assert_eq!(response.matches("access-control-allow-origin").count(), 1, "{response}");
    assert!(response.contains("access-control-allow-origin: https://app.example\r\n"), "{response}");
    assert!(response.contains("access-control-expose-headers: *\r\n"), "{response}");
    let preflight = [
        host,
        origin,
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "authorization,x-stainless-os"),
        ("access-control-request-private-network", "true"),
    ];
    let (status, response) = send(&gateway, "OPTIONS", CHAT, &preflight, "").await;
    assert_eq!(status, 200, "{response}");
    for header in ["headers: authorization,x-stainless-os", "methods: GET,POST", "private-network: true"] {
        assert!(response.contains(&format!("access-control-allow-{header}\r\n")), "{header}: {response}");
    }
    // Its body has to be JSON all the same.
    let plain = [host, origin, ("content-type", "text/plain")];
    assert_eq!(send(&gateway, "POST", CHAT, &plain, REQUEST).await.0, 415);
    let (status, response) = send(&gateway, "POST", CHAT, &[("host", "localhost"), json], REQUEST).await;
    assert_eq!((status, response.contains("access-control-allow-origin")), (200, false), "{response}");
}

/// Regression: callers needed no key, without a warning.
#[test]
fn a_gateway_that_other_machines_reach_needs_callers() {
    let start = |listen: &str, more: &str| {
        let (before, after) = if more == CALLERS { ("", more) } else { (more, "") };
        let file = format!("listen = {listen:?}\n{before}\n")
            + &openai("p", "http://127.0.0.1:1/v1")
            + &route("*", &["p/m"])
            + after;
        Gateway::new(Config::parse(&file, env).unwrap()).map(drop).map_err(|error| error.to_string())
    };
    for listen in ["0.0.0.0:8787", "[::]:8787", "192.0.2.1:80", "[::ffff:10.0.0.1]:80"] {
        let error = start(listen, "").unwrap_err();
        assert!(
            error.starts_with("listen: other machines reach ") && error.contains("[[callers]]"),
            "{error}"
        );
        assert!(error.contains("open = true") && error.contains(listen), "{error}");
        assert_eq!(start(listen, "open = true"), Ok(()));
        assert_eq!(start(listen, CALLERS), Ok(()));
    }
    for listen in ["127.0.0.1:0", "127.0.0.2:0", "[::1]:0", "[::ffff:127.0.0.1]:0"] {
        assert_eq!(start(listen, ""), Ok(()), "{listen}");
    }
}

#[tokio::test]
async fn callers_need_their_key_and_it_stays_in_the_gateway() {
    let server = scripted(Reply::ok()).await;
    let file = openai_with_key("p", &server.base_url())
        + &[CHAT, MESSAGES].map(|path| format!("[[routes]]\npath = {path:?}\nchain = [\"p/m\"]\n")).concat()
        + CALLERS;
    let gateway = exposed_gateway(&file).await;
    let host = ("host", "gateway.example");
    let bearer = format!("Bearer {ANN_KEY}");
    for path in [CHAT, MESSAGES, "/v1/messages/count_tokens", "/openai/deployments/m/chat/completions"] {
        for headers in [
            &[host][..],
            &[host, ("authorization", "Bearer wrong")],
            &[host, ("authorization", ANN_KEY)],
            &[host, ("x-api-key", &ANN_KEY[1..])],
            &[host, ("x-api-key", KEY)],
            &[host, ("x-api-key", BEN_KEY), ("authorization", &bearer)],
        ] {
            let (status, response) = send(&gateway, "POST", path, headers, REQUEST).await;
            assert_eq!(status, 401, "{headers:?} {response}");
            assert!(response.contains("www-authenticate: Bearer\r\n"), "{response}");
            if path == CHAT || path == MESSAGES {
                check_error(path, 401, &response);
            }
        }
    }
    assert_eq!(server.log().calls(), 0);
    for header in [("authorization", &*bearer), ("x-api-key", ANN_KEY), ("api-key", BEN_KEY)] {
        for path in [CHAT, MESSAGES] {
            let (status, response) = send(&gateway, "POST", path, &[host, header], REQUEST).await;
            assert_eq!(status, 200, "{response}");
        }
        assert_eq!(send(&gateway, "GET", "/v1/models", &[host, header], "").await.0, 200);
    }
    for (path, status) in [("/v1/models", 401), ("/v1/none", 401), ("/healthz", 200), ("/readyz", 200)] {
        assert_eq!(send(&gateway, "GET", path, &[host], "").await.0, status, "{path}");
    }
    for request in server.log().requests() {
        let sent = format!("{:?} {} {:?}", request.headers, request.path, request.body);
        assert!(!sent.contains(ANN_KEY) && !sent.contains(BEN_KEY), "{sent}");
        assert_eq!(request.headers["authorization"], format!("Bearer {KEY}"));
    }
}

async fn chat_as(gateway: &RunningGateway, key: Option<&str>, headers: &[(&str, &str)]) -> reqwest::Response {
    let request = chat(gateway, REQUEST);
    let request = key.into_iter().fold(request, |request, key| request.bearer_auth(key));
    headers.iter().fold(request, |request, (name, value)| request.header(*name, *value)).send().await.unwrap()
}

/// Attack M16 of the field: beside a flood of one caller another got hardly any call through.
#[tokio::test]
async fn a_flood_of_one_caller_leaves_another_its_turns() {
    let server = scripted(Reply::ok()).await;
    let policy =
        "policies.default.rate_limiter = { requests_per_second = 20, burst_size = 1, max_wait = \"20s\" }\n";
    let gateway = Arc::new(gateway(&(policy.to_owned() + &routes(&server) + CALLERS)).await);
    let mut flood = JoinSet::new();
    for _ in 0..60 {
        let gateway = Arc::clone(&gateway);
        flood.spawn(async move { chat_as(&gateway, Some(ANN_KEY), &[]).await.status() });
    }
    assert_eq!(flood.join_next().await.unwrap().unwrap(), 200);
    for _ in 0..3 {
        assert_eq!(chat_as(&gateway, Some(BEN_KEY), &[]).await.status(), 200);
    }
    assert!(server.log().calls() < 30, "{} calls", server.log().calls());
}

/// Regression: callers without a credential got the answers of each other.
#[tokio::test]
async fn a_cached_answer_is_for_its_caller_alone() {
    let (ann, ben) = (Some(ANN_KEY), Some(BEN_KEY));
    let by_header = "policies.default.fallback.cache_by = \"header:x-team\"\n";
    let by_credential = "policies.default.fallback.cache_by = \"credential\"\n";
    let shared = "cache.shared = true\n";
    let (shared_by_header, header_of_callers) =
        (&*(shared.to_owned() + by_header), &*(by_header.to_owned() + CALLERS));
    let (team, other) = (Some(("x-team", "a")), Some(("x-team", "b")));
    for (settings, stored, requested, status) in [
        ("", (None, None), (None, None), 503),
        ("", (None, None), (ann, None), 503),
        ("", (ann, None), (None, None), 503),
        ("", (ann, None), (ben, None), 503),
        ("", (ann, None), (ann, None), 200),
        (CALLERS, (ann, None), (ann, None), 200),
        (CALLERS, (ann, None), (ben, None), 503),
        (shared, (None, None), (None, None), 200),
        (shared, (ann, None), (ben, None), 200),
        (by_header, (None, None), (None, None), 503),
        (by_header, (None, team), (None, team), 503),
        (by_header, (ann, None), (ann, None), 503),
        (by_header, (ann, team), (ann, team), 200),
        (by_header, (ann, team), (ann, other), 503),
        (by_header, (ann, team), (ben, team), 503),
        (header_of_callers, (ann, team), (ben, team), 503),
        (header_of_callers, (ann, team), (ann, team), 200),
        (shared_by_header, (None, None), (None, None), 503),
        (shared_by_header, (ann, team), (ben, team), 200),
        (shared_by_header, (ann, team), (ann, other), 503),
        (by_credential, (ann, None), (ben, None), 503),
        (by_credential, (None, None), (None, None), 503),
        (by_credential, (ann, None), (ann, None), 200),
    ] {
        let server = Provider::openai().then(Reply::text("the tide")).otherwise(Reply::status(503));
        let server = server.start().await.unwrap();
        let (settings, callers) = settings.split_at(settings.find("[[").unwrap_or(settings.len()));
        let file = settings.to_owned() + &openai("p", &server.base_url()) + callers;
        let gateway = gateway(&(file + &route("*", &["p/m", "@cached"]))).await;
        let (key, header) = stored;
        let first = chat_as(&gateway, key, header.as_slice()).await;
        assert_eq!(first.status(), 200);
        first.bytes().await.unwrap();
        let (key, header) = requested;
        let second = chat_as(&gateway, key, header.as_slice()).await;
        assert_eq!(second.status(), status, "{settings:?} {callers:?} {stored:?} {requested:?}");
    }
}

/// Regression: the key of an answer had the value of the header without its name.
#[tokio::test]
async fn a_cached_answer_is_for_the_header_by_which_it_was_stored() {
    let server = Provider::openai().then(Reply::text("the tide")).otherwise(Reply::status(503));
    let server = server.start().await.unwrap();
    let file = |header: &str| {
        format!("policies.default.fallback.cache_by = \"header:{header}\"\n")
            + &openai("p", &server.base_url())
            + &route("*", &["p/m", "@cached"])
    };
    let gateway = gateway(&file("x-user")).await;
    let headers = [("x-user", "7"), ("x-session", "7")];
    for (cache_by, status) in [("x-user", 200), ("x-session", 503), ("x-user", 200)] {
        gateway.reload(Config::parse(&file(cache_by), env).unwrap()).unwrap();
        let response = chat_as(&gateway, Some(ANN_KEY), &headers).await;
        assert_eq!(response.status(), status, "{cache_by}");
        response.bytes().await.unwrap();
    }
}

/// Regression: the header was there when it was looked up, and removed before it became the key of the
/// answer.
#[tokio::test]
async fn an_answer_is_not_cached_by_a_header_that_belongs_to_the_connection() {
    let server = Provider::openai().then(Reply::text("the tide")).otherwise(Reply::status(503));
    let server = server.start().await.unwrap();
    let file = "cache.shared = true\npolicies.default.fallback.cache_by = \"header:x-team\"\n".to_owned()
        + &openai("p", &server.base_url())
        + &route("*", &["p/m", "@cached"]);
    let gateway = gateway(&file).await;
    for (team, status) in [("a", 200), ("b", 503)] {
        let response = chat_as(&gateway, None, &[("connection", "x-team"), ("x-team", team)]).await;
        assert_eq!(response.status(), status, "{team}");
        response.bytes().await.unwrap();
    }
}

#[tokio::test]
async fn an_idempotency_key_is_that_of_its_caller_and_the_same_in_all_attempts() {
    let server = scripted(Reply::status(503)).await;
    let file = "policies.default.retry = { max_retries = 1, initial_delay = \"1ms\" }\n".to_owned()
        + &openai("p", &server.base_url())
        + &route("*", &["p/m"])
        + CALLERS;
    let gateway = gateway(&file).await;
    for key in [ANN_KEY, BEN_KEY, ANN_KEY] {
        assert_eq!(chat_as(&gateway, Some(key), &[("idempotency-key", "order-7")]).await.status(), 503);
    }
    let requests = server.log().requests();
    let keys: Vec<_> = requests.iter().map(|request| request.headers["idempotency-key"].clone()).collect();
    let [one, two, three, four, five, six] = &*keys else { panic!("{keys:?}") };
    assert_eq!((one, three, one, one), (two, four, five, six));
    assert!(one != three && one != "order-7" && three != "order-7", "{keys:?}");
}

/// Regression: headers that select an account of a cloud provider passed to the provider.
#[tokio::test]
async fn only_headers_that_providers_read_are_forwarded() {
    let (plain, more) = (scripted(Reply::status(503)).await, scripted(Reply::ok()).await);
    let file = openai("p", &plain.base_url())
        + "policies.default.rate_limiter = { requests_per_second = 100, key_by = \"header:x-user\" }\n"
        + &format!(
            "[providers.q]\nbase_url = {:?}\ndialect = \"openai\"\nforward_headers = [\"X-Extra\", \"helicone-id\"]\n",
            more.base_url()
        )
        + &route("*", &["p/m", "q/m"]);
    let gateway = gateway(&file).await;
    let passing = [
        "openai-beta",
        "user-agent",
        "accept",
        "traceparent",
        "tracestate",
        "x-request-id",
        "x-stainless-retry-count",
        "x-grok-conv-id",
        "x-user",
    ];
    let never = [
        "x-goog-user-project",
        "x-amz-security-token",
        "ocp-apim-subscription-key",
        "x-auth-token",
        "x-api-token",
        "openai-organization",
        "openai-project",
        "cookie",
        "forwarded",
        "x-forwarded-for",
        "via",
        "cf-ray",
        "referer",
        "x-real-ip",
        "x-custom",
        "proxy-authorization",
        "te",
        "x-named",
        "x-tidegate-target",
        "private-token",
        "anthropic-version",
    ];
    let headers: Vec<_> = passing.iter().chain(&never).chain(&["x-extra"]).map(|&name| (name, "7")).collect();
    let headers = [&headers[..], &[("connection", "x-named, helicone-id"), ("helicone-id", "7")]].concat();
    assert_eq!(chat_as(&gateway, None, &headers).await.status(), 200);
    for (server, is_extra) in [(&plain, false), (&more, true)] {
        let sent = server.log().last().unwrap().headers;
        for name in passing {
            assert!(sent.contains_key(name), "{name}: {sent:?}");
        }
        for name in never {
            assert!(!sent.contains_key(name), "{name}: {sent:?}");
        }
        assert_eq!(sent.contains_key("x-extra"), is_extra, "{sent:?}");
        assert!(!sent.contains_key("helicone-id"), "named by `connection`: {sent:?}");
    }
}

/// Regression: the provider repeats the key in its errors.
#[tokio::test]
async fn the_key_of_the_gateway_is_removed_from_what_a_provider_returns() {
    let echo =
        format!(r#"{{"error":{{"message":"Incorrect API key provided: {KEY}.","code":"invalid_api_key"}}}}"#);
    let masked = format!(r#"{{"error":{{"message":"Incorrect API key: {}****{}"}}}}"#, &KEY[..6], &KEY[20..]);
    let token = "data: {\"choices\":[{\"delta\":{\"content\":\"hi\"}}]}\n\n";
    let event =
        format!("data: {{\"error\":{{\"message\":\"bad key {KEY}\",\"type\":\"server_error\"}}}}\n\n");
    let stream =
        |text: &str| Reply::raw(token).frame(text.to_owned()).header("content-type", "text/event-stream");
    let split = async |text: &str, at: usize| {
        let (head, tail) = text.split_at(at);
        let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
        let head = format!(
            "HTTP/1.1 401 Unauthorized\r\ntransfer-encoding: chunked\r\ncontent-type: application/json\r\n\r\n{}",
            chunk(head)
        );
        fixed_response(vec![head, chunk(tail) + "0\r\n\r\n"], true).await
    };
    for (status, base_url) in [
        (401, split(&echo, echo.find(KEY).unwrap() + 9).await),
        (401, split(&masked, masked.find("****").unwrap() + 2).await),
    ] {
        check_redacted(status, &base_url).await;
    }
    for (status, reply) in [
        (401, Reply::error(401, "invalid_api_key").message(format!("Incorrect API key provided: {KEY}"))),
        (500, Reply::error(500, KEY)),
        (200, Reply::ok().header("x-debug", &format!("key={KEY}"))),
        (200, stream(&event)),
    ] {
        let server = scripted(reply).await;
        check_redacted(status, &server.base_url()).await;
    }
}

/// Regression: guesses of a caller that were right were removed from its errors, so that a thousand requests
/// found a key.
#[tokio::test]
async fn what_a_caller_writes_is_returned_alike_whatever_it_has_in_common_with_a_key() {
    let server = scripted(Reply::ok()).await;
    let file = openai_with_key("p", &server.base_url())
        + &route("served", &["p/m"])
        + &route("other", &["p/m"])
        + "[[routes]]\npath = \"/v1/messages\"\nmodel = \"served\"\nchain = [\"p/m\"]\n"
        + &CALLERS.replacen("\"ANN_KEY\"", "\"ANN_KEY\"\nroutes = [\"other\"]", 1);
    let gateway = gateway(&file).await;
    let send = async |key: &str, path: &str, model: &str, coding: &str| {
        let request = client().post(url(&gateway, path)).bearer_auth(key).header("content-encoding", coding);
        let messages = serde_json::json!([{"role": "user", "content": "hi"}]);
        let body = serde_json::json!({"model": model, "max_tokens": 9, "messages": messages});
        let response =
            request.header("content-type", "application/json").body(body.to_string()).send().await.unwrap();
        (
            response.status().as_u16(),
            format!("{:?}", response.headers().get("x-echo")),
            response.text().await.unwrap(),
        )
    };
    let guesses = [
        &KEY[..4],
        &KEY[..8],
        &KEY[..25],
        &KEY[1..25],
        "sk-***ider",
        "...ovider",
        "sk-t\u{2022}\u{2022}\u{2022}er",
    ];
    for guess in guesses {
        // The same with other letters, that no key has.
        let other: String =
            guess.chars().map(|c| if c.is_ascii_alphabetic() && c != 'x' { 'q' } else { c }).collect();
        for (key, path, status) in [
            (BEN_KEY, CHAT, 404),
            (BEN_KEY, MESSAGES, 404),
            (ANN_KEY, CHAT, 403),
            (BEN_KEY, "/v1/messages/count_tokens", 404),
        ] {
            let answers =
                [send(key, path, guess, "identity").await, send(key, path, &other, "identity").await];
            assert_eq!(
                (answers[0].0, answers[0].2.replace(guess, &other)),
                (status, answers[1].2.clone()),
                "{path}"
            );
            assert!(answers[1].2.contains(&other));
        }
        if guess.is_ascii() {
            let (status, _, text) = send(BEN_KEY, CHAT, "served", guess).await;
            assert_eq!((status, text.contains(guess)), (415, true), "{text}");
        }
        // A provider that quotes the caller.
        for status in [400, 401, 403, 404, 422, 429, 500] {
            let mut answers = Vec::new();
            for text in [guess, &other] {
                let reply =
                    Reply::error(status, "invalid_request_error").message(format!("no model {text} (found)"));
                server.script().otherwise(if text.is_ascii() { reply.header("x-echo", text) } else { reply });
                answers.push(send(BEN_KEY, CHAT, "served", "identity").await);
            }
            let replaced = [&answers[0].1, &answers[0].2].map(|text| text.replace(guess, &other));
            assert_eq!(
                (answers[0].0, &replaced),
                (status, &[answers[1].1.clone(), answers[1].2.clone()]),
                "{guess}"
            );
        }
    }
}

/// Regression: `charset=utf-7` had a provider read another model than the gateway.
#[tokio::test]
async fn a_body_is_json_in_utf_8_for_both_sides() {
    let server = scripted(Reply::ok()).await;
    let gateway = gateway(&routes(&server)).await;
    for (content_type, status) in [
        (None, 200),
        (Some("application/json"), 200),
        (Some("application/json; charset=utf-8"), 200),
        (Some("application/vnd.api+json;x=y; Charset=\"UTF-8\""), 200),
        (Some("application/json; charset=utf8"), 200),
        (Some("application/json; charset=utf-7"), 415),
        (Some("application/json;CHARSET = \"utf-16\""), 415),
        (Some("application/json; charset=utf-8; charset=utf-7"), 415),
        (Some("application/json; charset='utf-8'"), 415),
        (Some("application/json; charset"), 415),
        (Some("application/json; charset*=utf-7''utf-7"), 415),
    ] {
        for path in [CHAT, MESSAGES] {
            let calls = server.log().calls();
            let request = client().post(url(&gateway, path)).body(REQUEST);
            let request =
                content_type.into_iter().fold(request, |it, value| it.header("content-type", value));
            assert_eq!(request.send().await.unwrap().status(), status, "{content_type:?}");
            assert_eq!(server.log().calls() - calls, usize::from(status == 200));
            if status == 200 {
                let values: Vec<_> =
                    server.log().last().unwrap().headers.get_all("content-type").iter().cloned().collect();
                assert_eq!(values, ["application/json"], "{content_type:?}");
            }
        }
    }
}

/// Regression: a file that was sent to a path that is not served got status 415.
#[tokio::test]
async fn the_path_and_the_method_are_checked_before_the_content_type() {
    let server = scripted(Reply::ok()).await;
    let gateway = gateway(&(openai("p", &server.base_url()) + &route("*", &["p/m"]))).await;
    for (path, status, header) in [
        ("/v1/audio/transcriptions", 404, None),
        ("/none", 404, None),
        (MESSAGES, 404, None),
        ("/v1/messages/count_tokens", 404, None),
        ("/openai/deployments/m/embeddings", 404, None),
        ("/v1/models", 405, Some("allow: GET,HEAD\r\n")),
        ("/signals", 405, Some("allow: GET,HEAD\r\n")),
        ("/healthz", 405, Some("allow: GET,HEAD\r\n")),
        (CHAT, 415, Some("accept-post: application/json\r\n")),
        ("/openai/deployments/m/chat/completions", 415, Some("accept-post: application/json\r\n")),
        ("/signals/p/m/reset", 415, Some("accept-post: application/json\r\n")),
    ] {
        for content_type in ["multipart/form-data; boundary=x", "text/plain"] {
            let headers = [("host", "localhost"), ("content-type", content_type)];
            let (found, response) = send(&gateway, "POST", path, &headers, REQUEST).await;
            assert_eq!(found, status, "{path} {response}");
            assert!(header.is_none_or(|header| response.contains(header)), "{path} {response}");
        }
    }
    assert_eq!(server.log().calls(), 0);
}

/// Nor does it reach a caller in an answer, a comment or a field that nothing reads, in whatever chunks it
/// arrives.
#[tokio::test]
async fn the_key_of_the_gateway_is_masked_in_answers() {
    let event = |text: &str| format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n");
    let stream =
        [": using KEY\n\n", &event("hi KEY!"), "x-key: KEY\n\n", ": KEYKEY\n\ndata: [DONE]\n\n"].concat();
    let answer = r#"{"debug":"KEY","choices":[{"message":{"content":"KEY"},"finish_reason":"stop"}]}"#;
    let mask = "*".repeat(KEY.len());
    for (template, is_stream) in [(&*stream, true), (answer, false)] {
        let text = template.replace("KEY", KEY);
        let kind = if is_stream { "text/event-stream" } else { "application/json" };
        let head = format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\n");
        let with_length = vec![format!("{head}content-length: {}\r\n\r\n", text.len()), text.clone()];
        let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
        let chunks = |at: usize| {
            let (first, second) = text.split_at(at);
            let head = format!("{head}transfer-encoding: chunked\r\n\r\n");
            vec![head + &chunk(first), chunk(second) + "0\r\n\r\n"]
        };
        let key = text.rfind(KEY).unwrap();
        let splits = [1, 9, KEY.len() - 1].map(|length| chunks(key + length));
        for parts in [vec![with_length], splits.into()].concat() {
            let base_url = fixed_response(parts, true).await;
            let gateway = gateway(&(openai_with_key("p", &base_url) + &route("*", &["p/m"]))).await;
            let request = REQUEST.replacen('{', &format!("{{\"stream\":{is_stream},"), 1);
            let response = chat(&gateway, request).send().await.unwrap();
            assert_eq!(response.status(), 200);
            let received = response.text().await.unwrap();
            assert_eq!(received, template.replace("KEY", &mask));
        }
    }
}

async fn check_redacted(status: u16, base_url: &str) {
    let gateway = gateway(&(openai_with_key("p", base_url) + &route("*", &["p/m"]))).await;
    let body = REQUEST.replace("{\"model", "{\"stream\":true,\"model");
    let response =
        chat(&gateway, if status == 200 { body } else { REQUEST.to_owned() }).send().await.unwrap();
    assert_eq!(response.status(), status);
    let head = format!("{:?}", response.headers());
    let text = response.text().await.unwrap();
    for (place, text) in [("head", &head), ("body", &text)] {
        for part in [KEY, &KEY[..8], &KEY[10..], "****"] {
            assert!(!text.contains(part), "{part} in {place}: {text}");
        }
    }
    assert!(status == 200 && !text.contains("error") || text.contains("[redacted]"), "{text}");
}

#[tokio::test]
async fn a_provider_that_switches_protocols_is_a_bad_gateway() {
    for fields in ["connection: upgrade\r\nupgrade: x\r\n", "content-type: application/json\r\n"] {
        let base_url =
            fixed_response(vec![format!("HTTP/1.1 101 Switching Protocols\r\n{fields}\r\n{{}}")], true).await;
        let gateway = gateway(&(openai("p", &base_url) + &route("*", &["p/m"]))).await;
        let response = chat_as(&gateway, None, &[]).await;
        assert_eq!(response.status(), 502);
        let body = json(response).await;
        assert_eq!(body["error"]["type"], "server_error", "{body}");
    }
}
