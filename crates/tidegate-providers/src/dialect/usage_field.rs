use tidegate_core::Usage;

/// The meaning of a number in the usage of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UsageField {
    /// Tokens of the prompt.
    Input,
    /// Generated tokens.
    Output,
    /// Tokens written to the cache. They count against the limits like input; tokens read from it do not.
    CacheWritten,
    /// Generated tokens that `Output` does not include.
    Thoughts,
    /// Prompt and generated tokens together.
    Total,
}

impl UsageField {
    /// Stores a number for the input or the output.
    pub(crate) fn store(self, number: u64, usage: &mut Usage) {
        match self {
            Self::Input => usage.input = Some(number),
            Self::Output => usage.output = Some(number),
            Self::CacheWritten | Self::Thoughts | Self::Total => {}
        }
    }
}
