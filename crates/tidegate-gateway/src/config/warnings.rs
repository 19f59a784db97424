//! What is valid in a file, and probably a mistake.

use std::collections::{BTreeMap, BTreeSet};

use tidegate::chain::ProviderSettings;
use tidegate::config::suggest;

use super::policy::key;
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
