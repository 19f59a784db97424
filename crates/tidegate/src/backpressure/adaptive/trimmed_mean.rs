//! The trimmed mean of a round's round trips, with its confidence interval.

use std::time::Duration;

/// The trimmed mean of a round, and the interval around it that is due to chance.
///
/// Times to the first token vary by half of their value or more, with a long tail. A plain mean is dominated
/// by one response of a minute; a median does not show a queue in which less than half of the calls wait; and
/// a limit that took each slow round for a slow provider would throttle a healthy one. The trimmed mean and
/// its standard error avoid all three: J. W. Tukey and D. H. McLaughlin, "Less Vulnerable Confidence and
/// Significance Procedures for Location Based on a Single Sample", 1963.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct TrimmedMean {
    pub(super) low: Duration,
    pub(super) mean: Duration,
    pub(super) high: Duration,
}

/// One in this many values is trimmed at each end.
const TRIM: usize = 8;

/// The half width of the interval in standard errors; chance alone exceeds it in one round of fifteen, per
/// side.
const STANDARD_ERRORS: f64 = 1.5;

impl TrimmedMean {
    /// The trimmed mean of `times`, which are sorted in place; `None` if they are empty.
    pub(super) fn of(times: &mut [Duration]) -> Option<Self> {
        times.sort_unstable();
        let trim = times.len() / TRIM;
        let middle = &times[trim..times.len() - trim];
        let (first, last) = (middle.first()?.as_secs_f64(), middle.last()?.as_secs_f64());
        let mean = middle.iter().map(Duration::as_secs_f64).sum::<f64>() / middle.len() as f64;
        // Trimmed values count as the nearest value that was kept (winsorized variance).
        let square = |time: f64| (time - mean) * (time - mean);
        let ends = trim as f64 * (square(first) + square(last));
        let squares = middle.iter().map(|time| square(time.as_secs_f64())).sum::<f64>() + ends;
        let margin = STANDARD_ERRORS * squares.sqrt() / middle.len() as f64;
        let time = |secs: f64| Duration::try_from_secs_f64(secs.max(first)).unwrap_or(Duration::MAX);
        Some(Self { low: time(mean - margin), mean: time(mean), high: time(mean + margin) })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(millis: &[u64]) -> TrimmedMean {
        let mut times: Vec<_> = millis.iter().copied().map(Duration::from_millis).collect();
        TrimmedMean::of(&mut times).unwrap()
    }

    #[test]
    fn equal_values_have_an_empty_interval() {
        let trimmed = of(&[500; 20]);
        assert_eq!((trimmed.low, trimmed.high), (trimmed.mean, trimmed.mean));
        assert_eq!(TrimmedMean::of(&mut []), None);
    }

    #[test]
    fn one_response_of_a_minute_does_not_affect_the_mean() {
        let mut millis = [500; 20];
        millis[3] = 60_000;
        assert_eq!(of(&millis).mean, Duration::from_millis(500));
    }

    #[test]
    fn a_queue_in_which_a_third_of_the_calls_wait_is_visible() {
        let millis: Vec<_> = (0..48).map(|call| if call % 3 == 0 { 2_000 } else { 1_000 }).collect();
        assert!(of(&millis).low > Duration::from_millis(1_100), "{:?}", of(&millis));
    }

    proptest! {
        #[test]
        fn the_mean_is_within_the_interval_and_the_values(mut nanos in prop::collection::vec(any::<u64>(), 1..64)) {
            nanos.sort_unstable();
            let mut times: Vec<_> = nanos.iter().copied().map(Duration::from_nanos).collect();
            let trimmed = TrimmedMean::of(&mut times).unwrap();
            prop_assert!(trimmed.low <= trimmed.mean && trimmed.mean <= trimmed.high);
            let slack = Duration::from_micros(100);
            prop_assert!(trimmed.low + slack >= times[0] && trimmed.mean <= times[times.len() - 1] + slack);
        }
    }
}
