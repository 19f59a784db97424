//! Seed item 83: alerts about degraded targets.

use std::time::Duration;

use crate::support::*;
use axum::Router;
use axum::routing::post;
use serde_json::{Value, json};
use tidegate_testkit::{Provider, Reply};
use tokio::sync::mpsc;
use tokio::time::timeout;

const REQUEST: &str = r#"{"model":"any","messages":[{"role":"user","content":"hello"}]}"#;

/// A webhook that passes on what is posted to it, with the token.
async fn webhook() -> (String, mpsc::UnboundedReceiver<(String, Value)>) {
    let (sender, received) = mpsc::unbounded_channel();
    let handler = async move |headers: http::HeaderMap, body: String| {
        let token = headers["authorization"].to_str().unwrap().to_owned();
        sender.send((token, serde_json::from_str(&body).unwrap())).unwrap();
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hooks/secret", listener.local_addr().unwrap());
    tokio::spawn(
        async move { axum::serve(listener, Router::new().route("/hooks/secret", post(handler))).await },
    );
    (url, received)
}

#[tokio::test]
async fn an_open_circuit_is_posted_and_its_recovery_too() {
    let provider = Provider::openai().then(Reply::status(500)).otherwise(Reply::ok()).start().await.unwrap();
    let (url, mut received) = webhook().await;
    let thresholds = r#"{ circuit_open = "0s", clear_after = "0s", interval = "20ms", all_targets = false }"#;
    let file = format!(
        "alerts = {{ webhook = {url:?}, webhook_token_env = \"PROVIDER_KEY\", thresholds = {thresholds} }}\n\
         policies.default.circuit_breaker = {{ failure_threshold = 1, cooldown_seconds = 60 }}\n{}{}",
        openai("p", &provider.base_url()),
        route("*", &["p/a/m"]),
    );
    let gateway = gateway(&file).await;
    assert_eq!(chat(&gateway, REQUEST).send().await.unwrap().status(), 500);
    let bound = Duration::from_secs(30);
    let (token, alert) = timeout(bound, received.recv()).await.expect("an alert").unwrap();
    assert_eq!(token, format!("Bearer {KEY}"));
    assert_eq!(
        json!([alert["target"], alert["alert"], alert["state"], alert["text"]]),
        json!(["p/a/m", "circuit_open", "raised", "p/a/m: circuit not closed for 0s"])
    );
    client().post(url_of_reset(&gateway)).send().await.unwrap();
    let (_, alert) = timeout(bound, received.recv()).await.expect("an alert").unwrap();
    assert_eq!((&alert["alert"], &alert["state"]), (&json!("circuit_open"), &json!("cleared")));
}

/// Regression: an alert stayed raised at the receiver for ever.
#[tokio::test]
async fn what_is_raised_is_cleared_at_a_receiver_that_the_file_names_no_more() {
    let bound = Duration::from_secs(30);
    for (is_moved, has_alerts) in [(false, false), (false, true), (true, true)] {
        let provider = Provider::openai().otherwise(Reply::status(500)).start().await.unwrap();
        let (old_url, mut old) = webhook().await;
        let (new_url, mut new) = webhook().await;
        let thresholds = r#"thresholds = { circuit_open = "0s", interval = "20ms", all_targets = false }"#;
        let targets = format!(
            "policies.default.circuit_breaker = {{ failure_threshold = 1, cooldown_seconds = 60 }}\n{}{}",
            openai("p", &provider.base_url()),
            route("*", &["p/a/m"]),
        );
        let with_webhook = |url: &str| {
            format!(
                "alerts = {{ webhook = {url:?}, webhook_token_env = \"PROVIDER_KEY\", {thresholds} }}\n{targets}"
            )
        };
        let gateway = gateway(&with_webhook(&old_url)).await;
        chat(&gateway, REQUEST).send().await.unwrap();
        let (_, alert) = timeout(bound, old.recv()).await.expect("an alert").unwrap();
        assert_eq!(alert["state"], "raised");
        let changed = match (is_moved, has_alerts) {
            (true, _) => with_webhook(&new_url),
            (false, true) => format!("alerts = {{ {thresholds} }}\n{targets}"),
            (false, false) => targets.clone(),
        };
        gateway.reload(tidegate_gateway::Config::parse(&changed, env).unwrap()).unwrap();
        let (_, alert) = timeout(bound, old.recv()).await.expect("its end").unwrap();
        assert_eq!((&alert["alert"], &alert["state"]), (&json!("circuit_open"), &json!("cleared")));
        if is_moved {
            let (_, alert) = timeout(bound, new.recv()).await.expect("an alert").unwrap();
            assert_eq!(alert["state"], "raised");
        }
        gateway.stop().await;
        assert!(old.try_recv().is_err(), "nothing else is posted there");
    }
}

fn url_of_reset(gateway: &tidegate_gateway::RunningGateway) -> String {
    url(gateway, "/signals/p/a/m/reset")
}

/// A webhook that rejects alerts is visible in the health.
#[tokio::test]
async fn lost_alerts_are_counted_in_the_health() {
    let provider = Provider::openai().otherwise(Reply::status(500)).start().await.unwrap();
    let thresholds = r#"{ circuit_open = "0s", interval = "20ms" }"#;
    let targets = openai("p", &provider.base_url()) + &route("*", &["p/a/m"]);
    // The health page of another gateway accepts no posts: its status is final.
    let other = gateway(&targets).await;
    let file = format!(
        "alerts = {{ webhook = {:?}, thresholds = {thresholds} }}\n\
         policies.default.circuit_breaker = {{ failure_threshold = 1 }}\n{targets}",
        url(&other, "/healthz"),
    );
    let gateway = gateway(&file).await;
    chat(&gateway, REQUEST).send().await.unwrap();
    let lost = async {
        loop {
            let health = json(client().get(url(&gateway, "/healthz")).send().await.unwrap()).await;
            if health["lost_alerts"] == 1 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(30), lost).await.expect("a lost alert");
}

/// An alert that waits for the webhook is still posted, and a webhook that hangs delays the stop by a bounded
/// time.
#[tokio::test]
async fn an_alert_that_waits_is_posted_when_the_gateway_stops() {
    let provider = Provider::openai().otherwise(Reply::status(500)).start().await.unwrap();
    let hanging = Provider::openai().otherwise(Reply::hang()).start().await.unwrap();
    let (slow, mut received) = slow_webhook().await;
    for (hook, is_posted) in [(slow, true), (format!("{}/chat/completions", hanging.base_url()), false)] {
        let targets = format!(
            "policies.default.circuit_breaker = {{ failure_threshold = 1, cooldown_seconds = 60 }}\n{}{}{}",
            openai("p", &provider.base_url()),
            route("a", &["p/a"]),
            route("b", &["p/b"]),
        );
        let gateway = gateway(&targets).await;
        for model in ["a", "b"] {
            chat(&gateway, REQUEST.replace("any", model)).send().await.unwrap();
        }
        // Both alerts are raised at the first look at the signals.
        let thresholds = r#"{ circuit_open = "0s", interval = "10ms", all_targets = false }"#;
        let alerts = format!("alerts = {{ webhook = {hook:?}, thresholds = {thresholds} }}\n");
        gateway.reload(tidegate_gateway::Config::parse(&(alerts + &targets), env).unwrap()).unwrap();
        let posts = async {
            match is_posted {
                // The first is being posted, and the second waits.
                true => received.recv().await.unwrap(),
                false => hanging.log().in_flight_is(1).await,
            }
        };
        timeout(Duration::from_secs(30), posts).await.expect("a post");
        let started = std::time::Instant::now();
        gateway.stop().await;
        assert!(started.elapsed() < Duration::from_secs(8), "{:?}", started.elapsed());
        assert_eq!(received.try_recv().is_ok(), is_posted, "the second alert");
    }
}

/// A webhook that takes a while to respond, and passes on that it was called.
async fn slow_webhook() -> (String, mpsc::UnboundedReceiver<()>) {
    let (sender, received) = mpsc::unbounded_channel();
    let handler = async move || {
        sender.send(()).unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/", post(handler))).await });
    (url, received)
}

/// A file that is changed changes the alerts.
#[tokio::test]
async fn alerts_begin_with_a_reload() {
    let provider = Provider::openai().otherwise(Reply::status(500)).start().await.unwrap();
    let (url, mut received) = webhook().await;
    let targets = "policies.default.circuit_breaker = { failure_threshold = 1, cooldown_seconds = 60 }\n"
        .to_owned()
        + &openai("p", &provider.base_url())
        + &route("*", &["p/a/m"])
        + &route("b", &["p/a/m"]);
    let gateway = gateway(&targets).await;
    chat(&gateway, REQUEST).send().await.unwrap();
    let thresholds = r#"{ success_rate = 0, raise_after = "0s", interval = "20ms" }"#;
    let alerts = format!(
        "alerts = {{ webhook = {url:?}, webhook_token_env = \"PROVIDER_KEY\", thresholds = {thresholds} }}\n"
    );
    gateway.reload(tidegate_gateway::Config::parse(&(alerts + &targets), env).unwrap()).unwrap();
    let mut targets = Vec::new();
    for _ in 0..3 {
        let alert = timeout(Duration::from_secs(30), received.recv()).await.expect("an alert").unwrap().1;
        assert_eq!(alert["alert"], "all_targets_cooling");
        targets.push(alert["target"].as_str().unwrap().to_owned());
    }
    targets.sort();
    assert_eq!(targets, ["", "/v1/chat/completions *", "/v1/chat/completions b"]);
}
