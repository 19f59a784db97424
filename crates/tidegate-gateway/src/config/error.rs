use std::fmt;

/// The configuration is invalid. The message is one line that names the key and the expected value, and it
/// contains no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayConfigError {
    key: String,
    problem: String,
}

impl GatewayConfigError {
    /// An error with `problem` at `key`, such as `routes[0].chain`. An empty key stands for the whole file.
    pub(crate) fn new(key: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { key: key.into(), problem: problem.into() }
    }

    /// The key or variable at fault, such as `policies.default.retry` or `AI_LIB_RPS`.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }
}

impl From<tidegate::config::ConfigError> for GatewayConfigError {
    fn from(error: tidegate::config::ConfigError) -> Self {
        Self::new(error.key(), error.problem())
    }
}

impl fmt::Display for GatewayConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.key {
            "" => f.write_str(&self.problem),
            key => write!(f, "{key}: {}", self.problem),
        }
    }
}

impl std::error::Error for GatewayConfigError {}
