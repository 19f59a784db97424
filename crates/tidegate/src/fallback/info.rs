use std::sync::Arc;

use super::static_answers::PromptKind;

/// Which target or last resort produced the response in place of the first target; in the extensions of the
/// response.
#[derive(Clone, Debug, PartialEq)]
pub struct FallbackInfo {
    target: Arc<str>,
    strategy: FallbackKind,
    similarity: Option<f64>,
    prompt_kind: Option<PromptKind>,
}

/// How a fallback obtained its response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FallbackKind {
    /// Another model was called, possibly of another provider.
    AlternativeModel,
    /// A stored answer to the same or a similar prompt.
    CachedResponse,
    /// A shorter prompt was sent instead.
    SimplifiedPrompt,
    /// A fixed text, by the kind of the prompt.
    StaticResponse,
    /// A fixed text, whatever the prompt.
    Emergency,
}

impl FallbackInfo {
    pub(super) fn new(target: &Arc<str>, strategy: FallbackKind) -> Self {
        Self { target: Arc::clone(target), strategy, similarity: None, prompt_kind: None }
    }

    pub(super) fn with_similarity(self, similarity: f64) -> Self {
        Self { similarity: Some(similarity), ..self }
    }

    pub(super) fn with_prompt_kind(self, prompt_kind: PromptKind) -> Self {
        Self { prompt_kind: Some(prompt_kind), ..self }
    }

    /// Whether a target responded to the caller's own request.
    pub(super) fn is_from_target(&self) -> bool {
        self.strategy == FallbackKind::AlternativeModel
    }

    /// The name of the target that responded, or of the last resort (`@cached`, `@static`, `@emergency`).
    #[must_use]
    pub fn target(&self) -> &str {
        &self.target
    }

    /// How the response was obtained.
    #[must_use]
    pub fn strategy(&self) -> FallbackKind {
        self.strategy
    }

    /// The similarity of the cached prompt to this one, from 0 to 1.
    #[must_use]
    pub fn similarity(&self) -> Option<f64> {
        self.similarity
    }

    /// The kind of prompt by which a static answer was chosen.
    #[must_use]
    pub fn prompt_kind(&self) -> Option<PromptKind> {
        self.prompt_kind
    }
}

impl FallbackKind {
    /// The name in headers and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AlternativeModel => "alternative_model",
            Self::CachedResponse => "cached_response",
            Self::SimplifiedPrompt => "simplified_prompt",
            Self::StaticResponse => "static_response",
            Self::Emergency => "emergency",
        }
    }
}
