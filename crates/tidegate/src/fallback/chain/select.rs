//! Selects the next target.

use std::sync::Arc;
use std::time::Duration;

use tidegate_core::MissingCapability;

use super::{ChainState, NextTarget};
use crate::events::Decision;
use crate::fallback::target::Target;
use crate::{AttemptBudget, Verdict, clock};

impl ChainState {
    /// The next target that can take the request, if there is time and an attempt left. It counts as visited.
    pub(super) fn take_next_target(&mut self) -> Option<Target> {
        let target = self.next_capable_target()?;
        if !self.try_take_attempt() {
            return None;
        }
        self.visited += 1;
        Some(target)
    }

    /// The next target that can take the request; the targets before it are skipped.
    pub(super) fn next_capable_target(&mut self) -> Option<Target> {
        let handle = self.handle.clone();
        loop {
            let target = handle.targets().get(self.visited)?;
            let Some(missing) = self.missing_capability(target) else { return Some(target.clone()) };
            self.skip_target(target, missing);
            self.visited += 1;
        }
    }

    /// Whether none of the remaining targets can take the request.
    pub(super) fn has_no_capable_target(&mut self) -> bool {
        let handle = self.handle.clone();
        handle.targets().iter().skip(self.visited).all(|target| self.missing_capability(target).is_some())
    }

    /// The target that is available first if all are only cooling down, and the wait until then. A nested
    /// chain does not wait: the outer chain may have a target that is available now, and waits itself if it
    /// has none.
    pub(super) fn soonest_target(&mut self) -> Option<(Duration, NextTarget)> {
        if self.first_position.depth > 0 {
            return None;
        }
        let (deadline, random) = (self.deadline_timer.deadline(), self.settings.hooks.random());
        let cooldowns = &mut self.failures.get_or_insert_default().cooldowns;
        let (target_index, wait) = cooldowns.soonest(deadline, clock::now(), random)?;
        if !self.try_take_attempt() {
            return None;
        }
        self.push_verdict(Verdict::Waiting(wait));
        let target = self.select_target(target_index);
        if let Some(target) = self.current_target() {
            target.counters.record_use();
        }
        Some((wait, target))
    }

    /// Makes the target at `target_index` the current one.
    pub(super) fn select_target(&mut self, target_index: usize) -> NextTarget {
        self.target_index = target_index;
        if let Some(name) = self.target_name() {
            self.enter_target(&name);
        }
        match self.current_target() {
            Some(target) => NextTarget::Other(target.service.clone()),
            None => NextTarget::First,
        }
    }

    fn missing_capability(&mut self, target: &Target) -> Option<MissingCapability> {
        let body = self.template.as_ref()?.body().bytes();
        let filter = &mut self.failures.get_or_insert_default().filter;
        filter.missing_capability(
            self.settings.hooks.models.as_deref(),
            &target.name,
            body.map(|body| &**body),
        )
    }

    fn skip_target(&self, target: &Target, missing: MissingCapability) {
        target.counters.record_skip();
        self.push_verdict(Verdict::Skipped { target: Arc::clone(&target.name), missing });
        Decision::Skipped(missing).emit(&target.name, None);
    }

    /// Whether there is time for another target and an attempt left in the budget; the attempt is then taken.
    pub(super) fn try_take_attempt(&self) -> bool {
        !self.is_past_deadline() && self.attempts.as_ref().is_none_or(AttemptBudget::take)
    }

    /// Whether the deadline has passed.
    pub(in crate::fallback) fn is_past_deadline(&self) -> bool {
        self.deadline_timer.deadline().is_some_and(|deadline| deadline.is_past(clock::now()))
    }
}
