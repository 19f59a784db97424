use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::sync::unpoisoned;

/// The largest number of processes that were seen to share a limit of a store. A new limit has as many, until
/// its own number is known.
#[derive(Debug, Default)]
pub(crate) struct SeenProcesses(Mutex<Option<(u32, Instant)>>);

/// The time after which a smaller number replaces the largest one, unless that was seen again.
const VALIDITY: Duration = Duration::from_secs(60);

impl SeenProcesses {
    /// Records the number of processes that share one limit.
    pub(crate) fn record(&self, processes: u32, now: Instant) {
        let mut largest = unpoisoned(self.0.lock());
        let is_smaller = |(largest, at)| processes < largest && now.saturating_duration_since(at) < VALIDITY;
        if !largest.is_some_and(is_smaller) {
            *largest = Some((processes, now));
        }
    }

    /// The largest number; 0 if none was seen.
    pub(crate) fn largest(&self) -> u32 {
        unpoisoned(self.0.lock()).map_or(0, |(largest, _)| largest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Regression: a limit that one process alone used made every new limit take whole quotas.
    #[test]
    fn a_smaller_number_replaces_the_largest_one_after_a_minute() {
        let (seen, start) = (SeenProcesses::default(), Instant::now());
        for (seconds, processes, largest) in
            [(0, 3, 3), (1, 1, 3), (59, 1, 3), (60, 1, 1), (61, 2, 2), (90, 2, 2), (130, 1, 2)]
        {
            seen.record(processes, start + Duration::from_secs(seconds));
            assert_eq!(seen.largest(), largest, "after {seconds} s");
        }
    }
}
