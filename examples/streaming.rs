//! Prints a streamed answer word by word, and handles a stream that breaks.
//!
//! A stack returns a stream once its first token has arrived. A failure before that is retried like any
//! other. After that the bytes belong to the caller and nothing is retried: a stream that breaks ends with an
//! error of its body. It never ends as if it were complete.
//!
//!     cargo run --example streaming
//!
//! For a real provider these three lines change, and the assertions about the script go. So does
//! `start_paused`: a paused clock does not wait for a network.
//!
//!     let url = "https://api.openai.com/v1/chat/completions";
//!         .header("authorization", format!("Bearer {}", std::env::var("OPENAI_API_KEY")?))
//!         .service(ReqwestService::new(reqwest::Client::new()));

use std::io::Write;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::Request;
use http_body::Body;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tidegate::{BoxError, CircuitBreakerLayer, Outcome, Payload, ResilienceBuilder, RetryLayer};
use tidegate_testkit::{Provider, Reply};

// The clock is paused: it moves on whenever the program waits, so that no time passes for real.
#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() -> Result<(), BoxError> {
    let pace = Duration::from_millis(50);
    let provider = Provider::openai()
        .then(Reply::text("lost before its first word").cut_after(0))
        .then(Reply::text("the tide comes in").pace(pace))
        .then(Reply::text("the tide goes out again").pace(pace).cut_after(3))
        .service();
    let url = "http://provider.test/v1/chat/completions";
    let openai = ResilienceBuilder::new("openai/gpt-4o")
        .retry(RetryLayer::exponential().initial_delay(Duration::from_millis(100)))
        .circuit_breaker(CircuitBreakerLayer::new())
        .service(provider.clone());
    let chat_request = || {
        let messages = json!([{"role": "user", "content": "what does the tide do?"}]);
        let body = json!({"model": "gpt-4o", "stream": true, "messages": messages});
        Request::post(url).header("content-type", "application/json").body(Payload::from(body.to_string()))
    };

    println!("A stream that breaks before its first token is retried:");
    let mut text = String::new();
    print_words(openai.send(chat_request()?).await?.into_body(), &mut text).await?;
    assert_eq!((text.as_str(), provider.log().calls()), ("the tide comes in", 2));

    println!("A stream that breaks later ends with an error, after the words that did arrive:");
    let mut text = String::new();
    let ended = print_words(openai.send(chat_request()?).await?.into_body(), &mut text).await;
    let error = ended.expect_err("the connection is cut");
    assert_eq!((text.as_str(), provider.log().calls()), ("the tide goes ", 3));

    // Show the part, and mark it as incomplete. A new request generates, and bills, the whole answer again.
    // With `FallbackLayer::continue_streams` another target continues the text in the same stream.
    let outcome = Outcome::of_error(&*error);
    let failure = outcome.failure().expect("a failure of the provider");
    println!("... {failure}");
    let last_failure = openai.signals().snapshot().last_failure;
    assert_eq!(last_failure.map(|last| last.code), Some(failure.code), "the circuit has counted it");
    Ok(())
}

/// Prints the words of a stream as they arrive, and appends them to `text`. Fails where the stream fails.
async fn print_words(
    mut body: impl Body<Data = Bytes, Error = tidegate::Error> + Unpin,
    text: &mut String,
) -> Result<(), BoxError> {
    print!("  ");
    // A frame is a piece of the connection: it may hold half an event, or three.
    let mut buffer = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        buffer.extend_from_slice(&data);
        while let Some(end) = buffer.iter().position(|byte| *byte == b'\n') {
            let line = buffer.split_to(end + 1);
            // The others are blank lines, comments that keep the connection alive, and `data: [DONE]`.
            let Some(data) = line.strip_prefix(b"data: ") else { continue };
            let Ok(event) = serde_json::from_slice::<Value>(data) else { continue };
            let word = event["choices"][0]["delta"]["content"].as_str().unwrap_or_default();
            print!("{word}");
            std::io::stdout().flush()?;
            text.push_str(word);
        }
    }
    println!();
    Ok(())
}
