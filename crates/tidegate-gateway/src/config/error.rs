use std::fmt;

/// A configuration that cannot be used; names the key, and what was expected. One line, and no secret in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    key: String,
    problem: String,
}

impl ConfigError {
    /// `problem` with `key`, such as `routes[0].chain`; with an empty key it is about the whole.
    pub(crate) fn new(key: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { key: key.into(), problem: problem.into() }
    }

    /// The key or variable at fault, such as `policies.default.retry` or `AI_LIB_RPS`.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }
}

impl From<tidegate::config::ConfigError> for ConfigError {
    fn from(error: tidegate::config::ConfigError) -> Self {
        let text = error.to_string();
        let problem = text.strip_prefix(error.key()).and_then(|rest| rest.strip_prefix(": "));
        Self::new(error.key(), problem.unwrap_or(&text))
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.key {
            "" => f.write_str(&self.problem),
            key => write!(f, "{key}: {}", self.problem),
        }
    }
}

impl std::error::Error for ConfigError {}
