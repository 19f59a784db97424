use std::fmt;

use redis::{ConnectionInfo, IntoConnectionInfo};
use tidegate::store::Settings;

/// The address of the server, and how limits are shared through it.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisSettings {
    /// The URL of the server.
    pub url: String,
    /// The beginning of all keys; `tidegate` by default.
    pub prefix: String,
    /// How limits are shared.
    pub store: Settings,
}

/// The store cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RedisStoreError {
    /// The URL is none of a Redis server. The message does not contain it.
    #[error("expected a URL such as redis://host:6379, rediss://host or unix:///path")]
    InvalidUrl,
    /// The prefix is empty, or contains a brace, which has a meaning in a cluster.
    #[error("expected a prefix of at least one character without {{ and }}")]
    InvalidPrefix,
    /// A setting is out of its range.
    #[error("{0}")]
    InvalidSetting(String),
    /// There is no tokio runtime here.
    #[error("a Redis store is made within a tokio runtime")]
    NoRuntime,
    /// The server cannot be reached, or does not accept the credentials, and the mode is `fail_closed`.
    #[error("the Redis server at {server} cannot be used: {problem}")]
    Unavailable {
        /// The host and port of the server.
        server: String,
        /// What is wrong, without the URL.
        problem: String,
    },
}

impl RedisSettings {
    /// The default settings for the server at `url`.
    #[must_use]
    pub fn new(url: &str) -> Self {
        Self { url: url.to_owned(), prefix: "tidegate".to_owned(), store: Settings::default() }
    }

    /// The host and port, or the path of the socket, in the URL.
    ///
    /// # Errors
    ///
    /// As [`check`](Self::check).
    pub fn server(&self) -> Result<String, RedisStoreError> {
        self.connection_info().map(|info| info.addr().to_string())
    }

    /// Checks the URL, the prefix and every number.
    ///
    /// # Errors
    ///
    /// What is invalid.
    pub fn check(&self) -> Result<(), RedisStoreError> {
        self.connection_info().map(drop)
    }

    pub(crate) fn connection_info(&self) -> Result<ConnectionInfo, RedisStoreError> {
        if self.prefix.is_empty() || self.prefix.contains(['{', '}']) {
            return Err(RedisStoreError::InvalidPrefix);
        }
        self.store.check().map_err(|error| RedisStoreError::InvalidSetting(error.to_string()))?;
        self.url.as_str().into_connection_info().map_err(|_| RedisStoreError::InvalidUrl)
    }
}

/// Without the URL, which may contain a password.
impl fmt::Debug for RedisSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisSettings")
            .field("prefix", &self.prefix)
            .field("store", &self.store)
            .finish_non_exhaustive()
    }
}
