//! What a provider has reported about an account, after a change of the keys.
#![cfg(unix)]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::time::{Duration, Instant};

use crate::support::process::TempFile;
use crate::support::*;
use serde_json::Value;
use tidegate_gateway::{Config, Gateway, RunningGateway};
use tidegate_testkit::{Provider, RedisServer, Reply, Server};

const BODY: &str = r#"{"model":"any","messages":[]}"#;

/// No wait may be longer.
const BOUND: Duration = Duration::from_secs(10);

const POLICY: &str = "rate_limiter = { max_wait = \"1s\" }, circuit_breaker = {}";

/// Each key is in the variable of its name.
fn config(file: &str) -> Config {
    let key = |variable: &str| ["K1", "K2", "K3"].contains(&variable).then(|| OsString::from(variable));
    let mut config = Config::parse(file, key).unwrap();
    config.listen = "127.0.0.1:0".parse().unwrap();
    config.notice = Duration::ZERO;
    config
}

async fn start(file: &str) -> RunningGateway {
    Gateway::new(config(file)).unwrap().bind().await.unwrap()
}

/// A provider at `server` with these settings of its keys.
fn file(server: &Server, keys: &str, policy: &str) -> String {
    let base_url = server.base_url();
    format!("providers.a = {{ base_url = {base_url:?}, dialect = \"openai\", {keys} }}\n")
        + &format!("policies.default = {{ {policy} }}\n")
        + &route("*", &["a/m"])
}

/// A provider that limits the account of the key `K1`.
async fn limiting() -> Server {
    let provider = Provider::openai().otherwise_with(|request| match &request.headers["authorization"] {
        key if key == "Bearer K1" => Reply::error(429, "rate_limit_exceeded").header("retry-after", "3600"),
        _ => Reply::ok(),
    });
    provider.start().await.unwrap()
}

/// The statuses of so many calls.
async fn call(gateway: &RunningGateway, calls: usize) -> Vec<u16> {
    let mut statuses = Vec::new();
    for _ in 0..calls {
        statuses.push(chat(gateway, BODY).send().await.unwrap().status().as_u16());
    }
    statuses
}

/// A field of the signals of each target that has it.
async fn signals(gateway: &RunningGateway, field: &str) -> BTreeMap<String, Value> {
    let targets = json(client().get(url(gateway, "/signals")).send().await.unwrap()).await;
    let targets = targets.as_array().unwrap().iter().filter(|it| !it[field].is_null());
    targets.map(|it| (it["target"].as_str().unwrap().to_owned(), it[field].clone())).collect()
}

async fn closed(gateway: &RunningGateway) -> Vec<String> {
    signals(gateway, "rate_closed_ms").await.into_keys().collect()
}

/// Calls until the gate of a target is closed.
async fn close(gateway: &RunningGateway) {
    let begun = Instant::now();
    while closed(gateway).await.is_empty() {
        assert!(begun.elapsed() < BOUND, "no gate is closed");
        call(gateway, 1).await;
    }
}

fn calls_of(server: &Server, key: &str) -> usize {
    let header = format!("Bearer {key}");
    server.log().requests().iter().filter(|it| it.headers["authorization"] == *header).count()
}

/// Regression: the closed gate of a key was that of the next key with its number.
#[tokio::test]
async fn a_closed_gate_is_that_of_the_key_that_the_provider_has_limited() {
    const LIMITED: u16 = 429;
    let keys = |keys: &[&str]| format!("api_keys_env = {keys:?}");
    let one = |key: &str| format!("api_key_env = {key:?}");
    let changes = [
        (keys(&["K1", "K2"]), keys(&["K2", "K1"]), vec!["a/m#2"], 200),
        (keys(&["K1", "K2", "K3"]), keys(&["K2", "K3"]), vec![], 200),
        (keys(&["K1", "K2", "K3"]), keys(&["K3", "K1"]), vec!["a/m#2"], 200),
        (keys(&["K1", "K2"]), keys(&["K3", "K2"]), vec![], 200),
        (keys(&["K1", "K2"]), keys(&["K3", "K1", "K2"]), vec!["a/m#2"], 200),
        (keys(&["K2", "K1"]), one("K2"), vec![], 200),
        (keys(&["K2", "K1"]), one("K1"), vec!["a/m"], LIMITED),
        (one("K1"), keys(&["K1", "K2"]), vec!["a/m#1"], 200),
        (one("K1"), keys(&["K2", "K1"]), vec!["a/m#2"], 200),
        (one("K1"), one("K2"), vec![], 200),
        (one("K1"), one("K1"), vec!["a/m"], LIMITED),
    ];
    for quota in ["", "requests_per_minute = 600, "] {
        let policy = POLICY.replace("{ max_wait", &format!("{{ {quota}max_wait"));
        for (before, after, still_closed, expected) in &changes {
            let server = limiting().await;
            let gateway = start(&file(&server, before, &policy)).await;
            close(&gateway).await;
            let limited = calls_of(&server, "K1");
            gateway.reload(config(&file(&server, after, &policy))).unwrap();
            let change = format!("{quota}{before} to {after}");
            assert_eq!(closed(&gateway).await, *still_closed, "{change}");
            assert_eq!(call(&gateway, 6).await, [*expected; 6], "{change}");
            assert_eq!(closed(&gateway).await, *still_closed, "{change}");
            assert_eq!(calls_of(&server, "K1"), limited, "{change}");
        }
    }
}

#[tokio::test]
async fn a_closed_gate_opens_for_another_server_and_for_a_new_key_in_the_same_file() {
    let (server, other) =
        (limiting().await, Provider::openai().otherwise(Reply::ok()).start().await.unwrap());
    let key = TempFile::new("limited-key", "K1");
    let in_file = format!("api_key_file = {:?}", key.path());
    let gateway = start(&file(&server, &in_file, POLICY)).await;
    close(&gateway).await;
    gateway.reload(config(&file(&server, &in_file, &format!("{POLICY}, retry = {{}}")))).unwrap();
    assert_eq!((closed(&gateway).await, call(&gateway, 1).await), (vec!["a/m".to_owned()], vec![429]));
    fs::write(key.path(), "K2").unwrap();
    gateway.reload(config(&file(&server, &in_file, POLICY))).unwrap();
    assert_eq!((closed(&gateway).await.len(), call(&gateway, 2).await), (0, vec![200, 200]));

    fs::write(key.path(), "K1").unwrap();
    gateway.reload(config(&file(&server, &in_file, POLICY))).unwrap();
    close(&gateway).await;
    gateway.reload(config(&file(&other, &in_file, POLICY))).unwrap();
    assert_eq!((closed(&gateway).await.len(), call(&gateway, 2).await), (0, vec![200, 200]));
    assert_eq!(other.log().calls(), 2);
}

/// Regression: a key that was moved in the list had what another one had left of its quota.
#[tokio::test]
async fn the_used_quota_of_a_key_is_that_of_the_key() {
    let server = Provider::openai().otherwise(Reply::ok()).start().await.unwrap();
    let policy = "rate_limiter = { requests_per_day = 9, on_limit = \"reject\" }";
    let keyed = |keys: &[&str]| file(&server, &format!("api_keys_env = {keys:?}"), policy);
    let left = async |gateway: &RunningGateway| signals(gateway, "rate_remaining").await;
    let used = |key: &str| Value::from(9 - calls_of(&server, key));
    let gateway = start(&file(&server, "api_key_env = \"K1\"", policy)).await;
    assert_eq!(call(&gateway, 3).await, [200; 3]);
    for keys in [["K2", "K1"], ["K1", "K2"]] {
        gateway.reload(config(&keyed(&keys))).unwrap();
        assert_eq!(call(&gateway, 2).await, [200; 2]);
        let expected = [("a/m#1".to_owned(), used(keys[0])), ("a/m#2".to_owned(), used(keys[1]))];
        assert_eq!(left(&gateway).await, BTreeMap::from(expected));
    }
}

/// Regression: a gateway that started with a new key, or with the keys in another order, read the closing time
/// of another key from the store.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_gate_is_that_of_the_key_in_the_store_as_well() {
    let Some(redis) = RedisServer::start().await.unwrap() else { return };
    for quota in ["", "requests_per_minute = 600, "] {
        let policy = POLICY.replace("{ max_wait", &format!("{{ {quota}max_wait"));
        let server = limiting().await;
        let store = format!(
            "[store]\nurl = {:?}\nprefix = \"keys-{}\"\ntimeout = \"1s\"\n",
            redis.url(),
            quota.len()
        );
        let with = |keys: &[&str]| file(&server, &format!("api_keys_env = {keys:?}"), &policy) + &store;
        let is_closed = async |gateway: &RunningGateway, expected: &str| {
            let begun = Instant::now();
            while closed(gateway).await != [expected] {
                assert!(begun.elapsed() < BOUND, "{expected}: {:?}", closed(gateway).await);
                assert_eq!(call(gateway, 1).await, [200]);
            }
        };
        let one = start(&with(&["K1", "K2"])).await;
        close(&one).await;
        is_closed(&one, "a/m#1").await;
        let limited = calls_of(&server, "K1");
        for (keys, number) in [(["K1", "K2"], 1), (["K2", "K1"], 2)] {
            let other = start(&with(&keys)).await;
            is_closed(&other, &format!("a/m#{number}")).await;
            other.stop().await;
        }
        // Without a quota, the closing time is read at the first call of a key.
        assert!(calls_of(&server, "K1") <= limited + if quota.is_empty() { 2 } else { 0 }, "{quota}");
        let fresh = start(&with(&["K3", "K2"])).await;
        assert_eq!((call(&fresh, 6).await, closed(&fresh).await.len()), (vec![200; 6], 0));
        for keys in [["K2", "K1"], ["K3", "K2"], ["K3", "K1"]] {
            one.reload(config(&with(&keys))).unwrap();
            assert_eq!(call(&one, 6).await, [200; 6], "{keys:?}");
            match keys.iter().position(|key| *key == "K1") {
                Some(index) => is_closed(&one, &format!("a/m#{}", index + 1)).await,
                None => assert!(closed(&one).await.is_empty()),
            }
        }
        fresh.stop().await;
        one.stop().await;
    }
}
