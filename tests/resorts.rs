//! What is left when no provider answers, through the gateway, over real sockets.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tidegate_testkit::{Provider, Reply};
use tidegate_tests::{Seen, Setup};

async fn ask(setup: &Setup, prompt: &str, stream: bool, key: &str) -> Seen {
    let question = json!({"model": "m", "stream": stream, "messages": [{"role": "user", "content": prompt}]});
    let request = setup.post("/v1/chat/completions").header("authorization", format!("Bearer {key}"));
    Seen::of(request.body(question.to_string())).await
}

/// The text of a plain answer, or of all chunks of a streamed one.
fn said(seen: &Seen) -> String {
    let text = std::str::from_utf8(&seen.body).unwrap();
    let Ok(answer) = serde_json::from_str::<Value>(text) else {
        let chunks =
            text.lines().filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data: ")?).ok());
        return chunks
            .filter_map(|chunk| Some(chunk["choices"][0]["delta"]["content"].as_str()?.to_owned()))
            .collect();
    };
    answer["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_static_answer_comes_plain_and_streamed_and_is_marked() {
    let down = Provider::openai().otherwise(Reply::status(503)).start().await.unwrap();
    let setup = Setup::with_last_resorts(&[down.base_url()], "", &["@static"]).await;
    for stream in [false, true] {
        let seen = ask(&setup, "Why is it down?", stream, "k").await;
        assert_eq!((seen.status, seen.header("x-tidegate-fallback")), (200, "static_response"));
        assert_eq!((seen.header("x-tidegate-target"), seen.header("x-tidegate-attempts")), ("@static", "1"));
        assert!(said(&seen).contains("try again"), "{}", said(&seen));
        let media = if stream { "text/event-stream" } else { "application/json" };
        assert_eq!(seen.header("content-type"), media);
        assert_eq!(seen.body.ends_with(b"data: [DONE]\n\n"), stream);
    }
}

#[tokio::test]
async fn a_cached_answer_comes_plain_and_streamed_and_only_to_the_one_who_asked() {
    let answers = [Reply::text("a language"), Reply::text("a fish")];
    let provider = answers.into_iter().fold(Provider::openai().otherwise(Reply::status(503)), Provider::then);
    let provider = provider.start().await.unwrap();
    let setup = Setup::with_last_resorts(&[provider.base_url()], "", &["@cached"]).await;
    let first = ask(&setup, "What is Rust?", true, "mine").await;
    assert_eq!((first.status, first.headers.get("x-tidegate-fallback")), (200, None));
    ask(&setup, "What is a cod?", false, "yours").await;
    for stream in [false, true] {
        for (prompt, key, text) in
            [("what is RUST", "mine", "a language"), ("What is a cod?", "yours", "a fish")]
        {
            let seen = ask(&setup, prompt, stream, key).await;
            assert_eq!((seen.status, seen.header("x-tidegate-fallback")), (200, "cached_response"));
            assert_eq!((seen.header("x-tidegate-target"), said(&seen).trim()), ("@cached", text));
            assert_eq!(seen.header("age"), "0");
        }
    }
    assert_eq!(ask(&setup, "What is Rust?", false, "yours").await.status, 503);
    assert_eq!(ask(&setup, "What is a cod?", false, "mine").await.status, 503);
}

#[tokio::test]
async fn the_file_says_what_is_remembered_and_what_is_alike() {
    for (table, is_there, is_alike) in [
        ("", 200, 200),
        ("[cache]\nsimilarity = 1.1", 200, 503),
        ("[cache]\nmax_age = \"1ns\"", 503, 503),
        ("[cache]\nmax_bytes = 100", 503, 503),
    ] {
        let provider = Provider::openai().then(Reply::text("a language")).otherwise(Reply::status(503));
        let provider = provider.start().await.unwrap();
        let setup = Setup::with_last_resorts(&[provider.base_url()], table, &["@cached"]).await;
        ask(&setup, "What is Rust?", false, "k").await;
        assert_eq!(ask(&setup, "What is Rust?", false, "k").await.status, is_there, "{table}");
        assert_eq!(ask(&setup, "what is rust", false, "k").await.status, is_alike, "{table}");
    }
}

/// The usage that was asked for at the end of a stream was missing from one that nobody gave.
#[tokio::test]
async fn a_composed_stream_ends_with_the_usage_that_was_asked_for() {
    let down = Provider::openai().otherwise(Reply::status(503)).start().await.unwrap();
    let setup = Setup::with_last_resorts(&[down.base_url()], "", &["@static"]).await;
    let question = json!({"model": "m", "stream": true, "stream_options": {"include_usage": true},
        "messages": [{"role": "user", "content": "?"}]});
    let seen = Seen::of(setup.post("/v1/chat/completions").body(question.to_string())).await;
    let text = std::str::from_utf8(&seen.body).unwrap();
    let data: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    let [.., last, "[DONE]"] = &*data else { panic!("{text}") };
    let last: Value = serde_json::from_str(last).unwrap();
    assert_eq!((&last["choices"], &last["usage"]["total_tokens"]), (&json!([]), &json!(0)));
}

#[tokio::test]
async fn a_simplified_prompt_is_sent_under_the_targets_own_model() {
    let provider = Provider::openai().then(Reply::status(503)).otherwise(Reply::text("short"));
    let provider = provider.start().await.unwrap();
    let setup = Setup::with_last_resorts(&[provider.base_url()], "", &["@simplified"]).await;
    let seen = ask(&setup, "one\ntwo\nthree\nfour", false, "k").await;
    assert_eq!(
        (seen.header("x-tidegate-fallback"), seen.header("x-tidegate-attempts")),
        ("simplified_prompt", "2")
    );
    assert_eq!((seen.header("x-tidegate-target"), said(&seen).trim()), ("first/model", "short"));
    let asked: Value = serde_json::from_slice(&provider.log().requests()[1].body).unwrap();
    assert_eq!(asked["model"], "model");
    assert_eq!(
        (&asked["messages"][0]["content"], &asked["max_tokens"]),
        (&json!("one\ntwo\nthree"), &json!(50))
    );
}

/// P29: all targets cooling came to an instant error, though the first was back in a second.
#[tokio::test]
async fn p29_all_targets_cooling_for_a_second_are_waited_for() {
    let patient = |reply: Reply| reply.header("retry-after", "1");
    let limited = || async {
        let provider = Provider::openai().then(patient(Reply::status(429))).otherwise(Reply::text("back"));
        provider.start().await.unwrap()
    };
    let (first, second) = (limited().await, limited().await);
    let policy = "timeout = { total = \"5s\" }\nrate_limiter = { on_limit = \"reject\" }";
    let setup = Setup::new(&[first.base_url(), second.base_url()], policy).await;
    let started = Instant::now();
    let seen = ask(&setup, "?", false, "k").await;
    let took = started.elapsed();
    assert_eq!((seen.status, said(&seen).trim()), (200, "back"), "{:?}", seen.headers);
    assert!(took >= Duration::from_millis(990) && took < Duration::from_secs(3), "{took:?}");
    assert_eq!(first.log().calls() + second.log().calls(), 3);
}
