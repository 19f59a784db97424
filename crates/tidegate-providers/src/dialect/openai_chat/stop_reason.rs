use tidegate_core::{ErrorCode, StopReason};

use crate::dialect::gemini;
use crate::dialect::parsed_event::StreamError;

/// Maps a finish reason; `None` if it is empty. Google's endpoint for this dialect sends its own reasons.
pub(super) fn stop_reason(reason: &str) -> Option<StopReason> {
    Some(match reason {
        "" => return None,
        "stop" | "eos" | "tool_calls" | "function_call" => StopReason::Natural,
        "length" | "model_length" | "model_context_window_exceeded" => StopReason::Length,
        "content_filter" | "sensitive" => StopReason::ContentFilter,
        // Google's, followed by the reason itself.
        reason if reason.starts_with("content_filter: ") => StopReason::ContentFilter,
        reason => return gemini::stop_reason::stop_reason(reason),
    })
}

/// The finish reasons that report a failure of the provider.
pub(super) fn failure_reason(reason: &str) -> Option<StreamError> {
    let (name, code) = match reason {
        "error" => ("error", ErrorCode::ServerError),
        // vLLM's and SGLang's, for a request that the engine gave up.
        "abort" => ("abort", ErrorCode::ServerError),
        // Z.ai's, for a failure behind its API.
        "network_error" | "network-error" => ("network_error", ErrorCode::ServerError),
        "insufficient_system_resource" => ("insufficient_system_resource", ErrorCode::Overloaded),
        // LiteLLM's name for Google's.
        "malformed_function_call" => return Some(StreamError::Output("malformed_function_call")),
        reason => {
            let of_google = reason.strip_prefix("function_call_filter: ").unwrap_or(reason);
            return gemini::stop_reason::failure_reason(of_google);
        }
    };
    Some(StreamError::StopReason(name, code))
}
