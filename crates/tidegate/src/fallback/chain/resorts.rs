//! What is left when no target has answered.

use bytes::Bytes;

use super::{Chain, Step, Whom};
use crate::fallback::fit::Fit;
use crate::fallback::resort::{Composable, Kind, Resort};
use crate::{ErrorCode, clock};

impl Chain {
    /// The next last resort that has something to say.
    pub(super) fn last_resort(&mut self, because: Option<ErrorCode>) -> Option<Step> {
        // Read once: it may be long, and there may be many to ask with less.
        let known = self.troubles.as_mut().and_then(|troubles| troubles.composable.take());
        let composable = match known {
            Some(composable) => composable,
            None => Box::new(Composable::of(self.template.as_ref()?, &self.settings)?),
        };
        let step = self.last_resort_to(&composable, because);
        self.troubles.get_or_insert_default().composable = Some(composable);
        step
    }

    /// The same for what the caller asked.
    fn last_resort_to(&mut self, composable: &Composable, because: Option<ErrorCode>) -> Option<Step> {
        while let Some(resort) = self.resort().cloned() {
            let is_first = self.simplified().is_none();
            let step = match resort.kind {
                Kind::Simplified => self.simpler(composable).map(Step::Ask),
                _ => composable.answer(&resort).map(|response| Step::Instead(Ok(response))),
            };
            if is_first && step.is_some() {
                resort.counts.asked();
                self.tell(&resort.name, because);
            }
            match step {
                Some(Step::Instead(Ok(mut response))) => {
                    resort.counts.ended(true);
                    self.leave_trail(response.extensions_mut());
                    return Some(Step::Instead(Ok(response)));
                }
                Some(step) => return Some(step),
                None => {
                    let troubles = self.troubles.get_or_insert_default();
                    troubles.resort += 1;
                    // Nobody had an answer to the simpler prompt either.
                    if troubles.simplified.take().is_some() {
                        resort.counts.ended(false);
                    }
                }
            }
        }
        None
    }

    /// The last resort that is to be tried next, or is being tried.
    pub(super) fn resort(&self) -> Option<&Resort> {
        self.handle.resorts().get(self.troubles.as_ref().map_or(0, |troubles| troubles.resort))
    }

    /// Whether all may be asked again with a simplified prompt.
    pub(super) fn simplifies(&self) -> bool {
        self.handle.resorts().iter().any(|resort| matches!(resort.kind, Kind::Simplified))
    }

    pub(super) fn simplified(&self) -> Option<&(Bytes, usize)> {
        self.troubles.as_ref()?.simplified.as_ref()
    }

    /// Whom to ask next with a simplified prompt: the first target, and then the others in their order, but for those
    /// who said when to come back, or whose account is at fault.
    fn simpler(&mut self, composable: &Composable) -> Option<Whom> {
        let (body, place) = match self.simplified() {
            Some((body, place)) => (body.clone(), *place),
            None => (composable.simplified(self.template.as_ref()?.body().bytes()?)?, 0),
        };
        let models = self.settings.models.as_deref();
        // It is another prompt, with needs of its own.
        let mut fit = Fit::default();
        let (troubles, now) = (self.troubles.as_ref(), clock::now());
        let mut is_fit = |place: usize| {
            if troubles.is_some_and(|troubles| !troubles.cooling.allows(place, now)) {
                return false;
            }
            let target = place.checked_sub(1).and_then(|place| self.handle.targets().get(place));
            target.is_none_or(|target| fit.lack(models, &target.name, Some(&body)).is_none())
        };
        let place = (place..=self.handle.targets().len()).find(|place| is_fit(*place))?;
        if !self.may_ask() {
            return None;
        }
        self.troubles.get_or_insert_default().simplified = Some((body, place + 1));
        Some(self.whom(place))
    }
}
