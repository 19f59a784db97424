//! Messages about what is not valid, with their keys.

use super::*;

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
        (
            "rate_limiter = { max_wait_duration = 5 }",
            "rate_limiter: unknown key `max_wait_duration`, the setting is `max_wait`",
        ),
        (
            "rate_limiter = { timeout_seconds = 5 }",
            "rate_limiter: unknown key `timeout_seconds`, the setting is `max_wait`",
        ),
        (
            "backpressure = { max_wait_duration = 5 }",
            "backpressure: unknown key `max_wait_duration`, the setting is `queue_timeout`",
        ),
        (
            "backpressure = { timeout_seconds = 5 }",
            "backpressure: unknown key `timeout_seconds`, the setting is `queue_timeout`",
        ),
        (
            "timeout = { max_wait_duration = 5 }",
            "timeout: unknown key `max_wait_duration`, the setting is `attempt`",
        ),
        (
            "timeout = { timeout_seconds = 5 }",
            "timeout: unknown key `timeout_seconds`, the setting is `total`",
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
        let problems: Vec<_> = error.mistakes().map(crate::config::Mistake::problem).collect();
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
    let read = crate::config::recover::<File>(toml::from_str(text).unwrap(), ConfigError::from_serde);
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
