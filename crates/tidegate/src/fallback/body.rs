use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body::{Body, Frame, SizeHint};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use pin_project::pin_project;
use tidegate_core::{NotContinuable, StreamSplicer};
use tower_service::Service;

use super::chain::Chain;
use super::cutoff::Cutoff;
use super::recording::Recording;
use super::target::{TargetBody, TargetFuture, TargetService};
use crate::ended::has_ended;
use crate::{BoxError, ErrorCode, Failure, Payload};

/// The body of an answer: the first target's, or another one's, or the one's gone on with by the other.
#[pin_project]
pub struct ResponseBody<B> {
    #[pin]
    pub(super) source: Source<B>,
    pub(super) continuing: Option<Box<Continuing>>,
    pub(super) recording: Option<Box<Recording>>,
    pub(super) cutoff: Cutoff,
}

/// Whose bytes these are.
#[pin_project(project = SourceProj)]
pub(super) enum Source<B> {
    First(#[pin] B),
    Other(TargetBody),
    /// The stream has ended, or broken.
    Gone,
}

/// A stream that another target goes on with if it breaks.
///
/// ```text
///              broken, and there is a target
///   ┌─────────┐ ─────────────────────▶ ┌──────────┐ ─▶ ┌─────────┐ ──▶ failed: the next target, or
///   │ passing │                        │ readying │    │ calling │     the error of the stream that broke
///   └─────────┘ ◀────────────────────────────────────── └─────────┘
///                    a stream, spliced
/// ```
pub(super) struct Continuing {
    chain: Chain,
    splice: Box<dyn StreamSplicer>,
    step: Step,
    /// Why the stream broke, while others are asked to go on with it.
    broken: Option<BoxError>,
    /// To be told once all bytes are.
    last: Option<Result<HeaderMap, BoxError>>,
}

/// Why another target is asked for the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// The stream broke.
    Broken,
    /// The one who was asked for it did not take it. What it said was about a request of ours, not the caller's.
    NotTaken,
}

enum Step {
    Passing,
    Readying(TargetService, Option<Request<Payload>>),
    Calling(TargetFuture),
    Ended,
}

impl<B> ResponseBody<B> {
    pub(super) fn new(source: Source<B>) -> Self {
        Self { source, continuing: None, recording: None, cutoff: Cutoff::new(None) }
    }

    /// An answer that nobody gave.
    pub(super) fn composed(bytes: Bytes) -> Self {
        Self::new(Source::Other(UnsyncBoxBody::new(Full::new(bytes).map_err(|never| match never {}))))
    }
}

impl Continuing {
    pub(super) fn new(chain: Chain, splice: Box<dyn StreamSplicer>) -> Self {
        Self { chain, splice, step: Step::Passing, broken: None, last: None }
    }

    /// Takes what the source has next.
    fn take(&mut self, frame: Option<Result<Frame<Bytes>, BoxError>>) -> Bytes {
        let error = match frame.map(|frame| frame.map(Frame::into_data)) {
            Some(Ok(Ok(data))) => match self.splice.pass(&data) {
                Ok(bytes) => return bytes,
                Err(NotContinuable) => Failure::new(ErrorCode::ServerError).into(),
            },
            // They are told at the end, and how it ends is not known yet.
            Some(Ok(Err(trailers))) => {
                self.last = trailers.into_trailers().ok().map(Ok);
                return Bytes::new();
            }
            None => {
                self.step = Step::Ended;
                return self.splice.finish();
            }
            Some(Err(error)) => error,
        };
        // What it told last was about an end that has not come.
        self.last = None;
        self.ask(&error, Why::Broken);
        match self.step {
            Step::Ended => self.give_up(error),
            _ => {
                self.broken = Some(error);
                Bytes::new()
            }
        }
    }

    /// Asks the next target to go on, if there is one that may.
    fn ask(&mut self, error: &BoxError, why: Why) {
        self.step = match self.chain.successor(error, why, &*self.splice) {
            Some((service, request)) => Step::Readying(service, Some(request)),
            None => Step::Ended,
        };
    }

    /// Nobody goes on: what was kept back, and then the error.
    fn give_up(&mut self, error: BoxError) -> Bytes {
        self.last = Some(Err(error));
        self.splice.give_up()
    }

    /// Waits for somebody to go on, and gives their bytes; or nobody does.
    fn poll_other(&mut self, cx: &mut Context<'_>) -> Poll<Option<TargetBody>> {
        loop {
            let result = match &mut self.step {
                Step::Passing | Step::Ended => return Poll::Ready(None),
                Step::Readying(service, request) => match service.poll_ready(cx) {
                    Poll::Ready(Ok(())) if !self.chain.is_too_late() => {
                        let request = request.take().expect("asked once");
                        self.chain.begin();
                        self.step = Step::Calling(service.call(request));
                        continue;
                    }
                    Poll::Ready(Err(error)) => Err(error),
                    Poll::Ready(Ok(())) | Poll::Pending => Err(ready!(self.chain.alarm.poll_past(cx)).into()),
                },
                Step::Calling(future) => match future.as_mut().poll(cx) {
                    Poll::Ready(result) => result,
                    Poll::Pending => Err(ready!(self.chain.cutoff.poll(cx)).into()),
                },
            };
            match self.chain.taken_up(result) {
                Ok(body) => {
                    (self.step, self.broken) = (Step::Passing, None);
                    return Poll::Ready(Some(body));
                }
                Err(error) => self.ask(&error, Why::NotTaken),
            }
        }
    }

    /// What stands between the two streams.
    fn go_on(&mut self) -> Bytes {
        let target = self.chain.current().map_or("", |target| &*target.name);
        self.splice.go_on(target)
    }
}

impl<B: Body<Data = Bytes, Error: Into<BoxError>>> Source<B> {
    pub(super) fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.project() {
            SourceProj::First(body) => {
                body.poll_frame(cx).map(|frame| frame.map(|frame| frame.map_err(Into::into)))
            }
            SourceProj::Other(body) => Pin::new(body).poll_frame(cx),
            SourceProj::Gone => Poll::Ready(None),
        }
    }
}

impl<B: Body<Data = Bytes, Error: Into<BoxError>>> ResponseBody<B> {
    /// The next frame of the stream, if there is time for it.
    fn poll_in_time(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Poll::Ready(frame) = self.as_mut().poll_next(cx) {
            return Poll::Ready(frame);
        }
        let mut this = self.project();
        let elapsed = ready!(this.cutoff.poll(cx));
        this.source.set(Source::Gone);
        *this.continuing = None;
        Poll::Ready(Some(Err(elapsed.into())))
    }

    /// The next frame of the stream, whoever it is from.
    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let mut this = self.project();
        let Some(continuing) = this.continuing else { return this.source.poll_frame(cx) };
        loop {
            let bytes = match continuing.step {
                Step::Passing => {
                    let bytes = continuing.take(ready!(this.source.as_mut().poll_frame(cx)));
                    // A broken stream goes before another is asked for: it may hold a connection, or a permit.
                    if !matches!(continuing.step, Step::Passing) {
                        this.source.set(Source::Gone);
                        // What two models have said is the answer of neither.
                        if continuing.broken.is_some() {
                            *this.recording = None;
                        }
                    }
                    bytes
                }
                Step::Readying(..) | Step::Calling(_) => match ready!(continuing.poll_other(cx)) {
                    Some(body) => {
                        this.source.set(Source::Other(body));
                        continuing.go_on()
                    }
                    // The reader is told why the stream broke, not why nobody could help.
                    None => match continuing.broken.take() {
                        Some(error) => continuing.give_up(error),
                        None => Bytes::new(),
                    },
                },
                Step::Ended => {
                    return Poll::Ready(continuing.last.take().map(|last| last.map(Frame::trailers)));
                }
            };
            if !bytes.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
        }
    }
}

impl<B: Body<Data = Bytes, Error: Into<BoxError>>> Body for ResponseBody<B> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = ready!(self.as_mut().poll_in_time(cx));
        if self.recording.is_some() {
            let has_ended = frame.is_none() || has_ended(&*self);
            let recording = self.project().recording;
            match &frame {
                Some(Ok(frame)) => {
                    if let (Some(recording), Some(data)) = (recording.as_mut(), frame.data_ref()) {
                        recording.push(data);
                    }
                }
                // What broke off is no answer.
                Some(Err(_)) => *recording = None,
                None => {}
            }
            if has_ended && let Some(recording) = recording.take() {
                recording.finish();
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match (&self.continuing, &self.source) {
            (Some(continuing), _) => matches!(continuing.step, Step::Ended) && continuing.last.is_none(),
            (None, Source::First(body)) => body.is_end_stream(),
            (None, Source::Other(body)) => body.is_end_stream(),
            (None, Source::Gone) => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match (&self.continuing, &self.source) {
            (None, Source::First(body)) => body.size_hint(),
            (None, Source::Other(body)) => body.size_hint(),
            (Some(_), _) | (None, Source::Gone) => SizeHint::new(),
        }
    }
}

impl<B> fmt::Debug for ResponseBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseBody").field("may_go_on", &self.continuing.is_some()).finish_non_exhaustive()
    }
}
