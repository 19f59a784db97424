//! How long answers take, for calls that wait until there is no time left for one. Plain code.

use std::time::{Duration, Instant};

/// The times of recent answers, from the permit to the end of the body. Only calls that were queued are
/// measured, so that a limit that is not reached costs nothing.
#[derive(Debug, Default)]
pub(super) struct AnswerTimes(Option<Box<RecentTimes>>);

/// The time of one answer.
#[derive(Clone, Copy, Debug)]
pub(super) enum AnswerTime {
    /// Until its end.
    Whole(Duration),
    /// Until a timeout ended it.
    CutOff(Duration),
}

/// The times of the latest answers. Boxed, because most limits have none.
#[derive(Debug)]
struct RecentTimes {
    times: [AnswerTime; SAMPLES],
    recorded: usize,
    /// The typical time of all answers.
    typical: Duration,
    /// The typical time of the answers that were not cut off; as long as there are none, that of earlier
    /// ones.
    typical_whole: Duration,
    /// When the latest answer ended.
    latest: Instant,
}

/// The number of answers that count.
const SAMPLES: usize = 32;

/// One in this many answers takes longer than the typical time. Less would send many calls that are cut off.
const LONGER: usize = 8;

/// What is added, as a part of the time: in a long queue every call starts at the last moment.
const MARGIN: u32 = 16;

/// For how long the times are valid after the latest answer, and as a multiple of the typical time. Older
/// ones might keep calls from waiting for a provider that has become faster. Times that were cut off are
/// guesses, and valid for the first of both only: where they leave no call enough time, there are no further
/// ones to correct them.
const VALID_FOR: Duration = Duration::from_secs(30);
const VALID_TIMES: u32 = 4;

impl AnswerTimes {
    pub(super) fn record(&mut self, time: AnswerTime, now: Instant) {
        let recent = self.0.get_or_insert_with(|| Box::new(RecentTimes::new(now)));
        recent.times[recent.recorded % SAMPLES] = time;
        recent.recorded = recent.recorded.wrapping_add(1).max(1);
        recent.latest = now;
        let times = &recent.times[..recent.recorded.min(SAMPLES)];
        recent.typical = typical_of(times.iter().map(|time| time.expected())).unwrap_or_default();
        recent.typical_whole =
            typical_of(times.iter().filter_map(|time| time.whole())).unwrap_or(recent.typical_whole);
    }

    /// The time within which most answers end; zero if it is unknown.
    pub(super) fn typical(&self, now: Instant) -> Duration {
        let typical = self.valid(now).map_or(Duration::ZERO, |recent| recent.typical_at(now));
        typical.saturating_add(typical / MARGIN)
    }

    /// The time within which most answers end that are not cut off; zero if it is unknown. An attempt that
    /// had this time had its share: otherwise a provider that hangs would have no failures.
    pub(super) fn typical_whole(&self, now: Instant) -> Duration {
        self.valid(now).map_or(Duration::ZERO, |recent| recent.typical_whole)
    }

    fn valid(&self, now: Instant) -> Option<&RecentTimes> {
        let recent = self.0.as_deref()?;
        let age = now.saturating_duration_since(recent.latest);
        (age <= VALID_FOR.max(recent.typical_whole.saturating_mul(VALID_TIMES))).then_some(recent)
    }
}

impl RecentTimes {
    fn new(latest: Instant) -> Self {
        let none = AnswerTime::Whole(Duration::ZERO);
        Self {
            times: [none; SAMPLES],
            recorded: 0,
            typical: Duration::ZERO,
            typical_whole: Duration::ZERO,
            latest,
        }
    }

    fn typical_at(&self, now: Instant) -> Duration {
        let is_recent = now.saturating_duration_since(self.latest) <= VALID_FOR;
        if is_recent { self.typical } else { self.typical_whole }
    }
}

impl AnswerTime {
    /// The time that the answer has taken or would have. If one that was cut off counted as its time until
    /// then, the typical time could never grow beyond the time that is left for answers.
    fn expected(self) -> Duration {
        match self {
            Self::Whole(time) => time,
            Self::CutOff(time) => time.saturating_mul(3) / 2,
        }
    }

    fn whole(self) -> Option<Duration> {
        match self {
            Self::Whole(time) => Some(time),
            Self::CutOff(_) => None,
        }
    }
}

/// The typical one of these times, which one in [`LONGER`] exceeds.
fn typical_of(times: impl Iterator<Item = Duration>) -> Option<Duration> {
    let (mut sorted, mut len) = ([Duration::ZERO; SAMPLES], 0);
    for (place, time) in sorted.iter_mut().zip(times) {
        *place = time;
        len += 1;
    }
    let sorted = &mut sorted[..len];
    sorted.sort_unstable();
    sorted.get((len - len / LONGER).wrapping_sub(1)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::SECOND;

    #[test]
    fn most_recent_answers_end_within_the_typical_time() {
        let (mut times, now) = (AnswerTimes::default(), Instant::now());
        let whole = |seconds| AnswerTime::Whole(seconds * SECOND);
        assert_eq!(times.typical(now), Duration::ZERO);
        times.record(whole(8), now);
        assert_eq!(times.typical(now), SECOND * 17 / 2);
        (1..=32).for_each(|seconds| times.record(whole(seconds), now));
        assert_eq!(times.typical(now), SECOND * 119 / 4);
        // Four outliers in 32 do not count.
        (0..28).for_each(|_| times.record(whole(1), now));
        assert_eq!(times.typical(now), SECOND * 17 / 16);
    }

    #[test]
    fn answers_that_are_cut_off_would_have_taken_longer() {
        let (mut times, now) = (AnswerTimes::default(), Instant::now());
        times.record(AnswerTime::CutOff(10 * SECOND), now);
        assert_eq!((times.typical(now), times.typical_whole(now)), (SECOND * 255 / 16, Duration::ZERO));
        times.record(AnswerTime::Whole(2 * SECOND), now);
        assert_eq!((times.typical(now), times.typical_whole(now)), (SECOND * 255 / 16, 2 * SECOND));
    }

    #[test]
    fn old_times_are_not_valid() {
        let start = Instant::now();
        for (time, valid_for) in [(1, 30), (7, 30), (10, 40)] {
            let mut times = AnswerTimes::default();
            times.record(AnswerTime::Whole(time * SECOND), start);
            assert!(times.typical(start + valid_for * SECOND) > time * SECOND);
            assert_eq!(times.typical(start + (valid_for + 1) * SECOND), Duration::ZERO);
        }
    }

    /// Regression: one answer that was cut off kept all calls of its deadline out of the queue for minutes.
    #[test]
    fn times_that_were_cut_off_are_valid_for_half_a_minute() {
        let start = Instant::now();
        let mut times = AnswerTimes::default();
        times.record(AnswerTime::CutOff(59 * SECOND), start);
        assert!(times.typical(start + 30 * SECOND) > 90 * SECOND);
        assert_eq!(times.typical(start + 31 * SECOND), Duration::ZERO);
        times.record(AnswerTime::Whole(16 * SECOND), start);
        assert!(times.typical(start + 30 * SECOND) > 90 * SECOND);
        assert_eq!(times.typical(start + 31 * SECOND), 17 * SECOND);
    }

    /// Regression: where all recent answers were cut off, a deadline of milliseconds was a failure of the
    /// provider.
    #[test]
    fn the_time_of_whole_answers_stays_when_all_recent_ones_were_cut_off() {
        let (mut times, now) = (AnswerTimes::default(), Instant::now());
        times.record(AnswerTime::Whole(2 * SECOND), now);
        (0..100).for_each(|_| times.record(AnswerTime::CutOff(SECOND / 20), now));
        assert_eq!(times.typical_whole(now), 2 * SECOND);
    }
}
