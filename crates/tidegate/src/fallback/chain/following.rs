//! Who is asked next.

use std::sync::Arc;
use std::time::Duration;

use tidegate_core::MissingCapability;

use super::{Chain, Whom};
use crate::fallback::target::Target;
use crate::{AttemptBudget, Verdict, clock};

impl Chain {
    /// The next target that can take the request, if it may be asked: it has had its turn then.
    pub(super) fn following(&mut self) -> Option<Target> {
        let target = self.next_fit()?;
        if !self.may_ask() {
            return None;
        }
        self.passed += 1;
        Some(target)
    }

    /// The next target that can take the request; those before it are passed over.
    pub(super) fn next_fit(&mut self) -> Option<Target> {
        let handle = self.handle.clone();
        loop {
            let target = handle.targets().get(self.passed)?;
            let Some(lack) = self.lack(target) else { return Some(target.clone()) };
            self.pass_over(target, lack);
            self.passed += 1;
        }
    }

    /// Whether none of the targets that are left can take the request.
    pub(super) fn nobody_is_fit(&mut self) -> bool {
        let handle = self.handle.clone();
        handle.targets().iter().skip(self.passed).all(|target| self.lack(target).is_some())
    }

    /// Of those who only rest the one who is back first, and how long that takes. Within another chain nobody is waited
    /// for: that one may have somebody who need not be, and waits itself if it has not.
    pub(super) fn back_first(&mut self) -> Option<(Duration, Whom)> {
        if self.turn.depth > 0 {
            return None;
        }
        let (deadline, random) = (self.alarm.deadline(), self.settings.random());
        let cooling = &mut self.troubles.get_or_insert_default().cooling;
        let (place, wait) = cooling.soonest(deadline, clock::now(), random)?;
        if !self.may_ask() {
            return None;
        }
        self.push(Verdict::Waiting(wait));
        let whom = self.whom(place);
        if let Some(target) = self.current() {
            target.counts.asked();
        }
        Some((wait, whom))
    }

    /// The target at `place` is the one that is asked now.
    pub(super) fn whom(&mut self, place: usize) -> Whom {
        self.place = place;
        if let Some(name) = self.name() {
            self.enter(&name);
        }
        match self.current() {
            Some(target) => Whom::Other(target.service.clone()),
            None => Whom::First,
        }
    }

    fn lack(&mut self, target: &Target) -> Option<MissingCapability> {
        let body = self.template.as_ref()?.body().bytes();
        let fit = &mut self.troubles.get_or_insert_default().fit;
        fit.lack(self.settings.models.as_deref(), &target.name, body.map(|body| &**body))
    }

    fn pass_over(&self, target: &Target, lack: MissingCapability) {
        target.counts.passed_over();
        self.push(Verdict::PassedOver { target: Arc::clone(&target.name), lack });
        tracing::info!(layer = "fallback", target = &*target.name, %lack, "passing over a target");
    }

    /// Whether there is time for another target, and the call may make another attempt: which is then spent.
    pub(super) fn may_ask(&self) -> bool {
        !self.is_too_late() && self.attempts.as_ref().is_none_or(AttemptBudget::take)
    }

    /// Whether there is no time for anybody.
    pub(in crate::fallback) fn is_too_late(&self) -> bool {
        self.alarm.deadline().is_some_and(|deadline| deadline.is_past(clock::now()))
    }
}
