//! Prepares the response for the caller.

use http::header::CONTENT_LENGTH;
use http::response::Parts;
use http::{Extensions, Response};
use http_body::Body;

use super::ChainState;
use crate::Outcome;
use crate::fallback::ResponseBody;
use crate::fallback::body::{ChainBody, ContinuedStream};
use crate::fallback::body_source::BodySource;
use crate::fallback::deadline_guard::DeadlineGuard;
use crate::fallback::info::{FallbackInfo, FallbackKind};
use crate::fallback::last_resort::{LastResortKind, RawRequest, Recording};
use crate::fallback::target::Target;
use crate::group::GroupMember;

impl ChainState {
    /// Builds the response for the caller. It is marked if it is not from the first target, can be continued
    /// if it is a stream that another target could continue, and is recorded if there is a cache.
    pub(crate) fn into_response<B: Body>(
        mut self,
        mut response: Response<BodySource<B>>,
    ) -> Response<ResponseBody<B>> {
        self.mark_response(&mut response);
        if self.visited > 0 || self.failures.is_some() || self.hedge_info().is_some() {
            self.mark_call(&mut response);
        }
        let deadline_guard =
            std::mem::replace(&mut self.deadline_guard, DeadlineGuard::new(self.deadline_timer.deadline()))
                .with_deadline(self.body_deadline);
        if self.template.is_none()
            || !self.handle.has_fallbacks()
            || Outcome::of(&response) != Outcome::Success
        {
            let chain = ChainBody { continued: None, recording: None, deadline_guard };
            return response.map(|body| ResponseBody::of_chain(body, chain));
        }
        let (mut head, body) = response.into_parts();
        let recording = self.new_recording(&head);
        // The response to a simplified prompt is not continued: all targets were called before.
        let continuator = self.settings.hooks.continuator.as_ref().filter(|_| self.simplified().is_none());
        let splicer = continuator.and_then(|continuator| continuator.splicer(&head));
        let continued = splicer.map(|splicer| {
            // The continuation is not part of the original content length, and appears in the trail.
            head.headers.remove(CONTENT_LENGTH);
            self.attach_trail(&mut head.extensions);
            // We have a response; the earlier failure is discarded.
            if let Some(failures) = &mut self.failures {
                failures.kept = None;
            }
            ContinuedStream::new(self, splicer, &mut head.extensions)
        });
        let chain = ChainBody { continued, recording, deadline_guard };
        Response::from_parts(head, ResponseBody::of_chain(body, chain))
    }

    /// Adds the trail of the call, and what became of its hedge.
    pub(super) fn mark_call<B>(&self, response: &mut Response<B>) {
        self.attach_trail(response.extensions_mut());
        if let Some(info) = self.hedge_info() {
            info.mark(response);
        }
    }

    /// Adds the [`FallbackInfo`]. One that a nested chain added is kept, since it is more precise.
    pub(super) fn mark_response<B>(&self, response: &mut Response<B>) {
        let is_simplified = self.simplified().is_some();
        let inner = response.extensions().get::<FallbackInfo>();
        let is_marked = inner.is_some_and(|inner| !is_simplified || !inner.is_from_target());
        if let Some(info) = self.fallback_info(response.extensions()).filter(|_| !is_marked) {
            info.mark(response);
        }
    }

    /// The info for the current target, if it is not the first or was sent a simplified prompt.
    fn fallback_info(&self, of_response: &Extensions) -> Option<FallbackInfo> {
        if self.simplified().is_some() {
            let target = self.target_name().unwrap_or_else(|| "@simplified".into());
            let position = self.last_resort_position();
            return Some(FallbackInfo::new(&target, position, FallbackKind::SimplifiedPrompt));
        }
        let member = GroupMember::of(of_response).map(GroupMember::member);
        let info = |target: &Target| {
            let name = member.unwrap_or(&target.name);
            FallbackInfo::new(name, self.target_index, FallbackKind::AlternativeModel)
        };
        self.current_target().map(info)
    }

    /// The recording of this response, if it is a target's response to the caller's own prompt.
    fn new_recording(&self, head: &Parts) -> Option<Recording> {
        if head.extensions.get().is_some_and(|info: &FallbackInfo| !info.is_from_target()) {
            return None;
        }
        let cache = self.handle.last_resorts().iter().find_map(|last_resort| match &last_resort.kind {
            LastResortKind::Cached(cache) => Some(cache.clone()),
            _ => None,
        })?;
        let recorder = self.settings.hooks.composer.as_ref()?.recorder(head)?;
        let request = RawRequest::new(self.template.as_ref()?, &self.settings)?;
        Recording::new(cache, request, recorder)
    }
}
