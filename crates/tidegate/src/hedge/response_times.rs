use std::time::Duration;

/// The times to the first token of the latest calls, of which a percentile can be read.
///
/// Two histograms, of which the older one is discarded when the newer one is full: the window has the latest
/// [`HALF_WINDOW`] to twice that many times. The buckets grow by 4 %, so that a percentile is at most 4 %
/// above the exact one and never below it, as in DDSketch (Masson, Rim and Lee, "DDSketch: A Fast and
/// Fully-Mergeable Quantile Sketch with Relative-Error Guarantees", 2019).
#[derive(Debug, Default)]
pub(super) struct ResponseTimes {
    newer: Histogram,
    older: Histogram,
}

#[derive(Debug, Default)]
struct Histogram {
    /// Empty before the first time.
    counts: Vec<u16>,
    total: u16,
}

/// The number of times that the window always has, once there were so many.
pub(super) const HALF_WINDOW: u16 = 512;

/// Each bucket ends at this many times the end of the one before. The first ends at a millisecond.
const GROWTH: f64 = 1.04;

/// The last bucket ends at an hour, and has all longer times, too.
const BUCKETS: usize = 386;

impl ResponseTimes {
    pub(super) fn record(&mut self, time: Duration) {
        if self.newer.total == HALF_WINDOW {
            std::mem::swap(&mut self.newer, &mut self.older);
            self.newer.clear();
        }
        self.newer.record(time);
    }

    /// The number of times in the window.
    pub(super) fn count(&self) -> u32 {
        u32::from(self.newer.total) + u32::from(self.older.total)
    }

    /// The time that `percentile` of a hundred calls do not exceed. `None` without any times.
    pub(super) fn percentile(&self, percentile: f64) -> Option<Duration> {
        let rank = (percentile / 100.0 * f64::from(self.count())).ceil().max(1.0) as u32;
        let mut below = 0;
        (0..BUCKETS)
            .find(|bucket| {
                below += self.newer.count(*bucket) + self.older.count(*bucket);
                below >= rank
            })
            .map(end_of)
    }
}

impl Histogram {
    fn record(&mut self, time: Duration) {
        self.counts.resize(BUCKETS, 0);
        self.counts[bucket_of(time)] += 1;
        self.total += 1;
    }

    fn count(&self, bucket: usize) -> u32 {
        self.counts.get(bucket).copied().unwrap_or_default().into()
    }

    fn clear(&mut self) {
        self.counts.fill(0);
        self.total = 0;
    }
}

fn bucket_of(time: Duration) -> usize {
    let millis = time.as_secs_f64() * 1_000.0;
    // A negative number is 0 as an unsigned one.
    (millis.ln() / GROWTH.ln()).ceil().min((BUCKETS - 1) as f64) as usize
}

fn end_of(bucket: usize) -> Duration {
    Duration::from_secs_f64(GROWTH.powi(bucket as i32) / 1_000.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn exact(times: &[Duration], percentile: f64) -> Duration {
        let mut sorted = times.to_vec();
        sorted.sort_unstable();
        let rank = (percentile / 100.0 * sorted.len() as f64).ceil().max(1.0) as usize;
        sorted[rank - 1]
    }

    proptest! {
        #[test]
        fn a_percentile_is_at_most_four_percent_above_the_exact_one_and_never_below(
            micros in prop::collection::vec(1_000_u64..3_600_000_000, 1..1_500),
            percentile in 1.0..100.0_f64,
        ) {
            let times: Vec<_> = micros.into_iter().map(Duration::from_micros).collect();
            let mut recorded = ResponseTimes::default();
            times.iter().for_each(|time| recorded.record(*time));
            let window = &times[times.len() - recorded.count() as usize..];
            prop_assert!(window.len() >= times.len().min(usize::from(HALF_WINDOW)));
            let (exact, found) = (exact(window, percentile), recorded.percentile(percentile).unwrap());
            let ratio = found.as_secs_f64() / exact.as_secs_f64();
            prop_assert!((1.0 - 1e-6..=GROWTH + 1e-6).contains(&ratio), "{found:?} for {exact:?}");
        }
    }

    #[test]
    fn times_outside_of_the_buckets_are_in_the_first_and_the_last() {
        let mut times = ResponseTimes::default();
        assert_eq!(times.percentile(50.0), None);
        times.record(Duration::ZERO);
        assert_eq!(times.percentile(99.0), Some(Duration::from_millis(1)));
        times.record(Duration::MAX);
        let longest = times.percentile(99.0).unwrap();
        assert!((3_600..3_700).contains(&longest.as_secs()), "{longest:?}");
    }

    #[test]
    fn times_that_are_no_longer_usual_leave_the_window() {
        let mut times = ResponseTimes::default();
        (0..600).for_each(|_| times.record(Duration::from_secs(10)));
        (0..2 * HALF_WINDOW).for_each(|_| times.record(Duration::from_secs(1)));
        assert!(times.percentile(100.0).unwrap() < Duration::from_millis(1_041));
    }
}
