use std::error::Error;
use std::fmt;

use crate::BoxError;

/// The request body ended in an error before it was read completely: the caller disconnected, or sent too
/// much.
///
/// The failure is attributed to the caller (E1001): it is not counted against a provider, and there is no
/// fallback.
#[derive(Debug)]
pub struct UploadError(BoxError);

impl UploadError {
    pub(crate) fn new(error: impl Into<BoxError>) -> Self {
        Self(error.into())
    }
}

impl fmt::Display for UploadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("request body broke off")
    }
}

impl Error for UploadError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.0)
    }
}
