use std::sync::{Arc, OnceLock};

use crate::Outcome;

/// What a stream has come to, as soon as the provider has said it: a handle, in the extensions of its response.
///
/// Many a reader stops at the last event, or at one that tells of an error, and lets go of the body before the connection
/// has said that nothing more comes. Whoever watches the body then sees it dropped, and can ask here what it was.
#[derive(Clone, Debug, Default)]
pub struct StreamOutcome(Arc<OnceLock<Outcome>>);

impl StreamOutcome {
    /// Of a stream that goes on.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The provider has said its last word. Of several the first counts.
    pub fn set(&self, outcome: Outcome) {
        let _ = self.0.set(outcome);
    }

    /// What it was, if it has been said.
    #[must_use]
    pub fn outcome(&self) -> Option<&Outcome> {
        self.0.get()
    }
}
