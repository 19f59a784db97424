use serde::Deserialize;
use tidegate::config::{Checks, ConfigError};

use super::check::{DAY, at_least, at_most, in_order, name, share};
use super::fault::PlannedFault;
use super::message::word;
use super::span::{DrawnRange, Time};

/// One provider. The first of a scenario is the one that callers address, and the others are its fallbacks,
/// in their order.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProviderSpec {
    /// Its name, of lower-case letters, digits and hyphens.
    pub name: String,
    /// The group that it is a member of: any of its members may take a call. The members of a group follow
    /// each other, and have one place in the order. None by default.
    pub group: Option<String>,
    /// Its API; `"openai"` by default. All providers of a scenario have Anthropic's, or none has.
    #[serde(default, deserialize_with = "word")]
    pub dialect: ProviderApi,
    /// The time to its first token; 300 ms to 900 ms by default.
    #[serde(default = "first_token")]
    pub first_token: DrawnRange<Time>,
    /// The share of requests with a late first token, from 0 to 1; 0 by default.
    #[serde(default)]
    pub slow: f64,
    /// The time to the first token of those; 8 s to 20 s by default.
    #[serde(default = "slow_first_token")]
    pub slow_first_token: DrawnRange<Time>,
    /// The time between two tokens; 20 ms by default.
    #[serde(default = "pace")]
    pub pace: Time,
    /// The requests that it works on at once; more get 503. No bound by default.
    pub capacity: Option<u32>,
    /// Its limit of requests, which is known to the stacks. None by default. Not for Anthropic's dialect.
    pub requests_per_minute: Option<u32>,
    /// Its limit of tokens, prompt and `max_tokens` together, likewise.
    pub tokens_per_minute: Option<u32>,
    /// The longest prompt that its model takes, in tokens. No bound by default.
    pub context_tokens: Option<u32>,
    /// What goes wrong.
    #[serde(default)]
    pub faults: Vec<PlannedFault>,
}

/// The API of a provider.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProviderApi {
    /// OpenAI's chat completions, with its rate limit headers.
    #[default]
    Openai,
    /// Anthropic's messages.
    Anthropic,
    /// OpenAI's API without rate limit headers.
    Deepseek,
    /// OpenAI's API with Mistral's errors and headers.
    Mistral,
}

const fn first_token() -> DrawnRange<Time> {
    DrawnRange::new(Time::millis(300), Time::millis(900))
}

const fn slow_first_token() -> DrawnRange<Time> {
    DrawnRange::new(Time::millis(8_000), Time::millis(20_000))
}

const fn pace() -> Time {
    Time::millis(20)
}

/// A bound of the work.
const MAX_FAULTS: usize = 100;

impl ProviderSpec {
    /// Checks the values. `least_pings` are the seconds between pings below which there would be too many.
    pub(super) fn check(&self, duration: Time, least_pings: f64, checks: &mut Checks) {
        checks.keep(name("name", &self.name));
        checks.keep(share("slow", self.slow));
        checks.keep(in_order("first_token", self.first_token));
        checks.keep(in_order("slow_first_token", self.slow_first_token));
        checks.keep(at_most("first_token", DAY, self.first_token.to));
        checks.keep(at_most("slow_first_token", DAY, self.slow_first_token.to));
        checks.keep(at_most("pace", DAY, self.pace));
        let numbers = [
            ("capacity", self.capacity, 1_000_000),
            ("requests_per_minute", self.requests_per_minute, 1_000_000),
            ("tokens_per_minute", self.tokens_per_minute, 1_000_000_000),
            ("context_tokens", self.context_tokens, 1_000_000_000),
        ];
        for (key, number, most) in numbers {
            checks.keep(at_least(key, 1, number.unwrap_or(1)));
            checks.keep(at_most(key, most, number.unwrap_or(1)));
        }
        let limits = [&numbers[1], &numbers[2]];
        for (key, ..) in limits.into_iter().filter(|(_, limit, _)| limit.is_some()) {
            if self.dialect == ProviderApi::Anthropic {
                // They are reported as points in time, and the clock of the wall stands still here.
                checks.fail(ConfigError::new(
                    *key,
                    "does not apply to dialect = \"anthropic\", expected another",
                ));
            }
        }
        checks.keep(at_most("faults", MAX_FAULTS, self.faults.len()));
        for (index, fault) in self.faults.iter().enumerate() {
            let mut of_fault = Checks::default();
            fault.check(duration, least_pings, &mut of_fault);
            checks.keep(of_fault.finish(()).map_err(|error| error.within(&format!("faults[{index}]"))));
        }
    }
}
