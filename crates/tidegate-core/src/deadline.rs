use std::time::{Duration, Instant};

use http::Extensions;

/// The moment by which a call must have ended, shared by everything that waits below.
///
/// It travels in the extensions of the request. A layer that would have to wait past it refuses at once.
///
/// ```
/// use std::time::{Duration, Instant};
/// use tidegate_core::Deadline;
///
/// let now = Instant::now();
/// let deadline = Deadline::after(Duration::from_secs(30), now);
/// assert!(deadline.allows(Duration::from_secs(29), now));
/// assert!(!deadline.allows(Duration::from_secs(30), now));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(Instant);

impl Deadline {
    /// A deadline at `at`.
    #[must_use]
    pub const fn at(at: Instant) -> Self {
        Self(at)
    }

    /// A deadline `budget` from `now`; a budget too large for the clock is taken as a century.
    #[must_use]
    pub fn after(budget: Duration, now: Instant) -> Self {
        const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);
        Self(now.checked_add(budget).or_else(|| now.checked_add(CENTURY)).unwrap_or(now))
    }

    /// The deadline of this request, if it has one.
    #[must_use]
    pub fn of(extensions: &Extensions) -> Option<Self> {
        extensions.get().copied()
    }

    /// Puts the deadline into `extensions`, unless an earlier one is there already. Returns the one that holds.
    pub fn tighten(self, extensions: &mut Extensions) -> Self {
        let deadline = Self::of(extensions).map_or(self, |there| there.min(self));
        extensions.insert(deadline);
        deadline
    }

    /// The moment itself.
    #[must_use]
    pub const fn instant(self) -> Instant {
        self.0
    }

    /// What is left at `now`; zero once it has passed.
    #[must_use]
    pub fn remaining(self, now: Instant) -> Duration {
        self.0.saturating_duration_since(now)
    }

    /// Whether the deadline has passed at `now`.
    #[must_use]
    pub fn is_past(self, now: Instant) -> bool {
        self.0 <= now
    }

    /// Whether a wait that begins at `now` ends before the deadline, so that there is time left to ask.
    #[must_use]
    pub fn allows(self, wait: Duration, now: Instant) -> bool {
        wait < self.remaining(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earlier_of_two_deadlines_holds() {
        let now = Instant::now();
        let (soon, late) =
            (Deadline::after(Duration::from_secs(1), now), Deadline::after(Duration::MAX, now));
        let mut extensions = Extensions::new();
        assert_eq!(late.tighten(&mut extensions), late);
        assert_eq!(soon.tighten(&mut extensions), soon);
        assert_eq!(late.tighten(&mut extensions), soon);
        assert_eq!(Deadline::of(&extensions), Some(soon));
        assert!(!soon.is_past(now));
        assert!(soon.is_past(now + Duration::from_secs(1)));
    }
}
