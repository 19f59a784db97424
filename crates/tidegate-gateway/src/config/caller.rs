use std::collections::BTreeSet;
use std::ffi::OsString;

use schemars::JsonSchema;
use serde::Deserialize;
use tidegate::config::Checks;

use super::GatewayConfigError;
use super::provider::{is_visible, secret};
use crate::access::{Caller, CallerKey};

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

/// The shortest key without a warning. Shorter ones can be guessed.
const SHORT_KEY: usize = 16;

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
        let (setting, key) = match (&entry.key_env, &entry.key_file) {
            (Some(variable), None) => ("key_env", secret(variable, &env)),
            (None, Some(path)) => ("key_file", secret_in_file(path)),
            _ => ("key_env", Err("expected either key_env or key_file".to_owned())),
        };
        let key = match key {
            Ok(key) => key,
            Err(problem) => {
                invalid(setting, problem);
                continue;
            }
        };
        if key.len() < SHORT_KEY {
            warnings.push(format!("callers[{index}].{setting}: key is shorter than {SHORT_KEY} characters"));
        }
        let key = CallerKey::from(key);
        if let Some(other) = callers.iter().find(|caller| caller.key == key) {
            invalid(setting, format!("key is that of `{}`", other.name));
        }
        callers.push(Caller { name: entry.name.into(), key });
    }
    (callers, warnings)
}

/// The secret in a file, without the end of its line.
fn secret_in_file(path: &str) -> Result<String, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{path:?} cannot be read: {error}"))?;
    let key = text.trim_end_matches(['\r', '\n']);
    match is_visible(key) {
        true => Ok(key.to_owned()),
        false => Err(format!("expected one line of visible ASCII in {path:?}")),
    }
}
