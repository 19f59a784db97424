//! The last resorts of a chain, through the gateway, over real sockets.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tidegate_testkit::{Provider, Reply};
use tidegate_tests::{ClientResponse, Setup};

async fn send(setup: &Setup, prompt: &str, stream: bool, key: &str) -> ClientResponse {
    let body = json!({"model": "m", "stream": stream, "messages": [{"role": "user", "content": prompt}]});
    let request = setup.post("/v1/chat/completions").header("authorization", format!("Bearer {key}"));
    ClientResponse::of(request.body(body.to_string())).await
}

/// The text of a plain response, or of all chunks of a streamed one.
fn content(response: &ClientResponse) -> String {
    let text = std::str::from_utf8(&response.body).unwrap();
    let Ok(response) = serde_json::from_str::<Value>(text) else {
        let chunks =
            text.lines().filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data: ")?).ok());
        return chunks
            .filter_map(|chunk| Some(chunk["choices"][0]["delta"]["content"].as_str()?.to_owned()))
            .collect();
    };
    response["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_static_answer_is_sent_plain_and_streamed_and_is_marked() {
    let down = Provider::openai().otherwise(Reply::status(503)).start().await.unwrap();
    let setup = Setup::with_last_resorts(&[down.base_url()], "", &["@static"]).await;
    for stream in [false, true] {
        let response = send(&setup, "Why is it down?", stream, "k").await;
        assert_eq!((response.status, response.header("x-tidegate-fallback")), (200, "static_response"));
        assert_eq!(
            (response.header("x-tidegate-target"), response.header("x-tidegate-attempts")),
            ("@static", "1")
        );
        assert!(content(&response).contains("try again"), "{}", content(&response));
        let media = if stream { "text/event-stream" } else { "application/json" };
        assert_eq!(response.header("content-type"), media);
        assert_eq!(response.body.ends_with(b"data: [DONE]\n\n"), stream);
    }
}

#[tokio::test]
async fn the_emergency_answer_is_that_of_the_file() {
    let down = Provider::openai().otherwise(Reply::status(503)).start().await.unwrap();
    let file = format!(
        "listen = \"127.0.0.1:0\"\nemergency_text = \"Low tide.\"\n\
         [providers.first]\nbase_url = \"{}\"\ndialect = \"openai\"\n\
         [[routes]]\npath = \"/v1/chat/completions\"\nchain = [\"first/model\", \"@emergency\"]\n",
        down.base_url()
    );
    let setup = Setup::of_file(&file, |_| None).await;
    for stream in [false, true] {
        let response = send(&setup, "Why is it down?", stream, "k").await;
        assert_eq!((response.status, response.header("x-tidegate-fallback")), (200, "emergency"));
        assert_eq!(content(&response), "Low tide.");
    }
}

#[tokio::test]
async fn a_static_answer_is_that_of_the_file_for_its_kind_of_prompt() {
    let down = Provider::openai().otherwise(Reply::status(503)).start().await.unwrap();
    let file = format!(
        "listen = \"127.0.0.1:0\"\nstatic_texts = {{ question = \"Ebbe.\" }}\n\
         [providers.first]\nbase_url = \"{}\"\ndialect = \"openai\"\n\
         [[routes]]\npath = \"/v1/chat/completions\"\nchain = [\"first/model\", \"@static\"]\n",
        down.base_url()
    );
    let setup = Setup::of_file(&file, |_| None).await;
    assert_eq!(content(&send(&setup, "Wann kommt die Flut?", false, "k").await), "Ebbe.");
    assert!(content(&send(&setup, "Write a poem.", false, "k").await).contains("try again"));
}

#[tokio::test]
async fn a_cached_answer_is_sent_plain_and_streamed_and_only_to_the_same_caller() {
    let answers = [Reply::text("a language"), Reply::text("a fish")];
    let provider = answers.into_iter().fold(Provider::openai().otherwise(Reply::status(503)), Provider::then);
    let provider = provider.start().await.unwrap();
    let setup = Setup::with_last_resorts(&[provider.base_url()], "", &["@cached"]).await;
    let first = send(&setup, "What is Rust?", true, "mine").await;
    assert_eq!((first.status, first.headers.get("x-tidegate-fallback")), (200, None));
    send(&setup, "What is a cod?", false, "yours").await;
    for stream in [false, true] {
        for (prompt, key, text) in
            [("what is RUST", "mine", "a language"), ("What is a cod?", "yours", "a fish")]
        {
            let response = send(&setup, prompt, stream, key).await;
            assert_eq!((response.status, response.header("x-tidegate-fallback")), (200, "cached_response"));
            assert_eq!(response.header("x-tidegate-stale"), "true");
            assert_eq!((response.header("x-tidegate-target"), content(&response).trim()), ("@cached", text));
            assert_eq!(response.header("age"), "0");
        }
    }
    assert_eq!(send(&setup, "What is Rust?", false, "yours").await.status, 503);
    assert_eq!(send(&setup, "What is a cod?", false, "mine").await.status, 503);
}

#[tokio::test]
async fn the_configuration_sets_what_is_cached_and_what_is_similar() {
    for (table, exact, similar) in [
        ("", 200, 200),
        ("[cache]\nsimilarity = 1.1", 200, 503),
        ("[cache]\nmax_age = \"1ns\"", 503, 503),
        ("[cache]\nmax_bytes = 100", 503, 503),
    ] {
        let provider = Provider::openai().then(Reply::text("a language")).otherwise(Reply::status(503));
        let provider = provider.start().await.unwrap();
        let setup = Setup::with_last_resorts(&[provider.base_url()], table, &["@cached"]).await;
        send(&setup, "What is Rust?", false, "k").await;
        assert_eq!(send(&setup, "What is Rust?", false, "k").await.status, exact, "{table}");
        assert_eq!(send(&setup, "what is rust", false, "k").await.status, similar, "{table}");
    }
}

/// The usage that the request includes was missing at the end of a synthesized stream.
#[tokio::test]
async fn a_synthesized_stream_ends_with_the_requested_usage() {
    let down = Provider::openai().otherwise(Reply::status(503)).start().await.unwrap();
    let setup = Setup::with_last_resorts(&[down.base_url()], "", &["@static"]).await;
    let body = json!({"model": "m", "stream": true, "stream_options": {"include_usage": true},
        "messages": [{"role": "user", "content": "?"}]});
    let response = ClientResponse::of(setup.post("/v1/chat/completions").body(body.to_string())).await;
    let text = std::str::from_utf8(&response.body).unwrap();
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
    let response = send(&setup, "one\ntwo\nthree\nfour", false, "k").await;
    assert_eq!(
        (response.header("x-tidegate-fallback"), response.header("x-tidegate-attempts")),
        ("simplified_prompt", "2")
    );
    assert_eq!((response.header("x-tidegate-target"), content(&response).trim()), ("first/model", "short"));
    let sent: Value = serde_json::from_slice(&provider.log().requests()[1].body).unwrap();
    assert_eq!(sent["model"], "model");
    assert_eq!(
        (&sent["messages"][0]["content"], &sent["max_tokens"]),
        (&json!("one\ntwo\nthree"), &json!(50))
    );
}

/// All targets in cooldown gave an immediate error, although the first one was available a second later.
/// Pitfall P29 (docs/pitfalls.md).
#[tokio::test]
async fn a_chain_waits_for_targets_that_cool_down_for_a_second() {
    let with_wait = |reply: Reply| reply.header("retry-after", "1");
    let limited = || async {
        let provider = Provider::openai().then(with_wait(Reply::status(429))).otherwise(Reply::text("back"));
        provider.start().await.unwrap()
    };
    let (first, second) = (limited().await, limited().await);
    let policy = "timeout = { total = \"5s\" }\nrate_limiter = { on_limit = \"reject\" }";
    let setup = Setup::new(&[first.base_url(), second.base_url()], policy).await;
    let started = Instant::now();
    let response = send(&setup, "?", false, "k").await;
    let took = started.elapsed();
    assert_eq!((response.status, content(&response).trim()), (200, "back"), "{:?}", response.headers);
    assert!(took >= Duration::from_millis(990) && took < Duration::from_secs(3), "{took:?}");
    assert_eq!(first.log().calls() + second.log().calls(), 3);
}
