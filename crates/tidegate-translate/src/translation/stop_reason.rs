//! Stop reasons in both dialects.

use tidegate_core::StopReason;
use tidegate_providers::stream::Dialect;

/// Anthropic's `stop_reason` for OpenAI's `finish_reason`. Some providers send "stop" for a response with
/// tool calls, and Google's endpoint for this dialect its own reasons.
pub(super) fn stop_reason(finish_reason: &str, has_tool_calls: bool) -> &'static str {
    match Dialect::Chat.stop_reason(finish_reason) {
        Some(StopReason::Length) => "max_tokens",
        Some(StopReason::ContentFilter) => "refusal",
        _ if has_tool_calls || matches!(finish_reason, "tool_calls" | "function_call") => "tool_use",
        _ => "end_turn",
    }
}

/// OpenAI's `finish_reason` for Anthropic's `stop_reason`. Some hosts send "end_turn" for a response with
/// tool calls.
pub(super) fn finish_reason(stop_reason: &str, has_tool_calls: bool) -> &'static str {
    match stop_reason {
        "max_tokens" | "model_context_window_exceeded" => "length",
        "refusal" => "content_filter",
        _ if has_tool_calls || is_of_calls(stop_reason) => "tool_calls",
        _ => "stop",
    }
}

/// Whether the reason of either dialect promises a tool call.
pub(super) fn is_of_calls(reason: &str) -> bool {
    matches!(reason, "tool_calls" | "function_call" | "tool_use")
}

/// Whether the reason of either dialect explains arguments that are incomplete.
pub(super) fn is_cut_off(reason: &str) -> bool {
    matches!(reason, "max_tokens" | "refusal")
        || matches!(stop_reason(reason, false), "max_tokens" | "refusal")
}
