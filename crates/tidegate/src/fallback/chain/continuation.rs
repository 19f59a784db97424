//! Selects the target that continues a broken stream.

use std::sync::Arc;

use http::{Request, Response};
use tidegate_core::StreamSplicer;

use super::request::with_body;
use super::{ChainState, code, outcome};
use crate::events::Decision;
use crate::fallback::body::ContinuationCause;
use crate::fallback::info::FallbackInfo;
use crate::fallback::target::{TargetBody, TargetService};
use crate::{Error, ErrorCode, Failure, Outcome, Payload, Verdict};

impl ChainState {
    /// The target that may continue a broken stream, and the request for the continuation.
    pub(crate) fn continuation_target(
        &mut self,
        error: &Error,
        cause: ContinuationCause,
        splicer: &dyn StreamSplicer,
    ) -> Option<(TargetService, Request<Payload>)> {
        if cause == ContinuationCause::StreamBroke && !self.settings.policy().falls_back_from(error) {
            return None;
        }
        let target = self.next_capable_target()?;
        let body = splicer.continuation_request(&target.name, self.template.as_ref()?.body().bytes()?)?;
        if !self.try_take_attempt() {
            return None;
        }
        self.visited += 1;
        let because = code(&Outcome::of_error(&**error), Some(error));
        self.target_index = self.visited;
        target.counters.record_use();
        self.push_verdict(Verdict::Continued { by: Arc::clone(&target.name), because });
        self.enter_target(&target.name);
        Decision::Continued { code: because }.emit(&target.name, None);
        Some((target.service, with_body(self.request(), body)))
    }

    /// Whether a target could continue the stream, as far as `splicer` has read it.
    pub(crate) fn may_be_continued(&self, splicer: &dyn StreamSplicer) -> bool {
        let prompt = self.template.as_ref().and_then(|template| template.body().bytes());
        prompt.is_some_and(|prompt| splicer.continuation_request("", prompt).is_some())
    }

    /// The response of the target that was called for the continuation, or why there is none.
    pub(crate) fn accept_continuation(
        &mut self,
        result: Result<Response<TargetBody>, Error>,
    ) -> Result<Response<TargetBody>, Error> {
        self.end_measuring(&outcome(&result));
        self.finish_attempt(result.as_ref().err());
        let response = result.and_then(|response| self.check_continuation(response));
        self.record_outcome(response.is_ok());
        response
    }

    fn check_continuation(&self, response: Response<TargetBody>) -> Result<Response<TargetBody>, Error> {
        if let Outcome::Failure(failure) = Outcome::of(&response) {
            return Err(failure.into());
        }
        // The response of a nested chain's last resort is a complete answer, and not a continuation.
        if response.extensions().get().is_some_and(|info: &FallbackInfo| !info.is_from_target()) {
            return Err(Failure::new(ErrorCode::ServerError).into());
        }
        let (head, body) = response.into_parts();
        match &self.settings.hooks.continuator {
            Some(continuator) if continuator.splicer(&head).is_some() => Ok(Response::from_parts(head, body)),
            _ => Err(Failure::new(ErrorCode::ServerError).into()),
        }
    }
}
