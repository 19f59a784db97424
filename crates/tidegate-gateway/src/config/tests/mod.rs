mod callers;
mod durations;
mod example;
mod explain;
mod mistakes;
mod never_printed;
mod providers;
mod routes;
mod warnings;

use super::*;

/// The providers for the routes of the tests.
const PROVIDERS: &str = r#"
    [providers.openai]
    base_url = "https://api.openai.com/v1/"
    dialect  = "openai"
    [providers.anthropic]
    base_url = "https://api.anthropic.com/v1"
    dialect  = "anthropic"
    api_key_env = "ANTHROPIC_API_KEY"
    [providers.gemini]
    base_url = "https://generativelanguage.googleapis.com/v1beta"
    dialect  = "gemini"
"#;

const ROUTE: &str = r#"
    [[routes]]
    path  = "/v1/chat/completions"
    chain = ["openai/gpt-4o"]
"#;

/// A provider without a warning, and its route.
fn local_route() -> &'static str {
    "providers.p = { base_url = \"http://127.0.0.1/v1\", dialect = \"openai\" }\n\
     routes = [{ path = \"/v1/chat/completions\", chain = [\"p/m\"] }]\n"
}

fn env(variable: &str) -> Option<OsString> {
    let value = match variable {
        "ANTHROPIC_API_KEY" => "sk-ant-secret",
        "EMPTY" => "",
        "SPACED" => "sk secret",
        "SPLIT" => "sk-secret\n",
        _ => return None,
    };
    Some(value.into())
}

/// The first mistake of `text`, without its position.
fn parse_error(text: &str) -> String {
    first_mistake(&Config::parse(text, env).expect_err(text))
}

fn first_mistake(error: &GatewayConfigError) -> String {
    let first = error.mistakes().next().unwrap();
    match first.key() {
        "" => first.problem().to_owned(),
        key => format!("{key}: {}", first.problem()),
    }
}

#[test]
fn a_file_is_parsed_with_its_defaults() {
    let config = Config::parse(&format!("{PROVIDERS}{ROUTE}"), env).unwrap();
    assert_eq!(config.listen, "127.0.0.1:8787".parse().unwrap());
    assert_eq!((config.body_limit, config.drain), (32 * 1024 * 1024, Duration::from_secs(10)));
    assert_eq!(config.policies, BTreeMap::from([("default".to_owned(), ResilienceConfig::default())]));
    let [route] = &*config.routes else { panic!("{:?}", config.routes) };
    assert_eq!((&*route.model, &*route.policy), (ANY, "default"));
    let uri = config.providers["openai"].uri(route.endpoint, "m", "", None).unwrap();
    assert_eq!(uri, "https://api.openai.com/v1/chat/completions");
}

#[test]
fn the_environment_overrides_every_policy() {
    let text = format!("{PROVIDERS}{ROUTE}[policies.slow]\nbackpressure = {{ max_inflight = 7 }}");
    let with = |value: &'static str| {
        Config::parse(&text, move |variable| match variable {
            "AI_LIB_MAX_INFLIGHT" => Some(value.into()),
            _ => env(variable),
        })
    };
    for policy in with("3").unwrap().policies.values() {
        assert_eq!(policy.backpressure.as_ref().unwrap().max_inflight, 3);
    }
    assert_eq!(
        with("many").unwrap_err().to_string(),
        "AI_LIB_MAX_INFLIGHT: expected a whole number of at least 1, found \"many\""
    );
}

#[test]
fn a_policy_may_start_from_a_preset() {
    let policy = "[policies.default]\npreset = \"lesson\"\nretry = { base_delay = \"2s\" }\n\
                  backpressure = { key_by = \"tenant\" }";
    let config = Config::parse(&format!("{PROVIDERS}{ROUTE}{policy}"), env).unwrap();
    let policy = &config.policies["default"];
    let retry = policy.retry.as_ref().unwrap();
    assert_eq!((retry.initial_delay, retry.max_delay), (Duration::from_secs(2), Duration::from_secs(60)));
    assert_eq!(policy.circuit_breaker, ResilienceConfig::lesson().circuit_breaker);
    assert_eq!(policy.backpressure.as_ref().unwrap().key_by, Some(tidegate::KeyBy::tenant()));
}

#[test]
fn debug_does_not_show_the_api_key() {
    let config = Config::parse(&format!("{PROVIDERS}{ROUTE}"), env).unwrap();
    assert!(!format!("{config:?}").contains("secret"));
}

#[test]
fn the_limits_of_bodies_and_connections_have_defaults_and_are_checked() {
    let config = Config::parse(&format!("{PROVIDERS}{ROUTE}"), env).unwrap();
    assert_eq!((config.body_budget, config.translated_body_limit), (256 << 20, 8 << 20));
    assert_eq!((config.body_min_rate, config.max_connections), (16 << 10, 4096));
    assert_eq!(config.notice, Duration::from_secs(2));
    let large = Config::parse(&format!("body_limit = 1_000_000_000\n{PROVIDERS}{ROUTE}"), env).unwrap();
    assert_eq!(large.body_budget, 1_000_000_000);
    for (key, error) in [
        ("body_budget = 1", "body_budget: expected at least body_limit, which is 33554432, found 1"),
        ("body_min_rate = 0", "body_min_rate: "),
        ("max_connections = 0", "max_connections: "),
        ("calls_kept = -1", "calls_kept: "),
        ("log = \"xml\"", "log: "),
        ("translated_body_limit = 0", "translated_body_limit: "),
        ("notice = -3", "notice: "),
    ] {
        let found = parse_error(&format!("{key}\n{PROVIDERS}{ROUTE}"));
        assert!(found.starts_with(error), "{found}");
    }
}

#[test]
fn localhost_is_an_address_to_listen_on() {
    for (text, addr) in [
        ("localhost:8790", "127.0.0.1:8790"),
        ("LocalHost:0", "127.0.0.1:0"),
        ("[::1]:8790", "[::1]:8790"),
        ("0.0.0.0:1", "0.0.0.0:1"),
    ] {
        let config = Config::parse(&format!("listen = {text:?}\n{PROVIDERS}{ROUTE}"), env).unwrap();
        assert_eq!(config.listen, addr.parse().unwrap(), "{text}");
    }
    for text in [
        "localhost",
        "localhost:",
        "localhost:x",
        "localhost:70000",
        "localhost:1:2",
        ":80",
        "nowhere:80",
        "",
    ] {
        let expected = "listen: expected an address such as 127.0.0.1:8787";
        assert!(parse_error(&format!("listen = {text:?}\n{PROVIDERS}{ROUTE}")).starts_with(expected));
    }
}
