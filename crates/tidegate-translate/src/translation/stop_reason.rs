//! Stop reasons in both dialects.

/// Anthropic's `stop_reason` for OpenAI's `finish_reason`. Some providers send "stop" for a response with
/// tool calls.
pub(super) fn stop_reason(finish_reason: &str, has_tool_calls: bool) -> &'static str {
    match finish_reason {
        "length" | "model_length" => "max_tokens",
        "content_filter" => "refusal",
        "tool_calls" | "function_call" => "tool_use",
        _ if has_tool_calls => "tool_use",
        _ => "end_turn",
    }
}

/// OpenAI's `finish_reason` for Anthropic's `stop_reason`.
pub(super) fn finish_reason(stop_reason: &str) -> &'static str {
    match stop_reason {
        "max_tokens" | "model_context_window_exceeded" => "length",
        "tool_use" => "tool_calls",
        "refusal" => "content_filter",
        _ => "stop",
    }
}
