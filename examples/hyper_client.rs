//! The stack around hyper-util's client. It needs no adapter, since the client is a `tower` service of `http`
//! types.
//!
//!     cargo run --example hyper_client

use std::time::Duration;

use http::Request;
use http_body_util::BodyExt;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tidegate::{
    BackpressureLayer, BoxError, CircuitBreakerLayer, Payload, Resilience, ResilienceBuilder, RetryLayer,
};
use tidegate_testkit::{Provider, Reply};
use tower::ServiceExt;

/// The type can be named, so it can be a field or a return type. With TLS, replace `HttpConnector` with your
/// TLS connector.
type OpenAi = Resilience<Client<HttpConnector, Payload>>;

fn openai() -> OpenAi {
    ResilienceBuilder::new("openai/gpt-4o")
        .retry(RetryLayer::exponential().initial_delay(Duration::from_millis(100)))
        .backpressure(BackpressureLayer::max_inflight(50))
        .circuit_breaker(CircuitBreakerLayer::new().failure_threshold(2).cooldown(Duration::from_millis(500)))
        .service(Client::builder(TokioExecutor::new()).build_http())
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    // Resets the first connection, fails for two calls, and then recovers.
    let provider = Provider::openai()
        .then(Reply::reset())
        .then(Reply::text("second time lucky"))
        .then(Reply::status(500).header("x-should-retry", "false"))
        .then(Reply::status(500).header("x-should-retry", "false"))
        .start()
        .await?;
    let openai = openai();
    let signals = openai.signals();

    for call in 1..=5 {
        if call == 5 {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        let body = r#"{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}]}"#;
        let request = Request::post(format!("{}/chat/completions", provider.base_url()))
            .header("content-type", "application/json")
            .body(Payload::from(body))?;
        let result = match openai.clone().oneshot(request).await {
            Ok(response) => {
                let status = response.status();
                let bytes = response.into_body().collect().await?.to_bytes();
                format!("{status}, {} bytes", bytes.len())
            }
            Err(error) => error.to_string(),
        };
        let (circuit, received) = (signals.snapshot().circuit_state, provider.log().calls());
        println!("call {call}: {result}; circuit {circuit}, the provider received {received} requests");
    }
    Ok(())
}
