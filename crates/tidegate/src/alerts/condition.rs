use std::time::{Duration, Instant};

use super::AlertState;

/// One condition over time, with hysteresis: an alert is raised once the condition has held for a while, and cleared
/// once it has not held for a while.
///
/// ```text
///            holds for `raise_after`
///   quiet ───────────────────────────▶ raised
///     ▲                                  │
///     └──────────────────────────────────┘
///          does not hold for `clear_after`
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Condition {
    is_raised: bool,
    /// Since when the condition differs from the state; `None` if it agrees.
    differs_since: Option<Instant>,
}

impl Condition {
    /// Whether nothing is remembered, as of a new condition.
    pub(super) fn is_pristine(self) -> bool {
        self == Self::default()
    }

    /// For how long the condition has not held, if its alert is raised.
    pub(super) fn raised(self, now: Instant) -> Option<Duration> {
        let since = self.differs_since.unwrap_or(now);
        self.is_raised.then(|| now.saturating_duration_since(since))
    }

    /// Observes whether the condition holds at `now`; `None` if that is not known, which raises nothing and clears what is raised
    /// in time. Returns the new state if it changes, and for how long the condition has been so.
    pub(super) fn observe(
        &mut self,
        holds: Option<bool>,
        raise_after: Duration,
        clear_after: Duration,
        now: Instant,
    ) -> Option<(AlertState, Duration)> {
        if holds.is_none() && !self.is_raised {
            return None;
        }
        let holds = holds.unwrap_or(false);
        if holds == self.is_raised {
            self.differs_since = None;
            return None;
        }
        let held = now.saturating_duration_since(*self.differs_since.get_or_insert(now));
        let (state, needed) = match holds {
            true => (AlertState::Raised, raise_after),
            false => (AlertState::Cleared, clear_after),
        };
        if held < needed {
            return None;
        }
        *self = Self { is_raised: holds, differs_since: None };
        Some((state, held))
    }
}
