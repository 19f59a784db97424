use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::time::Sleep;

use crate::{Clock, Deadline, Elapsed, clock};
use tidegate_core::ScanProgress;

/// How long a stream may be silent, by each of its clocks. All are 120 s at first: reasoning models think for
/// minutes without a word, and some without a byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamClocks {
    pub(super) first_token: Duration,
    pub(super) token_gap: Duration,
    pub(super) frame_gap: Duration,
    pub(super) byte_gap: Duration,
}

impl Default for StreamClocks {
    fn default() -> Self {
        Self::new()
    }
}

impl StreamClocks {
    /// 120 s for each.
    #[must_use]
    pub const fn new() -> Self {
        let patient = Duration::from_secs(120);
        Self { first_token: patient, token_gap: patient, frame_gap: patient, byte_gap: patient }
    }

    /// From the call to the first token.
    #[must_use]
    pub const fn first_token(self, limit: Duration) -> Self {
        Self { first_token: limit, ..self }
    }

    /// Between two tokens; a ping does not count as one.
    #[must_use]
    pub const fn token_gap(self, limit: Duration) -> Self {
        Self { token_gap: limit, ..self }
    }

    /// Between two events; a ping counts as one.
    #[must_use]
    pub const fn frame_gap(self, limit: Duration) -> Self {
        Self { frame_gap: limit, ..self }
    }

    /// Between two pieces, whatever they hold.
    #[must_use]
    pub const fn byte_gap(self, limit: Duration) -> Self {
        Self { byte_gap: limit, ..self }
    }
}

/// The clocks of one stream. They are read only when there is nothing to do but wait, and so is the time.
#[derive(Debug)]
pub(super) struct IdleTimers {
    limits: StreamClocks,
    last: LastActivity,
    /// Signs of life since the clocks were read.
    unseen: ScanProgress,
    unseen_bytes: bool,
    /// Until then a silence that was found too late is not believed.
    grace_until: Option<Instant>,
    // Boxed, so that future and body can hand it on: one allocation for a stream that has to be waited for.
    sleep: Option<Pin<Box<Sleep>>>,
}

/// Who looks later than this after a clock ran out was not there when it did: the silence may have been his own.
const LATE: Duration = Duration::from_millis(100);

/// What then has been waiting to be read comes within this time.
const GRACE: Duration = Duration::from_secs(1);

/// When there was a sign of life of each kind.
#[derive(Clone, Copy, Debug)]
struct LastActivity {
    /// The head of the answer has come.
    has_head: bool,
    /// The first token has come.
    has_started: bool,
    token: Instant,
    event: Instant,
    byte: Instant,
}

impl IdleTimers {
    /// All clocks begin with the call.
    pub(super) fn since(call: Instant, limits: StreamClocks) -> Self {
        let last = LastActivity { has_head: false, has_started: false, token: call, event: call, byte: call };
        Self {
            limits,
            last,
            unseen: ScanProgress::default(),
            unseen_bytes: false,
            grace_until: None,
            sleep: None,
        }
    }

    /// The head came: from now on events and bytes are waited for.
    pub(super) fn on_head(&mut self, now: Instant) {
        let LastActivity { has_head, event, byte, .. } = &mut self.last;
        (*has_head, *event, *byte) = (true, now, now);
    }

    /// Something came.
    pub(super) fn on_progress(&mut self, progress: ScanProgress) {
        self.unseen_bytes = true;
        self.unseen.events = self.unseen.events.saturating_add(progress.events);
        self.unseen.tokens = self.unseen.tokens.saturating_add(progress.tokens);
    }

    /// Asks whether the silence has lasted too long; to be called when there is nothing else to do.
    pub(super) fn poll_elapsed(&mut self, cx: &mut Context<'_>) -> Poll<Elapsed> {
        let now = clock::now();
        self.last.update(self.unseen, self.unseen_bytes, now);
        (self.unseen, self.unseen_bytes) = (ScanProgress::default(), false);
        let (mut end, elapsed) = self.last.first_to_end(&self.limits);
        if end + LATE < now {
            end = *self.grace_until.get_or_insert(now + GRACE);
        } else {
            self.grace_until = None;
        }
        if end <= now {
            return Poll::Ready(elapsed);
        }
        let end = end.into();
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(end)));
        // A timer that would fire too early is left to do so: most streams never come that far.
        while sleep.deadline() > end || sleep.as_mut().poll(cx).is_ready() {
            sleep.as_mut().reset(end);
        }
        Poll::Pending
    }
}

impl LastActivity {
    fn update(&mut self, unseen: ScanProgress, unseen_bytes: bool, now: Instant) {
        if unseen.tokens > 0 {
            (self.has_started, self.token) = (true, now);
        }
        if unseen.events > 0 {
            self.event = now;
        }
        if unseen_bytes {
            self.byte = now;
        }
    }

    /// The clock that runs out first, and when.
    fn first_to_end(&self, limits: &StreamClocks) -> (Instant, Elapsed) {
        let token = match self.has_started {
            false => (self.token, Clock::FirstToken, limits.first_token),
            true => (self.token, Clock::TokenGap, limits.token_gap),
        };
        let frame = (self.event, Clock::FrameGap, limits.frame_gap);
        let byte = (self.byte, Clock::ByteGap, limits.byte_gap);
        let end =
            |(since, clock, limit)| (Deadline::after(limit, since).instant(), Elapsed::new(clock, limit));
        let first =
            |one: (Instant, Elapsed), other: (Instant, Elapsed)| if other.0 < one.0 { other } else { one };
        match self.has_head {
            false => end(token),
            true => first(first(end(token), end(frame)), end(byte)),
        }
    }
}
