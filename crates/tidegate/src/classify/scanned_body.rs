use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tidegate_core::{Scan, ScanProgress, StopReason, Usage};
use tokio::time::Sleep;

use super::BufferedBody;
use super::body::ClassifiableBody;
use super::clocks::IdleTimers;
use crate::buffered_body::compact;
use crate::timeout::AttemptTimer;
use crate::{AttemptUsage, Error, ErrorCode, Failure, FailureKind, Outcome, StreamOutcome};

/// The most events with data, and the most bytes, without a token for which a stream is held back. Comments
/// are not counted as events: the more often a server sends that it is busy, the longer it has not begun.
const MAX_HELD_EVENTS: u32 = 64;
const MAX_HELD_BYTES: usize = 256 * 1024;

/// The most frames that are held back. Each has memory of its own, however short it is.
const MAX_HELD_FRAMES: usize = 4096;

/// The most frames of a body that is never pending before the timers are polled and the task yields.
const MAX_READY_FRAMES: u8 = 64;

/// The time after the terminator, an error event or a content filter in which the provider may still report
/// its usage or close the stream.
pub(super) const TRAILING_GRACE: Duration = Duration::from_secs(1);

/// A stream that is scanned as it passes: held back until its first token, and classified at its end.
///
/// ```text
///               first token, clean end, or the limit
///   ┌─────────┐ ─────────────────────────────────▶ ┌─────────┐   clean end   ┌───────┐
///   │ holding │                                    │ flowing │ ────────────▶ │ ended │
///   └─────────┘ ──▶ an ordinary failure            └─────────┘ ────────────▶ └───────┘
///       error event, truncation, timeout               body error: truncation, timeout, error event
/// ```
///
/// All bytes of the provider are passed on unchanged, in order. The inner body is boxed, so that it can be
/// held in the future and then move into the response: one allocation per stream.
pub struct ScannedBody<B: Body> {
    held: VecDeque<Frame<Bytes>>,
    held_bytes: usize,
    held_events: u32,
    /// Frames since the body was last pending.
    ready_frames: u8,
    scanner: Box<dyn Scan>,
    /// Records the usage, if the request has a meter.
    attempt_usage: Option<AttemptUsage>,
    idle_timers: IdleTimers,
    /// Bounds the attempt, if the stream passes the wire of a stack.
    attempt_timer: AttemptTimer,
    /// The request names a service tier with limits of its own.
    is_of_other_tier: bool,
    /// Publishes the outcome of the stream to outer layers, which may see only that the body is dropped.
    outcome: StreamOutcome,
    /// Runs after the terminator, an error event or a content filter.
    trailing_grace: Option<Pin<Box<Sleep>>>,
    end: Option<StreamEnd>,
    /// Dropped together with its connection once the end is known.
    inner: Option<BufferedBody<B>>,
}

/// The end of a stream.
#[derive(Debug)]
enum StreamEnd {
    /// The stream has ended cleanly, or its error has been returned to the reader.
    Finished,
    /// The stream has failed with an error that has not been returned to the reader yet.
    Failed(Error),
}

/// The result of holding a stream back.
#[derive(Debug)]
pub(super) enum HoldResult {
    /// The stream is passed on to the caller.
    Commit,
    /// The provider reported a failure or a content filter: a response, but not a successful one.
    Failed(Failure),
    /// The stream broke off: there is no response.
    Broken(Error),
}

impl<B: ClassifiableBody> ScannedBody<B> {
    pub(super) fn new(
        inner: BufferedBody<B>,
        scanner: Box<dyn Scan>,
        idle_timers: IdleTimers,
        attempt_timer: AttemptTimer,
        mut attempt_usage: Option<AttemptUsage>,
        is_of_other_tier: bool,
    ) -> Self {
        if let Some(usage) = &mut attempt_usage {
            usage.start_response();
        }
        Self {
            held: VecDeque::new(),
            held_bytes: 0,
            held_events: 0,
            ready_frames: 0,
            scanner,
            attempt_usage,
            idle_timers,
            attempt_timer,
            is_of_other_tier,
            outcome: StreamOutcome::new(),
            trailing_grace: None,
            end: None,
            inner: Some(inner),
        }
    }
}

impl<B: Body> ScannedBody<B> {
    /// The usage that the provider has reported so far, if the request has a meter.
    pub(super) fn metered_usage(&self) -> Option<Usage> {
        self.attempt_usage.as_ref().and(self.scanner.state().usage)
    }

    /// The failure that the provider has reported in the stream so far.
    #[cold]
    pub(super) fn failure(&self) -> Option<Failure> {
        self.scanner.state().failure.as_ref().map(|failure| self.in_band(failure))
    }

    /// Whether the first token has arrived.
    pub(super) fn has_started(&self) -> bool {
        self.scanner.state().has_started
    }

    /// A failure that the provider reports in the stream. An end without an answer was not reported by it, output
    /// that cannot be parsed does not count against it, and the rate limit of another service tier is not that of
    /// other calls.
    fn in_band(&self, failure: &Failure) -> Failure {
        let is_of_tier =
            self.is_of_other_tier && !self.has_started() && failure.code == ErrorCode::RateLimited;
        let kind = match failure.kind {
            kind @ (FailureKind::NoAnswer | FailureKind::ModelOutput | FailureKind::NotProcessed) => kind,
            _ if is_of_tier => FailureKind::NotProcessed,
            _ => FailureKind::InBand,
        };
        Failure { kind, ..failure.clone() }
    }
}

impl<B: Body<Data = Bytes>> ScannedBody<B> {
    /// Reads until the commit point or a failure.
    pub(super) fn poll_hold(&mut self, cx: &mut Context<'_>) -> Poll<HoldResult> {
        loop {
            if let Some(hold_result) = self.hold_result() {
                return Poll::Ready(hold_result);
            }
            let next = self.poll_next(cx);
            if next.is_pending() && self.is_filtered() {
                ready!(self.poll_trailing_grace(cx));
                return Poll::Ready(HoldResult::Failed(Failure::content_filter()));
            }
            let (next, progress) = ready!(next);
            self.held_events =
                self.held_events.saturating_add(progress.events.saturating_sub(progress.comments));
            match next {
                // Empty frames are dropped, so that the limit in bytes also limits the number of frames.
                Ok(frame) if frame.data_ref().is_some_and(Bytes::is_empty) => {}
                Ok(frame) => {
                    self.held_bytes += frame.data_ref().map_or(0, Bytes::len);
                    self.held.push_back(frame.map_data(compact));
                }
                Err(end) => self.end = Some(end),
            }
        }
    }

    fn hold_result(&mut self) -> Option<HoldResult> {
        let state = self.scanner.state();
        // What only the failed end of the body made an event was not sent as one, and no reader sees it.
        if state.has_started && !matches!(self.end, Some(StreamEnd::Failed(_))) {
            return Some(HoldResult::Commit);
        }
        if let Some(failure) = &state.failure {
            return Some(HoldResult::Failed(failure.clone()));
        }
        let is_full = self.held_events >= MAX_HELD_EVENTS
            || self.held_bytes >= MAX_HELD_BYTES
            || self.held.len() >= MAX_HELD_FRAMES;
        if self.is_filtered() && (is_full || self.end.is_some() || !self.awaits_usage()) {
            return Some(HoldResult::Failed(Failure::content_filter()));
        }
        match self.end.take() {
            Some(StreamEnd::Failed(error)) => Some(HoldResult::Broken(error)),
            // A complete response without content is a success.
            Some(StreamEnd::Finished) => {
                self.end = Some(StreamEnd::Finished);
                Some(HoldResult::Commit)
            }
            None => is_full.then_some(HoldResult::Commit),
        }
    }

    fn is_filtered(&self) -> bool {
        self.scanner.state().stop == Some(StopReason::ContentFilter)
    }

    /// Whether the usage is recorded and may follow.
    fn awaits_usage(&self) -> bool {
        let state = self.scanner.state();
        self.attempt_usage.is_some() && state.usage.is_none() && !state.has_finished
    }

    fn poll_trailing_grace(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let sleep = || Box::pin(tokio::time::sleep(TRAILING_GRACE));
        self.trailing_grace.get_or_insert_with(sleep).as_mut().poll(cx)
    }

    /// The next frame and its progress, or the end of the stream.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<(Result<Frame<Bytes>, StreamEnd>, ScanProgress)> {
        let Some(inner) = &mut self.inner else {
            return Poll::Ready((Err(StreamEnd::Finished), ScanProgress::default()));
        };
        let polled = if self.ready_frames < MAX_READY_FRAMES {
            Pin::new(inner).poll_frame(cx)
        } else {
            cx.waker().wake_by_ref();
            Poll::Pending
        };
        self.ready_frames = if polled.is_ready() { self.ready_frames + 1 } else { 0 };
        let frame = match polled {
            Poll::Ready(frame) => frame,
            Poll::Pending if self.scanner.state().has_finished || self.scanner.state().failure.is_some() => {
                if self.poll_trailing_grace(cx).is_pending() {
                    ready!(self.attempt_timer.poll_elapsed(cx));
                }
                return Poll::Ready((Err(self.judge_end(None)), ScanProgress::default()));
            }
            Poll::Pending => {
                let elapsed = ready!(self.idle_timers.poll_elapsed(&mut self.attempt_timer, cx));
                return Poll::Ready((Err(self.judge_end(Some(elapsed.into()))), ScanProgress::default()));
            }
        };
        Poll::Ready(match frame {
            Some(Ok(frame)) => {
                let progress =
                    frame.data_ref().map_or_else(ScanProgress::default, |data| self.scanner.push(data));
                self.idle_timers.on_progress(progress);
                self.record_usage(progress);
                if progress.events > 0 {
                    self.publish_outcome();
                }
                (Ok(frame), progress)
            }
            Some(Err(error)) => (Err(self.judge_end(Some(error))), ScanProgress::default()),
            None => {
                let progress = self.scanner.finish();
                self.record_usage(progress);
                (Err(self.judge_end(None)), progress)
            }
        })
    }

    /// The stream is committed to the caller: no other target will be tried, and no time has to be reserved.
    pub(super) fn commit(&mut self) {
        self.attempt_timer = std::mem::take(&mut self.attempt_timer).for_body();
    }

    /// Whether the end is known, although it may not have been returned to the reader yet.
    pub(super) const fn has_ended(&self) -> bool {
        self.end.is_some()
    }

    /// The shared outcome of the stream.
    pub(super) fn outcome(&self) -> StreamOutcome {
        self.outcome.clone()
    }

    /// Publishes the outcome of the stream, once the provider has sent the terminator or an error event.
    fn publish_outcome(&self) {
        let state = self.scanner.state();
        match &state.failure {
            Some(failure) => self.outcome.set(self.in_band(failure).into()),
            None if state.has_finished => self.outcome.set(Outcome::Success),
            None => {}
        }
    }

    /// Records the usage so far; received tokens count even if the caller never reads them.
    fn record_usage(&mut self, progress: ScanProgress) {
        let Some(attempt_usage) = &mut self.attempt_usage else { return };
        if progress.tokens > 0 {
            attempt_usage.add_seen_tokens(progress.tokens.saturating_add(progress.surplus_tokens));
        }
        let state = self.scanner.state();
        if let Some(usage) = state.usage {
            attempt_usage.set_usage(usage, state.has_finished);
        }
    }

    /// Classifies the end of the body. The events before it take precedence over the way in which it ended: a
    /// stream that may end after the reason why the model stopped is complete, as after a clean end there.
    fn judge_end(&mut self, error: Option<Error>) -> StreamEnd {
        self.inner = None;
        if error.is_some() && self.scanner.state().stop.is_some() {
            let progress = self.scanner.finish();
            self.record_usage(progress);
        }
        let state = self.scanner.state();
        if let Some(failure) = &state.failure {
            return StreamEnd::Failed(self.in_band(failure).into());
        }
        match error {
            _ if state.has_finished => StreamEnd::Finished,
            Some(error) => StreamEnd::Failed(error),
            None => {
                let truncated =
                    Failure { kind: FailureKind::Truncated, ..Failure::new(ErrorCode::ServerError) };
                StreamEnd::Failed(truncated.into())
            }
        }
    }
}

impl<B: Body<Data = Bytes>> Body for ScannedBody<B> {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        if let Some(frame) = self.held.pop_front() {
            return Poll::Ready(Some(Ok(frame)));
        }
        let end = match self.end.take() {
            Some(end) => end,
            None => match ready!(self.poll_next(cx)) {
                (Ok(frame), _) => return Poll::Ready(Some(Ok(frame))),
                (Err(end), _) => end,
            },
        };
        self.end = Some(StreamEnd::Finished);
        Poll::Ready(match end {
            StreamEnd::Finished => None,
            StreamEnd::Failed(error) => Some(Err(error)),
        })
    }

    /// True only after the end has been classified.
    fn is_end_stream(&self) -> bool {
        self.held.is_empty() && matches!(self.end, Some(StreamEnd::Finished))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::new()
    }
}

partial_debug!([B: Body] ScannedBody<B>, "ScannedBody", held_bytes, held_events);
