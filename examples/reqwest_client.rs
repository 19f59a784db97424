//! The stack around reqwest. Two provider failures are retried without an error for the caller, and streams
//! pass frame by frame.
//!
//!     cargo run --example reqwest_client
//!
//! For a real provider these three lines change, and the assertions about the script go:
//!
//!     let base_url = "https://api.openai.com/v1";
//!     let api_key = std::env::var("OPENAI_API_KEY")?;
//!         .header("authorization", format!("Bearer {api_key}"))

use std::time::Duration;

use http::Request;
use http_body_util::BodyExt;
use tidegate::{
    BackpressureLayer, BoxError, CircuitBreakerLayer, Payload, RateLimitLayer, ReqwestService,
    ResilienceBuilder, RetryLayer, Trail,
};
use tidegate_testkit::{Provider, Reply};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    // Fails twice, and then responds with one word every 10 ms.
    let provider = Provider::openai()
        .then(Reply::status(503))
        .then(Reply::status(503))
        .otherwise(Reply::text("the tide comes in and goes out").pace(Duration::from_millis(10)))
        .start()
        .await?;
    let base_url = provider.base_url();

    let openai = ResilienceBuilder::new("openai/gpt-4o")
        .retry(RetryLayer::exponential().max_retries(3).initial_delay(Duration::from_millis(50)))
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
        Request::post(format!("{base_url}/chat/completions"))
            .header("content-type", "application/json")
            .body(Payload::from(body.to_string()))
    };

    println!("A response in one piece, with the trail of decisions:");
    let mut request = chat_request(false)?;
    let trail = Trail::new();
    request.extensions_mut().insert(trail.clone());
    let response = openai.send(request).await?;
    println!("  {} after {} attempts", response.status(), trail.attempts());
    for step in trail.steps() {
        println!("  - {:?}", step.verdict);
    }
    let answer: serde_json::Value =
        serde_json::from_slice(&response.into_body().collect().await?.to_bytes())?;
    let text = &answer["choices"][0]["message"]["content"];
    println!("  {text}");
    assert_eq!((text.as_str(), trail.attempts()), (Some("the tide comes in and goes out"), 3));

    println!("A stream, frame by frame; its permit is held until the last frame:");
    let response = openai.send(chat_request(true)?).await?;
    let mut body = response.into_body();
    let (mut frames, mut bytes, mut in_flight) = (0, 0, 0);
    while let Some(frame) = body.frame().await {
        frames += 1;
        bytes += frame?.data_ref().map_or(0, |data| data.len());
        in_flight = in_flight.max(signals.snapshot().current_inflight);
    }
    println!("  {bytes} bytes in {frames} frames; {} in flight now", signals.snapshot().current_inflight);
    assert!(frames > 1);
    assert_eq!((in_flight, signals.snapshot().current_inflight), (1, 0));

    println!("The signals of the stack: {}", serde_json::to_string_pretty(&signals.snapshot())?);
    Ok(())
}
