use std::collections::BTreeMap;
use std::ffi::OsString;

use http::HeaderName;
use tidegate::config::{Checks, PolicyFile};
use tidegate::{KeyBy, ResilienceConfig};

use super::{GatewayConfigError, header};

/// The policy of a route that names none. It always exists.
pub(super) const DEFAULT: &str = "default";

/// Checks each policy as it is written, and again after the environment variables are applied. Returns the
/// policies by name, and what explains their settings. A policy with a mistake is replaced by the one without
/// any settings.
pub(super) fn check(
    mut policies: BTreeMap<String, PolicyFile>,
    env: impl Fn(&str) -> Option<OsString>,
    checks: &mut Checks,
) -> (BTreeMap<String, ResilienceConfig>, BTreeMap<String, String>) {
    policies.entry(DEFAULT.to_owned()).or_default();
    let (mut checked, mut explanations) = (BTreeMap::new(), BTreeMap::new());
    for (name, file) in policies {
        let in_policy = |error: GatewayConfigError| error.within(&key(&name));
        let policy = checks.keep(file.clone().checked().map_err(in_policy)).unwrap_or_default();
        let mut policy = checks.keep(policy.overlay(&env)).unwrap_or_default();
        checks.keep(policy.check().map_err(in_policy));
        for (part, by) in keys(&mut policy) {
            // The credential of a caller is not forwarded. Its digest is the tenant.
            if *by == KeyBy::credential() {
                *by = KeyBy::tenant();
            }
            checks.keep(check_header(by.header_name(), header::check_forwarded, &name, part));
        }
        let of_timeout = policy.timeout.header.as_ref().and_then(|header| header.parse().ok());
        checks.keep(check_header(of_timeout.as_ref(), header::check_optional, &name, "timeout.header"));
        explanations.insert(name.clone(), policy.explain(&file, &env).to_string());
        checked.insert(name, policy);
    }
    (checked, explanations)
}

/// Checks that there is a store if a policy needs one.
pub(super) fn check_store(
    policies: &BTreeMap<String, ResilienceConfig>,
    has_store: bool,
) -> Result<(), GatewayConfigError> {
    let needs_store = |policy: &ResilienceConfig| {
        policy.circuit_breaker.as_ref().is_some_and(|circuit| circuit.shared_window) && !has_store
    };
    let problem = "expected a table [store] beside it, found none";
    GatewayConfigError::all(policies.iter().map(|(name, policy)| {
        if needs_store(policy) {
            Err(GatewayConfigError::new(format!("{}.circuit_breaker.shared_window", key(name)), problem))
        } else {
            Ok(())
        }
    }))
}

/// Checks that no answers are cached by a key that all callers have in common, unless they may share them.
pub(super) fn check_cache(
    policies: &BTreeMap<String, ResilienceConfig>,
    is_shared: bool,
) -> Result<(), GatewayConfigError> {
    let common = [KeyBy::model(), KeyBy::path(), KeyBy::host()];
    let problem = "expected cache.shared = true beside it, since all callers have this key in common";
    GatewayConfigError::all(policies.iter().map(|(name, policy)| match &policy.fallback.cache_by {
        Some(key) if common.contains(key) && !is_shared => {
            Err(GatewayConfigError::new(format!("{}.fallback.cache_by", self::key(name)), problem))
        }
        _ => Ok(()),
    }))
}

/// Checks the header in the setting `part` of a policy.
fn check_header(
    header: Option<&HeaderName>,
    check: fn(&HeaderName) -> Result<(), String>,
    policy: &str,
    part: &str,
) -> Result<(), GatewayConfigError> {
    let invalid = |problem| GatewayConfigError::new(format!("{}.{part}", key(policy)), problem);
    header.map_or(Ok(()), check).map_err(invalid)
}

/// The headers that are keys. They are forwarded, because the gates are in front of the provider.
pub(super) fn key_headers(policies: &mut BTreeMap<String, ResilienceConfig>) -> Vec<HeaderName> {
    let headers = policies.values_mut().flat_map(keys).filter_map(|(_, key)| key.header_name().cloned());
    headers.filter(|name| header::check_forwarded(name).is_ok()).collect()
}

/// All keys of a policy, each with its setting.
fn keys(policy: &mut ResilienceConfig) -> impl Iterator<Item = (&'static str, &mut KeyBy)> {
    let ResilienceConfig { rate_limiter, circuit_breaker, backpressure, fallback, .. } = policy;
    let keys = [
        ("rate_limiter.key_by", rate_limiter.as_mut().and_then(|it| it.key_by.as_mut())),
        ("circuit_breaker.key_by", circuit_breaker.as_mut().and_then(|it| it.key_by.as_mut())),
        ("backpressure.key_by", backpressure.as_mut().and_then(|it| it.key_by.as_mut())),
        ("fallback.cache_by", fallback.cache_by.as_mut()),
    ];
    keys.into_iter().filter_map(|(setting, key)| Some((setting, key?)))
}

/// The key of a policy in an error.
pub(super) fn key(name: &str) -> String {
    format!("policies.{name}")
}
