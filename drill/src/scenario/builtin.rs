use tidegate::config::ConfigError;

use super::Scenario;

macro_rules! files {
    ($($name:literal),* $(,)?) => {
        /// The scenarios of `drill/scenarios`: their names and their texts.
        pub const BUILT_IN: &[(&str, &str)] =
            &[$(($name, include_str!(concat!("../../scenarios/", $name, ".toml")))),*];
    };
}

files![
    "healthy",
    "flaky",
    "brownout",
    "outage",
    "outage-alone",
    "rate-limit",
    "quota-exhausted",
    "overloaded",
    "error-event",
    "cut",
    "stall",
    "herd",
    "leaving",
    "hung-probe",
    "recovering",
    "context",
    "tenants",
    "daily-quota",
    "empty",
    "stale",
    "long-tail",
    "group-capacity",
    "group-dead",
    "group-slow",
    "group-quota",
];

/// All built-in scenarios, in the order of the table.
///
/// # Errors
///
/// A file has a mistake.
pub fn built_in() -> Result<Vec<Scenario>, ConfigError> {
    BUILT_IN.iter().map(|(name, text)| Scenario::parse(name, text)).collect()
}
