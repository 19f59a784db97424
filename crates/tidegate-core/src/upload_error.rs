use crate::BoxError;

/// The request body ended in an error before it was read completely: the caller disconnected, or sent too
/// much.
///
/// The failure is attributed to the caller (E1001): it is not counted against a provider, and there is no
/// fallback.
#[derive(Debug, thiserror::Error)]
#[error("request body broke off")]
pub struct UploadError(#[source] BoxError);

impl UploadError {
    pub(crate) fn new(error: impl Into<BoxError>) -> Self {
        Self(error.into())
    }
}
