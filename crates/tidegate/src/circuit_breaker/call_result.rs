use std::time::{Duration, SystemTime};

use crate::ErrorCode;

/// The result of one attempt, for listeners; see [`Handle::subscribe_to_calls`](super::Handle::subscribe_to_calls).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CallResult {
    /// Whether the attempt succeeded.
    pub success: bool,
    /// The time to the first token, or to a failure before it; `None` if the attempt was dropped before.
    pub duration: Option<Duration>,
    /// When the attempt ended: with the last byte of its response, or with an error.
    pub timestamp: SystemTime,
    /// The code of a failure, or `None` also for an attempt that carries no information, as one that was dropped.
    pub error: Option<ErrorCode>,
    /// The bytes of the response body that were read.
    pub response_size: u64,
    /// The number of the attempt in its call, from 1.
    pub attempt: u32,
}
