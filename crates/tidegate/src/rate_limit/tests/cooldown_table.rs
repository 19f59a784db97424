//! How the times for which a gate is closed combine, by the table that the script in a store is tested with.

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use crate::LimitUnit;
use crate::rate_limit::quota::Quota;
use crate::rate_limit::quota_set::{QuotaSet, ReopenRamp};
use crate::testing::check_cases;

#[test]
fn the_gate_closes_by_the_table_of_the_script() {
    let start = Instant::now();
    let number = |text: &str| text.parse::<u64>().unwrap();
    let micros = |text: &str| Duration::from_micros(number(text));
    let begin = |head: &[&str]| {
        let amount = NonZeroU64::new(number(head[1])).unwrap();
        let quota = Quota { unit: LimitUnit::Requests, amount, period: micros(head[2]) };
        (QuotaSet::new(&[quota], NonZeroU64::new(number(head[3])), start), amount)
    };
    check_cases(
        include_str!("../../../../tidegate-redis/cases/cooldown.txt"),
        begin,
        |(quotas, amount), step| {
            let (now, wait) = (start + micros(step[0]), micros(step[2]));
            quotas.close(now + wait, ReopenRamp::new(wait, now + wait, 0.0), now);
            let closed_for = quotas.closed_for(now).unwrap_or_default();
            let debt = quotas.configured[0].bucket.debt(now).div_ceil(u128::from(amount.get()) * 1000);
            format!("{} {debt}", closed_for.as_micros())
        },
    );
}
