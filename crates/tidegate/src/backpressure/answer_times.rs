//! How long answers take, for calls that wait until there is no time left for one. Plain code.

use std::time::{Duration, Instant};

/// The times of recent answers, from the permit to the end of the body. Only calls that were queued are
/// measured, so that a limit that is not reached costs nothing.
#[derive(Debug, Default)]
pub(super) struct AnswerTimes(Option<Box<RecentAnswers>>);

/// The time of one answer, or of a part of it.
#[derive(Clone, Copy, Debug)]
pub(super) enum AnswerTime {
    /// Until the head of a successful response.
    Head(Duration),
    /// Until its end.
    Whole(Duration),
    /// Until a timeout ended it.
    CutOff(Duration),
}

/// The times of the latest answers. Boxed, because most limits have none.
#[derive(Debug, Default)]
struct RecentAnswers {
    /// Of answers that were cut off, the expected times.
    all: RecentTimes,
    /// The typical time of all answers, which is read more often than it changes.
    typical: Duration,
    whole: RecentTimes,
    heads: RecentTimes,
}

/// The latest times of one kind, in a ring.
#[derive(Debug, Default)]
struct RecentTimes {
    times: [Duration; SAMPLES],
    len: usize,
    next: usize,
    latest: Option<Instant>,
}

/// The number of answers that count.
const SAMPLES: usize = 32;

/// One in this many answers takes longer than the typical time. Less would send many calls that are cut off.
const LONGER: usize = 8;

/// What is added, as a part of the time: in a long queue every call starts at the last moment.
const MARGIN: u32 = 16;

/// For how long the times are valid after the latest of their kind, and as a multiple of the typical time.
/// Older ones might keep calls from waiting for a provider that has become faster. Times that were cut off are
/// guesses, and valid for the first of both only: where they leave no call enough time, there are no further
/// ones to correct them.
const VALID_FOR: Duration = Duration::from_secs(30);
const VALID_TIMES: u32 = 4;

impl AnswerTimes {
    pub(super) fn record(&mut self, time: AnswerTime, now: Instant) {
        let recent = self.0.get_or_insert_default();
        let expected = match time {
            AnswerTime::Head(time) => return recent.heads.record(time, now),
            AnswerTime::Whole(time) => {
                recent.whole.record(time, now);
                time
            }
            // If it counted as its time until then, the typical time could never grow beyond the time that is
            // left for answers.
            AnswerTime::CutOff(time) => time.saturating_mul(3) / 2,
        };
        recent.all.record(expected, now);
        recent.typical = recent.all.typical();
    }

    /// The time within which most answers end; zero if it is unknown.
    pub(super) fn typical(&self, now: Instant) -> Duration {
        let Some(recent) = &self.0 else { return Duration::ZERO };
        let is_recent = recent.all.age(now).is_some_and(|age| age <= VALID_FOR);
        let typical = if is_recent { recent.typical } else { recent.whole.typical_at(now) };
        typical.saturating_add(typical / MARGIN)
    }

    /// The time within which most heads of successful responses arrive; zero if it is unknown. An attempt
    /// that had this time before its head had its share. Attempts that were cut off do not prolong it:
    /// otherwise a provider that hangs would have no failures.
    pub(super) fn typical_head(&self, now: Instant) -> Duration {
        self.0.as_ref().map_or(Duration::ZERO, |recent| recent.heads.typical_at(now))
    }
}

impl RecentTimes {
    fn record(&mut self, time: Duration, now: Instant) {
        self.times[self.next] = time;
        self.next = (self.next + 1) % SAMPLES;
        self.len = SAMPLES.min(self.len + 1);
        // The end of an answer may be recorded long after its time.
        self.latest = self.latest.max(Some(now));
    }

    fn age(&self, now: Instant) -> Option<Duration> {
        self.latest.map(|latest| now.saturating_duration_since(latest))
    }

    /// The typical time, which one in [`LONGER`] exceeds; zero without any.
    fn typical(&self) -> Duration {
        let mut times = self.times;
        let sorted = &mut times[..self.len];
        sorted.sort_unstable();
        sorted.get((self.len - self.len / LONGER).wrapping_sub(1)).copied().unwrap_or_default()
    }

    /// The typical time, if it is valid at `now`; zero if it is not.
    fn typical_at(&self, now: Instant) -> Duration {
        let typical = self.typical();
        let valid_for = VALID_FOR.max(typical.saturating_mul(VALID_TIMES));
        if self.age(now).is_some_and(|age| age <= valid_for) { typical } else { Duration::ZERO }
    }
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
        assert_eq!(times.typical(now), SECOND * 255 / 16);
        times.record(AnswerTime::Whole(2 * SECOND), now);
        assert_eq!(times.typical(now), SECOND * 255 / 16);
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
    /// provider. Later, a provider that had begun to hang had no failures for ever.
    #[test]
    fn the_time_of_heads_stays_for_a_while_when_all_recent_answers_were_cut_off() {
        for (head, valid_for) in [(2, 30), (20, 80)] {
            let (mut times, start) = (AnswerTimes::default(), Instant::now());
            times.record(AnswerTime::Head(head * SECOND), start);
            times.record(AnswerTime::Whole(300 * SECOND), start);
            for second in 0..=valid_for {
                times.record(AnswerTime::CutOff(SECOND / 20), start + second * SECOND);
                assert_eq!(times.typical_head(start + second * SECOND), head * SECOND, "{second} s");
            }
            assert_eq!(times.typical_head(start + (valid_for + 1) * SECOND), Duration::ZERO);
        }
    }

    /// Regression: answers that were cut off kept the time of whole ones valid.
    #[test]
    fn whole_times_are_dated_by_the_latest_whole_answer() {
        let (mut times, start) = (AnswerTimes::default(), Instant::now());
        times.record(AnswerTime::Whole(16 * SECOND), start);
        times.record(AnswerTime::CutOff(SECOND), start + 60 * SECOND);
        assert_eq!(times.typical(start + 64 * SECOND), 17 * SECOND);
        assert_eq!(times.typical(start + 91 * SECOND), Duration::ZERO);
    }
    /// Regression: an answer that was recorded late made all of them look old.
    #[test]
    fn an_end_that_is_recorded_late_does_not_make_the_others_old() {
        let (mut times, start) = (AnswerTimes::default(), Instant::now());
        times.record(AnswerTime::Whole(2 * SECOND), start + 600 * SECOND);
        let before = times.typical(start + 601 * SECOND);
        times.record(AnswerTime::Whole(2 * SECOND), start);
        assert_eq!(times.typical(start + 601 * SECOND), before);
    }
}
