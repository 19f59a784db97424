use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::time::Sleep;

use crate::timeout::AttemptTimer;
use crate::{Clock, Elapsed, clock};
use tidegate_core::ScanProgress;

/// The idle timeouts of a stream. The default of each is 120 s: reasoning models compute for minutes without
/// sending a token, and some without sending a byte.
#[must_use]
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
    /// The default of each timeout.
    pub(crate) const DEFAULT: Duration = Duration::from_secs(120);

    /// 120 s for each timeout.
    pub const fn new() -> Self {
        let default = Self::DEFAULT;
        Self { first_token: default, token_gap: default, frame_gap: default, byte_gap: default }
    }

    /// The longest time from the first poll of the attempt to the first token.
    pub const fn first_token(self, limit: Duration) -> Self {
        Self { first_token: limit, ..self }
    }

    /// The longest time between two tokens; a ping does not count as a token.
    pub const fn token_gap(self, limit: Duration) -> Self {
        Self { token_gap: limit, ..self }
    }

    /// The longest time between two events; a ping counts as an event.
    pub const fn frame_gap(self, limit: Duration) -> Self {
        Self { frame_gap: limit, ..self }
    }

    /// The longest time between two body frames, whatever they contain.
    pub const fn byte_gap(self, limit: Duration) -> Self {
        Self { byte_gap: limit, ..self }
    }
}

/// The idle timers of one stream. The timers and the clock are read only when the body is pending.
#[derive(Debug)]
pub(super) struct IdleTimers {
    limits: StreamClocks,
    /// `None` before the attempt is first pending. Clients send nothing before they are polled.
    last: Option<LastActivity>,
    /// The progress since the timers were last read.
    unseen: ScanProgress,
    unseen_bytes: bool,
    /// The end of the grace period after a timer was found to have run out long ago.
    grace_until: Option<Instant>,
    // Boxed, so that it can move from the future into the body: one allocation per stream that is ever
    // pending.
    sleep: Option<Pin<Box<Sleep>>>,
    /// No timer runs out before `sleep` does: since it was set, progress has only moved their ends to later
    /// instants.
    is_armed: bool,
}

/// A poll that is later than this after a timer ran out was delayed by the reader, so that the stream may not
/// have been idle.
const LATE: Duration = Duration::from_millis(100);

/// After such a delayed poll, data that is waiting to be read arrives within this time.
const GRACE: Duration = Duration::from_secs(1);

/// The time of the latest progress of each kind.
#[derive(Clone, Copy, Debug)]
struct LastActivity {
    /// The timers were started.
    start: Instant,
    /// The response head has arrived.
    has_head: bool,
    /// The first token has arrived.
    has_started: bool,
    token: Instant,
    event: Instant,
    byte: Instant,
}

impl IdleTimers {
    /// Timers that are started by the first poll that is pending, or by the response head.
    pub(super) fn new(limits: StreamClocks) -> Self {
        Self {
            limits,
            last: None,
            unseen: ScanProgress::default(),
            unseen_bytes: false,
            grace_until: None,
            sleep: None,
            is_armed: false,
        }
    }

    /// Records the response head: the timers of events and bytes start.
    pub(super) fn on_head(&mut self, now: Instant) {
        let last = self.last.get_or_insert_with(|| LastActivity::since(now));
        let LastActivity { has_head, event, byte, .. } = last;
        (*has_head, *event, *byte) = (true, now, now);
        self.is_armed = false;
    }

    /// Records the progress of one body frame.
    pub(super) fn on_progress(&mut self, progress: ScanProgress) {
        self.unseen_bytes = true;
        self.unseen.events = self.unseen.events.saturating_add(progress.events);
        self.unseen.tokens = self.unseen.tokens.saturating_add(progress.tokens);
    }

    /// Ready once a timer has run out, or the time of the attempt. To be polled only while the body is
    /// pending.
    pub(super) fn poll_elapsed(&mut self, attempt: &mut AttemptTimer, cx: &mut Context<'_>) -> Poll<Elapsed> {
        let now = clock::now();
        let last = self.last.get_or_insert_with(|| LastActivity::since(now));
        // The first token ends one timer and starts another, which may be shorter.
        self.is_armed &= self.unseen.tokens == 0 || last.has_started;
        last.update(mem::take(&mut self.unseen), mem::take(&mut self.unseen_bytes), now);
        if let Some(sleep) = self.sleep.as_mut().filter(|_| self.is_armed)
            && sleep.as_mut().poll(cx).is_pending()
        {
            return Poll::Pending;
        }
        let (mut end, mut elapsed) = last.first_to_end(&self.limits);
        if end + LATE < now {
            end = *self.grace_until.get_or_insert(now + GRACE);
        } else {
            self.grace_until = None;
        }
        if let Some((attempt_end, attempt_elapsed)) = attempt.end(|| last.start)
            && attempt_end <= end
        {
            // What was there to be read long after the time had ended shows that the reader was slower.
            let is_unread = last.byte == now && attempt_end + LATE < now;
            (end, elapsed) =
                (attempt_end, if is_unread { attempt_elapsed.while_unread() } else { attempt_elapsed });
        }
        if end <= now {
            return Poll::Ready(elapsed);
        }
        let end = end.into();
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(end)));
        // A timer that would fire too early is not reset until it fires: most streams end before that.
        if sleep.deadline() > end {
            sleep.as_mut().reset(end);
        }
        while sleep.as_mut().poll(cx).is_ready() {
            // The end may have passed since the clock was read.
            if sleep.deadline() == end {
                return Poll::Ready(elapsed);
            }
            sleep.as_mut().reset(end);
        }
        self.is_armed = true;
        Poll::Pending
    }
}

impl LastActivity {
    fn since(start: Instant) -> Self {
        Self { start, has_head: false, has_started: false, token: start, event: start, byte: start }
    }

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

    /// The timer that runs out first, and its instant.
    fn first_to_end(&self, limits: &StreamClocks) -> (Instant, Elapsed) {
        let token = if self.has_started {
            (self.token, Clock::TokenGap, limits.token_gap)
        } else {
            (self.token, Clock::FirstToken, limits.first_token)
        };
        let frame = (self.event, Clock::FrameGap, limits.frame_gap);
        let byte = (self.byte, Clock::ByteGap, limits.byte_gap);
        let end = |(since, clock, limit)| (clock::after(limit, since), Elapsed::new(clock, limit));
        let first =
            |one: (Instant, Elapsed), other: (Instant, Elapsed)| if other.0 < one.0 { other } else { one };
        if self.has_head { first(first(end(token), end(frame)), end(byte)) } else { end(token) }
    }
}
