use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use http::Extensions;

use crate::Outcome;

/// The outcome of a stream, available as soon as the provider has sent its last event. It is a handle in the
/// extensions of the response.
///
/// Many clients stop reading at the last event, or at an error event, and drop the body before the connection
/// reports its end. A guard on the body then sees a dropped body, and reads the real outcome here.
#[derive(Clone, Debug, Default)]
pub struct StreamOutcome(Arc<SharedOutcome>);

#[derive(Debug, Default)]
struct SharedOutcome {
    outcome: OnceLock<Outcome>,
    is_unproven: AtomicBool,
}

impl StreamOutcome {
    /// A handle without an outcome, for a stream that has not ended.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The handle of a response with these extensions; a new one if it has none.
    #[must_use]
    pub fn of(extensions: &Extensions) -> Self {
        extensions.get().cloned().unwrap_or_default()
    }

    /// Sets the outcome. Only the first call has an effect.
    pub fn set(&self, outcome: Outcome) {
        let _ = self.0.outcome.set(outcome);
    }

    /// The outcome, if it has been set.
    #[must_use]
    pub fn outcome(&self) -> Option<&Outcome> {
        self.0.outcome.get()
    }

    /// Marks a stream that is passed on before any of its content has arrived, since it cannot be held back
    /// for longer.
    pub fn set_unproven(&self) {
        self.0.is_unproven.store(true, Ordering::Relaxed);
    }

    /// Whether the response head is no evidence that the provider works. The end of the stream will be.
    #[must_use]
    pub fn is_unproven(&self) -> bool {
        self.0.is_unproven.load(Ordering::Relaxed)
    }
}
