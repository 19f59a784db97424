use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Extensions, HeaderMap, Request};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use pin_project::pin_project;
use sync_wrapper::SyncWrapper;
use tidegate_core::{NotContinuable, StreamSplicer};
use tower_service::Service;

use super::body_source::BodySource;
use super::chain::ChainState;
use super::deadline_guard::DeadlineGuard;
use super::last_resort::Recording;
use super::target::{TargetBody, TargetFuture, TargetService};
use crate::body::has_ended;
use crate::{BoxError, Error, ErrorCode, Failure, Outcome, Payload, StreamOutcome};

/// The body of a response: of the first target, of another target, or of a stream that another target
/// continues.
#[pin_project]
pub struct ResponseBody<B: Body> {
    #[pin]
    source: BodySource<B>,
    /// `None` for a call without a fallback, a deadline or a cache.
    chain: Option<Box<ChainBody>>,
}

/// What a chain adds to the body of a response.
pub(super) struct ChainBody {
    pub(super) continued: Option<ContinuedStream>,
    pub(super) recording: Option<Recording>,
    pub(super) deadline_guard: DeadlineGuard,
}

/// A stream that another target continues if it breaks.
///
/// ```text
///          broken, and there is a next target
///   ┌─────────┐ ─────────────────────▶ ┌──────────┐ ─▶ ┌─────────┐ ──▶ failed: the next target, or
///   │ passing │                        │ readying │    │ calling │     the error of the stream that broke
///   └─────────┘ ◀────────────────────────────────────── └─────────┘
///                    a stream, spliced
/// ```
pub(super) struct ContinuedStream {
    chain: ChainState,
    splicer: Box<dyn StreamSplicer>,
    state: SpliceState,
    /// The outcome of the whole stream, which the response has in the place of that of its first target.
    outcome: StreamOutcome,
    /// The outcome of the current target's stream.
    target_outcome: StreamOutcome,
    /// The error that broke the stream, while other targets are called to continue it.
    break_error: Option<Error>,
    /// Trailers, or an error, to deliver after all data.
    final_frame: Option<Result<HeaderMap, Error>>,
}

/// Why another target is called for the rest of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ContinuationCause {
    /// The stream broke.
    StreamBroke,
    /// The target that was called to continue it failed. Its failure concerns the continuation request, not
    /// the caller's request.
    Declined,
}

enum SpliceState {
    Passing,
    Readying(TargetService, Option<Request<Payload>>),
    Calling(TargetFuture),
    Ended,
}

impl<B: Body> ResponseBody<B> {
    pub(super) fn new(source: BodySource<B>) -> Self {
        Self { source, chain: None }
    }

    /// The body of the only target.
    #[inline]
    pub(crate) fn of_target(body: B) -> Self
    where
        B::Error: Into<BoxError>,
    {
        Self::new(BodySource::first(body))
    }

    pub(super) fn of_chain(source: BodySource<B>, chain: ChainBody) -> Self {
        let is_needed =
            chain.continued.is_some() || chain.recording.is_some() || chain.deadline_guard.deadline.is_some();
        Self { source, chain: is_needed.then(|| Box::new(chain)) }
    }

    fn continued(&self) -> Option<&ContinuedStream> {
        self.chain.as_ref()?.continued.as_ref()
    }

    /// A body that no target sent, from a last resort or a kept failure.
    pub(super) fn from_bytes(bytes: Bytes) -> Self {
        Self::new(BodySource::Other(TargetBody::new(Full::new(bytes))))
    }
}

impl ContinuedStream {
    /// The stream of a response with these extensions.
    pub(super) fn new(
        chain: ChainState,
        splicer: Box<dyn StreamSplicer>,
        extensions: &mut Extensions,
    ) -> Self {
        let (outcome, target_outcome) = (StreamOutcome::new(), StreamOutcome::of(extensions));
        if target_outcome.is_unproven() {
            outcome.set_unproven();
        }
        extensions.insert(outcome.clone());
        let state = SpliceState::Passing;
        Self { chain, splicer, state, outcome, target_outcome, break_error: None, final_frame: None }
    }

    /// Processes the next frame of the source, and returns the bytes to deliver.
    fn on_frame(&mut self, frame: Option<Result<Frame<Bytes>, Error>>) -> Bytes {
        let error = match frame.map(|frame| frame.map(Frame::into_data)) {
            Some(Ok(Ok(data))) => match self.splicer.push(&data) {
                Ok(bytes) => {
                    self.publish_outcome();
                    return bytes;
                }
                Err(NotContinuable) => Failure::new(ErrorCode::ServerError).into(),
            },
            // Trailers are delivered at the end, and the end is not decided yet.
            Some(Ok(Err(trailers))) => {
                self.final_frame = trailers.into_trailers().ok().map(Ok);
                return Bytes::new();
            }
            None => {
                self.state = SpliceState::Ended;
                self.publish_outcome();
                return self.splicer.finish();
            }
            Some(Err(error)) => error,
        };
        // Trailers that arrived before the break do not apply.
        self.final_frame = None;
        self.request_continuation(&error, ContinuationCause::StreamBroke);
        match self.state {
            SpliceState::Ended => self.abandon(error),
            _ => {
                self.break_error = Some(error);
                Bytes::new()
            }
        }
    }

    /// Selects the next target that may continue the stream, if there is one.
    fn request_continuation(&mut self, error: &Error, cause: ContinuationCause) {
        self.state = match self.chain.continuation_target(error, cause, &*self.splicer) {
            Some((service, request)) => SpliceState::Readying(service, Some(request)),
            None => SpliceState::Ended,
        };
    }

    /// Sets the outcome once that of the current target is known. A failure that another target may continue
    /// is none of the call yet.
    fn publish_outcome(&self) {
        match self.target_outcome.outcome() {
            Some(Outcome::Failure(_)) if self.chain.may_be_continued(&*self.splicer) => {}
            Some(outcome) => self.outcome.set(outcome.clone()),
            None => {}
        }
    }

    /// Ends the stream with `error`, and returns the bytes that were held back.
    fn abandon(&mut self, error: Error) -> Bytes {
        self.outcome.set(Outcome::of_error(&*error));
        self.final_frame = Some(Err(error));
        self.splicer.abandon()
    }

    /// Waits until a target continues the stream, and returns its body; `None` if no target does.
    fn poll_continuation(&mut self, cx: &mut Context<'_>) -> Poll<Option<TargetBody>> {
        loop {
            let result = match &mut self.state {
                SpliceState::Passing | SpliceState::Ended => return Poll::Ready(None),
                SpliceState::Readying(service, request) => match ready!(self.chain.poll_ready(service, cx)) {
                    Ok(()) => {
                        let request = request.take().expect("sent once");
                        self.state = SpliceState::Calling(SyncWrapper::new(service.call(request)));
                        continue;
                    }
                    Err(error) => Err(error),
                },
                SpliceState::Calling(future) => {
                    ready!(self.chain.poll_response(future.get_mut().as_mut(), cx))
                }
            };
            match self.chain.accept_continuation(result) {
                Ok(response) => {
                    (self.state, self.break_error) = (SpliceState::Passing, None);
                    self.target_outcome = StreamOutcome::of(response.extensions());
                    return Poll::Ready(Some(response.into_body()));
                }
                Err(error) => self.request_continuation(&error, ContinuationCause::Declined),
            }
        }
    }

    /// Switches the splicer to the current target, and returns the bytes between both streams.
    fn switch_to_current_target(&mut self) -> Bytes {
        let target = self.chain.current_target().map_or("", |target| &*target.name);
        self.splicer.switch_to(target)
    }
}

impl<B: Body<Data = Bytes>> ResponseBody<B> {
    /// The next frame, or an error once the deadline has passed.
    fn poll_before_deadline(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if let Poll::Ready(frame) = self.as_mut().poll_next(cx) {
            return Poll::Ready(frame);
        }
        let mut this = self.project();
        let Some(chain) = this.chain else { return Poll::Pending };
        let elapsed = ready!(chain.deadline_guard.poll_expired(cx));
        this.source.set(BodySource::Closed);
        chain.continued = None;
        Poll::Ready(Some(Err(elapsed.into())))
    }

    /// The next frame, from whichever target is the current source.
    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let mut this = self.project();
        let Some(ChainBody { continued: Some(continued), recording, .. }) = this.chain.as_deref_mut() else {
            return this.source.poll_frame(cx);
        };
        loop {
            let bytes = match continued.state {
                SpliceState::Passing => {
                    let bytes = continued.on_frame(ready!(this.source.as_mut().poll_frame(cx)));
                    // The broken stream is dropped before the next target is called: it may hold a connection
                    // or a permit.
                    if !matches!(continued.state, SpliceState::Passing) {
                        this.source.set(BodySource::Closed);
                        // Text that was spliced from two models is not cached.
                        if continued.break_error.is_some() {
                            *recording = None;
                        }
                    }
                    bytes
                }
                SpliceState::Readying(..) | SpliceState::Calling(_) => {
                    match ready!(continued.poll_continuation(cx)) {
                        Some(body) => {
                            this.source.set(BodySource::Other(body));
                            continued.switch_to_current_target()
                        }
                        // The error is the one that broke the stream, not the failure of a continuation.
                        None => match continued.break_error.take() {
                            Some(error) => continued.abandon(error),
                            None => Bytes::new(),
                        },
                    }
                }
                SpliceState::Ended => {
                    return Poll::Ready(
                        continued.final_frame.take().map(|result| result.map(Frame::trailers)),
                    );
                }
            };
            if !bytes.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
        }
    }
}

impl<B: Body<Data = Bytes>> Body for ResponseBody<B> {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if self.chain.is_none() {
            return self.project().source.poll_frame(cx);
        }
        let frame = ready!(self.as_mut().poll_before_deadline(cx));
        if self.chain.as_ref().is_some_and(|chain| chain.recording.is_some()) {
            let has_ended = frame.is_none() || has_ended(&*self);
            let Some(ChainBody { recording, .. }) = self.project().chain.as_deref_mut() else {
                return Poll::Ready(frame);
            };
            match &frame {
                Some(Ok(frame)) => {
                    if let (Some(recording), Some(data)) = (recording.as_mut(), frame.data_ref()) {
                        recording.push(data);
                    }
                }
                // A truncated answer is not cached.
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
        match self.continued() {
            Some(continued) => {
                matches!(continued.state, SpliceState::Ended) && continued.final_frame.is_none()
            }
            None => self.source.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self.continued() {
            Some(_) => SizeHint::new(),
            None => self.source.size_hint(),
        }
    }
}

partial_debug!([B: Body] ResponseBody<B>, "ResponseBody");
