//! Settings from variables.

use super::*;

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
    for (name, key) in crate::config::env::VARIABLES {
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
