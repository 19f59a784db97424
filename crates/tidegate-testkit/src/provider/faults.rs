use std::time::Duration;

use super::Reply;
use super::reply::{Ending, ErrorWords};

/// How it comes, and what goes wrong with it on the way.
impl Reply {
    /// The time until the head.
    #[must_use]
    pub const fn latency(mut self, latency: Duration) -> Self {
        self.latency = latency;
        self
    }

    /// The time between two tokens, or two raw frames. An answer that is not streamed takes as long as its
    /// stream would, before its head.
    #[must_use]
    pub const fn pace(mut self, pace: Duration) -> Self {
        self.pace = pace;
        self
    }

    /// After `tokens` tokens it says nothing for `time`, and then goes on. With 0 it begins well and thinks.
    #[must_use]
    pub const fn pause_after(mut self, tokens: usize, time: Duration) -> Self {
        self.pause = Some((tokens, time));
        self
    }

    /// Silence after `tokens` tokens (or raw frames), and no end.
    #[must_use]
    pub fn stall_after(mut self, tokens: usize) -> Self {
        self.ending = Ending::StallAfter(tokens);
        self
    }

    /// Whenever a stream is silent, between two tokens as in a stall, the dialect's sign of life comes at this
    /// interval.
    #[must_use]
    pub const fn pings(mut self, every: Duration) -> Self {
        self.pings = Some(every);
        self
    }

    /// The connection closes after `tokens` tokens (or raw frames).
    #[must_use]
    pub fn cut_after(mut self, tokens: usize) -> Self {
        self.ending = Ending::CutAfter(tokens);
        self
    }

    /// The connection is reset after `tokens` tokens (or raw frames), which may be lost with it.
    #[must_use]
    pub fn reset_after(mut self, tokens: usize) -> Self {
        self.ending = Ending::ResetAfter(tokens);
        self
    }

    /// The body ends after `tokens` tokens (or raw frames), as if all were well, but without the terminator.
    #[must_use]
    pub fn end_after(mut self, tokens: usize) -> Self {
        self.ending = Ending::EndAfter(tokens);
        self
    }

    /// After `events` events of the stream comes an error event, and the end.
    #[must_use]
    pub fn error_event_at(mut self, events: usize, code: impl Into<String>) -> Self {
        let words = ErrorWords { code: Some(code.into()), ..ErrorWords::default() };
        self.ending = Ending::ErrorAt(events, words);
        self
    }

    /// After `events` events of the stream the answer ends as failed, where the dialect has a way to say so that
    /// is no error event: `response.failed`, or a reason to stop such as `error` or `insufficient_system_resource`,
    /// for which `code` is the word. Elsewhere it is [an error event](Self::error_event_at).
    #[must_use]
    pub fn failed_event_at(mut self, events: usize, code: impl Into<String>) -> Self {
        let words = ErrorWords { code: Some(code.into()), ..ErrorWords::default() };
        self.ending = Ending::FailedAt(events, words);
        self
    }

    /// After `events` events of the stream comes one more token, of so many bytes; then the stream goes on.
    #[must_use]
    pub const fn giant_event_at(mut self, events: usize, bytes: usize) -> Self {
        self.giant_at = Some((events, bytes));
        self
    }

    /// After `events` events of the stream comes one that is no JSON; then the stream goes on.
    #[must_use]
    pub const fn malformed_event_at(mut self, events: usize) -> Self {
        self.malformed_at = Some(events);
        self
    }
}
