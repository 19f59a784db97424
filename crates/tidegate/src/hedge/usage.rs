use http::Extensions;

use crate::provider::{UsageMeter, UsageTotals};

/// The tokens of a hedge alone, in the extensions of its request, if the call has a [`UsageMeter`]. The meter of the call
/// counts them as well.
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
