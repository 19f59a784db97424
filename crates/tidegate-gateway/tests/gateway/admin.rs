//! The pages for operators, and the key that they need.

use crate::support::*;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use tidegate_gateway::RunningGateway;
use tidegate_testkit::{Provider, Reply};

/// The pages, each with its method.
const PAGES: [(&str, &str); 8] = [
    ("GET", "/"),
    ("GET", "/signals"),
    ("POST", "/signals/p/m/reset"),
    ("GET", "/calls"),
    ("GET", "/calls/none"),
    ("GET", "/metrics"),
    ("GET", "/live"),
    ("GET", "//signals/"),
];

/// The configuration lines of a provider that nothing answers for, and its route.
fn routes() -> String {
    openai("p", "http://127.0.0.1:1/v1") + &route("*", &["p/m"])
}

async fn send(gateway: &RunningGateway, method: &str, path: &str, key: Option<&str>) -> reqwest::Response {
    let url = format!("http://127.0.0.1:{}{path}", gateway.addr().port());
    let request = client().request(method.parse().unwrap(), url);
    let request = key.into_iter().fold(request, |request, key| request.header("authorization", key));
    request.send().await.unwrap()
}

fn bearer(key: &str) -> String {
    format!("Bearer {key}")
}

fn basic(pair: &str) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(pair))
}

/// Checks that none of these values of `authorization` opens a page, and that the admin key does.
async fn check_needs_admin_key(gateway: &RunningGateway) {
    for (method, path) in PAGES {
        for (key, problem) in [
            (None, "admin key is missing"),
            (Some(bearer(ANN_KEY)), "key is not the admin key"),
            (Some(bearer(&ADMIN_KEY[1..])), "key is not the admin key"),
            (Some(basic(&format!("{ADMIN_KEY}:ann"))), "key is not the admin key"),
            (Some(format!("Basic {ADMIN_KEY}")), "admin key is missing"),
        ] {
            let response = send(gateway, method, path, key.as_deref()).await;
            assert_eq!(response.status(), 401, "{path} {key:?}");
            let prompt = response.headers()["www-authenticate"].to_str().unwrap().to_owned();
            assert!(prompt.starts_with("Basic realm="), "{prompt}");
            let text = response.text().await.unwrap();
            assert!(text.contains(problem) && !text.contains("p/m"), "{path} {key:?}: {text}");
        }
        for key in [bearer(ADMIN_KEY), basic(&format!(":{ADMIN_KEY}")), basic(&format!("me:{ADMIN_KEY}"))] {
            let status = send(gateway, method, path, Some(&key)).await.status().as_u16();
            // This gateway serves no metrics, and not every path.
            assert!(matches!(status, 200 | 404), "{path} {key}: {status}");
        }
    }
}

/// Regression: these needed the admin key, or were not found. The base URL of a client has the version, or has
/// not, as another client needs it.
#[tokio::test]
async fn a_caller_reaches_an_api_with_and_without_its_version_in_the_base_url() {
    let provider = Provider::openai().otherwise(Reply::ok()).start().await.unwrap();
    let file = openai("p", &provider.base_url())
        + &route("*", &["p/m"])
        + "[[routes]]\npath = \"/v1/messages\"\nmodel = \"*\"\nchain = [\"p/m\"]\n"
        + CALLERS;
    for file in [file.clone(), ADMIN.to_owned() + &file] {
        let gateway = exposed_gateway(&file).await;
        let request = r#"{"model":"any","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}"#;
        for path in [
            "/chat/completions",
            "/messages",
            "/v1/v1/messages",
            "/v1/v1/chat/completions",
            "/messages/count_tokens",
        ] {
            let url = format!("http://127.0.0.1:{}{path}", gateway.addr().port());
            let request = client().post(url).header("content-type", "application/json").body(request);
            let response = request.try_clone().unwrap().bearer_auth(ANN_KEY).send().await.unwrap();
            assert_eq!(response.status(), 200, "{path}");
            assert_eq!(request.send().await.unwrap().status(), 401, "{path}");
        }
        assert_eq!(send(&gateway, "GET", "/models", Some(&bearer(ANN_KEY))).await.status(), 200);
    }
}

/// Regression: the key of any caller was enough to reset and to close targets, and to read the calls of all
/// others.
#[tokio::test]
async fn where_others_reach_the_gateway_its_pages_need_the_admin_key() {
    let gateway = exposed_gateway(&(ADMIN.to_owned() + &routes() + CALLERS)).await;
    check_needs_admin_key(&gateway).await;
    // It is not the key of a caller.
    assert_eq!(send(&gateway, "GET", "/v1/models", Some(&bearer(ADMIN_KEY))).await.status(), 401);
    assert_eq!(send(&gateway, "GET", "/v1/models", Some(&bearer(ANN_KEY))).await.status(), 200);
}

#[tokio::test]
async fn on_loopback_the_pages_need_the_admin_key_if_there_is_one() {
    check_needs_admin_key(&gateway(&(ADMIN.to_owned() + &routes() + CALLERS)).await).await;
    let open = gateway(&(ADMIN.to_owned() + &routes())).await;
    check_needs_admin_key(&open).await;
    assert_eq!(send(&open, "GET", "/v1/models", None).await.status(), 200);
}

#[tokio::test]
async fn without_an_admin_key_the_pages_are_open_on_loopback_only() {
    for file in [routes(), routes() + CALLERS] {
        let gateway = gateway(&file).await;
        let key = file.contains("callers").then(|| bearer(ANN_KEY));
        for (method, path) in [("GET", "/"), ("GET", "/signals"), ("POST", "/signals/p/m/reset")] {
            assert_eq!(send(&gateway, method, path, key.as_deref()).await.status(), 200, "{path}");
        }
        assert_eq!(send(&gateway, "GET", "/signals", None).await.status() == 401, key.is_some());
    }
    for file in ["open = true\n".to_owned() + &routes(), routes() + CALLERS] {
        let gateway = exposed_gateway(&file).await;
        for (method, path) in PAGES {
            for key in [None, Some(bearer(ANN_KEY)), Some(bearer(ADMIN_KEY)), Some(bearer(""))] {
                let response = send(&gateway, method, path, key.as_deref()).await;
                assert_eq!(response.status(), 403, "{path} {key:?}");
                let text = response.text().await.unwrap();
                assert!(text.contains("see `[admin]`") && !text.contains("p/m"), "{text}");
            }
        }
    }
}

/// Regression: `/healthz` named the targets without a key, and then on loopback in spite of one.
#[tokio::test]
async fn the_health_names_targets_where_the_pages_are_open_or_with_the_admin_key_only() {
    let provider = Provider::openai().otherwise(Reply::status(500)).start().await.unwrap();
    let file = "policies.default = { circuit_breaker = { failure_threshold = 1, cooldown_seconds = 60 } }\n"
        .to_owned()
        + &openai("p", &provider.base_url())
        + &route("*", &["p/m"]);
    let full = json!({"status": "degraded", "targets": ["p/m"]});
    let short = json!({"status": "degraded"});
    let open = gateway(&file).await;
    let on_loopback = gateway(&(ADMIN.to_owned() + &file)).await;
    let with_key = exposed_gateway(&(ADMIN.to_owned() + "open = true\n" + &file)).await;
    let without_key = exposed_gateway(&("open = true\n".to_owned() + &file)).await;
    for (gateway, anonymous, admin) in [
        (open, &full, &full),
        (on_loopback, &short, &full),
        (with_key, &short, &full),
        (without_key, &short, &short),
    ] {
        let request =
            client().post(format!("http://127.0.0.1:{}/v1/chat/completions", gateway.addr().port()));
        assert_eq!(request.body(r#"{"model":"any"}"#).send().await.unwrap().status(), 500);
        for path in ["/healthz", "/health"] {
            let health =
                async |key: Option<&str>| -> Value { json(send(&gateway, "GET", path, key).await).await };
            assert_eq!(health(None).await, *anonymous);
            assert_eq!(health(Some(&bearer(ANN_KEY))).await, *anonymous);
            assert_eq!(health(Some(&bearer(ADMIN_KEY))).await, *admin);
            assert_eq!(health(Some(&basic(&format!("x:{ADMIN_KEY}")))).await, *admin);
        }
        assert_eq!(json(send(&gateway, "GET", "/readyz", None).await).await, json!({"status": "ready"}));
    }
}
