//! When calls arrive.

use std::time::Duration;

use crate::scenario::{Arrivals, CallerGroup, DrawnWork, Time};

/// One more than a scenario may have.
const MOST: usize = DrawnWork::MAX_CALLS + 1;

/// The times of the calls of a group, in order. If they are too many, the rest is missing.
pub(crate) fn arrivals(callers: &CallerGroup, duration: Time, random: &mut fastrand::Rng) -> Vec<Duration> {
    let (start, end) = (callers.from.0, callers.end(duration).0);
    let burst = callers.burst_size();
    if callers.arrivals == Arrivals::Once {
        return vec![start; MOST.min(burst as usize)];
    }
    let per_second = callers.per_minute.unwrap_or_default() / 60.0;
    let mut times = Vec::new();
    let mut now = start;
    while now < end && times.len() < MOST {
        let calls = match callers.arrivals {
            Arrivals::Bursts => random.u32(1..=burst.saturating_mul(2).saturating_sub(1).max(1)),
            Arrivals::Poisson | Arrivals::Even | Arrivals::Once => 1,
        };
        // The first arrival comes after a gap, too: a group that starts does not start with a call.
        let mean_gap = match callers.arrivals {
            Arrivals::Bursts => f64::from(burst) / per_second,
            _ => 1.0 / per_second,
        };
        let gap = match callers.arrivals {
            Arrivals::Even => mean_gap,
            _ => -mean_gap * (1.0 - random.f64()).ln(),
        };
        now += Duration::try_from_secs_f64(gap).unwrap_or(Duration::MAX / 2);
        if now < end {
            times.extend(std::iter::repeat_n(now, (MOST - times.len()).min(calls as usize)));
        }
    }
    times
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::generator;

    const HOUR: Time = Time::millis(3_600_000);

    fn times(arrivals: Arrivals, burst: Option<u32>) -> Vec<Duration> {
        let callers = CallerGroup { arrivals, burst, per_minute: Some(120.0), ..CallerGroup::default() };
        super::arrivals(&callers, HOUR, &mut generator(7, &[]))
    }

    fn gaps(times: &[Duration]) -> Vec<f64> {
        times.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64()).collect()
    }

    fn mean(values: &[f64]) -> f64 {
        values.iter().sum::<f64>() / values.len() as f64
    }

    #[test]
    fn poisson_arrivals_have_exponential_gaps() {
        let times = times(Arrivals::Poisson, None);
        assert!((6_900..7_500).contains(&times.len()), "{}", times.len());
        let gaps = gaps(&times);
        // The mean and the deviation of an exponential distribution are the same: 0.5 s.
        let deviation = mean(&gaps.iter().map(|gap| (gap - 0.5).powi(2)).collect::<Vec<_>>()).sqrt();
        assert!((mean(&gaps) - 0.5).abs() < 0.02 && (deviation - 0.5).abs() < 0.03, "{deviation}");
    }

    #[test]
    fn even_arrivals_have_equal_gaps() {
        let times = times(Arrivals::Even, None);
        assert_eq!(times.len(), 7_199);
        assert!(gaps(&times).iter().all(|gap| (gap - 0.5).abs() < 1e-6));
    }

    #[test]
    fn bursts_keep_the_rate_and_the_size() {
        let mut times = times(Arrivals::Bursts, Some(20));
        let calls = times.len();
        times.dedup();
        assert!((6_000..8_400).contains(&calls), "{calls}");
        let size = calls as f64 / times.len() as f64;
        assert!((18.0..22.0).contains(&size), "{size}");
    }

    #[test]
    fn all_arrive_at_once() {
        let callers = CallerGroup {
            arrivals: Arrivals::Once,
            burst: Some(200),
            from: Time::millis(60_000),
            ..CallerGroup::default()
        };
        let times = super::arrivals(&callers, HOUR, &mut generator(7, &[]));
        assert_eq!(times, vec![Duration::from_secs(60); 200]);
    }
}
