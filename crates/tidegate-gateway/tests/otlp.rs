//! The export of traces to a collector, over sockets.

mod support;

use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::post;
use bytes::Bytes;
use http::StatusCode;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as AnyValue;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use prost::Message;
use serde_json::{Value, json};
use support::*;
use tidegate_gateway::RunningGateway;
use tidegate_testkit::{Provider, Reply, closed_port};
use tokio::sync::mpsc;

const REQUEST: &str = r#"{"model":"any","messages":[{"role":"user","content":"the-prompt"}]}"#;
const STREAM_REQUEST: &str =
    r#"{"model":"any","stream":true,"messages":[{"role":"user","content":"the-prompt"}]}"#;

const RETRY: &str = "policies.default.retry = { max_retries = 1, initial_delay = \"1ms\" }\n";

/// A collector of traces, and the bodies that it has received.
struct Collector {
    url: String,
    received: mpsc::UnboundedReceiver<Bytes>,
}

impl Collector {
    async fn start() -> Self {
        let (sender, received) = mpsc::unbounded_channel();
        let handler = async move |headers: http::HeaderMap, body: Bytes| {
            assert_eq!(headers["content-type"], "application/x-protobuf");
            sender.send(body).unwrap();
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(
            async move { axum::serve(listener, Router::new().route("/v1/traces", post(handler))).await },
        );
        Self { url, received }
    }

    fn settings(&self) -> String {
        format!("otlp.endpoint = {:?}\n", self.url)
    }

    /// Stops the gateway, which sends its last spans, and returns all spans: that of the call, and those of
    /// its attempts in their order.
    async fn call(mut self, gateway: RunningGateway) -> (Span, Vec<Span>) {
        gateway.stop().await;
        let mut spans = Vec::new();
        while let Ok(body) = self.received.try_recv() {
            let text = String::from_utf8_lossy(&body);
            for secret in ["the-prompt", "the-answer", KEY] {
                assert!(!text.contains(secret), "{text}");
            }
            let request = ExportTraceServiceRequest::decode(body).unwrap();
            for resource in request.resource_spans {
                let attributes = resource.resource.unwrap().attributes;
                assert_eq!(attribute(&attributes, "service.name"), json!("tidegate-gateway"));
                spans.extend(resource.scope_spans.into_iter().flat_map(|scope| scope.spans));
            }
        }
        let (mut calls, mut attempts): (Vec<_>, Vec<_>) =
            spans.into_iter().partition(|span| span.kind == SpanKind::Server as i32);
        assert_eq!(calls.len(), 1, "{calls:?}");
        let call = calls.remove(0);
        attempts.sort_by_key(|span| span.start_time_unix_nano);
        for attempt in &attempts {
            assert_eq!(attempt.kind, SpanKind::Client as i32);
            assert_eq!(attempt.trace_id, call.trace_id);
            assert_eq!(attempt.parent_span_id, call.span_id);
            let (start, end) = (attempt.start_time_unix_nano, attempt.end_time_unix_nano);
            assert!(call.start_time_unix_nano <= start && start <= end && end <= call.end_time_unix_nano);
        }
        (call, attempts)
    }
}

fn attribute(attributes: &[KeyValue], name: &str) -> Value {
    let found = attributes.iter().find(|attribute| attribute.key == name);
    match found.and_then(|attribute| attribute.value.clone()).and_then(|value| value.value) {
        Some(AnyValue::StringValue(text)) => json!(text),
        Some(AnyValue::IntValue(number)) => json!(number),
        other => {
            let none: Option<any_value::Value> = None;
            assert_eq!(other, none);
            Value::Null
        }
    }
}

fn attributes(span: &Span, names: &[&str]) -> Value {
    names.iter().map(|name| attribute(&span.attributes, name)).collect()
}

const OUTCOME: [&str; 5] = [
    "http.response.status_code",
    "error.type",
    "gen_ai.request.model",
    "gen_ai.usage.input_tokens",
    "gen_ai.usage.output_tokens",
];

#[tokio::test]
async fn a_call_is_a_span_and_its_attempt_one_below_it() {
    let server = Provider::openai().otherwise(Reply::text("the-answer").tokens(3)).start().await.unwrap();
    let collector = Collector::start().await;
    let file = collector.settings() + &openai_with_key("p", &server.base_url()) + &route("*", &["p/a/m"]);
    let gateway = gateway(&file).await;
    let response = chat(&gateway, REQUEST).send().await.unwrap();
    let id = response.headers()["x-tidegate-call"].to_str().unwrap().to_owned();
    let input = json(response).await["usage"]["prompt_tokens"].clone();
    let (call, attempts) = collector.call(gateway).await;

    assert_eq!((&*call.name, &*call.parent_span_id), ("POST /v1/chat/completions", &[][..]));
    assert_eq!(attributes(&call, &OUTCOME), json!([200, null, "any", input, 3]));
    let names = ["http.request.method", "http.route", "gen_ai.operation.name"];
    assert_eq!(attributes(&call, &names), json!(["POST", "/v1/chat/completions", "chat"]));
    let names = ["tidegate.call", "tidegate.target", "tidegate.route", "tidegate.attempts", "tidegate.end"];
    assert_eq!(attributes(&call, &names), json!([id, "p/a/m", "*", 1, "finished"]));

    let [attempt] = &attempts[..] else { panic!("{attempts:?}") };
    assert_eq!(attempt.name, "chat a/m");
    assert_eq!(attributes(attempt, &OUTCOME), json!([200, null, "a/m", input, 3]));
    let port: u16 = server.base_url().rsplit(':').next().unwrap().trim_end_matches("/v1").parse().unwrap();
    let names = ["gen_ai.provider.name", "gen_ai.operation.name", "server.address", "server.port"];
    assert_eq!(attributes(attempt, &names), json!(["p", "chat", "127.0.0.1", port]));
    // The provider continues the trace.
    let sent = server.log().last().unwrap().headers;
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let expected = format!("00-{}-{}-01", hex(&call.trace_id), hex(&attempt.span_id));
    assert_eq!((sent["traceparent"].to_str().unwrap(), sent.get("tracestate")), (&*expected, None));
}

#[tokio::test]
async fn the_trace_of_a_caller_is_continued() {
    let (trace, parent) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
    for (flags, is_exported) in [("01", true), ("00", false)] {
        let server = Provider::openai().otherwise(Reply::ok()).start().await.unwrap();
        let mut collector = Collector::start().await;
        let file = collector.settings() + &openai("p", &server.base_url()) + &route("*", &["p/m"]);
        let gateway = gateway(&file).await;
        let request = chat(&gateway, REQUEST).header("traceparent", format!("00-{trace}-{parent}-{flags}"));
        request.header("tracestate", "vendor=1").send().await.unwrap().bytes().await.unwrap();
        let sent = server.log().last().unwrap().headers;
        let sent_parent = sent["traceparent"].to_str().unwrap();
        assert!(
            sent_parent.starts_with(&format!("00-{trace}-")) && sent_parent.ends_with(flags),
            "{sent_parent}"
        );
        assert!(!sent_parent.contains(parent), "{sent_parent}");
        assert_eq!(sent["tracestate"], "vendor=1");
        if is_exported {
            let (call, _) = collector.call(gateway).await;
            let bytes = |hex: &str| {
                let digits = (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16));
                digits.collect::<Result<Vec<u8>, _>>().unwrap()
            };
            assert_eq!((call.trace_id, call.parent_span_id), (bytes(trace), bytes(parent)));
        } else {
            // The caller does not record this trace.
            gateway.stop().await;
            assert!(collector.received.try_recv().is_err());
        }
    }
}

#[tokio::test]
async fn each_attempt_of_a_retried_call_is_a_span() {
    let replies = Provider::openai().then(Reply::status(503)).otherwise(Reply::text("the-answer").tokens(2));
    let server = replies.start().await.unwrap();
    let collector = Collector::start().await;
    let file = collector.settings() + RETRY + &openai("p", &server.base_url()) + &route("*", &["p/m"]);
    let gateway = gateway(&file).await;
    let answer = json(chat(&gateway, REQUEST).send().await.unwrap()).await;
    let input = answer["usage"]["prompt_tokens"].clone();
    let (call, attempts) = collector.call(gateway).await;
    assert_eq!(attributes(&call, &OUTCOME), json!([200, null, "any", input, 2]));
    let [failed, succeeded] = &attempts[..] else { panic!("{attempts:?}") };
    assert_eq!(attributes(failed, &OUTCOME), json!([503, "E3002", "m", null, null]));
    assert_eq!(failed.status.as_ref().map(|status| &*status.message), Some("overloaded"));
    assert_eq!(attributes(succeeded, &OUTCOME), json!([200, null, "m", input, 2]));
    assert_ne!(failed.span_id, succeeded.span_id);
}

#[tokio::test]
async fn each_target_of_a_fallback_is_a_span() {
    let (bad, good) = (closed_port().unwrap(), Provider::anthropic().start().await.unwrap());
    let collector = Collector::start().await;
    let anthropic =
        format!("providers.good = {{ base_url = {:?}, dialect = \"anthropic\" }}\n", good.base_url());
    let file = collector.settings()
        + &openai("bad", &bad.base_url())
        + &anthropic
        + &route("*", &["bad/m", "good/n"]);
    let gateway = gateway(&file).await;
    chat(&gateway, REQUEST).send().await.unwrap().bytes().await.unwrap();
    let (call, attempts) = collector.call(gateway).await;
    assert_eq!(attribute(&call.attributes, "tidegate.target"), json!("good/n"));
    let names = ["gen_ai.provider.name", "gen_ai.request.model", "http.response.status_code", "error.type"];
    let seen: Vec<_> = attempts.iter().map(|attempt| attributes(attempt, &names)).collect();
    assert_eq!(json!(seen), json!([["bad", "m", null, "E3001"], ["good", "n", 200, null]]));
}

/// The spans of the attempts of a call that is hedged, after calls that are not traced.
async fn hedged(chain: &[&str], first: Reply, second: Reply) -> (Span, Vec<Span>) {
    let start =
        async || Provider::openai().otherwise(Reply::text("the-answer").tokens(2)).start().await.unwrap();
    let request = STREAM_REQUEST.replace("true", r#"true,"stream_options":{"include_usage":true}"#);
    let servers = (start().await, start().await);
    let collector = Collector::start().await;
    let hedge = "policies.default.hedge = { min_samples = 20, percentile = 80, min_delay = \"300ms\" }\n\
                 policies.default.rate_limiter = { tokens_per_minute = 100_000_000 }\n";
    let providers = openai("a", &servers.0.base_url()) + &openai("b", &servers.1.base_url());
    let gateway = gateway(&(collector.settings() + hedge + &providers + &route("*", chain))).await;
    for _ in 0..20 {
        let not_traced = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
        let request = chat(&gateway, request.clone()).header("traceparent", not_traced);
        request.send().await.unwrap().bytes().await.unwrap();
    }
    servers.0.script().then(first);
    if chain.len() == 1 { &servers.0 } else { &servers.1 }.script().then(second);
    let response = chat(&gateway, request.clone()).send().await.unwrap();
    assert!(response.headers().contains_key("x-tidegate-hedge") || !response.status().is_success());
    response.bytes().await.unwrap();
    let (call, attempts) = collector.call(gateway).await;
    assert_eq!(attribute(&call.attributes, "tidegate.attempts"), json!(2));
    (call, attempts)
}

const LATE: Duration = Duration::from_millis(700);

fn outcomes(attempts: &[Span]) -> Value {
    let names = ["gen_ai.provider.name", "gen_ai.request.model", "http.response.status_code", "error.type"];
    attempts.iter().map(|attempt| attributes(attempt, &names)).collect()
}

/// The hedge ends with the call, and the tokens of the call are those of the hedge. The first attempt ends at
/// the first token of the hedge.
#[tokio::test]
async fn a_hedge_that_wins_is_a_span_with_the_outcome_and_the_other_is_cancelled() {
    let stream = Reply::text("the-answer").tokens(4).pace(Duration::from_millis(50));
    for (chain, name) in [(&["a/m", "b/n"][..], ["b", "n"]), (&["a/m"][..], ["a", "m"])] {
        let (call, attempts) = hedged(chain, Reply::hang(), stream.clone()).await;
        let expected = json!([["a", "m", null, "E4002"], [name[0], name[1], 200, null]]);
        assert_eq!(outcomes(&attempts), expected);
        assert_eq!(attempts[0].status.as_ref().unwrap().message, "cancelled");
        assert_eq!(attempts[1].end_time_unix_nano, call.end_time_unix_nano);
        assert!(attempts[0].end_time_unix_nano + 50_000_000 < call.end_time_unix_nano);
        let tokens = attributes(&call, &OUTCOME[3..]);
        assert!(tokens[0].is_number() && tokens[1] == json!(4), "{tokens}");
        assert_eq!(attributes(&attempts[0], &OUTCOME[3..]), json!([null, null]));
        assert_eq!(attributes(&attempts[1], &OUTCOME[3..]), tokens);
    }
}

#[tokio::test]
async fn a_hedge_that_loses_is_a_span_that_is_cancelled() {
    let stream = Reply::text("the-answer").tokens(4).pace(Duration::from_millis(50)).latency(LATE);
    for (chain, name) in [(&["a/m", "b/n"][..], ["b", "n"]), (&["a/m"][..], ["a", "m"])] {
        let (call, attempts) = hedged(chain, stream.clone(), Reply::hang()).await;
        let expected = json!([["a", "m", 200, null], [name[0], name[1], null, "E4002"]]);
        assert_eq!(outcomes(&attempts), expected);
        assert_eq!(attempts[0].end_time_unix_nano, call.end_time_unix_nano);
        assert!(attempts[1].end_time_unix_nano + 50_000_000 < call.end_time_unix_nano);
        let tokens = attributes(&call, &OUTCOME[3..]);
        assert!(tokens[0].is_number() && tokens[1] == json!(4), "{tokens}");
        assert_eq!(attributes(&attempts[0], &OUTCOME[3..]), tokens);
        assert_eq!(attributes(&attempts[1], &OUTCOME[3..]), json!([null, null]));
    }
}

#[tokio::test]
async fn the_status_of_an_attempt_that_fails_beside_its_hedge_is_its_own() {
    let overloaded = Reply::status(503).latency(LATE);
    for (second, outcome) in [
        (Reply::text("the-answer").latency(LATE), json!([200, null])),
        (Reply::status(500).latency(LATE), json!([500, "E3001"])),
    ] {
        for (chain, name) in [(&["a/m", "b/n"][..], ["b", "n"]), (&["a/m"][..], ["a", "m"])] {
            let (_, attempts) = hedged(chain, overloaded.clone(), second.clone()).await;
            let expected = json!([["a", "m", 503, "E3002"], [name[0], name[1], outcome[0], outcome[1]]]);
            assert_eq!(outcomes(&attempts), expected);
        }
    }
}

#[tokio::test]
async fn a_stream_is_a_span_to_its_end() {
    let pace = Duration::from_millis(30);
    for (reply, end, code) in [
        (Reply::text("a b c").pace(pace), "finished", None),
        (Reply::text("a b c").cut_after(2).pace(pace), "cut", Some("E3001")),
        (Reply::text("a b c").error_event_at(2, "server_error").pace(pace), "failed", Some("E3001")),
    ] {
        let server = Provider::openai().otherwise(reply).start().await.unwrap();
        let collector = Collector::start().await;
        let file = collector.settings() + &openai("p", &server.base_url()) + &route("*", &["p/m"]);
        let gateway = gateway(&file).await;
        let started = Instant::now();
        chat(&gateway, STREAM_REQUEST).send().await.unwrap().bytes().await.unwrap();
        let took = u64::try_from(started.elapsed().as_nanos()).unwrap();
        let (call, attempts) = collector.call(gateway).await;
        let [attempt] = &attempts[..] else { panic!("{attempts:?}") };
        let names = ["http.response.status_code", "error.type"];
        assert_eq!(attributes(attempt, &names), json!([200, code]), "{end}");
        assert_eq!(attributes(&call, &names), json!([200, code]), "{end}");
        assert_eq!(attribute(&call.attributes, "tidegate.end"), end);
        assert_ne!(attribute(&call.attributes, "gen_ai.usage.output_tokens"), Value::Null);
        for span in [&call, attempt] {
            let length = span.end_time_unix_nano - span.start_time_unix_nano;
            assert!((30_000_000..=took).contains(&length), "{length} of {took}");
        }
    }
}

#[tokio::test]
async fn a_call_without_an_answer_has_the_code_of_its_error() {
    let server = Provider::openai().otherwise(Reply::status(500)).start().await.unwrap();
    let collector = Collector::start().await;
    let file = collector.settings() + &openai("p", &server.base_url()) + &route("gpt", &["p/m"]);
    let gateway = gateway(&file).await;
    chat(&gateway, REQUEST.replace("any", "gpt")).send().await.unwrap().bytes().await.unwrap();
    let (call, attempts) = collector.call(gateway).await;
    assert_eq!(attributes(&call, &OUTCOME[..3]), json!([500, "E3001", "gpt"]));
    assert_eq!(call.status.unwrap().message, "server_error");
    assert_eq!(attributes(&attempts[0], &OUTCOME[..3]), json!([500, "E3001", "m"]));

    // An error of the caller is not one of the gateway, and has no attempt.
    let collector = Collector::start().await;
    let file = collector.settings() + &openai("p", &server.base_url()) + &route("gpt", &["p/m"]);
    let gateway = support::gateway(&file).await;
    chat(&gateway, REQUEST).send().await.unwrap().bytes().await.unwrap();
    let (call, attempts) = collector.call(gateway).await;
    assert_eq!(attributes(&call, &OUTCOME[..3]), json!([404, "E1004", null]));
    assert!(call.status.unwrap().message.is_empty() && attempts.is_empty());
}

/// A collector that does not respond delays no call, and the stop by a bounded time.
#[tokio::test]
async fn a_collector_that_hangs_delays_no_call() {
    let server = Provider::openai().otherwise(Reply::ok()).start().await.unwrap();
    let url = fixed_response(Vec::new(), true).await.replace("/v1", "");
    let file =
        format!("otlp.endpoint = {url:?}\n") + &openai("p", &server.base_url()) + &route("*", &["p/m"]);
    let gateway = gateway(&file).await;
    // More spans than the queue holds.
    let (client, url) = (client(), support::url(&gateway, "/v1/chat/completions"));
    let call = async || client.post(&url).body(REQUEST).send().await.unwrap().bytes().await.unwrap();
    let started = Instant::now();
    for _ in 0..24 {
        futures_util::future::join_all((0..64).map(|_| call())).await;
    }
    assert!(started.elapsed() < Duration::from_secs(60), "{:?}", started.elapsed());
    let started = Instant::now();
    assert_eq!(gateway.stop().await, 0);
    assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
}

/// Failures are in the log, at most once a second, without the URL.
#[cfg(unix)]
#[tokio::test]
async fn spans_that_cannot_be_exported_are_in_the_log() {
    let handler = async || StatusCode::UNAUTHORIZED;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let rejecting = format!("http://{}/s3cret", listener.local_addr().unwrap());
    let collector = Router::new().route("/s3cret/v1/traces", post(handler));
    tokio::spawn(async move { axum::serve(listener, collector).await });
    let (closed, hanging) = (closed_port().unwrap(), fixed_response(Vec::new(), true).await);
    let server = Provider::openai().otherwise(Reply::ok()).start().await.unwrap();
    let file = "notice = \"0s\"\n".to_owned() + &openai("p", &server.base_url()) + &route("*", &["p/m"]);
    let at = |base_url: String| base_url.replace("/v1", "/s3cret");
    for (collector, message) in [
        (rejecting, "collector has responded with 401"),
        (at(closed.base_url()), "collector cannot be reached"),
        (at(hanging), "the last spans may be lost"),
    ] {
        // Without a table in the file: the variables are enough.
        let gateway = process::GatewayProcess::start_with("otlp", &file, |command| {
            command.env("OTEL_EXPORTER_OTLP_ENDPOINT", collector).env("OTEL_BSP_SCHEDULE_DELAY", "20");
        });
        let (client, started) = (client(), Instant::now());
        while started.elapsed() < Duration::from_millis(1200) {
            let request = client.post(gateway.url("/v1/chat/completions"));
            request.header("content-type", "application/json").body(REQUEST).send().await.unwrap();
            // The log has to fit in the pipe, which is read at the end.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        gateway.signal("TERM");
        let (code, log) = gateway.end().await;
        assert!(log.contains(message) && !log.contains("s3cret"), "{log}");
        let most = 3 + started.elapsed().as_secs() as usize;
        assert!(log.matches("spans could not be exported").count() <= most, "{log}");
        assert_eq!(code, Some(0), "{log}");
    }
}
