//! What goes with an answer to the caller.

use http::header::CONTENT_LENGTH;
use http::response::Parts;
use http::{Extensions, Response};

use super::Chain;
use crate::Outcome;
use crate::fallback::ResponseBody;
use crate::fallback::answered::{FallbackInfo, FallbackKind};
use crate::fallback::body::{Continuing, Source};
use crate::fallback::cutoff::Cutoff;
use crate::fallback::recording::Recording;
use crate::fallback::resort::{Asked, Kind};

impl Chain {
    /// The answer for the caller: marked, if it is not the first target's; followed, if it is a stream that another
    /// target could go on with; and written down, if there is a cache.
    pub(in crate::fallback) fn hand_over<B>(
        mut self,
        mut response: Response<Source<B>>,
    ) -> Response<ResponseBody<B>> {
        self.mark(response.extensions_mut());
        if self.passed > 0 || self.troubles.is_some() {
            self.leave_trail(response.extensions_mut());
        }
        let cutoff = std::mem::replace(&mut self.cutoff, Cutoff::new(self.alarm.deadline())).until(self.ends);
        if self.template.is_none() || Outcome::of(&response) != Outcome::Success {
            return response.map(|body| ResponseBody { cutoff, ..ResponseBody::new(body) });
        }
        let (mut head, body) = response.into_parts();
        let recording = self.recording(&head);
        // Nobody is left to go on with the answer to a simplified prompt: all have been asked.
        let continues = self.settings.continues.as_ref().filter(|_| self.simplified().is_none());
        let splice = continues.and_then(|continues| continues.follow(&head));
        let continuing = splice.map(|splice| {
            // What is added is not part of a length told before, and is told of in the trail.
            head.headers.remove(CONTENT_LENGTH);
            self.leave_trail(&mut head.extensions);
            // There is an answer: what was said before it is told to nobody.
            if let Some(troubles) = &mut self.troubles {
                troubles.said = None;
            }
            Box::new(Continuing::new(self, splice))
        });
        Response::from_parts(head, ResponseBody { source: body, continuing, recording, cutoff })
    }

    /// Says who answered. A chain within this one knows better who that was, or that nobody did.
    pub(super) fn mark(&self, extensions: &mut Extensions) {
        let is_simplified = self.simplified().is_some();
        let is_marked =
            extensions.get::<FallbackInfo>().is_some_and(|inner| !is_simplified || !inner.is_from_target());
        if let Some(answered) = self.answered().filter(|_| !is_marked) {
            extensions.insert(answered);
        }
    }

    /// Who answers in place of the first target, or of the one who was asked with another prompt.
    fn answered(&self) -> Option<FallbackInfo> {
        if self.simplified().is_some() {
            let target = self.name().unwrap_or_else(|| "@simplified".into());
            return Some(FallbackInfo::new(&target, FallbackKind::SimplifiedPrompt));
        }
        self.current().map(|target| FallbackInfo::new(&target.name, FallbackKind::AlternativeModel))
    }

    /// Who writes down this answer, if it is a target's, to the caller's own prompt.
    fn recording(&self, head: &Parts) -> Option<Box<Recording>> {
        if head.extensions.get().is_some_and(|answered: &FallbackInfo| !answered.is_from_target()) {
            return None;
        }
        let cache = self.handle.resorts().iter().find_map(|resort| match &resort.kind {
            Kind::Cached(cache) => Some(cache.clone()),
            _ => None,
        })?;
        let transcript = self.settings.composer.as_ref()?.transcribe(head)?;
        let asked = Asked::of(self.template.as_ref()?, &self.settings)?;
        Recording::new(cache, asked, transcript).map(Box::new)
    }
}
