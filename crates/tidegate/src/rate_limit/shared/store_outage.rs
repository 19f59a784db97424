use std::time::{Duration, Instant};

use crate::clock;

/// Whether the store can be reached, and how long it could not.
#[derive(Clone, Debug, Default)]
pub(super) struct StoreOutage {
    /// The store could not be reached, and is tried again at this time.
    retry_at: Option<Instant>,
    /// Since when it could not.
    since: Option<Instant>,
    /// Since when it could not at the beginning of all outages that are not reported, and how long that is.
    unreported_since: Option<Instant>,
    length: Duration,
    /// There was a call since the latest try.
    is_used: bool,
}

/// The shortest and the longest time until an unavailable store is tried again: as long as it has been
/// unavailable.
const RETRY_INTERVALS: (Duration, Duration) = (Duration::from_millis(25), Duration::from_millis(250));

impl StoreOutage {
    /// When the store is tried again, if it could not be reached.
    pub(super) fn retry_at(&self) -> Option<Instant> {
        self.retry_at
    }

    /// How long the store could not be reached, if that is to be reported.
    pub(super) fn length(&self) -> Duration {
        self.length
    }

    pub(super) fn record_use(&mut self) {
        self.is_used = true;
    }

    /// Whether there was a call since the previous try, for the next one.
    pub(super) fn take_use(&mut self) -> bool {
        std::mem::take(&mut self.is_used)
    }

    pub(super) fn on_unavailable(&mut self, now: Instant) {
        let since = *self.since.get_or_insert(now);
        let retry_after = now.saturating_duration_since(since).clamp(RETRY_INTERVALS.0, RETRY_INTERVALS.1);
        self.retry_at = Some(clock::after(retry_after, now));
    }

    /// There is nothing to report about the outage.
    pub(super) fn forget(&mut self) {
        self.unreported_since = None;
        self.length = Duration::ZERO;
    }

    /// The store has replied. Returns whether an outage has ended, which is to be reported.
    pub(super) fn on_reply(&mut self, now: Instant) -> bool {
        self.retry_at = None;
        let since = self.since.take();
        self.unreported_since = since.map(|since| self.unreported_since.unwrap_or(since));
        let unreported = self.unreported_since.map(|since| now.saturating_duration_since(since));
        self.length = unreported.unwrap_or_default();
        since.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_that_is_not_reported_before_the_next_is_part_of_that() {
        let (mut outage, start) = (StoreOutage::default(), Instant::now());
        let at = |secs| start + Duration::from_secs(secs);
        outage.on_unavailable(at(0));
        outage.on_unavailable(at(4));
        assert!(outage.on_reply(at(5)));
        assert_eq!(outage.length(), Duration::from_secs(5));
        // The request that reports it is lost.
        outage.on_unavailable(at(6));
        assert!(outage.on_reply(at(8)));
        assert_eq!(outage.length(), Duration::from_secs(8));
        assert!(!outage.on_reply(at(9)));
        assert_eq!(outage.length(), Duration::ZERO);
        outage.on_unavailable(at(10));
        assert!(outage.on_reply(at(11)));
        assert_eq!(outage.length(), Duration::from_secs(1));
        outage.forget();
        outage.on_unavailable(at(3_600));
        assert!(outage.on_reply(at(3_605)));
        assert_eq!(outage.length(), Duration::from_secs(5));
    }
}
