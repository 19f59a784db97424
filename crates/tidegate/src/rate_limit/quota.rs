//! What is counted, and against which quota.

use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::LimitUnit;
use crate::bucket::{Bucket, Rate};
use crate::settings::DurationText;

/// An amount of a unit in every period.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct Quota {
    /// What is counted: `"requests"`, `"tokens"`, `"input_tokens"` or `"output_tokens"`.
    #[cfg_attr(feature = "schema", schemars(with = "crate::config::LimitUnitName"))]
    pub unit: LimitUnit,
    /// The amount in each period.
    pub amount: NonZeroU64,
    /// The period.
    #[serde(with = "DurationText")]
    pub period: Duration,
}

pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const MINUTE: Duration = Duration::from_secs(60);
pub(super) const DAY: Duration = Duration::from_secs(24 * 60 * 60);

impl Quota {
    /// The request rates for which [`of_requests`](Self::of_requests) returns a quota.
    pub(crate) const EXPECTED_REQUESTS: &str = "a number above 0 and below 4294967296";

    /// Creates a quota. An amount of zero is raised to one.
    #[must_use]
    pub fn new(unit: LimitUnit, amount: u64, period: Duration) -> Self {
        let amount = NonZeroU64::new(amount).unwrap_or(NonZeroU64::MIN);
        Self { unit, amount, period: period.max(Duration::from_nanos(1)) }
    }

    /// A fractional request rate as a whole number of requests in a longer period: 0.5 a second is 1 in 2 s.
    pub(crate) fn of_requests(count: f64, period: Duration) -> Option<Self> {
        if !(count > 0.0 && count < f64::from(u32::MAX) + 1.0) {
            return None;
        }
        let requests = count.floor().max(1.0);
        let period = Duration::try_from_secs_f64(period.as_secs_f64() * requests / count).ok()?;
        Some(Self::new(LimitUnit::Requests, requests as u64, period))
    }

    pub(super) fn rate(&self, burst: Option<NonZeroU64>) -> Rate {
        Rate::new(self.amount, self.period, burst.unwrap_or(self.amount))
    }

    /// The name, such as `tokens per minute`.
    pub(super) fn name(&self) -> &'static str {
        let names = match self.unit {
            LimitUnit::Requests => {
                ["requests per second", "requests per minute", "requests per day", "requests per period"]
            }
            LimitUnit::Tokens => {
                ["tokens per second", "tokens per minute", "tokens per day", "tokens per period"]
            }
            LimitUnit::InputTokens => [
                "input tokens per second",
                "input tokens per minute",
                "input tokens per day",
                "input tokens per period",
            ],
            LimitUnit::OutputTokens => [
                "output tokens per second",
                "output tokens per minute",
                "output tokens per day",
                "output tokens per period",
            ],
        };
        names[[SECOND, MINUTE, DAY].iter().position(|period| *period == self.period).unwrap_or(3)]
    }
}

/// A quota and the amount spent of it.
#[derive(Clone, Debug)]
pub(super) struct QuotaCounter {
    pub(super) quota: Quota,
    pub(super) bucket: Bucket,
}

impl QuotaCounter {
    pub(super) fn new(quota: Quota, burst: Option<NonZeroU64>, now: Instant) -> Self {
        Self { quota, bucket: Bucket::new(quota.rate(burst), now) }
    }
}
