//! Routes, their chains and targets.

use super::*;

#[test]
fn a_chain_may_mix_the_dialects_that_can_be_translated() {
    for path in ["/v1/chat/completions", "/v1/messages"] {
        let route = format!(
            "[[routes]]\npath = {path:?}\nchain = [\"openai/gpt-4o\", \"anthropic/claude-sonnet-4-5\"]"
        );
        let config = Config::parse(&format!("{PROVIDERS}{route}"), env).unwrap();
        assert_eq!(config.routes[0].chain.len(), 2);
    }
}

/// Regression: the number of a key was sent to the provider as a part of the model.
#[test]
fn a_key_of_a_provider_is_no_target() {
    let parse = |keys: &str, chain: &str| {
        let file = format!(
            "[providers.p]\nbase_url = \"http://p/v1\"\ndialect = \"openai\"\n{keys}\n\
             [[routes]]\npath = \"/v1/chat/completions\"\nchain = {chain}"
        );
        Config::parse(&file, |variable| ["A", "B"].contains(&variable).then(|| variable.into()))
    };
    let (one, two) = ("api_key_env = \"A\"", "api_keys_env = [\"A\", \"B\"]");
    for (chain, place) in [
        (r#"["p/m#2"]"#, "chain[0]"),
        (r#"[["p/m#2", "p/n"]]"#, "chain[0][0]"),
        (r#"[{ members = [{ target = "p/m#2", weight = 3 }, "p/n"] }]"#, "chain[0].members[0].target"),
    ] {
        let error = parse(two, chain).unwrap_err().to_string();
        let message = format!(
            "routes[0].{place}: key 2 of provider `p` is no target, expected `p/m` for all of its keys; for a \
             weight of its own, a key needs a provider of its own"
        );
        assert!(error.ends_with(&message), "{error}");
    }
    for (keys, target) in [(two, "p/m#3"), (two, "p/m#"), (two, "p/m#02"), (one, "p/m#1")] {
        assert!(parse(keys, &format!("[{target:?}]")).is_ok(), "{target}");
    }
}

#[test]
fn a_target_is_split_at_its_first_slash() {
    let text = format!("{PROVIDERS}{}", ROUTE.replace("openai/gpt-4o", "openai/meta/llama/3"));
    let config = Config::parse(&text, env).unwrap();
    assert_eq!(config.routes[0].chain[0].members[0].target.model, "meta/llama/3");
}

#[test]
fn an_invalid_route_is_rejected() {
    for (from, to, message) in [
        (
            "/v1/chat/completions",
            "/v1/chat/completion",
            "routes[0].path: unknown path `/v1/chat/completion`, did you mean `/v1/chat/completions`?",
        ),
        (
            "\"openai/gpt-4o\"",
            "\"opnai/gpt-4o\"",
            "routes[0].chain[0]: unknown provider `opnai`, did you mean `openai`?",
        ),
        (
            "\"openai/gpt-4o\"",
            "\"openai/gpt-4o\", \"gpt-4o\"",
            "routes[0].chain[1]: expected \"provider/model\" in visible ASCII",
        ),
        (
            "\"openai/gpt-4o\"",
            "\"openai/\"",
            "routes[0].chain[0]: expected \"provider/model\" in visible ASCII",
        ),
        (
            "\"openai/gpt-4o\"",
            "\"openai/gpt 4o\"",
            "routes[0].chain[0]: expected \"provider/model\" in visible ASCII",
        ),
        ("\"openai/gpt-4o\"", "", "routes[0].chain: expected at least one \"provider/model\""),
        (
            "\"openai/gpt-4o\"",
            "\"openai/gpt-4o\", \"openai/gpt-4o\"",
            "routes[0].chain[1]: `openai/gpt-4o` is in the chain already",
        ),
        (
            "\"openai/gpt-4o\"",
            "\"openai/gpt-4o\", \"@statik\"",
            "routes[0].chain[1]: unknown last resort `@statik`, did you mean `@static`?",
        ),
        (
            "\"openai/gpt-4o\"",
            "\"@static\"",
            "routes[0].chain[0]: expected a \"provider/model\" before `@static`",
        ),
        (
            "\"openai/gpt-4o\"",
            "\"openai/gpt-4o\", \"@static\", \"openai/gpt-4\"",
            "routes[0].chain[2]: `openai/gpt-4` comes after the last resort `@static`",
        ),
        (
            "\"openai/gpt-4o\"",
            "\"openai/gpt-4o\", \"@cached\", \"@cached\"",
            "routes[0].chain[2]: `@cached` is in the chain already",
        ),
        (
            "\"openai/gpt-4o\"",
            "\"gemini/gemini-2.5-pro\"",
            "routes[0].chain[0]: provider `gemini` speaks gemini and /v1/chat/completions needs openai, \
             use the provider's OpenAI-compatible base_url with dialect = \"openai\"",
        ),
        (
            "/v1/chat/completions\"\n    chain = [\"openai",
            "/v1/messages\"\n    chain = [\"gemini",
            "routes[0].chain[0]: provider `gemini` speaks gemini and /v1/messages needs anthropic, \
             use the provider's OpenAI-compatible base_url with dialect = \"openai\"",
        ),
        (
            "/v1/chat/completions\"\n    chain = [\"openai",
            "/v1/embeddings\"\n    chain = [\"anthropic",
            "routes[0].chain[0]: provider `anthropic` speaks anthropic and /v1/embeddings needs openai, \
             use the provider's OpenAI-compatible base_url with dialect = \"openai\"",
        ),
        (
            "path ",
            "policy = \"fast\"\npath ",
            "routes[0].policy: unknown policy `fast`, did you mean `default`?",
        ),
        ("path ", "model = \"\"\npath ", "routes[0].model: expected a model, or \"*\" for any"),
        ("path ", "model = \" gpt\"\npath ", "routes[0].model: expected a model, or \"*\" for any"),
        ("path ", "model = \"a\\nb\"\npath ", "routes[0].model: expected a model, or \"*\" for any"),
        (
            "openai/gpt-4o",
            "openai/*",
            "routes[0].chain[0]: expected a model, `*` is not replaced by that of the request",
        ),
    ] {
        assert_eq!(parse_error(&format!("{PROVIDERS}{}", ROUTE.replace(from, to))), message);
    }
    assert_eq!(
        parse_error(&format!("{PROVIDERS}{ROUTE}{ROUTE}")),
        "routes[1]: routes[0] takes /v1/chat/completions for model `*` already"
    );
}

#[test]
fn a_name_is_that_of_one_group_in_all_routes() {
    let file = |first: &str, second: &str| {
        let route = |model: &str, place: &str| {
            format!("[[routes]]\npath = \"/v1/chat/completions\"\nmodel = {model:?}\nchain = [{place}]\n")
        };
        format!("{PROVIDERS}{}{}", route("a", first), route("b", second))
    };
    let group = |members: &str| format!("{{ name = \"openai/gpt\", members = [{members}] }}");
    let two = group(r#""openai/x", "openai/y""#);
    let swapped = group(r#""openai/y", { target = "openai/x", weight = 3 }"#);
    assert!(Config::parse(&file(&two, &swapped), env).is_ok());
    for (other, key) in [
        (group(r#""openai/x", "openai/z""#), "routes[1].chain[0].name"),
        (group(r#""openai/x""#), "routes[1].chain[0].name"),
        ("\"openai/gpt\"".to_owned(), "routes[1].chain[0]"),
    ] {
        let problem = "`openai/gpt` is the name of other members at routes[0].chain[0] already";
        assert_eq!(parse_error(&file(&two, &other)), format!("{key}: {problem}"));
    }
}

/// Regression: `cache_by = "header:x-tidegate-user"` gave one tenant the answers to others, since the header
/// was removed before the key was computed. Some other headers had no effect, or an error about a setting
/// that the file does not have.
#[test]
fn a_header_that_is_never_forwarded_is_no_key() {
    let keys = ["rate_limiter.key_by", "circuit_breaker.key_by", "backpressure.key_by", "fallback.cache_by"];
    let errors = |settings: &str| {
        let config = Config::parse(&format!("{settings}\n{PROVIDERS}{ROUTE}"), env);
        config.err().map(|error| error.mistakes().map(|it| it.key().to_owned()).collect::<Vec<_>>())
    };
    for header in ["authorization", "cookie", "accept-encoding", "content-encoding", "te", "x-tidegate-user"]
    {
        for key in keys {
            let setting = format!("policies.default.{key}");
            assert_eq!(errors(&format!("{setting} = \"header:{header}\"")), Some(vec![setting]), "{header}");
        }
    }
    for key in keys {
        assert_eq!(errors(&format!("policies.default.{key} = \"header:x-team\"")), None, "{key}");
    }
    for part in ["rate_limiter", "backpressure"] {
        let caller = |header| {
            errors(&format!(
                "callers = [{{ name = \"ann\", key_env = \"ANTHROPIC_API_KEY\", {part}.key_by = \"header:{header}\" }}]"
            ))
        };
        assert_eq!(caller("x-tidegate-user"), Some(vec![format!("callers[0].{part}.key_by")]));
        assert_eq!(caller("x-team"), None);
    }
    let timeout = |header: &str| errors(&format!("policies.default.timeout.header = \"{header}\""));
    assert_eq!(timeout("x-tidegate-timeout"), Some(vec!["policies.default.timeout.header".to_owned()]));
    // Regression: every call was rejected, since it has these with another meaning.
    assert_eq!(timeout("host"), Some(vec!["policies.default.timeout.header".to_owned()]));
    assert_eq!(timeout("content-type"), Some(vec!["policies.default.timeout.header".to_owned()]));
    assert_eq!(timeout("x-request-timeout-ms"), None);
    let affinity = |header: &str| {
        let route = format!(
            "[[routes]]\npath = \"/v1/embeddings\"\n\
             chain = [{{ members = [\"openai/a\", \"openai/b\"], affinity = \"header:{header}\" }}]\n"
        );
        let error = Config::parse(&format!("{PROVIDERS}{ROUTE}{route}"), env).err();
        error.map(|error| error.mistakes().map(|it| it.key().to_owned()).collect::<Vec<_>>())
    };
    assert_eq!(affinity("x-tidegate-user"), Some(vec!["routes[1].chain[0].affinity".to_owned()]));
    assert_eq!(affinity("x-conversation"), None);
}

/// Regression: one caller got the answers of all others.
#[test]
fn a_key_that_callers_have_in_common_is_one_of_a_shared_cache_alone() {
    let key = |key: &str, cache: &str| {
        let file = format!("policies.default.fallback.cache_by = \"{key}\"\n{cache}\n{PROVIDERS}{ROUTE}");
        let error = Config::parse(&file, env).err();
        error.map(|error| error.mistakes().map(|it| it.key().to_owned()).collect::<Vec<_>>())
    };
    for (name, is_common) in [
        ("model", true),
        ("path", true),
        ("host", true),
        ("tenant", false),
        ("caller", false),
        ("credential", false),
        ("header:x-team", false),
    ] {
        let mistake = vec!["policies.default.fallback.cache_by".to_owned()];
        for cache in ["", "cache.shared = false", "cache.max_bytes = 1"] {
            assert_eq!(key(name, cache), is_common.then_some(mistake.clone()), "{name} {cache}");
        }
        assert_eq!(key(name, "cache.shared = true"), None, "{name}");
    }
}
