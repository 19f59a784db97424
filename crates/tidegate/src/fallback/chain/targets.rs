//! The targets of a chain by their index, their names, and the trail of a call through them.

use std::sync::Arc;

use http::Extensions;

use super::ChainState;
use crate::events::Decision;
use crate::fallback::info::FallbackKind;
use crate::fallback::target::Target;
use crate::{ErrorCode, Trail, Verdict};

impl ChainState {
    /// The current target, if it is not the first.
    pub(crate) fn current_target(&self) -> Option<&Target> {
        self.target_at(self.target_index)
    }

    /// The target at `target_index`, if it is not the first.
    pub(super) fn target_at(&self, target_index: usize) -> Option<&Target> {
        self.handle.targets().get(target_index.checked_sub(1)?)
    }

    /// The name of the current target.
    pub(super) fn target_name(&self) -> Option<Arc<str>> {
        match (self.current_target(), &self.failures) {
            (Some(target), _) => Some(Arc::clone(&target.name)),
            (None, Some(failures)) if failures.first_name.is_some() => failures.first_name.clone(),
            // No other target is in the trail yet.
            (None, _) => self.trail.as_ref().filter(|_| self.visited == 0).and_then(Trail::target),
        }
    }

    /// The name of the target at `target_index`, or an empty string.
    pub(crate) fn name_at(&self, target_index: usize) -> Arc<str> {
        match self.target_at(target_index) {
            Some(target) => Arc::clone(&target.name),
            None => self.first_name().unwrap_or_default(),
        }
    }

    /// The name of the first target. If that is a group, the trail has the member's name instead.
    fn first_name(&self) -> Option<Arc<str>> {
        let of_hedge = self.handle.hedge().map(|hedge| hedge.handle.target()).filter(|name| !name.is_empty());
        if let Some(name) = of_hedge {
            return Some(name.into());
        }
        let of_failure = self.failures.as_ref().and_then(|failures| failures.first_name.clone());
        of_failure.or_else(|| self.target_name())
    }

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
