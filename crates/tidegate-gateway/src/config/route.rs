use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use tidegate::ResilienceConfig;
use tidegate::chain::ProviderSettings;
use tidegate::config::suggest;

use super::GatewayConfigError;
use super::provider::is_visible;
use crate::endpoint::{ApiDialect, Endpoint};

/// The model of a route that accepts every model without a route of its own.
pub(crate) const ANY: &str = "*";

/// The table of a route in the configuration file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table with path and chain")]
pub(super) struct RouteEntry {
    pub(super) path: String,
    #[serde(default = "any_model")]
    pub(super) model: String,
    pub(super) chain: Vec<String>,
    #[serde(default = "default_policy")]
    pub(super) policy: String,
}

/// Maps requests for an endpoint and a model to a chain of targets under a policy.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    pub(crate) endpoint: Endpoint,
    /// The requested model, or [`ANY`].
    pub(crate) model: String,
    pub(crate) chain: Vec<TargetName>,
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
    pub(super) providers: &'a BTreeMap<String, ProviderSettings>,
    pub(super) policies: &'a BTreeMap<String, ResilienceConfig>,
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
        let key = |key: &str| format!("routes[{index}].{key}");
        let endpoint =
            endpoint(&entry.path).map_err(|problem| GatewayConfigError::new(key("path"), problem))?;
        if entry.model.is_empty() {
            return Err(GatewayConfigError::new(key("model"), "expected a model, or \"*\" for any"));
        }
        if !known.policies.contains_key(&entry.policy) {
            let others = suggest(&entry.policy, known.policies.keys().map(String::as_str));
            let problem = format!("unknown policy `{}`{others}", entry.policy);
            return Err(GatewayConfigError::new(key("policy"), problem));
        }
        if entry.chain.is_empty() {
            return Err(GatewayConfigError::new(key("chain"), "expected at least one \"provider/model\""));
        }
        let mut chain: Vec<TargetName> = Vec::with_capacity(entry.chain.len());
        let mut resorts: Vec<LastResortName> = Vec::new();
        for (position, target) in entry.chain.iter().enumerate() {
            let invalid = |problem| GatewayConfigError::new(key(&format!("chain[{position}]")), problem);
            if target.starts_with('@') {
                let resort = LastResortName::check(target, endpoint, &resorts).map_err(invalid)?;
                if chain.is_empty() {
                    return Err(invalid(format!("expected a \"provider/model\" before `{target}`")));
                }
                resorts.push(resort);
                continue;
            }
            if let Some(resort) = resorts.last() {
                return Err(invalid(format!("`{target}` comes after the last resort `{}`", resort.name())));
            }
            let target = TargetName::check(target, endpoint, known.providers).map_err(invalid)?;
            if chain.contains(&target) {
                return Err(invalid(format!("`{}` is in the chain already", target.name)));
            }
            chain.push(target);
        }
        Ok(Self { endpoint, model: entry.model, chain, resorts, policy: entry.policy })
    }
}

fn endpoint(path: &str) -> Result<Endpoint, String> {
    let found = Endpoint::ALL.into_iter().find(|endpoint| endpoint.path() == path);
    found.ok_or_else(|| format!("unknown path `{path}`{}", suggest(path, Endpoint::ALL.map(Endpoint::path))))
}

impl LastResortName {
    const ALL: [Self; 4] = [Self::Cached, Self::Simplified, Self::Static, Self::Emergency];

    /// The name in the configuration file.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Cached => "@cached",
            Self::Simplified => "@simplified",
            Self::Static => "@static",
            Self::Emergency => "@emergency",
        }
    }

    fn check(text: &str, endpoint: Endpoint, before: &[Self]) -> Result<Self, String> {
        let Some(resort) = Self::ALL.into_iter().find(|resort| resort.name() == text) else {
            return Err(format!("unknown last resort `{text}`{}", suggest(text, Self::ALL.map(Self::name))));
        };
        if matches!(endpoint, Endpoint::Embeddings | Endpoint::Responses) {
            return Err(format!("`{text}` has no answer for {endpoint}"));
        }
        if before.contains(&resort) {
            return Err(format!("`{text}` is in the chain already"));
        }
        Ok(resort)
    }
}

impl TargetName {
    fn check(
        text: &str,
        endpoint: Endpoint,
        providers: &BTreeMap<String, ProviderSettings>,
    ) -> Result<Self, String> {
        let named =
            text.split_once('/').filter(|(provider, model)| !provider.is_empty() && is_visible(model));
        let Some((provider, model)) = named else {
            return Err(format!("expected \"provider/model\" in visible ASCII, found {text:?}"));
        };
        let Some(dialect) = providers.get(provider).map(ProviderSettings::dialect) else {
            let others = suggest(provider, providers.keys().map(String::as_str));
            return Err(format!("unknown provider `{provider}`{others}"));
        };
        if endpoint.at_provider(dialect).is_none() {
            return Err(unsupported_dialect(provider, dialect, endpoint));
        }
        Ok(Self { name: text.into(), provider: provider.to_owned(), model: model.to_owned() })
    }
}

/// The message for a provider with a dialect that is neither that of the endpoint nor a supported translation
/// of it. It contains a workaround.
fn unsupported_dialect(provider: &str, dialect: ApiDialect, endpoint: Endpoint) -> String {
    let needed = endpoint.dialect();
    let workaround = "use the provider's OpenAI-compatible base_url with dialect = \"openai\"";
    format!("provider `{provider}` speaks {dialect} and {endpoint} needs {needed}, {workaround}")
}

/// Rejects two routes for the same requests, because one of them would never be used.
pub(super) fn check_distinct(routes: &[Route]) -> Result<(), GatewayConfigError> {
    for (index, route) in routes.iter().enumerate() {
        let same = |other: &Route| other.endpoint == route.endpoint && other.model == route.model;
        if let Some(first) = routes[..index].iter().position(same) {
            let problem =
                format!("routes[{first}] takes {} for model `{}` already", route.endpoint, route.model);
            return Err(GatewayConfigError::new(format!("routes[{index}]"), problem));
        }
    }
    Ok(())
}
