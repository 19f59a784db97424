use std::fmt;

/// Knows what models can take, and what requests ask of them, so that nobody is asked for what it cannot do.
///
/// Implementations know models and dialects; the layers know only whether the two fit. Pure, and asked only when a
/// call is to go on to another target.
pub trait ModelCatalog: Send + Sync + 'static {
    /// What is known of a target, `provider/model` or a model alone. `None` if it is not known.
    fn capabilities(&self, target: &str) -> Option<ModelCapabilities>;

    /// What a request asks of its model, by its body. Nothing if it is not understood.
    fn requirements(&self, body: &[u8]) -> Requirements;
}

/// What a model can take, as far as it is known: what is not said does not count against it.
///
/// ```
/// use tidegate_core::{MissingCapability, ModelCapabilities, Requirements};
///
/// let card = ModelCapabilities { context_tokens: Some(8_192), ..ModelCapabilities::default() };
/// assert_eq!(card.first_missing(&Requirements { tokens: 8_000, tools: true, ..Requirements::default() }), None);
/// let lack = card.first_missing(&Requirements { tokens: 8_000, max_output: Some(500), ..Requirements::default() });
/// assert_eq!(lack, Some(MissingCapability::Context { needed: 8_500, limit: 8_192 }));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ModelCapabilities {
    /// Tokens of the prompt and its answer together.
    pub context_tokens: Option<u64>,
    /// The most tokens that an answer may be asked to have.
    pub max_output_tokens: Option<u64>,
    /// Whether it calls tools.
    pub tools: Option<bool>,
    /// Whether it sees pictures.
    pub vision: Option<bool>,
    /// Whether it keeps to a JSON schema in its answer.
    pub json_schema: Option<bool>,
}

/// What a request asks of its model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Requirements {
    /// Tokens of the prompt, at the least: a model that may be large enough is not to be passed over.
    pub tokens: u64,
    /// The most tokens that the answer may have, if the request names it.
    pub max_output: Option<u64>,
    /// It offers tools.
    pub tools: bool,
    /// It shows pictures.
    pub images: bool,
    /// It wants an answer by a JSON schema.
    pub schema: bool,
}

/// What a model lacks for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MissingCapability {
    /// Room for the prompt and its answer.
    Context {
        /// So many tokens, at the least.
        needed: u64,
        /// So many it takes.
        limit: u64,
    },
    /// Answers that long.
    Output {
        /// So many tokens are asked for.
        needed: u64,
        /// So many it gives.
        limit: u64,
    },
    /// Tools.
    Tools,
    /// Eyes for pictures.
    Vision,
    /// Answers by a JSON schema.
    JsonSchema,
}

impl ModelCapabilities {
    /// What the model is known to lack for such a request.
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
        let missing = |&(is_needed, is_there, _): &(bool, Option<bool>, MissingCapability)| {
            is_needed && is_there == Some(false)
        };
        capabilities.into_iter().find(missing).map(|(_, _, lack)| lack)
    }
}

impl Requirements {
    /// Tokens of the prompt and the longest answer.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.tokens.saturating_add(self.max_output.unwrap_or_default())
    }

    /// A model that takes `context` tokens has said that this is too much: so it needs more than that, whatever was
    /// believed before.
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
    fn the_first_thing_that_is_missing_is_told() {
        let none = Requirements::default();
        for (needs, lack) in [
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
            assert_eq!(SMALL.first_missing(&needs), lack, "{needs:?}");
        }
    }

    #[test]
    fn what_a_model_refused_counts_for_more_than_what_was_believed() {
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
        fn of_whom_nothing_is_known_nothing_is_lacking(
            tokens: u64, max_output: Option<u64>, tools: bool, images: bool, schema: bool,
        ) {
            let needs = Requirements { tokens, max_output, tools, images, schema };
            prop_assert_eq!(ModelCapabilities::default().first_missing(&needs), None);
        }
    }
}
