//! The layers one by one in a `tower::ServiceBuilder`, around any service of `http` types.
//!
//! The first layer is the outermost, as always with tower. Layers above `RetryLayer` run once per call, and
//! layers below it run once per attempt. Each layer works without the others.
//!
//!     cargo run --example service_builder
//!
//! For a real provider these three lines change, and the assertions about the script go. So does
//! `start_paused`: a paused clock does not wait for a network.
//!
//!     let url = "https://api.openai.com/v1/chat/completions";
//!         .header("authorization", format!("Bearer {}", std::env::var("OPENAI_API_KEY")?))
//!         .service(ReqwestService::new(reqwest::Client::new()));

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use http::{Request, Response};
use http_body_util::BodyExt;
use tidegate::providers::{Provider, ProviderClassifier};
use tidegate::{
    BackpressureLayer, BoxError, CircuitBreakerLayer, ClassifyLayer, Outcome, Payload, RateLimitLayer,
    Rejection, RetryLayer, TimeoutLayer,
};
use tower::{ServiceBuilder, ServiceExt, service_fn};

// The clock is paused: it moves on whenever the program waits, so that no time passes for real.
#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() -> Result<(), BoxError> {
    let url = "http://provider.test/v1/chat/completions";
    let breaker = CircuitBreakerLayer::new().failure_threshold(3).cooldown(Duration::from_secs(30));
    let (circuit, calls) = (breaker.handle(), Arc::new(AtomicU32::new(0)));

    let openai = ServiceBuilder::new()
        // Retries the failures that are worth a retry.
        .layer(RetryLayer::exponential().max_retries(2).initial_delay(Duration::from_millis(50)))
        // Every attempt takes a permit,
        .layer(BackpressureLayer::max_inflight(50))
        // waits for the rate limit,
        .layer(RateLimitLayer::per_second(20).burst_size(5))
        // and is rejected while the circuit is open.
        .layer(breaker)
        // The timeout is outside of the classifier, which waits for the first bytes of a success.
        .layer(TimeoutLayer::new(Duration::from_millis(200)))
        .layer(ClassifyLayer::new(ProviderClassifier::new(Provider::OpenAi)))
        .service(service_fn({
            let calls = Arc::clone(&calls);
            move |request| provider(calls.fetch_add(1, Ordering::Relaxed), request)
        }));

    let mut results = Vec::new();
    for call in 1..=4 {
        let before = calls.load(Ordering::Relaxed);
        let request = Request::post(url).body(Payload::from("{}"))?;
        let result = match openai.clone().oneshot(request).await {
            Ok(response) => match Outcome::of(&response).failure() {
                // The circuit counts a success at the end of the body.
                None => format!(
                    "{}, {} bytes",
                    response.status(),
                    response.into_body().collect().await?.to_bytes().len()
                ),
                Some(failure) => format!("{}, that is {}", response.status(), failure.code),
            },
            Err(error) => match Rejection::find(&*error) {
                Some(rejection) => format!("rejected by the {}: {rejection}", rejection.gate().name()),
                None => format!("error: {error}"),
            },
        };
        let attempts = calls.load(Ordering::Relaxed) - before;
        println!("call {call}: attempts {attempts}, circuit {}: {result}", circuit.state());
        results.push((attempts, circuit.state().name()));
    }
    // The third attempt of a call does not count, so that one call alone does not open the circuit.
    assert_eq!(results, [(2, "closed"), (1, "closed"), (3, "closed"), (1, "open")]);
    Ok(())
}

/// A service in place of the HTTP client. It is overloaded once, then rejects a prompt that is too long, and
/// then hangs.
async fn provider(call: u32, _: Request<Payload>) -> Result<Response<Payload>, BoxError> {
    let (status, body) = match call {
        0 => (503, "{}"),
        1 => (200, r#"{"choices":[{"message":{"content":"hello"},"finish_reason":"stop"}]}"#),
        2 => (400, r#"{"error":{"code":"context_length_exceeded","message":"too long"}}"#),
        _ => std::future::pending().await,
    };
    Ok(Response::builder().status(status).body(Payload::from(body))?)
}
