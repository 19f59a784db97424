//! A fallback chain of three targets. The first has no quota left and the second refuses connections.
//!
//!     cargo run --example fallback_chain
//!
//! Three lines change for real providers:
//!
//!     target("openai/gpt-4o", "https://api.openai.com/v1", &var("OPENAI_API_KEY")?);
//!     target("groq/llama-3.3-70b", "https://api.groq.com/openai/v1", &var("GROQ_API_KEY")?);
//!     target("deepseek/deepseek-chat", "https://api.deepseek.com", &var("DEEPSEEK_API_KEY")?);

use std::time::Duration;

use http::Request;
use http::header::AUTHORIZATION;
use tidegate::fallback::FallbackInfo;
use tidegate::{
    BoxError, CircuitBreakerLayer, FallbackLayer, Payload, ReqwestService, ResilienceBuilder, RetryLayer,
    Trail,
};
use tidegate_testkit::{Provider, Reply, closed_port};
use tower::{Layer, ServiceBuilder, ServiceExt};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let exhausted = Provider::openai().otherwise(Reply::error(429, "insufficient_quota")).start().await?;
    let unreachable = closed_port()?;
    let healthy =
        Provider::openai().api_key("deepseek-key").otherwise(Reply::text("here I am")).start().await?;

    // The stack of one target. The URI and the model differ between targets, so they are set innermost: the
    // chain sends the same request to every target.
    let target = |name: &str, base_url: &str, api_key: &str| {
        let model = name.split('/').next_back().unwrap_or(name).to_owned();
        let (base_url, authorization) = (base_url.to_owned(), format!("Bearer {api_key}"));
        let client = ServiceBuilder::new()
            .map_request(move |request| address(request, &base_url, &authorization, &model))
            .service(ReqwestService::new(reqwest::Client::new()));
        ResilienceBuilder::new(name)
            .retry(RetryLayer::exponential().max_retries(1).initial_delay(Duration::from_millis(20)))
            .circuit_breaker(CircuitBreakerLayer::new().failure_threshold(2))
            .service(client)
    };
    let openai = target("openai/gpt-4o", &exhausted.base_url(), "openai-key");
    let groq = target("groq/llama-3.3-70b", &unreachable.base_url(), "groq-key");
    let deepseek = target("deepseek/deepseek-chat", &healthy.base_url(), "deepseek-key");
    let chain =
        FallbackLayer::new().then("groq/llama-3.3-70b", groq).then("deepseek/deepseek-chat", deepseek);
    let statistics = chain.handle();
    let chat = chain.layer(openai);

    for call in 1..=2 {
        let body = r#"{"model":"any","messages":[{"role":"user","content":"hello?"}]}"#;
        let mut request = Request::post("/chat/completions")
            .header("content-type", "application/json")
            .body(Payload::from(body))?;
        let trail = Trail::new();
        request.extensions_mut().insert(trail.clone());

        let response = chat.clone().oneshot(request).await?;
        let by = response.extensions().get().map_or("openai/gpt-4o", FallbackInfo::target);
        println!("call {call}: {} from {by}, {} requests on the wire", response.status(), trail.attempts());
        assert_eq!((by, trail.attempts()), ("deepseek/deepseek-chat", [4, 1][call - 1]));
        for step in trail.steps() {
            println!("  {:24} {:?}", step.target.as_deref().unwrap_or("-"), step.verdict);
        }
    }

    println!("in total:");
    for target in statistics.statistics() {
        println!("  {:24} tried {}, answered {}", target.target, target.asked, target.answered);
    }
    println!(
        "  openai/gpt-4o            {} requests: an exhausted quota opens the circuit",
        exhausted.log().calls()
    );
    assert_eq!((exhausted.log().calls(), healthy.log().calls()), (1, 2));
    Ok(())
}

/// Sends the request to another address, with another key and for another model.
fn address(request: Request<Payload>, base_url: &str, authorization: &str, model: &str) -> Request<Payload> {
    let (mut head, body) = request.into_parts();
    head.uri = format!("{base_url}{}", head.uri.path()).parse().expect("a base URL and a path");
    head.headers.insert(AUTHORIZATION, authorization.parse().expect("a key without control characters"));
    let json = body.bytes().and_then(|bytes| serde_json::from_slice(bytes).ok());
    let body = match json {
        Some(serde_json::Value::Object(mut fields)) => {
            fields.insert("model".into(), model.into());
            serde_json::Value::from(fields).to_string().into()
        }
        _ => body,
    };
    Request::from_parts(head, body)
}
