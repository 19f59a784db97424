use std::collections::hash_map::DefaultHasher;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use http::header::{AUTHORIZATION, HOST};
use http::{Extensions, HeaderMap, HeaderName, Method, Request, Uri};

/// Derives a key from the head of a request, so that a layer keeps a separate state per key: a circuit per
/// host, a limit per tenant, a bulkhead per model.
///
/// Only a hash of the key is kept. Keys of any length cost the same, and a credential that is used as a key
/// appears neither in memory nor in logs or metrics. The hash is SipHash with a random secret per process, so
/// a header cannot be crafted to collide with the state of another caller. Requests without the header (or
/// other source of the key) share one state.
#[derive(Clone)]
pub struct KeyBy {
    kind: &'static str,
    write: Arc<WriteKey>,
}

/// Writes the parts of the key into the hasher.
type WriteKey = dyn Fn(&RequestHead<'_>, &mut DefaultHasher) + Send + Sync;

/// The head of a request, with a body of any type.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct RequestHead<'a> {
    /// The method.
    pub method: &'a Method,
    /// The request target.
    pub uri: &'a Uri,
    /// The headers.
    pub headers: &'a HeaderMap,
    /// The extensions that outer layers have added.
    pub extensions: &'a Extensions,
}

/// The tenant of a request: a request extension, for [`KeyBy::tenant`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tenant(pub Arc<str>);

/// The model of a request: a request extension, for [`KeyBy::model`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Model(pub Arc<str>);

/// The hash of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key(u64);

impl KeyBy {
    /// Uses the return value of `key` for the head of the request.
    pub fn new<K: Hash>(key: impl Fn(&RequestHead<'_>) -> K + Send + Sync + 'static) -> Self {
        Self::from_writer("custom", move |head, hasher| key(head).hash(hasher))
    }

    /// Uses all values of a header.
    #[must_use]
    pub fn header(name: HeaderName) -> Self {
        Self::from_writer("header", move |head, hasher| write_header(head.headers, &name, hasher))
    }

    /// Uses the path, without the query.
    #[must_use]
    pub fn path() -> Self {
        Self::from_writer("path", |head, hasher| head.uri.path().hash(hasher))
    }

    /// Uses the host and port of the URI, or else of the `Host` header.
    #[must_use]
    pub fn host() -> Self {
        Self::from_writer("host", |head, hasher| match head.uri.authority() {
            Some(authority) => {
                (authority.host(), authority.port_u16().or(default_port(head.uri))).hash(hasher);
            }
            None => write_header(head.headers, &HOST, hasher),
        })
    }

    /// Uses the credential of the caller: `authorization`, `x-api-key`, `api-key` and `x-goog-api-key`.
    ///
    /// The state learned from a provider then belongs to one account: an exhausted balance or an invalid key
    /// does not affect other callers.
    #[must_use]
    pub fn credential() -> Self {
        const OTHERS: [HeaderName; 3] = [
            HeaderName::from_static("x-api-key"),
            HeaderName::from_static("api-key"),
            HeaderName::from_static("x-goog-api-key"),
        ];
        Self::from_writer("credential", |head, hasher| {
            write_header(head.headers, &AUTHORIZATION, hasher);
            for name in &OTHERS {
                write_header(head.headers, name, hasher);
            }
        })
    }

    /// Uses the [`Tenant`] in the extensions.
    #[must_use]
    pub fn tenant() -> Self {
        Self::from_writer("tenant", |head, hasher| head.extensions.get::<Tenant>().hash(hasher))
    }

    /// Uses the [`Model`] in the extensions.
    #[must_use]
    pub fn model() -> Self {
        Self::from_writer("model", |head, hasher| head.extensions.get::<Model>().hash(hasher))
    }

    fn from_writer(
        kind: &'static str,
        write: impl Fn(&RequestHead<'_>, &mut DefaultHasher) + Send + Sync + 'static,
    ) -> Self {
        Self { kind, write: Arc::new(write) }
    }

    /// The key of a request; `hasher` carries the secret.
    pub(crate) fn key<B>(&self, request: &Request<B>, mut hasher: DefaultHasher) -> Key {
        (self.write)(&RequestHead::of(request), &mut hasher);
        Key(hasher.finish())
    }
}

impl Key {
    /// The hash as a number.
    pub(crate) fn number(self) -> u64 {
        self.0
    }
}

impl<'a> RequestHead<'a> {
    pub(crate) fn of<B>(request: &'a Request<B>) -> Self {
        Self {
            method: request.method(),
            uri: request.uri(),
            headers: request.headers(),
            extensions: request.extensions(),
        }
    }
}

fn default_port(uri: &Uri) -> Option<u16> {
    match uri.scheme_str() {
        Some("https") => Some(443),
        Some("http") => Some(80),
        _ => None,
    }
}

fn write_header(headers: &HeaderMap, name: &HeaderName, hasher: &mut DefaultHasher) {
    // The number of values is hashed last, so that "a", "b" and "ab" are different keys.
    let values = headers.get_all(name).iter().map(|value| value.as_bytes().hash(hasher)).count();
    values.hash(hasher);
}

impl fmt::Debug for KeyBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KeyBy").field(&self.kind).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(by: &KeyBy, change: impl FnOnce(http::request::Builder) -> http::request::Builder) -> Key {
        by.key(&change(Request::builder()).body(()).unwrap(), DefaultHasher::new())
    }

    #[test]
    fn each_kind_of_key_depends_only_on_its_part_of_the_head() {
        let header = KeyBy::header(HeaderName::from_static("x-user"));
        assert_eq!(
            key(&header, |r| r.header("x-user", "a")),
            key(&header, |r| r.header("x-user", "a").uri("/b"))
        );
        assert_ne!(key(&header, |r| r.header("x-user", "a")), key(&header, |r| r.header("x-user", "b")));
        assert_ne!(key(&header, |r| r.header("x-user", "")), key(&header, |r| r));
        assert_ne!(
            key(&header, |r| r.header("x-user", "a").header("x-user", "b")),
            key(&header, |r| r.header("x-user", "ab"))
        );
        let path = KeyBy::path();
        assert_eq!(key(&path, |r| r.uri("/v1?a")), key(&path, |r| r.uri("http://host/v1?b")));
        assert_ne!(key(&path, |r| r.uri("/v1")), key(&path, |r| r.uri("/v2")));
        let host = KeyBy::host();
        assert_eq!(key(&host, |r| r.uri("https://a/x")), key(&host, |r| r.uri("https://a:443/y")));
        assert_ne!(key(&host, |r| r.uri("https://a/x")), key(&host, |r| r.uri("https://b/x")));
        assert_ne!(key(&host, |r| r.header("host", "a")), key(&host, |r| r.header("host", "b")));
        let credential = KeyBy::credential();
        for name in ["authorization", "x-api-key", "api-key", "x-goog-api-key"] {
            assert_ne!(
                key(&credential, |r| r.header(name, "a")),
                key(&credential, |r| r.header(name, "b")),
                "{name}"
            );
        }
        assert_ne!(
            key(&credential, |r| r.header("x-api-key", "a")),
            key(&credential, |r| r.header("api-key", "a"))
        );
        let tenant = |name: &str| Tenant(name.into());
        assert_ne!(
            key(&KeyBy::tenant(), |r| r.extension(tenant("a"))),
            key(&KeyBy::tenant(), |r| r.extension(tenant("b")))
        );
        assert_eq!(key(&KeyBy::model(), |r| r.extension(tenant("a"))), key(&KeyBy::model(), |r| r));
        let custom = KeyBy::new(|head| head.method.clone());
        assert_ne!(key(&custom, |r| r.method("GET")), key(&custom, |r| r.method("POST")));
    }

    #[test]
    fn debug_output_does_not_contain_the_key() {
        let by = KeyBy::header(HeaderName::from_static("x-api-key"));
        assert_eq!(format!("{by:?}"), "KeyBy(\"header\")");
    }
}
