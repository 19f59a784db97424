//! The stack around hyper-util's client. It needs no adapter, since the client is a `tower` service of `http`
//! types. Wrapped in `tidegate::reconnect::Reconnect` it also sends requests again that the provider did not
//! process.
//!
//!     cargo run --example hyper_client
//!
//! For a real provider these three lines change, and the assertions about the script go. The connector is
//! one with TLS, such as that of `hyper-rustls`:
//!
//!     type Connector = HttpsConnector<HttpConnector>;
//!     let base_url = "https://api.openai.com/v1";
//!     let api_key = std::env::var("OPENAI_API_KEY")?;

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

/// The type can be named, so it can be a field or a return type.
type OpenAi = Resilience<Client<Connector, Payload>>;
type Connector = HttpConnector;

const COOLDOWN: Duration = Duration::from_millis(400);

fn openai(connector: Connector) -> OpenAi {
    ResilienceBuilder::new("openai/gpt-4o")
        .retry(RetryLayer::exponential().initial_delay(Duration::from_millis(20)))
        .backpressure(BackpressureLayer::max_inflight(50))
        .circuit_breaker(CircuitBreakerLayer::new().failure_threshold(2).cooldown(COOLDOWN))
        .service(Client::builder(TokioExecutor::new()).build(connector))
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    // Resets the first connection, fails for two calls, and then recovers.
    let provider = Provider::openai()
        .api_key("provider-key")
        .then(Reply::reset())
        .then(Reply::text("second time lucky"))
        .then(Reply::status(500).header("x-should-retry", "false"))
        .then(Reply::status(500).header("x-should-retry", "false"))
        .start()
        .await?;
    let base_url = provider.base_url();
    let api_key = "provider-key";
    let openai = openai(Connector::new());
    let signals = openai.signals();

    let mut results = Vec::new();
    for call in 1..=5 {
        if call == 5 {
            tokio::time::sleep(COOLDOWN).await;
        }
        let body = r#"{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}]}"#;
        let request = Request::post(format!("{base_url}/chat/completions"))
            .header("authorization", format!("Bearer {api_key}"))
            .header("content-type", "application/json")
            .body(Payload::from(body))?;
        let result = match openai.send(request).await {
            Ok(response) => {
                let status = response.status();
                let bytes = response.into_body().collect().await?.to_bytes();
                format!("{status}, {} bytes", bytes.len())
            }
            Err(error) => error.to_string(),
        };
        let (circuit, received) = (signals.snapshot().circuit_state, provider.log().calls());
        println!("call {call}: {result}; circuit {circuit}, the provider received {received} requests");
        results.push((circuit.name(), received));
    }
    assert_eq!(results, [("closed", 2), ("closed", 3), ("open", 4), ("open", 4), ("closed", 5)]);
    Ok(())
}
