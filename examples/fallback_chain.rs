//! A chain of three targets: who answers when the first has no money left and the second is not there.
//!
//!     cargo run --example fallback_chain

use std::time::Duration;

use http::Request;
use tidegate::fallback::FallbackInfo;
use tidegate::{
    BoxError, CircuitBreakerLayer, FallbackLayer, Payload, ReqwestService, ResilienceBuilder, RetryLayer,
    Trail,
};
use tidegate_testkit::{Provider, Reply, closed_port};
use tower::{Layer, ServiceBuilder, ServiceExt};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let broke = Provider::openai().otherwise(Reply::error(429, "insufficient_quota")).start().await?;
    let absent = closed_port()?;
    let well = Provider::openai().otherwise(Reply::text("here I am")).start().await?;

    // The stack of one target. What differs between targets is put in innermost, since the same request is handed
    // down the chain.
    let target = |name: &str, base_url: String| {
        let model = name.split('/').next_back().unwrap_or(name).to_owned();
        let client = ServiceBuilder::new()
            .map_request(move |request| address(request, &base_url, &model))
            .service(ReqwestService::new(reqwest::Client::new()));
        ResilienceBuilder::new(name)
            .retry(RetryLayer::exponential().max_retries(1).initial_delay(Duration::from_millis(50)))
            .circuit_breaker(CircuitBreakerLayer::new().failure_threshold(2))
            .service(client)
    };
    let chain = FallbackLayer::new()
        .then("groq/llama-3.3-70b", target("groq/llama-3.3-70b", absent.base_url()))
        .then("deepseek/deepseek-chat", target("deepseek/deepseek-chat", well.base_url()));
    let statistics = chain.handle();
    let chat = chain.layer(target("openai/gpt-4o", broke.base_url()));

    for call in 1..=2 {
        let question = r#"{"model":"any","messages":[{"role":"user","content":"anybody there?"}]}"#;
        let mut request = Request::post("/chat/completions")
            .header("content-type", "application/json")
            .body(Payload::from(question))?;
        let trail = Trail::new();
        request.extensions_mut().insert(trail.clone());

        let answer = chat.clone().oneshot(request).await?;
        let by = answer.extensions().get().map_or("openai/gpt-4o", FallbackInfo::target);
        println!("call {call}: {} from {by}, {} requests on the wire", answer.status(), trail.attempts());
        for step in trail.steps() {
            println!("  {:24} {:?}", step.target.as_deref().unwrap_or("-"), step.verdict);
        }
    }

    println!("and in sum:");
    for target in statistics.statistics() {
        println!("  {:24} asked {}, answered {}", target.target, target.asked, target.answered);
    }
    println!("  openai/gpt-4o            asked {}: an empty purse closes the target", broke.log().calls());
    Ok(())
}

/// The same question to another address and another model; a key would be put in here, too.
fn address(request: Request<Payload>, base_url: &str, model: &str) -> Request<Payload> {
    let (mut head, body) = request.into_parts();
    head.uri = format!("{base_url}{}", head.uri.path()).parse().expect("a base URL and a path");
    let question = body.bytes().and_then(|bytes| serde_json::from_slice(bytes).ok());
    let body = match question {
        Some(serde_json::Value::Object(mut question)) => {
            question.insert("model".into(), model.into());
            serde_json::Value::from(question).to_string().into()
        }
        _ => body,
    };
    Request::from_parts(head, body)
}
