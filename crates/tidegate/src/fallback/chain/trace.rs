//! Records the course of a call in its trail.

use std::sync::Arc;

use http::Extensions;

use super::ChainState;
use crate::events::Decision;
use crate::fallback::info::FallbackKind;
use crate::{ErrorCode, Verdict};

impl ChainState {
    /// Records that the chain falls back to `target`.
    pub(super) fn trace_fallback(&self, target: &Arc<str>, kind: FallbackKind, because: Option<ErrorCode>) {
        self.push_verdict(Verdict::FellBack { to: Arc::clone(target), because });
        self.enter_target(target);
        Decision::FellBack { kind, code: because }.emit(target, None);
    }

    pub(super) fn push_verdict(&self, verdict: Verdict) {
        if let Some(trail) = &self.trail {
            trail.push(verdict);
        }
    }

    pub(super) fn enter_target(&self, target: &Arc<str>) {
        if let Some(trail) = &self.trail {
            trail.enter(target);
        }
    }

    pub(super) fn attach_trail(&self, extensions: &mut Extensions) {
        if let Some(trail) = &self.trail {
            extensions.insert(trail.clone());
        }
    }
}
