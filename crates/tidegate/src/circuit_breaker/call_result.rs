use std::time::{Duration, SystemTime};

use crate::ErrorCode;
use crate::events::AttemptSummary;
use crate::key::KeyId;

/// The result of one attempt, for listeners; see
/// [`Handle::subscribe_to_calls`](super::Handle::subscribe_to_calls).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CallResult {
    /// Whether the attempt succeeded.
    pub success: bool,
    /// The time to the first token, or to a failure before it; `None` if the attempt was dropped before.
    pub duration: Option<Duration>,
    /// When the attempt ended: with the last byte of its response, or with an error.
    pub timestamp: SystemTime,
    /// The code of a failure, or `None` also for an attempt that carries no information, as one that was
    /// dropped.
    pub error: Option<ErrorCode>,
    /// Whether `duration` reached the threshold of slow calls.
    pub slow: bool,
    /// The bytes of the response body that were read.
    pub response_size: u64,
    /// The number of the attempt in its call, from 1.
    pub attempt: u32,
    /// The key of the circuit, if the layer has keys.
    pub key: Option<KeyId>,
}

impl CallResult {
    /// The result of an attempt that has just ended.
    pub(super) fn new(summary: AttemptSummary, key: Option<KeyId>) -> Self {
        let AttemptSummary { attempt, success, code, duration, slow, response_size, .. } = summary;
        Self {
            success,
            duration,
            timestamp: SystemTime::now(),
            error: code,
            slow,
            response_size,
            attempt,
            key,
        }
    }
}
