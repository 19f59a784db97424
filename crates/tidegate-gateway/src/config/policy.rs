use std::collections::BTreeMap;
use std::ffi::OsString;

use tidegate::{ResilienceBuilder, ResilienceConfig};

use super::ConfigError;

/// The policy of a route that names none. It is always there.
pub(super) const DEFAULT: &str = "default";

/// The policies, each checked as it is written, and then with the environment on top.
pub(super) fn check(
    mut policies: BTreeMap<String, ResilienceConfig>,
    env: impl Fn(&str) -> Option<OsString>,
) -> Result<BTreeMap<String, ResilienceConfig>, ConfigError> {
    policies.entry(DEFAULT.to_owned()).or_default();
    let checked = policies.into_iter().map(|(name, policy)| {
        check_numbers(&name, &policy)?;
        let policy = policy.overlay(&env)?;
        check_numbers(&name, &policy)?;
        Ok((name, policy))
    });
    checked.collect()
}

fn check_numbers(name: &str, policy: &ResilienceConfig) -> Result<(), ConfigError> {
    let built = ResilienceBuilder::from_config(policy);
    built.map(drop).map_err(|error| error.within(&format!("policies.{name}")).into())
}
