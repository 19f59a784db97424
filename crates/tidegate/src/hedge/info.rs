use std::sync::Arc;

use http::{Extensions, HeaderName, HeaderValue, Response};

use crate::provider::{UsageMeter, UsageTotals};

/// What became of the hedge of a call, in the extensions of its response. The response to a call that was not
/// hedged has none.
///
/// The response has it in a header, too: `x-tidegate-hedge`, which is `won` or `lost`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HedgeInfo {
    target: Arc<str>,
    won: bool,
}

const HEDGE: HeaderName = HeaderName::from_static("x-tidegate-hedge");

impl HedgeInfo {
    pub(crate) const fn new(target: Arc<str>, won: bool) -> Self {
        Self { target, won }
    }

    /// The target that the request was sent to as well, or its member if it is a group; empty if it has no
    /// name.
    #[must_use]
    pub fn target(&self) -> &str {
        &self.target
    }

    /// Whether the response is that of the hedge.
    #[must_use]
    pub fn won(&self) -> bool {
        self.won
    }

    /// Puts it into the extensions and the headers of a response.
    pub(crate) fn mark<B>(self, response: &mut Response<B>) {
        let result = HeaderValue::from_static(if self.won { "won" } else { "lost" });
        response.headers_mut().insert(HEDGE, result);
        response.extensions_mut().insert(self);
    }
}

/// The tokens of a hedge alone, in the extensions of its request, if the call has a [`UsageMeter`]. The meter
/// of the call counts them as well.
#[derive(Clone, Debug)]
pub struct HedgeUsage(UsageMeter);

impl HedgeUsage {
    /// The tokens of this request, if it is a hedge.
    #[must_use]
    pub fn of(extensions: &Extensions) -> Option<&Self> {
        extensions.get()
    }

    /// The tokens so far. The prompt counts once the provider has reported it.
    #[must_use]
    pub fn read(&self) -> UsageTotals {
        self.0.read()
    }

    /// Begins to meter a hedge with these extensions, if its call is metered.
    pub(crate) fn insert(extensions: &mut Extensions) {
        if UsageMeter::of(extensions).is_some() {
            let usage = Self(UsageMeter::nested(0, extensions));
            extensions.insert(usage);
        }
    }
}
