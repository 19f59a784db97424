use std::fmt;

/// An invalid setting: its key, and the expected value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    key: String,
    problem: String,
}

impl ConfigError {
    /// The value of `key` is `found` instead of `expected`.
    pub(crate) fn new(key: &str, expected: &str, found: impl fmt::Display) -> Self {
        Self::with_problem(key, format!("expected {expected}, found {found}"))
    }

    /// An error with `problem` at `key`. An empty key stands for the whole configuration.
    pub(crate) fn with_problem(key: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { key: key.into(), problem: problem.into() }
    }

    /// The key or variable with the invalid value, such as `retry.max_delay` or `AI_LIB_RPS`. Empty if the
    /// problem concerns the whole configuration.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// What is wrong with the value, without the key.
    #[must_use]
    pub fn problem(&self) -> &str {
        &self.problem
    }

    /// The same error with the key prefixed by `parent`.
    #[must_use]
    pub fn within(self, parent: &str) -> Self {
        let key = match &*self.key {
            "" => parent.to_owned(),
            key => format!("{parent}.{key}"),
        };
        Self { key, ..self }
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
