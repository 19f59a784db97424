use std::sync::Arc;

use http::Extensions;

/// The fallbacks of one call, in the extensions of its request.
///
/// ```
/// use http::Request;
/// use tidegate::fallback::FallbackOverride;
///
/// let mut request = Request::new("what is the tide?");
/// let fallback = FallbackOverride::new().answer("The tide tables are being printed.");
/// request.extensions_mut().insert(fallback);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct FallbackOverride {
    pub(super) is_off: bool,
    pub(super) answer: Option<Arc<str>>,
}

impl FallbackOverride {
    /// Changes nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Only the first target of each chain is called, and no last resort of a chain responds. Its retries
    /// remain.
    pub fn off() -> Self {
        Self { is_off: true, answer: None }
    }

    /// The last answer to this call, whatever the prompt.
    ///
    /// It is given once everything else in the outermost chain has failed, in the form in which
    /// [`then_emergency`](super::FallbackLayer::then_emergency) answers. A stack without further targets and
    /// last resorts gives it as well.
    pub fn answer(self, text: &str) -> Self {
        Self { answer: Some(text.into()), ..self }
    }

    /// Whether a call has an answer of its own.
    pub(super) fn has_answer(extensions: &Extensions) -> bool {
        extensions.get::<Self>().is_some_and(|of_call| of_call.answer.is_some())
    }

    /// Takes the override of a call. Its answer is removed from the request, so that no chain within the
    /// chain gives it.
    pub(super) fn take_from(extensions: &mut Extensions) -> Self {
        if extensions.is_empty() {
            return Self::default();
        }
        let Some(of_call) = extensions.get_mut::<Self>() else { return Self::default() };
        let answer = of_call.answer.take();
        Self { is_off: of_call.is_off, answer }
    }
}
