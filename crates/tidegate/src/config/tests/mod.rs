mod environment;
mod explanation;
mod layers;
mod mistakes;

use std::collections::HashMap;
use std::time::Duration;

use super::{ConfigError, Explanation, Origin, PolicyFile, Preset, ResilienceConfig, field_names};
use crate::retry::{Jitter, Strategy};
use crate::testing::secs;
use crate::{CircuitBreakerLayer, ResilienceBuilder, circuit_breaker, retry};

fn file(text: &str) -> PolicyFile {
    toml::from_str(text).unwrap()
}

/// The origin of each setting of a layer that is not the default.
fn origins(explanation: &Explanation) -> Vec<(&str, &str, Origin)> {
    let settings = explanation.layers.iter().flat_map(|layer| &layer.settings);
    let origins = settings.map(|setting| (&*setting.key, &*setting.value, setting.origin));
    origins.filter(|(.., origin)| *origin != Origin::Default).collect()
}

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
