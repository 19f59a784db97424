//! The gateway in front of scripted providers, over real sockets.

use std::time::{Duration, Instant};

use tidegate_testkit::{Provider, Reply, closed_port};
use tidegate_tests::{ClientResponse, Setup};
use tokio::task::JoinSet;

/// A retry with delays that are short enough for tests.
const RETRY: &str = r#"retry = { max_retries = 3, initial_delay = "5ms", max_delay = "1s" }"#;

#[tokio::test]
async fn two_failures_and_a_success_are_three_attempts_and_one_response() {
    let provider =
        Provider::openai().then(Reply::status(503)).then(Reply::status(503)).start().await.unwrap();
    let setup = Setup::in_front_of(&provider, RETRY).await;
    let response = setup.send().await;
    assert_eq!((response.status, response.header("x-tidegate-attempts")), (200, "3"));
    assert_eq!(response.header("x-tidegate-target"), "first/model");
    assert!(
        !response.headers.contains_key("x-tidegate-fallback")
            && !response.headers.contains_key("x-tidegate-code")
    );
    assert_eq!(provider.log().statuses(), [(200, 1), (503, 2)].into());
}

#[tokio::test]
async fn the_circuit_opens_rejects_with_retry_after_and_a_probe_closes_it() {
    let provider = Provider::openai()
        .then(Reply::status(503))
        .then(Reply::status(503))
        .then(Reply::status(503))
        .start()
        .await
        .unwrap();
    let policy = "circuit_breaker = { failure_threshold = 3, cooldown_seconds = 1 }";
    let setup = Setup::in_front_of(&provider, policy).await;
    for _ in 0..3 {
        assert_eq!(setup.send().await.status, 503);
    }
    let opened = Instant::now();
    let rejected = setup.send().await;
    assert_eq!((rejected.status, rejected.header("retry-after")), (503, "1"));
    assert_eq!((rejected.header("x-tidegate-code"), rejected.header("x-tidegate-attempts")), ("E3002", "0"));
    assert_eq!(rejected.json()["error"]["standard_code"], "E3002");
    assert_eq!((provider.log().calls(), setup.signals().await["circuit_state"].as_str()), (3, Some("open")));

    // The circuit rejects until the cooldown has passed, and then admits the probe. No request waits in
    // between.
    loop {
        let response = setup.send().await;
        if response.status == 200 {
            break;
        }
        assert!(opened.elapsed() < Duration::from_secs(10), "never closed");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(opened.elapsed() >= Duration::from_millis(900));
    assert_eq!(
        (provider.log().calls(), setup.signals().await["circuit_state"].as_str()),
        (4, Some("closed"))
    );
}

#[tokio::test]
async fn sixteen_callers_at_five_per_second_are_all_served_at_that_rate() {
    let provider = Provider::openai().start().await.unwrap();
    let setup =
        Setup::in_front_of(&provider, "rate_limiter = { requests_per_second = 5, burst_size = 5 }").await;
    let mut callers = JoinSet::new();
    for _ in 0..16 {
        callers.spawn(ClientResponse::of(setup.chat_request(false)));
    }
    while let Some(response) = callers.join_next().await {
        assert_eq!(response.unwrap().status, 200);
    }
    assert_eq!(provider.log().calls(), 16);
    let most = provider.log().most_within(Duration::from_secs(1));
    assert!(most <= 11, "{most} within a second");
}

#[tokio::test]
async fn the_inflight_limit_is_never_exceeded_with_streams_included() {
    let pace = Duration::from_millis(5);
    let provider = Provider::openai().otherwise(Reply::ok().tokens(10).pace(pace)).start().await.unwrap();
    let setup = Setup::in_front_of(&provider, "backpressure = { max_inflight = 2 }").await;
    let mut callers = JoinSet::new();
    for number in 0..12 {
        callers.spawn(ClientResponse::of(setup.chat_request(number % 2 == 0)));
    }
    while let Some(response) = callers.join_next().await {
        assert_eq!(response.unwrap().status, 200);
    }
    assert_eq!((provider.log().calls(), provider.log().max_in_flight()), (12, 2));
    assert_eq!(setup.signals().await["current_inflight"], 0);
}

#[tokio::test]
async fn a_bad_request_is_neither_retried_nor_failed_over() {
    let first = Provider::openai().otherwise(Reply::error(400, "invalid_request")).start().await.unwrap();
    let second = Provider::openai().start().await.unwrap();
    let setup = Setup::new(&[first.base_url(), second.base_url()], RETRY).await;
    let response = setup.send().await;
    assert_eq!((response.status, response.header("x-tidegate-code")), (400, "E1001"));
    assert_eq!((first.log().calls(), second.log().calls()), (1, 0));
}

/// An exhausted quota was retried like a rate limit.
/// Pitfall P24 (docs/pitfalls.md).
#[tokio::test]
async fn an_exhausted_quota_is_not_retried_but_falls_back() {
    let first = Provider::openai().otherwise(Reply::error(429, "insufficient_quota")).start().await.unwrap();
    let second = Provider::openai().start().await.unwrap();
    let setup = Setup::new(&[first.base_url(), second.base_url()], RETRY).await;
    let response = setup.send().await;
    assert_eq!((response.status, response.header("x-tidegate-target")), (200, "second/model"));
    assert_eq!(
        (response.header("x-tidegate-fallback"), response.header("x-tidegate-attempts")),
        ("alternative_model", "2")
    );
    assert_eq!((first.log().calls(), second.log().calls()), (1, 1));
    assert_eq!(second.log().last().unwrap().model.as_deref(), Some("model"));

    let alone = Setup::in_front_of(&first, RETRY).await;
    let response = alone.send().await;
    assert_eq!((response.status, response.header("x-tidegate-code")), (429, "E2002"));
}

#[tokio::test]
async fn a_refused_connection_falls_back() {
    let closed = closed_port().unwrap();
    let second = Provider::openai().start().await.unwrap();
    let setup = Setup::new(&[closed.base_url(), second.base_url()], "").await;
    let response = setup.send().await;
    assert_eq!((response.status, response.header("x-tidegate-target")), (200, "second/model"));

    let alone = Setup::new(&[closed.base_url()], "").await;
    let response = alone.send().await;
    assert_eq!((response.status, response.header("x-tidegate-code")), (502, "E3001"));
    assert!(!String::from_utf8_lossy(&response.body).contains("127.0.0.1"), "the address is not disclosed");
}

#[tokio::test]
async fn a_reset_connection_is_retried() {
    let provider = Provider::openai().then(Reply::reset()).start().await.unwrap();
    let setup = Setup::in_front_of(&provider, RETRY).await;
    let response = setup.send().await;
    assert_eq!((response.status, response.header("x-tidegate-attempts")), (200, "2"));
}

#[tokio::test]
async fn a_hanging_provider_is_a_timeout_and_falls_back() {
    let silent = Provider::openai().otherwise(Reply::hang()).start().await.unwrap();
    let second = Provider::openai().start().await.unwrap();
    let policy = r#"timeout = { attempt = "50ms" }"#;
    let setup = Setup::new(&[silent.base_url(), second.base_url()], policy).await;
    assert_eq!(setup.send().await.header("x-tidegate-target"), "second/model");
    let response = Setup::in_front_of(&silent, policy).await.send().await;
    assert_eq!((response.status, response.header("x-tidegate-code")), (504, "E3003"));
}

#[tokio::test]
async fn the_total_timeout_bounds_the_whole_chain() {
    let silent = Provider::openai().otherwise(Reply::hang()).start().await.unwrap();
    let policy = r#"timeout = { total = "150ms", attempt = "100ms" }
        retry = { max_retries = 3, initial_delay = "1ms" }"#;
    let setup = Setup::new(&[silent.base_url(), silent.base_url()], policy).await;
    let start = Instant::now();
    let response = setup.send().await;
    assert_eq!((response.status, response.header("x-tidegate-code")), (504, "E3003"));
    assert!(start.elapsed() >= Duration::from_millis(150) && start.elapsed() < Duration::from_secs(5));
    assert!(silent.log().calls() <= 3, "{} attempts", silent.log().calls());
}

#[tokio::test]
async fn responses_and_streams_pass_byte_for_byte() {
    let provider = Provider::openai().otherwise(Reply::text("one two three")).start().await.unwrap();
    let setup = Setup::in_front_of(&provider, RETRY).await;
    let response = ClientResponse::of(setup.chat_request(true)).await;
    assert_eq!((response.status, response.header("content-type")), (200, "text/event-stream"));
    assert!(response.body.ends_with(b"data: [DONE]\n\n"));
    assert_eq!(setup.send().await.json()["choices"][0]["message"]["content"], "one two three");
}

#[tokio::test]
async fn a_caller_may_begin_in_http_2() {
    let provider = Provider::openai().otherwise(Reply::text("high tide")).start().await.unwrap();
    let setup = Setup::in_front_of(&provider, "").await;
    let client: hyper_util::client::legacy::Client<_, axum::body::Body> =
        hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new())
            .http2_only(true)
            .build_http();
    for stream in [false, true] {
        let body =
            format!(r#"{{"model":"any","stream":{stream},"messages":[{{"role":"user","content":"hi"}}]}}"#);
        let request = http::Request::post(setup.url("/v1/chat/completions")).body(body.into()).unwrap();
        let response = client.request(request).await.unwrap();
        assert_eq!((response.status().as_u16(), response.version()), (200, http::Version::HTTP_2));
        let body = http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes();
        assert_eq!(body.ends_with(b"data: [DONE]\n\n"), stream);
    }
}

#[tokio::test]
async fn a_connection_without_a_byte_does_not_delay_the_end_of_the_gateway() {
    let provider = Provider::openai().start().await.unwrap();
    let file = format!(
        "listen = \"127.0.0.1:0\"\ndrain = \"30s\"\n[providers.p]\nbase_url = \"{}\"\ndialect = \"openai\"\n\
         [[routes]]\npath = \"/v1/chat/completions\"\nchain = [\"p/m\"]\n",
        provider.base_url()
    );
    let config = tidegate_gateway::Config::parse(&file, |_| None).unwrap();
    let gateway = tidegate_gateway::Gateway::new(config).unwrap().bind().await.unwrap();
    let silent = tokio::net::TcpStream::connect(gateway.addr()).await.unwrap();
    let part = tokio::net::TcpStream::connect(gateway.addr()).await.unwrap();
    part.writable().await.unwrap();
    assert_eq!(part.try_write(b"PRI").unwrap(), 3);
    tokio::time::timeout(std::time::Duration::from_secs(10), gateway.stop()).await.expect("at once");
    drop((silent, part));
}

#[tokio::test]
async fn the_gateway_can_be_a_part_of_an_application() {
    let provider = Provider::openai().otherwise(Reply::text("high tide")).start().await.unwrap();
    let file = format!(
        "[providers.p]\nbase_url = \"{}\"\ndialect = \"openai\"\n\
         [[routes]]\npath = \"/v1/chat/completions\"\nchain = [\"p/m\"]\n",
        provider.base_url()
    );
    let gateway =
        tidegate_gateway::Gateway::new(tidegate_gateway::Config::parse(&file, |_| None).unwrap()).unwrap();
    let app = axum::Router::new().nest_service("/llm", gateway.router());
    for path in ["/llm/v1/chat/completions", "/llm//v1/chat/completions/"] {
        let body = r#"{"model":"any","messages":[{"role":"user","content":"hello?"}]}"#;
        let request = http::Request::post(path).body(axum::body::Body::from(body)).unwrap();
        let response = tower::ServiceExt::oneshot(app.clone(), request).await.unwrap();
        assert_eq!(
            (response.status().as_u16(), &response.headers()["x-tidegate-target"]),
            (200, &http::HeaderValue::from_static("p/m"))
        );
    }
}

#[tokio::test]
async fn a_response_that_is_cut_does_not_end_cleanly() {
    // Longer than what is read before the head is forwarded.
    let reply = Reply::ok().tokens(40_000).cut_after(30_000);
    let provider = Provider::openai().otherwise(reply).start().await.unwrap();
    let setup = Setup::in_front_of(&provider, "").await;
    let error = setup.chat_request(false).send().await.unwrap().bytes().await.unwrap_err();
    assert!(error.is_body() || error.is_decode(), "{error}");
}

/// Fifty live streams passed through a limit of one. This is the test over sockets.
/// Pitfall P03 (docs/pitfalls.md).
#[tokio::test]
async fn a_permit_is_held_by_a_live_stream_and_released_when_the_caller_disconnects() {
    let stalled = Reply::ok().tokens(5).stall_after(2);
    let provider = Provider::openai().then(stalled).start().await.unwrap();
    let policy = "backpressure = { max_inflight = 1, max_queued = 0 }";
    let setup = Setup::in_front_of(&provider, policy).await;
    let mut streaming = setup.chat_request(true).send().await.unwrap();
    streaming.chunk().await.unwrap().unwrap();
    let rejected = setup.send().await;
    assert_eq!((rejected.status, rejected.header("x-tidegate-code")), (503, "E3002"));
    assert_eq!(provider.log().calls(), 1);

    let disconnected = Instant::now();
    drop(streaming);
    while setup.send().await.status != 200 {
        assert!(disconnected.elapsed() < Duration::from_secs(5), "the permit was never released");
    }
    provider.log().in_flight_is(0).await;
    assert_eq!(provider.log().abandoned(), 1);
}

/// After a `retry-after` of a second no caller sends earlier. This is the test over sockets.
/// Pitfalls P05, P12 and P25 (docs/pitfalls.md).
#[tokio::test]
async fn every_caller_observes_retry_after() {
    let provider = Provider::openai().then(Reply::status(429).retry_after(1)).start().await.unwrap();
    let policy = format!("{RETRY}\nrate_limiter = {{ requests_per_second = 100 }}");
    let policy = policy.replace("max_delay = \"1s\"", "max_delay = \"5s\"");
    let setup = Setup::in_front_of(&provider, &policy).await;
    let first = tokio::spawn(ClientResponse::of(setup.chat_request(false)));
    provider.log().calls_reach(1).await;
    setup.signal_reaches("rate_closed_ms", |closed| !closed.is_null()).await;
    let mut callers = JoinSet::new();
    for _ in 0..5 {
        callers.spawn(ClientResponse::of(setup.chat_request(false)));
    }
    while let Some(response) = callers.join_next().await {
        assert_eq!(response.unwrap().status, 200);
    }
    assert_eq!((first.await.unwrap().status, provider.log().calls()), (200, 7));
    let arrivals = provider.log().arrivals();
    assert!(arrivals[1] - arrivals[0] >= Duration::from_millis(990));
}

#[tokio::test]
async fn an_api_key_reaches_only_its_provider() {
    let keyed =
        Provider::openai().api_key("sk-secret-of-first").then(Reply::status(503)).start().await.unwrap();
    let other = Provider::openai().start().await.unwrap();
    let file = format!(
        r#"
        listen = "127.0.0.1:0"
        providers.keyed = {{ base_url = "{}", dialect = "openai", api_key_env = "FIRST_KEY" }}
        providers.other = {{ base_url = "{}", dialect = "openai" }}
        routes = [{{ path = "/v1/chat/completions", chain = ["keyed/model", "other/model"] }}]
        "#,
        keyed.base_url(),
        other.base_url(),
    );
    let setup =
        Setup::of_file(&file, |name| (name == "FIRST_KEY").then(|| "sk-secret-of-first".into())).await;
    for target in ["other/model", "keyed/model"] {
        let response = ClientResponse::of(setup.chat_request(false).bearer_auth("the-callers-own")).await;
        assert_eq!((response.status, response.header("x-tidegate-target")), (200, target));
        assert!(!format!("{:?} {:?}", response.headers, response.body).contains("secret"));
    }
    assert_eq!(keyed.log().last().unwrap().headers["authorization"], "Bearer sk-secret-of-first");
    assert!(!other.log().last().unwrap().headers.contains_key("authorization"));
    let signals = setup.signals().await.to_string();
    assert!(!signals.contains("secret"), "{signals}");
}

#[tokio::test]
async fn an_invalid_request_gets_an_error_body() {
    let provider = Provider::openai().start().await.unwrap();
    let file = format!(
        r#"
        listen = "127.0.0.1:0"
        body_limit = 1000
        providers.only = {{ base_url = "{}", dialect = "openai" }}
        routes = [{{ path = "/v1/chat/completions", model = "gpt-4o", chain = ["only/model"] }}]
        "#,
        provider.base_url(),
    );
    let setup = Setup::of_file(&file, |_| None).await;
    let long = format!(r#"{{"model":"gpt-4o","x":"{}"}}"#, "x".repeat(1000));
    for (body, status, code) in [
        (r#"{"model":"gpt-5"}"#, 404, "E1004"),
        (r#"{"model":"#, 400, "E1001"),
        (r#"{"model":7}"#, 400, "E1001"),
        ("{}", 400, "E1001"),
        (&long, 413, "E1005"),
    ] {
        let response = ClientResponse::of(setup.chat_request(false).body(body.to_owned())).await;
        assert_eq!((response.status, response.header("x-tidegate-code")), (status, code), "{body}");
        assert_eq!(response.json()["error"]["standard_code"], code, "{body}");
        assert_eq!(response.header("x-tidegate-attempts"), "0");
    }
    assert_eq!(provider.log().calls(), 0);
}

#[tokio::test]
async fn routes_that_share_target_and_policy_share_the_state() {
    let provider = Provider::openai().otherwise(Reply::status(503)).start().await.unwrap();
    let file = format!(
        r#"
        listen = "127.0.0.1:0"
        providers.only = {{ base_url = "{}", dialect = "openai" }}
        policies.default = {{ circuit_breaker = {{ failure_threshold = 1 }} }}
        policies.patient = {{ circuit_breaker = {{ failure_threshold = 9 }} }}
        [[routes]]
        path = "/v1/chat/completions"
        model = "gpt-4o"
        chain = ["only/model"]
        [[routes]]
        path = "/v1/chat/completions"
        model = "alias"
        chain = ["only/model"]
        [[routes]]
        path = "/v1/chat/completions"
        model = "patient"
        chain = ["only/model"]
        policy = "patient"
        "#,
        provider.base_url(),
    );
    let setup = Setup::of_file(&file, |_| None).await;
    assert_eq!(setup.send().await.header("x-tidegate-attempts"), "1");
    for (model, attempts) in [("alias", "0"), ("patient", "1")] {
        let body = format!(r#"{{"model":"{model}"}}"#);
        let response = ClientResponse::of(setup.chat_request(false).body(body)).await;
        assert_eq!(response.header("x-tidegate-attempts"), attempts, "{model}");
    }
}

/// A redirect was forwarded with its `Location`. Clients that follow it would send the prompt there.
#[tokio::test]
async fn a_redirect_of_a_provider_is_not_forwarded() {
    let reply = Reply::status(307).header("location", "http://example.invalid/v1/chat/completions");
    let provider = Provider::openai().otherwise(reply).start().await.unwrap();
    let response = Setup::in_front_of(&provider, "").await.send().await;
    assert_eq!((response.status, response.header("x-tidegate-code")), (502, "E3001"));
    assert!(!response.headers.contains_key("location"));
}

/// Retries multiplied by fallbacks. There is one budget of attempts for the whole chain, and one deadline,
/// which the caller may shorten.
/// Pitfall P30 (docs/pitfalls.md).
#[tokio::test]
async fn attempts_and_the_deadline_of_a_call_span_all_targets() {
    let down = async || Provider::openai().otherwise(Reply::status(503)).start().await.unwrap();
    let (first, second) = (down().await, down().await);
    let policy = r#"
        retry = { max_retries = 5, initial_delay = "1ms", max_attempts = 4 }
        timeout = { header = "x-request-timeout-ms" }
    "#;
    let setup = Setup::new(&[first.base_url(), second.base_url()], policy).await;
    let response = setup.send().await;
    assert_eq!((response.status, response.header("x-tidegate-attempts")), (503, "4"));
    assert_eq!(first.log().calls() + second.log().calls(), 4);

    let silent = Provider::openai().otherwise(Reply::hang()).start().await.unwrap();
    let setup = Setup::new(&[silent.base_url(), silent.base_url()], policy).await;
    let started = std::time::Instant::now();
    let response = ClientResponse::of(setup.chat_request(false).header("x-request-timeout-ms", "200")).await;
    assert_eq!(response.status, 504);
    assert!(started.elapsed() < std::time::Duration::from_secs(5), "{:?}", started.elapsed());
    let wrong = ClientResponse::of(setup.chat_request(false).header("x-request-timeout-ms", "soon")).await;
    assert_eq!((wrong.status, wrong.header("x-tidegate-code")), (400, "E1001"));
}
