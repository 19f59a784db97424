//! What is legal and suspicious.

use super::*;

#[test]
fn a_policy_that_no_route_uses_is_a_warning() {
    let warnings = |policies: &str| {
        let file = format!(
            "{policies}\n[providers.p]\nbase_url = \"http://p/v1\"\ndialect = \"openai\"\n\
             [[routes]]\npath = \"/v1/chat/completions\"\nchain = [\"p/m\"]"
        );
        Config::parse(&file, |_| None).unwrap().warnings().to_vec()
    };
    let misspelt = "line 1, column 1: policies.defualt: no route uses it, did you mean `default`?";
    assert_eq!(warnings("[policies.defualt]"), [misspelt]);
    assert_eq!(
        warnings("[policies.default]\n[policies.slow]"),
        ["line 2, column 1: policies.slow: no route uses it"]
    );
    assert!(warnings("[policies.default]").is_empty() && warnings("").is_empty());
}

#[test]
fn a_chain_without_fallback_is_a_warning() {
    let warnings = |policy: &str, chain: &str| {
        let file = format!(
            "[policies.default]\n{policy}\n[providers.p]\nbase_url = \"http://127.0.0.1/v1\"\n\
             dialect = \"openai\"\n[[routes]]\npath = \"/v1/chat/completions\"\nchain = {chain}"
        );
        Config::parse(&file, env).unwrap().warnings().to_vec()
    };
    let (chain, off) = (r#"["p/a", "p/b"]"#, "fallback = { enabled = false }");
    let only_first = "line 8, column 9: routes[0].chain: only the first is called, since \
                      policies.default.fallback.enabled is false";
    // No other target could be called whatever the time.
    for policy in [off.to_owned(), format!("{off}\ntimeout.total = \"300s\"")] {
        let line = 7 + policy.lines().count();
        assert_eq!(warnings(&policy, chain), [only_first.replace("line 8", &format!("line {line}"))]);
    }
    assert!(warnings(off, r#"[["p/a", "p/b"]]"#).is_empty() && warnings("retry = {}", chain).is_empty());
}

/// Regression: no warning, although the second target could never be called if the first did not respond.
#[test]
fn a_chain_whose_first_target_may_use_up_the_time_is_a_warning() {
    let warnings = |policy: &str, chain: &str| {
        let file = format!(
            "[policies.default]\n{policy}\n[providers.p]\nbase_url = \"http://127.0.0.1/v1\"\n\
             dialect = \"openai\"\n[[routes]]\npath = \"/v1/chat/completions\"\nchain = {chain}"
        );
        Config::parse(&file, env).unwrap().warnings().to_vec()
    };
    let chain = r#"["p/a", "p/b"]"#;
    assert_eq!(
        warnings("retry = {}\ntimeout = { total = \"300s\", attempt = \"120s\" }", chain),
        ["line 3, column 21: policies.default.timeout.total: a target that does not respond may use up all \
             of it, with 4 x timeout.attempt, and no other one is called; retry.reserve_for_fallback leaves \
             time for it"]
    );
    for (policy, expected) in [
        ("timeout = { total = \"300s\", attempt = \"100s\" }\nretry = { max_retries = 2 }", 1),
        ("timeout = { total = \"300s\", attempt = \"99s\" }\nretry = { max_retries = 2 }", 0),
        ("timeout = { total = \"300s\", attempt = \"300s\" }", 1),
        ("timeout = { total = \"300s\", attempt = \"100s\" }\nretry = { enabled = false }", 0),
        ("timeout = { total = \"300s\" }\nretry = { reserve_for_fallback = \"60s\" }", 0),
        ("timeout = { attempt = \"300s\" }\nretry = {}", 0),
        ("preset = \"lesson\"", 1),
        ("preset = \"production\"", 0),
    ] {
        assert_eq!(warnings(policy, chain).len(), expected, "{policy}");
        for one_place in [r#"["p/a"]"#, r#"["p/a", "@static"]"#, r#"[["p/a", "p/b"]]"#] {
            assert_eq!(warnings(policy, one_place).len(), 0, "{policy} {one_place}");
        }
    }
}

/// Regression: no warning, although the first target could use up the attempts, and the second was not called.
#[test]
fn attempts_of_a_call_that_no_other_target_gets_are_a_warning() {
    let warnings = |policy: &str, chain: &str| {
        let file = format!(
            "[policies.default]\n{policy}\n[providers.p]\nbase_url = \"http://127.0.0.1/v1\"\n\
             dialect = \"openai\"\n[[routes]]\npath = \"/v1/chat/completions\"\nchain = {chain}"
        );
        Config::parse(&file, env).unwrap().warnings().to_vec()
    };
    let (chain, group, alone) = (r#"["p/a", "p/b"]"#, r#"[["p/a", "p/b"]]"#, r#"["p/a", "@static"]"#);
    assert_eq!(
        warnings("retry = { max_attempts = 3 }", chain),
        ["line 2, column 26: policies.default.retry.max_attempts: a target that fails may use up all of \
             them, with 4, retry.max_retries and the first, and no other one is called"]
    );
    for (policy, expected) in [
        ("retry = { max_attempts = 4 }", [1, 0, 0]),
        ("retry = { max_attempts = 5 }", [0, 0, 0]),
        ("retry = { max_attempts = 1, max_retries = 0 }", [1, 0, 0]),
        ("retry = { max_attempts = 2, enabled = false }", [0, 0, 0]),
        ("retry = {}", [0, 0, 0]),
        ("preset = \"production\"", [0, 0, 0]),
    ] {
        let found = [chain, group, alone].map(|chain| warnings(policy, chain).len());
        assert_eq!(found, expected, "{policy}");
    }
}

#[test]
fn what_is_legal_and_suspicious_in_a_provider_is_a_warning() {
    // Regression: a name that may be a secret was left out of the only place that the warning had.
    let file = r#"
        [providers.used]
        base_url = "http://api.example.com"
        dialect = "openai"
        api_key_env = "ANTHROPIC_API_KEY"
        [providers.gpt4all]
        base_url = "http://gpu-box/v1"
        dialect = "openai"
        api_key_env = "ANTHROPIC_API_KEY"
        [[routes]]
        path = "/v1/chat/completions"
        chain = ["used/m"]
    "#;
    assert_eq!(
        Config::parse(file, env).unwrap().warnings(),
        [
            "line 3, column 20: providers.used.base_url: no version such as /v1 in the path",
            "line 3, column 20: providers.used.base_url: http:// sends the key in plain text, use https://",
            "line 6, column 9: providers.[redacted]: no route uses it",
        ]
    );
    assert!(
        Config::parse(include_str!("../../../example.toml"), |name| (!name.starts_with("OTEL_"))
            .then(|| "7".into()))
        .unwrap()
        .warnings()
        .is_empty()
    );
}

#[test]
fn a_pattern_where_there_are_none_is_a_warning() {
    let file = r#"
        models."gpt-*" = { tools = true }
        [providers.p]
        base_url = "http://gpu-box/v1"
        query = "model={model}"
        dialect = "openai"
        [[routes]]
        path = "/v1/chat/completions"
        model = "gpt-*"
        chain = ["p/m", ["p/a", "p/b-*"]]
        [[routes]]
        path = "/v1/chat/completions"
        model = "*"
        chain = ["p/m"]
    "#;
    assert_eq!(
        Config::parse(file, env).unwrap().warnings(),
        [
            "line 2, column 26: models.gpt-*: `*` in `gpt-*` is no pattern, and taken as it is",
            "line 5, column 17: providers.p.query: {model} is replaced in base_url alone",
            "line 9, column 17: routes[0].model: `*` in `gpt-*` is no pattern, and taken as it is",
            "line 10, column 17: routes[0].chain: `*` in `b-*` is no pattern, and taken as it is",
        ]
    );
}
