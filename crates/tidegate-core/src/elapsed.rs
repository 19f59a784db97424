use std::fmt;
use std::time::{Duration, Instant};

use crate::Deadline;

/// One of tidegate's timers expired while it was waiting for the provider. Counts as E3003 against the
/// provider, but for [`Clock::CallerDeadline`], and unless the response [was not read](Self::is_unread).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[doc(alias = "CircuitBreakerTimeoutException")]
pub struct Elapsed {
    clock: Clock,
    limit: Duration,
    is_unread: bool,
}

/// Which timer expired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// The time for one attempt, from its first poll up to the last byte of its response.
    Attempt,
    /// The time for the whole call.
    Deadline,
    /// The time for the whole call, as its caller has set it.
    CallerDeadline,
    /// The time from the first poll of an attempt to the first token of a stream.
    FirstToken,
    /// The time between two tokens of a stream. A ping does not reset it.
    TokenGap,
    /// The time between two events of a stream. A ping resets it.
    FrameGap,
    /// The time between two frames of a stream, whatever they contain.
    ByteGap,
}

impl Elapsed {
    /// `clock` expired after `limit`.
    #[must_use]
    pub const fn new(clock: Clock, limit: Duration) -> Self {
        Self { clock, limit, is_unread: false }
    }

    /// `deadline` passed during an attempt that began at `began`.
    #[must_use]
    pub fn of_deadline(deadline: Deadline, began: Instant) -> Self {
        let clock = if deadline.is_of_caller() { Clock::CallerDeadline } else { Clock::Deadline };
        Self::new(clock, deadline.remaining(began))
    }

    /// Marks that a part of the response was there: its reader was slower than the provider.
    #[must_use]
    pub const fn while_unread(self) -> Self {
        Self { is_unread: true, ..self }
    }

    /// Whether a part of the response waited for its reader when the timer expired.
    #[must_use]
    pub const fn is_unread(&self) -> bool {
        self.is_unread
    }

    /// The timer that expired.
    #[must_use]
    pub const fn clock(&self) -> Clock {
        self.clock
    }

    /// The time after which it expired. Of a deadline: the time that was left when the attempt began.
    #[must_use]
    pub const fn limit(&self) -> Duration {
        self.limit
    }
}

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.clock {
            Clock::Attempt => write!(f, "attempt timed out after {:?}", self.limit),
            Clock::Deadline | Clock::CallerDeadline => {
                write!(f, "deadline passed {:?} into the attempt", self.limit)
            }
            Clock::FirstToken => write!(f, "no first token within {:?}", self.limit),
            Clock::TokenGap => write!(f, "no token for {:?}", self.limit),
            Clock::FrameGap => write!(f, "no event for {:?}", self.limit),
            Clock::ByteGap => write!(f, "no byte for {:?}", self.limit),
        }
    }
}

impl std::error::Error for Elapsed {}
