use std::collections::BTreeSet;
use std::ffi::OsString;

use schemars::JsonSchema;
use serde::Deserialize;
use tidegate::config::Checks;

use super::GatewayConfigError;
use super::access_key::KeySource;
use super::provider::is_visible;
use crate::access::Caller;

/// The table of a caller in the configuration file.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "Caller")]
#[serde(deny_unknown_fields, expecting = "a table with name, and key_env or key_file")]
pub(super) struct CallerEntry {
    /// The name of the caller, which is the tenant of its requests.
    name: String,
    /// The variable of the environment with the key.
    key_env: Option<String>,
    /// The file with the key, in one line.
    key_file: Option<String>,
}

/// The callers of the file, and a warning for each with a short key.
pub(super) fn check(
    entries: Vec<CallerEntry>,
    env: impl Fn(&str) -> Option<OsString>,
    checks: &mut Checks,
) -> (Vec<Caller>, Vec<String>) {
    let (mut callers, mut warnings) = (Vec::<Caller>::with_capacity(entries.len()), Vec::new());
    let mut names = BTreeSet::new();
    for (index, entry) in entries.into_iter().enumerate() {
        let mut invalid = |key: &str, problem: String| {
            checks.fail(GatewayConfigError::new(format!("callers[{index}].{key}"), problem));
        };
        if !is_visible(&entry.name) {
            invalid("name", "expected a name of visible ASCII".to_owned());
        }
        if !names.insert(entry.name.clone()) {
            invalid("name", format!("`{}` is another caller already", entry.name));
        }
        let source = KeySource { key_env: entry.key_env.as_deref(), key_file: entry.key_file.as_deref() };
        let setting = source.setting();
        let (key, warning) = match source.read(&env) {
            Ok(key) => key,
            Err(problem) => {
                invalid(setting, problem);
                continue;
            }
        };
        warnings.extend(warning.map(|warning| format!("callers[{index}].{setting}: {warning}")));
        if let Some(other) = callers.iter().find(|caller| caller.key == key) {
            invalid(setting, format!("key is that of `{}`", other.name));
        }
        callers.push(Caller { name: entry.name.into(), key });
    }
    (callers, warnings)
}
