//! An axum route that streams answers through a stack, and the state of the stack as another route.
//!
//!     cargo run --example axum_streaming
//!
//! For a real provider these three lines change, and the assertions about the script go:
//!
//!     let url = "https://api.openai.com/v1/chat/completions".to_owned();
//!     let api_key = std::env::var("OPENAI_API_KEY")?;
//!     let listener = TcpListener::bind("127.0.0.1:8080").await?;

use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::Request;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use tidegate::stack::SignalsSnapshot;
use tidegate::{
    BackpressureLayer, BoxError, CircuitBreakerLayer, ErrorBody, Payload, ReqwestService, Resilience,
    ResilienceBuilder, RetryLayer,
};
use tidegate_testkit::{Provider, Reply};
use tokio::net::TcpListener;

/// The type of the stack can be named, and its clones share one state.
#[derive(Clone)]
struct App {
    url: String,
    api_key: String,
    openai: Resilience<ReqwestService>,
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    // Fails once, and then sends a word every 20 ms. The third stream is cut.
    let words = || Reply::text("one two three four").pace(Duration::from_millis(20));
    let provider = Provider::openai()
        .api_key("provider-key")
        .then(Reply::status(503))
        .then(words())
        .otherwise(words().cut_after(2))
        .start()
        .await?;
    let url = provider.chat_url("gpt-4o", true);
    let api_key = "provider-key".to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").await?;

    let openai = ResilienceBuilder::new("openai/gpt-4o")
        .retry(RetryLayer::exponential().initial_delay(Duration::from_millis(20)))
        .backpressure(BackpressureLayer::max_inflight(50))
        .circuit_breaker(CircuitBreakerLayer::new())
        .service(ReqwestService::new(reqwest::Client::new()));
    let app = App { url, api_key, openai };
    let router =
        Router::new().route("/chat", post(chat)).route("/health", get(health)).with_state(app.clone());
    let base_url = format!("http://{}", listener.local_addr()?);
    tokio::spawn(async { axum::serve(listener, router).await });

    let client = reqwest::Client::new();
    let send = || client.post(format!("{base_url}/chat")).body("count to four").send();

    let mut response = send().await?;
    let (mut chunks, mut text) = (0, String::new());
    while let Some(chunk) = response.chunk().await? {
        chunks += 1;
        text += std::str::from_utf8(&chunk)?;
    }
    println!("a stream in {chunks} pieces after {} attempts", provider.log().calls());
    assert!(chunks > 1 && text.ends_with("data: [DONE]\n\n"));
    assert_eq!(provider.log().calls(), 2);

    // A broken stream breaks for the caller as well: the server closes the connection without the last chunk.
    let error = send().await?.bytes().await.expect_err("a stream that was cut");
    println!("a broken stream: {error}");

    let health = client.get(format!("{base_url}/health")).send().await?.bytes().await?;
    let health: serde_json::Value = serde_json::from_slice(&health)?;
    println!("health: circuit {}, {} in flight", health["circuit_state"], health["current_inflight"]);
    assert_eq!(health["current_inflight"], 0, "the permits are released when the streams end");
    Ok(())
}

/// Streams the answer to a prompt.
async fn chat(State(app): State<App>, prompt: String) -> Result<Response, ApiError> {
    let messages = serde_json::json!([{"role": "user", "content": prompt}]);
    let body = serde_json::json!({"model": "gpt-4o", "stream": true, "messages": messages});
    let request = Request::post(app.url)
        .header(AUTHORIZATION, format!("Bearer {}", app.api_key))
        .header(CONTENT_TYPE, "application/json")
        .body(Payload::from(body.to_string()))?;
    let response = app.openai.send(request).await?;
    // The permit moves into the body, so it is held until the stream ends or the caller disconnects.
    Ok(response.map(Body::new))
}

/// The state of the stack.
async fn health(State(app): State<App>) -> Json<SignalsSnapshot> {
    Json(app.openai.signals().snapshot())
}

/// A rejection, a timeout or a connection error as a response: status, `retry-after` and a JSON body.
struct ApiError(BoxError);

impl<E: Into<BoxError>> From<E> for ApiError {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        ErrorBody::response_of::<String>(&*self.0).map(Body::from)
    }
}
