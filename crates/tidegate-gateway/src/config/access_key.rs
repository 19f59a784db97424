use std::ffi::OsString;

use super::provider::{secret, secret_in_file};
use crate::access::AccessKey;

/// Where a key is: in a variable of the environment, or alone in a file.
pub(super) struct AccessKeySource<'a> {
    pub(super) key_env: Option<&'a str>,
    pub(super) key_file: Option<&'a str>,
}

/// The shortest key without a warning. Shorter ones can be guessed.
const SHORT_KEY: usize = 16;

impl AccessKeySource<'_> {
    /// The name of the setting, for messages.
    pub(super) const fn setting(&self) -> &'static str {
        match (self.key_env, self.key_file) {
            (None, Some(_)) => "key_file",
            _ => "key_env",
        }
    }

    /// The key, and a warning if it is short.
    pub(super) fn read(
        &self,
        env: impl Fn(&str) -> Option<OsString>,
    ) -> Result<(AccessKey, Option<String>), String> {
        let key = match (self.key_env, self.key_file) {
            (Some(variable), None) => secret(variable, env)?,
            (None, Some(path)) => secret_in_file(path)?,
            _ => return Err("expected either key_env or key_file".to_owned()),
        };
        let warning = (key.len() < SHORT_KEY).then(|| format!("key is shorter than {SHORT_KEY} characters"));
        Ok((key.into(), warning))
    }
}
