//! Bounds of the work that a scenario makes: by the means of its keys, and by what is drawn with a seed.

use std::fmt::Display;

use tidegate::config::{Checks, ConfigError};

use super::check::{DAY, unexpected};
use super::message::number;
use super::{Arrivals, CallerGroup, Scenario};

/// The most calls, and tokens of their prompts and answers, on average. With a seed at most twice as many are
/// drawn.
const MAX_CALLS: f64 = 100_000.0;
const MAX_PROMPTS: f64 = 100_000_000.0;
const MAX_ANSWERS: f64 = 10_000_000.0;

/// The most calls, times the providers that each of them may be sent to.
const MAX_CALLS_BY_PROVIDERS: f64 = 1_000_000.0;

/// The most pings that callers wait for.
const MAX_PINGS: f64 = 1_000_000.0;

/// One kind of work: the key of a group that it depends on, its bound, what it is, and that of one call at
/// most.
type WorkKind = (&'static str, f64, &'static str, fn(&CallerGroup) -> u32);

const KINDS: [WorkKind; 3] = [
    ("", MAX_CALLS, "calls of all groups", |_| 1),
    ("prompt_tokens", MAX_PROMPTS, "tokens in the prompts of all calls", |callers| callers.prompt_tokens.to),
    ("output_tokens", MAX_ANSWERS, "tokens in the answers of all calls", |callers| callers.output_tokens.to),
];

impl Scenario {
    /// Checks the work by the means of the keys, as far as they are valid.
    pub(super) fn check_work(&self, checks: &mut Checks) {
        let [of_calls, of_prompts, of_answers] = KINDS;
        if self.duration > DAY || self.is_too_much(of_calls, checks) {
            return;
        }
        self.is_too_much(of_prompts, checks);
        self.is_too_much(of_answers, checks);
        let (calls, providers) = (self.mean_calls(), self.providers.len());
        if calls * providers as f64 > MAX_CALLS_BY_PROVIDERS {
            let most =
                format!("at most {} for {} calls", (MAX_CALLS_BY_PROVIDERS / calls) as usize, calls.round());
            checks.fail(unexpected("providers", &most, providers));
        }
    }

    /// Reports a sum that is too large at the group that adds most to it.
    fn is_too_much(&self, (key, most, of, per_call): WorkKind, checks: &mut Checks) -> bool {
        let parts =
            self.callers.iter().map(|callers| self.expected_calls(callers) * f64::from(per_call(callers)));
        let parts: Vec<_> = parts.collect();
        let sum: f64 = parts.iter().sum();
        let largest = (0..parts.len()).max_by(|one, other| parts[*one].total_cmp(&parts[*other]));
        let Some(largest) = largest.filter(|_| sum > most) else { return false };
        let error = too_much(&self.callers[largest], key, most, of, number(sum.round()));
        checks.fail(error.within(&format!("callers[{largest}]")));
        true
    }

    /// The seconds between the pings of a provider below which callers would wait for too many: they wait for
    /// all of their answer.
    pub(super) fn least_pings(&self) -> f64 {
        let waited = self
            .callers
            .iter()
            .map(|callers| self.expected_calls(callers) * callers.patience.0.as_secs_f64());
        waited.sum::<f64>() / MAX_PINGS
    }

    /// The number of calls of a group, on average; none if one of its keys is invalid.
    fn expected_calls(&self, callers: &CallerGroup) -> f64 {
        let mut checks = Checks::default();
        callers.check(self.duration, &mut checks);
        let time = callers.end(self.duration).0.saturating_sub(callers.from.0);
        match callers.per_minute {
            _ if !checks.is_ok() => 0.0,
            Some(rate) => rate * time.as_secs_f64() / 60.0,
            None => f64::from(callers.burst_size()),
        }
    }

    /// The number of calls, on average.
    pub fn mean_calls(&self) -> f64 {
        self.callers.iter().map(|callers| self.expected_calls(callers)).sum()
    }
}

/// The sums of what has been drawn so far.
#[derive(Debug, Default)]
pub(crate) struct DrawnWork([f64; 3]);

impl DrawnWork {
    /// The most calls.
    pub(crate) const MAX_CALLS: usize = 2 * MAX_CALLS as usize;

    /// Adds a call of this group.
    ///
    /// # Errors
    ///
    /// It is more than twice the bounds of the means, which only large bursts can be.
    pub(crate) fn add(&mut self, callers: &CallerGroup, prompt: u32, output: u32) -> Result<(), ConfigError> {
        for ((sum, (key, most, of, _)), part) in self.0.iter_mut().zip(KINDS).zip([1, prompt, output]) {
            *sum += f64::from(part);
            if *sum > 2.0 * most {
                return Err(too_much(callers, key, 2.0 * most, of, "more with this seed"));
            }
        }
        Ok(())
    }
}

/// The error of a sum. The number of calls depends on the key `burst` or `per_minute`.
fn too_much(callers: &CallerGroup, key: &str, most: f64, of: &str, found: impl Display) -> ConfigError {
    let key = match key {
        "" if callers.arrivals == Arrivals::Once => "burst",
        "" => "per_minute",
        key => key,
    };
    unexpected(key, &format!("at most {most} {of}"), found)
}
