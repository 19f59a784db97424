use std::fmt;
use std::time::{Duration, Instant, SystemTime};

use super::Reason;
use crate::clock;
use crate::key::KeyId;

/// The state of a circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[doc(alias = "CircuitState")]
pub enum State {
    /// Calls are admitted.
    Closed,
    /// Calls are rejected until the cooldown has passed.
    Open,
    /// A few probes are admitted, to see whether the provider has recovered.
    HalfOpen,
}

/// A change of state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Transition {
    /// The state before. An open circuit becomes half-open with the first call after its cooldown.
    pub from: State,
    /// The new state.
    pub to: State,
    /// The reason for the change.
    pub reason: Reason,
    /// How long the circuit stays open; `None` if it is not open, or is forced open.
    pub cooldown: Option<Duration>,
    /// When it changed.
    pub at: Instant,
    /// How long the circuit was not closed, if it closes now.
    pub recovery: Option<Duration>,
    /// The key of the circuit, if the layer has keys.
    pub key: Option<KeyId>,
}

impl Transition {
    /// When it changed, by the system clock.
    #[must_use]
    pub fn timestamp(&self) -> SystemTime {
        let ago = clock::now().saturating_duration_since(self.at);
        SystemTime::now().checked_sub(ago).unwrap_or(SystemTime::UNIX_EPOCH)
    }
}

impl State {
    /// The name in the protocol: `closed`, `open`, `half_open`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }

    /// The state of the two that is further from closed.
    pub(crate) fn worst_of(self, other: Self) -> Self {
        let severity = |state: &Self| match state {
            Self::Closed => 0,
            Self::HalfOpen => 1,
            Self::Open => 2,
        };
        std::cmp::max_by_key(self, other, severity)
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl serde::Serialize for State {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}
