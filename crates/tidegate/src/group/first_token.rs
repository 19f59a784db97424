use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The expected time to the first token of a member, by its latest calls.
///
/// A moving average in which a slower call counts half and a faster one three tenths, so that ten times the
/// time is noticed within two calls. It is not the peak, as in Finagle's and tower's `PeakEwma`: the time to
/// a first token grows with the prompt, so one long time is no sign of a slow member. An estimate that gets
/// no calls decays, by half within ten seconds and to a tenth within thirty, and is forgotten after a minute:
/// a member that was slow gets a call again.
#[derive(Debug, Default)]
pub(super) struct FirstTokenEstimate(AtomicU64);

/// How fast an estimate without calls decays, in milliseconds.
const HALF_LIFE: f32 = 10_000.0;

/// An estimate up to this age, in milliseconds, is used as it is: it would decay by less than a hundredth.
const FRESH: u32 = 1_000;

/// An estimate of this age is not used any more, in milliseconds.
const LIFETIME: i32 = 60_000;

/// The part of the difference by which a slower, and by which a faster call changes the estimate.
const RISE: f32 = 0.5;
const FALL: f32 = 0.3;

/// The least time, in seconds: 0 stands for no estimate.
const LEAST: f32 = 1e-6;

/// An estimate, packed into one word: the seconds as `f32`, and when it was made.
#[derive(Clone, Copy, Debug, PartialEq)]
struct PackedEstimate {
    /// 0 if there is no estimate.
    seconds: f32,
    /// It wraps after seven weeks, which makes one estimate stale or fresh by mistake.
    at: Ticks,
}

impl FirstTokenEstimate {
    /// The expected time in seconds; 0 without an estimate.
    #[inline]
    pub(super) fn read(&self, now: Ticks) -> f32 {
        PackedEstimate::unpack(self.0.load(Ordering::Relaxed)).at(now)
    }

    /// Records a call with this time to its first token.
    pub(super) fn record(&self, time: Duration, now: Ticks) {
        let update = |packed| Some(PackedEstimate::unpack(packed).after(time, now).pack());
        // The update is never refused.
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, update);
    }

    /// Records a call that had no first token after this time, when it was dropped. It counts if the estimate
    /// was shorter.
    #[cold]
    pub(super) fn record_without(&self, time: Duration, now: Ticks) {
        let expected = self.read(now);
        if expected > 0.0 && expected < time.as_secs_f32() {
            self.record(time, now);
        }
    }
}

impl PackedEstimate {
    #[inline]
    fn unpack(packed: u64) -> Self {
        Self { seconds: f32::from_bits((packed >> 32) as u32), at: Ticks(packed as u32) }
    }

    fn pack(self) -> u64 {
        u64::from(self.seconds.to_bits()) << 32 | u64::from(self.at.0)
    }

    #[inline]
    fn at(self, now: Ticks) -> f32 {
        let idle = now.since(self.at);
        if idle < FRESH { self.seconds } else { self.decayed(idle as i32) }
    }

    /// What is left after `idle` milliseconds. They are negative for an estimate that was recorded after
    /// `now` was read.
    #[inline(never)]
    fn decayed(self, idle: i32) -> f32 {
        if idle >= LIFETIME {
            return 0.0;
        }
        let decay = idle.max(0) as f32 / HALF_LIFE;
        self.seconds / (1.0 + decay * decay)
    }

    fn after(self, time: Duration, now: Ticks) -> Self {
        let (time, expected) = (time.as_secs_f32(), self.at(now));
        let seconds = match expected {
            0.0 => time,
            _ if time > expected => expected + (time - expected) * RISE,
            _ => expected + (time - expected) * FALL,
        };
        Self { seconds: seconds.max(LEAST), at: now }
    }
}

/// A time in milliseconds, by one origin for the whole process. It wraps after seven weeks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticks(pub(super) u32);

static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);

impl Ticks {
    /// The ticks of this time. Those of a time before the origin are that much below zero, so that
    /// differences are right.
    #[inline]
    pub(super) fn of(time: Instant) -> Self {
        match time.checked_duration_since(*ORIGIN) {
            Some(since) => Self(millis(since)),
            None => Self(millis(ORIGIN.saturating_duration_since(time)).wrapping_neg()),
        }
    }

    /// The milliseconds since an earlier time.
    #[inline]
    pub(super) const fn since(self, earlier: Self) -> u32 {
        self.0.wrapping_sub(earlier.0)
    }
}

/// Without the 128 bits of `as_millis`.
#[inline]
const fn millis(duration: Duration) -> u32 {
    (duration.as_secs() as u32).wrapping_mul(1_000).wrapping_add(duration.subsec_millis())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::secs;

    const fn at(seconds: u32) -> Ticks {
        Ticks(seconds.wrapping_mul(1_000))
    }

    fn estimate(calls: &[(u32, u64)]) -> FirstTokenEstimate {
        let estimate = FirstTokenEstimate::default();
        calls.iter().for_each(|&(at_second, time)| estimate.record(secs(time), at(at_second)));
        estimate
    }

    #[test]
    fn two_slow_calls_make_a_member_slow_and_a_few_fast_ones_fast() {
        assert_eq!(estimate(&[]).read(at(0)), 0.0);
        assert_eq!(estimate(&[(0, 1)]).read(at(0)), 1.0);
        let slow = estimate(&[(0, 1), (0, 10), (0, 10)]).read(at(0));
        assert!((7.0..10.0).contains(&slow), "{slow}");
        let mut calls = vec![(0, 10)];
        calls.extend([(0, 1); 8]);
        let fast = estimate(&calls).read(at(0));
        assert!((1.0..2.0).contains(&fast), "{fast}");
    }

    #[test]
    fn a_call_without_a_first_token_counts_if_it_waited_for_longer_than_expected() {
        let after = |expected: &[(u32, u64)], time: u64| {
            let estimate = estimate(expected);
            estimate.record_without(secs(time), at(0));
            estimate.read(at(0))
        };
        assert_eq!(after(&[(0, 2)], 4), 3.0);
        assert_eq!((after(&[(0, 2)], 1), after(&[(0, 2)], 2), after(&[], 9)), (2.0, 2.0, 0.0));
    }

    #[test]
    fn an_estimate_without_calls_decays_and_is_forgotten() {
        let slow = estimate(&[(100, 10)]);
        let after = |idle: u32| slow.read(at(100 + idle));
        assert_eq!((after(0), after(10), after(30), after(60)), (10.0, 5.0, 1.0, 0.0));
        // A call then counts from what is left.
        slow.record(secs(1), at(130));
        assert_eq!(slow.read(at(130)), 1.0);
    }

    #[test]
    fn the_ticks_may_wrap_and_be_read_out_of_order() {
        let slow = FirstTokenEstimate::default();
        slow.record(secs(10), Ticks(u32::MAX - 4_999));
        assert_eq!(slow.read(Ticks(5_000)), 5.0);
        assert_eq!(slow.read(Ticks(u32::MAX - 5_000)), 10.0, "read before it was recorded");
    }

    #[test]
    fn differences_are_right_before_the_origin_and_after_seven_weeks() {
        let origin = *ORIGIN;
        let minute = Duration::from_secs(60);
        for start in
            [origin - Duration::from_secs(30), origin, origin + Duration::from_secs(60 * 60 * 24 * 50)]
        {
            let elapsed = Ticks::of(start + minute).since(Ticks::of(start));
            assert!(elapsed.abs_diff(60_000) <= 1, "{elapsed}");
        }
    }
}
