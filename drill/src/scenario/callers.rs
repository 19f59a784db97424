use serde::Deserialize;
use tidegate::config::{Checks, ConfigError};

use super::check::{DAY, at_least, at_most, in_order, share, tenant, unexpected};
use super::message::{number, word};
use super::span::{DrawnRange, Time};

/// A group of callers.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CallerGroup {
    /// The tenant of their calls; `"web"` by default. Groups may share one.
    pub tenant: String,
    /// How the calls are spread over time; `"poisson"` by default.
    #[serde(deserialize_with = "word")]
    pub arrivals: Arrivals,
    /// Calls a minute, on average. Required unless the arrivals are `"once"`.
    pub per_minute: Option<f64>,
    /// Calls at one moment, on average for `"bursts"`, at most 10 000, and exactly for `"once"`; 10 by
    /// default.
    pub burst: Option<u32>,
    /// When the group starts; at the start of the scenario by default.
    pub from: Time,
    /// When it ends; at the end of the scenario by default.
    pub to: Option<Time>,
    /// How long a caller waits for the last byte of its answer, at most 1 h; 30 s by default.
    pub patience: Time,
    /// The share of the callers that leave early, from 0 to 1; 0 by default.
    pub leave: f64,
    /// After which time they leave; 1 s to 3 s by default.
    pub leave_after: DrawnRange<Time>,
    /// The size of the prompts in tokens, at most a million; 100 to 400 by default.
    pub prompt_tokens: DrawnRange<u32>,
    /// The size of the answers in tokens, at most 100 000; 20 to 60 by default.
    pub output_tokens: DrawnRange<u32>,
    /// The `max_tokens` of the requests; by default the upper bound of `output_tokens`.
    pub max_tokens: Option<u32>,
    /// The share of calls for a stream, from 0 to 1; 0.5 by default.
    pub streams: f64,
}

/// How calls are spread over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arrivals {
    /// Independent of each other: exponential gaps.
    Poisson,
    /// In equal distances.
    Even,
    /// Groups of calls at one moment, with exponential gaps. Their sizes are drawn evenly from 1 to twice the
    /// mean.
    Bursts,
    /// All at the start of the group.
    Once,
}

impl Default for CallerGroup {
    fn default() -> Self {
        Self {
            tenant: "web".to_owned(),
            arrivals: Arrivals::Poisson,
            per_minute: None,
            burst: None,
            from: Time::default(),
            to: None,
            patience: Time::millis(30_000),
            leave: 0.0,
            leave_after: DrawnRange::new(Time::millis(1_000), Time::millis(3_000)),
            prompt_tokens: DrawnRange::new(100, 400),
            output_tokens: DrawnRange::new(20, 60),
            max_tokens: None,
            streams: 0.5,
        }
    }
}

impl CallerGroup {
    /// The mean number of calls at one moment.
    pub fn burst_size(&self) -> u32 {
        self.burst.unwrap_or(10)
    }

    /// When the group ends in a scenario of this duration.
    pub fn end(&self, duration: Time) -> Time {
        self.to.unwrap_or(duration)
    }

    pub(super) fn check(&self, duration: Time, checks: &mut Checks) {
        checks.keep(share("leave", self.leave));
        checks.keep(share("streams", self.streams));
        checks.keep(in_order("leave_after", self.leave_after));
        checks.keep(in_order("prompt_tokens", self.prompt_tokens));
        checks.keep(in_order("output_tokens", self.output_tokens));
        checks.keep(at_least("output_tokens", 1, self.output_tokens.from));
        checks.keep(at_least("max_tokens", self.output_tokens.to, self.max_tokens.unwrap_or(u32::MAX)));
        checks.keep(at_least("patience", Time::millis(1), self.patience));
        checks.keep(at_most("patience", MAX_PATIENCE, self.patience));
        checks.keep(at_most("leave_after", DAY, self.leave_after.to));
        checks.keep(at_most("prompt_tokens", 1_000_000, self.prompt_tokens.to));
        checks.keep(at_most("output_tokens", 100_000, self.output_tokens.to));
        checks.keep(at_most("from", duration, self.from));
        if let Some(to) = self.to {
            checks.keep(at_least("to", self.from, to));
            checks.keep(at_most("to", duration, to));
        }
        checks.keep(tenant("tenant", &self.tenant));
        checks.keep(self.check_arrivals());
    }

    fn check_arrivals(&self) -> Result<(), ConfigError> {
        let not_with = |key: &str, kind: &str, expected: &str| {
            Err(ConfigError::new(
                key,
                format!("does not apply to arrivals = \"{kind}\", expected {expected}"),
            ))
        };
        match (self.arrivals, self.per_minute, self.burst) {
            (Arrivals::Once, Some(_), _) => not_with("per_minute", "once", "`burst` in its place"),
            (Arrivals::Poisson, _, Some(_)) => not_with("burst", "poisson", "\"bursts\" or \"once\""),
            (Arrivals::Even, _, Some(_)) => not_with("burst", "even", "\"bursts\" or \"once\""),
            (_, _, Some(0)) => at_least("burst", 1, 0),
            (Arrivals::Bursts, _, Some(burst)) if burst > MAX_BURST => at_most("burst", MAX_BURST, burst),
            (Arrivals::Once, None, _) => Ok(()),
            (_, None, _) => Err(ConfigError::new("per_minute", "missing key `per_minute`")),
            (_, Some(rate), _) if rate > 0.0 && rate <= MAX_PER_MINUTE => Ok(()),
            (_, Some(rate), _) => {
                Err(unexpected("per_minute", "more than 0 and at most 60000", number(rate)))
            }
        }
    }
}

/// Bounds of the work.
const MAX_PATIENCE: Time = Time::millis(3_600_000);
const MAX_PER_MINUTE: f64 = 60_000.0;
const MAX_BURST: u32 = 10_000;
