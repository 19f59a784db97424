use std::error::Error;
use std::fmt;

use crate::BoxError;

/// The body of a request broke off before it had been read: the caller left, or sent too much.
///
/// The caller's matter (E1001): nothing is counted against a provider, and nobody else is asked.
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
