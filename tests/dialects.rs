//! Every dialect and every fault of a stream, one guarantee per test: over real sockets, through the
//! library's stack for each dialect, and through the gateway for the dialects that it accepts.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::{Request, Response};
use http_body_util::BodyExt;
use tidegate::classify::StreamClocks;
use tidegate::provider::{Classifier, Clock, Elapsed, Failure, FailureKind};
use tidegate::providers::ProviderClassifier;
use tidegate::{
    BoxError, CircuitBreakerLayer, FallbackLayer, Outcome, Payload, Rejection, ReqwestService, Resilience,
    ResilienceBuilder,
};
use tidegate_core::{Scan, StopReason, Usage};
use tidegate_testkit::{Fault, Provider, Reply, Server};
use tidegate_tests::{ClientResponse, Setup};
use tower::ServiceExt;

/// One dialect and its expected results.
struct Row {
    /// The provider in the name of the target.
    name: &'static str,
    provider: fn() -> Provider,
    /// Events before the first token.
    preamble: usize,
    /// The code of an error event, and its error code.
    error: (&'static str, &'static str),
    /// The code of a response that ends as failed, and its error code.
    failed: (&'static str, &'static str),
    /// Whether a rejection has a retry delay.
    has_wait: bool,
    /// Whether tool calls are streamed in pieces.
    has_call_pieces: bool,
    /// The path in the gateway, if it accepts this dialect.
    route: Option<&'static str>,
}

const CHAT: Row = Row {
    name: "openai",
    provider: Provider::openai,
    preamble: 1,
    error: ("server_error", "E3001"),
    failed: ("server_error", "E3001"),
    has_wait: true,
    has_call_pieces: true,
    route: Some("/v1/chat/completions"),
};

const ROWS: [Row; 12] = [
    CHAT,
    Row {
        name: "openai",
        provider: Provider::responses,
        preamble: 4,
        error: ("server_error", "E3001"),
        failed: ("rate_limit_exceeded", "E2001"),
        route: None,
        ..CHAT
    },
    Row {
        name: "azure",
        provider: Provider::azure,
        preamble: 2,
        error: ("429", "E2001"),
        failed: ("429", "E2001"),
        ..CHAT
    },
    Row {
        name: "anthropic",
        provider: Provider::anthropic,
        preamble: 3,
        error: ("overloaded_error", "E3002"),
        failed: ("api_error", "E3001"),
        route: Some("/v1/messages"),
        ..CHAT
    },
    Row {
        name: "gemini",
        provider: Provider::gemini,
        preamble: 0,
        error: ("UNAVAILABLE", "E3002"),
        failed: ("RESOURCE_EXHAUSTED", "E2001"),
        has_call_pieces: false,
        route: None,
        ..CHAT
    },
    ARRAY,
    Row {
        name: "mistral",
        provider: Provider::mistral,
        error: ("rate_limited", "E2001"),
        failed: ("error", "E3001"),
        ..CHAT
    },
    Row {
        name: "groq",
        provider: Provider::groq,
        error: ("capacity_exceeded", "E3002"),
        failed: ("Model is at capacity, please try again later", "E3002"),
        ..CHAT
    },
    Row {
        name: "deepseek",
        provider: Provider::deepseek,
        preamble: 2,
        failed: ("insufficient_system_resource", "E3002"),
        has_wait: false,
        ..CHAT
    },
    Row {
        name: "cohere",
        provider: Provider::cohere,
        preamble: 2,
        error: ("ERROR", "E3001"),
        failed: ("TIMEOUT", "E3003"),
        has_wait: false,
        route: None,
        ..CHAT
    },
    Row {
        name: "openrouter",
        provider: Provider::openrouter,
        preamble: 2,
        error: ("502", "E3001"),
        failed: ("rate_limit_exceeded", "E2001"),
        ..CHAT
    },
    Row {
        name: "bedrock",
        provider: Provider::bedrock,
        error: ("throttlingException", "E2001"),
        failed: ("modelStreamErrorException", "E3001"),
        has_wait: false,
        route: None,
        ..CHAT
    },
];

/// Gemini without `alt=sse`.
const ARRAY: Row = Row {
    name: "vertex",
    provider: Provider::gemini,
    preamble: 0,
    error: ("UNAVAILABLE", "E3002"),
    failed: ("RESOURCE_EXHAUSTED", "E2001"),
    has_wait: true,
    has_call_pieces: false,
    route: None,
};

const BODY: &str = r#"{"model":"m","stream":true,"stream_options":{"include_usage":true},"max_tokens":9}"#;

/// The bytes of a body, and the error that ended it.
type Read = (Bytes, Option<tidegate::Error>);

impl Row {
    async fn server(&self, reply: Reply) -> Server {
        (self.provider)().otherwise(reply).start().await.unwrap()
    }

    fn builder(&self) -> ResilienceBuilder {
        ResilienceBuilder::new(&format!("{}/m", self.name))
    }

    fn stack(&self) -> Resilience<ReqwestService> {
        self.builder().service(reqwest())
    }

    /// The path of a stream. The array variant removes `alt=sse`.
    fn path(&self, path: String) -> String {
        if self.name == ARRAY.name { path.trim_end_matches("?alt=sse").to_owned() } else { path }
    }

    fn request(&self, server: &Server) -> Request<Payload> {
        Request::post(self.path(server.chat_url("m", true))).body(Payload::from(BODY)).unwrap()
    }

    /// The bytes that the provider sends for this reply, without a socket or a layer in between.
    async fn sent_bytes(&self, reply: Reply) -> (Bytes, Option<Fault>) {
        let provider = (self.provider)().otherwise(reply).service();
        let request =
            Request::post(self.path(provider.chat_path("m", true))).body(Payload::from(BODY)).unwrap();
        let (mut body, mut sent_bytes) =
            (provider.oneshot(request).await.unwrap().into_body(), BytesMut::new());
        while let Some(frame) = body.frame().await {
            match frame {
                Ok(frame) => sent_bytes.extend(frame.into_data().unwrap()),
                Err(fault) => return (sent_bytes.freeze(), Some(fault)),
            }
        }
        (sent_bytes.freeze(), None)
    }

    /// Requests this reply through a stack, and reads it to its end.
    async fn read(&self, reply: Reply) -> Read {
        let server = self.server(reply).await;
        let response = self.stack().oneshot(self.request(&server)).await.unwrap();
        assert_eq!(response.status(), 200, "{}", self.name);
        assert_eq!(Outcome::of(&response), Outcome::Success, "{}", self.name);
        read(response).await
    }

    /// The provider's reply, as its own scanner reads it from the socket.
    async fn scanned(&self, reply: Reply) -> (Box<dyn Scan>, u32) {
        let server = self.server(reply).await;
        let (head, mut body) = reqwest().oneshot(self.request(&server)).await.unwrap().into_parts();
        let provider = tidegate::providers::Provider::named(self.name);
        let mut scanner = ProviderClassifier::new(provider).scan(&head).expect("a stream");
        let mut tokens = 0;
        while let Some(frame) = body.frame().await {
            tokens += scanner.push(&frame.unwrap().into_data().unwrap()).tokens;
        }
        tokens += scanner.finish().tokens;
        (scanner, tokens)
    }
}

/// No response may take longer: a test that would hang fails instead.
const BOUND: Duration = Duration::from_secs(30);

/// One client for all tests, since it is slow to build. It keeps no connections, since each test has a
/// runtime of its own.
fn reqwest() -> ReqwestService {
    static CLIENT: LazyLock<reqwest::Client> = LazyLock::new(|| {
        reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).timeout(BOUND).build().unwrap()
    });
    ReqwestService::new(CLIENT.clone())
}

async fn read<B>(response: Response<B>) -> Read
where
    B: http_body::Body<Data = Bytes, Error: Into<BoxError>>,
{
    let (mut body, mut read) = (Box::pin(response.into_body()), BytesMut::new());
    while let Some(frame) = body.frame().await {
        match frame.map_err(tidegate::Error::boxed) {
            Ok(frame) => read.extend(frame.into_data().unwrap()),
            Err(error) => return (read.freeze(), Some(error)),
        }
    }
    (read.freeze(), None)
}

fn failure(error: &tidegate::Error) -> Failure {
    Outcome::of_error(&**error).failure().expect("a failure").clone()
}

fn text(bytes: &Bytes) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

#[tokio::test]
async fn a_whole_stream_passes_byte_for_byte_and_ends_cleanly() {
    for row in &ROWS {
        for reply in [
            Reply::text("high and low tide"),
            Reply::ok().tokens(40).reasoning(5),
            Reply::tool_call("tide_at", r#"{"port":"Brest","day":"today"}"#),
            Reply::tool_call("tide_at", r#"{"port":"Brest"}"#).reasoning(2),
            Reply::ok().stopped_by_length(),
            Reply::ok().tokens(5).stopped_by_filter(),
            Reply::ok().tokens(3).pace(Duration::from_millis(5)).pings(Duration::from_millis(2)),
            Reply::ok().tokens(0),
        ] {
            let (sent_bytes, _) = row.sent_bytes(reply.clone()).await;
            let (read, error) = row.read(reply).await;
            assert!(error.is_none(), "{}: {error:?}", row.name);
            assert_eq!(text(&read), text(&sent_bytes), "{}", row.name);
        }
    }
}

/// An error after the first events is a failed response with a code, in every dialect.
/// Pitfall P22 (docs/pitfalls.md).
#[tokio::test]
async fn an_error_before_the_first_token_is_an_ordinary_failure_with_its_code() {
    for row in &ROWS {
        for (reply, code) in [
            (Reply::ok().error_event_at(row.preamble, row.error.0), row.error.1),
            (Reply::ok().failed_event_at(row.preamble, row.failed.0), row.failed.1),
        ] {
            let server = row.server(reply).await;
            let response = row.stack().oneshot(row.request(&server)).await.unwrap();
            let outcome = Outcome::of(&response);
            let failure = outcome.failure().unwrap_or_else(|| panic!("{}: no failure", row.name));
            assert_eq!((failure.code.code(), failure.kind), (code, FailureKind::InBand), "{}", row.name);
        }
    }
}

// Pitfall P22 (docs/pitfalls.md).
#[tokio::test]
async fn a_response_that_fails_before_its_first_token_falls_back_to_one_clean_stream() {
    for row in &ROWS {
        let millis = Duration::from_millis;
        let mut failures = vec![
            Reply::ok().error_event_at(row.preamble, row.error.0),
            Reply::ok().failed_event_at(row.preamble, row.failed.0),
            Reply::ok().cut_after(0),
            Reply::ok().reset_after(0),
            Reply::ok().stall_after(0).pings(millis(10)),
            Reply::reset(),
        ];
        // Without a preamble this is an empty body of known length, which is not a stream in JSON.
        if row.name != ARRAY.name {
            failures.push(Reply::ok().end_after(0));
        }
        for reply in failures {
            let first = row.server(reply.clone()).await;
            let second = row.server(Reply::text("all is well")).await;
            let to_second = row.path(second.chat_url("m", true));
            let spare = row.stack().map_request(move |mut request: Request<Payload>| {
                *request.uri_mut() = to_second.parse().unwrap();
                request
            });
            let stack = row
                .builder()
                .stream_clocks(StreamClocks::new().first_token(millis(200)))
                .fallback(FallbackLayer::new().then("spare/m", spare))
                .service(reqwest());
            let response = stack.oneshot(row.request(&first)).await.unwrap();
            let (read, error) = read(response).await;
            assert!(error.is_none(), "{}: {error:?}", row.name);
            let (sent_bytes, _) = row.sent_bytes(Reply::text("all is well")).await;
            assert_eq!(text(&read), text(&sent_bytes), "{} {reply:?}", row.name);
            assert_eq!((first.log().calls(), second.log().calls()), (1, 1), "{}", row.name);
        }
    }
}

/// Providers that send 200 before the upstream responds: an error body in one piece instead of a response in
/// one piece.
#[tokio::test]
async fn an_error_body_with_a_200_falls_back_wherever_it_is_split() {
    let error = r#"{"id":"g","error":{"code":429,"message":"slow down","status":"RESOURCE_EXHAUSTED"}}"#;
    let choice = r#"{"error":null,"choices":[{"finish_reason":"error","error":{"code":429}}]}"#;
    let request = |url: String| Request::post(url).body(Payload::from(r#"{"model":"m"}"#)).unwrap();
    for row in &ROWS {
        for (body, cut) in [(error, 0), (error, 1), (error, 17), (error, 40), (choice, 0), (choice, 40)] {
            let (first_piece, rest) = body.split_at(cut);
            let failing = match cut {
                0 => Reply::raw(body),
                _ => Reply::raw(first_piece).frame(rest).pace(Duration::from_millis(5)),
            };
            let server = row.server(failing.header("content-type", "application/json")).await;
            let url = row.path(server.chat_url("m", false));
            let response = row.stack().oneshot(request(url.clone())).await.unwrap();
            assert_eq!(response.status(), 200, "{}", row.name);
            let outcome = Outcome::of(&response);
            let failure = outcome.failure().unwrap_or_else(|| panic!("{}: no failure", row.name));
            assert_eq!((failure.code.code(), failure.kind), ("E2001", FailureKind::InBand), "{}", row.name);

            let second = row.server(Reply::text("all is well")).await;
            let to_second = row.path(second.chat_url("m", false));
            let spare = row.stack().map_request(move |mut request: Request<Payload>| {
                *request.uri_mut() = to_second.parse().unwrap();
                request
            });
            let chain = FallbackLayer::new().then("spare/m", spare);
            let stack = row.builder().fallback(chain).service(reqwest());
            let (read, error) = read(stack.oneshot(request(url)).await.unwrap()).await;
            assert!(error.is_none(), "{}: {error:?}", row.name);
            assert!(text(&read).contains("all is well"), "{}: {}", row.name, text(&read));
            assert_eq!((server.log().calls(), second.log().calls()), (2, 1), "{}", row.name);
        }
    }
}

/// A cut is an error in every dialect.
/// Pitfall P21 (docs/pitfalls.md).
#[tokio::test]
async fn a_cut_after_three_tokens_delivers_those_three_and_then_an_error() {
    for row in &ROWS {
        for (reply, cause) in [
            (Reply::ok().tokens(8).cut_after(3), FailureKind::Transport),
            (Reply::ok().tokens(8).end_after(3), FailureKind::Truncated),
        ] {
            let (sent_bytes, _) = row.sent_bytes(reply.clone()).await;
            let (read, error) = row.read(reply).await;
            let failure = failure(&error.unwrap_or_else(|| panic!("{}: a clean end", row.name)));
            assert_eq!((failure.code.code(), failure.kind), ("E3001", cause), "{}", row.name);
            assert_eq!(text(&read), text(&sent_bytes), "{}", row.name);
            assert!(text(&read).contains("t3 ") && !text(&read).contains("t4 "), "{}", text(&read));
        }
    }
}

/// Data in flight may be lost when the connection is reset, including the first token.
#[tokio::test]
async fn a_reset_in_the_middle_is_never_a_clean_end() {
    for row in &ROWS {
        let server = row.server(Reply::ok().tokens(8).reset_after(3)).await;
        let error = match row.stack().oneshot(row.request(&server)).await {
            Ok(response) => read(response).await.1,
            Err(error) => Some(error),
        };
        let failure = failure(&error.unwrap_or_else(|| panic!("{}: a clean end", row.name)));
        assert_eq!((failure.code.code(), failure.kind), ("E3001", FailureKind::Transport), "{}", row.name);
    }
}

#[tokio::test]
async fn an_error_after_the_first_token_is_delivered_and_then_an_error_with_its_code() {
    for row in &ROWS {
        for (reply, code) in [
            (Reply::ok().tokens(8).error_event_at(row.preamble + 2, row.error.0), row.error.1),
            (Reply::ok().tokens(8).failed_event_at(row.preamble + 2, row.failed.0), row.failed.1),
        ] {
            let (sent_bytes, _) = row.sent_bytes(reply.clone()).await;
            let (read, error) = row.read(reply).await;
            let failure = failure(&error.unwrap_or_else(|| panic!("{}: a clean end", row.name)));
            assert_eq!((failure.code.code(), failure.kind), (code, FailureKind::InBand), "{}", row.name);
            assert_eq!(text(&read), text(&sent_bytes), "{}", row.name);
            assert!(text(&read).contains("t2 ") && !text(&read).contains("t3 "), "{}", text(&read));
        }
    }
}

/// The token clock ignores pings in every dialect.
/// Pitfall P23 (docs/pitfalls.md).
#[tokio::test]
async fn a_stall_with_pings_ends_by_the_token_clock() {
    const GAP: Duration = Duration::from_millis(200);
    for row in &ROWS {
        let server = row.server(Reply::ok().tokens(5).stall_after(2).pings(GAP / 10)).await;
        let stack = row.builder().stream_clocks(StreamClocks::new().token_gap(GAP)).service(reqwest());
        let response = stack.oneshot(row.request(&server)).await.unwrap();
        let start = Instant::now();
        let read = tokio::time::timeout(GAP * 100, read(response)).await;
        let (read, error) = read.unwrap_or_else(|_| panic!("{}: pinged for ever", row.name));
        assert!(start.elapsed() > GAP / 2, "{}: {:?}", row.name, start.elapsed());
        let error = error.unwrap_or_else(|| panic!("{}: a clean end", row.name));
        assert_eq!(error.downcast_ref().map(Elapsed::clock), Some(Clock::TokenGap), "{}: {error}", row.name);
        assert_eq!(failure(&error).code.code(), "E3003", "{}", row.name);
        let (silent, _) = row.sent_bytes(Reply::ok().tokens(5).end_after(2)).await;
        assert!(read.starts_with(&silent) && read.len() > silent.len(), "{}: {}", row.name, text(&read));
    }
}

// Pitfall P23 (docs/pitfalls.md).
#[tokio::test]
async fn a_pinged_pause_lives_under_a_long_token_clock() {
    const PAUSE: Duration = Duration::from_millis(100);
    for row in &ROWS {
        for after in [0, 2] {
            let reply = Reply::ok().tokens(4).pause_after(after, PAUSE).pings(PAUSE / 20);
            let server = row.server(reply.clone()).await;
            let start = Instant::now();
            let through_stack = async {
                let response = row.stack().oneshot(row.request(&server)).await.unwrap();
                read(response).await
            };
            let ((sent_bytes, _), (read, error)) = tokio::join!(row.sent_bytes(reply), through_stack);
            assert!(error.is_none() && start.elapsed() >= PAUSE, "{}: {error:?}", row.name);
            assert_eq!(text(&read), text(&sent_bytes), "{}", row.name);
            let (without, _) = row.sent_bytes(Reply::ok().tokens(4)).await;
            assert!(read.len() >= without.len() + 19, "{}: no pings", row.name);
        }
    }
}

#[tokio::test]
async fn a_malformed_event_is_not_the_end() {
    for row in &ROWS {
        for at in [0, row.preamble, row.preamble + 2] {
            let reply = Reply::ok().tokens(4).malformed_event_at(at);
            let (sent_bytes, _) = row.sent_bytes(reply.clone()).await;
            let (read, error) = row.read(reply).await;
            assert!(error.is_none(), "{} {at}: {error:?}", row.name);
            assert_eq!(text(&read), text(&sent_bytes), "{} {at}", row.name);
            assert!(text(&read).contains("t4 "), "{} {at}", row.name);
        }
    }
}

/// Events above and below the 256 KiB that are kept of an event, as the first token and after it.
#[tokio::test]
async fn a_giant_event_does_not_break_the_stream() {
    for row in &ROWS {
        for (at, bytes) in [(0, 600_000), (1, 100_000), (2, 600_000)] {
            let reply = Reply::ok().tokens(4).giant_event_at(row.preamble + at, bytes);
            let (sent_bytes, _) = row.sent_bytes(reply.clone()).await;
            let (read, error) = row.read(reply).await;
            assert!(error.is_none(), "{} {at} {bytes}: {error:?}", row.name);
            assert!(read == sent_bytes && read.len() > bytes, "{} {at} {bytes}", row.name);
        }
    }
}

#[tokio::test]
async fn the_scanner_reports_tokens_usage_and_the_stop_reason() {
    let arguments = r#"{"port":"Brest","day":"today"}"#;
    for row in &ROWS {
        let in_pieces = |pieces: u32| if row.has_call_pieces { pieces } else { 1 };
        for (reply, tokens, output, stop) in [
            (Reply::ok().tokens(7), 7, 7, StopReason::Natural),
            (Reply::ok().tokens(7).reasoning(3), 10, 10, StopReason::Natural),
            (Reply::ok().tokens(7).stopped_by_length(), 7, 7, StopReason::Length),
            (Reply::ok().tokens(7).stopped_by_filter(), 7, 7, StopReason::ContentFilter),
            (Reply::tool_call("tide_at", arguments), in_pieces(4), 4, StopReason::Natural),
            (Reply::ok().tokens(7).giant_event_at(row.preamble + 1, 600_000), 8, 7, StopReason::Natural),
            (Reply::ok().tokens(7).malformed_event_at(row.preamble + 1), 7, 7, StopReason::Natural),
        ] {
            let case = format!("{} {reply:?}", row.name);
            let (scanner, scanned_tokens) = row.scanned(reply).await;
            let state = scanner.state();
            assert!(state.has_started && state.has_finished && state.failure.is_none(), "{case}");
            let input = (BODY.len() as u64).div_ceil(4);
            let usage = Usage { input: Some(input), output: Some(output), ..Usage::default() };
            assert_eq!((state.stop, state.usage), (Some(stop), Some(usage)), "{case}");
            // The name of a tool may be an event of its own, before the arguments.
            let is_call = case.contains("Call {");
            assert!(
                scanned_tokens == tokens || (is_call && scanned_tokens == tokens + 1),
                "{scanned_tokens} tokens: {case}"
            );
        }
    }
}

#[tokio::test]
async fn a_plain_response_passes_unchanged_and_a_rejection_has_its_code() {
    let plain = r#"{"model":"m","messages":[]}"#;
    for row in &ROWS {
        let provider = (row.provider)().rate_limit(7, Duration::from_secs(60));
        let provider =
            [401, 429, 500, 503].into_iter().fold(provider, |it, status| it.then(Reply::status(status)));
        let server = provider.start().await.unwrap();
        let request = || Request::post(server.chat_url("m", false)).body(Payload::from(plain)).unwrap();
        for code in ["E1002", "E2001", "E3001", "E3002"] {
            let response = row.stack().oneshot(request()).await.unwrap();
            assert_eq!(Outcome::of(&response).failure().unwrap().code.code(), code, "{}", row.name);
        }
        for reply in [Reply::text("high tide"), Reply::text("ebb").reasoning(2), Reply::tool_call("f", "{}")]
        {
            server.script().then(reply);
            let response = row.stack().oneshot(request()).await.unwrap();
            let promised = response.headers()["content-length"].to_str().unwrap().parse::<usize>().unwrap();
            let (body, error) = read(response).await;
            assert!(error.is_none() && body.len() == promised, "{}: {error:?}", row.name);
            let answer: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert!(answer.to_string().contains("usage"), "{}: {answer}", row.name);
        }
        let response = row.stack().oneshot(request()).await.unwrap();
        let outcome = Outcome::of(&response);
        let rejected = outcome.failure().unwrap();
        assert_eq!((response.status().as_u16(), rejected.code.code()), (429, "E2001"), "{}", row.name);
        let wait = rejected.retry_hint.as_ref().and_then(|hint| hint.wait);
        assert_eq!(wait.is_some(), row.has_wait, "{}: {wait:?}", row.name);
        assert!(wait.is_none_or(|wait| wait <= Duration::from_secs(9)), "{}: {wait:?}", row.name);
    }
}

#[tokio::test]
async fn three_broken_streams_open_a_circuit_of_threshold_three_and_disconnects_do_not() {
    for row in &ROWS {
        let server = row.server(Reply::ok().tokens(8).stall_after(2)).await;
        let breaker = CircuitBreakerLayer::new().failure_threshold(3);
        let stack = row.builder().circuit_breaker(breaker).service(reqwest());
        for _ in 0..5 {
            let response = stack.clone().oneshot(row.request(&server)).await.unwrap();
            let mut body = Box::pin(response.into_body());
            body.frame().await.unwrap().unwrap();
        }
        server.log().in_flight_is(0).await;
        server.script().otherwise(Reply::ok().tokens(8).end_after(3));
        for _ in 0..3 {
            let response = stack.clone().oneshot(row.request(&server)).await.unwrap();
            assert!(read(response).await.1.is_some(), "{}", row.name);
        }
        let rejected = stack.clone().oneshot(row.request(&server)).await.err().unwrap();
        assert!(Rejection::find(&*rejected).is_some(), "{}: {rejected}", row.name);
        assert_eq!((server.log().calls(), server.log().abandoned()), (8, 5), "{}", row.name);
    }
}

/// JSON of unknown length could be a stream until its first byte shows that it is not, and an error until it
/// has content.
#[tokio::test]
async fn plain_json_of_unknown_length_passes_unchanged_and_its_cut_is_not_a_clean_end() {
    let first = "\n{\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"a\"}]}},";
    let second = "{}]}";
    let reply = Reply::raw(first).frame(second);
    let server = ARRAY.server(reply.clone()).await;
    let response = ARRAY.stack().oneshot(ARRAY.request(&server)).await.unwrap();
    assert_eq!(Outcome::of(&response), Outcome::Success);
    let (read, error) = read(response).await;
    assert_eq!((text(&read), error.is_none()), ([first, second].concat().into(), true));

    let server = ARRAY.server(reply.cut_after(1)).await;
    let cut = ARRAY.stack().oneshot(ARRAY.request(&server)).await.expect_err("no response");
    assert_eq!(Outcome::of_error(&cut).failure().unwrap().kind, FailureKind::Transport);
}

/// A gateway with one route of this dialect. Its chain is the servers in this order.
async fn gateway(row: &Row, route: &str, servers: &[&Server], policy: &str) -> Setup {
    let dialect = if route == "/v1/messages" { "anthropic" } else { "openai" };
    let mut file = String::from("listen = \"127.0.0.1:0\"\n");
    for (name, server) in [row.name, "spare"].iter().zip(servers) {
        file +=
            &format!("[providers.{name}]\nbase_url = \"{}\"\ndialect = \"{dialect}\"\n", server.base_url());
    }
    let chain: Vec<_> =
        [row.name, "spare"].iter().take(servers.len()).map(|name| format!("{name}/m")).collect();
    file += &format!("[policies.default]\n{policy}\n[[routes]]\npath = \"{route}\"\nchain = {chain:?}\n");
    Setup::of_file(&file, |_| None).await
}

async fn through(setup: &Setup, route: &str) -> (ClientResponse, String) {
    let response = ClientResponse::of(setup.post(route).body(BODY)).await;
    let text = String::from_utf8(response.body.to_vec()).unwrap();
    (response, text)
}

// Pitfall P22 (docs/pitfalls.md).
#[tokio::test]
async fn through_the_gateway_an_error_before_the_first_token_falls_back_to_one_clean_stream() {
    for row in &ROWS {
        let Some(route) = row.route else { continue };
        for reply in [
            Reply::ok().error_event_at(row.preamble, row.error.0),
            Reply::ok().failed_event_at(row.preamble, row.failed.0),
        ] {
            let first = row.server(reply).await;
            let second = row.server(Reply::text("all is well")).await;
            let (response, text) = through(&gateway(row, route, &[&first, &second], "").await, route).await;
            assert_eq!(
                (response.status, response.header("x-tidegate-target")),
                (200, "spare/m"),
                "{}",
                row.name
            );
            let (sent_bytes, _) = row.sent_bytes(Reply::text("all is well")).await;
            assert_eq!(text, self::text(&sent_bytes), "{}", row.name);
            assert_eq!((first.log().calls(), second.log().calls()), (1, 1), "{}", row.name);

            let (response, text) = through(&gateway(row, route, &[&first], "").await, route).await;
            assert!(response.status >= 429, "{}: {}", row.name, response.status);
            let codes = [row.error.1, row.failed.1];
            assert!(codes.contains(&response.header("x-tidegate-code")), "{}: {text}", row.name);
            assert_eq!(response.header("content-type"), "application/json", "{}", row.name);
        }
    }
}

// Pitfall P21 (docs/pitfalls.md).
#[tokio::test]
async fn through_the_gateway_a_broken_stream_delivers_its_tokens_and_then_an_error_event() {
    let stalled = Reply::ok().tokens(8).stall_after(3).pings(Duration::from_millis(10));
    for row in &ROWS {
        let Some(route) = row.route else { continue };
        for reply in [Reply::ok().tokens(8).cut_after(3), Reply::ok().tokens(8).end_after(3), stalled.clone()]
        {
            let server = row.server(reply).await;
            let policy = r#"timeout = { token_gap = "200ms" }"#;
            let (response, text) = through(&gateway(row, route, &[&server], policy).await, route).await;
            let error = text.trim_end().lines().last().unwrap();
            assert!(response.status == 200 && error.starts_with("data: {"), "{}: {text}", row.name);
            assert!(error.contains("\"error\":"), "{}: {error}", row.name);
            assert!(text.contains("t3 ") && !text.contains("t4 "), "{}: {text}", row.name);
            assert!(!text.contains("[DONE]") && !text.contains("message_stop"), "{}: {text}", row.name);
        }
    }
}

/// The caller of the gateway gets the status of the error, although the provider sent 200.
#[tokio::test]
async fn through_the_gateway_an_error_body_with_a_200_falls_back_or_sets_the_status() {
    for row in &ROWS {
        let Some(route) = row.route else { continue };
        let error = Reply::raw(r#"{"error":{"code":429,"message":"slow down"}}"#);
        let first = row.server(error.header("content-type", "application/json")).await;
        let second = row.server(Reply::text("all is well")).await;
        let send = async |setup: Setup| {
            ClientResponse::of(setup.post(route).body(r#"{"model":"m","max_tokens":9}"#)).await
        };
        let response = send(gateway(row, route, &[&first, &second], "").await).await;
        assert_eq!((response.status, response.header("x-tidegate-target")), (200, "spare/m"), "{}", row.name);
        let response = send(gateway(row, route, &[&first], "").await).await;
        assert_eq!((response.status, response.header("x-tidegate-code")), (429, "E2001"), "{}", row.name);
    }
}

#[tokio::test]
async fn through_the_gateway_odd_events_and_pauses_do_not_end_a_stream() {
    let millis = Duration::from_millis;
    for row in &ROWS {
        let Some(route) = row.route else { continue };
        for reply in [
            Reply::ok().tokens(4).malformed_event_at(row.preamble + 1),
            Reply::ok().tokens(4).giant_event_at(row.preamble + 1, 600_000),
            Reply::ok().tokens(4).pause_after(1, millis(100)).pings(millis(20)),
            Reply::tool_call("tide_at", r#"{"port":"Brest"}"#).reasoning(2),
        ] {
            let server = row.server(reply.clone()).await;
            let (response, text) = through(&gateway(row, route, &[&server], "").await, route).await;
            assert_eq!(
                (response.status, response.header("x-tidegate-target")),
                (200, &*format!("{}/m", row.name))
            );
            let (sent_bytes, _) = row.sent_bytes(reply).await;
            assert!(text.as_bytes() == sent_bytes, "{}: {}", row.name, &text[..text.len().min(2000)]);
        }
    }
}
