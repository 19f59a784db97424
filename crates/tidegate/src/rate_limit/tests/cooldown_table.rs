//! How the times for which a gate is closed combine, by the table that the script in a store is tested with.

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use crate::LimitUnit;
use crate::rate_limit::quota::Quota;
use crate::rate_limit::quota_set::QuotaSet;
use crate::rate_limit::reopen_ramp::ReopenRamp;

#[test]
fn the_gate_closes_by_the_table_of_the_script() {
    let (start, mut cases) = (Instant::now(), 0);
    let number = |text: &str| text.parse::<u64>().unwrap();
    for case in include_str!("../../../../tidegate-redis/cases/cooldown.txt").split("\ncase ").skip(1) {
        let mut lines = case.lines().filter(|line| !line.is_empty());
        let head: Vec<_> = lines.next().unwrap().split(' ').collect();
        let count = NonZeroU64::new(number(head[1])).unwrap();
        let quota = Quota {
            unit: LimitUnit::Requests,
            amount: count,
            period: Duration::from_micros(number(head[2])),
        };
        let mut quotas = QuotaSet::new(&[quota], NonZeroU64::new(number(head[3])), start);
        for line in lines {
            let (step, expected) = line.split_once(" = ").unwrap();
            let step: Vec<_> = step.split(' ').collect();
            let (now, wait) =
                (start + Duration::from_micros(number(step[0])), Duration::from_micros(number(step[2])));
            quotas.close(now + wait, ReopenRamp::new(wait, now + wait, 0.0), now);
            let closed_for = quotas.closed_for(now).unwrap_or_default();
            let debt = quotas.configured[0].bucket.debt(now).div_ceil(u128::from(count.get()) * 1000);
            assert_eq!(format!("{} {debt}", closed_for.as_micros()), expected, "{}: {line}", head[0]);
        }
        cases += 1;
    }
    assert!(cases >= 5, "{cases}");
}
