//! Errors that were attributed to the wrong side.

use std::future::pending;
use std::io;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use tidegate::circuit_breaker::State;
use tidegate::provider::{ErrorBody, FailureKind, Gate};
use tidegate::{
    BoxError, CircuitBreakerLayer, Error, ErrorCode, Outcome, Payload, Rejection, ResilienceBuilder,
    RetryLayer,
};
use tower::load_shed::LoadShedLayer;
use tower::timeout::TimeoutLayer;
use tower::{Layer, ServiceExt, service_fn};

use crate::support::{SECOND, request, strict};

/// Two uploads that were longer than the caller's own limit were reported as "no answer from the provider",
/// and opened the circuit for all callers.
#[tokio::test(start_paused = true)]
async fn an_upload_that_breaks_off_is_not_a_failure_of_the_provider() {
    for retry in [RetryLayer::disabled(), RetryLayer::exponential()] {
        // As in a client: an error of the request body is the error of the call.
        let client = service_fn(async |request: Request<Payload>| {
            request.into_body().collect().await?;
            Ok::<_, BoxError>(Response::new(Payload::empty()))
        });
        let service = ResilienceBuilder::new("")
            .retry(retry)
            .circuit_breaker(CircuitBreakerLayer::new().failure_threshold(2))
            .service(client);
        for _ in 0..2 {
            let upload = Limited::new(Full::new(Bytes::from_static(b"too long")), 3);
            let error = service.clone().oneshot(request().map(|_| upload)).await.err().unwrap();
            let outcome = Outcome::of_error(&*error);
            assert_eq!(outcome.failure().unwrap().code, ErrorCode::InvalidRequest, "{error}");
        }
        assert!(service.signals().is_healthy());
    }
}

/// The `source` of an `io::Error` skips the error that it was made of. Rejections that had passed through a
/// client were counted as failures of the provider.
/// They were failures of the transport, for which an adaptive limit does not fall, and responses with 502.
#[tokio::test(start_paused = true)]
async fn timeouts_of_tokio_and_tower_are_timeouts() {
    let of_tokio: BoxError = tokio::time::timeout(SECOND, pending::<()>()).await.unwrap_err().into();
    let (inner, provider) = strict();
    provider.hang();
    let of_tower = TimeoutLayer::new(SECOND).layer(inner).oneshot(request()).await;
    for error in [of_tokio, of_tower.err().unwrap()] {
        assert_eq!(Outcome::of_error(&*error).failure().unwrap().kind, FailureKind::Timeout);
        assert_eq!(ErrorBody::response_of::<String>(&*error).status(), 504);
        let wrapped = Error::boxed(error);
        assert_eq!(ErrorBody::response_of::<String>(&*wrapped).status(), 504);
    }
}

/// A request that was refused before it was sent opened the circuit of the provider, and was a response with
/// 502.
#[tokio::test(start_paused = true)]
async fn a_request_that_was_shed_is_no_failure_of_the_provider() {
    let (inner, provider) = strict();
    provider.block();
    let circuit = CircuitBreakerLayer::new().failure_threshold(1);
    let service = circuit.layer(LoadShedLayer::new().layer(inner));
    let error = service.oneshot(request()).await.err().unwrap();
    assert_eq!(circuit.handle().state(), State::Closed);
    assert_eq!(ErrorBody::response_of::<String>(&*error).status(), 503);
}

/// Seed item 40.
#[test]
fn a_rejection_is_found_at_any_depth() {
    let rejection = Rejection::new(Gate::CircuitBreaker, ErrorCode::Overloaded);
    let error = io::Error::other(io::Error::other(rejection));
    assert_eq!(Rejection::find(&error).map(Rejection::gate), Some(Gate::CircuitBreaker));
    assert_eq!(Outcome::of_error(&error), Outcome::Neutral);
}

/// A timeout of the client was classified as a timeout only up to the head. In the body it was E3001, a
/// broken connection.
#[cfg(feature = "reqwest")]
#[tokio::test]
async fn a_timeout_of_the_client_in_the_body_is_a_timeout() {
    use tidegate_testkit::{Provider, Reply};
    let provider = Provider::openai().then(Reply::raw("half").stall_after(1)).start().await.unwrap();
    let client = reqwest::Client::builder().no_proxy().timeout(60 * SECOND).build().unwrap();
    let request = Request::post(format!("{}/chat/completions", provider.base_url()))
        .body(Payload::from(r#"{"model":"gpt-4o"}"#))
        .unwrap();
    let response = tidegate::ReqwestService::new(client).oneshot(request).await.unwrap();
    // The head has arrived; from here on, time is virtual.
    tokio::time::pause();
    let error = response.into_body().collect().await.err().unwrap();
    assert_eq!(Outcome::of_error(&*error).failure().unwrap().code, ErrorCode::Timeout, "{error}");
}
