use proptest::prelude::*;

use super::*;
use crate::testing::{SECOND, check_cases};

fn rate(count: u64, period: Duration, burst: u64) -> Rate {
    Rate::new(NonZeroU64::new(count).unwrap(), period, NonZeroU64::new(burst).unwrap())
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[test]
fn a_full_bucket_admits_its_burst_and_then_one_per_interval() {
    let start = Instant::now();
    let mut bucket = Bucket::new(rate(5, SECOND, 3), start);
    assert_eq!(bucket.remaining(start), 3);
    for _ in 0..3 {
        assert_eq!(bucket.spend(1, start), Ok(()));
    }
    assert_eq!((bucket.remaining(start), bucket.spend(1, start)), (0, Err(ms(200))));
    assert_eq!(bucket.wait(4, 1, start), SECOND);
    assert_eq!(bucket.spend(1, start + ms(200)), Ok(()));
    assert_eq!(bucket.remaining(start + 60 * SECOND), 3);
}

#[test]
fn a_more_expensive_call_waits_longer_and_a_free_one_not_at_all() {
    let start = Instant::now();
    let mut bucket = Bucket::new(rate(30_000, 60 * SECOND, 30_000), start);
    bucket.spend(29_000, start).unwrap();
    assert_eq!(bucket.wait(0, 1_000, start), Duration::ZERO);
    assert_eq!(bucket.wait(0, 1_500, start), SECOND);
    assert_eq!(bucket.wait(2_000, 1_500, start), 5 * SECOND);
    bucket.take(5_000, start);
    assert_eq!((bucket.wait(0, 0, start), bucket.wait(0, 1, start)), (Duration::ZERO, ms(8_002)));
}

/// Pitfall P27 (docs/pitfalls.md): a reservation above the capacity rejected the first call for ever (litellm
/// 18730).
#[test]
fn a_call_above_the_capacity_is_admitted_when_the_bucket_is_full_and_later_calls_wait_for_it() {
    let start = Instant::now();
    let mut bucket = Bucket::new(rate(100, SECOND, 100), start);
    assert_eq!(bucket.spend(250, start), Ok(()));
    assert_eq!(bucket.remaining(start), 0);
    assert_eq!(bucket.spend(50, start), Err(ms(2_000)));
    assert_eq!(bucket.spend(u64::MAX, start), Err(ms(2_500)), "not before it is full");
    assert_eq!(bucket.spend(50, start + ms(2_000)), Ok(()));
}

#[test]
fn a_refund_restores_what_was_spent_and_never_more() {
    let start = Instant::now();
    let mut bucket = Bucket::new(rate(1, SECOND, 2), start);
    bucket.spend(1, start).unwrap();
    bucket.refund(1, start, start);
    bucket.refund(1, start, start);
    assert_eq!(bucket.remaining(start), 2);
}

#[test]
fn a_late_refund_is_complete_if_the_bucket_was_never_full_since() {
    let start = Instant::now();
    let mut bucket = Bucket::new(rate(100, SECOND, 1_000), start);
    bucket.spend(1_000, start).unwrap();
    let mut now = start;
    for _ in 0..60 {
        now += SECOND;
        bucket.spend(100, now).unwrap();
    }
    assert_eq!(bucket.remaining(now), 0);
    bucket.refund(800, start, now);
    assert_eq!(bucket.remaining(now), 800);
}

/// Pitfall P11 (docs/pitfalls.md): a call that was rejected by an inner layer after five seconds refunded its
/// token, although the token had refilled long before.
#[test]
fn tokens_that_have_refilled_are_not_refunded() {
    let start = Instant::now();
    let mut bucket = Bucket::new(rate(1, SECOND, 1), start);
    bucket.spend(1, start).unwrap();
    let later = start + 5 * SECOND;
    bucket.spend(1, later).unwrap();
    bucket.refund(1, start, later);
    assert!(bucket.spend(1, later).is_err());

    // Half of the cost had refilled when the next call came.
    let mut bucket = Bucket::new(rate(100, SECOND, 100), start);
    bucket.spend(100, start).unwrap();
    let later = start + ms(500);
    bucket.spend(50, later).unwrap();
    bucket.refund(100, start, later);
    assert_eq!(bucket.remaining(later), 50);
}

#[test]
fn a_drained_bucket_holds_one_token_at_its_time_and_refills_from_there() {
    let start = Instant::now();
    let mut bucket = Bucket::new(rate(1, SECOND, 10), start);
    let then = start + 30 * SECOND;
    bucket.drain_until(1, then, start);
    assert_eq!(bucket.remaining(then), 1);
    assert_eq!(bucket.spend(1, then), Ok(()));
    assert_eq!(bucket.spend(1, then), Err(SECOND));
}

#[test]
fn a_reported_state_holds_from_the_time_of_the_report() {
    let start = Instant::now();
    let mut bucket = Bucket::new(rate(10, SECOND, 100), start);
    bucket.set_spent(80, start);
    assert_eq!(bucket.remaining(start), 20);
    assert_eq!(bucket.remaining(start + SECOND), 30);
    bucket.set_spent(105, start);
    assert_eq!((bucket.remaining(start), bucket.wait(0, 1, start)), (0, ms(600)));
    bucket.set_spent(10, start + SECOND);
    bucket.refund(20, start, start + SECOND);
    assert_eq!(bucket.remaining(start + SECOND), 90, "what was spent before is part of the report");
}

#[derive(Clone, Copy, Debug)]
enum Action {
    Pass(u64),
    Spend(u64),
    /// Settles one of the open calls, with the percentage of its cost that was used.
    Settle(prop::sample::Index, u64),
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        (0u64..400).prop_map(Action::Pass),
        (1u64..150).prop_map(Action::Spend),
        (1u64..40).prop_map(Action::Spend),
        (any::<prop::sample::Index>(), 0u64..=100).prop_map(|(which, used)| Action::Settle(which, used)),
    ]
}

proptest! {
    /// Pitfall P11 (docs/pitfalls.md): in no window of any offset is the usage above burst + rate x time,
    /// whether calls are settled at once, late or never. A call that costs more than the capacity counts as
    /// the whole capacity.
    #[test]
    fn no_window_admits_more_than_burst_and_rate(
        count in 1u64..200, burst in 1u64..120, actions in prop::collection::vec(action(), 1..200),
    ) {
        let start = Instant::now();
        let mut bucket = Bucket::new(rate(count, SECOND, burst), start);
        let (mut now, mut calls, mut open) = (start, Vec::new(), Vec::new());
        for action in actions {
            match action {
                Action::Pass(time) => now += ms(time),
                Action::Spend(cost) => if bucket.spend(cost, now).is_ok() {
                    open.push(calls.len());
                    calls.push((now, cost, cost));
                },
                Action::Settle(which, used) => if !open.is_empty() {
                    let (spent, cost, used_in_the_end) = &mut calls[open.swap_remove(which.index(open.len()))];
                    *used_in_the_end = *cost * used / 100;
                    bucket.refund(*cost - *used_in_the_end, *spent, now);
                },
            }
        }
        for (first, (from, ..)) in calls.iter().enumerate() {
            let mut used = 0;
            for (to, cost, used_in_the_end) in &calls[first..] {
                used += used_in_the_end;
                let allowed = burst.max(*cost) as f64 + count as f64 * (*to - *from).as_secs_f64();
                prop_assert!(used as f64 <= allowed + 1e-6, "{used} of {allowed}");
            }
        }
    }

    /// As long as the bucket is never full in between, no refund is lost.
    #[test]
    fn nothing_is_lost_while_the_bucket_is_in_use(
        costs in prop::collection::vec((1u64..100, 0u64..=100), 1..50),
    ) {
        let start = Instant::now();
        let mut bucket = Bucket::new(rate(1, SECOND, 10_000), start);
        bucket.spend(200, start).unwrap();
        let mut used = 200;
        for (number, (cost, percent)) in costs.iter().enumerate() {
            let now = start + Duration::from_secs(number as u64);
            bucket.spend(*cost, now).unwrap();
            let used_in_the_end = cost * percent / 100;
            bucket.refund(cost - used_in_the_end, now, now + ms(500));
            used += used_in_the_end;
        }
        let end = start + ms(costs.len() as u64 * 1_000);
        prop_assert_eq!(bucket.remaining(end), 10_000 - used + costs.len() as u64);
    }

    #[test]
    fn extreme_rates_neither_panic_nor_overflow(
        count in 1u64.., secs: u64, burst in 1u64.., ahead: u64, cost: u64,
    ) {
        let start = Instant::now();
        let mut bucket = Bucket::new(rate(count, Duration::from_secs(secs), burst), start);
        let _ = (bucket.spend(cost, start), bucket.wait(ahead, cost, start), bucket.remaining(start));
        bucket.refund(ahead, start, start);
        for _ in 0..8 {
            bucket.take(cost, start);
        }
        bucket.drain_until(1, start + Duration::from_secs(86_400), start);
        bucket.set_spent(cost, start);
        let _ = bucket.wait(ahead, cost, start);
    }
}

/// The table is that of the script that decides in a store as well.
#[test]
fn the_bucket_decides_by_the_table_of_the_script() {
    let start = Instant::now();
    let number = |text: &str| text.parse::<u64>().unwrap();
    let micros = |text: &str| Duration::from_micros(number(text));
    let begin = |head: &[&str]| Bucket::new(rate(number(head[1]), micros(head[2]), number(head[3])), start);
    check_cases(include_str!("../../../../tidegate-redis/cases/bucket.txt"), begin, |bucket, step| {
        let (now, amount) = (start + micros(step[0]), number(step[2]));
        let wait = match step[1] {
            "spend" => bucket.spend(amount, now).err().unwrap_or_default(),
            "take" => {
                bucket.take(amount, now);
                Duration::ZERO
            }
            "refund" => {
                bucket.refund(amount, start + micros(step[3]), now);
                Duration::ZERO
            }
            other => panic!("{other}"),
        };
        let debt = bucket.debt(now) / u128::from(bucket.rate.count) / 1000;
        format!("{} {debt}", wait.as_micros())
    });
}
