use std::fmt;
use std::time::Duration;

/// A clock of ours ran out while the provider had the word. Counts as E3003 against the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed {
    clock: Clock,
    limit: Duration,
}

/// Which clock ran out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// The time one attempt may take, to the last byte of its answer.
    Attempt,
    /// The time the whole call may take.
    Deadline,
    /// The time from the call to the first token of a stream.
    FirstToken,
    /// The silence between two tokens of a stream; pings do not break it.
    TokenGap,
    /// The silence between two events of a stream, pings included.
    FrameGap,
    /// The silence between two pieces of a stream, whatever they hold.
    ByteGap,
}

impl Elapsed {
    /// `clock` ran out after `limit`.
    #[must_use]
    pub const fn new(clock: Clock, limit: Duration) -> Self {
        Self { clock, limit }
    }

    /// The clock that ran out.
    #[must_use]
    pub const fn clock(&self) -> Clock {
        self.clock
    }
}

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.clock {
            Clock::Attempt => write!(f, "attempt timed out after {:?}", self.limit),
            Clock::Deadline => write!(f, "deadline passed {:?} into the attempt", self.limit),
            Clock::FirstToken => write!(f, "no first token within {:?}", self.limit),
            Clock::TokenGap => write!(f, "no token for {:?}", self.limit),
            Clock::FrameGap => write!(f, "no event for {:?}", self.limit),
            Clock::ByteGap => write!(f, "no byte for {:?}", self.limit),
        }
    }
}

impl std::error::Error for Elapsed {}
