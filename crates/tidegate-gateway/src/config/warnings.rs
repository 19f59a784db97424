//! What is valid in a file, and probably a mistake.

use std::collections::{BTreeMap, BTreeSet};

use tidegate::ResilienceConfig;
use tidegate::chain::ProviderSettings;
use tidegate::config::{redacted, suggest};

use super::policy::key;
use super::route::ANY;
use super::{GatewayConfigError, Route};

/// A warning for each policy of the file that no route uses. The routes without a policy use the default one,
/// and a name that was misspelt would leave them unprotected.
pub(super) fn of_policies<'a>(
    written: &'a [String],
    routes: &'a [Route],
) -> impl Iterator<Item = GatewayConfigError> + 'a {
    let used: BTreeSet<_> = routes.iter().map(|route| &*route.policy).collect();
    let known: BTreeSet<_> = written.iter().map(String::as_str).collect();
    let missing: Vec<_> = used.difference(&known).copied().collect();
    written.iter().filter(move |name| !used.contains(name.as_str())).map(move |name| {
        let suggestion = suggest(name, missing.iter().copied());
        GatewayConfigError::new(key(name), format!("no route uses it{suggestion}"))
    })
}

/// A warning for each policy of a chain under which a target that does not respond may use up the time of the
/// whole call, so that the next one is not called.
pub(super) fn of_times(
    policies: &BTreeMap<String, ResilienceConfig>,
    routes: &[Route],
) -> impl Iterator<Item = GatewayConfigError> {
    let in_chains: BTreeSet<_> =
        routes.iter().filter(|route| route.chain.len() > 1).map(|route| &*route.policy).collect();
    let policies = policies.iter().filter(move |(name, _)| in_chains.contains(name.as_str()));
    policies.filter_map(|(name, ResilienceConfig { retry, timeout, fallback, .. })| {
        let total = timeout.total.filter(|_| fallback.enabled)?;
        let reserves = retry.as_ref().is_some_and(|retry| !retry.reserve_for_fallback.is_zero());
        let retries = retry.as_ref().filter(|retry| retry.enabled).map_or(0, |retry| retry.max_retries);
        let attempts = retries.saturating_add(1);
        // An attempt bounds the time to the first token, too.
        if reserves || timeout.attempt.saturating_mul(attempts) < total {
            return None;
        }
        let problem = format!(
            "a target that does not respond may use up all of it, with {attempts} x timeout.attempt, and no \
             other one is called; retry.reserve_for_fallback leaves time for it"
        );
        Some(GatewayConfigError::new(format!("{}.timeout.total", key(name)), problem))
    })
}

/// A warning for each chain of several targets without fallback.
pub(super) fn of_chains<'a>(
    policies: &'a BTreeMap<String, ResilienceConfig>,
    routes: &'a [Route],
) -> impl Iterator<Item = GatewayConfigError> + 'a {
    let has_fallback =
        |route: &Route| policies.get(&route.policy).is_none_or(|policy| policy.fallback.enabled);
    let chains = routes.iter().enumerate().filter(|(_, route)| route.chain.len() > 1);
    let unused = chains.filter(move |(_, route)| !has_fallback(route));
    unused.map(|(index, route)| {
        let problem =
            format!("only the first is called, since {}.fallback.enabled is false", key(&route.policy));
        GatewayConfigError::new(format!("routes[{index}].chain"), problem)
    })
}

/// A warning for each name with a `*`, which is a pattern in no place but alone as the model of a route.
pub(super) fn of_patterns<'a>(
    routes: &'a [Route],
    models: impl Iterator<Item = &'a String>,
) -> impl Iterator<Item = GatewayConfigError> {
    let of_routes = routes.iter().enumerate().flat_map(|(index, route)| {
        let model = Some(&*route.model).filter(|model| *model != ANY);
        let targets = route.targets().map(|target| ("chain", &*target.model));
        let names = model.map(|model| ("model", model)).into_iter().chain(targets);
        names.map(move |(key, name)| (format!("routes[{index}].{key}"), name))
    });
    let of_models = models.map(|model| (format!("models.{model}"), &**model));
    of_routes.chain(of_models).filter(|(_, name)| name.contains('*')).map(|(key, name)| {
        GatewayConfigError::new(key, format!("`*` in `{}` is no pattern, and taken as it is", redacted(name)))
    })
}

/// A warning for each policy of a chain that allows a call no more attempts than its first target may use.
pub(super) fn of_attempts(
    policies: &BTreeMap<String, ResilienceConfig>,
    routes: &[Route],
) -> impl Iterator<Item = GatewayConfigError> {
    let chains = routes.iter().filter(|route| route.chain.len() > 1);
    let used: BTreeSet<_> = chains.map(|route| &*route.policy).collect();
    policies.iter().filter_map(move |(name, ResilienceConfig { retry, fallback, .. })| {
        let retry = retry.as_ref()?;
        let of_target = if retry.enabled { retry.max_retries.saturating_add(1) } else { 1 };
        let leaves_none = retry.max_attempts? <= of_target && fallback.enabled && used.contains(name.as_str());
        let problem = format!(
            "a target that fails may use up all of them, with {of_target}, retry.max_retries and the first, and \
             no other one is called"
        );
        leaves_none.then(|| GatewayConfigError::new(format!("{}.retry.max_attempts", key(name)), problem))
    })
}

/// A warning for each suspicious setting of a provider, and for each provider that no route uses.
pub(super) fn of_providers(
    providers: &BTreeMap<String, Option<ProviderSettings>>,
    routes: &[Route],
) -> impl Iterator<Item = GatewayConfigError> {
    let used: BTreeSet<_> = routes.iter().flat_map(Route::targets).map(|target| &*target.provider).collect();
    providers.iter().flat_map(move |(name, settings)| {
        let is_used = used.contains(name.as_str());
        let table = format!("providers.{name}");
        let unused = (!is_used).then(|| GatewayConfigError::new(&*table, "no route uses it"));
        let settings = settings.iter().flat_map(|settings| settings.warnings());
        let settings = settings.map(move |of_settings| match of_settings.split_once(": ") {
            Some((key, problem)) => GatewayConfigError::new(format!("{table}.{key}"), problem),
            None => GatewayConfigError::new(&*table, of_settings),
        });
        unused.into_iter().chain(settings)
    })
}
