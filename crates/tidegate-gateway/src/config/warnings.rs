//! What is valid in a file, and probably a mistake.

use std::collections::BTreeMap;

use tidegate::chain::ProviderSettings;
use tidegate::config::suggest;

use super::policy::key;
use super::{GatewayConfigError, Route};

/// A warning for each policy of the file that no route uses. The routes without a policy use the default one,
/// and a name that was misspelt would leave them unprotected.
pub(super) fn of_policies(written: &[String], routes: &[Route]) -> impl Iterator<Item = GatewayConfigError> {
    let used = || routes.iter().map(|route| &*route.policy);
    let missing = move || used().filter(|name| !written.iter().any(|it| it == name));
    let unused = written.iter().filter(move |name| !used().any(|it| it == *name));
    unused.map(move |name| {
        GatewayConfigError::new(key(name), format!("no route uses it{}", suggest(name, missing())))
    })
}

/// A warning for each suspicious setting of a provider, and for each provider that no route uses.
pub(super) fn of_providers(
    providers: &BTreeMap<String, Option<ProviderSettings>>,
    routes: &[Route],
) -> impl Iterator<Item = GatewayConfigError> {
    providers.iter().flat_map(|(name, settings)| {
        let is_used = routes.iter().flat_map(Route::targets).any(|target| target.provider == *name);
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
