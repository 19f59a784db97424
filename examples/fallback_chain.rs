//! A chain of three targets by name. The first has no quota left, the second refuses connections, and the
//! third has another dialect.
//!
//!     cargo run --example fallback_chain
//!
//! For real providers nothing of `Providers` is needed: the built-in ones have their URLs, and their keys are
//! in the environment. Three lines change:
//!
//!     let chain = FallbackChain::new(TARGETS)
//!         .policy(policy)
//!         .service(ReqwestService::new(reqwest::Client::new()))?;

use http::Request;
use http_body_util::BodyExt;
use tidegate::chain::{ProviderSettings, Providers};
use tidegate::fallback::FallbackInfo;
use tidegate::{BoxError, FallbackChain, Payload, ReqwestService, ResilienceConfig, Trail};
use tidegate_testkit::{Provider, Reply, closed_port};

const TARGETS: [&str; 3] = ["openai/gpt-4o", "groq/llama-3.3-70b", "anthropic/claude-sonnet-4-5"];

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let exhausted = Provider::openai().otherwise(Reply::error(429, "insufficient_quota")).start().await?;
    let unreachable = closed_port()?;
    let claude =
        Provider::anthropic().api_key("anthropic-key").otherwise(Reply::text("here I am")).start().await?;
    let providers = Providers::empty()
        .with("openai", ProviderSettings::openai(exhausted.base_url()).api_key("openai-key"))
        .with("groq", ProviderSettings::openai(unreachable.base_url()).api_key("groq-key"))
        .with("anthropic", ProviderSettings::anthropic(claude.base_url()).api_key("anthropic-key"));
    let policy: ResilienceConfig = toml::from_str(
        r#"
        retry = { max_retries = 1, initial_delay = "20ms" }
        circuit_breaker = { failure_threshold = 2, max_attempts_counted_per_call = 2 }
        "#,
    )?;
    let chain = FallbackChain::new(TARGETS)
        .policy(policy)
        .providers(providers)
        .service(ReqwestService::new(reqwest::Client::new()))?;

    for call in 1..=2 {
        let body = r#"{"messages":[{"role":"user","content":"hello?"}]}"#;
        let mut request = Request::post("/v1/chat/completions").body(Payload::from(body))?;
        let trail = Trail::new();
        request.extensions_mut().insert(trail.clone());

        let response = chat(&chain, request).await?;
        let target = response.extensions().get().map_or(TARGETS[0], FallbackInfo::target).to_owned();
        println!(
            "call {call}: {} from {target}, {} requests on the wire",
            response.status(),
            trail.attempts()
        );
        assert_eq!((&*target, trail.attempts()), (TARGETS[2], [4, 1][call - 1]));
        for step in trail.steps() {
            println!("  {:36} {:?}", step.target.as_deref().unwrap_or("-"), step.verdict);
        }
        let answer: serde_json::Value = serde_json::from_slice(response.body())?;
        assert_eq!(answer["choices"][0]["message"]["content"], "here I am", "in the dialect of the caller");
    }

    println!("in total:");
    for target in chain.handle().statistics() {
        println!("  {:36} {} calls, {} successes", target.target, target.calls, target.successes);
    }
    println!(
        "  {:36} {} requests: an exhausted quota opens the circuit",
        TARGETS[0],
        exhausted.log().calls()
    );
    assert_eq!((exhausted.log().calls(), claude.log().calls()), (1, 2));
    Ok(())
}

/// One call, with the whole body of its response.
async fn chat(
    chain: &tidegate::chain::Chain<ReqwestService>,
    request: Request<Payload>,
) -> Result<http::Response<bytes::Bytes>, BoxError> {
    let (head, body) = chain.send(request).await?.into_parts();
    Ok(http::Response::from_parts(head, body.collect().await?.to_bytes()))
}
