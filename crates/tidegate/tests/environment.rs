//! `from_env` and `overlay_env` read the variables of the process. They cannot be set while other threads may
//! read them, so each test runs itself again in a process of its own.
#![cfg(feature = "config")]

use std::process::Command;
use std::time::Duration;

use tidegate::{ResilienceBuilder, ResilienceConfig};

/// Runs `check`, which is the body of the test `name`, in a process that has these `AI_LIB_*` variables only.
fn with_environment(name: &str, variables: &[(&str, &str)], check: impl FnOnce()) {
    const IS_CHILD: &str = "TIDEGATE_TEST_IS_CHILD";
    if std::env::var_os(IS_CHILD).is_some() {
        return check();
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    for (inherited, _) in std::env::vars_os() {
        if inherited.to_string_lossy().starts_with("AI_LIB_") {
            command.env_remove(inherited);
        }
    }
    command.args([name, "--exact"]).env(IS_CHILD, "1").envs(variables.iter().copied());
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[test]
fn from_env_reads_the_environment_of_the_process() {
    let variables = [("AI_LIB_RPM", "90"), ("AI_LIB_ATTEMPT_TIMEOUT_MS", "250")];
    with_environment("from_env_reads_the_environment_of_the_process", &variables, || {
        let config = ResilienceConfig::from_env().unwrap();
        assert_eq!(config.rate_limiter.as_ref().unwrap().requests_per_minute, Some(90.0));
        assert_eq!(config.timeout.attempt, Duration::from_millis(250));
        assert!(config.retry.is_none() && config.circuit_breaker.is_none() && config.backpressure.is_none());
        assert!(ResilienceBuilder::from_env().is_ok());
    });
}

#[test]
fn overlay_env_overrides_the_file() {
    let variables = [("AI_LIB_MAX_INFLIGHT", "9"), ("AI_LIB_BREAKER_COOLDOWN_SECS", "12.5")];
    with_environment("overlay_env_overrides_the_file", &variables, || {
        let text = "backpressure = { max_inflight = 5, max_queued = 6 }";
        let file: ResilienceConfig = toml::from_str(text).unwrap();
        let config = file.overlay_env().unwrap();
        let backpressure = config.backpressure.unwrap();
        assert_eq!((backpressure.max_inflight, backpressure.max_queued), (9, 6));
        assert_eq!(config.circuit_breaker.unwrap().cooldown, Duration::from_millis(12_500));
    });
}

#[test]
fn an_invalid_variable_is_an_error_with_its_name() {
    let variables = [("AI_LIB_RPS", "fast")];
    with_environment("an_invalid_variable_is_an_error_with_its_name", &variables, || {
        let message = "AI_LIB_RPS: expected a number above 0 and below 4294967296, found \"fast\"";
        assert_eq!(ResilienceConfig::from_env().unwrap_err().to_string(), message);
        assert_eq!(ResilienceConfig::minimal().overlay_env().unwrap_err().to_string(), message);
        assert_eq!(ResilienceBuilder::from_env().unwrap_err().to_string(), message);
    });
}

#[test]
fn without_variables_nothing_is_changed() {
    with_environment("without_variables_nothing_is_changed", &[], || {
        assert_eq!(ResilienceConfig::from_env().unwrap(), ResilienceConfig::default());
        assert_eq!(ResilienceConfig::lesson().overlay_env().unwrap(), ResilienceConfig::lesson());
    });
}
