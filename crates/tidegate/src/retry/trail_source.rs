use std::time::Duration;

use http::Extensions;

use crate::{Outcome, Rejection, Trail, Verdict};

/// Where the attempts are recorded: by the wire, in the trail of the caller; else here, from the first
/// failure on.
pub(super) enum TrailSource {
    Caller(Trail),
    Own(Option<Trail>),
}

impl TrailSource {
    pub(super) fn of(extensions: &Extensions) -> Self {
        Trail::of(extensions).cloned().map_or(Self::Own(None), Self::Caller)
    }

    /// Records an attempt that failed, and the wait before the next one.
    pub(super) fn record_retry(&mut self, outcome: &Outcome, rejection: Option<&Rejection>, wait: Duration) {
        let trail = match self {
            Self::Caller(trail) => trail,
            Self::Own(trail) => {
                let trail = trail.get_or_insert_default();
                trail.attempt(outcome);
                if let Some(rejection) = rejection {
                    trail.rejected(rejection);
                }
                trail
            }
        };
        trail.push(Verdict::Waiting(wait));
    }

    /// Records the last attempt of a call that was retried.
    pub(super) fn record_last(&self, outcome: &Outcome) {
        if let Self::Own(Some(trail)) = self {
            trail.attempt(outcome);
        }
    }

    pub(super) fn trail(&self) -> Option<&Trail> {
        match self {
            Self::Caller(trail) => Some(trail),
            Self::Own(trail) => trail.as_ref(),
        }
    }
}
