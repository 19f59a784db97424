use std::collections::BTreeMap;
use std::sync::Arc;

use tidegate::ResilienceConfig;

use super::ConfigError;
use super::file::RouteEntry;
use super::nearest::instead;
use super::provider::{Provider, is_visible};
use crate::endpoint::{Dialect, Endpoint};

/// The model of a route that takes what no other takes.
pub(crate) const ANY: &str = "*";

/// Which requests go to which chain of targets, under which policy.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    pub(crate) endpoint: Endpoint,
    /// The model asked for, or [`ANY`].
    pub(crate) model: String,
    pub(crate) chain: Vec<TargetName>,
    /// What is left when no target has answered, in this order.
    pub(crate) resorts: Vec<LastResort>,
    pub(crate) policy: String,
}

/// The end of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LastResort {
    /// An answer that was given before.
    Cached,
    /// A shorter prompt.
    Simplified,
    /// A text by the kind of the prompt.
    Static,
}

/// A `provider/model` of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TargetName {
    pub(crate) name: Arc<str>,
    pub(crate) provider: String,
    /// What follows the first slash; it may have slashes of its own.
    pub(crate) model: String,
}

/// What a route may refer to.
pub(super) struct Known<'a> {
    pub(super) providers: &'a BTreeMap<String, Provider>,
    pub(super) policies: &'a BTreeMap<String, ResilienceConfig>,
}

impl Route {
    pub(super) fn check(index: usize, entry: RouteEntry, known: &Known<'_>) -> Result<Self, ConfigError> {
        let key = |key: &str| format!("routes[{index}].{key}");
        let endpoint = endpoint(&entry.path).map_err(|problem| ConfigError::new(key("path"), problem))?;
        if entry.model.is_empty() {
            return Err(ConfigError::new(key("model"), "expected a model, or \"*\" for any"));
        }
        if !known.policies.contains_key(&entry.policy) {
            let others = instead(&entry.policy, known.policies.keys().map(String::as_str));
            let problem = format!("unknown policy `{}`{others}", entry.policy);
            return Err(ConfigError::new(key("policy"), problem));
        }
        if entry.chain.is_empty() {
            return Err(ConfigError::new(key("chain"), "expected at least one \"provider/model\""));
        }
        let mut chain: Vec<TargetName> = Vec::with_capacity(entry.chain.len());
        let mut resorts: Vec<LastResort> = Vec::new();
        for (place, target) in entry.chain.iter().enumerate() {
            let refuse = |problem| ConfigError::new(key(&format!("chain[{place}]")), problem);
            if target.starts_with('@') {
                let resort = LastResort::check(target, endpoint, &resorts).map_err(refuse)?;
                if chain.is_empty() {
                    return Err(refuse(format!("expected a \"provider/model\" before `{target}`")));
                }
                resorts.push(resort);
                continue;
            }
            if let Some(resort) = resorts.last() {
                return Err(refuse(format!("`{target}` comes after the last resort `{}`", resort.name())));
            }
            let target = TargetName::check(target, endpoint, known.providers).map_err(refuse)?;
            if chain.contains(&target) {
                return Err(refuse(format!("`{}` is in the chain already", target.name)));
            }
            chain.push(target);
        }
        Ok(Self { endpoint, model: entry.model, chain, resorts, policy: entry.policy })
    }
}

fn endpoint(path: &str) -> Result<Endpoint, String> {
    let found = Endpoint::ALL.into_iter().find(|endpoint| endpoint.path() == path);
    found.ok_or_else(|| format!("unknown path `{path}`{}", instead(path, Endpoint::ALL.map(Endpoint::path))))
}

impl LastResort {
    const ALL: [Self; 3] = [Self::Cached, Self::Simplified, Self::Static];

    /// The name in the file.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Cached => "@cached",
            Self::Simplified => "@simplified",
            Self::Static => "@static",
        }
    }

    fn check(text: &str, endpoint: Endpoint, before: &[Self]) -> Result<Self, String> {
        let Some(resort) = Self::ALL.into_iter().find(|resort| resort.name() == text) else {
            return Err(format!("unknown last resort `{text}`{}", instead(text, Self::ALL.map(Self::name))));
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
    fn check(text: &str, endpoint: Endpoint, providers: &BTreeMap<String, Provider>) -> Result<Self, String> {
        let named =
            text.split_once('/').filter(|(provider, model)| !provider.is_empty() && is_visible(model));
        let Some((provider, model)) = named else {
            return Err(format!("expected \"provider/model\" in visible ASCII, found {text:?}"));
        };
        let Some(spoken) = providers.get(provider).map(Provider::dialect) else {
            let others = instead(provider, providers.keys().map(String::as_str));
            return Err(format!("unknown provider `{provider}`{others}"));
        };
        if endpoint.asked_in(spoken).is_none() {
            return Err(foreign(provider, spoken, endpoint));
        }
        Ok(Self { name: text.into(), provider: provider.to_owned(), model: model.to_owned() })
    }
}

/// The provider does not speak what the endpoint asks in, nor anything it could be translated to; with the way out.
fn foreign(provider: &str, spoken: Dialect, endpoint: Endpoint) -> String {
    let asked = endpoint.dialect();
    let way_out = "use the provider's OpenAI-compatible base_url with dialect = \"openai\"";
    format!("provider `{provider}` speaks {spoken} and {endpoint} needs {asked}, {way_out}")
}

/// Two routes for the same requests: one of them would never be asked.
pub(super) fn check_distinct(routes: &[Route]) -> Result<(), ConfigError> {
    for (index, route) in routes.iter().enumerate() {
        let same = |other: &Route| other.endpoint == route.endpoint && other.model == route.model;
        if let Some(first) = routes[..index].iter().position(same) {
            let problem =
                format!("routes[{first}] takes {} for model `{}` already", route.endpoint, route.model);
            return Err(ConfigError::new(format!("routes[{index}]"), problem));
        }
    }
    Ok(())
}
