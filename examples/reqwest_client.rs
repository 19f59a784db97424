//! The stack around reqwest. Two provider failures are retried without an error for the caller, and streams
//! pass frame by frame.
//!
//!     cargo run --example reqwest_client

use std::time::Duration;

use http::Request;
use http_body_util::BodyExt;
use tidegate::{
    BackpressureLayer, BoxError, CircuitBreakerLayer, Payload, RateLimitLayer, ReqwestService,
    ResilienceBuilder, RetryLayer, Trail,
};
use tidegate_testkit::{Provider, Reply};
use tower::ServiceExt;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    // In place of https://api.openai.com/v1. It fails twice and then responds with one word every 50 ms.
    let provider = Provider::openai()
        .then(Reply::status(503))
        .then(Reply::status(503))
        .otherwise(Reply::text("the tide comes in and goes out").pace(Duration::from_millis(50)))
        .start()
        .await?;

    let openai = ResilienceBuilder::new("openai/gpt-4o")
        .retry(RetryLayer::exponential().max_retries(3).initial_delay(Duration::from_millis(100)))
        .backpressure(BackpressureLayer::max_inflight(50))
        .rate_limit(RateLimitLayer::per_second(10).burst_size(20))
        .circuit_breaker(CircuitBreakerLayer::new().failure_threshold(5).cooldown(Duration::from_secs(30)))
        .attempt_timeout(Duration::from_secs(60))
        .service(ReqwestService::new(reqwest::Client::new()));
    let signals = openai.signals();

    let chat_request = |stream: bool| {
        let body = serde_json::json!({
            "model": "gpt-4o",
            "stream": stream,
            "messages": [{"role": "user", "content": "what does the tide do?"}],
        });
        Request::post(format!("{}/chat/completions", provider.base_url()))
            .header("content-type", "application/json")
            .body(Payload::from(body.to_string()))
    };

    println!("A response in one piece, with the trail of decisions:");
    let mut request = chat_request(false)?;
    let trail = Trail::new();
    request.extensions_mut().insert(trail.clone());
    let response = openai.clone().oneshot(request).await?;
    println!("  {} after {} attempts", response.status(), trail.attempts());
    for step in trail.steps() {
        println!("  - {:?}", step.verdict);
    }
    let answer: serde_json::Value =
        serde_json::from_slice(&response.into_body().collect().await?.to_bytes())?;
    println!("  {}", answer["choices"][0]["message"]["content"]);

    println!("A stream, frame by frame; its permit is held until the last frame:");
    let response = openai.clone().oneshot(chat_request(true)?).await?;
    let mut body = response.into_body();
    let (mut frames, mut bytes) = (0, 0);
    while let Some(frame) = body.frame().await {
        frames += 1;
        bytes += frame?.data_ref().map_or(0, |data| data.len());
        assert!(signals.snapshot().current_inflight <= 1);
    }
    println!("  {bytes} bytes in {frames} frames; {} in flight now", signals.snapshot().current_inflight);

    println!("The signals of the stack: {}", serde_json::to_string_pretty(&signals.snapshot())?);
    Ok(())
}
