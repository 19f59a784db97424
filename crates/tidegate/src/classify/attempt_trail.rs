use http::Extensions;

use crate::timeout::RecordedTimeout;
use crate::{Outcome, Trail};

/// Records one attempt in the trail of its call: its outcome, or that it was dropped before it had one.
#[derive(Debug)]
pub(super) struct AttemptTrail(Option<RecordedAttempt>);

#[derive(Debug)]
struct RecordedAttempt {
    trail: Trail,
    timeout: Option<RecordedTimeout>,
}

impl AttemptTrail {
    pub(super) fn of(extensions: &Extensions) -> Self {
        let timeout = || RecordedTimeout::of(extensions).cloned();
        let trail = Trail::of(extensions).cloned();
        Self(trail.map(|trail| RecordedAttempt { trail, timeout: timeout() }))
    }

    pub(super) fn record(&mut self, outcome: &Outcome) {
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
