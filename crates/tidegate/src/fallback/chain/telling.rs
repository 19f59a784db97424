//! What is written down about a call.

use std::sync::Arc;

use http::Extensions;

use super::Chain;
use crate::{ErrorCode, Verdict};

impl Chain {
    /// Writes down that the chain goes on to `target`.
    pub(super) fn tell(&self, target: &Arc<str>, because: Option<ErrorCode>) {
        self.push(Verdict::FellBack { to: Arc::clone(target), because });
        self.enter(target);
        let (target, code) = (&**target, because.map(ErrorCode::code));
        tracing::info!(layer = "fallback", target, code, "asking another target");
    }

    pub(super) fn push(&self, verdict: Verdict) {
        if let Some(trail) = &self.trail {
            trail.push(verdict);
        }
    }

    pub(super) fn enter(&self, target: &Arc<str>) {
        if let Some(trail) = &self.trail {
            trail.enter(target);
        }
    }

    pub(super) fn leave_trail(&self, extensions: &mut Extensions) {
        if let Some(trail) = &self.trail {
            extensions.insert(trail.clone());
        }
    }
}
