//! Answers of the past, for the time when no provider responds: to the same prompt, or to a similar one.
//!
//! The cache is a last resort of the fallback chain. It is not a shortcut: while a target responds, every
//! call is sent, and the answers are recorded as they pass.
//!
//!     cargo run --example answer_cache
//!
//! For a real provider these three lines change, and the assertions about the script go. So does
//! `start_paused`: a paused clock does not wait for a network.
//!
//!     let url = "https://api.openai.com/v1/chat/completions";
//!         .header("authorization", format!("Bearer {}", std::env::var("OPENAI_API_KEY")?))
//!         .service(ReqwestService::new(reqwest::Client::new()));

use std::time::Duration;

use http::Request;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tidegate::fallback::{AnswerCache, FallbackInfo, FallbackKind};
use tidegate::{BoxError, FallbackLayer, Payload, ResilienceBuilder, Tenant};
use tidegate_testkit::{Provider, Reply};

// The clock is paused: it moves on whenever the program waits, so that no time passes for real.
#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() -> Result<(), BoxError> {
    let provider = Provider::openai().then(Reply::text("The moon pulls at the sea.")).service();
    let url = "http://provider.test/v1/chat/completions";

    // Two prompts are similar if they differ only in case, in the mark at the end and in courtesies around
    // them, and 80 % of their words are common.
    let cache = AnswerCache::new().max_bytes(16 << 20).max_age(Duration::from_secs(600)).similarity(0.8);
    let openai = ResilienceBuilder::new("openai/gpt-4o")
        .fallback(FallbackLayer::new().then_cached(cache.clone()).then_emergency("Please try again later."))
        .service(provider.clone());

    let send = async |tenant: &str, prompt: &str| {
        let body = json!({"model": "gpt-4o", "messages": [{"role": "user", "content": prompt}]});
        let request = Request::post(url)
            .header("content-type", "application/json")
            .extension(Tenant(tenant.into()))
            .body(Payload::from(body.to_string()))?;
        let response = openai.send(request).await?;
        let info = response.extensions().get::<FallbackInfo>().cloned();
        let age = response.headers().get("age").map_or("-".into(), |age| format!("{age:?}"));
        let body: Value = serde_json::from_slice(&response.into_body().collect().await?.to_bytes())?;
        let answer = &body["choices"][0]["message"]["content"];
        let (source, similarity) =
            info.as_ref().map_or(("openai/gpt-4o", None), |info| (info.target(), info.similarity()));
        println!("{tenant}: {prompt}\n  {answer} from {source}, similarity {similarity:?}, age {age}");
        Ok::<_, BoxError>((info.map(|info| info.kind()), similarity))
    };

    let from_provider = send("acme", "Why does the tide come in twice a day?").await?;
    assert_eq!((from_provider, cache.len()), ((None, None), 1));

    println!("-- the provider goes down");
    provider.script().otherwise(Reply::status(503));
    tokio::time::sleep(Duration::from_secs(60)).await;

    let exact = send("acme", "Why does the tide come in twice a day?").await?;
    assert_eq!(exact, (Some(FallbackKind::CachedResponse), Some(1.0)));

    let similar = send("acme", "please, why does the tide come in twice a day").await?;
    assert_eq!(similar.0, Some(FallbackKind::CachedResponse));
    assert!(similar.1.is_some_and(|similarity| (0.8..1.0).contains(&similarity)));

    // Another prompt, and the prompt of another tenant, who must not see it: nothing is found.
    for (tenant, prompt) in
        [("acme", "How deep is the sea?"), ("globex", "Why does the tide come in twice a day?")]
    {
        assert_eq!(send(tenant, prompt).await?, (Some(FallbackKind::Emergency), None));
    }
    Ok(())
}
