//! Selects the next target.

use std::sync::Arc;
use std::time::Duration;

use tidegate_core::MissingCapability;

use super::{ChainState, NextTarget};
use crate::chain_position::ChainPosition;
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
        self.target_index = self.visited;
        Some(target)
    }

    /// The next target that can take the request; the targets before it are skipped.
    pub(super) fn next_capable_target(&mut self) -> Option<Target> {
        let handle = self.handle.clone();
        loop {
            let target = handle.targets().get(self.visited)?;
            if self.is_taken_by_hedge(self.visited + 1) {
                self.visited += 1;
                continue;
            }
            let Some(missing) = self.missing_capability(target) else { return Some(target.clone()) };
            self.skip_target(target, missing);
            self.visited += 1;
        }
    }

    /// Whether none of the remaining targets can take the request, besides the one at `target_index`.
    pub(super) fn has_no_capable_target(&mut self, target_index: usize) -> bool {
        let handle = self.handle.clone();
        (1..).zip(handle.targets()).skip(self.visited).all(|(index, target)| {
            index == target_index
                || self.is_taken_by_hedge(index)
                || self.missing_capability(target).is_some()
        })
    }

    /// The wait for the target that is available first, if all are only cooling down. A nested chain does not
    /// wait: the outer chain may have a target that is available now, and waits itself if it has none. A chain
    /// in a group leaves the call to another member, if one can take it.
    pub(super) fn begin_wait(&mut self) -> Option<Duration> {
        let ChainPosition { is_in_chain, others, .. } = &self.first_position;
        let request = self.template.as_ref()?;
        if *is_in_chain || others.as_ref().is_some_and(|others| others.can_take(request)) {
            return None;
        }
        let (deadline, random) = (self.deadline_timer.deadline(), self.settings.hooks.random());
        let max_wait = self.settings.max_wait;
        let failures = self.failures.get_or_insert_default();
        let (target_index, wait) = failures.cooldowns.soonest(deadline, max_wait, clock::now(), random)?;
        if !self.try_take_attempt() {
            return None;
        }
        self.select_target(target_index);
        self.push_verdict(Verdict::Waiting(wait));
        Decision::Waiting { wait }.emit(self.target_name().as_deref().unwrap_or_default(), None);
        Some(wait)
    }

    /// The target to call after the wait: the first in the order of the chain that may admit the call by now.
    pub(crate) fn target_after_wait(&mut self) -> NextTarget {
        let failures = self.failures.get_or_insert_default();
        let first = failures.cooldowns.next_after_wait(0, clock::now()).unwrap_or(self.target_index);
        let target = self.select_target(first);
        if let Some(target) = self.current_target() {
            target.counters.record_use();
        }
        target
    }

    /// The next target that may admit the call after a wait, if a gate of the current one has rejected it.
    pub(super) fn next_target_after_wait(&mut self) -> Option<Target> {
        let cooldowns = &self.failures.as_ref()?.cooldowns;
        let target_index = cooldowns.next_after_rejection(self.target_index, clock::now())?;
        let target = self.target_at(target_index)?.clone();
        if !self.try_take_attempt() {
            return None;
        }
        self.target_index = target_index;
        Some(target)
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

    pub(super) fn missing_capability(&mut self, target: &Target) -> Option<MissingCapability> {
        let template = self.template.as_ref()?;
        let (uri, body) = (template.uri(), template.body().bytes().map(|body| &**body));
        let filter = &mut self.failures.get_or_insert_default().filter;
        filter.missing_in_all(self.settings.hooks.models.as_deref(), &target.models, uri, body)
    }

    fn skip_target(&self, target: &Target, missing: MissingCapability) {
        target.counters.record_skip();
        self.push_verdict(Verdict::Skipped { target: Arc::clone(&target.name), missing });
        Decision::Skipped(missing).emit(&target.name, None);
    }

    /// Whether there is time for another target and an attempt left in the budget; the attempt is then taken.
    pub(crate) fn try_take_attempt(&self) -> bool {
        !self.is_past_deadline() && self.attempt_budget.as_ref().is_none_or(AttemptBudget::take)
    }

    /// Returns an attempt that was taken and not made to the budget.
    pub(crate) fn give_back_attempt(&self) {
        if let Some(attempt_budget) = &self.attempt_budget {
            attempt_budget.give_back();
        }
    }

    /// Whether the deadline has passed.
    pub(crate) fn is_past_deadline(&self) -> bool {
        self.deadline_timer.deadline().is_some_and(|deadline| deadline.is_past(clock::now()))
    }
}
