//! A provider that fails three requests of ten: what retries, the circuit breaker and the fallback each do
//! about it.
//!
//!     cargo run --example flaky_provider
//!
//! For a real provider these three lines change, and the assertions about the script go. So does
//! `start_paused`: a paused clock does not wait for a network.
//!
//!     let url = "https://api.openai.com/v1/chat/completions";
//!         .header("authorization", format!("Bearer {}", std::env::var("OPENAI_API_KEY")?))
//!         .service(ReqwestService::new(reqwest::Client::new()));

use std::time::Duration;

use http::Request;
use http_body_util::BodyExt;
use tidegate::circuit_breaker::State;
use tidegate::fallback::FallbackInfo;
use tidegate::provider::Verdict;
use tidegate::{BoxError, CircuitBreakerLayer, FallbackLayer, Payload, ResilienceBuilder, RetryLayer, Trail};
use tidegate_testkit::{Provider, Reply};

const CALLS: usize = 200;
/// The same seed gives the same failures and the same waits in every run.
const SEED: u64 = 1;

// The clock is paused: it moves on whenever the program waits, so that no time passes for real.
#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() -> Result<(), BoxError> {
    let flaky = Provider::openai().failing(0.3, SEED, Reply::status(503)).service();
    let healthy = Provider::openai().service();
    let url = "http://provider.test/v1/chat/completions";

    let breaker =
        CircuitBreakerLayer::new().failure_threshold(3).cooldown(Duration::from_millis(500)).seed(SEED);
    let mut transitions = breaker.handle().subscribe();
    let openai = ResilienceBuilder::new("openai/gpt-4o")
        .retry(RetryLayer::exponential().max_retries(2).initial_delay(Duration::from_millis(200)).seed(SEED))
        .circuit_breaker(breaker)
        .fallback(FallbackLayer::new().then("deepseek/deepseek-chat", healthy.clone()))
        .service(flaky.clone());
    let signals = openai.signals();

    let (mut answered, mut rejected, mut fell_back) = (0, 0, 0);
    for _ in 0..CALLS {
        let body = r#"{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}]}"#;
        let request =
            Request::post(url).header("content-type", "application/json").body(Payload::from(body))?;
        let response = openai.send(request).await?;
        answered += usize::from(response.status().is_success());
        fell_back += usize::from(response.extensions().get::<FallbackInfo>().is_some());
        // The trail of a call that needed more than one attempt has every decision that was made.
        let steps = Trail::of(response.extensions()).map(Trail::steps).unwrap_or_default();
        rejected += steps.iter().filter(|step| matches!(step.verdict, Verdict::Rejected { .. })).count();
        response.into_body().collect().await?;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let retry = signals.snapshot().retry;
    let (sent, failed) = (flaky.log().calls(), flaky.log().responses_with_status(503));
    let mut opened = 0;
    while let Some(transition) = transitions.try_next() {
        opened += usize::from(transition.to == State::Open);
    }

    println!("{CALLS} calls, {answered} answered");
    println!("provider: {failed} of {sent} requests failed");
    println!(
        "retries:  {} retries saved {} calls, and could not save {}",
        retry.retries, retry.successful_retries, retry.failed_after_retries
    );
    println!("breaker:  opened {opened} times and rejected {rejected} attempts without sending them");
    println!("fallback: {fell_back} calls were answered by deepseek/deepseek-chat");

    assert_eq!(answered, CALLS, "no failure reaches a caller");
    assert!(retry.successful_retries > 0 && opened > 0 && rejected > 0);
    // Without retries each of the failed requests would have been a failed call.
    assert!(fell_back < failed && fell_back == healthy.log().calls());
    Ok(())
}
