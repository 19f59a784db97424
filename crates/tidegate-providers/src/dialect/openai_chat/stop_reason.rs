use tidegate_core::{ErrorCode, StopReason};

use crate::dialect::parsed_event::StreamError;

/// Maps a finish reason; `None` if it is empty.
pub(super) fn stop_reason(reason: &str) -> Option<StopReason> {
    Some(match reason {
        "" => return None,
        "stop" | "eos" | "tool_calls" | "function_call" => StopReason::Natural,
        "length" | "model_length" => StopReason::Length,
        "content_filter" => StopReason::ContentFilter,
        _ => StopReason::Other,
    })
}

/// The finish reasons that report a failure of the provider.
pub(super) fn failure_reason(reason: &str) -> Option<StreamError> {
    match reason {
        "error" => Some(StreamError::StopReason("error", ErrorCode::ServerError)),
        // vLLM's and SGLang's, for a request that the engine gave up.
        "abort" => Some(StreamError::StopReason("abort", ErrorCode::ServerError)),
        "insufficient_system_resource" => {
            Some(StreamError::StopReason("insufficient_system_resource", ErrorCode::Overloaded))
        }
        _ => None,
    }
}
