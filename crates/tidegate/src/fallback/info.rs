use std::sync::Arc;

use http::{HeaderName, HeaderValue, Response};

use super::last_resort::PromptKind;

/// Which target or last resort produced the response in place of the first target; in the extensions of the
/// response.
///
/// The response has the name and the [kind](Self::kind) in its headers, too: `x-tidegate-target` and
/// `x-tidegate-fallback`.
#[derive(Clone, Debug, PartialEq)]
#[doc(alias = "fallback_used")]
pub struct FallbackInfo {
    pub(super) target: Arc<str>,
    pub(super) position: u32,
    pub(super) kind: FallbackKind,
    pub(super) similarity: Option<f64>,
    pub(super) prompt_kind: Option<PromptKind>,
}

const TARGET: HeaderName = HeaderName::from_static("x-tidegate-target");
const FALLBACK: HeaderName = HeaderName::from_static("x-tidegate-fallback");

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
    /// `position`: that in the chain.
    pub(super) fn new(target: &Arc<str>, position: usize, kind: FallbackKind) -> Self {
        let position = u32::try_from(position).unwrap_or(u32::MAX);
        Self { target: Arc::clone(target), position, kind, similarity: None, prompt_kind: None }
    }

    /// Whether a target responded to the caller's own request.
    pub(super) fn is_from_target(&self) -> bool {
        self.kind == FallbackKind::AlternativeModel
    }

    /// Whether a request was sent for the response.
    pub(crate) fn is_from_provider(&self) -> bool {
        matches!(self.kind, FallbackKind::AlternativeModel | FallbackKind::SimplifiedPrompt)
    }

    /// The name of the target that responded, or of the last resort (`@cached`, `@static`, `@emergency`).
    #[must_use]
    pub fn target(&self) -> &str {
        &self.target
    }

    /// The position of the target or last resort in its chain; the first target has 0.
    #[must_use]
    #[doc(alias = "fallback_priority")]
    #[doc(alias = "get_priority")]
    pub fn position(&self) -> u32 {
        self.position
    }

    /// How the response was obtained.
    #[must_use]
    #[doc(alias = "fallback_strategy")]
    pub fn kind(&self) -> FallbackKind {
        self.kind
    }

    /// Puts it into the extensions and the headers of a response.
    pub(super) fn mark<B>(self, response: &mut Response<B>) {
        // The provider may be a gateway that has set its own.
        match HeaderValue::from_str(&self.target) {
            Ok(target) => _ = response.headers_mut().insert(TARGET, target),
            Err(_) => _ = response.headers_mut().remove(TARGET),
        }
        response.headers_mut().insert(FALLBACK, HeaderValue::from_static(self.kind.name()));
        response.extensions_mut().insert(self);
    }

    /// The similarity of the cached prompt to this one, from 0 to 1.
    #[must_use]
    #[doc(alias = "similarity_score")]
    pub fn similarity(&self) -> Option<f64> {
        self.similarity
    }

    /// The kind of prompt by which a static answer was chosen.
    #[must_use]
    #[doc(alias = "fallback_type")]
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
