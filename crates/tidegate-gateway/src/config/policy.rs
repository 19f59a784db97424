use std::collections::BTreeMap;
use std::ffi::OsString;

use tidegate::config::PolicyFile;
use tidegate::{ResilienceBuilder, ResilienceConfig};

use super::GatewayConfigError;

/// The policy of a route that names none. It always exists.
pub(super) const DEFAULT: &str = "default";

/// Checks each policy as it is written, and again after the environment variables are applied.
pub(super) fn check(
    mut policies: BTreeMap<String, PolicyFile>,
    env: impl Fn(&str) -> Option<OsString>,
) -> Result<BTreeMap<String, ResilienceConfig>, GatewayConfigError> {
    policies.entry(DEFAULT.to_owned()).or_default();
    let checked = policies.into_iter().map(|(name, file)| {
        let policy = ResilienceConfig::try_from(file).map_err(|error| error.within(&key(&name)))?;
        check_numbers(&name, &policy)?;
        let policy = policy.overlay(&env)?;
        check_numbers(&name, &policy)?;
        Ok((name, policy))
    });
    checked.collect()
}

fn check_numbers(name: &str, policy: &ResilienceConfig) -> Result<(), GatewayConfigError> {
    let built = ResilienceBuilder::from_config(policy);
    built.map(drop).map_err(|error| error.within(&key(name)).into())
}

fn key(name: &str) -> String {
    format!("policies.{name}")
}
