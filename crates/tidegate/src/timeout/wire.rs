use std::convert::Infallible;
use std::ops::ControlFlow;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::Request;
use http::response::Parts;
use http_body::Body;

use super::attempt_trail::RecordedTimeout;
use super::body::TimedBody;
use super::timer::AttemptTimer;
use crate::attempt::{NextStage, StagePoll, UnchangedBody, Wire};
use crate::{BoxError, Error, Outcome, Trail};

/// The wire that bounds the time of an attempt.
#[derive(Clone, Copy, Debug)]
pub struct TimeLimit(pub(super) Option<Duration>);

/// The time of one attempt.
#[derive(Debug)]
pub struct TimeJudge {
    timer: AttemptTimer,
    trail: Option<(Trail, RecordedTimeout)>,
    /// Set, and taken by the wire below, if an attempt was in progress.
    recorded: Option<RecordedTimeout>,
}

impl Drop for TimeJudge {
    fn drop(&mut self) {
        // The wire below was dropped before.
        if let Some(recorded) = &self.recorded {
            recorded.take();
        }
    }
}

impl<R: Body> Wire<R> for TimeLimit {
    type Judge = TimeJudge;
    type Stage = Infallible;
    type Body = TimedBody<UnchangedBody<R>>;

    #[inline]
    fn start<B: 'static>(&self, request: &mut Request<B>) -> TimeJudge {
        let extensions = request.extensions_mut();
        let timer = AttemptTimer::new(self.0, extensions);
        let trail = Trail::of(extensions).cloned();
        let trail = trail.map(|trail| (trail, RecordedTimeout::shared(extensions)));
        TimeJudge { timer, trail, recorded: None }
    }

    #[inline]
    fn on_response(
        judge: &mut TimeJudge,
        _: &mut Parts,
        body: R,
        _: &mut Context<'_>,
    ) -> NextStage<TimedBody<UnchangedBody<R>>, Infallible>
    where
        R::Error: Into<BoxError>,
    {
        let timer = std::mem::take(&mut judge.timer).for_body();
        ControlFlow::Break(Ok(TimedBody::new(UnchangedBody::new(body), timer)))
    }

    fn on_error(_: &mut TimeJudge, _: &Error) {}

    fn poll_overdue(judge: &mut TimeJudge, cx: &mut Context<'_>) -> Poll<Error> {
        let elapsed = ready!(judge.timer.poll_elapsed(cx));
        // The classifier below has no result to record, so the attempt is recorded here.
        if let Some((trail, recorded)) = judge.trail.take() {
            trail.attempt(&Outcome::of_error(&elapsed));
            recorded.set();
            judge.recorded = Some(recorded);
        }
        Poll::Ready(elapsed.into())
    }

    fn poll_stage(
        _: &mut TimeJudge,
        _: &mut Parts,
        stage: Infallible,
        _: &mut Context<'_>,
    ) -> StagePoll<TimedBody<UnchangedBody<R>>, Infallible> {
        match stage {}
    }
}
