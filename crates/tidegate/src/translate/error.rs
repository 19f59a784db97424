use crate::{ErrorCode, Failure};

/// A buffered response exceeded the size that can be translated. The layers classify it as a failure with
/// E3001.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("answer of more than {limit} bytes cannot be translated")]
pub struct TooLong {
    limit: usize,
    #[source]
    failure: Failure,
}

impl TooLong {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, failure: Failure::new(ErrorCode::ServerError) }
    }
}
