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
    /// Tokens written to the cache that `Input` does not include. They count against the limits like input.
    CacheWritten,
    /// Generated tokens that `Output` does not include.
    Thoughts,
    /// Prompt and generated tokens together.
    Total,
}

/// The numbers in the usage of one response, or of one event.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct UsageCounts {
    input: Option<u64>,
    output: Option<u64>,
    cache_read: Option<u64>,
    cache_read_apart: Option<u64>,
    cache_written: Option<u64>,
    thoughts: Option<u64>,
    total: Option<u64>,
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
            UsageField::Thoughts => &mut self.thoughts,
            UsageField::Total => &mut self.total,
        };
        *count = Some(number);
    }

    pub(crate) fn usage(self) -> Usage {
        let output = match (self.output, self.thoughts) {
            (None, None) => None,
            (output, thoughts) => Some(sum(output, thoughts)),
        };
        Usage {
            input: self.input.map(|input| sum(Some(input), self.cache_written)),
            output,
            cache_read: self.cache_read.or(self.cache_read_apart),
            uncounted: self.cache_read_apart,
            cache_written: self.cache_written,
        }
    }

    /// The usage of a whole response, where the output may be given by the total alone.
    pub(crate) fn usage_of_whole(self) -> Usage {
        let rest = self.total.zip(self.input).map(|(total, input)| total.saturating_sub(input));
        let usage = self.usage();
        Usage { output: if self.output.is_none() { rest.or(usage.output) } else { usage.output }, ..usage }
    }
}

fn sum(one: Option<u64>, other: Option<u64>) -> u64 {
    one.unwrap_or_default().saturating_add(other.unwrap_or_default())
}
