//! Who goes on with a stream that broke.

use std::sync::Arc;

use http::{Request, Response};
use tidegate_core::StreamSplicer;

use super::request::rewritten;
use super::{Chain, code};
use crate::fallback::answered::FallbackInfo;
use crate::fallback::body::Why;
use crate::fallback::target::{TargetBody, TargetService};
use crate::{BoxError, ErrorCode, Failure, Outcome, Payload, Rejection, Verdict};

impl Chain {
    /// The target to go on with a stream that broke, and the request that asks it to.
    pub(in crate::fallback) fn successor(
        &mut self,
        error: &BoxError,
        why: Why,
        splice: &dyn StreamSplicer,
    ) -> Option<(TargetService, Request<Payload>)> {
        if why == Why::Broken && !self.settings.policy.falls_back_from(error) {
            return None;
        }
        let target = self.next_fit()?;
        let body = splice.ask(&target.name, self.template.as_ref()?.body().bytes()?)?;
        if !self.may_ask() {
            return None;
        }
        self.passed += 1;
        let because = code(&Outcome::of_error(&**error), Some(error));
        self.place = self.passed;
        target.counts.asked();
        self.push(Verdict::Continued { by: Arc::clone(&target.name), because });
        self.enter(&target.name);
        let (name, code) = (&*target.name, because.map(ErrorCode::code));
        tracing::info!(layer = "fallback", target = name, code, "asking another target for the rest");
        Some((target.service, rewritten(self.request(), body)))
    }

    /// The stream of the one who was asked to go on, or why there is none.
    pub(in crate::fallback) fn taken_up(
        &mut self,
        result: Result<Response<TargetBody>, BoxError>,
    ) -> Result<TargetBody, BoxError> {
        let refusal = result.as_ref().err().and_then(|error| Rejection::find(&**error));
        self.come_back(refusal.is_some_and(|refusal| !refusal.follows_attempt()));
        let stream = self.stream_of(result);
        self.ended(stream.is_ok());
        stream
    }

    fn stream_of(&self, result: Result<Response<TargetBody>, BoxError>) -> Result<TargetBody, BoxError> {
        let response = result?;
        if let Outcome::Failure(failure) = Outcome::of(&response) {
            return Err(failure.into());
        }
        // The last resorts of a chain below answer a question, and this was none.
        if response.extensions().get().is_some_and(|answered: &FallbackInfo| !answered.is_from_target()) {
            return Err(Failure::new(ErrorCode::ServerError).into());
        }
        let (head, body) = response.into_parts();
        match &self.settings.continues {
            Some(continues) if continues.follow(&head).is_some() => Ok(body),
            _ => Err(Failure::new(ErrorCode::ServerError).into()),
        }
    }
}
