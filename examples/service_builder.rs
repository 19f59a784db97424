//! The layers one by one in a plain `tower::ServiceBuilder`, around any service of `http` types.
//!
//! Outermost first, as always with tower: what is above `RetryLayer` happens once a call, what is below it once
//! an attempt. Leave out what you do not need; each layer works without the others.
//!
//!     cargo run --example service_builder

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

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let breaker = CircuitBreakerLayer::new().failure_threshold(3).cooldown(Duration::from_secs(30));
    let (circuit, calls) = (breaker.handle(), Arc::new(AtomicU32::new(0)));

    let openai = ServiceBuilder::new()
        // Asks again what is worth it ...
        .layer(RetryLayer::exponential().max_retries(2).initial_delay(Duration::from_millis(50)))
        // ... and every attempt takes a permit,
        .layer(BackpressureLayer::max_inflight(50))
        // waits for its turn,
        .layer(RateLimitLayer::per_second(20).burst_size(5))
        // and is stopped here if the provider is down.
        .layer(breaker)
        // The wire: the clock outside of the judge, who may have to wait for an error body.
        .layer(TimeoutLayer::new(Duration::from_millis(200)))
        .layer(ClassifyLayer::new(ProviderClassifier::new(Provider::OpenAi)))
        .service(service_fn({
            let calls = Arc::clone(&calls);
            move |request| provider(calls.fetch_add(1, Ordering::Relaxed), request)
        }));

    for call in 1..=4 {
        let before = calls.load(Ordering::Relaxed);
        let request = Request::post("/v1/chat/completions").body(Payload::from("{}"))?;
        let heard = match openai.clone().oneshot(request).await {
            Ok(answer) => match Outcome::of(&answer).failure() {
                // Read to its end: only then is a success a success.
                None => format!(
                    "{}, {} bytes",
                    answer.status(),
                    answer.into_body().collect().await?.to_bytes().len()
                ),
                Some(failure) => format!("{}, that is {}", answer.status(), failure.code),
            },
            Err(error) => match Rejection::find(&*error) {
                Some(rejection) => format!("the {} says no: {rejection}", rejection.gate().name()),
                None => format!("error: {error}"),
            },
        };
        let attempts = calls.load(Ordering::Relaxed) - before;
        println!("call {call}: attempts {attempts}, circuit {}: {heard}", circuit.state());
    }
    Ok(())
}

/// The client would be here. This one has a bad day: it is overloaded once, has a prompt that is too long for it,
/// and then falls silent.
async fn provider(call: u32, _: Request<Payload>) -> Result<Response<Payload>, BoxError> {
    let (status, body) = match call {
        0 => (503, "{}"),
        1 => (200, r#"{"choices":[]}"#),
        2 => (400, r#"{"error":{"code":"context_length_exceeded","message":"too long"}}"#),
        _ => std::future::pending().await,
    };
    Ok(Response::builder().status(status).body(Payload::from(body))?)
}
