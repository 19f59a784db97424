use std::sync::Arc;

use http::Extensions;

/// The last answer to one call, in the extensions of its request.
///
/// It is given after all targets and last resorts of the outermost chain have failed, in the form in which
/// [`then_emergency`](super::FallbackLayer::then_emergency) answers. A chain without further targets and last resorts does
/// not give it.
///
/// ```
/// use http::Request;
/// use tidegate::fallback::CallAnswer;
///
/// let mut request = Request::new("what is the tide?");
/// request.extensions_mut().insert(CallAnswer::new("The tide tables are being printed."));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallAnswer(Arc<str>);

impl CallAnswer {
    /// This text, whatever the prompt.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// Removes the answer from a request, so that no chain within the chain gives it.
    pub(super) fn take_from(extensions: &mut Extensions) -> Option<Arc<str>> {
        if extensions.is_empty() { None } else { extensions.remove().map(|Self(text)| text) }
    }
}
