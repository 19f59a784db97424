//! A client of reqwest-middleware as the innermost service of a stack.
//!
//!     cargo run --manifest-path adapters/Cargo.toml -p tidegate-with-reqwest-middleware
//!
//! The stack is outside and the middleware inside, so the middleware runs once per attempt, which suits
//! signing, tracing and logging. The other way round does not work: a stack owns its service, and the rest of
//! the middleware is borrowed for one request. A middleware that retries does not belong inside, since its
//! attempts pass no gate.
//!
//! For a real provider two lines change:
//!
//!     let url = "https://api.openai.com/v1/chat/completions";
//!         .header("authorization", format!("Bearer {}", std::env::var("OPENAI_API_KEY")?))

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use http::{Extensions, Request, Response};
use http_body_util::BodyExt;
use reqwest_middleware::{ClientBuilder, ClientWithMiddleware, Middleware, Next};
use tidegate::{BoxError, CircuitBreakerLayer, Payload, ResilienceBuilder, RetryLayer};
use tidegate_testkit::{Provider, Reply};
use tower::service_fn;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let answer = Reply::text("High water at noon.");
    let provider = Provider::openai().then(Reply::status(503)).otherwise(answer).start().await?;
    let attempts = Arc::new(AtomicU32::new(0));
    let client =
        ClientBuilder::new(reqwest::Client::new()).with(CountAttempts(Arc::clone(&attempts))).build();

    let openai = ResilienceBuilder::new("openai/gpt-4o")
        .retry(RetryLayer::exponential().initial_delay(Duration::from_millis(10)))
        .circuit_breaker(CircuitBreakerLayer::new())
        .service(service_fn(move |request| send(client.clone(), request)));

    for (stream, expected) in [(false, 2), (true, 3)] {
        let body = format!(
            r#"{{"model":"gpt-4o","stream":{stream},"messages":[{{"role":"user","content":"When is high water?"}}]}}"#
        );
        let request = Request::post(provider.chat_url("gpt-4o", stream)).body(Payload::from(body))?;
        let answer = openai.send(request).await?.into_body().collect().await?.to_bytes();
        let attempts = attempts.load(Ordering::Relaxed);
        println!("stream: {stream}, {attempts} attempts so far, {} bytes", answer.len());
        assert!(String::from_utf8_lossy(&answer).contains("noon"));
        assert_eq!(attempts, expected);
    }
    Ok(())
}

/// Sends an attempt through the middleware.
async fn send(
    client: ClientWithMiddleware,
    request: Request<Payload>,
) -> Result<Response<reqwest::Body>, BoxError> {
    let request = reqwest::Request::try_from(request.map(reqwest::Body::wrap))?;
    Ok(client.execute(request).await?.into())
}

/// A middleware that counts the requests.
struct CountAttempts(Arc<AtomicU32>);

#[async_trait::async_trait]
impl Middleware for CountAttempts {
    async fn handle(
        &self,
        request: reqwest::Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> reqwest_middleware::Result<reqwest::Response> {
        self.0.fetch_add(1, Ordering::Relaxed);
        next.run(request, extensions).await
    }
}
