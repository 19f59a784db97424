use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};
use std::ffi::OsString;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;
use tidegate::config::{Checks, redacted, unknown};
use tidegate::{BackpressureLayer, KeyBy, Priority, RateLimitLayer, backpressure, rate_limit};

use super::access_key::AccessKeySource;
use super::header::check_seen;
use super::lists::no_duplicates;
use super::provider::is_visible;
use super::{GatewayConfigError, Route};
use crate::access::{Caller, RuleSettings};

/// The table of a caller in the configuration file.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "Caller")]
#[serde(deny_unknown_fields, expecting = "a table with name, and key_env or key_file")]
pub(super) struct CallerEntry {
    /// The name of the caller, which is the tenant of its requests.
    name: String,
    /// The variable of the environment with the key.
    key_env: Option<String>,
    /// The file with the key, in one line.
    key_file: Option<String>,
    /// The routes that the caller may use, each by its `model` or its `path`; all of them by default.
    #[schemars(length(min = 1))]
    routes: Option<Vec<String>>,
    /// Whether its calls are queued as `"interactive"` or as `"batch"`; `"interactive"` by default.
    #[serde(default)]
    priority: CallerPriority,
    /// The rate of its calls, over all routes and in front of their gates; no limit by default.
    rate_limiter: Option<rate_limit::Settings>,
    /// Its calls in flight, over all routes and in front of their gates; no limit by default.
    backpressure: Option<backpressure::Settings>,
}

/// The priority of the calls of a caller.
#[derive(Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum CallerPriority {
    /// A user is waiting for the response.
    #[default]
    Interactive,
    /// The response may be delayed.
    Batch,
}

impl From<CallerPriority> for Priority {
    fn from(priority: CallerPriority) -> Self {
        match priority {
            CallerPriority::Interactive => Self::Interactive,
            CallerPriority::Batch => Self::Batch,
        }
    }
}

impl CallerEntry {
    pub(super) fn key_env(&self) -> Option<&str> {
        self.key_env.as_deref()
    }

    pub(super) fn key_file(&self) -> Option<&str> {
        self.key_file.as_deref()
    }
}

/// The callers of the file, and a warning for each with a short key.
pub(super) fn check(
    entries: Vec<CallerEntry>,
    env: impl Fn(&str) -> Option<OsString>,
    checks: &mut Checks,
) -> (Vec<Caller>, Vec<GatewayConfigError>) {
    let (mut callers, mut warnings) = (Vec::<Caller>::with_capacity(entries.len()), Vec::new());
    let (mut names, mut keys) = (BTreeSet::new(), HashMap::<_, Arc<str>>::new());
    for (index, entry) in entries.into_iter().enumerate() {
        let mut invalid = |key: &str, problem: String| {
            checks.fail(GatewayConfigError::new(format!("callers[{index}].{key}"), problem));
        };
        if !is_visible(&entry.name) {
            invalid("name", "expected a name of visible ASCII".to_owned());
        }
        if !names.insert(entry.name.clone()) {
            invalid("name", format!("`{}` is another caller already", redacted(&entry.name)));
        }
        entry.check_limits(index, checks);
        let mut invalid = |key: &str, problem: String| {
            checks.fail(GatewayConfigError::new(format!("callers[{index}].{key}"), problem));
        };
        let source =
            AccessKeySource { key_env: entry.key_env.as_deref(), key_file: entry.key_file.as_deref() };
        let setting = source.setting();
        let (key, warning) = match source.read(&env) {
            Ok(key) => key,
            Err(problem) => {
                invalid(setting, problem);
                continue;
            }
        };
        let at = format!("callers[{index}].{setting}");
        warnings.extend(warning.map(|warning| GatewayConfigError::new(at, warning)));
        let name: Arc<str> = entry.name.as_str().into();
        match keys.entry(key.clone()) {
            Entry::Occupied(other) => invalid(setting, format!("key is that of `{}`", redacted(other.get()))),
            Entry::Vacant(first) => {
                first.insert(Arc::clone(&name));
            }
        }
        callers.push(Caller { name, key, rules: entry.rules() });
    }
    (callers, warnings)
}

/// A mistake for each route of a caller that is none of `routes`.
pub(super) fn check_routes(callers: &[Caller], routes: &[Route], checks: &mut Checks) {
    let known = routes.iter().flat_map(|route| [&*route.model, route.endpoint.path()]);
    let known: BTreeSet<_> = known.collect();
    for (index, caller) in callers.iter().enumerate() {
        for (position, name) in caller.rules.routes.iter().flatten().enumerate() {
            if !known.contains(name.as_str()) {
                let problem = unknown("model or path", name, known.iter().copied());
                checks.fail(GatewayConfigError::new(format!("callers[{index}].routes[{position}]"), problem));
            }
        }
    }
}

impl CallerEntry {
    fn check_limits(&self, index: usize, checks: &mut Checks) {
        let within =
            |part: &str, error: GatewayConfigError| error.within(&format!("callers[{index}].{part}"));
        let rate = self.rate_limiter.clone().map(RateLimitLayer::from_settings).transpose();
        checks.keep(rate.map_err(|error| within("rate_limiter", error)));
        let inflight = self.backpressure.clone().map(BackpressureLayer::from_settings).transpose();
        checks.keep(inflight.map_err(|error| within("backpressure", error)));
        let keys = [
            ("rate_limiter", self.rate_limiter.as_ref().and_then(|it| it.key_by.as_ref())),
            ("backpressure", self.backpressure.as_ref().and_then(|it| it.key_by.as_ref())),
        ];
        for (part, key) in keys {
            let problem = key.and_then(KeyBy::header_name).and_then(|name| check_seen(name).err());
            checks.keep(problem.map_or(Ok(()), |problem| {
                Err(GatewayConfigError::new(format!("callers[{index}].{part}.key_by"), problem))
            }));
        }
        if self.routes.as_ref().is_some_and(Vec::is_empty) {
            let problem = "expected at least one, or no `routes` for all of them";
            checks.fail(GatewayConfigError::new(format!("callers[{index}].routes"), problem));
        }
        checks.keep(no_duplicates(
            &format!("callers[{index}].routes"),
            self.routes.as_deref().unwrap_or_default(),
            str::eq,
        ));
    }

    fn rules(self) -> RuleSettings {
        let Self { routes, priority, rate_limiter, backpressure, .. } = self;
        RuleSettings { routes, priority: priority.into(), rate_limiter, backpressure }
    }
}
