//! The headers that are forwarded, and those that are removed.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::LazyLock;

use http::header::{self, Entry};
use http::{HeaderMap, HeaderName, HeaderValue};
use tidegate::Tenant;

/// Headers of a single connection, which are never forwarded.
const HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("http2-settings"),
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Request headers that are not forwarded to providers: identity, credentials and path of the caller.
const NOT_FORWARDED: [HeaderName; 18] = [
    header::AUTHORIZATION,
    header::PROXY_AUTHORIZATION,
    header::COOKIE,
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("api-key"),
    HeaderName::from_static("x-goog-api-key"),
    // They select the account of an API key, and the key is that of the gateway.
    HeaderName::from_static("openai-organization"),
    HeaderName::from_static("openai-project"),
    header::HOST,
    header::FORWARDED,
    header::VIA,
    HeaderName::from_static("x-real-ip"),
    HeaderName::from_static("true-client-ip"),
    // The length of the body changes with the model.
    header::CONTENT_LENGTH,
    // The gateway has unpacked the body.
    header::CONTENT_ENCODING,
    header::EXPECT,
    // The gateway does not decompress responses.
    header::ACCEPT_ENCODING,
    header::PROXY_AUTHENTICATE,
];

/// Prefixes of further request headers that are not forwarded.
const NOT_FORWARDED_PREFIXES: [&str; 3] = ["x-forwarded-", "cf-", "x-tidegate-"];

/// Words in the names of response headers that describe the provider's account, which belongs to the operator
/// of the gateway: `openai-organization`, `anthropic-workspace-id`, `x-goog-user-project`.
const ACCOUNT_WORDS: [&str; 9] = [
    "organization",
    "organisation",
    "org",
    "project",
    "workspace",
    "account",
    "tenant",
    "subscription",
    "team",
];

/// Response headers that configure a browser for the origin of the provider.
const OF_THE_ORIGIN: [HeaderName; 5] = [
    header::SET_COOKIE,
    header::ALT_SVC,
    header::STRICT_TRANSPORT_SECURITY,
    HeaderName::from_static("nel"),
    HeaderName::from_static("report-to"),
];

/// The headers that identify a caller. They are read before they are removed.
const CREDENTIALS: [HeaderName; 4] = [
    header::AUTHORIZATION,
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("api-key"),
    HeaderName::from_static("x-goog-api-key"),
];

/// Hashes credentials with random keys, so that no caller can construct a collision and no credential is
/// stored.
static TENANT_HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// The tenant of a request: a digest of the caller's credentials, if it sent any.
pub(super) fn tenant(headers: &HeaderMap) -> Option<Tenant> {
    let has_credentials = CREDENTIALS.iter().any(|name| headers.contains_key(name));
    let values = CREDENTIALS.each_ref().map(|name| headers.get(name).map(HeaderValue::as_bytes));
    has_credentials.then(|| Tenant(format!("{:016x}", TENANT_HASHER.hash_one(values)).into()))
}

/// The request headers that are forwarded to the provider.
pub(super) fn forwarded(mut headers: HeaderMap) -> HeaderMap {
    strip_hop_by_hop(&mut headers);
    strip(&mut headers, |name| {
        NOT_FORWARDED.contains(name)
            || NOT_FORWARDED_PREFIXES.iter().any(|prefix| name.as_str().starts_with(prefix))
    });
    headers
}

/// The response headers that are forwarded to the caller: all but those of the connection, of the provider's
/// account and origin, and those that the gateway sets itself.
pub(super) fn returned(mut headers: HeaderMap) -> HeaderMap {
    strip_hop_by_hop(&mut headers);
    strip(&mut headers, |name| {
        name.as_str().starts_with("x-tidegate-") || OF_THE_ORIGIN.contains(name) || is_of_the_account(name)
    });
    headers
}

/// Whether a response header describes the account. Rate limits are for the caller, whatever they count.
fn is_of_the_account(name: &HeaderName) -> bool {
    let mut words = name.as_str().split('-');
    words.clone().all(|word| word != "ratelimit") && words.any(|word| ACCOUNT_WORDS.contains(&word))
}

fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    strip(headers, |name| HOP_BY_HOP.contains(name) || named.contains(name));
}

fn strip(headers: &mut HeaderMap, is_match: impl Fn(&HeaderName) -> bool) {
    let matching: Vec<HeaderName> = headers.keys().filter(|name| is_match(name)).cloned().collect();
    for name in matching {
        if let Entry::Occupied(entry) = headers.entry(name) {
            entry.remove_entry_mult();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let parsed = lines.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        parsed.collect()
    }

    #[test]
    fn headers_for_the_provider_are_forwarded() {
        let matching = headers(&[
            ("content-type", "application/json"),
            ("accept", "text/event-stream"),
            ("user-agent", "OpenAI/Python"),
            ("openai-beta", "assistants=v2"),
            ("anthropic-version", "2023-06-01"),
            ("anthropic-beta", "one"),
            ("anthropic-beta", "two"),
            ("idempotency-key", "once"),
            ("x-stainless-retry-count", "0"),
        ]);
        assert_eq!(forwarded(matching.clone()), matching);
    }

    #[test]
    fn credentials_and_forwarding_headers_are_not_forwarded() {
        let ours = headers(&[
            ("authorization", "Bearer callers"),
            ("authorization", "Bearer another"),
            ("x-api-key", "callers"),
            ("api-key", "callers"),
            ("cookie", "session=callers"),
            ("host", "gateway"),
            ("forwarded", "for=10.0.0.1"),
            ("x-forwarded-for", "10.0.0.1"),
            ("x-real-ip", "10.0.0.1"),
            ("cf-connecting-ip", "10.0.0.1"),
            ("content-length", "7"),
            ("content-encoding", "zstd"),
            ("accept-encoding", "gzip"),
            ("expect", "100-continue"),
        ]);
        assert_eq!(forwarded(ours), HeaderMap::new());
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
        assert_eq!(forwarded(headers(&lines)), end);
        assert_eq!(returned(headers(&lines)), end);
    }

    #[test]
    fn response_headers_are_forwarded_except_those_of_the_gateway_the_account_and_the_origin() {
        let kept = [
            ("retry-after", "2"),
            ("content-length", "7"),
            ("x-request-id", "req_1"),
            ("openai-processing-ms", "9"),
            ("anthropic-ratelimit-requests-remaining", "9"),
            ("x-ratelimit-limit-project-tokens", "9"),
        ];
        let removed = [
            ("x-tidegate-code", "E2001"),
            ("set-cookie", "a=1"),
            ("set-cookie", "b=2"),
            ("openai-organization", "acme"),
            ("openai-project", "proj_1"),
            ("anthropic-organization-id", "1"),
            ("anthropic-workspace-id", "1"),
            ("strict-transport-security", "max-age=1"),
        ];
        let all = [&kept[..], &removed].concat();
        assert_eq!(returned(headers(&all)), headers(&kept));
    }
}
