//! What is played: callers, providers, and what goes wrong.

mod builtin;
mod callers;
mod check;
mod fault;
mod message;
mod places;
mod provider;
mod scaled;
mod span;

use serde::Deserialize;
use tidegate::config::{Checks, ConfigError, recover};

pub use self::builtin::{BUILT_IN, built_in};
pub use self::callers::{Arrivals, CallerGroup};
use self::check::{DAY, at_least, at_most, title, unexpected};
pub use self::fault::{PlannedFault, PlannedFaultKind};
pub use self::provider::{ProviderApi, ProviderSpec};
pub use self::scaled::Scale;
pub use self::span::{DrawnRange, Time};

/// A scenario as it is written in a file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Its name, which is that of its file.
    #[serde(skip)]
    pub name: String,
    /// What it plays, in one line.
    pub title: String,
    /// How long calls arrive. At most 24 hours.
    pub duration: Time,
    /// The seed of all that is random, unless the command has one; 1 by default.
    #[serde(default = "seed")]
    pub seed: u64,
    /// Who calls.
    #[serde(default)]
    pub callers: Vec<CallerGroup>,
    /// Who is called.
    #[serde(default)]
    pub providers: Vec<ProviderSpec>,
}

const fn seed() -> u64 {
    1
}

/// Bounds of the work.
const MAX_CALLS: f64 = 100_000.0;
const MAX_PROMPTS: f64 = 100_000_000.0;
const MAX_ANSWERS: f64 = 10_000_000.0;
const MAX_PINGS: f64 = 1_000_000.0;
const MAX_CALLER_GROUPS: usize = 1_000;
const MAX_PROVIDERS: usize = 100;

impl Scenario {
    /// Reads the text of a file.
    ///
    /// # Errors
    ///
    /// All mistakes at once, each with its line and the key that it is about.
    pub fn parse(name: &str, text: &str) -> Result<Self, ConfigError> {
        let text = message::parse(text)?;
        let read = recover::<Self>(text.table().clone(), message::of_value);
        let mut checks = read.checks;
        if let Some(scenario) = &read.value {
            checks.keep(scenario.check().or_else(|error| read.removed.mistakes_of_file(error)));
        }
        checks.finish(()).map_err(|error| text.locate(error))?;
        let scenario = read.value.ok_or_else(|| ConfigError::new("", "cannot be read"))?;
        Ok(Self { name: name.to_owned(), ..scenario })
    }

    fn check(&self) -> Result<(), ConfigError> {
        let mut checks = Checks::default();
        checks.keep(title("title", &self.title));
        checks.keep(at_least("duration", Time::millis(1), self.duration));
        checks.keep(at_most("duration", DAY, self.duration));
        if self.callers.is_empty() {
            checks.fail(ConfigError::new("callers", "expected at least one"));
        }
        checks.keep(at_most("callers", MAX_CALLER_GROUPS, self.callers.len()));
        for (index, callers) in self.callers.iter().enumerate() {
            let mut of_group = Checks::default();
            callers.check(self.duration, &mut of_group);
            checks.keep(of_group.finish(()).map_err(|error| error.within(&format!("callers[{index}]"))));
        }
        let sum = |of: fn(&CallerGroup) -> f64| {
            self.callers.iter().map(|callers| self.expected_calls(callers) * of(callers)).sum::<f64>()
        };
        for (sum, most, of) in [
            (sum(|_| 1.0), MAX_CALLS, "calls"),
            (sum(|callers| callers.prompt_tokens.to.into()), MAX_PROMPTS, "tokens of prompts"),
            (sum(|callers| callers.output_tokens.to.into()), MAX_ANSWERS, "tokens of answers"),
        ] {
            if sum > most {
                checks.fail(unexpected("duration", &format!("at most {most} {of} in it"), sum.round()));
            }
        }
        self.check_providers(&mut checks);
        checks.finish(())
    }

    fn check_providers(&self, checks: &mut Checks) {
        if self.providers.is_empty() {
            checks.fail(ConfigError::new("providers", "expected at least one"));
        }
        checks.keep(at_most("providers", MAX_PROVIDERS, self.providers.len()));
        // A caller waits for all pings of its answer.
        let waited = self
            .callers
            .iter()
            .map(|callers| self.expected_calls(callers) * callers.patience.0.as_secs_f64());
        let waited = waited.sum::<f64>();
        for (index, provider) in self.providers.iter().enumerate() {
            let mut of_provider = Checks::default();
            provider.check(self.duration, waited / MAX_PINGS, &mut of_provider);
            if self.providers[..index].iter().any(|other| other.name == provider.name) {
                of_provider.fail(ConfigError::new("name", format!("`{}` exists already", provider.name)));
            }
            if provider.is_anthropic() != self.providers[0].is_anthropic() {
                let problem = "\"anthropic\" is for all providers of a scenario, or for none";
                of_provider.fail(ConfigError::new("dialect", problem));
            }
            self.check_group(index, &mut of_provider);
            checks.keep(of_provider.finish(()).map_err(|error| error.within(&format!("providers[{index}]"))));
        }
    }

    /// The number of calls of a group, on average.
    fn expected_calls(&self, callers: &CallerGroup) -> f64 {
        let time = callers.end(self.duration).0.saturating_sub(callers.from.0);
        match callers.per_minute {
            Some(rate) => rate * time.as_secs_f64() / 60.0,
            None => f64::from(callers.burst_size()),
        }
    }

    /// The number of calls, on average.
    pub fn mean_calls(&self) -> f64 {
        self.callers.iter().map(|callers| self.expected_calls(callers)).sum()
    }

    /// The longest patience of a caller.
    pub fn patience(&self) -> Time {
        self.callers.iter().map(|callers| callers.patience).max().unwrap_or_default()
    }

    /// The tenants, in the order of their groups.
    pub fn tenants(&self) -> Vec<&str> {
        let mut tenants = Vec::new();
        for callers in &self.callers {
            if !tenants.contains(&&*callers.tenant) {
                tenants.push(&callers.tenant);
            }
        }
        tenants
    }
}

impl ProviderSpec {
    fn is_anthropic(&self) -> bool {
        self.dialect == ProviderApi::Anthropic
    }
}
