use crate::BoxError;

/// A connection could not be made, for a reason in fixed words.
///
/// A client whose errors may contain addresses or credentials returns this one around them: messages for
/// callers contain the reason, and never the text of the source.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub struct ConnectError {
    reason: &'static str,
    #[source]
    source: BoxError,
}

impl ConnectError {
    /// Wraps the error of the client.
    #[must_use]
    pub fn new(reason: &'static str, source: impl Into<BoxError>) -> Self {
        Self { reason, source: source.into() }
    }

    /// Why there is no connection.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        self.reason
    }
}
