//! Compares the order of the protocol's executor with the order of `ResilienceBuilder`.
//!
//! The executor puts Retry innermost: Backpressure, RateLimit, CircuitBreaker, Retry. The gates then count
//! calls instead of attempts: retries pass neither the limiter nor the breaker, and the permit is held
//! through every back-off. Both orders use the same layers, so you can choose.
//!
//!     cargo run --example executor_order

use std::time::Duration;

use http::Request;
use tidegate::{
    BackpressureLayer, BoxError, CircuitBreakerLayer, HttpService, Payload, RateLimitLayer, RetryLayer,
    rate_limit,
};
use tidegate_testkit::{Provider, Reply};
use tower::{ServiceBuilder, ServiceExt};

const CALLS: u32 = 4;
const QUOTA: u32 = 20;

#[tokio::main]
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
    report("executor's order", send_calls(executor).await?, provider.log().calls(), &quota);

    let provider = Provider::openai().otherwise(Reply::status(503)).service();
    let limit = RateLimitLayer::per_minute(QUOTA);
    let quota = limit.handle();
    let protocol = ServiceBuilder::new()
        .layer(retry())
        .layer(BackpressureLayer::max_inflight(50))
        .layer(limit)
        .layer(CircuitBreakerLayer::new().failure_threshold(3))
        .service(provider.clone());
    report("protocol's order", send_calls(protocol).await?, provider.log().calls(), &quota);
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
        let request = Request::post("http://provider.test/v1/chat/completions").body(Payload::from(body))?;
        rejected += u32::from(service.clone().oneshot(request).await.is_err());
    }
    Ok(rejected)
}

fn report(order: &str, rejected: u32, sent: usize, quota: &rate_limit::Handle) {
    let counted = QUOTA - quota.remaining().unwrap_or(QUOTA);
    println!("  {order}: {sent} requests sent, {counted} counted by the limiter, {rejected} calls rejected");
}
