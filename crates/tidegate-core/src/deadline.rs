use std::time::{Duration, Instant};

use http::Extensions;

/// The instant by which a call must have ended. It applies to every wait in the layers below.
///
/// The deadline is an extension of the request. A layer that would have to wait past it rejects the request
/// at once.
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
pub struct Deadline {
    at: Instant,
    is_of_caller: bool,
}

/// The deadline of a response body, when a part of the time of the request is reserved.
#[derive(Clone, Copy)]
struct BodyDeadline(Deadline);

impl Deadline {
    /// A deadline at `at`.
    #[must_use]
    pub const fn at(at: Instant) -> Self {
        Self { at, is_of_caller: false }
    }

    /// A deadline `budget` after `now`, which is read from tokio's clock where that may be paused, as the layers
    /// do (`tokio::time::Instant::now().into_std()`). A budget that overflows the clock counts as a century.
    #[must_use]
    pub fn after(budget: Duration, now: Instant) -> Self {
        const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);
        Self::at(now.checked_add(budget).or_else(|| now.checked_add(CENTURY)).unwrap_or(now))
    }

    /// The same deadline, set by the caller. An attempt that it cuts off is neutral for the health of the
    /// provider, as if the caller had left ([`Clock::CallerDeadline`](crate::Clock::CallerDeadline)).
    #[must_use]
    pub const fn of_caller(self) -> Self {
        Self { is_of_caller: true, ..self }
    }

    /// Whether the caller has set the deadline.
    #[must_use]
    pub const fn is_of_caller(self) -> bool {
        self.is_of_caller
    }

    /// The deadline of this request, if it has one.
    #[must_use]
    pub fn of(extensions: &Extensions) -> Option<Self> {
        extensions.get().copied()
    }

    /// The deadline of the body of the response to this request. It is later than [`of`](Self::of) by the
    /// [reserved](Self::reserve) time, since there is no fallback after a response has begun.
    #[must_use]
    pub fn of_body(extensions: &Extensions) -> Option<Self> {
        extensions.get().map(|BodyDeadline(deadline)| *deadline).or_else(|| Self::of(extensions))
    }

    /// Inserts the deadline into `extensions`, unless an earlier one is there. Returns the deadline that
    /// applies.
    pub fn tighten(self, extensions: &mut Extensions) -> Self {
        if let Some(BodyDeadline(deadline)) = extensions.get_mut() {
            *deadline = self.min(*deadline);
        }
        let deadline = Self::of(extensions).map_or(self, |current| current.min(self));
        extensions.insert(deadline);
        deadline
    }

    /// Reserves the last `reserve` of the time for a later target, at most half of the time that is left at
    /// `now`.
    ///
    /// The deadline of the request becomes earlier by that time; the deadline of its response body does not
    /// change. Without a deadline the call has no effect.
    pub fn reserve(reserve: Duration, extensions: &mut Extensions, now: Instant) {
        let Some(deadline) = Self::of(extensions).filter(|_| !reserve.is_zero()) else { return };
        let half = deadline.remaining(now) / 2;
        if let Some(at) = deadline.at.checked_sub(reserve.min(half)) {
            extensions.get_or_insert_with(|| BodyDeadline(deadline));
            // An end that comes by the reserve is not one that the caller has set, unless the time was short.
            extensions.insert(Self { at, is_of_caller: deadline.is_of_caller && half < reserve });
        }
    }

    /// The instant of the deadline.
    #[must_use]
    pub const fn instant(self) -> Instant {
        self.at
    }

    /// The time that is left at `now`. Zero once the deadline has passed.
    #[must_use]
    pub fn remaining(self, now: Instant) -> Duration {
        self.at.saturating_duration_since(now)
    }

    /// Whether the deadline has passed at `now`.
    #[must_use]
    pub fn is_past(self, now: Instant) -> bool {
        self.at <= now
    }

    /// Whether a wait that begins at `now` ends before the deadline, so that time is left for an attempt.
    #[must_use]
    pub fn allows(self, wait: Duration, now: Instant) -> bool {
        wait < self.remaining(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earlier_of_two_deadlines_applies() {
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
    fn a_reserve_shortens_the_request_but_not_the_response_body() {
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

    #[test]
    fn an_end_that_comes_by_a_reserve_is_not_set_by_the_caller_unless_the_time_is_short() {
        let now = Instant::now();
        for (millis, expected) in [(1, true), (15_000, true), (40_000, false)] {
            let mut extensions = Extensions::new();
            Deadline::after(Duration::from_millis(millis), now).of_caller().tighten(&mut extensions);
            Deadline::reserve(Duration::from_secs(10), &mut extensions, now);
            let [of_head, of_body] = [Deadline::of(&extensions), Deadline::of_body(&extensions)];
            assert_eq!(of_head.map(Deadline::is_of_caller), Some(expected), "{millis} ms");
            assert_eq!(of_body.map(Deadline::is_of_caller), Some(true));
        }
    }
}
