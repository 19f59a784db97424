use std::collections::BTreeMap;
use std::ffi::OsString;

use tidegate::config::redacted;

use super::GatewayConfigError;
use super::file::ConfigFile;
use super::provider::is_variable;

/// Whether the variables with secrets have to be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Secrets {
    Needed,
    Optional,
}

/// The variables of a file that are not set, each with the key that names it first.
#[derive(Default)]
pub(super) struct MissingSecrets(BTreeMap<String, String>);

/// The secrets of `file` that are missing and need not be set.
pub(super) fn missing_secrets(
    file: &ConfigFile,
    secrets: Secrets,
    env: impl Fn(&str) -> Option<OsString>,
) -> MissingSecrets {
    let mut missing = MissingSecrets::default();
    if secrets == Secrets::Optional {
        // The key itself may be in the place of the name of its variable.
        let named = file.secret_variables().into_iter().filter(|(_, variable)| is_variable(variable));
        for (key, variable) in named.filter(|(_, variable)| env(variable).is_none()) {
            missing.0.entry(variable.to_owned()).or_insert(key);
        }
    }
    missing
}

impl MissingSecrets {
    /// A value in place of the secret, which no other has, which is not short, and which is a URL of a store.
    pub(super) fn stand_in(&self, variable: &str) -> Option<OsString> {
        self.0.contains_key(variable).then(|| format!("redis://the-missing-secret-in-{variable}").into())
    }

    pub(super) fn warnings(&self) -> impl Iterator<Item = GatewayConfigError> {
        let warning =
            |variable, key: &str| GatewayConfigError::new(key, format!("{} is not set", redacted(variable)));
        self.0.iter().map(move |(variable, key)| warning(variable, key))
    }
}
