//! genai through the gateway, as any client that takes a base URL.
//!
//!     cargo run --manifest-path adapters/Cargo.toml -p tidegate-with-genai
//!
//! For real providers the file of the gateway has no `base_url`: see `crates/tidegate-gateway/example.toml`.
//! The gateway may also run as a program of its own; then only its address is needed here.

use futures_util::StreamExt;
use genai::adapter::AdapterKind;
use genai::chat::{ChatMessage, ChatRequest, ChatStreamEvent};
use genai::resolver::{AuthData, Endpoint};
use genai::{Client, ModelIden, ServiceTarget};
use tidegate_gateway::{Config, Gateway};
use tidegate_testkit::{Provider, Reply};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let overloaded = Provider::openai().otherwise(Reply::status(503)).start().await?;
    let claude = Provider::anthropic().otherwise(Reply::text("High water at noon.")).start().await?;
    let config = format!(
        r#"
        listen = "127.0.0.1:0"
        providers.openai = {{ base_url = "{}", dialect = "openai" }}
        providers.anthropic = {{ base_url = "{}", dialect = "anthropic" }}
        routes = [{{ path = "/v1/chat/completions", chain = ["openai/gpt-4o", "anthropic/claude-sonnet-4-5"] }}]
        "#,
        overloaded.base_url(),
        claude.base_url(),
    );
    let gateway =
        Gateway::new(Config::parse(&config, |variable| std::env::var_os(variable))?)?.bind().await?;

    // The gateway does not send the key of its caller to providers.
    let target = ServiceTarget {
        endpoint: Endpoint::from_owned(format!("http://{}/v1/", gateway.addr())),
        auth: AuthData::from_single("unused"),
        model: ModelIden::from_static(AdapterKind::OpenAI, "any"),
    };
    let client = Client::new()?;
    let question = ChatRequest::new(vec![ChatMessage::user("When is high water?")]);

    let answer = client.exec_chat(target.clone(), question.clone(), None).await?;
    let text = answer.first_text().unwrap_or_default();
    println!("plain: {text}");
    assert_eq!(text, "High water at noon.");

    let mut stream = client.exec_chat_stream(target, question, None).await?.stream;
    let mut text = String::new();
    while let Some(event) = stream.next().await {
        if let ChatStreamEvent::Chunk(chunk) = event? {
            text += &chunk.content;
        }
    }
    println!("streamed: {text}");
    assert_eq!(text, "High water at noon.");
    assert_eq!(claude.log().calls(), 2);
    gateway.stop().await;
    Ok(())
}
