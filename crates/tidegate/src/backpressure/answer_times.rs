//! How long answers take, for calls that wait until there is no time left for one. Plain code.

use std::time::{Duration, Instant};

/// The times of recent answers, from the permit to the end of the body. Only calls that were queued are measured, so that
/// a limit that is not reached costs nothing.
#[derive(Debug, Default)]
pub(super) struct AnswerTimes(Option<Box<RecentTimes>>);

/// The times of the latest answers. Boxed, because most limits have none.
#[derive(Debug)]
struct RecentTimes {
    times: [Duration; SAMPLES],
    recorded: usize,
    typical: Duration,
    /// When the latest answer ended.
    latest: Instant,
}

/// The number of answers that count.
const SAMPLES: usize = 32;

/// One in this many answers takes longer than the typical time. Less would send many calls that are cut off.
const LONGER: usize = 8;

/// What is added, as a part of the time: in a long queue every call starts at the last moment.
const MARGIN: u32 = 16;

/// For how long the times are valid after the latest answer, and as a multiple of the typical time. Older ones might keep
/// calls from waiting for a provider that has become faster.
const VALID_FOR: Duration = Duration::from_secs(30);
const VALID_TIMES: u32 = 4;

impl AnswerTimes {
    pub(super) fn record(&mut self, time: Duration, now: Instant) {
        let recent = self.0.get_or_insert_with(|| Box::new(RecentTimes::new(now)));
        recent.times[recent.recorded % SAMPLES] = time;
        recent.recorded = recent.recorded.wrapping_add(1).max(1);
        recent.latest = now;
        let mut times = recent.times;
        let times = &mut times[..recent.recorded.min(SAMPLES)];
        times.sort_unstable();
        recent.typical = times[times.len() - 1 - times.len() / LONGER];
    }

    /// The time within which most answers end; zero if it is unknown.
    pub(super) fn typical(&self, now: Instant) -> Duration {
        let Some(RecentTimes { typical, latest, .. }) = self.0.as_deref() else { return Duration::ZERO };
        let age = now.saturating_duration_since(*latest);
        match age <= VALID_FOR.max(typical.saturating_mul(VALID_TIMES)) {
            true => typical.saturating_add(*typical / MARGIN),
            false => Duration::ZERO,
        }
    }
}

impl RecentTimes {
    fn new(latest: Instant) -> Self {
        Self { times: [Duration::ZERO; SAMPLES], recorded: 0, typical: Duration::ZERO, latest }
    }
}

/// The time to record for an answer that was cut off after `time`: it would have taken longer. If it counted as `time`, the
/// typical time could never grow beyond the time that is left for answers.
pub(super) fn cut_off(time: Duration) -> Duration {
    time.saturating_mul(3) / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn most_recent_answers_end_within_the_typical_time() {
        let (mut times, now) = (AnswerTimes::default(), Instant::now());
        assert_eq!(times.typical(now), Duration::ZERO);
        times.record(8 * SECOND, now);
        assert_eq!(times.typical(now), SECOND * 17 / 2);
        (1..=32).for_each(|second| times.record(second * SECOND, now));
        assert_eq!(times.typical(now), SECOND * 119 / 4);
        // Four outliers in 32 do not count.
        (0..28).for_each(|_| times.record(SECOND, now));
        assert_eq!(times.typical(now), SECOND * 17 / 16);
    }

    #[test]
    fn old_times_are_not_valid() {
        let start = Instant::now();
        for (time, valid_for) in [(1, 30), (7, 30), (10, 40)] {
            let mut times = AnswerTimes::default();
            times.record(time * SECOND, start);
            assert!(times.typical(start + valid_for * SECOND) > time * SECOND);
            assert_eq!(times.typical(start + (valid_for + 1) * SECOND), Duration::ZERO);
        }
    }
}
