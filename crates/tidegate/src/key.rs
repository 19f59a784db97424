//! Keys: what a layer keeps a separate state for.

use std::borrow::Cow;
use std::collections::hash_map::{DefaultHasher, RandomState};
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::{Arc, LazyLock};
use std::{fmt, mem};

use http::header::{AUTHORIZATION, HOST};
use http::uri::Authority;
use http::{Extensions, HeaderMap, HeaderName, Method, Request, Uri};
use serde::de::{self, Deserialize, Deserializer, Unexpected, Visitor};
use serde::ser::{Error, Serialize, Serializer};

use crate::body::bytes_of;
use crate::debug::HeaderNames;
use crate::defaults;

/// Derives a key from the head of a request, so that a layer keeps a separate state per key: a circuit per
/// host, a limit per tenant, a bulkhead per model.
///
/// Only a hash of the key is kept. Keys of any length cost the same, and a credential that is used as a key
/// appears neither in memory nor in logs or metrics. The hash is SipHash with a random secret per process, so
/// a header cannot be crafted to collide with the state of another caller. Requests without the header (or
/// other source of the key) share one state; a request without a [model](Self::model) is rejected.
///
/// In a configuration it is a string: `"tenant"` (or `"caller"`), `"credential"`, `"model"`,
/// `"header:<name>"`, `"path"` or `"host"`. Two values are equal if they use the same part of the head; a
/// closure is equal to its clones only.
#[derive(Clone)]
pub struct KeyBy(KeySource);

/// The part of the head that the key is derived from.
#[derive(Clone)]
enum KeySource {
    Tenant,
    Credential,
    Model,
    Header(HeaderName),
    Path,
    Host,
    Custom(Arc<WriteKey>),
}

/// Writes the parts of the key into the hasher.
type WriteKey = dyn Fn(&RequestHead<'_>, &mut DefaultHasher) + Send + Sync;

/// The head of a request, with a body of any type.
#[derive(Clone, Copy)]
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

impl From<&str> for Tenant {
    fn from(name: &str) -> Self {
        Self(name.into())
    }
}

impl From<String> for Tenant {
    fn from(name: String) -> Self {
        Self(name.into())
    }
}

impl From<&str> for Model {
    fn from(name: &str) -> Self {
        Self(name.into())
    }
}

impl From<String> for Model {
    fn from(name: String) -> Self {
        Self(name.into())
    }
}

/// The headers with the credential of a caller, beside `authorization`.
static API_KEYS: [HeaderName; 3] = [
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("api-key"),
    HeaderName::from_static("x-goog-api-key"),
];

/// Names one key, opaquely: the hash of the key with the secret of this process. It is printed as 16
/// hexadecimal digits.
///
/// The same key has the same id in every layer of the process, and another one in the next process.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(u64);

/// The secret of the hashes. It is drawn once per process, so that the layers of a stack have the same ids.
static SECRET: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// A hasher that carries the secret.
pub(crate) fn hasher() -> DefaultHasher {
    SECRET.build_hasher()
}

/// A hasher that carries a secret of several processes. In each of them it gives the same hashes.
pub(crate) fn shared_hasher(secret: &str) -> DefaultHasher {
    let mut hasher = DefaultHasher::new();
    secret.hash(&mut hasher);
    hasher
}

impl KeyBy {
    /// Uses the return value of `key` for the head of the request. It is owned: it cannot borrow from the head.
    ///
    /// ```
    /// use tidegate::KeyBy;
    ///
    /// #[derive(Clone)]
    /// struct Claims {
    ///     subject: String,
    /// }
    ///
    /// let by_user = KeyBy::new(|head| head.headers.get("x-user").cloned());
    /// let by_claims = KeyBy::new(|head| head.extensions.get().map(|claims: &Claims| claims.subject.clone()));
    /// ```
    pub fn new<K: Hash>(key: impl Fn(&RequestHead<'_>) -> K + Send + Sync + 'static) -> Self {
        Self(KeySource::Custom(Arc::new(move |head, hasher| key(head).hash(hasher))))
    }

    /// Uses all values of a header.
    #[must_use]
    pub const fn header(name: HeaderName) -> Self {
        Self(KeySource::Header(name))
    }

    /// Uses the path, without the query.
    #[must_use]
    pub const fn path() -> Self {
        Self(KeySource::Path)
    }

    /// Uses the host, in lower case, and the port of the URI, or else of the `Host` header.
    #[must_use]
    pub const fn host() -> Self {
        Self(KeySource::Host)
    }

    /// Uses the credential of the caller: `authorization`, `x-api-key`, `api-key` and `x-goog-api-key`.
    ///
    /// The state learned from a provider then belongs to one account: an exhausted balance or an invalid key
    /// does not affect other callers.
    #[must_use]
    pub const fn credential() -> Self {
        Self(KeySource::Credential)
    }

    /// Uses the [`Tenant`] in the extensions.
    #[must_use]
    pub const fn tenant() -> Self {
        Self(KeySource::Tenant)
    }

    /// Uses the [`Model`] in the extensions, or else the field `model` of a body that is a
    /// [`Payload`](crate::Payload) in memory.
    ///
    /// A request with neither is rejected with E1001: with a shared key, the limit of one model would be that
    /// of all. So is every request without the extension if the feature `providers` is off. A stack with
    /// retries or fallbacks buffers every body; gates alone read a `Payload` alone. The body is parsed for
    /// each gate; the extension saves that.
    #[must_use]
    pub const fn model() -> Self {
        Self(KeySource::Model)
    }

    /// The header, if the key is one.
    #[must_use]
    pub const fn header_name(&self) -> Option<&HeaderName> {
        match &self.0 {
            KeySource::Header(name) => Some(name),
            _ => None,
        }
    }

    /// Whether a request has the same key after it was addressed to another server, with another credential
    /// and model.
    pub(crate) fn is_of_caller(&self) -> bool {
        match &self.0 {
            KeySource::Tenant => true,
            KeySource::Header(name) => *name != AUTHORIZATION && !API_KEYS.contains(name),
            KeySource::Credential
            | KeySource::Model
            | KeySource::Path
            | KeySource::Host
            | KeySource::Custom(_) => false,
        }
    }

    /// The key of a request; `hasher` carries the secret. `None` if the key is the model and the request has
    /// none.
    pub(crate) fn key<B: 'static>(&self, request: &Request<B>, mut hasher: DefaultHasher) -> Option<KeyId> {
        mem::discriminant(&self.0).hash(&mut hasher);
        match &self.0 {
            KeySource::Model => model_of(request)?.hash(&mut hasher),
            source => source.write(&RequestHead::of(request), &mut hasher),
        }
        Some(KeyId(hasher.finish()))
    }
}

/// Whether a request carries a credential, in one of the headers of [`KeyBy::credential`].
pub(crate) fn has_credential(headers: &HeaderMap) -> bool {
    headers.contains_key(AUTHORIZATION) || API_KEYS.iter().any(|name| headers.contains_key(name))
}

impl KeySource {
    fn write(&self, head: &RequestHead<'_>, hasher: &mut DefaultHasher) {
        match self {
            Self::Tenant => head.extensions.get::<Tenant>().hash(hasher),
            Self::Credential => {
                write_header(head.headers, &AUTHORIZATION, hasher);
                for name in &API_KEYS {
                    write_header(head.headers, name, hasher);
                }
            }
            // Also read from the body, by [`model_of`].
            Self::Model => {}
            Self::Header(name) => {
                name.hash(hasher);
                write_header(head.headers, name, hasher);
            }
            Self::Path => head.uri.path().hash(hasher),
            Self::Host => {
                let in_header = || Authority::try_from(head.headers.get(HOST)?.as_bytes()).ok();
                match head.uri.authority().cloned().or_else(in_header) {
                    Some(authority) => {
                        authority.host().bytes().for_each(|byte| byte.to_ascii_lowercase().hash(hasher));
                        authority.port_u16().or(default_port(head.uri)).hash(hasher);
                    }
                    None => write_header(head.headers, &HOST, hasher),
                }
            }
            Self::Custom(write) => write(head, hasher),
        }
    }

    /// The name in a configuration; `None` for a closure, which has none.
    fn name(&self) -> Option<Cow<'static, str>> {
        Some(match self {
            Self::Tenant => "tenant".into(),
            Self::Credential => "credential".into(),
            Self::Model => "model".into(),
            Self::Header(name) => format!("header:{name}").into(),
            Self::Path => "path".into(),
            Self::Host => "host".into(),
            Self::Custom(_) => return None,
        })
    }

    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "tenant" | "caller" => Self::Tenant,
            "credential" => Self::Credential,
            "model" => Self::Model,
            "path" => Self::Path,
            "host" => Self::Host,
            _ => Self::Header(name.strip_prefix("header:")?.parse().ok()?),
        })
    }
}

impl KeyId {
    /// The hash as a number.
    pub(crate) fn number(self) -> u64 {
        self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

impl Serialize for KeyId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
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

/// The model of a request, by its extension or its body.
fn model_of<B: 'static>(request: &Request<B>) -> Option<Cow<'_, str>> {
    if let Some(Model(model)) = request.extensions().get() {
        return Some(Cow::Borrowed(model));
    }
    defaults::model_in(bytes_of(request)?)
}

/// Spreads every bit over all others (the finaliser of SplitMix64, by Steele, Lea and Flood, 2014).
pub(crate) const fn spread_bits(bits: u64) -> u64 {
    let bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ bits >> 31
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

/// Without the host, the query and the values of the headers, which may be credentials.
impl fmt::Debug for RequestHead<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestHead")
            .field("method", &self.method)
            .field("path", &self.uri.path())
            .field("headers", &HeaderNames(self.headers))
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for KeyBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KeyBy").field(&self.0.name().as_deref().unwrap_or("custom")).finish()
    }
}

impl PartialEq for KeyBy {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (KeySource::Custom(one), KeySource::Custom(other)) => Arc::ptr_eq(one, other),
            (one, other) => one.name() == other.name(),
        }
    }
}

impl Serialize for KeyBy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.name() {
            Some(name) => serializer.serialize_str(&name),
            None => Err(S::Error::custom("a key that is a closure cannot be serialized")),
        }
    }
}

impl<'de> Deserialize<'de> for KeyBy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Name;

        impl Visitor<'_> for Name {
            type Value = KeyBy;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"tenant\", \"credential\", \"model\", \"header:<name>\", \"path\" or \"host\"")
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<KeyBy, E> {
                let source = KeySource::named(name);
                source.map(KeyBy).ok_or_else(|| E::invalid_value(Unexpected::Str(name), &self))
            }
        }

        deserializer.deserialize_str(Name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Payload;

    fn key(by: &KeyBy, change: impl FnOnce(http::request::Builder) -> http::request::Builder) -> KeyId {
        by.key(&change(Request::builder()).body(()).unwrap(), DefaultHasher::new()).unwrap()
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
        let of_uri = |uri: &str| key(&host, |r| r.uri(uri));
        let of_header = |name: &str| key(&host, |r| r.uri("/v1").header("host", name));
        for same in ["https://API.example.com/x", "https://api.example.com:443", "https://me@api.EXAMPLE.com"]
        {
            assert_eq!(of_uri(same), of_uri("https://api.example.com"), "{same}");
        }
        assert_eq!(of_uri("http://a"), of_uri("http://A:80"));
        assert_eq!(of_header("API.example.com:8443"), of_header("api.example.com:8443"));
        assert_eq!(of_header("API.example.com:8443"), of_uri("https://api.example.com:8443"));
        let different = ["https://a", "http://a", "https://ab", "https://a:8443"].map(of_uri);
        let different = [&different[..], &["a", "a b", "A b", ""].map(of_header)].concat();
        for (at, one) in different.iter().enumerate() {
            assert!(!different[..at].contains(one), "{at}");
        }
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
        let model = |name: &str| Model(name.into());
        assert_eq!(
            key(&KeyBy::model(), |r| r.extension(model("a"))),
            key(&KeyBy::model(), |r| r.extension(model("a")).extension(tenant("a")))
        );
        let custom = KeyBy::new(|head| head.method.clone());
        assert_ne!(key(&custom, |r| r.method("GET")), key(&custom, |r| r.method("POST")));
    }

    #[test]
    #[cfg(feature = "providers")]
    fn the_model_is_that_of_the_extension_or_else_of_the_body() {
        fn key<B: 'static>(model: Option<&str>, body: B) -> Option<KeyId> {
            let mut request = Request::new(body);
            model.map(|model| request.extensions_mut().insert(Model(model.into())));
            KeyBy::model().key(&request, DefaultHasher::new())
        }
        let of_body = |body: &'static str| key(None, Payload::from(body));
        let a = key(Some("a"), ());
        assert!(a.is_some() && a != key(Some("b"), ()));
        assert_eq!(key(Some("a"), Payload::from(r#"{"model":"b"}"#)), a);
        assert_eq!(of_body(r#"{"input":"x","model":"\u0061"}"#), a);
        let models = r#"{"model":"a","model":"a"}"#;
        for body in ["", "{}", "[]", r#"{"model":1}"#, r#"{"model":"a""#, r#"{"x":{"model":"a"}}"#, models] {
            assert_eq!(of_body(body), None, "{body}");
        }
        assert_eq!(key(None, ()), None);
        assert_eq!(key(None, Payload::streamed(Payload::from(r#"{"model":"a"}"#))), None);
    }

    #[test]
    fn debug_output_does_not_contain_the_key() {
        let by = KeyBy::header(HeaderName::from_static("x-api-key"));
        assert_eq!(format!("{by:?}"), "KeyBy(\"header:x-api-key\")");
        assert_eq!(format!("{:?}", KeyBy::new(|head| head.method.clone())), "KeyBy(\"custom\")");
    }

    #[test]
    fn a_key_is_a_string_in_a_configuration() {
        let parse = |text: &str| serde_json::from_value::<KeyBy>(text.into());
        for name in ["tenant", "credential", "model", "header:x-user", "path", "host"] {
            let key = parse(name).unwrap();
            assert_eq!(serde_json::to_value(&key).unwrap(), name);
            assert_eq!(key, parse(name).unwrap());
        }
        assert_eq!(parse("caller").unwrap(), KeyBy::tenant());
        assert_ne!(parse("header:a").unwrap(), parse("header:b").unwrap());
        for bad in ["", "header:", "header:a b", "Tenant", "ip", "custom"] {
            let error = parse(bad).unwrap_err().to_string();
            assert!(error.contains("expected \"tenant\", \"credential\", \"model\""), "{bad}: {error}");
        }
        let custom = KeyBy::new(|head| head.method.clone());
        assert_eq!(custom, custom.clone());
        assert_ne!(custom, KeyBy::new(|head| head.method.clone()));
        let error = serde_json::to_value(&custom).unwrap_err();
        assert_eq!(error.to_string(), "a key that is a closure cannot be serialized");
    }
}
