use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use http_body::{Body, Frame};
use pin_project::pin_project;

use super::call::record_failure;
use super::member_state::InFlight;
use crate::body::UnchangedBody;
use crate::events::Decision;
use crate::{BoxError, Error, Outcome, StreamOutcome, UsageMeter, clock};

/// The body of a response. Until it ends it counts as a call in flight at its member.
#[pin_project]
pub struct ResponseBody<B: Body> {
    #[pin]
    inner: UnchangedBody<B>,
    /// Boxed, and absent for a group of one.
    call: Option<Box<CallAtMember>>,
}

/// The call that a body belongs to.
#[derive(Debug)]
pub(super) struct CallAtMember {
    pub(super) in_flight: InFlight,
    pub(super) member: Arc<str>,
    pub(super) began: Instant,
    /// The request has the credential of its caller.
    pub(super) has_own_account: bool,
    /// Counts the tokens of the attempt, if the group has an affinity.
    pub(super) meter: Option<UsageMeter>,
    /// The outcome of a stream of which the head was no result, so that the end is one.
    pub(super) unproven: Option<StreamOutcome>,
}

impl CallAtMember {
    /// Records the end of the body.
    fn record_end(&mut self, outcome: &Outcome) {
        let (state, now, unproven) = (self.in_flight.state(), clock::now(), self.unproven.take());
        match outcome {
            Outcome::Failure(failure) => {
                record_failure(state, &self.member, failure, self.has_own_account, self.began, now);
            }
            Outcome::Success if unproven.is_some() && state.record_success(self.began, None, now) => {
                Decision::MemberReturned.emit(&self.member, None);
            }
            Outcome::Neutral if unproven.is_some() => state.record_no_result(Some(self.began), now),
            _ => {}
        }
    }
}

impl Drop for CallAtMember {
    fn drop(&mut self) {
        // Many readers stop at the last event.
        if let Some(stream) = &self.unproven {
            let outcome = stream.outcome().cloned();
            self.record_end(&outcome.unwrap_or(Outcome::Neutral));
        }
        if let Some(meter) = &self.meter {
            self.in_flight.state().record_prompt(meter.read());
        }
    }
}

impl<B: Body<Error: Into<BoxError>>> ResponseBody<B> {
    pub(super) fn new(inner: B, call: Option<Box<CallAtMember>>) -> Self {
        Self { inner: UnchangedBody::new(inner), call }
    }
}

impl<B: Body> Body for ResponseBody<B> {
    type Data = B::Data;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, Error>>> {
        let this = self.project();
        let frame = ready!(this.inner.poll_frame(cx));
        if !matches!(frame, Some(Ok(_)))
            && let Some(mut call) = this.call.take()
        {
            let error = frame.as_ref().and_then(|frame| frame.as_ref().err());
            call.record_end(&error.map_or(Outcome::Success, |error| Outcome::of_error(&**error)));
        }
        Poll::Ready(frame)
    }

    forward_end!(inner);
}

partial_debug!([B: Body + fmt::Debug] ResponseBody<B>, "ResponseBody", inner);
