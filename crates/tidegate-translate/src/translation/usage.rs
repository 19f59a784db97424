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

    /// Updates from OpenAI's `usage` object, where the prompt tokens include those of the cache. DeepSeek and
    /// Moonshot report the cached tokens in fields of their own, and xAI counts reasoning only in the total.
    pub(super) fn update_from_chat(&mut self, usage: &Value) {
        let (Some(prompt), Some(output)) =
            (usage["prompt_tokens"].as_u64(), usage["completion_tokens"].as_u64())
        else {
            return;
        };
        // Some servers count what is read from a cache or written there in the total alone.
        let has_cache_apart = ["cache_read_input_tokens", "cache_creation_input_tokens"]
            .iter()
            .any(|name| usage[name].as_u64().is_some_and(|tokens| tokens > 0));
        let total = usage["total_tokens"].as_u64().filter(|_| !has_cache_apart).unwrap_or_default();
        let output = output.max(total.saturating_sub(prompt));
        let fields = [
            &usage["prompt_tokens_details"]["cached_tokens"],
            &usage["prompt_cache_hit_tokens"],
            &usage["cached_tokens"],
        ];
        let cached = fields.into_iter().filter_map(Value::as_u64).max().unwrap_or(0).min(prompt);
        let uncached = prompt - cached;
        let written =
            usage["prompt_tokens_details"]["cache_write_tokens"].as_u64().unwrap_or(0).min(uncached);
        *self = Self { input: uncached - written, cache_read: cached, cache_creation: written, output };
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
        let mut usage = json!({
            "prompt_tokens": prompt,
            "completion_tokens": self.output,
            "total_tokens": prompt.saturating_add(self.output),
            "prompt_tokens_details": {"cached_tokens": self.cache_read},
        });
        if self.cache_creation > 0 {
            usage["prompt_tokens_details"]["cache_write_tokens"] = self.cache_creation.into();
        }
        usage
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasoning_that_only_the_total_includes_is_output() {
        for (total, output) in [(0, 3), (90, 3), (93, 3), (133, 43)] {
            let mut usage = TokenUsage::default();
            usage.update_from_chat(
                &json!({"prompt_tokens": 90, "completion_tokens": 3, "total_tokens": total}),
            );
            assert_eq!(usage.as_messages()["output_tokens"], output, "{total}");
        }
    }

    #[test]
    fn cached_tokens_have_a_field_in_each_dialect() {
        for chat in [
            json!({"prompt_tokens": 90, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 64}}),
            json!({"prompt_tokens": 90, "completion_tokens": 1, "prompt_cache_hit_tokens": 64}),
            json!({"prompt_tokens": 90, "completion_tokens": 1, "prompt_cache_hit_tokens": 64,
                "prompt_tokens_details": {"cached_tokens": 0}}),
            json!({"prompt_tokens": 90, "completion_tokens": 1, "cached_tokens": 64}),
        ] {
            let mut usage = TokenUsage::default();
            usage.update_from_chat(&chat);
            let messages = usage.as_messages();
            assert_eq!(
                (&messages["input_tokens"], &messages["cache_read_input_tokens"]),
                (&json!(26), &json!(64)),
                "{chat}"
            );
            assert_eq!(usage.as_chat()["prompt_tokens_details"]["cached_tokens"], 64, "{chat}");
        }
        let mut usage = TokenUsage::default();
        usage.update_from_messages(&json!({"input_tokens": 6, "cache_creation_input_tokens": 100,
            "cache_read_input_tokens": 900, "output_tokens": 7}));
        let chat = usage.as_chat();
        assert_eq!((&chat["prompt_tokens"], &chat["total_tokens"]), (&json!(1_006), &json!(1_013)));
        assert_eq!(chat["prompt_tokens_details"], json!({"cached_tokens": 900, "cache_write_tokens": 100}));
    }

    /// Regression: what was written to a cache, at another price, became ordinary tokens of the prompt.
    #[test]
    fn tokens_written_to_a_cache_are_a_part_of_the_prompt_of_a_chat() {
        for (read, written, expected) in
            [(0, 64, [26, 0, 64]), (20, 64, [6, 20, 64]), (80, 64, [0, 80, 10]), (95, 1, [0, 90, 0])]
        {
            let details = json!({"cached_tokens": read, "cache_write_tokens": written});
            let mut usage = TokenUsage::default();
            usage.update_from_chat(
                &json!({"prompt_tokens": 90, "completion_tokens": 1, "prompt_tokens_details": details}),
            );
            let messages = usage.as_messages();
            let names = ["input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"];
            assert_eq!(names.map(|name| messages[name].as_u64().unwrap()), expected, "{details}");
            assert_eq!(usage.as_chat()["prompt_tokens"], 90, "{details}");
        }
    }
}
