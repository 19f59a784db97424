//! The stack around real clients, over real sockets.

use std::time::Duration;

use http::{Request, Response};
use http_body_util::BodyExt;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tidegate::provider::{FailureKind, HttpService};
use tidegate::{
    BackpressureLayer, CircuitBreakerLayer, Outcome, Payload, RateLimitLayer, ReqwestService, Resilience,
    ResilienceBuilder, RetryLayer,
};
use tidegate_testkit::{Provider, Reply, Server, closed_port};
use tower::ServiceExt;

fn policy() -> ResilienceBuilder {
    ResilienceBuilder::new("openai/gpt-4o")
        .retry(RetryLayer::exponential().initial_delay(Duration::from_millis(5)))
        .backpressure(BackpressureLayer::max_inflight(50))
        .rate_limit(RateLimitLayer::per_second(1_000))
        .circuit_breaker(CircuitBreakerLayer::new())
}

fn chat_request(base_url: &str) -> Request<Payload> {
    Request::post(format!("{base_url}/chat/completions"))
        .body(Payload::from(r#"{"model":"gpt-4o"}"#))
        .unwrap()
}

async fn flaky() -> Server {
    Provider::openai()
        .then(Reply::status(503))
        .then(Reply::reset())
        .then(Reply::text("here"))
        .start()
        .await
        .unwrap()
}

async fn responds_after_two_retries<S>(stack: Resilience<S>, provider: &Server)
where
    Resilience<S>: HttpService<Payload> + Clone,
{
    let signals = stack.signals();
    let response: Response<_> =
        stack.oneshot(chat_request(&provider.base_url())).await.map_err(Into::into).unwrap();
    assert_eq!((response.status().as_u16(), signals.snapshot().current_inflight), (200, 1));
    let body = response.into_body().collect().await.map_err(Into::into).unwrap().to_bytes();
    assert!(String::from_utf8_lossy(&body).contains("here"));
    assert_eq!((provider.log().calls(), signals.snapshot().current_inflight), (3, 0));
}

#[tokio::test]
async fn reqwest_is_an_inner_service() {
    let provider = flaky().await;
    responds_after_two_retries(policy().service(ReqwestService::new(reqwest::Client::new())), &provider)
        .await;
}

#[tokio::test]
async fn the_client_of_hyper_util_is_an_inner_service() {
    let provider = flaky().await;
    let client: Client<_, Payload> = Client::builder(TokioExecutor::new()).build_http();
    responds_after_two_retries(policy().service(client), &provider).await;
}

#[tokio::test]
async fn connection_errors_of_both_clients_are_failures_with_a_code() {
    let closed = closed_port().unwrap();
    let hyper: Client<_, Payload> = Client::builder(TokioExecutor::new()).build_http();
    let builder = || ResilienceBuilder::new("openai/gpt-4o");
    let reqwest = builder().service(ReqwestService::new(reqwest::Client::new()));
    for error in [
        reqwest.oneshot(chat_request(&closed.base_url())).await.err().unwrap(),
        builder().service(hyper).oneshot(chat_request(&closed.base_url())).await.err().unwrap(),
    ] {
        let outcome = Outcome::of_error(&*error);
        let failure = outcome.failure().unwrap();
        assert_eq!((failure.code.code(), failure.kind), ("E3001", FailureKind::Transport));
    }
}

#[tokio::test]
async fn a_request_that_cannot_be_built_is_the_callers_mistake() {
    let service = policy().service(ReqwestService::new(reqwest::Client::new()));
    let request = Request::post("/no-host").body(Payload::empty()).unwrap();
    let error = service.oneshot(request).await.err().unwrap();
    assert_eq!(Outcome::of_error(&*error).failure().unwrap().code.code(), "E1001");
}
