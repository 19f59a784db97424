use std::sync::{Arc, OnceLock};

use crate::Outcome;

/// The outcome of a stream, available as soon as the provider has sent its last event. It is a handle in the
/// extensions of the response.
///
/// Many clients stop reading at the last event, or at an error event, and drop the body before the connection
/// reports its end. A guard on the body then sees a dropped body, and reads the real outcome here.
#[derive(Clone, Debug, Default)]
pub struct StreamOutcome(Arc<OnceLock<Outcome>>);

impl StreamOutcome {
    /// A handle without an outcome, for a stream that has not ended.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the outcome. Only the first call has an effect.
    pub fn set(&self, outcome: Outcome) {
        let _ = self.0.set(outcome);
    }

    /// The outcome, if it has been set.
    #[must_use]
    pub fn outcome(&self) -> Option<&Outcome> {
        self.0.get()
    }
}
