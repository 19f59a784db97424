use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::sync::{Arc, LazyLock};

use aws_lc_rs::hmac;
use http::{HeaderName, HeaderValue, header, request};
use tidegate::Tenant;

use crate::access::CallerName;

/// Derives the tenant of a request from its caller, or else from its credentials.
#[derive(Clone, Default)]
pub(crate) struct Tenants {
    /// The secret of several gateways, in all of which the same credentials are the same tenant. Without it
    /// they are so in this process alone.
    shared: Option<hmac::Key>,
}

/// The headers that identify a caller. They are read before they are removed.
static CREDENTIALS: [HeaderName; 4] = [
    header::AUTHORIZATION,
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("api-key"),
    HeaderName::from_static("x-goog-api-key"),
];

/// Hashes credentials and idempotency keys with random keys, so that no caller can construct a collision and
/// no credential is stored.
static SECRETS: LazyLock<[RandomState; 2]> = LazyLock::new(|| [RandomState::new(), RandomState::new()]);

/// The length of a digest in bytes.
const LENGTH: usize = 16;

/// 128 bits that another value has with a negligible probability.
pub(super) fn digest(value: impl Hash) -> String {
    SECRETS.each_ref().map(|secret| format!("{:016x}", secret.hash_one(&value))).concat()
}

impl Tenants {
    /// The tenants of the gateways that have this secret in common, if there is one.
    pub(crate) fn new(shared_secret: Option<&str>) -> Self {
        let key = |secret: &str| hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        Self { shared: shared_secret.map(key) }
    }

    /// The tenant of a request: the caller of its key, or else a digest of its credentials.
    pub(super) fn of(&self, head: &request::Parts) -> Option<Tenant> {
        if let Some(CallerName(name)) = head.extensions.get() {
            return Some(Tenant(Arc::clone(name)));
        }
        let values = CREDENTIALS.each_ref().map(|name| head.headers.get(name).and_then(credential));
        if values.iter().all(Option::is_none) {
            return None;
        }
        let digest = match &self.shared {
            Some(key) => keyed_digest(key, &values),
            None => digest(values),
        };
        Some(Tenant(digest.into()))
    }
}

/// The same for a secret of several processes.
fn keyed_digest(key: &hmac::Key, values: &[Option<&[u8]>]) -> String {
    let mut context = hmac::Context::with_key(key);
    for value in values {
        // The lengths, so that "a", "b" and "ab" are different values.
        context.update(&value.map_or(u64::MAX, |value| value.len() as u64).to_be_bytes());
        context.update(value.unwrap_or_default());
    }
    context.sign().as_ref().iter().take(LENGTH).map(|byte| format!("{byte:02x}")).collect()
}

/// The credential in a header, unless it is empty, as that of a client without a key.
fn credential(value: &HeaderValue) -> Option<&[u8]> {
    let value = value.as_bytes().trim_ascii();
    let is_empty =
        [&b""[..], b"bearer", b"basic", b"basic og=="].iter().any(|it| value.eq_ignore_ascii_case(it));
    (!is_empty).then_some(value)
}

/// The secret is not shown.
impl fmt::Debug for Tenants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tenants").field("is_shared", &self.shared.is_some()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant_of(tenants: &Tenants, lines: &[(&'static str, &'static str)]) -> Option<Tenant> {
        let (mut head, ()) = http::Request::new(()).into_parts();
        for (name, value) in lines {
            head.headers.insert(*name, HeaderValue::from_static(value));
        }
        tenants.of(&head)
    }

    #[test]
    fn an_empty_credential_names_nobody() {
        for tenants in [Tenants::default(), Tenants::new(Some("secret"))] {
            for value in ["", " ", "Bearer", "Bearer ", "bearer   ", "Basic", "Basic Og=="] {
                assert!(tenant_of(&tenants, &[("authorization", value)]).is_none(), "{value:?}");
            }
            for name in ["x-api-key", "api-key", "x-goog-api-key"] {
                let is_named = |value| tenant_of(&tenants, &[(name, value)]).is_some();
                assert!(!is_named("\t") && is_named("k"), "{name}");
            }
        }
    }

    /// Regression: the tenants of gateways with a shared store had nothing in common.
    #[test]
    fn the_same_credentials_are_the_same_tenant_wherever_the_secret_is_the_same() {
        let requests: [&[_]; 5] = [
            &[("authorization", "Bearer a")],
            &[("authorization", "Bearer b")],
            &[("x-api-key", "a")],
            &[("api-key", "a")],
            &[("x-api-key", "a"), ("api-key", "a")],
        ];
        let mut seen = std::collections::BTreeSet::new();
        for secret in [None, Some("one"), Some("other")] {
            for request in requests {
                let [tenant, same] = [0; 2].map(|_| tenant_of(&Tenants::new(secret), request).unwrap());
                assert_eq!(tenant, same, "{secret:?} {request:?}");
                assert_eq!(tenant.0.len(), 2 * LENGTH);
                assert!(seen.insert(tenant.0), "{secret:?} {request:?}");
            }
        }
    }
}
