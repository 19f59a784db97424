//! Groups of targets in a chain, and providers with several keys.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::time::{Duration, Instant};

use crate::support::*;
use reqwest::Response;
use serde_json::{Value, json};
use tidegate_gateway::{Config, Gateway, RunningGateway};
use tidegate_testkit::{Provider, Reply, Server};

const REQUEST: &str = r#"{"model":"any","messages":[{"role":"user","content":"hello"}]}"#;

async fn start(provider: Provider) -> Server {
    provider.start().await.unwrap()
}

async fn healthy() -> Server {
    start(Provider::openai().otherwise(Reply::ok())).await
}

/// Two deployments `a/m` and `b/m` and a hosted model `c/m`, with this chain.
async fn with_chain(servers: [&Server; 3], chain: &str) -> RunningGateway {
    let providers: String =
        std::iter::zip(["a", "b", "c"], servers).map(|(name, it)| openai(name, &it.base_url())).collect();
    gateway(&format!("{providers}[[routes]]\npath = \"/v1/chat/completions\"\nchain = {chain}\n")).await
}

async fn send(gateway: &RunningGateway) -> Response {
    chat(gateway, REQUEST).send().await.unwrap()
}

fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    response.headers().get(name).map_or("", |value| value.to_str().unwrap())
}

async fn get(gateway: &RunningGateway, path: &str) -> Value {
    json(client().get(url(gateway, path)).send().await.unwrap()).await
}

/// The membership of each target in its groups, from `/signals`.
async fn memberships(gateway: &RunningGateway) -> Vec<Value> {
    let targets = get(gateway, "/signals").await;
    let groups = targets.as_array().unwrap().iter().filter_map(|target| target["groups"].as_array());
    groups.flatten().cloned().collect()
}

#[tokio::test]
async fn calls_are_spread_over_the_members_and_a_dead_one_costs_no_call() {
    let servers = [healthy().await, healthy().await, healthy().await];
    let gateway = with_chain(servers.each_ref(), r#"[["a/m", "b/m"], "c/m"]"#).await;
    let mut targets = BTreeSet::new();
    for _ in 0..20 {
        let response = send(&gateway).await;
        assert_eq!((response.status().as_u16(), header(&response, "x-tidegate-fallback")), (200, ""));
        targets.insert(header(&response, "x-tidegate-target").to_owned());
    }
    assert!(targets.into_iter().eq(["a/m", "b/m"]));
    servers[0].script().otherwise(Reply::status(500));
    let (before, begun) = (servers[0].log().calls(), Instant::now());
    for _ in 0..20 {
        let response = send(&gateway).await;
        assert_eq!((response.status().as_u16(), header(&response, "x-tidegate-target")), (200, "b/m"));
    }
    let attempts = servers[0].log().calls() - before;
    // A busy machine may take longer than the cooldown of a second.
    let cooldowns = usize::try_from(begun.elapsed().as_secs()).unwrap();
    assert!((1..=1 + cooldowns).contains(&attempts), "{attempts} attempts, then it is left out");
    let groups = memberships(&gateway).await;
    assert_eq!(groups.len(), 2);
    assert_eq!((&groups[0]["group"], &groups[0]["target"]), (&json!("a/m|b/m"), &json!("a/m")));
    assert_eq!(
        (&groups[0]["failures"], &groups[1]["choices"]["after_failure"]),
        (&json!(attempts), &json!(attempts))
    );
    // When all members have failed, the chain goes on.
    servers[1].script().otherwise(Reply::status(500));
    let response = send(&gateway).await;
    assert_eq!(response.status(), 200);
    let headers = ["x-tidegate-target", "x-tidegate-fallback"].map(|name| header(&response, name));
    assert_eq!(headers, ["c/m", "alternative_model"]);
    let calls = get(&gateway, "/calls?limit=1").await;
    let id = calls[0]["id"].as_str().unwrap();
    let call = get(&gateway, &format!("/calls/{id}")).await;
    let steps = call["trail"]["steps"].as_array().unwrap();
    let chosen = steps.iter().filter(|step| step["verdict"] == "chosen");
    let chosen: Vec<_> = chosen.map(|step| (&step["group"], &step["target"])).collect();
    assert!(!chosen.is_empty() && chosen.iter().all(|(group, _)| **group == json!("a/m|b/m")), "{call}");
}

#[tokio::test]
async fn a_group_can_be_the_next_target_and_has_a_name_and_weights() {
    let servers = [healthy().await, healthy().await, healthy().await];
    servers[2].script().otherwise(Reply::status(503));
    let chain = r#"["c/m", { name = "own", members = [{ target = "a/m", weight = 1000 }, { target = "b/m", weight = 0.001 }] }, "@emergency"]"#;
    let gateway = with_chain(servers.each_ref(), chain).await;
    for _ in 0..10 {
        let response = send(&gateway).await;
        assert_eq!((response.status().as_u16(), header(&response, "x-tidegate-target")), (200, "a/m"));
        assert_eq!(header(&response, "x-tidegate-fallback"), "alternative_model");
    }
    let groups = memberships(&gateway).await;
    assert!(groups.iter().all(|group| group["group"] == "own"), "{groups:?}");
    assert_eq!(groups[0]["weight"], 1000.0);
}

#[tokio::test]
async fn conversations_stay_with_a_member_by_header_or_by_their_first_messages() {
    for affinity in ["header:x-conversation", "messages"] {
        let servers = [healthy().await, healthy().await, healthy().await];
        let chain = format!(r#"[{{ members = ["a/m", "b/m", "c/m"], affinity = "{affinity}" }}]"#);
        let gateway = with_chain(servers.each_ref(), &chain).await;
        let mut used = BTreeSet::new();
        for conversation in 0..12 {
            let mut members = BTreeSet::new();
            for turn in 0..4 {
                let more = r#",{"role":"user","content":"and?"}"#.repeat(turn);
                let (header_value, text) = match affinity {
                    "messages" => (turn, conversation.to_string()),
                    _ => (conversation, turn.to_string()),
                };
                let body =
                    format!(r#"{{"model":"x","messages":[{{"role":"user","content":"{text}"}}{more}]}}"#);
                let request = chat(&gateway, body).header("x-conversation", header_value.to_string());
                members.insert(header(&request.send().await.unwrap(), "x-tidegate-target").to_owned());
            }
            assert_eq!(members.len(), 1, "{affinity}: {members:?}");
            used.extend(members);
        }
        assert!(used.len() > 1, "{affinity}: all conversations are at {used:?}");
        let kept: u64 =
            memberships(&gateway).await.iter().map(|it| it["choices"]["by_affinity"].as_u64().unwrap()).sum();
        assert_eq!(kept, 48, "{affinity}");
    }
}

const GOOD_KEY: &str = "sk-a-good-key-of-the-provider";
const BAD_KEY: &str = "sk-a-revoked-key-of-the-provider";

fn keys(variable: &str) -> Option<OsString> {
    match variable {
        "GOOD" => Some(GOOD_KEY.into()),
        "BAD" => Some(BAD_KEY.into()),
        "SAME" => Some(GOOD_KEY.into()),
        _ => None,
    }
}

fn with_keys(base_url: &str, keys: &str) -> String {
    format!(
        "providers.p = {{ base_url = \"{base_url}\", dialect = \"openai\", api_keys_env = {keys} }}\n{}",
        route("*", &["p/m"])
    )
}

#[tokio::test]
async fn a_key_that_is_invalid_is_left_out_alone() {
    let server = start(Provider::openai().api_key(GOOD_KEY).otherwise(Reply::ok())).await;
    let file = with_keys(&server.base_url(), r#"["BAD", "GOOD"]"#);
    let mut config = Config::parse(&file, keys).unwrap();
    config.listen = "127.0.0.1:0".parse().unwrap();
    config.notice = Duration::ZERO;
    let explained = config.explain();
    for line in
        ["  group p/m, 2 members", "    p/m#1, weight 1, called in the dialect openai", "    p/m#2, weight 1"]
    {
        assert!(explained.contains(line), "{explained}");
    }
    let gateway = Gateway::new(config).unwrap().bind().await.unwrap();
    for _ in 0..30 {
        let response = send(&gateway).await;
        assert_eq!((response.status().as_u16(), header(&response, "x-tidegate-target")), (200, "p/m#2"));
    }
    let unauthorized = server.log().responses_with_status(401);
    assert_eq!((unauthorized, server.log().calls()), (1, 31), "the key was tried once");
    let groups = memberships(&gateway).await;
    assert_eq!((&groups[0]["group"], &groups[0]["target"]), (&json!("p/m"), &json!("p/m#1")));
    assert!(groups[0]["cooldown_remaining_ms"].as_u64().unwrap() > 50_000, "{groups:?}");
    // Each key has gates of its own, which are changed by their name.
    let reset = client().post(url(&gateway, "/signals/p/m%231/reset")).send().await.unwrap();
    let status = reset.status().as_u16();
    let targets = json(reset).await;
    assert_eq!((status, &targets[0]["target"]), (200, &json!("p/m#1")));
    assert_eq!(targets[0]["groups"][0]["cooldown_remaining_ms"], Value::Null, "a reset brings it back");
    for path in ["/signals", "/calls", "/metrics"] {
        let page = client().get(url(&gateway, path)).send().await.unwrap().text().await.unwrap();
        assert!(!page.contains("sk-a-"), "{path} has a key");
    }
}

#[test]
fn mistakes_are_named_with_their_keys() {
    let file = |keys: &str, chain: &str| {
        format!(
            "providers.p = {{ base_url = \"https://p.test/v1\", dialect = \"openai\"{keys} }}\n\
             [[routes]]\npath = \"/v1/chat/completions\"\nchain = {chain}\n"
        )
    };
    for (keys_of_provider, chain, expected) in [
        (", api_keys_env = []", r#"["p/m"]"#, "providers.p.api_keys_env: expected at least one variable"),
        (", api_keys_env = [\"GOOD\", \"NO\"]", r#"["p/m"]"#, "providers.p.api_keys_env[1]: NO is not set"),
        (
            ", api_keys_env = [\"GOOD\", \"SAME\"]",
            r#"["p/m"]"#,
            "providers.p.api_keys_env[1]: has the same key as another variable",
        ),
        (
            ", api_key_env = \"GOOD\", api_keys_env = [\"BAD\"]",
            r#"["p/m"]"#,
            "providers.p.api_keys_env: expected only one of api_key_env, api_keys_env and api_key_file",
        ),
        (", api_keys_evn = [\"GOOD\"]", r#"["p/m"]"#, "did you mean `api_keys_env`?"),
        ("", "[[]]", "routes[0].chain[0]: expected from 1 to 64 members, found 0"),
        ("", r#"[["p/m", "p/m"]]"#, "routes[0].chain[0][1]: `p/m` is in the group already"),
        ("", r#"[["p/m"], "p/m"]"#, "routes[0].chain[1]: `p/m` is in the chain already"),
        ("", r#"[["p/m", "@cached"]]"#, "routes[0].chain[0][1]: expected \"provider/model\""),
        ("", r#"[["p/m", "q/m"]]"#, "routes[0].chain[0][1]: unknown provider `q`"),
        ("", r#"["@cached", ["p/m"]]"#, "routes[0].chain[0]: expected a \"provider/model\" before `@cached`"),
        ("", r#"[3]"#, "routes[0].chain[0]"),
        ("", r#"[[3]]"#, "a \"provider/model\", or a table with target and weight"),
        (
            "",
            r#"[{ members = [{ target = "p/m", weight = 0 }] }]"#,
            "routes[0].chain[0].members[0].weight: expected a number from 0.001 to 1000, found 0",
        ),
        ("", r#"[{ members = [{ target = "p/m", wieght = 1 }] }]"#, "did you mean `weight`?"),
        ("", r#"[{ member = ["p/m"] }]"#, "did you mean `members`?"),
        (
            "",
            r#"[{ members = ["p/m"], affinity = "model" }]"#,
            "\"header:<name>\", \"tenant\" or \"messages\"",
        ),
        (
            "",
            r#"[{ members = ["p/m"], name = "@a" }]"#,
            "routes[0].chain[0].name: expected a name of visible ASCII",
        ),
    ] {
        let error = Config::parse(&file(keys_of_provider, chain), keys).unwrap_err().to_string();
        assert!(error.contains(expected), "{chain}: {error}");
        assert!(!error.contains("sk-a-"), "{error}");
    }
}

/// Regression: such a group was rejected later, without the name of its route.
#[test]
fn a_member_for_each_key_counts() {
    let key = |variable: &str| variable.strip_prefix("KEY").map(|number| format!("sk-{number}").into());
    for (keys, chain, problem) in [
        (2, r#"["p/0"]"#.to_owned(), None),
        (64, r#"["p/0"]"#.to_owned(), None),
        (65, r#"["p/0"]"#.to_owned(), Some("chain[0]: expected from 1 to 64 members, found 65")),
        (2, format!("[{:?}]", targets(32)), None),
        (2, format!("[{:?}]", targets(33)), Some("chain[0]: expected from 1 to 64 members, found 66")),
        (1, format!("[{:?}]", targets(65)), Some("chain[0]: expected from 1 to 64 members, found 65")),
        (
            3,
            format!("[\"p/m\", {{ members = {:?} }}]", targets(22)),
            Some("chain[1].members: expected from 1 to 64 members, found 66, one for each key"),
        ),
    ] {
        let keys: Vec<_> = (0..keys).map(|number| format!("KEY{number}")).collect();
        let file = format!(
            "providers.p = {{ base_url = \"https://p.test/v1\", dialect = \"openai\", api_keys_env = {keys:?} }}\n\
             [[routes]]\npath = \"/v1/chat/completions\"\nchain = {chain}\n"
        );
        match (Config::parse(&file, key), problem) {
            (Ok(config), None) => assert!(Gateway::new(config).is_ok(), "{chain}"),
            (Err(error), Some(problem)) => {
                let error = error.to_string();
                assert!(error.contains(&format!("routes[0].{problem}")), "{error}");
            }
            (config, _) => panic!("{chain}: {:?}", config.map(drop)),
        }
    }
}

fn targets(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("p/{number}")).collect()
}

#[tokio::test]
async fn the_page_has_the_groups() {
    let servers = [healthy().await, healthy().await, healthy().await];
    let gateway = with_chain(servers.each_ref(), r#"[["a/m", "b/m"], "c/m"]"#).await;
    send(&gateway).await;
    let mut events = client().get(url(&gateway, "/live")).send().await.unwrap();
    let mut text = String::new();
    while !text.contains(r#""group":"a/m|b/m""#) {
        let chunk = events.chunk().await.unwrap().expect("the page has no groups");
        text.push_str(std::str::from_utf8(&chunk).unwrap());
        assert!(text.len() < 1_000_000, "{text}");
    }
}
