//! Compares an order with Retry innermost, as in the executor of AI-Protocol, with the order of
//! `ResilienceBuilder`.
//!
//! The executor stacks Backpressure, RateLimit, CircuitBreaker, Retry. The gates then count
//! calls instead of attempts: retries pass neither the limiter nor the breaker, and the permit is held
//! through every back-off. Both orders use the same layers, so you can choose.
//!
//!     cargo run --example executor_order
//!
//! For a real provider these three lines change, and the assertions about the script go. So does
//! `start_paused`: a paused clock does not wait for a network.
//!
//!     const URL: &str = "https://api.openai.com/v1/chat/completions";
//!         .header("authorization", format!("Bearer {}", std::env::var("OPENAI_API_KEY")?))
//!         .service(ReqwestService::new(reqwest::Client::new()));

use std::time::Duration;

use http::Request;
use tidegate::provider::HttpService;
use tidegate::{
    BackpressureLayer, BoxError, CircuitBreakerLayer, Payload, RateLimitLayer, RetryLayer, rate_limit,
};
use tidegate_testkit::{Provider, Reply};
use tower::{ServiceBuilder, ServiceExt};

const URL: &str = "http://provider.test/v1/chat/completions";
const CALLS: u32 = 4;
const QUOTA: u32 = 20;

// The clock is paused: it moves on whenever the program waits, so that no time passes for real.
#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() -> Result<(), BoxError> {
    println!(
        "A provider that is down, {CALLS} calls of up to 3 attempts, a breaker that opens after 3 failures:"
    );

    // A provider in memory. Its clones share one provider.
    let provider = Provider::openai().otherwise(Reply::status(503)).service();
    let limit = RateLimitLayer::per_minute(QUOTA);
    let quota = limit.handle();
    let executor = ServiceBuilder::new()
        .layer(BackpressureLayer::max_inflight(50))
        .layer(limit)
        .layer(CircuitBreakerLayer::new().failure_threshold(3))
        .layer(retry())
        .service(provider.clone());
    let rejected = send_calls(executor).await?;
    report("executor's order", provider.log().calls(), counted(&quota), rejected);
    // Three attempts for each of three calls, before the breaker has counted three failures.
    assert_eq!((provider.log().calls(), counted(&quota), rejected), (9, 3, 1));

    let provider = Provider::openai().otherwise(Reply::status(503)).service();
    let limit = RateLimitLayer::per_minute(QUOTA);
    let quota = limit.handle();
    let protocol = ServiceBuilder::new()
        .layer(retry())
        .layer(BackpressureLayer::max_inflight(50))
        .layer(limit)
        .layer(CircuitBreakerLayer::new().failure_threshold(3))
        .service(provider.clone());
    let rejected = send_calls(protocol).await?;
    report("order of ResilienceBuilder", provider.log().calls(), counted(&quota), rejected);
    // Two attempts of the first call count, so that it alone does not open the breaker. The first of the
    // second call does, and its retry is rejected.
    assert_eq!((provider.log().calls(), counted(&quota), rejected), (4, 4, 3));
    Ok(())
}

fn retry() -> RetryLayer {
    RetryLayer::exponential().max_retries(2).initial_delay(Duration::from_millis(20))
}

/// Sends the calls, and returns the number of rejected ones.
async fn send_calls(service: impl HttpService<Payload> + Clone) -> Result<u32, BoxError> {
    let mut rejected = 0;
    for _ in 0..CALLS {
        let body = r#"{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}]}"#;
        let request = Request::post(URL).body(Payload::from(body))?;
        rejected += u32::from(service.clone().oneshot(request).await.is_err());
    }
    Ok(rejected)
}

/// The number of requests that the limiter has counted.
fn counted(quota: &rate_limit::Handle) -> u32 {
    QUOTA - quota.remaining().unwrap_or(QUOTA)
}

fn report(order: &str, sent: usize, counted: u32, rejected: u32) {
    println!("  {order}: {sent} requests sent, {counted} counted by the limiter, calls rejected: {rejected}");
}
