//! How long the calls of a round took, and how far to believe it.

use std::time::Duration;

/// The mean of a round without its extremes, and between what the truth lies but for chance.
///
/// Times to the first token spread by half or more of themselves, with a long tail. A plain mean would let one answer
/// of a minute speak for all; a median does not see a queue in which less than half of the calls wait; and a limit that
/// took each slow round for a slow provider would strangle a healthy one. Hence the trimmed mean and its
/// standard error: J. W. Tukey and D. H. McLaughlin, "Less Vulnerable Confidence and Significance
/// Procedures for Location Based on a Single Sample", 1963.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct TrimmedMean {
    pub(super) low: Duration,
    pub(super) mean: Duration,
    pub(super) high: Duration,
}

/// One in so many is cut off at each end.
const TRIM: usize = 8;

/// How many standard errors chance may reach; it reaches further in one round of fifteen, on this side.
const STANDARD_ERRORS: f64 = 1.5;

impl TrimmedMean {
    /// Of these times, which it sorts; `None` of none.
    pub(super) fn of(times: &mut [Duration]) -> Option<Self> {
        times.sort_unstable();
        let trim = times.len() / TRIM;
        let middle = &times[trim..times.len() - trim];
        let (first, last) = (middle.first()?.as_secs_f64(), middle.last()?.as_secs_f64());
        let mean = middle.iter().map(Duration::as_secs_f64).sum::<f64>() / middle.len() as f64;
        // The ones cut off count as the nearest that was kept.
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
    fn where_all_are_alike_nothing_is_left_to_chance() {
        let trimmed = of(&[500; 20]);
        assert_eq!((trimmed.low, trimmed.high), (trimmed.mean, trimmed.mean));
        assert_eq!(TrimmedMean::of(&mut []), None);
    }

    #[test]
    fn one_answer_of_a_minute_does_not_speak_for_the_round() {
        let mut millis = [500; 20];
        millis[3] = 60_000;
        assert_eq!(of(&millis).mean, Duration::from_millis(500));
    }

    #[test]
    fn a_queue_in_which_a_third_waits_is_seen() {
        let millis: Vec<_> = (0..48).map(|call| if call % 3 == 0 { 2_000 } else { 1_000 }).collect();
        assert!(of(&millis).low > Duration::from_millis(1_100), "{:?}", of(&millis));
    }

    proptest! {
        #[test]
        fn the_middle_is_in_the_middle(mut nanos in prop::collection::vec(any::<u64>(), 1..64)) {
            nanos.sort_unstable();
            let mut times: Vec<_> = nanos.iter().copied().map(Duration::from_nanos).collect();
            let trimmed = TrimmedMean::of(&mut times).unwrap();
            prop_assert!(trimmed.low <= trimmed.mean && trimmed.mean <= trimmed.high);
            let slack = Duration::from_micros(100);
            prop_assert!(trimmed.low + slack >= times[0] && trimmed.mean <= times[times.len() - 1] + slack);
        }
    }
}
