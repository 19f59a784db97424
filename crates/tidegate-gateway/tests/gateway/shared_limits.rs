//! Gateways that share their limits through a Redis server.

use std::time::{Duration, Instant};

#[cfg(unix)]
use crate::support::process::GatewayProcess;
use crate::support::*;
use serde_json::Value;
use tidegate_gateway::{Config, Gateway, RunningGateway};
use tidegate_testkit::{Provider, RedisServer, Reply};

const BODY: &str = r#"{"model":"m","messages":[]}"#;

/// No wait may be longer.
const BOUND: Duration = Duration::from_secs(10);

fn file(base_url: &str, store: &str) -> String {
    let policy = "policies.default.rate_limiter = { requests_per_minute = 6, on_limit = \"reject\" }\n";
    let callers = CALLERS.replacen(
        "key_env = \"ANN_KEY\"\n",
        "key_env = \"ANN_KEY\"\nrate_limiter = { requests_per_minute = 2, on_limit = \"reject\" }\n",
        1,
    );
    openai("p", base_url) + policy + "[store]\n" + store + "\n" + &route("*", &["p/m"]) + &callers
}

async fn status(gateway: &RunningGateway, key: &str) -> u16 {
    chat(gateway, BODY).bearer_auth(key).send().await.unwrap().status().as_u16()
}

async fn target(gateway: &RunningGateway) -> Value {
    let response = client().get(url(gateway, "/signals")).bearer_auth(BEN_KEY).send().await.unwrap();
    json(response).await[0].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gateways_share_the_quotas_of_targets_and_callers_and_what_a_provider_closed() {
    let Some(server) = RedisServer::start().await.unwrap() else { return };
    let limited = Reply::error(429, "rate_limit_exceeded").header("retry-after", "30");
    let provider = Provider::openai().then(Reply::ok()).then(Reply::ok()).then(Reply::ok()).then(limited);
    let provider = provider.start().await.unwrap();
    // Patient, so that a busy machine is no outage.
    let file = file(&provider.base_url(), &format!("url = {:?}\ntimeout = \"1s\"", server.url()));
    let (one, other) = (gateway(&file).await, gateway(&file).await);
    assert_eq!((status(&one, ANN_KEY).await, status(&other, ANN_KEY).await), (200, 200));
    // The two calls of the first caller are used up in both.
    assert_eq!((status(&one, ANN_KEY).await, status(&other, ANN_KEY).await), (429, 429));
    assert_eq!((status(&one, BEN_KEY).await, status(&other, BEN_KEY).await), (200, 429));
    // The second gateway has got a 429 with a wait, which holds for the first, too.
    let start = Instant::now();
    while target(&one).await["rate_closed_ms"].is_null() {
        assert!(start.elapsed() < BOUND, "the target stays open");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!((status(&one, BEN_KEY).await, provider.log().calls()), (429, 4));
    let target = target(&one).await;
    assert_eq!(
        (&target["rate_shared"]["available"], &target["rate_shared"]["processes"]),
        (&true.into(), &2.into())
    );
    one.stop().await;
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_starts_and_serves_without_its_server_unless_it_fails_closed() {
    let provider = Provider::openai().otherwise(Reply::ok()).start().await.unwrap();
    let unused = tidegate_testkit::closed_port().unwrap();
    let addr = unused.addr();
    let closed = format!("url = \"redis://user:s3cret@{addr}\"\nprocesses = 2");
    let open = gateway(&file(&provider.base_url(), &closed)).await;
    for expected in [200, 200, 200, 429] {
        assert_eq!(status(&open, BEN_KEY).await, expected);
    }
    assert_eq!(target(&open).await["rate_shared"]["available"], false);
    open.stop().await;
    let config = file(&provider.base_url(), &(closed + "\nmode = \"fail_closed\""));
    let mut config = Config::parse(&config, env).unwrap();
    config.listen = "127.0.0.1:0".parse().unwrap();
    assert!(!format!("{config:?} {}", config.explain()).contains("s3cret"));
    let error = Gateway::new(config).unwrap().bind().await.unwrap_err().to_string();
    assert!(error.contains(&addr.to_string()) && !error.contains("s3cret"), "{error}");
}

/// No gateway has enough calls of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_circuit_opens_by_the_calls_of_all_gateways() {
    let Some(server) = RedisServer::start().await.unwrap() else { return };
    let provider = Provider::openai().otherwise(Reply::error(500, "server_error")).start().await.unwrap();
    let circuit = "failure_rate_threshold = 0.5, minimum_throughput = 6, failure_threshold = 100";
    let file = openai("p", &provider.base_url())
        + &format!("policies.default.circuit_breaker = {{ {circuit}, shared_window = true }}\n")
        + &format!("[store]\nurl = {:?}\ntimeout = \"1s\"\n", server.url())
        + &route("*", &["p/m"])
        + CALLERS;
    let gateways = [gateway(&file).await, gateway(&file).await];
    for _ in 0..3 {
        for gateway in &gateways {
            assert_eq!(status(gateway, BEN_KEY).await, 500);
        }
    }
    for gateway in &gateways {
        let start = Instant::now();
        while target(gateway).await["circuit_state"] != "open" {
            assert!(start.elapsed() < BOUND, "the circuit stays closed");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(target(gateway).await["circuit_window_shared"], true);
        assert_eq!((status(gateway, BEN_KEY).await, provider.log().calls()), (503, 6));
    }
    for gateway in gateways {
        gateway.stop().await;
    }
}

/// Regression: a rotated key inherited the open circuit and the cooldown of the old one from the store.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_learned_about_a_key_ends_with_it_in_the_store_as_well() {
    let Some(server) = RedisServer::start().await.unwrap() else { return };
    let limit = "rate_limiter = { requests_per_minute = 600 }";
    for policy in [limit.to_owned(), format!("{limit}\ncircuit_breaker = {{}}"), "retry = {}".to_owned()] {
        let exhausted = Reply::error(429, "insufficient_quota");
        let provider = Provider::openai().otherwise(exhausted).start().await.unwrap();
        let file = format!(
            "providers.p = {{ base_url = {:?}, dialect = \"openai\", api_keys_env = [\"A\", \"B\"] }}\n\
             [policies.default]\n{policy}\n[store]\nurl = {:?}\nprefix = {:?}\ntimeout = \"1s\"\n{}",
            provider.base_url(),
            server.url(),
            policy.len().to_string(),
            route("*", &["p/m"]),
        );
        let config = |keys: &'static str| {
            let key = move |variable: &str| {
                matches!(variable, "A" | "B").then(|| format!("sk-{keys}-{variable}").into())
            };
            let mut config = Config::parse(&file, key).unwrap();
            config.listen = "127.0.0.1:0".parse().unwrap();
            config.notice = Duration::ZERO;
            config
        };
        let start = async |keys| Gateway::new(config(keys)).unwrap().bind().await.unwrap();
        let (one, other) = (start("old").await, start("old").await);
        let is_left_out = async |gateway: &RunningGateway| {
            let _ = status(gateway, "").await;
            tokio::time::sleep(Duration::from_millis(20)).await;
            let response = client().get(url(gateway, "/signals")).send().await.unwrap();
            let targets = json(response).await;
            let mut targets = targets.as_array().unwrap().iter();
            targets.any(|it| {
                !it["groups"][0]["cooldown_remaining_ms"].is_null() || it["circuit_state"] == "open"
            })
        };
        assert!(is_left_out(&one).await);
        provider.script().otherwise(Reply::ok());
        let begun = Instant::now();
        while !is_left_out(&other).await {
            assert!(begun.elapsed() < BOUND, "{policy}: the gateways share nothing");
        }
        one.reload(config("new")).unwrap();
        for _ in 0..10 {
            assert!(!is_left_out(&one).await, "{policy}");
        }
        assert!(is_left_out(&other).await, "{policy}");
        one.stop().await;
        other.stop().await;
    }
}

/// Regression: a gateway without a store kept the limits of the store that it had before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_limits_of_a_target_are_shared_through_the_store_of_the_latest_configuration() {
    let provider = Provider::openai().otherwise(Reply::ok()).start().await.unwrap();
    let unused = tidegate_testkit::closed_port().unwrap();
    let target_file = |store: &str| {
        let policy =
            "rate_limiter = { requests_per_minute = 6, on_limit = \"reject\" }, circuit_breaker = {}";
        let file = openai("p", &provider.base_url()) + &format!("policies.default = {{ {policy} }}\n");
        file + store + &route("*", &["p/m"]) + CALLERS
    };
    let store = |prefix: &str| {
        format!("[store]\nurl = \"redis://{}\"\nprocesses = 2\nprefix = {prefix:?}\n", unused.addr())
    };
    let stores = ["".to_owned(), store("one"), store("other")];
    for before in &stores {
        for after in stores.iter().filter(|it| *it != before) {
            let gateway = gateway(&target_file(before)).await;
            assert_eq!(target(&gateway).await["rate_shared"].is_null(), before.is_empty());
            for _ in 0..7 {
                status(&gateway, BEN_KEY).await;
            }
            assert_eq!(status(&gateway, BEN_KEY).await, 429);
            gateway.reload(Config::parse(&target_file(after), env).unwrap()).unwrap();
            assert_eq!(target(&gateway).await["rate_shared"].is_null(), after.is_empty());
            assert_eq!(status(&gateway, BEN_KEY).await, 200, "{before:?} to {after:?}");
            gateway.stop().await;
        }
    }
}

/// Regression: with each change of the store a caller could begin as many calls once more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_calls_in_flight_of_a_caller_count_after_a_change_of_the_store() {
    let provider = Provider::openai().otherwise(Reply::ok().tokens(5).stall_after(1)).start().await.unwrap();
    let unused = tidegate_testkit::closed_port().unwrap();
    let caller_file = |store: &str| {
        let limit = "backpressure = { max_inflight = 1, max_queued = 0 }";
        let callers =
            CALLERS.replacen("key_env = \"ANN_KEY\"\n", &format!("key_env = \"ANN_KEY\"\n{limit}\n"), 1);
        openai("p", &provider.base_url()) + store + &route("*", &["p/m"]) + &callers
    };
    let store = |prefix: &str| {
        format!("[store]\nurl = \"redis://{}\"\nprocesses = 2\nprefix = {prefix:?}\n", unused.addr())
    };
    let gateway = gateway(&caller_file("")).await;
    let stream = BODY.replacen('{', "{\"stream\":true,", 1);
    let call = async || chat(&gateway, stream.clone()).bearer_auth(ANN_KEY).send().await.unwrap();
    let first = call().await;
    assert_eq!(first.status(), 200);
    for store in [store("one"), store("other"), String::new()] {
        gateway.reload(Config::parse(&caller_file(&store), env).unwrap()).unwrap();
        assert_eq!(call().await.status(), 429, "{store}");
    }
    drop(first);
}

/// Regression: each gateway hashed the credentials of callers without an entry with a secret of its own, and
/// had a quota for each.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quota_for_each_credential_is_one_of_all_gateways() {
    let Some(server) = RedisServer::start().await.unwrap() else { return };
    let provider = Provider::openai().otherwise(Reply::ok()).start().await.unwrap();
    for key_by in ["credential", "tenant"] {
        let limit = format!("{{ requests_per_minute = 3, on_limit = \"reject\", key_by = {key_by:?} }}");
        let file = openai("p", &provider.base_url())
            + &format!("policies.default.rate_limiter = {limit}\n")
            + &format!("[store]\nurl = {:?}\nprefix = {key_by:?}\ntimeout = \"1s\"\n", server.url())
            + &route("*", &["p/m"]);
        // Each has secrets of its own.
        let gateways = ["one", "other"].map(|name| GatewayProcess::start(&format!("{key_by}-{name}"), &file));
        for key in ["sk-one", "sk-two"] {
            let mut admitted = 0;
            for gateway in gateways.iter().cycle().take(6) {
                let url = gateway.url("/v1/chat/completions");
                let call = client().post(url).header("content-type", "application/json").body(BODY);
                admitted += u32::from(call.bearer_auth(key).send().await.unwrap().status() == 200);
            }
            assert_eq!(admitted, 3, "{key_by} {key}");
        }
    }
}

/// Regression: the refused calls of `ann` used up the quota of a caller with the name `ann/refused`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_limits_of_a_caller_are_apart_from_those_of_another_whatever_its_name() {
    let Some(server) = RedisServer::start().await.unwrap() else { return };
    let provider = Provider::openai().otherwise(Reply::ok()).start().await.unwrap();
    let limit = "rate_limiter = { requests_per_minute = 2, on_limit = \"reject\" }\n";
    let callers = CALLERS.replace("_KEY\"\n", &format!("_KEY\"\n{limit}"));
    let file = openai("p", &provider.base_url())
        + &format!("[store]\nurl = {:?}\ntimeout = \"1s\"\n", server.url())
        + &route("m", &["p/m"])
        + &callers.replace("\"ben\"", "\"ann/refused\"");
    let gateway = gateway(&file).await;
    for _ in 0..4 {
        let refused = chat(&gateway, BODY.replace("\"m\"", "\"unknown\"")).bearer_auth(ANN_KEY);
        assert!(refused.send().await.unwrap().status().is_client_error());
    }
    assert_eq!(status(&gateway, BEN_KEY).await, 200);
}

#[test]
fn a_shared_window_without_a_store_is_a_mistake_with_its_key() {
    let file = openai("p", "http://localhost:1/v1")
        + "policies.default.circuit_breaker = { failure_rate_threshold = 0.5, shared_window = true }\n"
        + &route("*", &["p/m"]);
    let error = Config::parse(&file, env).unwrap_err().to_string();
    assert!(
        error.contains("policies.default.circuit_breaker.shared_window: expected a table [store]"),
        "{error}"
    );
    let file = file.replace("[[routes]]", "[store]\nurl = \"redis://localhost\"\n[[routes]]");
    let explanation = Config::parse(&file, env).unwrap().explain();
    assert!(explanation.contains("shared_window"), "{explanation}");
}
