//! Token usage in both dialects.

use serde_json::{Value, json};

/// The tokens of one response, by price category.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct TokenUsage {
    /// Prompt tokens that were neither read from nor written to the cache.
    input: u64,
    cache_read: u64,
    cache_creation: u64,
    output: u64,
}

impl TokenUsage {
    /// Updates from Anthropic's `usage` object. The last reported value of each field counts.
    pub(super) fn update_from_messages(&mut self, usage: &Value) {
        let update = |name: &str, count: &mut u64| {
            if let Some(reported) = usage[name].as_u64() {
                *count = reported;
            }
        };
        update("input_tokens", &mut self.input);
        update("cache_read_input_tokens", &mut self.cache_read);
        update("cache_creation_input_tokens", &mut self.cache_creation);
        update("output_tokens", &mut self.output);
    }

    /// Updates from OpenAI's `usage` object, where the prompt tokens include the cached ones. DeepSeek
    /// reports the cached tokens in a field of its own.
    pub(super) fn update_from_chat(&mut self, usage: &Value) {
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
