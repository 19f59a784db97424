//! Why a model stopped and what it cost, in both dialects.

use serde_json::{Value, json};

/// A reason of OpenAI's as one of Anthropic's. Some say "stop" where a tool is to be called.
pub(super) fn stop_reason(finish_reason: &str, calls_a_tool: bool) -> &'static str {
    match finish_reason {
        "length" | "model_length" => "max_tokens",
        "content_filter" => "refusal",
        "tool_calls" | "function_call" => "tool_use",
        _ if calls_a_tool => "tool_use",
        _ => "end_turn",
    }
}

/// A reason of Anthropic's as one of OpenAI's.
pub(super) fn finish_reason(stop_reason: &str) -> &'static str {
    match stop_reason {
        "max_tokens" | "model_context_window_exceeded" => "length",
        "tool_use" => "tool_calls",
        "refusal" => "content_filter",
        _ => "stop",
    }
}

/// The tokens of one answer, each as it is paid for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cost {
    /// Of the prompt, and not from the cache.
    input: u64,
    cache_read: u64,
    cache_creation: u64,
    output: u64,
}

impl Cost {
    /// Takes what Anthropic says: the last number told counts.
    pub(super) fn hear_messages(&mut self, usage: &Value) {
        let hear = |name: &str, count: &mut u64| {
            if let Some(told) = usage[name].as_u64() {
                *count = told;
            }
        };
        hear("input_tokens", &mut self.input);
        hear("cache_read_input_tokens", &mut self.cache_read);
        hear("cache_creation_input_tokens", &mut self.cache_creation);
        hear("output_tokens", &mut self.output);
    }

    /// Takes what OpenAI says, where the prompt holds what came from the cache; or DeepSeek, with a word of its own.
    pub(super) fn hear_chat(&mut self, usage: &Value) {
        let (Some(prompt), Some(output)) =
            (usage["prompt_tokens"].as_u64(), usage["completion_tokens"].as_u64())
        else {
            return;
        };
        let cached = usage["prompt_tokens_details"]["cached_tokens"].as_u64();
        let cached = cached.or(usage["prompt_cache_hit_tokens"].as_u64()).unwrap_or(0).min(prompt);
        *self = Self { input: prompt - cached, cache_read: cached, cache_creation: 0, output };
    }

    pub(super) fn as_messages(self) -> Value {
        json!({
            "input_tokens": self.input,
            "cache_creation_input_tokens": self.cache_creation,
            "cache_read_input_tokens": self.cache_read,
            "output_tokens": self.output,
        })
    }

    pub(super) fn as_chat(self) -> Value {
        let prompt = self.input.saturating_add(self.cache_read).saturating_add(self.cache_creation);
        json!({
            "prompt_tokens": prompt,
            "completion_tokens": self.output,
            "total_tokens": prompt.saturating_add(self.output),
            "prompt_tokens_details": {"cached_tokens": self.cache_read},
        })
    }
}
