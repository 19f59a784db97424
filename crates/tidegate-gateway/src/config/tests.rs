use tidegate::provider::{ModelCapabilities, ModelCatalog};

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
fn the_example_file_is_valid() {
    let config = Config::parse(include_str!("../../example.toml"), |name| {
        (!name.starts_with("OTEL_")).then(|| "7".into())
    })
    .unwrap();
    assert_eq!((config.routes.len(), config.providers.len()), (4, 4));
}

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

/// Regression: a chain was checked without a word, and its second target could never be called when the first
/// did not respond.
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
        ("timeout = { total = \"300s\" }\nfallback = { enabled = false }", 0),
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

/// Regression: a policy with the number of attempts of one target was used for a chain without a word, and its
/// second target was not called.
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
        ("retry = { max_attempts = 3 }\nfallback = { enabled = false }", [0, 0, 0]),
        ("retry = {}", [0, 0, 0]),
        ("preset = \"production\"", [0, 0, 0]),
    ] {
        let found = [chain, group, alone].map(|chain| warnings(policy, chain).len());
        assert_eq!(found, expected, "{policy}");
    }
}

/// Regression: a name was suggested as often as there were routes with it.
#[test]
fn a_name_is_suggested_once_however_many_routes_have_it() {
    let routes: String = (0..3)
        .map(|number| {
            format!("[[routes]]\npath = \"/v1/messages\"\nmodel = \"m-{number}\"\nchain = [\"p/m\"]\n")
        })
        .collect();
    let file = format!("providers.p = {{ base_url = \"http://p/v1\", dialect = \"anthropic\" }}\n{routes}");
    let warned = Config::parse(&format!("{file}[policies.slow]"), env).unwrap();
    let warning = "line 14, column 1: policies.slow: no route uses it, expected `default`";
    assert_eq!(warned.warnings(), [warning]);
    let caller = "[[callers]]\nname = \"ann\"\nkey_env = \"ANTHROPIC_API_KEY\"\nroutes = [\"x\"]";
    assert_eq!(
        parse_error(&format!("{file}{caller}")),
        "callers[0].routes[0]: unknown model or path `x`, \
         expected one of `/v1/messages`, `m-0`, `m-1`, `m-2`"
    );
}

/// Regression: each route was compared with all others, several times.
#[test]
fn the_checks_of_routes_take_steps_in_proportion_to_their_number() {
    const NUMBER: usize = 40_000;
    let named = |number: usize| format!("name-{number:05}");
    let route = |number: usize| {
        let target = TargetName {
            name: format!("{0}/{0}", named(number)).into(),
            provider: named(number),
            model: named(number),
        };
        let member = WeightedTarget { target, weight: 1.0 };
        let group = RouteGroup { name: named(number).into(), members: vec![member], affinity: None };
        Route {
            endpoint: crate::endpoint::Endpoint::Messages,
            model: named(number),
            chain: vec![group],
            resorts: Vec::new(),
            policy: named(number),
        }
    };
    let routes: Vec<_> = (0..NUMBER).map(route).collect();
    let indexed: Vec<_> = routes.iter().cloned().enumerate().collect();
    let names: Vec<_> = (0..NUMBER).map(named).collect();
    let providers = names.iter().map(|name| (name.clone(), None)).collect();
    let started = std::time::Instant::now();
    check_distinct(&indexed).unwrap();
    assert_eq!(warnings::of_policies(&names, &routes).count(), 0);
    assert_eq!(warnings::of_providers(&providers, &routes).count(), 0);
    let policies = names.iter().map(|name| (name.clone(), ResilienceConfig::default())).collect();
    assert_eq!(warnings::of_times(&policies, &routes).count(), 0);
    assert_eq!(warnings::of_attempts(&policies, &routes).count(), 0);
    // Seconds for each of them without an index.
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    // The first and the last.
    let repeated =
        [indexed.clone(), vec![(NUMBER, routes[7].clone()), (NUMBER + 1, routes[7].clone())]].concat();
    let error = check_distinct(&repeated).unwrap_err();
    let same = "routes[7] takes /v1/messages for model `name-00007` already";
    assert!(error.mistakes().all(|mistake| mistake.problem() == same), "{error}");
    assert_eq!(error.mistakes().count(), 2);
}

#[test]
fn a_provider_may_have_a_kind_headers_and_a_query() {
    let provider = |keys: &str| {
        let file = format!(
            "[providers.oai]\nbase_url = \"http://p/{{model}}\"\ndialect = \"openai\"\n{keys}\n\
             [[routes]]\npath = \"/v1/chat/completions\"\nchain = [\"oai/gpt 5\"]"
        );
        let config =
            Config::parse(&file.replace("gpt 5", "gpt-5"), |name| (name == "KEY").then(|| "k".into()));
        config
            .map(|config| config.providers["oai"].clone())
            .map_err(|error| format!("{}: {}", error.key(), error.problem()))
    };
    let azure = provider("kind = \"azure\"\nquery = \"api-version=1\"\napi_key_env = \"KEY\"").unwrap();
    assert_eq!(azure.kind_of("oai"), tidegate::providers::Provider::Azure);
    let uri = azure.uri(crate::endpoint::Endpoint::ChatCompletions, "gpt-5", "", Some("a=b")).unwrap();
    assert_eq!(uri, "http://p/gpt-5/chat/completions?api-version=1&a=b");
    assert_eq!(provider("").unwrap().kind_of("oai"), tidegate::providers::Provider::Other);
    assert!(provider("headers = { host = \"virtual\" }").is_ok());
    assert!(provider("headers = { \"x-a\" = \"1\", \"x-b\" = { env = \"KEY\" } }").is_ok());
    for (keys, problem) in [
        ("kind = \"opnai\"", "providers.oai.kind: unknown kind `opnai`, did you mean `openai`?"),
        ("headers = { \"x a\" = \"1\" }", "providers.oai.headers.x a: expected the name of a header"),
        ("headers = { \"x-b\" = { env = \"NONE\" } }", "providers.oai.headers.x-b: NONE is not set"),
        ("query = \"a b\"", "providers.oai.query: expected fields such as api-version=2024-10-21"),
        ("query = \"?a=1\"", "providers.oai.query: expected fields such as api-version=2024-10-21"),
        ("query = \"a=1#b\"", "providers.oai.query: expected fields such as api-version=2024-10-21"),
        (
            "headers = { x-a = { en = \"KEY\" } }",
            "providers.oai.headers.x-a: unknown key `en`, did you mean `env`?",
        ),
        (
            "headers = { x-a = 5 }",
            "providers.oai.headers.x-a: expected a text, or a table such as { env = \"NAME\" } or \
             { file = \"PATH\" }, found integer `5`",
        ),
        ("headers = { x-a = {} }", "providers.oai.headers.x-a: expected either env or file"),
        // Regression: the values of a list were those of a table in the order of the code.
        (
            "headers = { x-a = [\"KEY\"] }",
            "providers.oai.headers.x-a: expected a text, or a table such as { env = \"NAME\" } or \
             { file = \"PATH\" }, found a list",
        ),
        // Regression: the key was replaced, or sent as the host.
        (
            "api_key_header = \"Content-Length\"",
            "providers.oai.api_key_header: `content-length` belongs to the connection or to the body",
        ),
        (
            "api_key_header = \"host\"",
            "providers.oai.api_key_header: `host` belongs to the connection or to the body",
        ),
        (
            "api_key_header = \"content-type\"",
            "providers.oai.api_key_header: `content-type` belongs to the connection or to the body",
        ),
        (
            "headers = { transfer-encoding = \"chunked\" }",
            "providers.oai.headers.transfer-encoding: `transfer-encoding` belongs to the connection or to the body",
        ),
        ("headers = { X-A = \"1\", x-a = \"2\" }", "providers.oai.headers.x-a: is in the table already"),
    ] {
        assert_eq!(provider(keys).unwrap_err(), problem);
    }
}

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

#[test]
fn model_capabilities_are_added_and_corrected() {
    let models = r#"
        [models."openai/gpt-4"]
        context_tokens = 32_000
        [models.llama3]
        max_output_tokens = 2_000
        tools = false
    "#;
    let config = Config::parse(&format!("{PROVIDERS}{models}{ROUTE}"), env).unwrap();
    let capabilities = |target| config.models.capabilities(target).unwrap();
    let expected = ModelCapabilities { context_tokens: Some(32_000), ..ModelCapabilities::default() };
    assert_eq!(capabilities("openai/gpt-4"), expected);
    assert_eq!(
        (capabilities("local/llama3.2").tools, capabilities("local/llama3.2").max_output_tokens),
        (Some(false), Some(2_000))
    );
    assert_eq!(capabilities("anthropic/claude-3-haiku-20240307").context_tokens, Some(200_000));
    for (entry, message) in [
        ("context_tokens = 0", "models.llama3.context_tokens: expected at least 1, found integer `0`"),
        ("tool = true", "models.llama3: unknown key `tool`, did you mean `tools`?"),
    ] {
        assert_eq!(parse_error(&format!("{PROVIDERS}[models.llama3]\n{entry}\n{ROUTE}")), message);
    }
}

#[test]
fn a_target_is_split_at_its_first_slash() {
    let text = format!("{PROVIDERS}{}", ROUTE.replace("openai/gpt-4o", "openai/meta/llama/3"));
    let config = Config::parse(&text, env).unwrap();
    assert_eq!(config.routes[0].chain[0].members[0].target.model, "meta/llama/3");
}

#[test]
fn an_unknown_key_is_rejected_with_a_suggestion() {
    for (wrong, message) in [
        ("listn = \"127.0.0.1:1\"", "unknown key `listn`, did you mean `listen`?"),
        ("[polices.default]", "unknown key `polices`, did you mean `policies`?"),
        ("[policies.default]\nretri = {}", "policies.default: unknown key `retri`, did you mean `retry`?"),
        (
            "[policies.default.retry]\nmax_retrys = 3",
            "policies.default.retry: unknown key `max_retrys`, did you mean `max_retries`?",
        ),
        (
            "[policies.default]\nretry = { max_retrys = 3 }",
            "policies.default.retry: unknown key `max_retrys`, did you mean `max_retries`?",
        ),
        (
            "[policies.default.backpressure]\nrps = 3",
            "policies.default.backpressure: unknown key `rps`, expected one of `enabled`, `max_inflight`, `max_queued`, `queue_timeout`, `order`, `adaptive`, `min_inflight`, `key_by`, `max_keys`",
        ),
        (
            "[policies.default]\ntimeout_seconds = 30",
            "policies.default: unknown key `timeout_seconds`, the setting is `timeout.total`",
        ),
        (
            "[policies.default]\npreset = \"prod\"",
            "policies.default.preset: unknown value `prod`, did you mean `production`?",
        ),
        (
            "[providers.x]\nbase_url = \"http://x\"\ndialect = \"openai\"\napi_key = \"sk-secret\"",
            "providers.x: unknown key `api_key`, did you mean `api_key_env`?",
        ),
        ("[[routes]]\npaths = \"\"", "routes[0]: unknown key `paths`, did you mean `path`?"),
        ("[cache]\nmax_size = 1", "cache: unknown key `max_size`, did you mean `max_age`?"),
        ("[cash]", "unknown key `cash`, did you mean `cache`?"),
    ] {
        let error = Config::parse(wrong, env).unwrap_err().to_string();
        assert!(error.lines().any(|line| line.ends_with(&format!(": {message}"))), "{error}");
    }
}

#[test]
fn an_invalid_value_is_rejected_with_its_key_and_the_expected_value() {
    for (wrong, message) in [
        ("listen = \"localhost\"", "listen: expected an address such as 127.0.0.1:8787"),
        ("listen = 8787", "listen: expected a string, found integer `8787`"),
        ("body_limit = 0", "body_limit: expected at least 1, found 0"),
        ("body_limit = -1", "body_limit: expected a whole number of at least 0, found integer `-1`"),
        (
            "cache = 1",
            "cache: expected a table with max_bytes, max_age, similarity or shared, found integer `1`",
        ),
        ("[cache]\nmax_bytes = 0", "cache.max_bytes: expected at least 1, found 0"),
        (
            "[cache]\nmax_bytes = \"64MiB\"",
            "cache.max_bytes: expected a whole number, found string \"64MiB\"",
        ),
        (
            "[connections]\nping_timeout = \"0s\"",
            "connections.ping_timeout: expected more than 0s and at most 1day, found 0s",
        ),
        // Regression: a clock that far ahead is a panic of the task that closes idle connections.
        (
            "[connections]\nidle_timeout = \"2days\"",
            "connections.idle_timeout: expected more than 0s and at most 1day, found 2days",
        ),
        ("[cache]\nmax_age = \"0s\"", "cache.max_age: expected more than 0s, found 0s"),
        (
            "[cache]\nmax_age = true",
            "cache.max_age: expected a duration such as \"30s\" or \"250ms\", or a number of seconds, \
             found boolean `true`",
        ),
        ("[cache]\nsimilarity = 80", "cache.similarity: expected a number above 0, and at most 2, found 80"),
        (
            "[cache]\nsimilarity = nan",
            "cache.similarity: expected a number above 0, and at most 2, found NaN",
        ),
        (
            "alerts = 1",
            "alerts: expected a table with webhook, webhook_token_env or thresholds, found integer `1`",
        ),
        (
            "[alerts]\nwebhook = \"ftp://hooks/s3cret\"",
            "alerts.webhook: expected a URL that begins with http:// or https://",
        ),
        (
            "[alerts]\nwebhook = \"https://user:s3cret@hooks/\"",
            "alerts.webhook: expected a URL without credentials, they belong in webhook_token_env",
        ),
        (
            "[alerts]\nwebhook = \"https://hooks:80800/s3cret\"",
            "alerts.webhook: expected a port from 1 to 65535",
        ),
        (
            "[alerts]\nwebhook_token_env = \"TIDE_KEY\"",
            "alerts.webhook_token_env: expected a webhook beside it",
        ),
        (
            "[alerts]\nwebhook = \"https://hooks/\"\nwebhook_token_env = \"MISSING\"",
            "alerts.webhook_token_env: MISSING is not set",
        ),
        (
            "[alerts.thresholds]\nsuccess_rate = 90",
            "alerts.thresholds.success_rate: expected a number from 0 to 1, found 90",
        ),
        (
            "drain = \"soon\"",
            "drain: expected a duration such as \"30s\" or \"250ms\", or a number of seconds, \
             found string \"soon\"",
        ),
        ("emergency_text = \" \"", "emergency_text: expected a text that is not empty"),
        ("static_texts = { code = \"\" }", "static_texts.code: expected a text that is not empty"),
        ("log = true", "log: expected one of `text`, `json`, found boolean `true`"),
        ("max_connections = 0", "max_connections: expected at least 1, found integer `0`"),
        ("hosts = \"x\"", "hosts: expected a list, found string \"x\""),
        ("hosts = {}", "hosts: expected a list, found a table"),
        ("listen = 99999999999999999999", "listen: expected a string, found a number beyond 2^63"),
        ("listen: \"127.0.0.1:8787\"", "expected TOML, as in `key = \"..\"`"),
        ("", "routes: expected at least one"),
        ("[providers.openai]\nbase_url = \"http://x\"", "providers.openai: missing key `dialect`"),
        (
            "[policies.default.retry]\nmax_retries = \"3\"",
            "policies.default.retry.max_retries: expected a whole number, found string \"3\"",
        ),
        (
            "[policies.slow.retry]\ninitial_delay = \"1m\"",
            "policies.slow.retry.initial_delay: expected at most max_delay, 30s, found 1m",
        ),
        (
            "[policies.default.circuit_breaker]\nfailure_threshold = 0",
            "policies.default.circuit_breaker.failure_threshold: expected at least 1, found 0",
        ),
        (
            "[policies.default.rate_limiter]\non_limit = \"refuse\"",
            "policies.default.rate_limiter.on_limit: unknown value, expected one of `wait`, `reject`",
        ),
        ("listen = ", "expected a value after `listen =`"),
        ("\n\n[providers\nx = 1", "unclosed table, expected `]`"),
        ("body_limit = 1\nbody_limit = 2", "duplicate key"),
    ] {
        assert_eq!(parse_error(wrong), message);
    }
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

#[test]
fn an_invalid_base_url_or_api_key_is_rejected() {
    for (from, to, message) in [
        ("https://api", "ftp://api", "base_url: expected a URL that begins with http:// or https://"),
        ("https://api", "api", "base_url: expected a URL such as https://api.openai.com/v1"),
        (
            "https://api.anthropic.com/v1",
            "https://api.anthropic.com/v1/messages",
            "base_url: expected the URL of the whole API, such as https://api.openai.com/v1, found that of one endpoint",
        ),
        ("https://api.anthropic.com/v1", "http://api:80800/v1", "base_url: expected a port from 1 to 65535"),
        ("/v1", "/v1?key=sk-secret", "base_url: expected a URL that ends with its path"),
        ("/v1", "/v1/{mdoel}", "base_url: expected {model} or no braces"),
        (
            "https://api",
            "https://sk:secret@api",
            "base_url: expected a URL without credentials, they belong in api_key_env",
        ),
        ("ANTHROPIC_API_KEY", "OTHER_API_KEY", "api_key_env: OTHER_API_KEY is not set"),
        ("ANTHROPIC_API_KEY", "EMPTY", "api_key_env: EMPTY is empty"),
        ("ANTHROPIC_API_KEY", "sk-ant-secret", "api_key_env: the variable it names is not set"),
        (
            "ANTHROPIC_API_KEY",
            "SPACED",
            "api_key_env: expected visible ASCII in SPACED, found a space or another character",
        ),
        (
            "ANTHROPIC_API_KEY",
            "SPLIT",
            "api_key_env: expected visible ASCII in SPLIT, found a space or another character",
        ),
    ] {
        let (openai, anthropic) = PROVIDERS.split_once("[providers.anthropic]").unwrap();
        let text = format!("{openai}[providers.anthropic]{}{ROUTE}", anthropic.replace(from, to));
        assert_eq!(parse_error(&text), format!("providers.anthropic.{message}"));
    }
    let key_in_the_wrong_place = "providers = { openai = \"sk-secret\" }";
    assert_eq!(
        parse_error(key_in_the_wrong_place),
        "providers.openai: expected a table with base_url and dialect, found string"
    );
    assert_eq!(
        parse_error("[providers.\"a/b\"]\nbase_url = \"http://x\"\ndialect = \"openai\""),
        "providers.a/b: expected a name of visible ASCII, without `/`, that does not begin with `@`"
    );
}

/// Regression: a URL with a password in place of a table was printed.
#[test]
fn no_text_that_stands_in_the_wrong_place_is_printed() {
    for key in [
        "providers",
        "providers.a",
        "providers.a.headers",
        "callers",
        "admin",
        "tls",
        "policies",
        "policies.a",
        "connections",
        "cache",
        "alerts",
        "alerts.thresholds",
        "otlp",
        "store",
        "store.timeout",
        "store.processes",
        "models",
        "models.a",
        "routes",
        "body_limit",
        "drain",
        "open",
    ] {
        for text in ["redis://:s3cret@host", "say \\\"s3cret\\\", expected `s3cret`"] {
            let text = format!("{key} = \"{text}\"\n");
            let error = Config::parse(&text, env).unwrap_err().to_string();
            assert!(!error.contains("s3cret"), "{error}");
        }
    }
    for key in ["admin.key_env", "alerts.webhook_token_env", "providers.a.api_key_env"] {
        let error = Config::parse(&format!("{key} = 48151623\n"), env).unwrap_err().to_string();
        assert!(!error.contains("48151623"), "{error}");
    }
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
fn callers_have_a_name_and_a_key_from_a_variable_or_a_file() {
    let path = std::env::temp_dir().join(format!("tidegate-{}-caller-key", std::process::id()));
    std::fs::write(&path, "the-long-key-of-ann\n").unwrap();
    let file = path.to_str().unwrap();
    let parse = |callers: &str| {
        let parsed = Config::parse(&format!("{callers}\n{PROVIDERS}{ROUTE}"), env);
        let of_callers = |config: Config| {
            let warnings = config.warnings().iter().filter(|warning| warning.contains(": callers"));
            warnings.cloned().collect::<Vec<_>>()
        };
        parsed.map(of_callers).map_err(|error| error.to_string())
    };
    let ann = format!("[[callers]]\nname = \"ann\"\nkey_file = {file:?}\n");
    let ben = "[[callers]]\nname = \"ben\"\nkey_env = \"ANTHROPIC_API_KEY\"\n";
    assert_eq!(
        parse(&(ann.clone() + ben)),
        Ok(vec!["line 6, column 11: callers[1].key_env: key is shorter than 16 characters".into()])
    );
    for (callers, message) in [
        (
            "[[callers]]\nname = \"a b\"\nkey_env = \"X\"".to_owned(),
            "callers[0].name: expected a name of visible ASCII",
        ),
        ("[[callers]]\nname = \"ann\"".to_owned(), "callers[0].key_env: expected either key_env or key_file"),
        (ann.clone() + "key_env = \"X\"", "callers[0].key_env: expected either key_env or key_file"),
        (ann.clone() + &ann, "callers[1].name: `ann` is another caller already"),
        (ann.clone() + &ann.replace("ann", "ben"), "callers[1].key_file: key is that of `ann`"),
        (
            "[[callers]]\nname = \"ann\"\nkey_env = \"UNSET\"".to_owned(),
            "callers[0].key_env: UNSET is not set",
        ),
        (
            "[[callers]]\nname = \"ann\"\nkey_env = \"sk-the-key-itself\"".to_owned(),
            "callers[0].key_env: the variable it names is not set",
        ),
        (
            "[[callers]]\nname = \"ann\"\nkey_file = \"/dev/null\"".to_owned(),
            "callers[0].key_file: \"/dev/null\" cannot be read: expected a file",
        ),
        ("[[callers]]\nname = \"ann\"\nkey = \"sk-secret\"".to_owned(), "callers[0]: unknown key `key`"),
    ] {
        let error = parse(&callers).unwrap_err();
        assert!(error.contains(message), "{callers}: {error}");
        assert!(!error.contains("sk-"), "{error}");
    }
    let two_lines = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let text = parse(&format!("[[callers]]\nname = \"ann\"\nkey_file = {two_lines:?}")).unwrap_err();
    assert!(text.contains("callers[0].key_file: expected one line of visible ASCII in "), "{text}");
    let missing = parse("[[callers]]\nname = \"ann\"\nkey_file = \"/nowhere/key\"").unwrap_err();
    assert!(missing.contains("callers[0].key_file: \"/nowhere/key\" cannot be read: "), "{missing}");
    let config = Config::parse(&format!("{ann}\n{PROVIDERS}{ROUTE}"), env).unwrap();
    assert!(!format!("{config:?}").contains("the-long-key"));
    std::fs::remove_file(path).unwrap();
}

#[test]
fn the_rules_of_a_caller_are_checked_and_explained() {
    let caller = |rules: &str| {
        let caller = format!("[[callers]]\nname = \"ann\"\nkey_env = \"ANTHROPIC_API_KEY\"\n{rules}\n");
        Config::parse(
            &format!("{caller}{PROVIDERS}{ROUTE}{}", ROUTE.replace("path", "model = \"gpt-4o\"\npath")),
            env,
        )
    };
    let rules = "routes = [\"gpt-4o\", \"/v1/chat/completions\", \"*\"]\npriority = \"batch\"\n\
                 backpressure.max_inflight = 2";
    let explained = caller(rules).unwrap().explain();
    let (_, explained) =
        explained.split_once("caller ann, batch, may use gpt-4o, /v1/chat/completions, *\n").unwrap();
    assert!(explained.starts_with("  rate_limiter: off\n  backpressure.enabled  true\n"), "{explained}");
    assert!(explained.contains("  backpressure.max_inflight  2\n"), "{explained}");
    let explained = caller("").unwrap().explain();
    assert!(explained.contains(
        "caller ann, interactive, may use every route\n  rate_limiter: off\n  backpressure: off\nadmin: "
    ));
    for (rules, message) in [
        (
            "routes = [\"gpt-4o\", \"gpt-4\"]",
            "callers[0].routes[1]: unknown model or path `gpt-4`, did you mean `gpt-4o`?",
        ),
        ("routes = [\"/v1/embeddings\"]", "callers[0].routes[0]: unknown model or path"),
        ("routes = []", "callers[0].routes: expected at least one, or no `routes` for all of them"),
        (
            "priority = \"low\"",
            "callers[0].priority: unknown value `low`, expected one of `interactive`, `batch`",
        ),
        ("rate_limiter.requests_per_minute = 0", "callers[0].rate_limiter.requests_per_minute: expected "),
        (
            "backpressure.max_inflight = 0",
            "callers[0].backpressure.max_inflight: expected at least 1, found 0",
        ),
        (
            "backpressure.max_inflght = 1",
            "callers[0].backpressure: unknown key `max_inflght`, did you mean `max_inflight`?",
        ),
    ] {
        let error = first_mistake(&caller(rules).expect_err(rules));
        assert!(error.starts_with(message), "{rules}: {error}");
    }
}

#[test]
fn the_admin_key_comes_from_a_variable_or_a_file() {
    let path = std::env::temp_dir().join(format!("tidegate-{}-admin-key", std::process::id()));
    std::fs::write(&path, "the-long-admin-key\r\n").unwrap();
    let in_file = format!("key_file = {:?}", path.to_str().unwrap());
    let ann = "[[callers]]\nname = \"ann\"\nkey_env = \"ANTHROPIC_API_KEY\"";
    let parse = |admin: &str| Config::parse(&format!("[admin]\n{admin}\n{ann}\n{PROVIDERS}{ROUTE}"), env);
    let config = parse(&in_file).unwrap();
    assert_eq!(config.admin_key, Some("the-long-admin-key".to_owned().into()));
    assert!(!format!("{config:?}").contains("the-long-admin-key"));
    std::fs::remove_file(path).unwrap();
    let short = |variable: &str| (variable == "SHORT").then(|| "short".into());
    let config = Config::parse(&format!("admin.key_env = \"SHORT\"\n{}", local_route()), short).unwrap();
    assert_eq!(config.warnings(), ["line 1, column 17: admin.key_env: key is shorter than 16 characters"]);
    for (admin, message) in [
        ("", "admin.key_env: expected either key_env or key_file"),
        ("key_env = \"X\"\nkey_file = \"x\"", "admin.key_env: expected either key_env or key_file"),
        ("key_env = \"UNSET\"", "admin.key_env: UNSET is not set"),
        ("key_env = \"EMPTY\"", "admin.key_env: EMPTY is empty"),
        ("key_env = \"sk-the-key-itself\"", "admin.key_env: the variable it names is not set"),
        ("key_file = \"/dev/null\"", "admin.key_file: \"/dev/null\" cannot be read: expected a file"),
        ("key_env = \"ANTHROPIC_API_KEY\"", "admin.key_env: key is that of the caller `ann`"),
        ("key = \"sk-secret\"", "admin: unknown key `key`"),
    ] {
        let error = parse(admin).unwrap_err().to_string();
        assert!(error.contains(message) && !error.contains("sk-"), "{admin}: {error}");
    }
    let error = parse_error("admin = \"sk-secret\"");
    assert_eq!(error, "admin: expected a table with key_env or key_file, found string");
}

#[test]
fn hosts_origins_and_forwarded_headers_are_checked() {
    let provider = "[providers.p]\nbase_url = \"http://p\"\ndialect = \"openai\"\n";
    let route = "[[routes]]\npath = \"/v1/chat/completions\"\nchain = [\"p/m\"]";
    let parse = |before: &str, in_provider: &str| {
        let parsed = Config::parse(&format!("{before}\n{provider}{in_provider}\n{route}"), env);
        parsed.map(drop).map_err(|error| first_mistake(&error))
    };
    for origin in ["https://app.example", "http://localhost:3000", "app://obsidian.md", "http://[::1]:1"] {
        assert_eq!(parse(&format!("origins = [{origin:?}]"), ""), Ok(()), "{origin}");
    }
    for origin in ["*", "null", "app.example", "https://app.example/", "https://*.example", "https://a@b", ""]
    {
        let expected = "origins[0]: expected an origin such as https://app.example";
        assert!(parse(&format!("origins = [{origin:?}]"), "").unwrap_err().starts_with(expected));
    }
    for host in ["gateway.internal", "Gateway", "[fd00::1]"] {
        assert_eq!(parse(&format!("hosts = [{host:?}]"), ""), Ok(()), "{host}");
    }
    for host in ["gateway:80", "http://gateway", "a b", ""] {
        let expected = "hosts[0]: expected the name of a host without its port";
        assert!(parse(&format!("hosts = [{host:?}]"), "").unwrap_err().starts_with(expected));
    }
    assert_eq!(parse("", "forward_headers = [\"x-team\"]"), Ok(()));
    for header in [
        "Authorization",
        "x-goog-user-project",
        "connection",
        "content-length",
        "accept-encoding",
        "x-tidegate-a",
    ] {
        let error = parse("", &format!("forward_headers = [{header:?}]")).unwrap_err();
        assert!(
            error.starts_with("providers.p.forward_headers: `") && error.ends_with("never forwarded"),
            "{error}"
        );
    }
    let error = parse("", "forward_headers = [\"a b\"]").unwrap_err();
    assert_eq!(error, "providers.p.forward_headers: expected the name of a header");
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

/// The whole message of a file with a mistake of each kind, in the order of the file.
#[test]
fn all_mistakes_of_a_file_are_reported_at_once_with_their_lines() {
    let vars = |variable: &str| match variable {
        "AI_LIB_RPS" => Some("fast".into()),
        "AI_LIB_MAX_INFLIGHT" => Some("0".into()),
        _ => env(variable),
    };
    let error = Config::parse(include_str!("snapshots/mistakes.toml"), vars).unwrap_err();
    assert_eq!(error.to_string() + "\n", include_str!("snapshots/mistakes.txt"));
    assert!(
        error.mistakes().count() > 30
            && error.mistakes().all(|mistake| !mistake.problem().contains("secret"))
    );
}

#[test]
fn all_mistakes_of_syntax_are_reported_at_once_with_their_lines() {
    let file = "listen = \nbody_limit = 1\nbody_limit = 2\n[providers\nx = 1";
    let error = Config::parse(file, env).unwrap_err();
    assert_eq!(
        error.to_string(),
        "line 1, column 10: expected a value after `listen =`\n\
         line 3, column 1: duplicate key\nline 4, column 11: unclosed table, expected `]`"
    );
}

/// Regression: such files took half a minute to be rejected.
#[test]
fn a_file_with_thousands_of_mistakes_is_rejected_with_the_first_of_them() {
    let repeated = |line: &str| line.repeat(20_000);
    let route =
        |model: usize| format!("[[routes]]\npath = \"/v1/none\"\nmodel = \"{model}\"\nchain = [\"no/m\"]\n");
    let routes: String = (0..2_000).map(route).collect();
    for (name, file, least) in [
        ("text", repeated("The tide rises, the tide falls.\n"), 20_000),
        ("no end of a text", repeated("listen = \"127.0.0.1\n"), 20_000),
        ("one key", repeated("listen = \"127.0.0.1:8787\"\n"), 19_999),
        ("values", format!("{PROVIDERS}{routes}"), 2_000),
        (
            "unknown keys",
            format!("{PROVIDERS}{}", (0..2_000).map(|key| format!("key{key} = 1\n")).collect::<String>()),
            200,
        ),
    ] {
        let error = Config::parse(&file, env).unwrap_err();
        let text = error.to_string();
        let (mistakes, last) = (error.mistakes().count(), text.lines().last().unwrap());
        assert!(mistakes <= 100 && text.lines().count() <= 101, "{name}: {mistakes}");
        let more: usize =
            last.strip_prefix("and ").expect(last).strip_suffix(" more").expect(last).parse().unwrap();
        assert_eq!(more, error.omitted(), "{name}");
        assert!(mistakes + more >= least, "{name}: {more}");
    }
    let json = format!("{{\n{}}}", repeated("  \"listen\": \"127.0.0.1:8787\",\n"));
    let error = Config::parse(&json, env).unwrap_err();
    assert_eq!(error.to_string(), "line 1, column 1: expected TOML, as in `key = \"..\"`");
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
        Config::parse(include_str!("../../example.toml"), |name| (!name.starts_with("OTEL_"))
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

/// Regression: the values of some lists were read as those of a table, in the order of the code.
#[test]
fn a_list_in_the_place_of_any_table_is_a_mistake() {
    use self::never_printed::{FILE, PLACES, Step, at, env};
    let mut tables = 0;
    for place in &*PLACES {
        let mut root = toml::Value::Table(FILE.clone());
        let value = at(&mut root, place).unwrap();
        // A list is a group of a chain.
        let is_group = place.iter().any(|step| matches!(step, Step::Key(key) if key == "chain"));
        let toml::Value::Table(table) = &*value else { continue };
        if is_group {
            continue;
        }
        tables += 1;
        for list in [Vec::new(), table.values().cloned().collect()] {
            let mut root = root.clone();
            *at(&mut root, place).unwrap() = toml::Value::Array(list);
            let error = Config::parse(&toml::to_string(&root).unwrap(), env).unwrap_err();
            assert!(error.mistakes().all(|mistake| !mistake.problem().contains("length")), "{error}");
        }
    }
    assert!(tables > 25, "{tables}");
    let (settings, routes) = local_route().split_once('\n').unwrap();
    for (text, message) in [
        (
            "connections = [\"1s\"]",
            "connections: expected a table with connect_timeout, idle_timeout, ping_interval or ping_timeout, found a list",
        ),
        ("cache = []", "cache: expected a table with max_bytes, max_age, similarity or shared, found a list"),
        ("alerts.thresholds = [0]", "alerts.thresholds: expected a table, found a list"),
    ] {
        assert_eq!(parse_error(&format!("{text}\n{settings}\n{routes}")), message);
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

#[test]
fn the_stack_of_each_target_is_explained_with_the_origin_of_each_setting() {
    let text = format!(
        "{PROVIDERS}{}[policies.default]\npreset = \"minimal\"\nretry = {{ max_retries = 3 }}\n\
         [policies.slow]\ntimeout = {{ attempt = \"1h\" }}\n\
         [[routes]]\npath = \"/v1/messages\"\nmodel = \"m\"\npolicy = \"slow\"\nchain = [\"anthropic/c\"]",
        ROUTE.replace("openai/gpt-4o\"", "openai/gpt-4o\", \"anthropic/c\", \"@static\"")
    );
    let env = |variable: &str| match variable {
        "AI_LIB_MAX_INFLIGHT" => Some("3".into()),
        _ => env(variable),
    };
    let explained = Config::parse(&text, env).unwrap().explain();
    let lines: Vec<_> = explained.lines().collect();
    let heads: Vec<_> = lines.iter().copied().filter(|line| !line.starts_with("    ")).collect();
    assert_eq!(
        heads,
        [
            "/v1/chat/completions for any model",
            "  openai/gpt-4o, called in the dialect openai, policy default",
            "  anthropic/c, called in the dialect anthropic, policy default",
            "  @static",
            "/v1/messages for m",
            "  anthropic/c, called in the dialect anthropic, policy slow",
            "admin: the pages of operators are open",
            "alerts: off",
            "traces: off",
            "store: off",
        ]
    );
    let rows = |row: [&str; 3]| lines.iter().filter(|line| line.split_whitespace().eq(row)).count();
    assert_eq!(rows(["retry.max_retries", "3", "file"]), 2);
    assert_eq!(rows(["backpressure.max_inflight", "3", "environment"]), 3);
    assert_eq!(rows(["timeout.attempt", "\"1h\"", "file"]), 1);
    assert_eq!(rows(["timeout.attempt", "\"10m\"", "default"]), 2);
    assert_eq!(lines.iter().filter(|line| line.trim() == "circuit_breaker: off").count(), 3);
    assert!(!explained.contains("secret"));
}

#[test]
fn the_admin_pages_and_the_alerts_are_explained() {
    let tail = |text: &str| {
        let text = format!("{}{text}", local_route());
        let secret = |name: &str| ["A", "T"].contains(&name).then(|| "the-s3cret-of-nobody".into());
        let explained = Config::parse(&text, secret).unwrap().explain();
        explained[explained.find("admin: ").unwrap()..].to_owned()
    };
    let open = tail("listen = \"0.0.0.0:1\"\nopen = true");
    assert!(
        open.starts_with("admin: the pages of operators are refused, since there is no admin key\n"),
        "{open}"
    );
    let text = "admin.key_env = \"A\"\nalerts = { webhook = \"https://hooks.test/s3cret\", \
                webhook_token_env = \"T\", thresholds = { quota_left = 0.5 } }";
    let explained = tail(text);
    for line in [
        "admin: the pages of operators need the admin key",
        "alerts: logged, and posted to hooks.test with a token",
        "  quota_left  0.5",
        "  raise_after  \"30s\"",
        "traces: off",
        "store: off",
    ] {
        assert!(explained.lines().any(|it| it == line), "{line}: {explained}");
    }
    assert!(!explained.contains("s3cret"), "{explained}");
    let logged = tail("[[callers]]\nname = \"a\"\nkey_env = \"A\"\n[alerts]");
    assert!(
        logged.starts_with("admin: the pages of operators are open to callers with a key\nalerts: logged\n")
    );
}

/// Without a stand-in for each secret the rest of the file could not be checked where it is not deployed.
#[test]
fn a_file_is_checked_without_its_secrets() {
    let parse = |text: &str| {
        let set = |variable: &str| (variable == "SET").then(|| "the-long-secret".into());
        Config::parse_stamped(text, set, &mut FileStamps::default(), Secrets::Optional)
    };
    let file = "admin.key_env = \"ADMIN\"\nstore.url_env = \"STORE\"\nalerts = { webhook = \"https://h/\", webhook_token_env = \"TOKEN\" }\n\
                [[callers]]\nname = \"ann\"\nkey_env = \"ANN\"\n[[callers]]\nname = \"ben\"\nkey_env = \"SET\"\n\
                [providers.p]\nbase_url = \"https://p/v1\"\ndialect = \"openai\"\napi_key_env = \"P_KEY\"\n\
                headers = { x-a = { env = \"P_HEADER\" }, x-b = { env = \"P_KEY\" } }\n\
                [[routes]]\npath = \"/v1/chat/completions\"\nchain = [\"p/m\"]";
    let config = parse(file).unwrap();
    let missing = [
        "admin.key_env: ADMIN is not set",
        "callers[0].key_env: ANN is not set",
        "providers.p.headers.x-a: P_HEADER is not set",
        "providers.p.api_key_env: P_KEY is not set",
        "alerts.webhook_token_env: TOKEN is not set",
        "store.url_env: STORE is not set",
    ];
    for warning in missing {
        assert!(
            config.warnings().iter().any(|it| it.ends_with(&format!(": {warning}"))),
            "{warning}: {:?}",
            config.warnings()
        );
    }
    let unset = config.warnings().iter().filter(|warning| warning.ends_with("is not set")).count();
    assert_eq!(unset, missing.len());
    // Other mistakes are still found, and a key in the place of the name of its variable is not repeated.
    let error =
        parse(&file.replace("path = ", "pth = ").replace("P_KEY", "sk-s3cret")).unwrap_err().to_string();
    assert!(
        error.contains("unknown key `pth`") && error.contains("the variable it names is not set"),
        "{error}"
    );
    assert!(!error.contains("s3cret"), "{error}");
    assert!(Config::parse(file, |_| None).unwrap_err().to_string().contains("P_KEY is not set"));
}

#[test]
fn a_table_in_the_place_of_an_array_of_tables_is_named_and_so_is_the_reverse() {
    let one = |key: &str| {
        format!("{key}: expected an array of tables, found one table: write [[{key}]] in place of [{key}]")
    };
    let many = |key: &str| {
        format!("{key}: expected one table, found an array of tables: write [{key}] in place of [[{key}]]")
    };
    let named = |key: &str| {
        format!(
            "{key}: expected a name in the header of each table: write [{key}.NAME] in place of [[{key}]]"
        )
    };
    let caller = "name = \"ann\"\nkey_env = \"ANTHROPIC_API_KEY\"";
    for (text, message) in [
        (format!("[callers]\n{caller}"), one("callers")),
        (format!("callers = {{ {} }}", caller.replace('\n', ", ")), one("callers")),
        ("[routes]\npath = \"/v1/messages\"\nchain = [\"p/m\"]".to_owned(), one("routes")),
        ("[[admin]]\nkey_env = \"ANTHROPIC_API_KEY\"".to_owned(), many("admin")),
        ("[[alerts]]".to_owned(), many("alerts")),
        ("[[alerts.thresholds]]\nsuccess_rate = 0.5".to_owned(), many("alerts.thresholds")),
        ("[[cache]]\nmax_bytes = 1000".to_owned(), many("cache")),
        ("[[connections]]".to_owned(), many("connections")),
        ("[[tls]]".to_owned(), many("tls")),
        ("[[policies.default]]".to_owned(), many("policies.default")),
        ("[[policies.default.retry]]\nmax_retries = 1".to_owned(), many("policies.default.retry")),
        ("[[providers.q]]\nbase_url = \"http://q\"\ndialect = \"openai\"".to_owned(), many("providers.q")),
        ("[[models.gpt]]".to_owned(), many("models.gpt")),
        (format!("[[callers]]\n{caller}\n[[callers.rate_limiter]]"), many("callers[0].rate_limiter")),
        (
            "[policies.default.rate_limiter.quotas]\nrequests = 1\nper = \"1s\"".to_owned(),
            one("policies.default.rate_limiter.quotas"),
        ),
        ("[[policies]]\nname = \"default\"".to_owned(), named("policies")),
        ("[[models]]\nname = \"gpt\"".to_owned(), named("models")),
    ] {
        let text = if text.contains("[routes]") {
            format!("{text}\n[providers.p]\nbase_url = \"http://127.0.0.1/v1\"\ndialect = \"anthropic\"")
        } else {
            format!("{}{text}", local_route())
        };
        let error = Config::parse(&text, env).unwrap_err();
        let messages: Vec<_> = error.mistakes().map(|it| format!("{}: {}", it.key(), it.problem())).collect();
        assert!(messages.contains(&message), "{text}\n{messages:?}");
        // The rest of the table is read as it was meant.
        let is_other = |it: &&String| **it != message && !it.starts_with("tls") && !it.contains("quotas");
        assert_eq!(messages.iter().filter(is_other).count(), 0, "{messages:?}");
        assert!(error.mistakes().all(|mistake| mistake.line().is_some()), "{error}");
    }
}

#[test]
fn a_name_is_in_a_list_once() {
    let caller = "[[callers]]\nname = \"ann\"\nkey_env = \"ANTHROPIC_API_KEY\"";
    for (text, message) in [
        (
            format!("{caller}\nroutes = [\"*\", \"/v1/chat/completions\", \"*\"]"),
            "callers[0].routes[2]: `*` is in the list already",
        ),
        ("hosts = [\"a.b\", \"A.b\"]".to_owned(), "hosts[1]: `A.b` is in the list already"),
        (
            "origins = [\"https://a\", \"https://a\"]".to_owned(),
            "origins[1]: `https://a` is in the list already",
        ),
        (
            "providers.q = { base_url = \"http://q/v1\", dialect = \"openai\", forward_headers = [\"x-a\", \"X-A\"] }"
                .to_owned(),
            "providers.q.forward_headers[1]: `X-A` is in the list already",
        ),
    ] {
        let text = if text.starts_with("[[") { format!("{}{text}", local_route()) } else { format!("{text}\n{}", local_route()) };
        assert_eq!(parse_error(&text), message);
    }
}

#[test]
fn the_committed_schema_is_that_of_the_code() {
    let is_current = Config::schema() == include_str!("../../../../docs/config.schema.json");
    assert!(is_current, "run: cargo run -p tidegate-gateway -- --schema > docs/config.schema.json");
}

/// The keys of all tables in the schema by the key of the table, without other names of settings.
fn schema_keys() -> Vec<(String, String, serde_json::Value)> {
    fn walk(
        root: &serde_json::Value,
        schema: &serde_json::Value,
        table: &str,
        keys: &mut Vec<(String, String, serde_json::Value)>,
    ) {
        let reference = schema["$ref"].as_str().and_then(|name| root.pointer(name.strip_prefix('#')?));
        let unnamed = ["items", "additionalProperties"].into_iter().map(|key| &schema[key]);
        let choices = schema["anyOf"].as_array().into_iter().flatten();
        for inner in reference.into_iter().chain(unnamed).chain(choices).filter(|inner| inner.is_object()) {
            walk(root, inner, table, keys);
        }
        for (key, property) in schema["properties"].as_object().into_iter().flatten() {
            let is_other_name =
                property["description"].as_str().is_some_and(|text| text.starts_with("Another name of"));
            if !is_other_name {
                keys.push((table.to_owned(), key.clone(), property["default"].clone()));
                walk(root, property, key, keys);
            }
        }
    }
    let root: serde_json::Value = serde_json::from_str(&Config::schema()).unwrap();
    let mut keys = Vec::new();
    walk(&root, &root, "", &mut keys);
    keys
}

#[test]
fn the_example_has_every_key_of_the_schema() {
    let keys = schema_keys();
    assert!(keys.len() > 110, "{}", keys.len());
    let is_key = |line: &str, key: &str| {
        let line = line.trim_start_matches(['#', ' ']);
        let mut header =
            line.trim_start_matches('[').split(']').next().into_iter().flat_map(|name| name.split('.'));
        let mut assigned = line.split(['{', ',']).filter_map(|pair| pair.split_once('='));
        (line.starts_with('[') && header.any(|part| part == key))
            || assigned.any(|(name, _)| name.trim() == key)
    };
    for (table, key, _) in keys {
        assert!(Config::EXAMPLE.lines().any(|line| is_key(line, &key)), "{table}.{key}");
    }
}

/// The settings of a policy in the example, which are comments: `# max_retries = 3   # meaning`.
#[test]
fn the_settings_of_a_policy_in_the_example_have_their_defaults() {
    let mut commented = BTreeMap::new();
    let mut part = None;
    for line in Config::EXAMPLE.lines().filter_map(|line| line.strip_prefix("# ")) {
        match line.strip_prefix("[policies.NAME") {
            Some(name) => part = Some(name.trim_matches(['.', ']'])),
            None => {
                let Some((part, (key, rest))) = part.zip(line.split_once(" = ")) else { continue };
                let value = rest.split_once("  #").map_or(rest, |(value, _)| value).trim();
                let value = match value {
                    "none" => serde_json::Value::Null,
                    value => {
                        let table: toml::Table = toml::from_str(&format!("value = {value}")).expect(line);
                        serde_json::to_value(&table["value"]).unwrap()
                    }
                };
                commented.insert((part.to_owned(), key.to_owned()), value);
            }
        }
    }
    let parts = ["retry", "rate_limiter", "circuit_breaker", "backpressure", "timeout", "fallback", "hedge"];
    let settings = schema_keys().into_iter().filter(|(table, ..)| parts.contains(&&**table));
    let defaults: Vec<_> = settings.map(|(part, key, default)| ((part, key), default)).collect();
    assert!(defaults.len() > 75);
    for (setting, default) in defaults {
        assert_eq!(commented.get(&setting), Some(&default), "{setting:?}");
    }
}

#[test]
fn the_settings_of_the_gateway_in_the_example_are_its_defaults() {
    let example = Config::parse(Config::EXAMPLE, |variable| variable.ends_with("KEY").then(|| "7".into()));
    let (example, default) = (example.unwrap(), Config::parse(&format!("{PROVIDERS}{ROUTE}"), env).unwrap());
    assert_eq!((example.listen, example.body_limit), (default.listen, default.body_limit));
    assert_eq!((example.drain, &example.emergency_text), (default.drain, &default.emergency_text));
    assert_eq!(format!("{:?}", example.static_texts), format!("{:?}", default.static_texts));
    assert_eq!(example.stop_client_retries, default.stop_client_retries);
    assert_eq!(example.allow_background, default.allow_background);
    assert_eq!(format!("{:?}", example.connections), format!("{:?}", default.connections));
}

/// Every line of the example, with another value or without its end.
#[test]
fn a_file_with_any_value_of_another_type_is_valid_or_has_errors_with_a_place() {
    let lines: Vec<_> = Config::EXAMPLE.lines().filter(|line| !line.starts_with('#')).collect();
    let mut errors = 0;
    for (index, line) in lines.iter().enumerate() {
        let Some((key, value)) = line.split_once('=') else { continue };
        let cut = value.char_indices().nth(2).map_or(value, |(end, _)| &value[..end]);
        let huge = "99999999999999999999";
        for value in ["3", "-1", "\"x\"", "[]", "{}", "[{}]", "true", "nan", "1979-05-27", huge, cut] {
            let mut changed = lines.clone();
            let line = format!("{key}= {value}");
            changed[index] = &line;
            let env = |name: &str| name.ends_with("KEY").then(|| "7".into());
            let Err(error) = Config::parse(&changed.join("\n"), env) else { continue };
            errors += 1;
            let has_place = error.mistakes().any(|mistake| mistake.line() == Some(index + 1));
            let is_whole = error.mistakes().all(|mistake| mistake.key().is_empty());
            assert!(has_place || is_whole, "{line}: {error}");
        }
    }
    assert!(errors > 250, "{errors}");
}

mod durations;
mod never_printed;
