use std::collections::HashMap;
use std::time::Duration;

use super::{ConfigError, ResilienceConfig};
use crate::ResilienceBuilder;
use crate::retry::{Jitter, Strategy};

fn read(text: &str) -> ResilienceConfig {
    toml::from_str(text).unwrap()
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
    assert_eq!((breaker.cooldown_seconds, config.backpressure.unwrap().max_inflight), (secs(30), 50));
    assert!(config.rate_limiter.is_none() && config.timeout.total.is_none());
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
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
    for (text, message) in [
        (
            "retry = { retry_on = [\"E2001\", \"quota_exhausted\"] }",
            "retry.retry_on: expected the number or name of a retryable error code, such as E2001 or rate_limited, found \"quota_exhausted\"",
        ),
        ("retry = { max_attempts = 0 }", "retry.max_attempts: expected at least 1, found 0"),
        (
            "retry = { backoff_multiplier = 0.5 }",
            "retry.backoff_multiplier: expected a number of at least 1, found 0.5",
        ),
        (
            "retry = { backoff_multiplier = nan }",
            "retry.backoff_multiplier: expected a number of at least 1, found NaN",
        ),
        (
            "retry = { jitter = { ratio = 1.5 } }",
            "retry.jitter.ratio: expected a number from 0 to 1, found 1.5",
        ),
        ("retry = { initial_delay = 60 }", "retry.initial_delay: expected at most max_delay, 30s, found 1m"),
        (
            "rate_limiter = { requests_per_second = 0 }",
            "rate_limiter.requests_per_second: expected a number above 0 and below 4294967296, found 0",
        ),
        (
            "rate_limiter = { requests_per_day = -2.5 }",
            "rate_limiter.requests_per_day: expected a number above 0 and below 4294967296, found -2.5",
        ),
        (
            "rate_limiter = { tokens_per_minute = 0 }",
            "rate_limiter.tokens_per_minute: expected at least 1, found 0",
        ),
        (
            "rate_limiter = { output_tokens_per_minute = 0 }",
            "rate_limiter.output_tokens_per_minute: expected at least 1, found 0",
        ),
        ("rate_limiter = { burst_size = 0 }", "rate_limiter.burst_size: expected at least 1, found 0"),
        (
            "circuit_breaker = { failure_threshold = 0 }",
            "circuit_breaker.failure_threshold: expected at least 1, found 0",
        ),
        (
            "circuit_breaker = { success_threshold = 0 }",
            "circuit_breaker.success_threshold: expected at least 1, found 0",
        ),
        (
            "circuit_breaker = { half_open_max = 0 }",
            "circuit_breaker.half_open_max: expected at least 1, found 0",
        ),
        (
            "circuit_breaker = { failure_rate_threshold = 50 }",
            "circuit_breaker.failure_rate_threshold: expected a number above 0 and at most 1, found 50",
        ),
        (
            "circuit_breaker = { slow_call_threshold = 1, slow_call_rate_threshold = nan }",
            "circuit_breaker.slow_call_rate_threshold: expected a number above 0 and at most 1, found NaN",
        ),
        (
            "circuit_breaker = { slow_call_rate_threshold = 0.5 }",
            "circuit_breaker.slow_call_rate_threshold: expected slow_call_threshold beside it, found 0.5",
        ),
        (
            "circuit_breaker = { slow_call_threshold = 0 }",
            "circuit_breaker.slow_call_threshold: expected more than no time, found 0s",
        ),
        (
            "circuit_breaker = { minimum_throughput = 0 }",
            "circuit_breaker.minimum_throughput: expected at least 1, found 0",
        ),
        (
            "circuit_breaker = { sliding_window_size = 2000000 }",
            "circuit_breaker.sliding_window_size: expected a whole number from 1 to 1048576, found 2000000",
        ),
        (
            "circuit_breaker = { sliding_window = \"5ms\" }",
            "circuit_breaker.sliding_window: expected at least 10ms, found 5ms",
        ),
        (
            "circuit_breaker = { sliding_window = 60, sliding_window_size = 100 }",
            "circuit_breaker.sliding_window: expected no sliding_window_size beside it, found 1m",
        ),
        (
            "circuit_breaker = { cooldown_growth = 0.5 }",
            "circuit_breaker.cooldown_growth: expected a number of at least 1, found 0.5",
        ),
        (
            "circuit_breaker = { max_cooldown = 10 }",
            "circuit_breaker.max_cooldown: expected at least cooldown_seconds, 30s, found 10s",
        ),
        (
            "circuit_breaker = { cooldown_jitter = 1.5 }",
            "circuit_breaker.cooldown_jitter: expected a number from 0 to 1, found 1.5",
        ),
        ("timeout = { header = \"a b\" }", "timeout.header: expected the name of a header, found \"a b\""),
        ("backpressure = { max_inflight = 0 }", "backpressure.max_inflight: expected at least 1, found 0"),
        ("backpressure = { min_inflight = 0 }", "backpressure.min_inflight: expected at least 1, found 0"),
        (
            "backpressure = { max_inflight = 8, min_inflight = 9 }",
            "backpressure.min_inflight: expected at most max_inflight, 8, found 9",
        ),
        ("timeout = { attempt = 0 }", "timeout.attempt: expected more than no time, found 0s"),
        ("timeout = { token_gap = 0 }", "timeout.token_gap: expected more than no time, found 0s"),
        ("timeout = { total = \"0s\" }", "timeout.total: expected more than no time, found 0s"),
    ] {
        assert_eq!(build_error(text), message);
    }
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
    assert!(error.contains("unknown variant `reno`, expected one of `aimd`, `gradient`, `vegas`"), "{error}");
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
    let error = toml::from_str::<ResilienceConfig>("retry = { strategy = \"often\" }").unwrap_err();
    assert!(error.to_string().contains("unknown variant `often`, expected one of `fixed`"), "{error}");
}

#[test]
fn unknown_keys_are_errors() {
    let error = toml::from_str::<ResilienceConfig>("retry = { max_retrys = 3 }").unwrap_err();
    assert!(
        error.to_string().contains("unknown field `max_retrys`, expected one of `max_retries`"),
        "{error}"
    );
    assert!(toml::from_str::<ResilienceConfig>("breaker = {}").is_err());
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
    assert_eq!((breaker.failure_threshold, breaker.cooldown_seconds), (7, Duration::from_millis(12_500)));
    let backpressure = config.backpressure.as_ref().unwrap();
    assert_eq!((backpressure.max_inflight, backpressure.queue_timeout), (9, Duration::from_millis(1_500)));
    assert_eq!(config.timeout.attempt, Duration::from_millis(250));
    assert!(config.retry.is_none());
    assert!(ResilienceBuilder::from_config(&config).is_ok());
}

#[test]
fn without_variables_nothing_is_on() {
    assert_eq!(overlay(ResilienceConfig::default(), &[]).unwrap(), ResilienceConfig::default());
}

#[test]
fn an_invalid_variable_is_an_error_with_its_name() {
    for (name, value, message) in [
        ("AI_LIB_RPS", "fast", "AI_LIB_RPS: expected a number above 0 and below 4294967296, found \"fast\""),
        ("AI_LIB_RPS", "0", "AI_LIB_RPS: expected a number above 0 and below 4294967296, found \"0\""),
        (
            "AI_LIB_RPS",
            "1e300",
            "AI_LIB_RPS: expected a number above 0 and below 4294967296, found \"1e300\"",
        ),
        ("AI_LIB_RPM", "inf", "AI_LIB_RPM: expected a number above 0 and below 4294967296, found \"inf\""),
        (
            "AI_LIB_MAX_INFLIGHT",
            "-3",
            "AI_LIB_MAX_INFLIGHT: expected a whole number of at least 1, found \"-3\"",
        ),
        ("AI_LIB_MAX_INFLIGHT", "", "AI_LIB_MAX_INFLIGHT: expected a whole number of at least 1, found \"\""),
        (
            "AI_LIB_BREAKER_FAILURE_THRESHOLD",
            "0",
            "AI_LIB_BREAKER_FAILURE_THRESHOLD: expected a whole number of at least 1, found \"0\"",
        ),
        (
            "AI_LIB_BREAKER_COOLDOWN_SECS",
            "soon",
            "AI_LIB_BREAKER_COOLDOWN_SECS: expected a number of seconds, found \"soon\"",
        ),
        (
            "AI_LIB_QUEUE_TIMEOUT",
            "-1",
            "AI_LIB_QUEUE_TIMEOUT: expected a number of seconds or a duration, found \"-1\"",
        ),
        (
            "AI_LIB_ATTEMPT_TIMEOUT_MS",
            "1.5",
            "AI_LIB_ATTEMPT_TIMEOUT_MS: expected a whole number of milliseconds, at least 1, found \"1.5\"",
        ),
    ] {
        let error = overlay(ResilienceConfig::default(), &[(name, value)]).unwrap_err();
        assert_eq!(error.to_string(), message);
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
    let remaining = |layer: &crate::ResilienceLayer| layer.signals().snapshot().tokens_remaining;
    assert_eq!(remaining(&layer), Some(900));
    provider.answer(200).header("x-ratelimit-remaining-tokens", "0").header("x-ratelimit-reset-tokens", "9s");
    // `{}` has no prompt, and the output is estimated at 100 tokens.
    let _response = crate::testing::call(&mut layer.layer(inner)).await.unwrap();
    assert_eq!(remaining(&layer), Some(800));
    let default = read("rate_limiter = {}").rate_limiter.unwrap();
    assert_eq!((default.default_output_tokens, default.learn, default.adopt), (500, true, true));
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
    let layer = config.circuit_breaker.unwrap().layer().unwrap();
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
