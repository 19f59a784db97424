use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::Extensions;

use crate::{Outcome, Trail};

/// Records one attempt in the trail of its call: its outcome, or that it was dropped before it had one.
#[derive(Debug)]
pub(crate) struct AttemptTrail(Option<RecordedAttempt>);

#[derive(Debug)]
struct RecordedAttempt {
    trail: Trail,
    timeout: Option<RecordedTimeout>,
}

impl AttemptTrail {
    pub(crate) fn of(extensions: &Extensions) -> Self {
        let timeout = || RecordedTimeout::of(extensions).cloned();
        let trail = Trail::of(extensions).cloned();
        Self(trail.map(|trail| RecordedAttempt { trail, timeout: timeout() }))
    }

    pub(crate) fn record(&mut self, outcome: &Outcome) {
        if let Some(attempt) = self.0.take() {
            attempt.trail.attempt(outcome);
        }
    }
}

impl Drop for AttemptTrail {
    fn drop(&mut self) {
        let Some(RecordedAttempt { trail, timeout }) = &self.0 else { return };
        if !timeout.as_ref().is_some_and(RecordedTimeout::take) {
            trail.cancelled();
        }
    }
}

/// Whether a timeout has recorded the attempt in progress in its trail, in the extensions of the requests
/// that pass it. The wire below, which is dropped then, does not record the attempt once more.
#[derive(Clone, Debug, Default)]
pub(super) struct RecordedTimeout(Arc<AtomicBool>);

impl RecordedTimeout {
    fn of(extensions: &Extensions) -> Option<&Self> {
        extensions.get()
    }

    /// The mark of an outer timeout, or a new one.
    pub(super) fn shared(extensions: &mut Extensions) -> Self {
        extensions.get_or_insert_default::<Self>().clone()
    }

    pub(super) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it was set; it no longer is.
    pub(super) fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}
