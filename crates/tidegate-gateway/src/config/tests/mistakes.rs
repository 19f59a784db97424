//! The messages about what is not valid, with their places.

use super::*;
use crate::config::warnings;

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

/// The whole message of a file with a mistake of each kind, in the order of the file.
#[test]
fn all_mistakes_of_a_file_are_reported_at_once_with_their_lines() {
    let vars = |variable: &str| match variable {
        "AI_LIB_RPS" => Some("fast".into()),
        "AI_LIB_MAX_INFLIGHT" => Some("0".into()),
        _ => env(variable),
    };
    let error = Config::parse(include_str!("../snapshots/mistakes.toml"), vars).unwrap_err();
    assert_eq!(error.to_string() + "\n", include_str!("../snapshots/mistakes.txt"));
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
