use std::fmt;

/// An invalid setting: its key, and the expected value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    key: String,
    problem: String,
}

impl ConfigError {
    /// The value of `key` is `found` instead of `expected`.
    pub(super) fn new(key: &str, expected: &str, found: impl fmt::Display) -> Self {
        Self { key: key.to_owned(), problem: format!("expected {expected}, found {found}") }
    }

    /// The key or variable with the invalid value, such as `retry.max_delay` or `AI_LIB_RPS`.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The same error with the key prefixed by `parent`.
    #[must_use]
    pub fn within(self, parent: &str) -> Self {
        Self { key: format!("{parent}.{}", self.key), ..self }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.problem)
    }
}

impl std::error::Error for ConfigError {}
