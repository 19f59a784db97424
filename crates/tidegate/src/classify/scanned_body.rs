use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tidegate_core::{Scan, ScanProgress};
use tokio::time::Sleep;

use super::clocks::IdleTimers;
use crate::{AttemptUsage, BoxError, ErrorCode, Failure, FailureKind, Outcome, StreamOutcome};

/// Held until then: so many events, or so many bytes, without a token among them.
const MAX_HELD_EVENTS: u32 = 64;
const MAX_HELD_BYTES: usize = 256 * 1024;

/// A provider that has said its last word has this long to close, or to tell what was used.
const TRAILING_GRACE: Duration = Duration::from_secs(1);

/// A stream that is judged as it passes: held back until its first token, and told apart at its end.
///
/// ```text
///               first token, good end, or the bound
///   ┌─────────┐ ─────────────────────────────────▶ ┌─────────┐   good end    ┌───────┐
///   │ holding │                                    │ flowing │ ────────────▶ │ ended │
///   └─────────┘ ──▶ a failure like any other       └─────────┘ ────────────▶ └───────┘
///       error event, cut, timers                      body error: cut, timers, error event
/// ```
///
/// The bytes are the provider's, every one, in order. What lies below is boxed, so that it can be held in one
/// place and move to another: one allocation per stream.
pub struct ScannedBody<B> {
    held: VecDeque<Frame<Bytes>>,
    held_bytes: usize,
    held_events: u32,
    scanner: Box<dyn Scan>,
    /// Told what is used, if somebody wants to know.
    attempt: Option<AttemptUsage>,
    timers: IdleTimers,
    /// Told what it comes to, for those who only see it dropped.
    outcome: StreamOutcome,
    /// Runs once the provider has said its last word.
    trailing_grace: Option<Pin<Box<Sleep>>>,
    end: Option<StreamEnd>,
    /// Gone once the end is known, and the connection with it.
    inner: Option<Pin<Box<B>>>,
}

/// How a stream ended.
#[derive(Debug)]
enum StreamEnd {
    /// As it should; and nothing more will come.
    Finished,
    /// In an error, that the reader is yet to be told.
    Failed(BoxError),
}

/// What came of holding a stream back.
#[derive(Debug)]
pub(super) enum HoldResult {
    /// From here on the bytes are the caller's.
    Commit,
    /// The provider said that it failed, or that it will not answer: an answer, but not a good one.
    Failed(Failure),
    /// No answer came of it.
    Broken(BoxError),
}

impl<B: Body<Data = Bytes, Error: Into<BoxError>>> ScannedBody<B> {
    pub(super) fn new(
        inner: B,
        scanner: Box<dyn Scan>,
        timers: IdleTimers,
        mut attempt: Option<AttemptUsage>,
    ) -> Self {
        if let Some(attempt) = &mut attempt {
            attempt.start_response();
        }
        let (held, inner) = (VecDeque::new(), Some(Box::pin(inner)));
        Self {
            held,
            held_bytes: 0,
            held_events: 0,
            scanner,
            attempt,
            timers,
            outcome: StreamOutcome::new(),
            trailing_grace: None,
            end: None,
            inner,
        }
    }

    /// Reads until it is known whether this is an answer.
    pub(super) fn poll_hold(&mut self, cx: &mut Context<'_>) -> Poll<HoldResult> {
        loop {
            if let Some(hold_result) = self.hold_result() {
                return Poll::Ready(hold_result);
            }
            let (next, progress) = ready!(self.poll_next(cx));
            self.held_events = self.held_events.saturating_add(progress.events);
            match next {
                // Bounded in bytes, and so in frames.
                Ok(frame) if frame.data_ref().is_some_and(Bytes::is_empty) => {}
                Ok(frame) => {
                    self.held_bytes += frame.data_ref().map_or(0, Bytes::len);
                    self.held.push_back(frame);
                }
                Err(end) => self.end = Some(end),
            }
        }
    }

    fn hold_result(&mut self) -> Option<HoldResult> {
        let state = self.scanner.state();
        if state.has_started {
            return Some(HoldResult::Commit);
        }
        if let Some(failure) = &state.failure {
            return Some(HoldResult::Failed(failure.clone()));
        }
        if state.stop == Some(tidegate_core::StopReason::ContentFilter) {
            let failure =
                Failure { kind: FailureKind::ContentFilter, ..Failure::new(ErrorCode::InvalidRequest) };
            return Some(HoldResult::Failed(failure));
        }
        match self.end.take() {
            Some(StreamEnd::Failed(error)) => Some(HoldResult::Broken(error)),
            // An answer without a word is an answer.
            Some(StreamEnd::Finished) => {
                self.end = Some(StreamEnd::Finished);
                Some(HoldResult::Commit)
            }
            None if self.held_events >= MAX_HELD_EVENTS || self.held_bytes >= MAX_HELD_BYTES => {
                Some(HoldResult::Commit)
            }
            None => None,
        }
    }

    /// The next frame and what it held, or how the stream ended.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<(Result<Frame<Bytes>, StreamEnd>, ScanProgress)> {
        let Some(inner) = &mut self.inner else {
            return Poll::Ready((Err(StreamEnd::Finished), ScanProgress::default()));
        };
        let frame = match inner.as_mut().poll_frame(cx) {
            Poll::Ready(frame) => frame,
            Poll::Pending if self.scanner.state().has_finished || self.scanner.state().failure.is_some() => {
                let trailing_grace =
                    self.trailing_grace.get_or_insert_with(|| Box::pin(tokio::time::sleep(TRAILING_GRACE)));
                ready!(trailing_grace.as_mut().poll(cx));
                return Poll::Ready((Err(self.judge_end(None)), ScanProgress::default()));
            }
            Poll::Pending => {
                let elapsed = ready!(self.timers.poll_elapsed(cx));
                return Poll::Ready((Err(self.judge_end(Some(elapsed.into()))), ScanProgress::default()));
            }
        };
        Poll::Ready(match frame {
            Some(Ok(frame)) => {
                let progress =
                    frame.data_ref().map_or_else(ScanProgress::default, |data| self.scanner.push(data));
                self.timers.on_progress(progress);
                self.record_usage(progress);
                if progress.events > 0 {
                    self.publish_outcome();
                }
                (Ok(frame), progress)
            }
            Some(Err(error)) => (Err(self.judge_end(Some(error.into()))), ScanProgress::default()),
            None => {
                let progress = self.scanner.finish();
                self.record_usage(progress);
                (Err(self.judge_end(None)), progress)
            }
        })
    }

    /// Where it is told what the stream has come to.
    pub(super) fn outcome(&self) -> StreamOutcome {
        self.outcome.clone()
    }

    /// Tells what the stream has come to, if the provider has said so.
    fn publish_outcome(&self) {
        let state = self.scanner.state();
        match &state.failure {
            Some(failure) => {
                self.outcome.set(Failure { kind: FailureKind::InBand, ..failure.clone() }.into())
            }
            None if state.has_finished => self.outcome.set(Outcome::Success),
            None => {}
        }
    }

    /// Tells whoever wants to know what has been used so far: what came counts even if nobody will read it.
    fn record_usage(&mut self, progress: ScanProgress) {
        let Some(attempt) = &mut self.attempt else { return };
        if progress.tokens > 0 {
            attempt.add_chunks(progress.tokens);
        }
        let state = self.scanner.state();
        if let Some(usage) = state.usage {
            attempt.set_usage(usage, state.has_finished);
        }
    }

    /// Judges the end of the bytes: what the provider said before it counts for more than how it came.
    fn judge_end(&mut self, error: Option<BoxError>) -> StreamEnd {
        self.inner = None;
        let state = self.scanner.state();
        if let Some(failure) = &state.failure {
            return StreamEnd::Failed(Failure { kind: FailureKind::InBand, ..failure.clone() }.into());
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

impl<B: Body<Data = Bytes, Error: Into<BoxError>>> Body for ScannedBody<B> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
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

    /// Only once its end is known: how it ends is not known before.
    fn is_end_stream(&self) -> bool {
        self.held.is_empty() && matches!(self.end, Some(StreamEnd::Finished))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::new()
    }
}

impl<B> fmt::Debug for ScannedBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Judged")
            .field("held_bytes", &self.held_bytes)
            .field("held_events", &self.held_events)
            .field("state", self.scanner.state())
            .finish_non_exhaustive()
    }
}
