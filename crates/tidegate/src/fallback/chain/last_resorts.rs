//! Selects the next last resort when all targets have failed.

use super::{ChainState, ChainStep, NextTarget, SimplifiedRequest};
use crate::fallback::last_resort::{LastResort, LastResortKind, ParsedRequest};
use crate::fallback::target::{CapabilityFilter, Target};
use crate::{ErrorCode, clock};

impl ChainState {
    /// The step of the next last resort that has a response.
    pub(super) fn next_last_resort(&mut self, because: Option<ErrorCode>) -> Option<ChainStep> {
        // Parsed once: the request may be long, and the simplified prompt may go to many targets.
        let cached = self.failures.as_mut().and_then(|failures| failures.parsed.take());
        let parsed = match cached {
            Some(parsed) => parsed,
            None => Box::new(ParsedRequest::new(self.template.as_ref()?, &self.settings)?),
        };
        let step = self.next_last_resort_for(&parsed, because);
        self.failures.get_or_insert_default().parsed = Some(parsed);
        step
    }

    /// Tries the last resorts in their order, starting with the current one, until one has a step for
    /// `parsed`.
    fn next_last_resort_for(
        &mut self,
        parsed: &ParsedRequest,
        because: Option<ErrorCode>,
    ) -> Option<ChainStep> {
        while let Some(last_resort) = self.current_last_resort().cloned() {
            let is_first = self.simplified().is_none();
            let step = match last_resort.kind {
                LastResortKind::Simplified => self.next_simplified_target(parsed).map(ChainStep::Call),
                _ => {
                    let response = parsed.response_from(&last_resort, self.last_resort_position());
                    response.map(|response| ChainStep::Respond(Ok(response)))
                }
            };
            if is_first && step.is_some() {
                last_resort.counters.record_use();
                self.trace_fallback(&last_resort.name, last_resort.kind.fallback_kind(), because);
            }
            match step {
                Some(ChainStep::Respond(Ok(mut response))) => {
                    last_resort.counters.record_outcome(true);
                    self.mark_call(&mut response);
                    return Some(ChainStep::Respond(Ok(response)));
                }
                Some(step) => return Some(step),
                None => {
                    let failures = self.failures.get_or_insert_default();
                    failures.last_resort += 1;
                    // All targets have failed with the simplified prompt as well.
                    if failures.simplified.take().is_some() {
                        last_resort.counters.record_outcome(false);
                    }
                }
            }
        }
        None
    }

    /// The last resort that is tried next, or is being tried.
    pub(super) fn current_last_resort(&self) -> Option<&LastResort> {
        self.handle.last_resorts().get(self.last_resort_index())
    }

    /// The position of the current last resort in the chain, behind all targets.
    pub(super) fn last_resort_position(&self) -> usize {
        1 + self.handle.targets().len() + self.last_resort_index()
    }

    fn last_resort_index(&self) -> usize {
        self.failures.as_ref().map_or(0, |failures| failures.last_resort)
    }

    /// Whether all targets may be called again with a simplified prompt.
    pub(super) fn has_simplified_resort(&self) -> bool {
        self.handle
            .last_resorts()
            .iter()
            .any(|last_resort| matches!(last_resort.kind, LastResortKind::Simplified))
    }

    pub(super) fn simplified(&self) -> Option<&SimplifiedRequest> {
        self.failures.as_ref()?.simplified.as_ref()
    }

    /// The next target for the simplified prompt: the first target, and then the others in their order.
    /// Targets that gave a delay that has not passed are skipped, and so are targets that failed because of
    /// their account.
    fn next_simplified_target(&mut self, parsed: &ParsedRequest) -> Option<NextTarget> {
        let (body, target_index) = match self.simplified() {
            Some(SimplifiedRequest { body, next_target }) => (body.clone(), *next_target),
            None => (parsed.with_simplified_prompt(self.template.as_ref()?.body().bytes()?)?, 0),
        };
        let uri = self.template.as_ref()?.uri();
        let models = self.settings.hooks.models.as_deref();
        // The simplified prompt has requirements of its own.
        let mut filter = CapabilityFilter::default();
        let (failures, now) = (self.failures.as_ref(), clock::now());
        let mut is_eligible = |target_index: usize| {
            if failures.is_some_and(|failures| !failures.cooldowns.allows(target_index, now)) {
                return false;
            }
            let mut missing =
                |target: &Target| filter.missing_in_all(models, &target.models, uri, Some(&body));
            self.target_at(target_index).is_none_or(|target| missing(target).is_none())
        };
        let target_index =
            (target_index..=self.handle.targets().len()).find(|target_index| is_eligible(*target_index))?;
        if !self.try_take_attempt() {
            return None;
        }
        self.failures.get_or_insert_default().simplified =
            Some(SimplifiedRequest { body, next_target: target_index + 1 });
        Some(self.select_target(target_index))
    }
}
