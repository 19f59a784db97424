//! Every layer, the stack, a chain and the translation compile where futures have to be `Send`: in a spawned
//! task, in an axum handler and in a hyper service, around every client.
//!
//! A type of tidegate that leaks a type of the wrapped service (its error, or its body behind a bound) breaks
//! this for all users at once: the compiler then reports "implementation of `From` is not general enough". So
//! each case here is written out with the concrete types of a user, by macros; a generic function would have
//! bounds that no user has.
//!
//! One limit is the compiler's. A service of an `async` closure that returns a `BoxError`, called through
//! tower's `oneshot` in a spawned task, does not compile with any middleware, tower's own `Timeout` included.
//! The `send` of the services here, and `ready` followed by `call`, do.

use std::time::Duration;

use axum::Router;
use axum::routing::post;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use http_body_util::combinators::BoxBody;
use hyper::server::conn::http1;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tidegate::chain::{ProviderSettings, Providers};
use tidegate::providers::ProviderClassifier;
use tidegate::{
    BackpressureLayer, BoxError, CircuitBreakerLayer, ClassifyLayer, FallbackChain, FallbackLayer, Payload,
    RateLimitLayer, ReqwestService, ResilienceBuilder, RetryLayer, TimeoutLayer, TranslateLayer,
};
use tidegate_testkit::{Provider, Reply, Server, strict};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tower::{Layer, Service, ServiceExt, service_fn};

/// What every provider responds.
const TEXT: &str = "high tide";

/// A completion of the provider, for services without a socket.
const COMPLETION: &str = r#"{"object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"high tide"},"finish_reason":"stop"}]}"#;

async fn provider() -> Server {
    Provider::openai().otherwise(Reply::text(TEXT)).start().await.expect("a free port")
}

fn request(url: &str) -> Request<Payload> {
    Request::post(url).body(Payload::from(r#"{"model":"gpt-4o","messages":[]}"#)).expect("a valid URL")
}

fn assert_send_and_sync<T: Send + Sync>(_: &T) {}

/// Serves one connection in a spawned task and returns what the caller reads from it.
macro_rules! served {
    ($service:expr) => {{
        let (mut caller, connection) = tokio::io::duplex(4096);
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(connection), $service));
        let head = "POST / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        caller.write_all(head.as_bytes()).await.unwrap();
        let mut response = String::new();
        caller.read_to_string(&mut response).await.unwrap();
        assert!(response.starts_with("HTTP/1.1 200") && response.contains(TEXT), "{response}");
    }};
}

/// Sends a request through the service and collects the body, by `send` and by `ready` and `call`: in a task and in
/// an axum handler.
macro_rules! spawned {
    ($service:expr, $url:expr) => {{
        let (service, url) = ($service, $url);
        everywhere!({
            let (service, url) = (service.clone(), url.clone());
            move || {
                let (service, request) = (service.clone(), request(&url));
                async move {
                    let body = service.send(request).await?.into_body();
                    assert_send_and_sync(&body);
                    Ok::<_, BoxError>(body.collect().await?.to_bytes())
                }
            }
        });
        everywhere!(move || {
            let (mut service, request) = (service.clone(), request(&url));
            async move {
                let response =
                    ServiceExt::<Request<Payload>>::ready(&mut service).await?.call(request).await?;
                Ok::<_, BoxError>(response.into_body().collect().await?.to_bytes())
            }
        });
    }};
}

/// Runs the future that `call` makes wherever a future has to be `Send`.
macro_rules! everywhere {
    ($call:expr) => {{
        let call = $call;
        let bytes = tokio::spawn(call()).await.unwrap().unwrap();
        assert!(String::from_utf8_lossy(&bytes).contains(TEXT), "{bytes:?}");

        let in_axum = call.clone();
        let handler = move || async move { in_axum().await.map_err(|error| error.to_string()) };
        let app: Router = Router::new().route("/", post(handler));
        served!(hyper_util::service::TowerToHyperService::new(app));
    }};
}

/// Sends a request through the service in a hyper service. Only for the longest types, since each takes a second to
/// compile.
macro_rules! in_hyper {
    ($service:expr, $url:expr) => {{
        let (service, url) = ($service, $url);
        served!(hyper::service::service_fn(move |_| {
            let (service, request) = (service.clone(), request(&url));
            async move {
                let bytes = service.send(request).await?.into_body().collect().await?.to_bytes();
                Ok::<_, BoxError>(Response::new(http_body_util::Full::new(bytes)))
            }
        }));
    }};
}

/// Every layer alone, the stack, a chain and the translation around `$client`.
macro_rules! around {
    ($client:expr, $url:expr) => {{
        let (client, url): (_, String) = ($client, $url);
        let retry = RetryLayer::exponential().initial_delay(Duration::from_millis(1));
        spawned!(CircuitBreakerLayer::new().layer(client.clone()), url.clone());
        spawned!(RateLimitLayer::per_second(1_000).layer(client.clone()), url.clone());
        spawned!(BackpressureLayer::max_inflight(50).layer(client.clone()), url.clone());
        spawned!(retry.clone().layer(client.clone()), url.clone());
        spawned!(TimeoutLayer::new(Duration::from_secs(30)).layer(client.clone()), url.clone());
        spawned!(ClassifyLayer::new(ProviderClassifier::default()).layer(client.clone()), url.clone());
        // The type is the same with a translator.
        let translated = TranslateLayer::disabled().layer(client.clone());
        spawned!(translated.clone(), url.clone());

        let stack = || {
            ResilienceBuilder::new("openai/gpt-4o")
                .retry(retry.clone())
                .backpressure(BackpressureLayer::max_inflight(50))
                .rate_limit(RateLimitLayer::per_second(1_000))
                .circuit_breaker(CircuitBreakerLayer::new())
        };
        spawned!(stack().service(client.clone()), url.clone());

        // A chain with a second stack as its next target: as a layer around a client and a stack, and in the
        // stack.
        let fallback = FallbackLayer::new().then("openai/mini", stack().service(client.clone()));
        spawned!(fallback.clone().layer(client.clone()), url.clone());
        spawned!(fallback.clone().layer(stack().service(client.clone())), url.clone());
        let fallback = fallback.then("anthropic/claude", stack().service(translated));
        let chain = stack().fallback(fallback).service(client.clone());
        spawned!(chain.clone(), url.clone());
        in_hyper!(chain.clone(), url.clone());

        let base_url = url.trim_end_matches("/chat/completions").to_owned();
        let providers = Providers::empty().with("openai", ProviderSettings::openai(base_url));
        let by_name = FallbackChain::new(["openai/gpt-4o", "openai/mini"]).providers(providers);
        let by_name = by_name.service(client.clone()).unwrap();
        spawned!(by_name.clone(), url.clone());
        in_hyper!(by_name, url.clone());

        // Without its type parameter.
        let body = tokio::spawn(async move {
            let body = chain.send(request(&url)).await?.into_body().boxed();
            assert_send_and_sync(&body);
            Ok::<_, BoxError>(body.collect().await?.to_bytes())
        });
        let bytes = body.await.unwrap().unwrap();
        assert!(String::from_utf8_lossy(&bytes).contains(TEXT), "{bytes:?}");
    }};
}

#[tokio::test]
async fn every_service_can_be_spawned_around_reqwest() {
    let provider = provider().await;
    around!(ReqwestService::new(reqwest::Client::new()), provider.chat_url("gpt-4o", false));
}

#[tokio::test]
async fn every_service_can_be_spawned_around_the_client_of_hyper_util() {
    let provider = provider().await;
    let client: Client<_, Payload> = Client::builder(TokioExecutor::new()).build_http();
    around!(client, provider.chat_url("gpt-4o", false));
}

#[tokio::test]
async fn every_service_can_be_spawned_around_a_function_that_returns_a_box_error() {
    // The body names the error as well.
    let client = service_fn(async |_: Request<Payload>| {
        let body: BoxBody<Bytes, BoxError> = Payload::from(COMPLETION).boxed();
        Ok::<_, BoxError>(Response::new(body))
    });
    around!(client, "http://localhost/v1/chat/completions".to_owned());
}

#[tokio::test]
async fn every_service_can_be_spawned_around_the_strict_service() {
    let (client, handle) = strict::service::<Payload>();
    handle.otherwise(strict::Answer::status(200).header("content-type", "application/json").body(COMPLETION));
    around!(client, "http://localhost/v1/chat/completions".to_owned());
    assert_eq!(handle.violations(), [""; 0]);
}
