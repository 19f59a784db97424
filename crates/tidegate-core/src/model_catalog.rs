use std::fmt;

/// Capabilities of models and requirements of requests, so that a target that cannot serve a request is
/// skipped.
///
/// Implementations contain the knowledge about models and dialects; the layers only compare the two. An
/// implementation is pure. It is called only when a call moves on to another target.
pub trait ModelCatalog: Send + Sync + 'static {
    /// The capabilities of `target`, given as `provider/model` or as a model alone. `None` if the model is
    /// unknown.
    fn capabilities(&self, target: &str) -> Option<ModelCapabilities>;

    /// What the request with this body requires of its model. A body that cannot be parsed requires nothing.
    fn requirements(&self, body: &[u8]) -> Requirements;
}

/// The known limits and features of a model. A field that is `None` is unknown and excludes no request.
///
/// ```
/// use tidegate_core::{MissingCapability, ModelCapabilities, Requirements};
///
/// let model = ModelCapabilities { context_tokens: Some(8_192), ..ModelCapabilities::default() };
/// let short = Requirements { tokens: 8_000, tools: true, ..Requirements::default() };
/// assert_eq!(model.first_missing(&short), None);
/// let long = Requirements { tokens: 8_000, max_output: Some(500), ..Requirements::default() };
/// assert_eq!(model.first_missing(&long), Some(MissingCapability::Context { needed: 8_500, limit: 8_192 }));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ModelCapabilities {
    /// The most tokens of prompt and response together.
    pub context_tokens: Option<u64>,
    /// The largest value, in tokens, that a request may set as the limit of its response.
    pub max_output_tokens: Option<u64>,
    /// Whether the model supports tool calls.
    pub tools: Option<bool>,
    /// Whether the model accepts images.
    pub vision: Option<bool>,
    /// Whether the model supports responses that follow a JSON schema.
    pub json_schema: Option<bool>,
}

/// What a request requires of its model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Requirements {
    /// A lower bound for the tokens of the prompt, so that a model that may be large enough is not skipped.
    pub tokens: u64,
    /// The most tokens that the response may have, if the request sets it.
    pub max_output: Option<u64>,
    /// The request offers tools.
    pub tools: bool,
    /// The request contains images.
    pub images: bool,
    /// The request requires a response that follows a JSON schema.
    pub schema: bool,
}

/// The capability that a model lacks for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MissingCapability {
    /// The context window is too small for the prompt and its response.
    Context {
        /// A lower bound for the tokens that are needed.
        needed: u64,
        /// The context window of the model, in tokens.
        limit: u64,
    },
    /// The requested response is longer than the model allows.
    Output {
        /// The requested tokens.
        needed: u64,
        /// The longest response of the model, in tokens.
        limit: u64,
    },
    /// The model does not support tools.
    Tools,
    /// The model does not accept images.
    Vision,
    /// The model does not support JSON schemas.
    JsonSchema,
}

impl ModelCapabilities {
    /// The first capability that the model is known to lack for such a request.
    #[must_use]
    pub fn first_missing(&self, needs: &Requirements) -> Option<MissingCapability> {
        let beyond = |needed: u64, limit: Option<u64>| limit.filter(|limit| needed > *limit);
        if let Some(limit) = beyond(needs.total(), self.context_tokens) {
            return Some(MissingCapability::Context { needed: needs.total(), limit });
        }
        let output = needs.max_output.unwrap_or_default();
        if let Some(limit) = beyond(output, self.max_output_tokens) {
            return Some(MissingCapability::Output { needed: output, limit });
        }
        let capabilities = [
            (needs.tools, self.tools, MissingCapability::Tools),
            (needs.images, self.vision, MissingCapability::Vision),
            (needs.schema, self.json_schema, MissingCapability::JsonSchema),
        ];
        let is_missing = |&(is_needed, is_supported, _): &(bool, Option<bool>, MissingCapability)| {
            is_needed && is_supported == Some(false)
        };
        capabilities.into_iter().find(is_missing).map(|(_, _, missing)| missing)
    }
}

impl Requirements {
    /// Tokens of the prompt and of the longest response together.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.tokens.saturating_add(self.max_output.unwrap_or_default())
    }

    /// Raises [`tokens`](Self::tokens) so that the total exceeds `context`.
    ///
    /// Called when a model with a context of `context` tokens has rejected the request as too long, which
    /// outweighs the estimate.
    pub fn raise_above(&mut self, context: u64) {
        let missing = context.saturating_add(1).saturating_sub(self.total());
        self.tokens = self.tokens.saturating_add(missing);
    }
}

impl fmt::Display for MissingCapability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Context { needed, limit } => write!(f, "takes {limit} tokens of {needed}"),
            Self::Output { needed, limit } => write!(f, "answers in {limit} tokens of {needed}"),
            Self::Tools => f.write_str("calls no tools"),
            Self::Vision => f.write_str("sees no pictures"),
            Self::JsonSchema => f.write_str("keeps to no JSON schema"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SMALL: ModelCapabilities = ModelCapabilities {
        context_tokens: Some(1_000),
        max_output_tokens: Some(100),
        tools: Some(false),
        vision: Some(false),
        json_schema: Some(false),
    };

    #[test]
    fn the_first_missing_capability_is_returned() {
        let none = Requirements::default();
        for (needs, missing) in [
            (Requirements { tokens: 1_000, ..none }, None),
            (
                Requirements { tokens: 1_001, ..none },
                Some(MissingCapability::Context { needed: 1_001, limit: 1_000 }),
            ),
            (
                Requirements { tokens: 901, max_output: Some(100), ..none },
                Some(MissingCapability::Context { needed: 1_001, limit: 1_000 }),
            ),
            (
                Requirements { max_output: Some(101), ..none },
                Some(MissingCapability::Output { needed: 101, limit: 100 }),
            ),
            (Requirements { tools: true, images: true, ..none }, Some(MissingCapability::Tools)),
            (Requirements { images: true, ..none }, Some(MissingCapability::Vision)),
            (Requirements { schema: true, ..none }, Some(MissingCapability::JsonSchema)),
            (
                Requirements { tokens: u64::MAX, max_output: Some(1), ..none },
                Some(MissingCapability::Context { needed: u64::MAX, limit: 1_000 }),
            ),
        ] {
            assert_eq!(SMALL.first_missing(&needs), missing, "{needs:?}");
        }
    }

    #[test]
    fn a_rejection_by_a_model_outweighs_the_estimate() {
        let mut needs = Requirements { tokens: 10, max_output: Some(20), ..Requirements::default() };
        needs.raise_above(1_000);
        assert_eq!(needs.total(), 1_001);
        needs.raise_above(500);
        assert_eq!(needs.total(), 1_001);
        needs.raise_above(u64::MAX);
        assert_eq!(needs.total(), u64::MAX);
    }

    proptest! {
        #[test]
        fn an_unknown_model_lacks_nothing(
            tokens: u64, max_output: Option<u64>, tools: bool, images: bool, schema: bool,
        ) {
            let needs = Requirements { tokens, max_output, tools, images, schema };
            prop_assert_eq!(ModelCapabilities::default().first_missing(&needs), None);
        }
    }
}
