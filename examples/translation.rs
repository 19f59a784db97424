//! Requests in the dialect of OpenAI's chat completions, answered by a provider of Anthropic's messages.
//!
//! Nearly all providers offer OpenAI's dialect at some URL, and that is to be preferred: a translation is
//! never as exact as the original. It is for a target that does not, such as one target of a fallback chain.
//!
//!     cargo run --example translation
//!
//! For a real provider these three lines change, and the assertions about the script go. So does
//! `start_paused`: a paused clock does not wait for a network.
//!
//!     let url = "https://api.anthropic.com/v1/messages";
//!     let api_key = std::env::var("ANTHROPIC_API_KEY")?;
//!         .service(ReqwestService::new(reqwest::Client::new()));

use std::time::Duration;

use http::{HeaderValue, Request};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tidegate::translators::ChatToMessages;
use tidegate::{BoxError, Gate, Payload, Rejection, ResilienceBuilder, RetryLayer, TranslateLayer};
use tidegate_testkit::{Provider, Reply};
use tower::{ServiceBuilder, ServiceExt};

// The clock is paused: it moves on whenever the program waits, so that no time passes for real.
#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() -> Result<(), BoxError> {
    let provider = Provider::anthropic()
        .api_key("provider-key")
        .then(Reply::error(529, "overloaded_error"))
        .otherwise(Reply::text("High water at noon.").pace(Duration::from_millis(50)))
        .service();
    let url = "http://provider.test/v1/messages";
    let api_key = "provider-key".to_owned();

    let stack = ResilienceBuilder::new("anthropic/claude-sonnet-4-5")
        .retry(RetryLayer::exponential().initial_delay(Duration::from_millis(100)));
    let claude = ServiceBuilder::new()
        // Outside of the stack, which classifies responses in the provider's own dialect.
        .layer(TranslateLayer::new(ChatToMessages::new("anthropic/claude-sonnet-4-5")))
        .layer(stack.build())
        // Innermost, since the address and the credentials are those of the target.
        .map_request(move |request| address(request, url, &api_key))
        .service(provider.clone());
    // The model is the target's as well. In a chain, where callers name another model, `address` replaces it.
    let chat_request = |stream: bool, answers: u32| {
        let messages = json!([{"role": "user", "content": "when is high water?"}]);
        let body =
            json!({"model": "claude-sonnet-4-5", "stream": stream, "n": answers, "messages": messages});
        Request::post("/v1/chat/completions").body(Payload::from(body.to_string()))
    };

    let response = claude.clone().oneshot(chat_request(false, 1)?).await?;
    let answer: Value = serde_json::from_slice(&response.into_body().collect().await?.to_bytes())?;
    let sent: Value = serde_json::from_slice(&provider.log().requests()[1].body)?;
    println!("sent in Anthropic's dialect:    {sent}");
    println!("received in OpenAI's dialect:   {answer}");
    assert_eq!(sent["messages"][0]["content"][0]["text"], "when is high water?");
    assert_eq!(answer["choices"][0]["message"]["content"], "High water at noon.");
    assert_eq!(provider.log().calls(), 2, "the overloaded provider was called again");

    let response = claude.clone().oneshot(chat_request(true, 1)?).await?;
    let events = String::from_utf8(response.into_body().collect().await?.to_bytes().to_vec())?;
    println!("a stream, translated event by event:");
    events.lines().filter(|line| line.contains("content")).for_each(|line| println!("  {line}"));
    assert!(events.contains(r#""content":"noon.""#) && events.ends_with("data: [DONE]\n\n"));

    // Not sent: an answer to a part of the request would be a surprise. A chain calls its next target.
    let error = claude.oneshot(chat_request(false, 2)?).await.expect_err("two answers to one request");
    println!("without a counterpart: {error}");
    assert_eq!(Rejection::find(&*error).map(Rejection::gate), Some(Gate::Translate));
    assert_eq!(provider.log().calls(), 3);
    Ok(())
}

/// Sets the address and the credentials of the target.
fn address(mut request: Request<Payload>, url: &'static str, api_key: &str) -> Request<Payload> {
    let api_key = HeaderValue::from_str(api_key).expect("a key without control characters");
    *request.uri_mut() = http::Uri::from_static(url);
    request.headers_mut().insert("x-api-key", api_key);
    request.headers_mut().insert("anthropic-version", HeaderValue::from_static("2023-06-01"));
    request
}
