//! Requests that the provider did not process, through both clients and over real connections.

use std::time::{Duration, Instant};

use http::Request;
use http_body_util::BodyExt;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tidegate::provider::{FailureKind, HttpService, NotProcessedReason, Verdict};
use tidegate::reconnect::Reconnect;
use tidegate::{
    BoxError, CircuitBreakerLayer, Outcome, Payload, ReqwestService, Resilience, ResilienceBuilder,
    RetryLayer, Trail,
};
use tidegate_testkit::{ConnectionServer, Reaction};
use tokio::time::timeout;
use tower::ServiceExt;

type Hyper = Reconnect<Client<HttpConnector, Payload>>;

fn reqwest(is_http2: bool) -> ReqwestService {
    ReqwestService::from_builder(|| {
        let builder = reqwest::Client::builder().no_proxy();
        if is_http2 { builder.http2_prior_knowledge() } else { builder }
    })
    .unwrap()
}

fn hyper(is_http2: bool) -> Hyper {
    let client = |idle| {
        Client::builder(TokioExecutor::new()).http2_only(is_http2).pool_max_idle_per_host(idle).build_http()
    };
    Reconnect::new(client(usize::MAX), client(0))
}

async fn server_of(is_http2: bool, script: impl IntoIterator<Item = Reaction>) -> ConnectionServer {
    let server = match is_http2 {
        true => ConnectionServer::http2(script).await,
        false => ConnectionServer::http1(script).await,
    };
    server.unwrap()
}

/// A stack that counts every failure: one opens the circuit, and there are no retries.
fn strict<S>(client: S) -> Resilience<S> {
    ResilienceBuilder::new("openai/gpt-4o")
        .circuit_breaker(CircuitBreakerLayer::new().failure_threshold(1))
        .attempt_timeout(Duration::from_secs(5))
        .max_attempts(1)
        .service(client)
}

fn chat(server: &ConnectionServer, body: Payload) -> Request<Payload> {
    Request::post(format!("{}/chat/completions", server.base_url()))
        .header("content-type", "application/json")
        .body(body)
        .unwrap()
}

/// The result of a call that is read to its end.
struct Call {
    status: Result<u16, FailureKind>,
    verdicts: Vec<Verdict>,
    attempts: u32,
    circuit: &'static str,
}

async fn call<S>(stack: &Resilience<S>, server: &ConnectionServer) -> Call
where
    S: HttpService<Payload> + Clone,
    Resilience<S>: HttpService<Payload> + Clone,
{
    call_with(stack, server, Payload::from(r#"{"model":"gpt-4o"}"#)).await
}

async fn call_with<S>(stack: &Resilience<S>, server: &ConnectionServer, body: Payload) -> Call
where
    S: HttpService<Payload> + Clone,
    Resilience<S>: HttpService<Payload> + Clone,
{
    let mut request = chat(server, body);
    let trail = Trail::new();
    request.extensions_mut().insert(trail.clone());
    let status = match stack.clone().oneshot(request).await {
        Ok(response) => {
            let status = response.status().as_u16();
            response.into_body().collect().await.map_err(Into::into).unwrap();
            Ok(status)
        }
        Err(error) => {
            let error: BoxError = error.into();
            Err(Outcome::of_error(&*error).failure().expect("not a rejection").kind)
        }
    };
    Call {
        status,
        verdicts: trail.steps().into_iter().map(|step| step.verdict).collect(),
        attempts: trail.attempts(),
        circuit: stack.signals().snapshot().circuit_state.name(),
    }
}

/// Runs a check with the stack around each client.
macro_rules! with_both_clients {
    ($is_http2:expr, |$stack:ident| $check:block) => {{
        {
            let $stack = strict(reqwest($is_http2));
            $check
        }
        {
            let $stack = strict(hyper($is_http2));
            $check
        }
    }};
}

/// Waits without a timer, which would let a paused clock advance.
async fn requests_reach(server: &ConnectionServer, requests: usize) {
    let start = Instant::now();
    while server.requests() < requests {
        assert!(start.elapsed() < Duration::from_secs(10), "{} requests", server.requests());
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_reused_connection_that_closes_before_the_response_costs_no_attempt() {
    for reaction in [Reaction::Close, Reaction::Reset] {
        with_both_clients!(false, |stack| {
            let server = ConnectionServer::http1([Reaction::Answer, reaction]).await.unwrap();
            assert_eq!(call(&stack, &server).await.status, Ok(200));
            let second = call(&stack, &server).await;
            assert_eq!((second.status, second.attempts, second.circuit), (Ok(200), 1, "closed"));
            let sent_again = Verdict::SentAgain(NotProcessedReason::ConnectionClosed);
            assert_eq!(second.verdicts, [sent_again, Verdict::Succeeded]);
            assert_eq!((server.requests(), server.connections()), (3, 2));
        });
    }
}

/// After an idle spell, all kept connections may be closed: the second request must not meet the next of
/// them.
#[tokio::test]
async fn the_second_request_uses_a_fresh_connection_although_others_are_idle() {
    with_both_clients!(false, |stack| {
        let server = ConnectionServer::closing_reused().await.unwrap();
        let calls = [call(&stack, &server), call(&stack, &server), call(&stack, &server)];
        let [first, second, third] = calls;
        let (first, second, third) = tokio::join!(first, second, third);
        assert_eq!([first.status, second.status, third.status], [Ok(200); 3]);
        let last = call(&stack, &server).await;
        assert_eq!((last.status, last.attempts, last.circuit), (Ok(200), 1, "closed"));
    });
}

#[tokio::test]
async fn a_fresh_connection_that_closes_is_a_transport_failure() {
    for reaction in [Reaction::Close, Reaction::Reset] {
        with_both_clients!(false, |stack| {
            let server = ConnectionServer::http1([reaction]).await.unwrap();
            let first = call(&stack, &server).await;
            assert_eq!((first.status, first.circuit), (Err(FailureKind::Transport), "open"));
            assert_eq!(server.requests(), 1);
        });
    }
}

#[tokio::test]
async fn a_refused_stream_is_sent_again_once() {
    let reasons = [
        (Reaction::Refuse, NotProcessedReason::StreamRefused),
        (Reaction::GoAway, NotProcessedReason::GoAway),
    ];
    for (reaction, reason) in reasons {
        with_both_clients!(true, |stack| {
            let server = ConnectionServer::http2([reaction]).await.unwrap();
            let first = call(&stack, &server).await;
            assert_eq!((first.status, first.attempts, first.circuit), (Ok(200), 1, "closed"));
            assert_eq!(first.verdicts, [Verdict::SentAgain(reason), Verdict::Succeeded]);
            assert_eq!((server.requests(), server.connections()), (2, 2));
        });
    }
}

#[tokio::test]
async fn a_request_that_is_refused_twice_fails_without_counting_against_the_provider() {
    with_both_clients!(true, |stack| {
        let server = ConnectionServer::http2([Reaction::Refuse; 9]).await.unwrap();
        let first = call(&stack, &server).await;
        assert_eq!((first.status, first.circuit), (Err(FailureKind::NotProcessed), "closed"));
        assert_eq!(server.requests(), 2);
    });
}

/// Regression: the response was an error of the caller, and the connection stayed in use.
#[tokio::test]
async fn a_misdirected_request_is_sent_again_over_a_fresh_connection() {
    for is_http2 in [false, true] {
        with_both_clients!(is_http2, |stack| {
            let server = server_of(is_http2, [Reaction::Misdirect]).await;
            let first = call(&stack, &server).await;
            assert_eq!((first.status, first.attempts, first.circuit), (Ok(200), 1, "closed"));
            let sent_again = Verdict::SentAgain(NotProcessedReason::Misdirected);
            assert_eq!(first.verdicts, [sent_again, Verdict::Succeeded]);
            assert_eq!((server.requests(), server.connections()), (2, 2));
        });
        with_both_clients!(is_http2, |stack| {
            let server = server_of(is_http2, [Reaction::Misdirect; 2]).await;
            let first = call(&stack, &server).await;
            assert_eq!((first.status, first.circuit), (Ok(421), "closed"));
            assert_eq!(server.requests(), 2);
        });
        let stack = strict(hyper(is_http2));
        let server = server_of(is_http2, [Reaction::Misdirect]).await;
        for connections in [2, 3, 3] {
            assert_eq!(call(&stack, &server).await.status, Ok(200));
            assert_eq!(server.connections(), connections);
        }
    }
}

#[tokio::test]
async fn a_body_that_cannot_be_replayed_is_sent_once() {
    with_both_clients!(true, |stack| {
        let server = ConnectionServer::http2([Reaction::Refuse]).await.unwrap();
        let body = Payload::streamed(http_body_util::Full::new(bytes::Bytes::from_static(b"{}")));
        let first = call_with(&stack, &server, body).await;
        assert_eq!((first.status, first.circuit), (Err(FailureKind::NotProcessed), "closed"));
        assert_eq!(server.requests(), 1);
    });
}

#[tokio::test]
async fn a_retry_follows_a_request_that_was_refused_twice() {
    let server = ConnectionServer::http2([Reaction::Refuse, Reaction::Refuse]).await.unwrap();
    let retry = RetryLayer::exponential().initial_delay(Duration::from_millis(5));
    let stack = ResilienceBuilder::new("openai/gpt-4o").retry(retry).service(hyper(true));
    let first = call(&stack, &server).await;
    assert_eq!((first.status, first.attempts, server.requests()), (Ok(200), 2, 3));
}

/// A NAT that has forgotten a connection drops its packets: every call on it would time out.
#[tokio::test]
async fn no_call_follows_on_an_http2_connection_after_a_timeout() {
    let server = ConnectionServer::http2([Reaction::Answer, Reaction::Silence]).await.unwrap();
    let stack =
        ResilienceBuilder::new("openai/gpt-4o").attempt_timeout(Duration::from_secs(2)).service(hyper(true));
    assert_eq!(call(&stack, &server).await.status, Ok(200));
    assert_eq!(call(&stack, &server).await.status, Err(FailureKind::Timeout));
    assert_eq!(call(&stack, &server).await.status, Ok(200));
    assert_eq!(server.connections(), 2);
}

/// Otherwise each caller that leaves would cost the others a handshake.
#[tokio::test]
async fn a_caller_that_leaves_at_once_takes_no_connection_from_the_others() {
    let server = ConnectionServer::http2([Reaction::Answer, Reaction::Hang]).await.unwrap();
    let stack = ResilienceBuilder::new("openai/gpt-4o").service(hyper(true));
    assert_eq!(call(&stack, &server).await.status, Ok(200));
    // The time to send the request is none in which the connection is silent.
    tokio::time::pause();
    tokio::select! {
        _ = call(&stack, &server) => panic!("a response"),
        () = requests_reach(&server, 2) => {}
    }
    tokio::time::resume();
    let next = timeout(Duration::from_secs(10), call(&stack, &server)).await.expect("a response");
    assert_eq!(next.status, Ok(200));
    assert_eq!((server.requests(), server.connections()), (3, 1));
}

#[tokio::test]
async fn a_connection_that_stays_silent_is_left_however_short_each_attempt_is() {
    let server = ConnectionServer::http2([Reaction::Answer, Reaction::Silence]).await.unwrap();
    let stack = ResilienceBuilder::new("openai/gpt-4o").service(hyper(true));
    assert_eq!(call(&stack, &server).await.status, Ok(200));
    let mut attempts = 0;
    while timeout(Duration::from_millis(60), call(&stack, &server)).await.is_err() {
        attempts += 1;
        assert!(attempts < 100, "the connection is not left");
    }
    assert!(server.connections() >= 2);
}

/// As in a hedge that loses: the connection is alive.
#[tokio::test]
async fn a_connection_that_serves_others_stays_in_use_after_a_timeout() {
    let server = ConnectionServer::http2([Reaction::Answer, Reaction::Hang]).await.unwrap();
    let stack = ResilienceBuilder::new("openai/gpt-4o").service(hyper(true));
    assert_eq!(call(&stack, &server).await.status, Ok(200));
    let other = async {
        requests_reach(&server, 2).await;
        let other = call(&stack, &server).await;
        // A shorter silence of the first request would show nothing.
        tokio::time::sleep(Duration::from_millis(150)).await;
        other
    };
    let other = tokio::select! {
        _ = call(&stack, &server) => panic!("a response"),
        other = timeout(Duration::from_secs(10), other) => other.expect("a response"),
    };
    assert_eq!(other.status, Ok(200));
    assert_eq!(call(&stack, &server).await.status, Ok(200));
    assert_eq!(server.connections(), 1);
}
