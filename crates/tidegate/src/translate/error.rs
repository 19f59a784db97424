use std::error::Error;
use std::fmt;

use crate::{ErrorCode, Failure};

/// A buffered response exceeded the size that can be translated. The layers classify it as a failure with
/// E3001.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TooLong {
    limit: usize,
    failure: Failure,
}

impl TooLong {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, failure: Failure::new(ErrorCode::ServerError) }
    }
}

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "answer of more than {} bytes cannot be translated", self.limit)
    }
}

impl Error for TooLong {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.failure)
    }
}
