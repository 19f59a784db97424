//! The key reaches the provider and nothing else; the caller's own goes nowhere. Nor do logs hold words.

mod support;

use std::io;
use std::sync::{Arc, Mutex};

use support::*;
use tidegate_testkit::{Provider, Reply};

/// All that was logged, by anybody, at the most talkative level.
#[derive(Clone, Default)]
struct Logged(Arc<Mutex<Vec<u8>>>);

impl io::Write for Logged {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn what_is_secret_stays_where_it_belongs() {
    let logged = Logged::default();
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
    let mut told = String::new();
    for path in ["/v1/chat/completions", "/v1/messages", "/v1/embeddings"] {
        let answer = client()
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
        assert_eq!(answer.status(), if is_served { 200 } else { 404 }, "{path}");
        told += &format!("{:?}", answer.headers());
        let text = answer.text().await.unwrap();
        assert_eq!(text.contains("the-answer"), is_served);
        told += &text;
    }
    for path in ["/", "/signals", "/v1/models", "/healthz"] {
        told += &client().get(url(&gateway, path)).send().await.unwrap().text().await.unwrap();
    }
    gateway.stop().await;

    for (provider, ours, theirs) in [
        (&openai, ("authorization", format!("Bearer {KEY}")), "x-api-key"),
        (&anthropic, ("x-api-key", KEY.into()), "authorization"),
    ] {
        for asked in provider.log().requests() {
            assert_eq!(asked.headers[ours.0], *ours.1);
            assert!(!asked.headers.contains_key(theirs));
            assert!(!asked.headers.contains_key("accept-encoding"));
            assert!(!format!("{:?} {}", asked.headers, asked.path).contains("the-callers-key"));
        }
        assert_eq!(provider.log().calls(), 2);
    }
    assert_eq!(anthropic.log().last().unwrap().headers["anthropic-version"], "2023-06-01");

    assert!(!told.contains(KEY) && !told.contains("the-callers-key"));
    let logged = String::from_utf8(logged.0.lock().unwrap().clone()).unwrap();
    assert!(logged.contains("answered"));
    for secret in [KEY, "the-callers-key", "the-prompt", "the-answer"] {
        let line = logged.lines().find(|line| line.contains(secret));
        assert_eq!(line, None, "{secret}");
    }
}
