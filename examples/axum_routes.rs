//! An axum app with one policy per route, both in front of the same provider: many retries for background
//! jobs, and fast rejection for interactive requests. Each route has limits of its own; for one quota of both,
//! give them clones of one `RateLimitLayer`.
//!
//!     cargo run --example axum_routes
//!
//! For a real provider these three lines change, and the assertions about the script go:
//!
//!     let base_url = "https://api.openai.com/v1".to_owned();
//!     let api_key = std::env::var("OPENAI_API_KEY")?;
//!     let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;

use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::error_handling::HandleErrorLayer;
use axum::response::Response;
use http::Request;
use tidegate::rate_limit::OnLimit;
use tidegate::{
    BoxError, CircuitBreakerLayer, ErrorBody, RateLimitLayer, ReqwestService, ResilienceBuilder, RetryLayer,
    TimeoutLayer,
};
use tidegate_testkit::{Provider, Reply};
use tower::util::MapRequestLayer;
use tower::{Layer, ServiceBuilder};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    // Fails once, hangs once, and otherwise succeeds.
    let provider = Provider::openai()
        .api_key("provider-key")
        .then(Reply::status(503))
        .then(Reply::text("done"))
        .then(Reply::hang())
        .start()
        .await?;
    let base_url = provider.base_url();
    let api_key = "provider-key".to_owned();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;

    let client = ReqwestService::new(reqwest::Client::new());
    // Outside of the stacks, since these read from the path which answer to expect.
    let address = MapRequestLayer::new(move |request| address(request, &base_url, &api_key));

    // The whole stack, in the order of the protocol.
    let patient = ResilienceBuilder::new("openai/gpt-4o")
        .retry(RetryLayer::exponential().max_retries(5).initial_delay(Duration::from_millis(20)))
        .rate_limit(RateLimitLayer::per_second(10).max_wait(Duration::from_secs(30)))
        .circuit_breaker(CircuitBreakerLayer::new())
        .build();
    // A selection of layers.
    let quick = ServiceBuilder::new()
        .layer(RetryLayer::exponential().max_retries(1).initial_delay(Duration::from_millis(10)))
        .layer(RateLimitLayer::per_minute(1).burst_size(2).on_limit(OnLimit::Reject))
        .layer(TimeoutLayer::new(Duration::from_millis(100)));

    let errors = HandleErrorLayer::new(into_response);
    let app = Router::new()
        .route_service("/background", errors.layer(address.layer(patient.layer(client.clone()))))
        .route_service("/typing", errors.layer(address.layer(quick.service(client))));

    let addr = listener.local_addr()?;
    tokio::spawn(async { axum::serve(listener, app).await });

    for (path, case, expected) in [
        ("/background", "the first attempt fails", 200),
        ("/typing", "the first attempt times out after 100 ms", 200),
        ("/typing", "both requests of the burst are spent", 429),
    ] {
        let body = r#"{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}]}"#;
        let url = format!("http://{addr}{path}");
        let response = reqwest::Client::new().post(url).body(body).send().await?;
        let status = response.status();
        println!("{path}: {case}: {status}");
        assert_eq!(status.as_u16(), expected);
        if let Some(seconds) = response.headers().get("retry-after") {
            println!("  retry-after: {}", seconds.to_str()?);
        }
        println!("  {}", response.text().await?);
    }
    println!("the provider received {} requests", provider.log().calls());
    assert_eq!(provider.log().calls(), 4, "two for each of the first two calls");
    Ok(())
}

/// Maps a rejection, a timeout or a connection error to a response for the caller.
async fn into_response(error: tidegate::Error) -> Response {
    ErrorBody::response_of::<String>(&*error).map(Body::from)
}

/// Sends only the body to the provider. No header of the caller, such as a cookie or a key, is forwarded.
fn address(request: Request<Body>, base_url: &str, api_key: &str) -> Request<Body> {
    let (head, body) = request.into_parts();
    let mut request = Request::post(format!("{base_url}/chat/completions"))
        .header("authorization", format!("Bearer {api_key}"))
        .header("content-type", "application/json")
        .body(body)
        .expect("a valid URL and key");
    *request.extensions_mut() = head.extensions;
    request
}
