use std::collections::HashMap;
use std::time::Duration;

use super::{ConfigError, Origin, PolicyFile, Preset, ResilienceConfig, field_names};
use crate::retry::{Jitter, Strategy};
use tidegate_testkit::strict::Answer;

use crate::testing::{request, secs, strict};
use crate::{CircuitBreakerLayer, FallbackLayer, ResilienceBuilder, circuit_breaker, clock, retry};

fn read(text: &str) -> ResilienceConfig {
    toml::from_str(text).unwrap()
}

/// The message of the error when `text` is read, without the excerpt of the `toml` crate.
fn read_error(text: &str) -> String {
    toml::from_str::<ResilienceConfig>(text).expect_err(text).message().to_owned()
}

fn build_error(text: &str) -> String {
    ResilienceBuilder::from_config(&read(text)).unwrap_err().to_string()
}

fn overlay(config: ResilienceConfig, vars: &[(&str, &str)]) -> Result<ResilienceConfig, ConfigError> {
    let vars: HashMap<_, _> = vars.iter().copied().collect();
    config.overlay(|name| vars.get(name).map(Into::into))
}

#[test]
fn the_defaults_are_those_of_the_reference() {
    let config = read("retry = {}\ncircuit_breaker = {}\nbackpressure = {}");
    let (retry, breaker) = (config.retry.unwrap(), config.circuit_breaker.unwrap());
    assert_eq!((retry.max_retries, retry.initial_delay, retry.max_delay), (3, secs(1), secs(30)));
    assert_eq!((retry.backoff_multiplier, breaker.failure_threshold), (2.0, 5));
    assert_eq!((breaker.cooldown, config.backpressure.unwrap().max_inflight), (secs(30), 50));
    assert!(config.rate_limiter.is_none() && config.timeout.total.is_none());
}

#[test]
fn durations_are_strings_or_numbers_of_seconds() {
    for (text, expected) in
        [("\"1m 30s\"", 90_000), ("\"250ms\"", 250), ("2", 2_000), ("0.5", 500), ("\"3\"", 3_000)]
    {
        let config = read(&format!("retry = {{ initial_delay = {text} }}"));
        assert_eq!(config.retry.unwrap().initial_delay, Duration::from_millis(expected), "{text}");
    }
    for bad in ["-1", "-0.5", "\"soon\"", "nan", "true", "\"-1s\"", "\"inf\""] {
        let error =
            toml::from_str::<ResilienceConfig>(&format!("retry = {{ max_delay = {bad} }}")).unwrap_err();
        assert!(error.to_string().contains("expected a duration such as \"30s\""), "{bad}: {error}");
    }
}

#[test]
fn every_number_is_checked_and_the_message_names_the_key() {
    for (key, value, expected, found) in [
        ("retry.max_attempts", "0", "at least 1", "0"),
        ("retry.backoff_multiplier", "0.5", "a number of at least 1", "0.5"),
        ("retry.backoff_multiplier", "nan", "a number of at least 1", "NaN"),
        ("retry.jitter.ratio", "1.5", "a number from 0 to 1", "1.5"),
        ("retry.initial_delay", "60", "at most max_delay, 30s", "1m"),
        ("rate_limiter.requests_per_second", "0", "a number above 0 and below 4294967296", "0"),
        ("rate_limiter.requests_per_day", "-2.5", "a number above 0 and below 4294967296", "-2.5"),
        ("rate_limiter.tokens_per_minute", "0", "at least 1", "0"),
        ("rate_limiter.output_tokens_per_minute", "0", "at least 1", "0"),
        ("rate_limiter.burst_size", "0", "at least 1", "0"),
        ("circuit_breaker.failure_threshold", "0", "at least 1", "0"),
        ("circuit_breaker.success_threshold", "0", "at least 1", "0"),
        ("circuit_breaker.half_open_max", "0", "at least 1", "0"),
        ("circuit_breaker.failure_rate_threshold", "50", "a number above 0 and at most 1", "50"),
        (
            "circuit_breaker.slow_call_rate_threshold",
            "nan\ncircuit_breaker.slow_call_threshold = 1",
            "a number above 0 and at most 1",
            "NaN",
        ),
        ("circuit_breaker.slow_call_rate_threshold", "0.5", "slow_call_threshold beside it", "0.5"),
        ("circuit_breaker.slow_call_threshold", "0", "more than no time", "0s"),
        ("circuit_breaker.minimum_throughput", "0", "at least 1", "0"),
        ("circuit_breaker.sliding_window_size", "2000000", "a whole number from 1 to 1048576", ""),
        ("circuit_breaker.sliding_window", r#""5ms""#, "at least 10ms", "5ms"),
        (
            "circuit_breaker.shared_window",
            "true",
            "failure_rate_threshold or slow_call_threshold beside it",
            "true",
        ),
        (
            "circuit_breaker.sliding_window",
            "60\ncircuit_breaker.sliding_window_size = 100",
            "no sliding_window_size beside it",
            "1m",
        ),
        ("circuit_breaker.cooldown_growth", "0.5", "a number of at least 1", "0.5"),
        ("circuit_breaker.max_cooldown", "10", "at least cooldown_seconds, 30s", "10s"),
        ("circuit_breaker.cooldown_jitter", "1.5", "a number from 0 to 1", "1.5"),
        ("timeout.header", r#""a b""#, "the name of a header", r#""a b""#),
        ("backpressure.max_inflight", "0", "at least 1", "0"),
        ("backpressure.min_inflight", "0", "at least 1", "0"),
        ("backpressure.min_inflight", "9\nbackpressure.max_inflight = 8", "at most max_inflight, 8", "9"),
        ("retry.budget.ratio", "1.5", "a number from 0 to 1", "1.5"),
        ("circuit_breaker.open_budget.per_second", "0.0", "a number above 0 and at most 1000", "0"),
        ("rate_limiter.max_keys", "0", "at least 1", "0"),
        ("circuit_breaker.max_keys", "0", "at least 1", "0"),
        ("backpressure.max_keys", "0", "at least 1", "0"),
        ("circuit_breaker.probe_lease", "0", "at least 1ms", "0s"),
        ("timeout.attempt", "0", "more than no time", "0s"),
        ("timeout.token_gap", "0", "more than no time", "0s"),
        ("timeout.total", r#""0s""#, "more than no time", "0s"),
    ] {
        // Seven digits may be a secret.
        let found = if found.is_empty() { String::new() } else { format!(", found {found}") };
        let message = format!("{key}: expected {expected}{found}");
        assert_eq!(build_error(&format!("{key} = {value}")), message);
    }
    assert_eq!(
        build_error("retry.retry_on = [\"E2001\", \"quota_exhausted\"]"),
        "retry.retry_on[1]: expected the number or name of a retryable error code, such as E2001 or \
         rate_limited, found E2002 quota_exhausted",
    );
    assert_eq!(
        build_error("rate_limiter = { quotas = [{ unit = \"tokens\", amount = 1, period = 0 }] }"),
        "rate_limiter.quotas[0].period: expected more than no time, found 0s",
    );
}

#[tokio::test(start_paused = true)]
async fn an_adaptive_limit_is_one_key() {
    for algorithm in ["aimd", "gradient", "vegas"] {
        let text =
            format!("backpressure = {{ adaptive = \"{algorithm}\", min_inflight = 4, max_inflight = 200 }}");
        let signals = ResilienceBuilder::from_config(&read(&text)).unwrap().build().signals();
        assert_eq!(
            signals.snapshot().max_inflight,
            Some(10),
            "half of 20, until an unloaded round trip was measured"
        );
    }
    let text = "backpressure = { adaptive = \"reno\" }";
    let error = toml::from_str::<ResilienceConfig>(text).unwrap_err().to_string();
    assert!(
        error.contains(
            "backpressure.adaptive: unknown value `reno`, expected one of `aimd`, `gradient`, `vegas`"
        ),
        "{error}"
    );
    let text = "backpressure = { order = \"newest_first_under_overload\" }";
    assert!(ResilienceBuilder::from_config(&read(text)).is_ok());
}

#[test]
fn strategies_and_jitters_are_strings() {
    let retry = |text| read(text).retry.unwrap();
    let read = retry("retry = { strategy = \"fibonacci\", jitter = { ratio = 0.1 } }");
    assert_eq!((read.strategy, read.jitter), (Strategy::Fibonacci, Jitter::Ratio(0.1)));
    assert_eq!(retry("retry = { strategy = \"fixed_delay\" }").strategy, Strategy::Fixed, "as in the lesson");
    assert_eq!(retry("retry = { jitter = \"none\" }").jitter, Jitter::None);
    assert_eq!(
        read_error("retry = { strategy = \"expnential\" }"),
        "retry.strategy: unknown value `expnential`, did you mean `exponential`?"
    );
}

#[test]
fn an_unknown_key_is_an_error_with_the_nearest_known_key() {
    for (text, message) in [
        ("retry = { max_retrys = 3 }", "retry: unknown key `max_retrys`, did you mean `max_retries`?"),
        ("retry = { budget = { ration = 1 } }", "retry.budget: unknown key `ration`, did you mean `ratio`?"),
        (
            "circuit_breaker = { cooldwn = 3 }",
            "circuit_breaker: unknown key `cooldwn`, did you mean `cooldown`?",
        ),
        ("breaker = {}", "unknown key `breaker`, did you mean `circuit_breaker`?"),
        (
            "zzz = {}",
            "unknown key `zzz`, expected one of `preset`, `retry`, `rate_limiter`, `circuit_breaker`, \
             `backpressure`, `timeout`, `fallback`, `hedge`",
        ),
        ("preset = \"lessons\"", "preset: unknown value `lessons`, did you mean `lesson`?"),
    ] {
        assert_eq!(read_error(text), message);
    }
}

#[test]
fn a_value_of_the_wrong_type_is_an_error_with_its_key() {
    let key_by = r#""tenant", "credential", "model", "header:<name>", "path" or "host""#;
    for (key, value, expected, found) in [
        ("retry.max_retries", r#""3""#, "a whole number", r#"string "3""#),
        ("retry.max_retries", "-1", "a whole number from 0 to 4294967295", "integer `-1`"),
        ("retry.max_retries", "5000000000", "a whole number from 0 to 4294967295", "integer"),
        ("backpressure.max_queued", "-1", "a whole number of at least 0", "integer `-1`"),
        ("retry", "3", "a table", "integer `3`"),
        ("circuit_breaker.key_by", r#""ip""#, key_by, r#"string "ip""#),
        ("retry.budget", "0.2", r#"a table or "none""#, "floating point `0.2`"),
        ("rate_limiter.on_limit", "true", "one of `wait`, `reject`", "boolean `true`"),
        ("rate_limiter.on_limit", "{}", "one of `wait`, `reject`", "a table"),
        ("rate_limiter.quotas", r#""10/s""#, "a list", r#"string "10/s""#),
        ("circuit_breaker.open_budget", "5", "a table", "integer `5`"),
        ("retry.max_retries", "[]", "a whole number", "a list"),
    ] {
        let message = format!("{key}: expected {expected}, found {found}");
        assert_eq!(read_error(&format!("{key} = {value}")), message);
    }
    for (text, message) in [
        (
            r#"retry = { retry_on = ["E2001", "E9"] }"#,
            r#"retry.retry_on[1]: expected a standard error code such as E2001 or rate_limited, found string "E9""#,
        ),
        (
            r#"rate_limiter = { quotas = [{ unit = "requests", amount = 0, period = "10s" }] }"#,
            "rate_limiter.quotas[0].amount: expected at least 1, found integer `0`",
        ),
        (
            r#"rate_limiter = { quotas = [{ unit = "requests", amount = 1 }] }"#,
            "rate_limiter.quotas[0]: missing key `period`",
        ),
        (
            r#"rate_limiter = { quotas = ["10/s"] }"#,
            r#"rate_limiter.quotas[0]: expected a table, found string "10/s""#,
        ),
        (r#"retry = { jitter = "ratio" }"#, "retry.jitter: expected a value for ratio, as in { ratio = .. }"),
        // Regression: the settings of the list were those of the table in the order of the code.
        (
            r#"rate_limiter = { quotas = [["requests", 1, "10s"]] }"#,
            "rate_limiter.quotas[0]: expected a table, found a list",
        ),
        (
            "circuit_breaker = { open_budget = [] }",
            "circuit_breaker.open_budget: expected a table, found a list",
        ),
    ] {
        assert_eq!(read_error(text), message);
    }
}

#[test]
fn a_configuration_survives_a_round_trip() {
    let config = read(
        "retry = { max_attempts = 5, retry_on = [\"E2001\", \"timeout\"], attempt_header = true, reserve = \"10s\", max_delay = \"45s\", strategy = \"linear\", jitter = { ratio = 0.2 } }\n\
         rate_limiter = { requests_per_second = 0.5, on_limit = \"reject\" }\n\
         backpressure = { adaptive = \"vegas\", order = \"newest_first_under_overload\" }\n\
         timeout = { total = \"5m\", header = \"grpc-timeout\" }\nfallback = { on_context_length = true }",
    );
    assert!(ResilienceBuilder::from_config(&config).is_ok());
    assert_eq!(toml::from_str::<ResilienceConfig>(&toml::to_string(&config).unwrap()).unwrap(), config);
    let json = serde_json::to_string(&config).unwrap();
    assert_eq!(serde_json::from_str::<ResilienceConfig>(&json).unwrap(), config);
}

/// Seed item 14.
#[test]
fn every_variable_turns_its_part_on_and_overrides_the_file() {
    let file = read("rate_limiter = { requests_per_second = 1, burst_size = 20 }");
    let config = overlay(
        file,
        &[
            ("AI_LIB_RPS", "2.5"),
            ("AI_LIB_RPM", "90"),
            ("AI_LIB_BREAKER_FAILURE_THRESHOLD", "7"),
            ("AI_LIB_BREAKER_COOLDOWN_SECS", "12.5"),
            ("AI_LIB_MAX_INFLIGHT", " 9 "),
            ("AI_LIB_QUEUE_TIMEOUT", "1500ms"),
            ("AI_LIB_ATTEMPT_TIMEOUT_MS", "250"),
        ],
    )
    .unwrap();
    let limiter = config.rate_limiter.as_ref().unwrap();
    assert_eq!((limiter.requests_per_second, limiter.requests_per_minute), (Some(2.5), Some(90.0)));
    assert_eq!(limiter.burst_size, Some(20));
    let breaker = config.circuit_breaker.as_ref().unwrap();
    assert_eq!((breaker.failure_threshold, breaker.cooldown), (7, Duration::from_millis(12_500)));
    let backpressure = config.backpressure.as_ref().unwrap();
    assert_eq!((backpressure.max_inflight, backpressure.queue_timeout), (9, Duration::from_millis(1_500)));
    assert_eq!(config.timeout.attempt, Duration::from_millis(250));
    assert!(config.retry.is_none());
    assert!(ResilienceBuilder::from_config(&config).is_ok());
}

/// Regression: the variables of a part that the file turns off had no effect.
#[test]
fn a_variable_turns_on_a_part_that_the_file_turns_off() {
    for (name, key) in super::env::VARIABLES {
        let (part, _) = key.split_once('.').unwrap();
        if part == "timeout" {
            continue;
        }
        let file = file(&format!("{part} = {{ enabled = false }}"));
        let env = |variable: &str| (variable == name).then(|| "5".into());
        let config = file.clone().checked().unwrap().overlay(env).unwrap();
        let enabled = serde_json::to_value(&config).unwrap()[part]["enabled"].clone();
        assert_eq!(enabled, true, "{name}");
        let explanation = config.explain(&file, env);
        let enabled = (&*format!("{part}.enabled"), "true", Origin::Environment);
        assert!(origins(&explanation).contains(&enabled), "{name}: {explanation}");
    }
}

#[test]
fn without_variables_nothing_is_on() {
    assert_eq!(overlay(ResilienceConfig::default(), &[]).unwrap(), ResilienceConfig::default());
}

#[test]
fn an_invalid_variable_is_an_error_with_its_name() {
    for (name, value, expected) in [
        ("AI_LIB_RPS", "fast", "a number above 0 and below 4294967296"),
        ("AI_LIB_RPS", "0", "a number above 0 and below 4294967296"),
        ("AI_LIB_RPS", "1e300", "a number above 0 and below 4294967296"),
        ("AI_LIB_RPM", "inf", "a number above 0 and below 4294967296"),
        ("AI_LIB_MAX_INFLIGHT", "-3", "a whole number of at least 1"),
        ("AI_LIB_MAX_INFLIGHT", "", "a whole number of at least 1"),
        ("AI_LIB_BREAKER_FAILURE_THRESHOLD", "0", "a whole number of at least 1"),
        ("AI_LIB_BREAKER_COOLDOWN_SECS", "soon", "a number of seconds"),
        ("AI_LIB_QUEUE_TIMEOUT", "-1", "a number of seconds or a duration"),
        ("AI_LIB_ATTEMPT_TIMEOUT_MS", "1.5", "a whole number of milliseconds, at least 1"),
    ] {
        let error = overlay(ResilienceConfig::default(), &[(name, value)]).unwrap_err();
        assert_eq!(error.to_string(), format!("{name}: expected {expected}, found {value:?}"));
        assert_eq!(error.key(), name);
    }
}

#[tokio::test(start_paused = true)]
async fn token_quotas_are_read_and_header_following_can_be_turned_off() {
    use tower::Layer;
    let text = "rate_limiter = { tokens_per_second = 900, tokens_per_minute = 30_000, tokens_per_day = 9_000_000, \
                input_tokens_per_minute = 20_000, output_tokens_per_minute = 8_000, default_output_tokens = 100, \
                learn = false, adopt = false, on_limit = \"reject\" }";
    let config = read(text);
    assert_eq!(toml::from_str::<ResilienceConfig>(&toml::to_string(&config).unwrap()).unwrap(), config);
    let (inner, provider) = crate::testing::strict();
    let layer = ResilienceBuilder::from_config(&config).unwrap().name("openai/gpt-4o").build();
    let remaining = |layer: &crate::stack::ResilienceLayer| layer.signals().snapshot().tokens_remaining;
    assert_eq!(remaining(&layer), Some(900));
    provider.answer(200).header("x-ratelimit-remaining-tokens", "0").header("x-ratelimit-reset-tokens", "9s");
    // `{}` has no prompt, and the output is estimated at 100 tokens.
    let _response = crate::testing::call(&mut layer.layer(inner)).await.unwrap();
    assert_eq!(remaining(&layer), Some(800));
    let default = read("rate_limiter = {}").rate_limiter.unwrap();
    assert_eq!(
        (default.default_output_tokens, default.follow_headers, default.adopt_reported_quotas),
        (500, true, true)
    );
}

#[tokio::test(start_paused = true)]
async fn half_a_request_a_second_is_one_in_two_seconds() {
    use tower::Layer;
    let (inner, provider) = crate::testing::strict();
    let layer = ResilienceBuilder::from_config(&read("rate_limiter = { requests_per_second = 0.5 }"))
        .unwrap()
        .build();
    let mut service = layer.layer(inner);
    for _ in 0..3 {
        crate::testing::complete(&mut service).await.unwrap();
    }
    let seen = provider.requests();
    let gap = seen[2].at - seen[1].at;
    assert!(gap >= secs(2) && gap <= Duration::from_millis(2_002), "{gap:?}");
}

#[tokio::test(start_paused = true)]
async fn a_circuit_has_the_configured_settings() {
    use tower::Layer;
    let (inner, provider) = crate::testing::strict();
    let config = read(
        "[circuit_breaker]\nfailure_threshold = 1000\nfailure_rate_threshold = 0.5\nminimum_throughput = 4\n\
         slow_call_threshold = \"5s\"\nslow_call_rate_threshold = 1\nsliding_window = \"1m\"\n\
         cooldown_growth = 2\nmax_cooldown = \"45s\"\ncooldown_jitter = 0\nramp_up = \"10s\"",
    );
    assert_eq!(toml::from_str::<ResilienceConfig>(&toml::to_string(&config).unwrap()).unwrap(), config);
    let layer = CircuitBreakerLayer::from_settings(config.circuit_breaker.unwrap()).unwrap();
    let (circuit, mut service) = (layer.handle(), layer.layer(inner));
    for status in [200, 503, 200, 503] {
        provider.answer(status);
        crate::testing::complete(&mut service).await.unwrap();
    }
    assert_eq!(circuit.cooldown_remaining(), Some(secs(30)), "opened by the failure rate");
    tokio::time::advance(secs(30)).await;
    provider.answer(200).after(secs(5));
    crate::testing::complete(&mut service).await.unwrap();
    assert_eq!(circuit.cooldown_remaining(), Some(secs(45)), "opened again by a slow probe, for longer");
    tokio::time::advance(secs(45)).await;
    let mut passed = 0;
    for _ in 0..10 {
        passed += u32::from(crate::testing::complete(&mut service).await.is_ok());
    }
    assert_eq!(passed, 2, "the probe, and the first call of the ramp");
}

#[test]
fn every_setting_of_every_layer_can_be_set_in_a_file() {
    let text = r#"
        [retry]
        enabled = false
        max_retries = 7
        max_attempts = 9
        strategy = "fibonacci"
        jitter = "equal"
        initial_delay = "2s"
        max_delay = "40s"
        backoff_multiplier = 3.0
        retry_on = ["E2001"]
        retry_rejections = true
        budget = { ratio = 0.5, floor = 3 }
        reserve_for_fallback = "4s"
        idempotency_key = true
        attempt_header = true
        body_cap = 1024

        [rate_limiter]
        enabled = false
        requests_per_second = 1.5
        requests_per_minute = 60.0
        requests_per_day = 900.0
        tokens_per_second = 10
        tokens_per_minute = 100
        tokens_per_day = 1000
        input_tokens_per_minute = 80
        output_tokens_per_minute = 20
        quotas = [{ unit = "output_tokens", amount = 50, period = "10s" }]
        burst_size = 4
        default_output_tokens = 100
        follow_headers = false
        adopt_reported_quotas = false
        default_retry_after = "3s"
        max_wait = "5s"
        max_waiting = 6
        on_limit = "reject"
        key_by = "tenant"
        max_keys = 100

        [circuit_breaker]
        enabled = false
        failure_threshold = 2
        max_attempts_counted_per_call = 6
        success_threshold = 3
        cooldown_seconds = "7s"
        half_open_max = 4
        failure_rate_threshold = 0.25
        slow_call_threshold = "9s"
        open_budget = { per_second = 2.0, per_success = 5.0 }
        slow_call_rate_threshold = 0.75
        slow_call_window_size = 20
        minimum_throughput = 5
        sliding_window_size = 50
        shared_window = true
        cooldown_growth = 1.5
        max_cooldown = "1m"
        cooldown_jitter = 0.1
        quota_cooldown = "2m"
        probe_lease = "20s"
        ramp_up = "30s"
        count_rate_limited = true
        shadow = true
        key_by = "header:x-user"
        max_keys = 100

        [backpressure]
        enabled = false
        max_inflight = 8
        max_queued = 9
        queue_timeout = "3s"
        order = "newest_first_under_overload"
        adaptive = "vegas"
        min_inflight = 2
        key_by = "host"
        max_keys = 100

        [timeout]
        total = "9m"
        header = "grpc-timeout"
        attempt = "8m"
        first_token = "7s"
        token_gap = "6s"
        frame_gap = "5s"
        byte_gap = "4s"

        [fallback]
        enabled = false
        on_context_length = true
        on_content_filter = true
        continue_streams = true
        max_wait = "5s"
        body_cap = 2048
        cache_by = "credential"

        [hedge]
        enabled = false
        percentile = 99.0
        min_samples = 100
        min_delay = "250ms"
        max_extra_requests = 0.02
        max_extra_tokens = 0.01
        same_target = false
    "#;
    let config = read(text);
    let written: toml::Table = toml::from_str(text).unwrap();
    assert_eq!(toml::Table::try_from(&config).unwrap(), written);
    let error = ResilienceBuilder::from_config(&config).unwrap_err();
    assert_eq!(error.key(), "circuit_breaker.shared_window", "it needs a store");
    let mut alone = config.clone();
    alone.circuit_breaker.as_mut().unwrap().shared_window = false;
    assert!(ResilienceBuilder::from_config(&alone).is_ok());
    let unwritten = |part: &str, names: &'static [&'static str]| {
        names.iter().copied().filter(|name| written[part].get(*name).is_none()).collect::<Vec<_>>()
    };
    assert!(unwritten("retry", field_names::<crate::retry::Settings>()).is_empty());
    assert!(unwritten("rate_limiter", field_names::<crate::rate_limit::Settings>()).is_empty());
    // A window of time excludes a window of a number of calls.
    let breaker = unwritten("circuit_breaker", field_names::<crate::circuit_breaker::Settings>());
    assert_eq!(breaker, ["sliding_window"]);
    assert!(unwritten("backpressure", field_names::<crate::backpressure::Settings>()).is_empty());
    assert!(unwritten("timeout", field_names::<crate::timeout::Settings>()).is_empty());
    assert!(unwritten("fallback", field_names::<crate::fallback::Settings>()).is_empty());
    assert!(unwritten("hedge", field_names::<crate::hedge::Settings>()).is_empty());
}

#[test]
fn other_names_of_settings_are_accepted() {
    for (other, own) in [
        ("retry = { base_delay = 2 }", "retry = { initial_delay = 2 }"),
        ("retry = { multiplier = 3 }", "retry = { backoff_multiplier = 3 }"),
        ("retry = { reserve = \"5s\" }", "retry = { reserve_for_fallback = \"5s\" }"),
        ("retry_config = { max_delay = 60.0 }", "retry = { max_delay = \"1m\" }"),
        ("rate_limiter = { learn = false }", "rate_limiter = { follow_headers = false }"),
        ("rate_limiter = { adopt = false }", "rate_limiter = { adopt_reported_quotas = false }"),
        ("rate_limiter = { pause = 5 }", "rate_limiter = { default_retry_after = 5 }"),
        ("circuit_breaker = { cooldown = \"40s\" }", "circuit_breaker = { cooldown_seconds = 40 }"),
        ("circuit_breaker_config = { timeout_seconds = 60 }", "circuit_breaker = { cooldown_seconds = 60 }"),
    ] {
        let config = read(other);
        assert_eq!(config, read(own), "{other}");
        assert_ne!(config, read("retry = {}"), "{other}");
        assert_ne!(config, read("rate_limiter = {}"), "{other}");
        assert_ne!(config, read("circuit_breaker = {}"), "{other}");
    }
}

/// A key of another library that does not mean the setting of its part that it resembles most.
#[test]
fn a_name_with_the_meaning_of_another_setting_is_an_error_that_names_it() {
    for (text, message) in [
        ("timeout_seconds = 30", "unknown key `timeout_seconds`, the setting is `timeout.total`"),
        ("enable_retries = true", "unknown key `enable_retries`, the setting is `retry.enabled`"),
        (
            "enable_circuit_breaker = true",
            "unknown key `enable_circuit_breaker`, the setting is `circuit_breaker.enabled`",
        ),
        ("enable_fallbacks = true", "unknown key `enable_fallbacks`, the setting is `fallback.enabled`"),
        (
            "circuit_breaker = { max_wait_duration = 60 }",
            "circuit_breaker: unknown key `max_wait_duration`, the setting is `timeout.attempt`",
        ),
        (
            "retry = { jitter_range = 0.1 }",
            "retry: unknown key `jitter_range`, the setting is `jitter = { ratio = ... }`",
        ),
        (
            "retry = { retryable_exceptions = [] }",
            "retry: unknown key `retryable_exceptions`, the setting is `retry_on`",
        ),
    ] {
        assert_eq!(read_error(text), message);
    }
}

#[test]
fn a_setting_has_one_value_only() {
    for (text, message) in [
        (
            "rate_limiter = { follow_headers = true, learn = false }",
            "rate_limiter.learn: the same setting as `follow_headers`, set only one of them",
        ),
        ("retry = {}\nretry_config = {}", "retry: has two names in this policy, use one of them"),
    ] {
        assert_eq!(read_error(text), message);
    }
}

#[test]
fn null_in_json_is_the_default_and_none_turns_a_setting_off() {
    let json = r#"{ "preset": null, "retry": null, "circuit_breaker": { "ramp_up": null, "failure_threshold": null } }"#;
    assert_eq!(serde_json::from_str::<ResilienceConfig>(json).unwrap(), read("circuit_breaker = {}"));
    let config = read(
        "preset = \"lesson\"\nretry = { budget = \"none\" }\n\
                       timeout = { total = \"none\" }\ncircuit_breaker = { slow_call_threshold = \"none\" }",
    );
    assert_eq!(config.retry.as_ref().unwrap().budget, None);
    assert_eq!(
        (config.timeout.total, config.circuit_breaker.as_ref().unwrap().slow_call_threshold),
        (None, None)
    );
    assert_eq!(toml::from_str::<ResilienceConfig>(&toml::to_string(&config).unwrap()).unwrap(), config);
    assert!(ResilienceBuilder::from_config(&config).is_ok());
}

/// Seed items 23, 55 and 62.
#[test]
fn the_lesson_has_the_numbers_of_the_course() {
    let config = read("preset = \"lesson\"");
    assert_eq!(config, ResilienceConfig::lesson());
    let retry = config.retry.unwrap();
    assert_eq!(
        (retry.max_retries + 1, retry.strategy, retry.jitter),
        (3, Strategy::Exponential, Jitter::Ratio(0.1))
    );
    assert_eq!((retry.initial_delay, retry.max_delay, retry.backoff_multiplier), (secs(1), secs(60), 2.0));
    let layer = CircuitBreakerLayer::from_settings(config.circuit_breaker.clone().unwrap());
    assert!(layer.is_ok());
    let breaker = config.circuit_breaker.unwrap();
    assert_eq!((breaker.failure_threshold, breaker.success_threshold, breaker.cooldown), (5, 3, secs(60)));
    assert_eq!((breaker.slow_call_threshold, breaker.minimum_throughput), (Some(secs(5)), 10));
    assert_eq!(breaker.slow_call_window_size, Some(10), "as many as are enough");
    assert_eq!((breaker.slow_call_rate_threshold, breaker.sliding_window_size), (None, None), "0.5 and 100");
    assert_eq!((config.timeout.total, config.timeout.attempt), (Some(secs(30)), secs(60)));
    assert!(config.rate_limiter.is_none() && config.backpressure.is_none());
}

#[test]
fn every_preset_builds_a_stack_and_survives_a_round_trip() {
    for preset in [Preset::Minimal, Preset::Production, Preset::Lesson] {
        let config = preset.config();
        assert!(ResilienceBuilder::from_config(&config).is_ok(), "{preset:?}");
        assert_eq!(toml::from_str::<ResilienceConfig>(&toml::to_string(&config).unwrap()).unwrap(), config);
        let name = serde_json::to_string(&preset).unwrap();
        assert_eq!(read(&format!("preset = {name}")), config);
    }
    assert_eq!(ResilienceConfig::minimal(), read("retry = {}"));
    assert!(ResilienceConfig::production().backpressure.is_some());
}

/// Regression: an attempt and the call had the same limit, so that no other target was called if the first did
/// not respond.
#[tokio::test(start_paused = true)]
async fn the_production_preset_leaves_time_for_the_next_target() {
    let ((first, hanging), (second, other)) = (strict(), strict());
    hanging.otherwise(Answer::hang());
    let stack = |name| ResilienceBuilder::from_config(&ResilienceConfig::production()).unwrap().name(name);
    let next = FallbackLayer::new().then_addressed("b/m", stack("b/m").service(second));
    let started = clock::now();
    let response = stack("a/m").fallback(next).service(first).send(request()).await.unwrap();
    assert_eq!((response.status().as_u16(), hanging.calls(), other.calls()), (200, 1, 1));
    assert_eq!((clock::now() - started).as_secs(), 480);
}

#[test]
fn program_over_environment_over_file_over_preset_over_defaults() {
    let file = "[retry]\nmax_retries = 5\n[circuit_breaker]\nsuccess_threshold = 1\ncooldown = 20\n\
                [backpressure]\nmax_queued = 7";
    let config = read(&format!("preset = \"lesson\"\n{file}"));
    let vars = [("AI_LIB_BREAKER_COOLDOWN_SECS", "15"), ("AI_LIB_MAX_INFLIGHT", "9")];
    let mut config = overlay(config, &vars).unwrap();
    config.backpressure.get_or_insert_default().max_inflight = 3;
    let (retry, breaker) = (config.retry.unwrap(), config.circuit_breaker.unwrap());
    assert_eq!(
        retry,
        retry::Settings { max_retries: 5, ..ResilienceConfig::lesson().retry.unwrap() },
        "the file over the preset"
    );
    assert_eq!(
        breaker,
        circuit_breaker::Settings {
            success_threshold: 1,
            cooldown: secs(15),
            ..ResilienceConfig::lesson().circuit_breaker.unwrap()
        },
        "a default value in the file too, and the environment over the file"
    );
    let backpressure = config.backpressure.unwrap();
    assert_eq!(
        (backpressure.max_inflight, backpressure.max_queued),
        (3, 7),
        "the program over the environment"
    );
    assert_eq!(backpressure.queue_timeout, secs(10), "the default");
}

#[tokio::test(start_paused = true)]
async fn a_part_can_be_turned_off() {
    let config = read(
        "preset = \"production\"\nretry = { enabled = false }\nrate_limiter = { enabled = false, requests_per_day = 1, on_limit = \"reject\" }\n\
         circuit_breaker = { enabled = false, failure_threshold = 1 }\nbackpressure = { enabled = false, max_inflight = 1 }",
    );
    let (inner, provider) = crate::testing::strict();
    let layer = ResilienceBuilder::from_config(&config).unwrap().build();
    let signals = layer.signals();
    let mut service = tower::Layer::layer(&layer, inner);
    for _ in 0..3 {
        provider.answer(503);
        crate::testing::complete(&mut service).await.unwrap();
    }
    assert_eq!(provider.requests().len(), 3, "no retry, no open circuit, no quota");
    assert_eq!(signals.snapshot().max_inflight, None);
}

#[tokio::test(start_paused = true)]
async fn the_key_of_a_layer_is_configured() {
    use tower::{Layer, ServiceExt};
    let config =
        read("rate_limiter = { requests_per_minute = 1, on_limit = \"reject\", key_by = \"header:x-user\" }");
    let (inner, provider) = crate::testing::strict();
    let mut service = ResilienceBuilder::from_config(&config).unwrap().build().layer(inner);
    let mut passes = async |user: &str| {
        let request = http::Request::builder().header("x-user", user);
        let request = request.body(crate::Payload::from("{}")).unwrap();
        (&mut service).oneshot(request).await.is_ok()
    };
    assert!(passes("a").await && !passes("a").await && passes("b").await);
    assert_eq!(provider.requests().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_quota_of_any_period_is_configured() {
    use tower::Layer;
    let config = read("rate_limiter = { quotas = [{ unit = \"requests\", amount = 2, period = \"10s\" }] }");
    let (inner, provider) = crate::testing::strict();
    let mut service = ResilienceBuilder::from_config(&config).unwrap().build().layer(inner);
    for _ in 0..3 {
        crate::testing::complete(&mut service).await.unwrap();
    }
    let seen = provider.requests();
    let gap = seen[2].at - seen[1].at;
    assert!(gap >= secs(5) && gap <= Duration::from_millis(5_002), "{gap:?}");
}

/// Any format: here JSON, which has no spans.
#[test]
fn all_mistakes_of_a_policy_are_reported_at_once() {
    let json = r#"{
        "brakes": {}, "preset": "prod",
        "retry": { "max_retries": "3", "base_delay": "soon", "max_delay": "0.5s", "max_retrys": 1,
                   "retry_on": ["E9", "E2001", "E10"], "jitter": { "ratio": "x" }, "jitter_range": 1 },
        "rate_limiter": { "learn": true, "follow_headers": false, "quotas": [{ "unit": "tokens" }] },
        "circuit_breaker": 3
    }"#;
    let error = serde_json::from_str::<ResilienceConfig>(json).unwrap_err().to_string();
    let mistakes: Vec<_> = error.lines().collect();
    assert_eq!(
        mistakes,
        [
            "unknown key `brakes`, expected one of `preset`, `retry`, `rate_limiter`, `circuit_breaker`, `backpressure`, `timeout`, `fallback`, `hedge`",
            "circuit_breaker: expected a table, found integer `3`",
            "preset: unknown value `prod`, did you mean `production`?",
            "retry: unknown key `jitter_range`, the setting is `jitter = { ratio = ... }`",
            "retry: unknown key `max_retrys`, did you mean `max_retries`?",
            "retry.initial_delay: expected a duration such as \"30s\" or \"250ms\", or a number of seconds, found string \"soon\"",
            "retry.jitter.ratio: expected a number, found string \"x\"",
            "retry.max_retries: expected a whole number, found string \"3\"",
            "retry.retry_on[0]: expected a standard error code such as E2001 or rate_limited, found string \"E9\"",
            "retry.retry_on[2]: expected a standard error code such as E2001 or rate_limited, found string \"E10\"",
            "rate_limiter.learn: the same setting as `follow_headers`, set only one of them",
            "rate_limiter.quotas[0]: missing key `amount`",
            "rate_limiter.quotas[0]: missing key `period`",
        ]
    );
}

#[test]
fn every_number_of_a_file_is_checked_beside_what_cannot_be_read() {
    let text = "retry = { initial_delay = \"1m\", max_delay = \"soon\", max_attempts = 0, budget = { ratio = 2 } }\n\
                [circuit_breaker_config]\ntimeout_seconds = -1\nmax_cooldown = \"1s\"\nfailure_threshold = 0\n\
                [timeout]\nattempt = 0\ntotal = 0\nheader = \"a b\"\n\
                [[rate_limiter.quotas]]\nunit = \"tokens\"\namount = 1\nperiod = 0";
    let error = ResilienceConfig::from_toml(text).unwrap_err().to_string();
    let mistakes: Vec<_> = error.lines().collect();
    assert_eq!(
        mistakes,
        [
            "line 1, column 45: retry.max_delay: expected a duration such as \"30s\" or \"250ms\", or a number of seconds, found string \"soon\"",
            "line 1, column 68: retry.max_attempts: expected at least 1, found 0",
            "line 1, column 90: retry.budget.ratio: expected a number from 0 to 1, found 2",
            "line 3, column 19: circuit_breaker.cooldown_seconds: expected a duration such as \"30s\" or \"250ms\", or a number of seconds, found integer `-1`",
            "line 5, column 21: circuit_breaker.failure_threshold: expected at least 1, found 0",
            "line 7, column 11: timeout.attempt: expected more than no time, found 0s",
            "line 8, column 9: timeout.total: expected more than no time, found 0s",
            "line 9, column 10: timeout.header: expected the name of a header, found \"a b\"",
            "line 13, column 10: rate_limiter.quotas[0].period: expected more than no time, found 0s",
        ]
    );
}

/// Regression: a number of more than 63 bits was printed, which may be a key without its quotes, or hid all
/// other mistakes.
#[test]
fn a_number_that_is_too_large_is_a_mistake_at_its_key() {
    let text = "rate_limiter.tokens_per_day = 18446744073709551615\nrate_limiter.non_limt = \"reject\"\n\
                fallback.cache_by = 31415926535897932384626433832795\nretry.max_retries = 0xffffffffffffffffff\n\
                retry.backoff_multiplier = 1e400\ncircuit_breaker.failure_threshold = -9223372036854775809\n\
                circuit_breaker.success_threshold = 9223372036854775807";
    let error = ResilienceConfig::from_toml(text).unwrap_err();
    assert_eq!(
        error.to_string(),
        "line 1, column 31: rate_limiter.tokens_per_day: expected a whole number, found a number beyond 2^63\n\
         line 2, column 14: rate_limiter: unknown key `non_limt`, did you mean `on_limit`?\n\
         line 3, column 21: fallback.cache_by: expected \"tenant\", \"credential\", \"model\", \"header:<name>\", \
         \"path\" or \"host\", found a number beyond 2^63\n\
         line 4, column 21: retry.max_retries: expected a whole number, found a number beyond 2^63\n\
         line 5, column 28: retry.backoff_multiplier: expected a number of at least 1, found inf\n\
         line 6, column 37: circuit_breaker.failure_threshold: expected a whole number, found a number beyond 2^63\n\
         line 7, column 37: circuit_breaker.success_threshold: expected a whole number from 0 to 4294967295, \
         found integer"
    );
    // A number of seconds or requests may be that large.
    let config = ResilienceConfig::from_toml("timeout.total = 10000000000000000000").unwrap();
    assert_eq!(config.timeout.total, Some(secs(10_000_000_000_000_000_000)));
}

#[test]
fn a_file_in_another_format_is_one_mistake() {
    for text in [
        "{\n  \"retry\": {\n    \"max_retries\": 3\n  }\n}",
        "---\nretry:\n  max_retries: 3\n",
        "# Comment.\nretry:\n  retry_on:\n    - E2001\n",
    ] {
        let error = ResilienceConfig::from_toml(text).unwrap_err();
        let problems: Vec<_> = error.mistakes().map(super::Mistake::problem).collect();
        assert_eq!(problems, ["expected TOML, as in `key = \"..\"`"], "{text}");
    }
}

#[test]
fn one_line_of_another_format_hides_no_other_mistake() {
    let text = "[retry]\nstrategy = exponential\njitter = full\nmax_retries: 3\n";
    let error = ResilienceConfig::from_toml(text).unwrap_err().to_string();
    let lines: Vec<_> = error.lines().filter_map(|line| line.split_once(", column")).collect();
    assert_eq!(
        lines.iter().map(|line| line.0).collect::<Vec<_>>(),
        ["line 2", "line 3", "line 4"],
        "{error}"
    );
}

#[test]
fn an_error_in_an_array_has_the_index_of_the_file() {
    #[derive(Debug, serde::Deserialize)]
    struct File {
        numbers: Vec<Number>,
    }
    #[derive(Debug, serde::Deserialize)]
    struct Number {
        n: u8,
        m: u8,
    }
    let text = "numbers = [{ n = 1, m = 1 }, 2, { m = 1 }, \"x\", { n = \"x\", m = 300 }, { n = 5, m = 5 }]";
    let read = super::recover::<File>(toml::from_str(text).unwrap(), ConfigError::from_serde);
    let error = read.checks.finish(()).unwrap_err().to_string();
    let keys: Vec<_> = error.lines().map(|line| line.split(": ").next().unwrap()).collect();
    assert_eq!(keys, ["numbers[1]", "numbers[2]", "numbers[3]", "numbers[4].m", "numbers[4].n"]);
    let numbers = read.value.unwrap().numbers;
    let last = numbers.iter().position(|number| (number.n, number.m) == (5, 5)).unwrap();
    assert_eq!(read.removed.original_key(&format!("numbers[{last}].n")), "numbers[5].n");
    assert!(
        read.removed.has("numbers[2].n") && !read.removed.has("numbers[5]") && !read.removed.has("numbers")
    );
}

fn file(text: &str) -> PolicyFile {
    toml::from_str(text).unwrap()
}

/// The origin of each setting of a layer that is not the default.
fn origins(explanation: &super::Explanation) -> Vec<(&str, &str, Origin)> {
    let settings = explanation.layers.iter().flat_map(|layer| &layer.settings);
    let origins = settings.map(|setting| (&*setting.key, &*setting.value, setting.origin));
    origins.filter(|(.., origin)| *origin != Origin::Default).collect()
}

#[test]
fn each_setting_is_explained_with_its_origin() {
    let file = file(
        "preset = \"lesson\"\nretry = { base_delay = \"1s\" }\ncircuit_breaker = { cooldown = 20 }\n\
         backpressure = { max_queued = 7 }",
    );
    let vars = HashMap::from([
        ("AI_LIB_BREAKER_COOLDOWN_SECS", "15"),
        ("AI_LIB_BREAKER_FAILURE_THRESHOLD", "5"),
        ("AI_LIB_RPS", "2.5"),
    ]);
    let env = |name: &str| vars.get(name).map(Into::into);
    let mut config = file.clone().checked().unwrap().overlay(env).unwrap();
    config.backpressure.get_or_insert_default().max_inflight = 3;
    config.timeout.total = None;
    config.rate_limiter.get_or_insert_default().key_by = Some(crate::KeyBy::new(|_| 1));
    let explanation = config.explain(&file, env);
    assert_eq!(
        origins(&explanation),
        [
            ("timeout.total", "none", Origin::Program),
            ("retry.max_retries", "2", Origin::Preset),
            ("retry.jitter", "{ ratio = 0.1 }", Origin::Preset),
            ("retry.initial_delay", "\"1s\"", Origin::File),
            ("retry.max_delay", "\"1m\"", Origin::Preset),
            ("backpressure.max_inflight", "3", Origin::Program),
            ("backpressure.max_queued", "7", Origin::File),
            ("rate_limiter.requests_per_second", "2.5", Origin::Environment),
            ("rate_limiter.key_by", "\"a closure\"", Origin::Program),
            ("circuit_breaker.failure_threshold", "5", Origin::Environment),
            ("circuit_breaker.success_threshold", "3", Origin::Preset),
            ("circuit_breaker.cooldown_seconds", "\"15s\"", Origin::Environment),
            ("circuit_breaker.half_open_max", "3", Origin::Preset),
            ("circuit_breaker.slow_call_threshold", "\"5s\"", Origin::Preset),
            ("circuit_breaker.slow_call_window_size", "10", Origin::Preset),
            ("circuit_breaker.minimum_throughput", "10", Origin::Preset),
            ("timeout.attempt", "\"1m\"", Origin::Preset),
        ]
    );
}

#[test]
fn every_setting_of_the_stack_is_explained_once_in_protocol_order() {
    let explanation = super::explanation::all_parts().explain(&PolicyFile::default(), |_| None);
    let names: Vec<_> = explanation.layers.iter().map(|layer| layer.name).collect();
    let order =
        ["call", "fallback", "hedge", "retry", "backpressure", "rate_limiter", "circuit_breaker", "wire"];
    assert_eq!(names, order);
    assert!(explanation.layers.iter().all(|layer| layer.is_on));
    let mut keys: Vec<_> =
        explanation.layers.iter().flat_map(|layer| &layer.settings).map(|setting| &*setting.key).collect();
    let count = field_names::<crate::fallback::Settings>().len()
        + field_names::<crate::retry::Settings>().len()
        + field_names::<crate::backpressure::Settings>().len()
        + field_names::<crate::rate_limit::Settings>().len()
        + field_names::<crate::circuit_breaker::Settings>().len()
        + field_names::<crate::hedge::Settings>().len()
        + field_names::<crate::timeout::Settings>().len();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), count);

    let off = file("circuit_breaker = { enabled = false }");
    let explanation = ResilienceConfig::try_from(off.clone()).unwrap().explain(&off, |_| None);
    let on: Vec<_> = explanation.layers.iter().filter(|layer| layer.is_on).map(|layer| layer.name).collect();
    assert_eq!(on, ["call", "fallback", "wire"]);
    assert!(explanation.to_string().contains("\nretry: off\n"), "{explanation}");
    assert!(
        serde_json::to_string(&explanation)
            .unwrap()
            .contains(r#"{"key":"circuit_breaker.enabled","value":"false","origin":"file"}"#)
    );
}

/// The table of variables is that of the code that reads them.
#[test]
fn the_origin_of_a_setting_that_a_variable_sets_is_the_environment() {
    for (variable, key) in super::env::VARIABLES {
        let env = |name: &str| (name == variable).then(|| "77".into());
        let config = ResilienceConfig::default().overlay(env).unwrap();
        assert_ne!(config, ResilienceConfig::default(), "{variable}");
        let explanation = config.explain(&PolicyFile::default(), env);
        let keys: Vec<_> = origins(&explanation).into_iter().map(|(key, _, origin)| (key, origin)).collect();
        assert_eq!(keys, [(key, Origin::Environment)]);
    }
}
