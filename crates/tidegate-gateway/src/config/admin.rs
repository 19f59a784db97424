use std::ffi::OsString;

use schemars::JsonSchema;
use serde::Deserialize;
use tidegate::config::redacted;

use super::GatewayConfigError;
use super::access_key::AccessKeySource;
use crate::access::{AccessKey, Caller};

/// The table of the operator in the configuration file.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "Admin")]
#[serde(deny_unknown_fields, expecting = "a table with key_env or key_file")]
pub(super) struct AdminEntry {
    /// The variable of the environment with the key.
    key_env: Option<String>,
    /// The file with the key, in one line.
    key_file: Option<String>,
}

impl AdminEntry {
    pub(super) fn key_env(&self) -> Option<&str> {
        self.key_env.as_deref()
    }

    pub(super) fn key_file(&self) -> Option<&str> {
        self.key_file.as_deref()
    }

    /// The admin key, and a warning if it is short.
    pub(super) fn check(
        self,
        callers: &[Caller],
        env: impl Fn(&str) -> Option<OsString>,
    ) -> Result<(AccessKey, Option<GatewayConfigError>), GatewayConfigError> {
        let source = AccessKeySource { key_env: self.key_env.as_deref(), key_file: self.key_file.as_deref() };
        let setting = format!("admin.{}", source.setting());
        let invalid = |problem: String| GatewayConfigError::new(&*setting, problem);
        let (key, warning) = source.read(env).map_err(&invalid)?;
        match callers.iter().find(|caller| caller.key == key) {
            Some(caller) => Err(invalid(format!("key is that of the caller `{}`", redacted(&caller.name)))),
            None => Ok((key, warning.map(invalid))),
        }
    }
}
