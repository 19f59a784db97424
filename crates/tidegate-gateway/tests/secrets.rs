//! The API key is sent to the provider only, and the caller's credentials are not forwarded. Neither these
//! nor the text of prompts and responses is logged.

mod support;

use std::io;
use std::sync::{Arc, Mutex};

use support::*;
use tidegate_testkit::{Provider, Reply};

/// The log of all crates at the level TRACE.
#[derive(Clone, Default)]
struct LogBuffer(Arc<Mutex<Vec<u8>>>);

impl io::Write for LogBuffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn secrets_are_neither_forwarded_nor_returned_nor_logged() {
    let logged = LogBuffer::default();
    let writer = logged.clone();
    tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_writer(move || writer.clone())
        .init();

    let flaky =
        |provider: Provider| provider.api_key(KEY).then(Reply::status(503)).then(Reply::text("the-answer"));
    let openai = flaky(Provider::openai()).start().await.unwrap();
    let anthropic = flaky(Provider::anthropic()).start().await.unwrap();
    let file = format!(
        r#"
        policies.default.retry = {{ max_retries = 2, initial_delay = "1ms" }}
        providers.o = {{ base_url = "{}", dialect = "openai", api_key_env = "PROVIDER_KEY" }}
        providers.a = {{ base_url = "{}", dialect = "anthropic", api_key_env = "PROVIDER_KEY" }}
        routes = [
            {{ path = "/v1/chat/completions", chain = ["o/m"] }},
            {{ path = "/v1/messages", chain = ["a/m"] }},
        ]
        "#,
        openai.base_url(),
        anthropic.base_url(),
    );
    let gateway = gateway(&file).await;

    let body = r#"{"model":"any","max_tokens":9,"messages":[{"role":"user","content":"the-prompt"}]}"#;
    let mut returned = String::new();
    for path in ["/v1/chat/completions", "/v1/messages", "/v1/embeddings"] {
        let response = client()
            .post(url(&gateway, path) + "?key=the-callers-key")
            .bearer_auth("the-callers-key")
            .header("x-api-key", "the-callers-key")
            .header("cookie", "session=the-callers-key")
            .header("accept-encoding", "gzip")
            .body(body)
            .send()
            .await
            .unwrap();
        let is_served = path != "/v1/embeddings";
        assert_eq!(response.status(), if is_served { 200 } else { 404 }, "{path}");
        returned += &format!("{:?}", response.headers());
        let text = response.text().await.unwrap();
        assert_eq!(text.contains("the-answer"), is_served);
        returned += &text;
    }
    // Credentials in the wrong headers: the caller gets them back, and the log does not.
    for name in ["host", "origin", "sec-fetch-site"] {
        let request = client().get(url(&gateway, "/v1/models")).header(name, "user:misplaced-key@x.test");
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 403, "{name}");
        assert!(response.text().await.unwrap().contains("misplaced-key"), "{name}");
    }
    for path in ["/", "/signals", "/calls", "/v1/models", "/healthz"] {
        returned += &client().get(url(&gateway, path)).send().await.unwrap().text().await.unwrap();
    }
    gateway.stop().await;

    for (provider, ours, theirs) in [
        (&openai, ("authorization", format!("Bearer {KEY}")), "x-api-key"),
        (&anthropic, ("x-api-key", KEY.into()), "authorization"),
    ] {
        for request in provider.log().requests() {
            assert_eq!(request.headers[ours.0], *ours.1);
            assert!(!request.headers.contains_key(theirs));
            assert_eq!(request.headers["accept-encoding"], "identity");
            assert!(!format!("{:?} {}", request.headers, request.path).contains("the-callers-key"));
        }
        assert_eq!(provider.log().calls(), 2);
    }
    assert_eq!(anthropic.log().last().unwrap().headers["anthropic-version"], "2023-06-01");

    assert!(!returned.contains(KEY) && !returned.contains("the-callers-key"));
    let logged = String::from_utf8(logged.0.lock().unwrap().clone()).unwrap();
    assert!(logged.contains("response ended"));
    assert!(logged.contains("origin is not allowed"));
    for secret in [KEY, "the-callers-key", "misplaced-key", "the-prompt", "the-answer"] {
        let line = logged.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "{secret}");
    }
}
