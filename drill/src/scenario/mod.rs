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
mod work;

use serde::Deserialize;
use tidegate::config::{Checks, ConfigError, recover};

pub use self::builtin::{BUILT_IN, built_in};
pub use self::callers::{Arrivals, CallerGroup};
use self::check::{DAY, at_least, at_most, title};
pub use self::fault::{PlannedFault, PlannedFaultKind};
pub use self::provider::{ProviderApi, ProviderSpec};
pub use self::scaled::Scale;
pub use self::span::{DrawnRange, Time};
pub(crate) use self::work::DrawnWork;

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
    /// The callers.
    #[serde(default)]
    pub callers: Vec<CallerGroup>,
    /// The providers that they call.
    #[serde(default)]
    pub providers: Vec<ProviderSpec>,
}

const fn seed() -> u64 {
    1
}

/// Bounds of the work.
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
        self.check_work(&mut checks);
        self.check_providers(&mut checks);
        checks.finish(())
    }

    fn check_providers(&self, checks: &mut Checks) {
        if self.providers.is_empty() {
            checks.fail(ConfigError::new("providers", "expected at least one"));
        }
        checks.keep(at_most("providers", MAX_PROVIDERS, self.providers.len()));
        let least_pings = self.least_pings();
        for (index, provider) in self.providers.iter().enumerate() {
            let mut of_provider = Checks::default();
            provider.check(self.duration, least_pings, &mut of_provider);
            if self.providers[..index].iter().any(|other| other.name == provider.name) {
                let problem = format!("`{}` exists already, expected another name", provider.name);
                of_provider.fail(ConfigError::new("name", problem));
            }
            if provider.is_anthropic() != self.providers[0].is_anthropic() {
                let problem = "expected \"anthropic\" for all providers of a scenario, or for none";
                of_provider.fail(ConfigError::new("dialect", problem));
            }
            self.check_group(index, &mut of_provider);
            checks.keep(of_provider.finish(()).map_err(|error| error.within(&format!("providers[{index}]"))));
        }
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
