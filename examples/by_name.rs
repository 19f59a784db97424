//! Three providers by name, in three dialects: a chain that is called from a task, with a plain and a
//! streamed answer.
//!
//!     cargo run --example by_name
//!
//! The first provider is overloaded, and the second becomes so after one answer. For real providers the line
//! with `providers` is not needed: URLs are built in, and keys are read from the environment.

use http::Request;
use http_body_util::BodyExt;
use serde_json::json;
use tidegate::chain::{ProviderSettings, Providers};
use tidegate::{BoxError, FallbackChain, Payload, ReqwestService};
use tidegate_testkit::{Provider, Reply};

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

    let [plain, streamed] = ask(providers).await?;
    println!("{plain}\n\n{streamed}");
    assert!(plain.starts_with('{') && plain.contains("It is the rivers."));
    assert!(streamed.contains("rocks.") && streamed.ends_with("data: [DONE]\n\n"));
    assert_eq!([&openai, &claude, &deepseek].map(|provider| provider.log().calls()), [2, 2, 1]);
    Ok(())
}

async fn ask(providers: Providers) -> Result<[String; 2], BoxError> {
    let chain =
        FallbackChain::new(["openai/gpt-4o", "anthropic/claude-sonnet-4-5", "deepseek/deepseek-chat"])
            .providers(providers)
            .service(ReqwestService::new(reqwest::Client::new()))?;
    let call = async |stream: bool| {
        let body =
            json!({"stream": stream, "messages": [{"role": "user", "content": "Why is the sea salty?"}]});
        let request = Request::post("/v1/chat/completions").body(Payload::from(body.to_string()))?;
        let call = chain.send(request);
        let answer = tokio::spawn(async { call.await?.into_body().collect().await }).await??;
        Ok::<_, BoxError>(String::from_utf8(answer.to_bytes().to_vec())?)
    };
    Ok([call(false).await?, call(true).await?])
}
