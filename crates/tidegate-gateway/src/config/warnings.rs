//! What is valid in a file, and probably a mistake.

use std::collections::BTreeMap;

use tidegate::chain::ProviderSettings;
use tidegate::config::suggest;

use super::policy::key;
use super::{GatewayConfigError, Route};

/// A line for each policy of the file that no route uses. The routes without a policy use the default one, and a name
/// that was misspelt would leave them unprotected.
pub(super) fn of_policies(written: &[String], routes: &[Route]) -> impl Iterator<Item = String> {
    let used = || routes.iter().map(|route| &*route.policy);
    let missing = move || used().filter(|name| !written.iter().any(|it| it == name));
    let unused = written.iter().filter(move |name| !used().any(|it| it == *name));
    unused.map(move |name| warning(&key(name), &format!("no route uses it{}", suggest(name, missing()))))
}

/// A line for each suspicious setting of a provider, and for each provider that no route uses.
pub(super) fn of_providers(
    providers: &BTreeMap<String, Option<ProviderSettings>>,
    routes: &[Route],
) -> impl Iterator<Item = String> {
    providers.iter().flat_map(|(name, settings)| {
        let is_used = routes.iter().flat_map(Route::targets).any(|target| target.provider == *name);
        let table = format!("providers.{name}");
        let unused = (!is_used).then(|| warning(&table, "no route uses it"));
        let settings = settings.iter().flat_map(|settings| settings.warnings());
        let settings = settings.map(move |of_settings| match of_settings.split_once(": ") {
            Some((key, problem)) => warning(&format!("{table}.{key}"), problem),
            None => warning(&table, &of_settings),
        });
        unused.into_iter().chain(settings)
    })
}

/// A line about a setting, which has no name that may be a secret.
pub(super) fn warning(key: &str, problem: &str) -> String {
    GatewayConfigError::new(key, problem).to_string()
}
