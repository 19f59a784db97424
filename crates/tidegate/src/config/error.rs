use std::fmt;

/// A setting that cannot be used; names the key, and what was expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    key: String,
    problem: String,
}

impl ConfigError {
    /// `key` was found to be `found` where `expected` was expected.
    pub(super) fn new(key: &str, expected: &str, found: impl fmt::Display) -> Self {
        Self { key: key.to_owned(), problem: format!("expected {expected}, found {found}") }
    }

    /// The key or variable at fault, such as `retry.max_delay` or `AI_LIB_RPS`.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The same error about a key further down.
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
