//! async-openai through a chain: its own types and methods, and the targets, gates and fallbacks of tidegate.
//!
//!     cargo run --manifest-path adapters/Cargo.toml -p tidegate-with-async-openai
//!
//! For real providers nothing of `Providers` is needed. Three lines change:
//!
//!     let chain = FallbackChain::new(TARGETS)
//!         .policy(policy)
//!         .service(ReqwestService::new(reqwest::Client::new()))?;

use async_openai::Client;
use async_openai::config::OpenAIConfig;
use async_openai::middleware::HttpRequestFactory;
use async_openai::types::chat::CreateChatCompletionRequest;
use futures_util::StreamExt;
use tidegate::chain::{Chain, ProviderSettings, Providers};
use tidegate::{BoxError, FallbackChain, Payload, ReqwestService};
use tidegate_testkit::{Provider, Reply, closed_port};
use tower::service_fn;

const TARGETS: [&str; 3] = ["openai/gpt-4o", "groq/llama-3.3-70b", "anthropic/claude-3-5-sonnet-latest"];

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let overloaded = Provider::openai().otherwise(Reply::status(503)).start().await?;
    let unreachable = closed_port()?;
    let claude = Provider::anthropic().otherwise(Reply::text("High water at noon.")).start().await?;
    let providers = Providers::empty()
        .with("openai", ProviderSettings::openai(overloaded.base_url()))
        .with("groq", ProviderSettings::openai(unreachable.base_url()))
        .with("anthropic", ProviderSettings::anthropic(claude.base_url()));
    let chain = FallbackChain::new(TARGETS)
        .providers(providers)
        .service(ReqwestService::new(reqwest::Client::new()))?;

    // The key of the client is not sent: each target has its own.
    let client = Client::with_config(OpenAIConfig::new().with_api_key("unused"))
        .with_http_service(service_fn(move |request| send(chain.clone(), request)));
    let question: CreateChatCompletionRequest = serde_json::from_value(serde_json::json!({
        "model": "any", "messages": [{"role": "user", "content": "When is high water?"}],
    }))?;

    let answer = client.chat().create(question.clone()).await?;
    let text = answer.choices[0].message.content.clone().unwrap_or_default();
    println!("plain: {text}");
    assert_eq!(text, "High water at noon.");

    let mut stream = client.chat().create_stream(question).await?;
    let mut text = String::new();
    while let Some(chunk) = stream.next().await {
        text += chunk?.choices.first().and_then(|choice| choice.delta.content.as_deref()).unwrap_or_default();
    }
    println!("streamed: {text}");
    assert_eq!(text, "High water at noon.");
    assert_eq!(claude.log().calls(), 2);
    Ok(())
}

/// Sends a request of async-openai along the chain, which may send it several times.
async fn send(
    chain: Chain<ReqwestService>,
    request: HttpRequestFactory,
) -> Result<reqwest::Response, BoxError> {
    let request = http::Request::<reqwest::Body>::try_from(request.build().await?)?;
    let request = request.map(|body| Payload::from(body.as_bytes().unwrap_or_default().to_vec()));
    let response = chain.send(request).await?;
    Ok(response.map(|body| reqwest::Body::wrap(body.boxed())).into())
}
