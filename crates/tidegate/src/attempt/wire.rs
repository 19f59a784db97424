use std::convert::Infallible;
use std::ops::ControlFlow;
use std::task::{Context, Poll};

use http::Request;
use http::response::Parts;
use http_body::Body;

use crate::body::UnchangedBody;
use crate::{BoxError, Error};

/// What happens to the response of an attempt before its guard gets it: nothing, a time limit, or
/// classification. `R` is the response body of the inner service.
///
/// The methods that need an error bound have it themselves. A bound on `R::Error` here would be part of the
/// proof that a future is `Send`, and that proof fails for an error type with a `dyn Error` inside.
pub trait Wire<R: Body>: Clone {
    /// The state of one attempt.
    type Judge;
    /// A response body that has to be read first.
    type Stage;
    /// The response body that is passed on.
    type Body: Body<Data = R::Data, Error = Error>;

    /// The attempt begins: its request is sent.
    fn start<B: 'static>(&self, request: &mut Request<B>) -> Self::Judge;

    /// The head of the response has arrived.
    fn on_response(
        judge: &mut Self::Judge,
        head: &mut Parts,
        body: R,
        cx: &mut Context<'_>,
    ) -> NextStage<Self::Body, Self::Stage>
    where
        R::Error: Into<BoxError>;

    /// The inner service failed.
    fn on_error(judge: &mut Self::Judge, error: &Error);

    /// Ready once the response head is overdue. Polled while it is awaited.
    fn poll_overdue(judge: &mut Self::Judge, cx: &mut Context<'_>) -> Poll<Error>;

    /// Returns the stage while it is pending, and then what follows it.
    fn poll_stage(
        judge: &mut Self::Judge,
        head: &mut Parts,
        stage: Self::Stage,
        cx: &mut Context<'_>,
    ) -> StagePoll<Self::Body, Self::Stage>
    where
        R::Error: Into<BoxError>;
}

/// The next stage, or the result of the attempt: the body of its response, or an error.
///
/// The head stays where it is meanwhile: each step that gives a response another name copies its three
/// hundred bytes.
pub type NextStage<B, T> = ControlFlow<Result<B, Error>, T>;

/// The result of polling a stage.
#[derive(Debug)]
pub enum StagePoll<B, T> {
    /// The stage waits for more of the body.
    Pending(T),
    /// The stage is complete, or its attempt has ended.
    Ready(NextStage<B, T>),
}

/// The wire of a gate alone: responses pass unchanged.
#[derive(Clone, Copy, Debug)]
pub struct NoWire;

impl<R: Body> Wire<R> for NoWire {
    type Judge = ();
    type Stage = Infallible;
    type Body = UnchangedBody<R>;

    fn start<B: 'static>(&self, _: &mut Request<B>) {}

    #[inline]
    fn on_response(
        (): &mut (),
        _: &mut Parts,
        body: R,
        _: &mut Context<'_>,
    ) -> NextStage<UnchangedBody<R>, Infallible>
    where
        R::Error: Into<BoxError>,
    {
        ControlFlow::Break(Ok(UnchangedBody::new(body)))
    }

    fn on_error((): &mut (), _: &Error) {}

    fn poll_overdue((): &mut (), _: &mut Context<'_>) -> Poll<Error> {
        Poll::Pending
    }

    fn poll_stage(
        (): &mut (),
        _: &mut Parts,
        stage: Infallible,
        _: &mut Context<'_>,
    ) -> StagePoll<UnchangedBody<R>, Infallible> {
        match stage {}
    }
}
