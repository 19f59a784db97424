use std::time::{Duration, Instant};

use super::AlertState;
use crate::circuit_breaker::RATES_LIFETIME;

/// One condition over time, with hysteresis: an alert is raised once the condition has held for a while, and
/// cleared once it has not held for a while.
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
    /// Since when it is not known whether the condition holds.
    unknown_since: Option<Instant>,
}

/// Whether a condition holds is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Unknown {
    /// For how long that is certain to be so, whatever was observed.
    pub(super) since_before: Duration,
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

    /// Observes whether the condition holds at `now`. An [`Unknown`]: what was observed before is forgotten
    /// after `clear_after`, and what is raised is cleared after an hour. Returns the new state if it changes,
    /// and for how long the condition has been so.
    pub(super) fn observe(
        &mut self,
        holds: Result<bool, Unknown>,
        raise_after: Duration,
        clear_after: Duration,
        now: Instant,
    ) -> Option<(AlertState, Duration)> {
        let holds = match holds {
            Ok(holds) => holds,
            Err(Unknown { since_before }) => return self.observe_unknown(since_before, clear_after, now),
        };
        self.unknown_since = None;
        if holds == self.is_raised {
            self.differs_since = None;
            return None;
        }
        let held = now.saturating_duration_since(*self.differs_since.get_or_insert(now));
        let (state, needed) =
            if holds { (AlertState::Raised, raise_after) } else { (AlertState::Cleared, clear_after) };
        if held < needed {
            return None;
        }
        *self = Self { is_raised: holds, ..Self::default() };
        Some((state, held))
    }

    fn observe_unknown(
        &mut self,
        since_before: Duration,
        clear_after: Duration,
        now: Instant,
    ) -> Option<(AlertState, Duration)> {
        if self.is_pristine() {
            return None;
        }
        let unknown = now.saturating_duration_since(*self.unknown_since.get_or_insert(now)).max(since_before);
        let most = if self.is_raised { clear_after.max(RATES_LIFETIME) } else { clear_after };
        if unknown < most {
            return None;
        }
        std::mem::take(self).is_raised.then_some((AlertState::Cleared, unknown))
    }
}
