use tidegate_core::Usage;

/// The meaning of a number in the usage of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UsageField {
    /// Tokens of the prompt.
    Input,
    /// Generated tokens.
    Output,
    /// Tokens read from the cache, which `Input` includes.
    CacheRead,
    /// Tokens read from the cache, which `Input` does not include: they do not count against the limits.
    CacheReadApart,
    /// Tokens written to the cache, which `Input` includes.
    CacheWritten,
    /// Tokens written to the cache that `Input` does not include. They count against the limits like input.
    CacheWrittenApart,
    /// Generated tokens that `Output` does not include.
    Thoughts,
    /// All tokens, in which there may be some that neither `Input` nor `Output` includes.
    Total,
    /// Prompt and generated tokens together, and no others. xAI counts reasoning only in this total.
    ExactTotal,
}

/// The numbers in the usage of one response, or of one event.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct UsageCounts {
    input: Option<u64>,
    output: Option<u64>,
    cache_read: Option<u64>,
    cache_read_apart: Option<u64>,
    cache_written: Option<u64>,
    cache_written_apart: Option<u64>,
    thoughts: Option<u64>,
    total: Option<u64>,
    exact_total: Option<u64>,
}

impl UsageCounts {
    pub(crate) fn set(&mut self, field: UsageField, number: u64) {
        let count = match field {
            UsageField::Input => &mut self.input,
            UsageField::Output => &mut self.output,
            // DeepSeek has two fields for it.
            UsageField::CacheRead => {
                self.cache_read = self.cache_read.max(Some(number));
                return;
            }
            UsageField::CacheReadApart => &mut self.cache_read_apart,
            UsageField::CacheWritten => &mut self.cache_written,
            UsageField::CacheWrittenApart => &mut self.cache_written_apart,
            UsageField::Thoughts => &mut self.thoughts,
            UsageField::Total => &mut self.total,
            UsageField::ExactTotal => &mut self.exact_total,
        };
        *count = Some(number);
    }

    pub(crate) fn usage(self) -> Usage {
        // Where the cache is counted apart from the input, the total may include it.
        let exact = self.exact_total.filter(|_| self.cache_read_apart.or(self.cache_written_apart).is_none());
        let output = match (self.output, self.thoughts) {
            (None, None) => None,
            (output, thoughts) => Some(sum(output, thoughts)).max(self.rest_of(exact)),
        };
        Usage {
            input: self.input.map(|input| sum(Some(input), self.cache_written_apart)),
            output,
            cache_read: self.cache_read.or(self.cache_read_apart),
            uncounted: self.cache_read_apart,
            cache_written: self.cache_written.or(self.cache_written_apart),
        }
    }

    /// The usage of a whole response, where the output may be given by the total alone.
    pub(crate) fn usage_of_whole(self) -> Usage {
        let usage = self.usage();
        let rest = || self.rest_of(self.total.or(self.exact_total));
        Usage { output: if self.output.is_none() { rest().or(usage.output) } else { usage.output }, ..usage }
    }

    /// What is left of a total without the input.
    fn rest_of(self, total: Option<u64>) -> Option<u64> {
        total.zip(self.input).map(|(total, input)| total.saturating_sub(input))
    }
}

fn sum(one: Option<u64>, other: Option<u64>) -> u64 {
    one.unwrap_or_default().saturating_add(other.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dialect::Dialect;

    #[test]
    fn a_total_adds_output_only_in_the_dialects_in_which_it_has_nothing_else() {
        for (dialect, counts, output) in [
            (Dialect::Chat, &[("prompt_tokens", 12), ("completion_tokens", 3), ("total_tokens", 55)][..], 43),
            (Dialect::Chat, &[("prompt_tokens", 12), ("completion_tokens", 3), ("total_tokens", 0)], 3),
            (Dialect::Chat, &[("prompt_tokens", 12), ("completion_tokens", 3)], 3),
            (Dialect::Responses, &[("input_tokens", 12), ("output_tokens", 3), ("total_tokens", 55)], 43),
            // The tokens of tools are in the total alone.
            (
                Dialect::Gemini,
                &[("promptTokenCount", 12), ("candidatesTokenCount", 3), ("totalTokenCount", 55)],
                3,
            ),
            (
                Dialect::Converse,
                &[
                    ("inputTokens", 12),
                    ("cacheReadInputTokens", 40),
                    ("outputTokens", 3),
                    ("totalTokens", 55),
                ],
                3,
            ),
        ] {
            let mut usage = UsageCounts::default();
            for &(name, number) in counts {
                usage.set((dialect.rules().usage_field)(&[name]).unwrap(), number);
            }
            assert_eq!(usage.usage().output, Some(output), "{counts:?}");
            assert_eq!(usage.usage_of_whole().output, Some(output), "{counts:?}");
        }
        // Anthropic's usage with a total, as other servers have it.
        let mut usage = UsageCounts::default();
        for (field, number) in [
            (UsageField::Input, 5),
            (UsageField::CacheReadApart, 900),
            (UsageField::Output, 7),
            (UsageField::ExactTotal, 912),
        ] {
            usage.set(field, number);
        }
        assert_eq!(usage.usage_of_whole().output, Some(7));
    }
}
