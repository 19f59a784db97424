use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;
use tidegate::ResilienceConfig;
use tidegate::chain::ProviderSettings;
use tidegate::config::{Checks, Removed, found, redacted, unknown};

use super::GatewayConfigError;
use super::chain_entry::ChainEntry;
use super::chain_parts::{ChainParts, RouteGroup};
use super::provider::is_visible;
use super::schema::RoutePath;
use crate::endpoint::{ApiDialect, Endpoint};

/// The model of a route that accepts every model without a route of its own.
pub(crate) const ANY: &str = "*";

/// The table of a route in the configuration file.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "Route")]
#[serde(deny_unknown_fields, expecting = "a table with path and chain")]
pub(super) struct RouteEntry {
    /// The path of the requests: that of an endpoint, such as `"/v1/chat/completions"`.
    #[schemars(with = "RoutePath")]
    pub(super) path: String,
    /// The model that the requests name; `"*"` for any model without a route of its own.
    #[serde(default = "any_model")]
    pub(super) model: String,
    /// The targets in their order, each a `"provider/model"`, or a group of several: a list, or a table with
    /// `members`. Then the last resorts: `"@cached"`, `"@simplified"`, `"@static"` or `"@emergency"`.
    #[schemars(length(min = 1))]
    pub(super) chain: Vec<ChainEntry>,
    /// The name of the policy.
    #[serde(default = "default_policy")]
    pub(super) policy: String,
}

/// Maps requests for an endpoint and a model to a chain of targets under a policy.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Route {
    pub(crate) endpoint: Endpoint,
    /// The requested model, or [`ANY`].
    pub(crate) model: String,
    pub(crate) chain: Vec<RouteGroup>,
    /// The last resorts, tried in this order after all targets have failed.
    pub(crate) resorts: Vec<LastResortName>,
    pub(crate) policy: String,
}

/// A last resort at the end of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LastResortName {
    /// A cached response.
    Cached,
    /// A request with a shorter prompt.
    Simplified,
    /// A fixed text, selected by the kind of the prompt.
    Static,
    /// The same text for every prompt.
    Emergency,
}

/// A `provider/model` of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TargetName {
    pub(crate) name: Arc<str>,
    pub(crate) provider: String,
    /// The part after the first slash. It may contain further slashes.
    pub(crate) model: String,
}

/// The names that a route may refer to.
pub(super) struct KnownNames<'a> {
    /// Without settings if they have a mistake.
    pub(super) providers: &'a BTreeMap<String, Option<ProviderSettings>>,
    pub(super) policies: &'a BTreeMap<String, ResilienceConfig>,
    /// The keys that could not be read.
    pub(super) removed: &'a Removed,
}

impl KnownNames<'_> {
    /// The number of members that `target` is in a group: one for each key of its provider.
    pub(super) fn members_of(&self, target: &TargetName) -> usize {
        let settings = self.providers.get(&target.provider).and_then(Option::as_ref);
        settings.map_or(1, |settings| settings.by_key(&target.name).len())
    }
}

fn any_model() -> String {
    ANY.to_owned()
}

fn default_policy() -> String {
    super::policy::DEFAULT.to_owned()
}

impl Route {
    pub(super) fn check(
        index: usize,
        entry: RouteEntry,
        known: &KnownNames<'_>,
    ) -> Result<Self, GatewayConfigError> {
        let invalid =
            |key: &str, problem: String| GatewayConfigError::new(format!("routes[{index}].{key}"), problem);
        let mut checks = Checks::default();
        let endpoint = checks.keep(endpoint(&entry.path).map_err(|problem| invalid("path", problem)));
        if entry.model.trim() != entry.model
            || entry.model.is_empty()
            || entry.model.contains(char::is_control)
        {
            checks.fail(invalid("model", "expected a model, or \"*\" for any".to_owned()));
        }
        let has_policy = known.policies.contains_key(&entry.policy);
        if !has_policy && !known.removed.has(&format!("policies.{}", entry.policy)) {
            let policies = known.policies.keys().map(String::as_str);
            checks.fail(invalid("policy", unknown("policy", &entry.policy, policies)));
        }
        if entry.chain.is_empty() {
            checks.fail(invalid("chain", "expected at least one \"provider/model\"".to_owned()));
        }
        let mut parts = ChainParts::default();
        for (position, place) in entry.chain.iter().enumerate() {
            let key = format!("routes[{index}].chain[{position}]");
            checks.keep(parts.add(&key, place, endpoint, known));
        }
        let ChainParts { groups: chain, resorts, .. } = parts;
        let endpoint = endpoint.unwrap_or(Endpoint::ChatCompletions);
        checks.finish(Self { endpoint, model: entry.model, chain, resorts, policy: entry.policy })
    }
}

impl Route {
    /// All targets, in their order.
    pub(crate) fn targets(&self) -> impl Iterator<Item = &TargetName> {
        self.chain.iter().flat_map(|group| &group.members).map(|member| &member.target)
    }
}

fn endpoint(path: &str) -> Result<Endpoint, String> {
    let found = Endpoint::ALL.into_iter().find(|endpoint| endpoint.path() == path);
    found.ok_or_else(|| unknown("path", path, Endpoint::ALL.map(Endpoint::path)))
}

impl LastResortName {
    pub(crate) const ALL: [Self; 4] = [Self::Cached, Self::Simplified, Self::Static, Self::Emergency];

    /// The name in the configuration file.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Cached => "@cached",
            Self::Simplified => "@simplified",
            Self::Static => "@static",
            Self::Emergency => "@emergency",
        }
    }

    pub(super) fn check(text: &str, endpoint: Option<Endpoint>, before: &[Self]) -> Result<Self, String> {
        let Some(resort) = Self::ALL.into_iter().find(|resort| resort.name() == text) else {
            return Err(unknown("last resort", text, Self::ALL.map(Self::name)));
        };
        if let Some(endpoint @ (Endpoint::Embeddings | Endpoint::Responses)) = endpoint {
            return Err(format!("`{text}` has no answer for {endpoint}"));
        }
        if before.contains(&resort) {
            return Err(format!("`{text}` is in the chain already"));
        }
        Ok(resort)
    }
}

impl TargetName {
    pub(super) fn check(
        text: &str,
        endpoint: Option<Endpoint>,
        known: &KnownNames<'_>,
    ) -> Result<Self, String> {
        let named =
            text.split_once('/').filter(|(provider, model)| !provider.is_empty() && is_visible(model));
        let Some((provider, model)) = named else {
            let found = found(format_args!("{text:?}"));
            return Err(format!("expected \"provider/model\" in visible ASCII{found}"));
        };
        if model == ANY {
            return Err("expected a model, `*` is not replaced by that of the request".to_owned());
        }
        let settings = known.providers.get(provider);
        if settings.is_none() && !known.removed.has(&format!("providers.{provider}")) {
            return Err(unknown("provider", provider, known.providers.keys().map(String::as_str)));
        }
        if let Some(Some(settings)) = settings
            && let Some((of_all, number)) = model.rsplit_once('#')
            && settings.by_key(of_all).iter().any(|(name, _)| name == model)
        {
            let (provider, of_all) = (redacted(provider), redacted(of_all));
            return Err(format!(
                "key {number} of provider `{provider}` is no target, expected `{provider}/{of_all}` for all of its keys; \
                 for a weight of its own, a key needs a provider of its own"
            ));
        }
        let has_dialect = !known.removed.has(&format!("providers.{provider}.dialect"));
        if let (Some(Some(settings)), Some(endpoint), true) = (settings, endpoint, has_dialect)
            && endpoint.at_provider(settings.dialect()).is_none()
        {
            return Err(unsupported_dialect(provider, settings.dialect(), endpoint));
        }
        Ok(Self { name: text.into(), provider: provider.to_owned(), model: model.to_owned() })
    }
}

/// The message for a provider with a dialect that is neither that of the endpoint nor a supported translation
/// of it. It contains a workaround.
fn unsupported_dialect(provider: &str, dialect: ApiDialect, endpoint: Endpoint) -> String {
    let needed = endpoint.dialect();
    let workaround = "use the provider's OpenAI-compatible base_url with dialect = \"openai\"";
    let provider = redacted(provider);
    format!("provider `{provider}` speaks {dialect} and {endpoint} needs {needed}, {workaround}")
}

/// Rejects two routes for the same requests, because one of them would never be used.
pub(super) fn check_distinct(routes: &[(usize, Route)]) -> Result<(), GatewayConfigError> {
    let mut known = HashMap::new();
    GatewayConfigError::all(routes.iter().map(|(index, route)| {
        let first = *known.entry((route.endpoint, &*route.model)).or_insert(*index);
        if first == *index {
            return Ok(());
        }
        let (endpoint, model) = (route.endpoint, redacted(&route.model));
        let problem = format!("routes[{first}] takes {endpoint} for model `{model}` already");
        Err(GatewayConfigError::new(format!("routes[{index}]"), problem))
    }))
}

/// Rejects two groups of one name with different members: the name is that of one group in signals and
/// metrics.
pub(super) fn check_group_names(routes: &[(usize, Route)]) -> Result<(), GatewayConfigError> {
    let mut known: BTreeMap<&str, (String, &RouteGroup)> = BTreeMap::new();
    let mut problems = Vec::new();
    for (index, route) in routes {
        for (position, group) in route.chain.iter().enumerate() {
            let key = format!("routes[{index}].chain[{position}]");
            let (first, other) = known.entry(&group.name).or_insert_with(|| (key.clone(), group));
            if !group.has_members_of(other) {
                let name = redacted(&group.name);
                let problem = format!("`{name}` is the name of other members at {first} already");
                let key = if group.is_plain_target() { key } else { format!("{key}.name") };
                problems.push(GatewayConfigError::new(key, problem));
            }
        }
    }
    GatewayConfigError::all(problems.into_iter().map(Err))
}
