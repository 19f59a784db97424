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

use super::clocks::Silence;
use crate::{AttemptUsage, BoxError, ErrorCode, Failure, FailureKind, Outcome, StreamOutcome};

/// Held until then: so many events, or so many bytes, without a token among them.
const MAX_HELD_EVENTS: u32 = 64;
const MAX_HELD_BYTES: usize = 256 * 1024;

/// A provider that has said its last word has this long to close, or to tell what was used.
const FAREWELL: Duration = Duration::from_secs(1);

/// A stream that is judged as it passes: held back until its first token, and told apart at its end.
///
/// ```text
///               first token, good end, or the bound
///   ┌─────────┐ ─────────────────────────────────▶ ┌─────────┐   good end    ┌───────┐
///   │ holding │                                    │ flowing │ ────────────▶ │ ended │
///   └─────────┘ ──▶ a failure like any other       └─────────┘ ────────────▶ └───────┘
///       error event, cut, silence                      body error: cut, silence, error event
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
    silence: Silence,
    /// Told what it comes to, for those who only see it dropped.
    finish: StreamOutcome,
    /// Runs once the provider has said its last word.
    farewell: Option<Pin<Box<Sleep>>>,
    end: Option<End>,
    /// Gone once the end is known, and the connection with it.
    rest: Option<Pin<Box<B>>>,
}

/// How a stream ended.
#[derive(Debug)]
enum End {
    /// As it should; and nothing more will come.
    Finished,
    /// In an error, that the reader is yet to be told.
    Failed(BoxError),
}

/// What came of holding a stream back.
#[derive(Debug)]
pub(super) enum Verdict {
    /// From here on the bytes are the caller's.
    Commit,
    /// The provider said that it failed, or that it will not answer: an answer, but not a good one.
    Failed(Failure),
    /// No answer came of it.
    Broken(BoxError),
}

impl<B: Body<Data = Bytes, Error: Into<BoxError>>> ScannedBody<B> {
    pub(super) fn new(
        rest: B,
        scanner: Box<dyn Scan>,
        silence: Silence,
        mut attempt: Option<AttemptUsage>,
    ) -> Self {
        if let Some(attempt) = &mut attempt {
            attempt.begin();
        }
        let (held, rest) = (VecDeque::new(), Some(Box::pin(rest)));
        Self {
            held,
            held_bytes: 0,
            held_events: 0,
            scanner,
            attempt,
            silence,
            finish: StreamOutcome::new(),
            farewell: None,
            end: None,
            rest,
        }
    }

    /// Reads until it is known whether this is an answer.
    pub(super) fn poll_hold(&mut self, cx: &mut Context<'_>) -> Poll<Verdict> {
        loop {
            if let Some(verdict) = self.verdict() {
                return Poll::Ready(verdict);
            }
            let (next, pulse) = ready!(self.poll_next(cx));
            self.held_events = self.held_events.saturating_add(pulse.events);
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

    fn verdict(&mut self) -> Option<Verdict> {
        let state = self.scanner.state();
        if state.has_started {
            return Some(Verdict::Commit);
        }
        if let Some(failure) = &state.failure {
            return Some(Verdict::Failed(failure.clone()));
        }
        if state.stop == Some(tidegate_core::Stop::ContentFilter) {
            let failure =
                Failure { cause: FailureKind::ContentFilter, ..Failure::new(ErrorCode::InvalidRequest) };
            return Some(Verdict::Failed(failure));
        }
        match self.end.take() {
            Some(End::Failed(error)) => Some(Verdict::Broken(error)),
            // An answer without a word is an answer.
            Some(End::Finished) => {
                self.end = Some(End::Finished);
                Some(Verdict::Commit)
            }
            None if self.held_events >= MAX_HELD_EVENTS || self.held_bytes >= MAX_HELD_BYTES => {
                Some(Verdict::Commit)
            }
            None => None,
        }
    }

    /// The next frame and what it held, or how the stream ended.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<(Result<Frame<Bytes>, End>, ScanProgress)> {
        let Some(rest) = &mut self.rest else {
            return Poll::Ready((Err(End::Finished), ScanProgress::default()));
        };
        let frame = match rest.as_mut().poll_frame(cx) {
            Poll::Ready(frame) => frame,
            Poll::Pending if self.scanner.state().has_finished || self.scanner.state().failure.is_some() => {
                let farewell = self.farewell.get_or_insert_with(|| Box::pin(tokio::time::sleep(FAREWELL)));
                ready!(farewell.as_mut().poll(cx));
                return Poll::Ready((Err(self.end_of(None)), ScanProgress::default()));
            }
            Poll::Pending => {
                let elapsed = ready!(self.silence.poll_elapsed(cx));
                return Poll::Ready((Err(self.end_of(Some(elapsed.into()))), ScanProgress::default()));
            }
        };
        Poll::Ready(match frame {
            Some(Ok(frame)) => {
                let pulse =
                    frame.data_ref().map_or_else(ScanProgress::default, |data| self.scanner.push(data));
                self.silence.hear(pulse);
                self.count(pulse);
                if pulse.events > 0 {
                    self.say();
                }
                (Ok(frame), pulse)
            }
            Some(Err(error)) => (Err(self.end_of(Some(error.into()))), ScanProgress::default()),
            None => {
                let pulse = self.scanner.finish();
                self.count(pulse);
                (Err(self.end_of(None)), pulse)
            }
        })
    }

    /// Where it is told what the stream has come to.
    pub(super) fn finish(&self) -> StreamOutcome {
        self.finish.clone()
    }

    /// Tells what the stream has come to, if the provider has said so.
    fn say(&self) {
        let state = self.scanner.state();
        match &state.failure {
            Some(failure) => {
                self.finish.come(Failure { cause: FailureKind::InBand, ..failure.clone() }.into())
            }
            None if state.has_finished => self.finish.come(Outcome::Success),
            None => {}
        }
    }

    /// Tells whoever wants to know what has been used so far: what came counts even if nobody will read it.
    fn count(&mut self, pulse: ScanProgress) {
        let Some(attempt) = &mut self.attempt else { return };
        if pulse.tokens > 0 {
            attempt.see(pulse.tokens);
        }
        let state = self.scanner.state();
        if let Some(usage) = state.usage {
            attempt.count(usage, state.has_finished);
        }
    }

    /// Judges the end of the bytes: what the provider said before it counts for more than how it came.
    fn end_of(&mut self, error: Option<BoxError>) -> End {
        self.rest = None;
        let state = self.scanner.state();
        if let Some(failure) = &state.failure {
            return End::Failed(Failure { cause: FailureKind::InBand, ..failure.clone() }.into());
        }
        match error {
            _ if state.has_finished => End::Finished,
            Some(error) => End::Failed(error),
            None => {
                let truncated =
                    Failure { cause: FailureKind::Truncated, ..Failure::new(ErrorCode::ServerError) };
                End::Failed(truncated.into())
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
        self.end = Some(End::Finished);
        Poll::Ready(match end {
            End::Finished => None,
            End::Failed(error) => Some(Err(error)),
        })
    }

    /// Only once its end is known: how it ends is not known before.
    fn is_end_stream(&self) -> bool {
        self.held.is_empty() && matches!(self.end, Some(End::Finished))
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
