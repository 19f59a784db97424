use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The expected time to the first token of a member, by its latest calls.
///
/// A moving average in which a slower call counts half and a faster one a third, so that ten times the time is noticed
/// within two calls. It is not the peak, as in Finagle's and tower's `PeakEwma`: the time to a first token grows with the
/// prompt, so one long time is no sign of a slow member. An estimate that gets no calls decays, by half within ten seconds
/// and to a tenth within thirty, and is forgotten after a minute: a member that was slow gets a call again.
#[derive(Debug, Default)]
pub(super) struct FirstTokenEstimate(AtomicU64);

/// How fast an estimate without calls decays.
const HALF_LIFE: f32 = 10.0;

/// An estimate of this age is not used any more, in seconds.
const LIFETIME: f32 = 60.0;

/// The part of the difference by which a slower, and by which a faster call changes the estimate.
const RISE: f32 = 0.5;
const FALL: f32 = 0.3;

/// An estimate, packed into one word: the seconds as `f32`, and when it was made.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Estimated {
    seconds: f32,
    /// In milliseconds since the origin of the group; 0 if there is no estimate. It wraps after seven weeks, which makes
    /// one estimate stale or fresh by mistake.
    at: u32,
}

impl FirstTokenEstimate {
    /// The expected time in seconds, `since_origin` after the origin of the group.
    #[inline]
    pub(super) fn read(&self, since_origin: Duration) -> Option<f32> {
        Estimated::unpack(self.0.load(Ordering::Relaxed)).at(since_origin)
    }

    /// Records a call with this time to its first token.
    pub(super) fn record(&self, time: Duration, since_origin: Duration) {
        let update = |packed| Some(Estimated::unpack(packed).after(time, since_origin).pack());
        // The update is never refused.
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, update);
    }
}

impl Estimated {
    fn unpack(packed: u64) -> Self {
        Self { seconds: f32::from_bits((packed >> 32) as u32), at: packed as u32 }
    }

    fn pack(self) -> u64 {
        u64::from(self.seconds.to_bits()) << 32 | u64::from(self.at)
    }

    #[inline]
    fn at(self, since_origin: Duration) -> Option<f32> {
        if self.at == 0 {
            return None;
        }
        let idle = millis(since_origin).wrapping_sub(self.at) as f32 / 1_000.0;
        let decay = idle / HALF_LIFE;
        (idle < LIFETIME).then(|| self.seconds / (1.0 + decay * decay))
    }

    fn after(self, time: Duration, since_origin: Duration) -> Self {
        let time = time.as_secs_f32();
        let seconds = match self.at(since_origin) {
            None => time,
            Some(expected) if time > expected => expected + (time - expected) * RISE,
            Some(expected) => expected + (time - expected) * FALL,
        };
        Self { seconds, at: millis(since_origin) }
    }
}

/// The time in milliseconds, never 0.
#[inline]
fn millis(since_origin: Duration) -> u32 {
    // Without the 128 bits of `as_millis`.
    let whole = (since_origin.as_secs() as u32).wrapping_mul(1_000);
    whole.wrapping_add(since_origin.subsec_millis()).max(1)
}

/// The time since the origin of a group; zero if the clock was read before it.
pub(super) fn since(origin: Instant, now: Instant) -> Duration {
    now.saturating_duration_since(origin)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn estimate(calls: &[(u64, u64)]) -> FirstTokenEstimate {
        let estimate = FirstTokenEstimate::default();
        calls.iter().for_each(|&(at, time)| estimate.record(secs(time), secs(at)));
        estimate
    }

    #[test]
    fn two_slow_calls_make_a_member_slow_and_a_few_fast_ones_fast() {
        assert_eq!(estimate(&[]).read(secs(0)), None);
        assert_eq!(estimate(&[(0, 1)]).read(secs(0)), Some(1.0));
        let slow = estimate(&[(0, 1), (0, 10), (0, 10)]).read(secs(0)).unwrap();
        assert!((7.0..10.0).contains(&slow), "{slow}");
        let mut calls = vec![(0, 10)];
        calls.extend([(0, 1); 8]);
        let fast = estimate(&calls).read(secs(0)).unwrap();
        assert!((1.0..2.0).contains(&fast), "{fast}");
    }

    #[test]
    fn an_estimate_without_calls_decays_and_is_forgotten() {
        let slow = estimate(&[(100, 10)]);
        let after = |idle: u64| slow.read(secs(100 + idle));
        assert_eq!((after(0), after(10), after(30), after(60)), (Some(10.0), Some(5.0), Some(1.0), None));
        // A call then counts from what is left.
        slow.record(secs(1), secs(130));
        assert_eq!(slow.read(secs(130)), Some(1.0));
    }

    #[test]
    fn the_clock_may_be_read_before_the_origin_and_after_seven_weeks() {
        let now = Instant::now();
        assert_eq!(since(now + secs(1), now), Duration::ZERO);
        let late = secs(60 * 60 * 24 * 50);
        let slow = FirstTokenEstimate::default();
        slow.record(secs(10), late);
        assert_eq!(slow.read(late), Some(10.0));
        assert_eq!(slow.read(late + secs(10)), Some(5.0));
    }
}
