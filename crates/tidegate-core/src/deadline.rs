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

/// The deadline of a call of which a part is reserved.
#[derive(Clone, Copy)]
struct Whole(Deadline);

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

    /// The deadline of the body of the answer to this request: later than [`of`](Self::of) by what is
    /// [reserved](Self::reserve), since an answer that has begun leaves nobody else to be asked.
    #[must_use]
    pub fn of_body(extensions: &Extensions) -> Option<Self> {
        extensions.get().map(|Whole(whole)| *whole).or_else(|| Self::of(extensions))
    }

    /// Puts the deadline into `extensions`, unless an earlier one is there already. Returns the one that holds.
    pub fn tighten(self, extensions: &mut Extensions) -> Self {
        if let Some(Whole(whole)) = extensions.get_mut() {
            *whole = self.min(*whole);
        }
        let deadline = Self::of(extensions).map_or(self, |there| there.min(self));
        extensions.insert(deadline);
        deadline
    }

    /// Keeps the last `reserve` of the time for whoever is asked after this request, at most half of what is left at
    /// `now`: the deadline of the request is earlier by that, and that of the body of its answer is not. Without a
    /// deadline there is nothing to keep.
    pub fn reserve(reserve: Duration, extensions: &mut Extensions, now: Instant) {
        let Some(deadline) = Self::of(extensions).filter(|_| !reserve.is_zero()) else { return };
        let reserve = reserve.min(deadline.remaining(now) / 2);
        if let Some(earlier) = deadline.0.checked_sub(reserve) {
            extensions.get_or_insert_with(|| Whole(deadline));
            extensions.insert(Self(earlier));
        }
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

    #[test]
    fn a_reserve_shortens_the_request_and_not_the_body_of_its_answer() {
        let now = Instant::now();
        let within = |seconds| Some(Deadline::after(Duration::from_secs(seconds), now));
        let reserve = |seconds, extensions: &mut Extensions| {
            Deadline::reserve(Duration::from_secs(seconds), extensions, now);
            (Deadline::of(extensions), Deadline::of_body(extensions))
        };
        let mut extensions = Extensions::new();
        assert_eq!(reserve(10, &mut extensions), (None, None));
        within(30).unwrap().tighten(&mut extensions);
        assert_eq!(reserve(0, &mut extensions), (within(30), within(30)));
        assert_eq!(reserve(10, &mut extensions), (within(20), within(30)));
        assert_eq!(
            reserve(15, &mut extensions.clone()),
            (within(10), within(30)),
            "at most half of what is left"
        );
        within(25).unwrap().tighten(&mut extensions);
        assert_eq!((Deadline::of(&extensions), Deadline::of_body(&extensions)), (within(20), within(25)));
        within(5).unwrap().tighten(&mut extensions);
        assert_eq!((Deadline::of(&extensions), Deadline::of_body(&extensions)), (within(5), within(5)));
    }
}
