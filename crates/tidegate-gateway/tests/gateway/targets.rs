//! The health of targets, and their changes by hand.

use crate::support::*;
use reqwest::Method;
use serde_json::{Value, json};
use tidegate_gateway::RunningGateway;
use tidegate_testkit::{Provider, Reply, Server};

const REQUEST: &str = r#"{"model":"any","messages":[{"role":"user","content":"hello"}]}"#;
const BREAKER: &str = "policies.default.circuit_breaker = { failure_threshold = 1, cooldown_seconds = 60 }\n";

async fn provider() -> Server {
    let provider = Provider::openai().then(Reply::status(500)).otherwise(Reply::ok());
    provider.start().await.unwrap()
}

async fn send(gateway: &RunningGateway, method: Method, path: &str) -> (u16, Value) {
    let response = client().request(method, url(gateway, path)).send().await.unwrap();
    (response.status().as_u16(), json(response).await)
}

async fn status(gateway: &RunningGateway) -> u16 {
    chat(gateway, REQUEST).send().await.unwrap().status().as_u16()
}

/// The values of `fields` in the signals of the first target.
async fn signals(gateway: &RunningGateway, fields: &[&str]) -> Value {
    let (_, targets) = send(gateway, Method::GET, "/signals").await;
    fields.iter().map(|field| targets[0][*field].clone()).collect()
}

#[tokio::test]
async fn health_follows_the_circuit_and_a_reset_restores_it() {
    let server = provider().await;
    let gateway =
        gateway(&(BREAKER.to_owned() + &openai("p", &server.base_url()) + &route("*", &["p/a/m"]))).await;
    let fields = ["status", "health_score", "circuit_state"];
    assert_eq!(send(&gateway, Method::GET, "/healthz").await, (200, json!({"status": "ok"})));
    assert_eq!(signals(&gateway, &fields).await, json!(["healthy", 1.0, "closed"]));

    assert_eq!((status(&gateway).await, status(&gateway).await), (500, 503));
    assert_eq!(signals(&gateway, &fields).await, json!(["unhealthy", 0.0, "open"]));
    let degraded = json!({"status": "degraded", "targets": ["p/a/m"]});
    for path in ["/healthz", "/health"] {
        assert_eq!(send(&gateway, Method::GET, path).await, (200, degraded.clone()));
    }
    assert_eq!(send(&gateway, Method::GET, "/readyz").await.0, 200);
    let (_, targets) = send(&gateway, Method::GET, "/signals").await;
    let metrics = &targets[0]["circuit_metrics"];
    let totals = ["total_calls", "total_failures", "total_rejected"].map(|total| &metrics[total]);
    assert_eq!(json!(totals), json!([2, 1, 1]), "{metrics}");

    let (code, changed) = send(&gateway, Method::POST, "/signals/p/a/m/reset").await;
    assert_eq!(
        (code, &changed[0]["status"], &changed[0]["target"]),
        (200, &json!("healthy"), &json!("p/a/m"))
    );
    assert_eq!(send(&gateway, Method::GET, "/healthz").await, (200, json!({"status": "ok"})));
    assert_eq!(status(&gateway).await, 200);
}

#[tokio::test]
async fn most_failures_are_degraded_while_the_circuit_is_closed() {
    let server = provider().await;
    let breaker =
        "policies.default.circuit_breaker = { failure_threshold = 9, failure_rate_threshold = 0.9 }\n";
    let gateway =
        gateway(&(breaker.to_owned() + &openai("p", &server.base_url()) + &route("*", &["p/m"]))).await;
    let fields = ["status", "circuit_state"];
    for (expected, health) in [(500, "degraded"), (200, "healthy")] {
        assert_eq!(status(&gateway).await, expected);
        assert_eq!(signals(&gateway, &fields).await, json!([health, "closed"]));
    }
}

#[tokio::test]
async fn a_circuit_is_forced_open_and_closed_by_hand() {
    let server = provider().await;
    let file = BREAKER.to_owned() + &openai("p", &server.base_url()) + &route("*", &["p/m"]);
    let gateway = gateway(&file).await;
    let (code, changed) = send(&gateway, Method::POST, "/signals/p/m/force-open").await;
    assert_eq!((code, &changed[0]["circuit_state"]), (200, &json!("open")));
    assert_eq!((status(&gateway).await, server.log().calls()), (503, 0));
    let (code, changed) = send(&gateway, Method::POST, "/signals/p%2Fm/force-closed?policy=default").await;
    assert_eq!((code, &changed[0]["circuit_state"]), (200, &json!("closed")));
    // One failure would open it.
    assert_eq!((status(&gateway).await, status(&gateway).await), (500, 200));
}

#[tokio::test]
async fn the_policy_in_the_query_selects_and_mistakes_are_named() {
    let server = provider().await;
    let file = openai("p", &server.base_url())
        + BREAKER
        + &BREAKER.replace("default", "other")
        + &BREAKER.replace("default", "shadow").replace("60 }", "60, shadow = true }")
        + &route("one", &["p/m"])
        + &route("two", &["p/m"])
        + "policy = \"other\"\n"
        + &route("three", &["p/n"])
        + "policy = \"none\"\n"
        + &route("four", &["p/o"])
        + "policy = \"shadow\"\n"
        + "[policies.none]\n";
    let gateway = gateway(&file).await;
    let states = async || -> Vec<Value> {
        let (_, targets) = send(&gateway, Method::GET, "/signals").await;
        let of_m = targets.as_array().unwrap().iter().filter(|target| target["target"] == "p/m");
        of_m.map(|target| json!([target["policy"], target["circuit_state"]])).collect()
    };
    assert_eq!(send(&gateway, Method::POST, "/signals/p/m/force-open?policy=other").await.0, 200);
    assert_eq!(states().await, [json!(["default", "closed"]), json!(["other", "open"])]);
    assert_eq!(send(&gateway, Method::POST, "/signals/p/m/force-open").await.0, 200);
    assert_eq!(states().await, [json!(["default", "open"]), json!(["other", "open"])]);
    assert_eq!(send(&gateway, Method::POST, "/signals/p/n/reset").await.0, 200);

    let action =
        |found: &str| format!("expected reset, force-open or force-closed after the target, found `{found}`");
    let rejects = |policy: &str| format!("policy `{policy}` has no circuit breaker that rejects calls");
    for (path, code, message) in [
        ("/signals/p/m", 404, action("m")),
        ("/signals/p", 404, action("")),
        ("/signals/p/m/Reset", 404, action("Reset")),
        ("/signals/p/none/reset", 404, "no target `p/none`, see /signals".to_owned()),
        ("/signals/p/m/reset?policy=x", 404, "no target `p/m` with the policy `x`, see /signals".to_owned()),
        ("/signals/p/m/reset?Policy=x", 400, "unknown parameter `Policy`, expected policy".to_owned()),
        ("/signals/p/n/force-open", 409, rejects("none")),
        ("/signals/p/n/force-closed", 409, rejects("none")),
        ("/signals/p/o/force-open", 409, rejects("shadow")),
    ] {
        let (found, error) = send(&gateway, Method::POST, path).await;
        assert_eq!((found, &error["error"]["message"]), (code, &json!(message)), "{path}");
        assert_eq!(error["error"]["retryable"], false, "{path}");
    }
    for path in ["/signals?policy=default", "/transitions?limit=1"] {
        let (found, error) = send(&gateway, Method::GET, path).await;
        assert_eq!(found, 400, "{path}");
        assert!(error["error"]["message"].as_str().unwrap().ends_with("`, expected none"), "{error}");
    }
    assert_eq!(send(&gateway, Method::GET, "/signals/p/m/reset").await.0, 405);
    assert_eq!(states().await, [json!(["default", "open"]), json!(["other", "open"])]);
}

#[tokio::test]
async fn changes_need_the_key_of_a_caller_and_are_refused_for_web_pages() {
    let server = provider().await;
    let file = BREAKER.to_owned() + &openai("p", &server.base_url()) + CALLERS + &route("*", &["p/m"]);
    let gateway = gateway(&file).await;
    for action in ["reset", "force-open", "force-closed"] {
        let path = format!("/signals/p/m/{action}");
        assert_eq!(send(&gateway, Method::POST, &path).await.0, 401);
        let of_caller = || client().post(url(&gateway, &path)).bearer_auth(ANN_KEY);
        let of_page = of_caller().header("origin", "https://evil.example").send().await.unwrap();
        assert_eq!(of_page.status(), 403);
        assert_eq!(of_caller().send().await.unwrap().status(), 200);
    }
}

#[tokio::test]
async fn the_keys_of_a_target_are_reported_and_bounded() {
    let server = Provider::openai().otherwise(Reply::ok()).start().await.unwrap();
    let file = BREAKER.replace("60 }", "60, key_by = \"header:x-team\" }")
        + "policies.default.rate_limiter = { requests_per_minute = 100, key_by = \"header:x-team\" }\n"
        + &openai("p", &server.base_url())
        + &route("*", &["p/m"]);
    let gateway = gateway(&file).await;
    for team in 0..30 {
        let response =
            chat(&gateway, REQUEST).header("x-team", format!("the-team-{team}")).send().await.unwrap();
        assert_eq!(response.status(), 200);
    }
    let (_, targets) = send(&gateway, Method::GET, "/signals").await;
    let keys = targets[0]["busiest_keys"].as_array().unwrap();
    assert_eq!((targets[0]["keys"].as_u64(), keys.len()), (Some(30), 20));
    assert_eq!(keys[0]["circuit_state"], "closed");
    assert!(!targets.to_string().contains("the-team"), "{targets}");
}
