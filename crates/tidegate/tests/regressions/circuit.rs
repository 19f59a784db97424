//! Circuits that opened without a reason, or never closed.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Request;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use tidegate::circuit_breaker::State;
use tidegate::provider::HttpService;
use tidegate::{BoxError, CircuitBreakerLayer, Payload};
use tidegate_testkit::strict::Answer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tower::{Layer, Service, ServiceExt};

use crate::support::{SECOND, complete, request, strict};

/// A body as from HTTP/2: its length is known, and its end is a separate frame.
struct FromHttp2(Option<Bytes>);

impl Body for FromHttp2 {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Poll::Ready(self.0.take().map(|data| Ok(Frame::data(data))))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.as_ref().map_or(0, |data| data.len() as u64))
    }
}

/// Calls `service` behind a hyper server, over a connection of its own. Returns the whole HTTP response.
async fn call_over_http1<S>(service: &S) -> String
where
    S: HttpService<Payload, Body: Send + 'static> + Clone + 'static,
    S: Service<Request<Payload>, Error = tidegate::Error>,
    <S::Body as Body>::Data: Send,
{
    let (mut client, server) = tokio::io::duplex(1024);
    let serve = hyper::service::service_fn(|request: Request<Incoming>| {
        service.clone().oneshot(request.map(|_| Payload::empty()))
    });
    let connection = http1::Builder::new().serve_connection(TokioIo::new(server), serve);
    let exchange = async {
        let request = b"GET / HTTP/1.1\r\nhost: provider\r\nconnection: close\r\n\r\n";
        client.write_all(request).await.unwrap();
        let mut response = String::new();
        client.read_to_string(&mut response).await.unwrap();
        response
    };
    tokio::join!(connection, exchange).1
}

/// Behind a server, successes were lost. The server stops polling once it has the announced length, and a
/// body that was not polled to its end counted as cancelled. Three single failures between successes opened
/// the circuit.
#[tokio::test(start_paused = true)]
async fn a_success_counts_if_the_server_stops_polling_at_the_announced_length() {
    let (inner, provider) = strict();
    let from_http2 = inner.map_response(|response| response.map(|_| FromHttp2(Some("hello".into()))));
    let layer = CircuitBreakerLayer::new().failure_threshold(3);
    let service = layer.layer(from_http2);
    for status in [503, 200].into_iter().cycle().take(8) {
        provider.answer(status);
        let response = call_over_http1(&service).await;
        assert!(response.starts_with(&format!("HTTP/1.1 {status}")), "{response:?}");
        assert!(response.ends_with("hello"), "{response:?}");
        assert_eq!(layer.handle().state(), State::Closed, "never two failures in a row");
    }
}

/// Pitfall P06 (docs/pitfalls.md): the head of a probe arrived two trips later, and the probe was admitted as
/// a call of the present state. When its body broke off, it opened a circuit that had closed in the meantime.
#[tokio::test(start_paused = true)]
async fn a_probe_of_an_earlier_trip_does_not_open_the_circuit() {
    let (inner, provider) = strict();
    let layer = CircuitBreakerLayer::new().failure_threshold(1).half_open_max(2).cooldown(SECOND);
    let mut service = layer.layer(inner);
    provider.answer(503);
    complete(&mut service).await.unwrap();
    tokio::time::advance(SECOND).await;

    // Two concurrent probes: the first hangs, the second opens the circuit again.
    let late = provider.answer(200).frame("tok").break_off("connection reset").hold();
    let mut probe = tokio_test::task::spawn(service.clone().oneshot(request()));
    assert!(probe.poll().is_pending());
    provider.answer(503);
    complete(&mut service).await.unwrap();
    assert_eq!(layer.handle().state(), State::Open);
    tokio::time::advance(SECOND).await;
    complete(&mut service).await.unwrap();
    assert_eq!(layer.handle().state(), State::Closed);

    late.release();
    probe.await.unwrap().into_body().collect().await.unwrap_err();
    assert_eq!(layer.handle().state(), State::Closed);
}

/// Pitfall P07 (docs/pitfalls.md), inverted: the success of a probe was not counted after its lease had
/// expired. A provider slower than the lease was admitted one call at a time for ever. After an hour, 58 of
/// 3600 calls had succeeded.
#[tokio::test(start_paused = true)]
async fn a_healthy_provider_slower_than_the_lease_closes_the_circuit() {
    let (inner, provider) = strict();
    let layer = CircuitBreakerLayer::new().failure_threshold(1);
    let service = layer.layer(inner);
    provider.answer(503);
    complete(&mut service.clone()).await.unwrap();
    provider.otherwise(Answer::status(200).body("after long thought").after(90 * SECOND));
    for _ in 0..600 {
        tokio::time::sleep(SECOND).await;
        let mut service = service.clone();
        tokio::spawn(async move { complete(&mut service).await });
    }
    assert_eq!(layer.handle().state(), State::Closed);
}

/// Pitfall P24 (docs/pitfalls.md): an exhausted quota came with `retry-after: 0`, and the circuit opened for
/// no time. Each of five calls was sent.
#[cfg(feature = "providers")]
#[tokio::test(start_paused = true)]
async fn an_exhausted_quota_with_a_retry_after_of_zero_keeps_the_circuit_open() {
    let (inner, provider) = strict();
    let layer = CircuitBreakerLayer::new();
    let mut service =
        tidegate::ResilienceBuilder::new("openai/gpt-4o").circuit_breaker(layer.clone()).service(inner);
    let body =
        r#"{"error":{"type":"insufficient_quota","code":"insufficient_quota","message":"add credit"}}"#;
    provider.otherwise(Answer::status(429).header("retry-after", "0").body(body));
    assert_eq!(complete(&mut service).await.unwrap(), 429);
    for _ in 0..4 {
        assert!(complete(&mut service).await.is_err());
    }
    assert_eq!((provider.calls(), layer.handle().cooldown_remaining()), (1, Some(60 * SECOND)));
}
