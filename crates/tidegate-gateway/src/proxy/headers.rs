//! The headers that are forwarded, and those that are removed.

use std::sync::atomic::{AtomicU64, Ordering};

use http::header;
use http::{HeaderMap, HeaderName, HeaderValue};
use tidegate::Tenant;
use tidegate::chain::is_hop_by_hop;

use super::tenants::digest;

/// Request headers that no part of a chain may see: credentials, and what describes the body as it was
/// received. The address of a target decides which of the others are forwarded.
static NOT_FORWARDED: [HeaderName; 8] = [
    header::AUTHORIZATION,
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("api-key"),
    HeaderName::from_static("x-goog-api-key"),
    // The length of the body changes with the model.
    header::CONTENT_LENGTH,
    // The gateway has unpacked the body.
    header::CONTENT_ENCODING,
    header::EXPECT,
    // The gateway does not decompress responses.
    header::ACCEPT_ENCODING,
];

/// The prefix of the headers that the gateway sets.
const OWN_PREFIX: &str = "x-tidegate-";

const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// The prefix of the headers with which a provider allows web pages to use it. The gateway sets its own.
const CORS_PREFIX: &str = "access-control-";

/// Words in the names of response headers that describe the provider's account, which belongs to the operator
/// of the gateway: `openai-organization`, `anthropic-workspace-id`, `x-goog-user-project`.
const ACCOUNT_WORDS: [&[u8]; 9] = [
    b"organization",
    b"organisation",
    b"org",
    b"project",
    b"workspace",
    b"account",
    b"tenant",
    b"subscription",
    b"team",
];

/// Response headers that configure a browser for the origin of the provider, or request the credentials of
/// the provider from it.
static OF_THE_ORIGIN: [HeaderName; 11] = [
    header::SET_COOKIE,
    header::ALT_SVC,
    header::STRICT_TRANSPORT_SECURITY,
    header::REFRESH,
    header::WWW_AUTHENTICATE,
    header::PROXY_AUTHENTICATE,
    HeaderName::from_static("nel"),
    HeaderName::from_static("report-to"),
    HeaderName::from_static("reporting-endpoints"),
    HeaderName::from_static("clear-site-data"),
    HeaderName::from_static("service-worker-allowed"),
];

/// The prefixes of response headers that are commands to a reverse proxy in front of the gateway: nginx,
/// Envoy, Apache and lighttpd, LiteSpeed, Perlbal. Some have it send a file or a page of its own.
const PROXY_COMMANDS: [&str; 6] =
    ["x-accel-", "x-envoy-", "x-sendfile", "x-lighttpd-", "x-litespeed-", "x-reproxy-"];

/// Numbers the calls of callers without an identity.
static ANONYMOUS_CALLS: AtomicU64 = AtomicU64::new(0);

/// Whether chains see a header of a caller, unless it is named in `connection`.
pub(crate) fn reaches_chain(name: &HeaderName) -> bool {
    !is_hop_by_hop(name) && !NOT_FORWARDED.contains(name) && !name.as_str().starts_with(OWN_PREFIX)
}

/// The request headers for the chain. `tenant` is that of the request.
pub(super) fn forwarded(mut headers: HeaderMap, tenant: Option<&Tenant>) -> HeaderMap {
    strip(&mut headers, |name| !reaches_chain(name));
    // The body is read as JSON in UTF-8, and no provider may read it as anything else.
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    scope_idempotency_keys(&mut headers, tenant);
    headers
}

/// Replaces idempotency keys by digests of them and the caller. All callers use the same account of a
/// provider, which would answer the request of one with the answer to another.
///
/// A caller without an identity may be any. Its keys are those of this call alone: the attempts of the call
/// have the same.
fn scope_idempotency_keys(headers: &mut HeaderMap, tenant: Option<&Tenant>) {
    let is_key = |name: &&HeaderName| name.as_str().ends_with(IDEMPOTENCY_KEY);
    let names: Vec<HeaderName> = headers.keys().filter(is_key).cloned().collect();
    let call = tenant.is_none().then(|| ANONYMOUS_CALLS.fetch_add(1, Ordering::Relaxed));
    for name in names {
        let keys: Vec<&[u8]> = headers.get_all(&name).iter().map(HeaderValue::as_bytes).collect();
        let scoped = HeaderValue::try_from(digest((tenant, call, keys))).expect("hexadecimal digits");
        headers.insert(name, scoped);
    }
}

/// The response headers that are forwarded to the caller: all but those of the connection, of the provider's
/// account and origin, commands to a proxy, and those that the gateway sets itself. The length is that of the
/// body that is sent, and the server sets it: that of the provider may be another one, also beside
/// `transfer-encoding`.
pub(super) fn returned(mut headers: HeaderMap) -> HeaderMap {
    strip(&mut headers, |name| {
        *name == header::CONTENT_LENGTH
            || name.as_str().starts_with(OWN_PREFIX)
            || name.as_str().starts_with(CORS_PREFIX)
            || PROXY_COMMANDS.iter().any(|prefix| name.as_str().starts_with(prefix))
            || OF_THE_ORIGIN.contains(name)
            || is_of_the_account(name)
    });
    headers
}

/// Whether a response header describes the account. Rate limits are for the caller, whatever they count.
fn is_of_the_account(name: &HeaderName) -> bool {
    let words = || name.as_str().as_bytes().split(|byte| *byte == b'-');
    words().any(|word| ACCOUNT_WORDS.contains(&word)) && words().all(|word| word != b"ratelimit")
}

/// Removes the headers of the connection and those that match. `connection` may name thousands, so each is
/// looked up instead of being compared with every header.
fn strip(headers: &mut HeaderMap, is_match: impl Fn(&HeaderName) -> bool) {
    let options: Vec<HeaderValue> = headers.get_all(header::CONNECTION).iter().cloned().collect();
    let named = options.iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    for name in named {
        headers.remove(name.trim());
    }
    let is_removed = |name: &&HeaderName| is_hop_by_hop(name) || is_match(name);
    let removed: Vec<HeaderName> = headers.keys().filter(is_removed).cloned().collect();
    for name in removed {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let parsed = lines.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        parsed.collect()
    }

    fn tenant_named(name: &str) -> Tenant {
        Tenant(name.into())
    }

    #[test]
    fn credentials_and_the_form_of_the_body_are_not_forwarded() {
        let ours = headers(&[
            ("authorization", "Bearer callers"),
            ("authorization", "Bearer another"),
            ("x-api-key", "callers"),
            ("api-key", "callers"),
            ("content-length", "7"),
            ("content-encoding", "zstd"),
            ("accept-encoding", "gzip"),
            ("content-type", "application/json; charset=utf-7"),
            ("content-type", "text/plain"),
            ("expect", "100-continue"),
            ("x-tidegate-target", "p/m"),
        ]);
        assert_eq!(forwarded(ours, None), headers(&[("content-type", "application/json")]));
    }

    /// Regression: the key passed unchanged under the account that all callers share.
    #[test]
    fn an_idempotency_key_is_that_of_its_caller() {
        let key = |value: &'static str, tenant: Option<&Tenant>| {
            let headers = forwarded(headers(&[("idempotency-key", value)]), tenant);
            assert_eq!(headers.get_all("idempotency-key").iter().count(), 1);
            headers["idempotency-key"].to_str().unwrap().to_owned()
        };
        let (ann, ben) = (tenant_named("ann"), tenant_named("ben"));
        assert_eq!(key("1", Some(&ann)), key("1", Some(&ann)), "a retry of the same caller");
        let keys = [
            key("1", Some(&ann)),
            key("2", Some(&ann)),
            key("1", Some(&ben)),
            key("1", Some(&tenant_named(""))),
            key("1", None),
            key("1", None),
        ];
        assert_eq!(keys.iter().collect::<std::collections::BTreeSet<_>>().len(), keys.len(), "{keys:?}");
        let twice =
            headers(&[("idempotency-key", "1"), ("idempotency-key", "2"), ("x-idempotency-key", "1")]);
        let twice = forwarded(twice, Some(&ann));
        assert_eq!(twice.len(), 3);
        let keys_of = ["idempotency-key", "x-idempotency-key"].map(|name| twice[name].len());
        assert_eq!(keys_of, [32; 2], "{twice:?}");
        assert_ne!(twice["idempotency-key"], keys[0]);
    }

    #[test]
    fn headers_of_the_connection_are_removed_in_both_directions() {
        let lines = [
            ("connection", "keep-alive, X-Hop"),
            ("connection", "close"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "chunked"),
            ("te", "trailers"),
            ("upgrade", "h2c"),
            ("x-hop", "1"),
            ("x-end", "1"),
        ];
        let end = headers(&[("x-end", "1")]);
        let forwarded = forwarded(headers(&lines), None);
        assert_eq!((forwarded.len(), forwarded.get("x-end")), (2, end.get("x-end")));
        assert_eq!(returned(headers(&lines)), end);
    }

    /// Regression: each name in `connection` was compared with every header.
    #[test]
    fn the_time_is_linear_in_the_names_and_the_headers() {
        let count = 20_000;
        let names: Vec<String> = (0..count).map(|name| format!("{name:05}")).collect();
        let mut many: HeaderMap =
            names.iter().map(|name| (name.parse().unwrap(), HeaderValue::from_static("1"))).collect();
        let absent = names.iter().map(|name| format!("x{name}")).collect::<Vec<_>>().join(",");
        many.insert("connection", format!("00001,{absent}").parse().unwrap());
        let begun = Instant::now();
        assert_eq!(returned(many).len(), count - 1);
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    }

    #[test]
    fn response_headers_are_forwarded_except_those_of_the_gateway_the_account_and_the_origin() {
        let kept = [
            ("retry-after", "2"),
            ("x-request-id", "req_1"),
            ("openai-processing-ms", "9"),
            ("anthropic-ratelimit-requests-remaining", "9"),
            ("x-ratelimit-limit-project-tokens", "9"),
        ];
        let removed = [
            ("content-length", "7"),
            ("x-tidegate-code", "E2001"),
            ("set-cookie", "a=1"),
            ("set-cookie", "b=2"),
            ("openai-organization", "acme"),
            ("openai-project", "proj_1"),
            ("anthropic-organization-id", "1"),
            ("anthropic-workspace-id", "1"),
            ("strict-transport-security", "max-age=1"),
            ("access-control-allow-origin", "*"),
            ("clear-site-data", "\"*\""),
            ("refresh", "0; url=https://evil.example"),
            ("reporting-endpoints", "a=\"https://evil.example\""),
            ("service-worker-allowed", "/"),
            ("www-authenticate", "Basic"),
            ("proxy-authenticate", "Basic"),
            // Regression: nginx served a page of its own to the caller.
            ("x-accel-redirect", "/internal/"),
            ("x-accel-buffering", "yes"),
            ("x-accel-limit-rate", "1"),
            ("x-envoy-immediate-health-check-fail", "1"),
            ("x-sendfile", "/etc/passwd"),
            ("x-sendfile-temporary", "/etc/passwd"),
            ("x-lighttpd-send-file", "/etc/passwd"),
            ("x-litespeed-location", "/internal/"),
            ("x-reproxy-url", "http://10.0.0.1/"),
        ];
        let all = [&kept[..], &removed].concat();
        assert_eq!(returned(headers(&all)), headers(&kept));
    }
}
