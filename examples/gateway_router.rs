//! The gateway as a part of an axum application.
//!
//!     cargo run --example gateway_router
//!
//! For a real provider the file of the gateway has its URL and the variable of its key; nothing else changes.

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use http::Request;
use http_body_util::BodyExt;
use tidegate::BoxError;
use tidegate_gateway::{Config, Gateway};
use tidegate_testkit::{Provider, Reply};
use tower::ServiceExt;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let provider =
        Provider::openai().then(Reply::status(503)).otherwise(Reply::text("high tide")).start().await?;
    let file = format!(
        r#"
        providers.scripted = {{ base_url = "{}", dialect = "openai" }}
        policies.default.retry = {{ max_retries = 1, initial_delay = "10ms" }}
        routes = [{{ path = "/v1/chat/completions", chain = ["scripted/llama"] }}]
        "#,
        provider.base_url(),
    );
    let gateway = Gateway::new(Config::parse(&file, |variable| std::env::var_os(variable))?)?;
    let app = Router::new().route("/", get(async || "tides")).nest_service("/llm", gateway.router());

    // In a program: `axum::serve(listener, app)`.
    let body = r#"{"model":"any","messages":[{"role":"user","content":"hello?"}]}"#;
    let response = app.oneshot(Request::post("/llm/v1/chat/completions").body(Body::from(body))?).await?;
    println!("{} after {:?} attempts", response.status(), response.headers()["x-tidegate-attempts"]);
    assert_eq!(
        (response.status().as_u16(), &response.headers()["x-tidegate-attempts"]),
        (200, &http::HeaderValue::from_static("2"))
    );
    let answer = response.into_body().collect().await?.to_bytes();
    println!("{}", String::from_utf8_lossy(&answer));
    assert!(String::from_utf8_lossy(&answer).contains("high tide"));
    Ok(())
}
