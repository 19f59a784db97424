//! async-openai through a chain: its own types and methods, and the targets, gates and fallbacks of tidegate.
//!
//!     cargo run --manifest-path adapters/Cargo.toml -p tidegate-with-async-openai
//!
//! For real providers the line with `providers` is not needed: URLs are built in, and keys are read from the
//! environment.

use async_openai::Client;
use async_openai::config::OpenAIConfig;
use async_openai::middleware::HttpRequestFactory;
use async_openai::types::chat::CreateChatCompletionRequest;
use futures_util::StreamExt;
use reqwest::Response;
use serde_json::json;
use tidegate::chain::{Chain, ProviderSettings, Providers};
use tidegate::{BoxError, FallbackChain, Payload, ReqwestService};
use tidegate_testkit::{Provider, Reply};
use tower::service_fn;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let openai = Provider::openai().otherwise(Reply::status(503)).start().await?;
    let claude = Provider::anthropic().then(Reply::text("It is the rivers."));
    let claude = claude.otherwise(Reply::error(529, "overloaded_error")).start().await?;
    let deepseek = Provider::deepseek().otherwise(Reply::text("It is the rocks.")).start().await?;
    let providers = Providers::empty()
        .with("openai", ProviderSettings::openai(openai.base_url()))
        .with("anthropic", ProviderSettings::anthropic(claude.base_url()))
        .with("deepseek", ProviderSettings::openai(deepseek.base_url()));

    let (plain, streamed) = tokio::spawn(ask(providers)).await??;
    println!("plain: {plain}\nstreamed: {streamed}");
    assert_eq!((&*plain, &*streamed), ("It is the rivers.", "It is the rocks."));
    assert_eq!([&openai, &claude, &deepseek].map(|provider| provider.log().calls()), [2, 2, 1]);
    Ok(())
}

async fn ask(providers: Providers) -> Result<(String, String), BoxError> {
    let chain =
        FallbackChain::new(["openai/gpt-4o", "anthropic/claude-sonnet-4-5", "deepseek/deepseek-chat"])
            .providers(providers)
            .service(ReqwestService::new(reqwest::Client::new()))?;
    // The key of the client is not sent: each target has its own.
    let client = Client::with_config(OpenAIConfig::new().with_api_key("unused"))
        .with_http_service(service_fn(move |request| send(chain.clone(), request)));
    let question =
        json!({"model": "any", "messages": [{"role": "user", "content": "Why is the sea salty?"}]});
    let question: CreateChatCompletionRequest = serde_json::from_value(question)?;

    let answer = client.chat().create(question.clone()).await?;
    let plain = answer.choices.into_iter().filter_map(|choice| choice.message.content).collect();

    let mut stream = client.chat().create_stream(question).await?;
    let mut streamed = String::new();
    while let Some(chunk) = stream.next().await {
        streamed.extend(chunk?.choices.into_iter().filter_map(|choice| choice.delta.content));
    }
    Ok((plain, streamed))
}

/// Sends a request of async-openai along the chain, which may send it several times.
async fn send(chain: Chain<ReqwestService>, request: HttpRequestFactory) -> Result<Response, BoxError> {
    let request = http::Request::<reqwest::Body>::try_from(request.build().await?)?;
    let request = request.map(|body| Payload::from(body.as_bytes().unwrap_or_default().to_vec()));
    let response = chain.send(request).await?;
    Ok(response.map(|body| reqwest::Body::wrap(body.boxed())).into())
}
