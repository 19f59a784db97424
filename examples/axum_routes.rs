//! An axum app with one policy per route, both in front of the same provider: a patient one for work in the
//! background, and one for people who type and would rather hear a quick no.
//!
//!     cargo run --example axum_routes

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::error_handling::HandleErrorLayer;
use axum::response::Response;
use http::Request;
use tidegate::{
    BoxError, CircuitBreakerLayer, ErrorBody, RateLimitLayer, ReqwestService, ResilienceBuilder, RetryLayer,
    TimeoutLayer, rate_limit::OnLimit,
};
use tidegate_testkit::{Provider, Reply};
use tower::{Layer, ServiceBuilder};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    // Fails once, falls silent once, and is well otherwise.
    let provider = Provider::openai()
        .then(Reply::status(503))
        .then(Reply::text("done"))
        .then(Reply::hang())
        .start()
        .await?;
    let base_url = provider.base_url();
    let client = ServiceBuilder::new()
        .map_request(move |request| address(request, &base_url))
        .service(ReqwestService::new(reqwest::Client::new()));

    // The whole stack, in protocol order ...
    let patient = ResilienceBuilder::new("openai/gpt-4o")
        .retry(RetryLayer::exponential().max_retries(5).initial_delay(Duration::from_millis(100)))
        .rate_limit(RateLimitLayer::per_second(10).max_wait(Duration::from_secs(30)))
        .circuit_breaker(CircuitBreakerLayer::new())
        .build();
    // ... or some layers of your choice.
    let quick = ServiceBuilder::new()
        .layer(RetryLayer::exponential().max_retries(1).initial_delay(Duration::from_millis(10)))
        .layer(RateLimitLayer::per_second(1).burst_size(2).on_limit(OnLimit::Reject))
        .layer(TimeoutLayer::new(Duration::from_millis(200)));

    let errors = HandleErrorLayer::new(into_answer);
    let app = Router::new()
        .route_service("/background", errors.layer(patient.layer(client.clone())))
        .route_service("/typing", errors.layer(quick.service(client)));

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let addr = listener.local_addr()?;
    tokio::spawn(async { axum::serve(listener, app).await });

    for (path, scene) in [
        ("/background", "the first attempt fails"),
        ("/typing", "the first attempt is given up after 200 ms"),
        ("/typing", "both requests of the burst are spent"),
    ] {
        let question = r#"{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}]}"#;
        let url = format!("http://{addr}{path}");
        let answer = reqwest::Client::new().post(url).body(question).send().await?;
        let status = answer.status();
        println!("{path}: {scene}: {status}");
        if let Some(seconds) = answer.headers().get("retry-after") {
            println!("  retry-after: {}", seconds.to_str()?);
        }
        println!("  {}", answer.text().await?);
    }
    println!("the provider has seen {} requests", provider.log().calls());
    Ok(())
}

/// What a refusal of ours, a time-out or a broken connection looks like to the caller.
async fn into_answer(error: BoxError) -> Response {
    let envelope = ErrorBody::of_error(&*error);
    let status = envelope.code().http_status();
    let answer: http::Response<String> = envelope.into_response(status);
    answer.map(Body::from)
}

/// The body for the provider, and nothing else of what the caller sent: no cookie, no key.
fn address<B>(request: Request<B>, base_url: &str) -> Request<B> {
    Request::post(format!("{base_url}/chat/completions"))
        .header("content-type", "application/json")
        .body(request.into_body())
        .expect("a base URL and a path")
}
