use std::time::Duration;

use super::Reply;
use super::error_spec::ErrorSpec;
use super::reply::ReplyEnding;

/// Timing and faults.
impl Reply {
    /// The time until the response head.
    #[must_use]
    pub const fn latency(mut self, latency: Duration) -> Self {
        self.latency = latency;
        self
    }

    /// The time between two tokens, or two raw frames. A response that is not streamed takes as long as its
    /// stream would, before its head.
    #[must_use]
    pub const fn pace(mut self, pace: Duration) -> Self {
        self.pace = pace;
        self
    }

    /// The stream sends nothing for `time` after `tokens` tokens, and then continues. With 0 the pause is
    /// between the preamble and the first token.
    #[must_use]
    pub const fn pause_after(mut self, tokens: usize, time: Duration) -> Self {
        self.pause = Some((tokens, time));
        self
    }

    /// The stream stalls after `tokens` tokens (or raw frames) and never ends.
    #[must_use]
    pub fn stall_after(mut self, tokens: usize) -> Self {
        self.ending = ReplyEnding::StallAfter(tokens);
        self
    }

    /// The dialect's keep-alive event is sent at this interval whenever a stream is quiet: between two tokens
    /// as well as in a stall.
    #[must_use]
    pub const fn pings(mut self, every: Duration) -> Self {
        self.pings = Some(every);
        self
    }

    /// The connection closes after `tokens` tokens (or raw frames).
    #[must_use]
    pub fn cut_after(mut self, tokens: usize) -> Self {
        self.ending = ReplyEnding::CutAfter(tokens);
        self
    }

    /// The connection is reset after `tokens` tokens (or raw frames), which may be lost with it.
    #[must_use]
    pub fn reset_after(mut self, tokens: usize) -> Self {
        self.ending = ReplyEnding::ResetAfter(tokens);
        self
    }

    /// The body ends cleanly after `tokens` tokens (or raw frames), but without the stream's terminator.
    #[must_use]
    pub fn end_after(mut self, tokens: usize) -> Self {
        self.ending = ReplyEnding::EndAfter(tokens);
        self
    }

    /// The stream sends an error event after `events` events, and ends.
    #[must_use]
    pub fn error_event_at(mut self, events: usize, code: impl Into<String>) -> Self {
        let spec = ErrorSpec { code: Some(code.into()), ..ErrorSpec::default() };
        self.ending = ReplyEnding::ErrorAt(events, spec);
        self
    }

    /// The stream ends as failed after `events` events, if the dialect can report a failure without an error
    /// event: `response.failed`, or a finish reason such as `error` or `insufficient_system_resource`, which
    /// `code` sets. Other dialects send [an error event](Self::error_event_at).
    #[must_use]
    pub fn failed_event_at(mut self, events: usize, code: impl Into<String>) -> Self {
        let spec = ErrorSpec { code: Some(code.into()), ..ErrorSpec::default() };
        self.ending = ReplyEnding::FailedAt(events, spec);
        self
    }

    /// The stream sends one extra token of `bytes` bytes after `events` events, and continues.
    #[must_use]
    pub const fn giant_event_at(mut self, events: usize, bytes: usize) -> Self {
        self.giant_at = Some((events, bytes));
        self
    }

    /// The stream sends an event that is not JSON after `events` events, and continues.
    #[must_use]
    pub const fn malformed_event_at(mut self, events: usize) -> Self {
        self.malformed_at = Some(events);
        self
    }
}
