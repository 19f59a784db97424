use http::Extensions;

use crate::{Outcome, Trail};

/// Records one attempt in the trail of its call: its outcome, or that it was dropped before it had one.
#[derive(Debug)]
pub(super) struct AttemptTrail(Option<Trail>);

impl AttemptTrail {
    pub(super) fn of(extensions: &Extensions) -> Self {
        Self(Trail::of(extensions).cloned())
    }

    pub(super) fn record(&mut self, outcome: &Outcome) {
        if let Some(trail) = self.0.take() {
            trail.attempt(outcome);
        }
    }
}

impl Drop for AttemptTrail {
    fn drop(&mut self) {
        if let Some(trail) = &self.0 {
            trail.cancelled();
        }
    }
}
