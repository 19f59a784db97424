//! Which headers pass, and which stay.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::LazyLock;

use http::header::{self, Entry};
use http::{HeaderMap, HeaderName, HeaderValue};
use tidegate::Tenant;

/// About the connection between two neighbours, and of no meaning beyond it.
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

/// What callers tell us and no provider: who they are, what lets them in, and how they came here.
const OURS: [HeaderName; 17] = [
    header::AUTHORIZATION,
    header::PROXY_AUTHORIZATION,
    header::COOKIE,
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("api-key"),
    HeaderName::from_static("x-goog-api-key"),
    // They choose the account that the key belongs to, and the key is ours.
    HeaderName::from_static("openai-organization"),
    HeaderName::from_static("openai-project"),
    header::HOST,
    header::FORWARDED,
    header::VIA,
    HeaderName::from_static("x-real-ip"),
    HeaderName::from_static("true-client-ip"),
    // The body has its own length once the model is another.
    header::CONTENT_LENGTH,
    header::EXPECT,
    // Nobody here unpacks what the caller cannot read.
    header::ACCEPT_ENCODING,
    header::PROXY_AUTHENTICATE,
];

/// And all that begin so.
const OUR_PREFIXES: [&str; 3] = ["x-forwarded-", "cf-", "x-tidegate-"];

/// What tells callers apart, before it is taken off.
const CREDENTIALS: [HeaderName; 4] = [
    header::AUTHORIZATION,
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("api-key"),
    HeaderName::from_static("x-goog-api-key"),
];

/// Nobody can make up a credential that passes for another's, and none is kept.
static SECRET: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// The caller, by the credentials that it brings, if any: a digest of them.
pub(super) fn tenant(headers: &HeaderMap) -> Option<Tenant> {
    let given = CREDENTIALS.iter().any(|name| headers.contains_key(name));
    let values = CREDENTIALS.each_ref().map(|name| headers.get(name).map(HeaderValue::as_bytes));
    given.then(|| Tenant(format!("{:016x}", SECRET.hash_one(values)).into()))
}

/// What a provider may see of the headers of a caller.
pub(super) fn forwarded(mut headers: HeaderMap) -> HeaderMap {
    strip_hop_by_hop(&mut headers);
    strip(&mut headers, |name| {
        OURS.contains(name) || OUR_PREFIXES.iter().any(|prefix| name.as_str().starts_with(prefix))
    });
    headers
}

/// What a caller may see of the headers of a provider: all but those of the connection, and those that we set.
pub(super) fn returned(mut headers: HeaderMap) -> HeaderMap {
    strip_hop_by_hop(&mut headers);
    strip(&mut headers, |name| name.as_str().starts_with("x-tidegate-"));
    headers
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

fn strip(headers: &mut HeaderMap, is_meant: impl Fn(&HeaderName) -> bool) {
    let meant: Vec<HeaderName> = headers.keys().filter(|name| is_meant(name)).cloned().collect();
    for name in meant {
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
    fn what_is_meant_for_the_provider_passes() {
        let meant = headers(&[
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
        assert_eq!(forwarded(meant.clone()), meant);
    }

    #[test]
    fn credentials_and_the_way_here_stay() {
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
            ("accept-encoding", "gzip"),
            ("expect", "100-continue"),
        ]);
        assert_eq!(forwarded(ours), HeaderMap::new());
    }

    #[test]
    fn the_connection_is_nobody_elses_business() {
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
    fn an_answer_keeps_its_headers_and_loses_those_we_set() {
        let kept =
            [("retry-after", "2"), ("set-cookie", "a=1"), ("set-cookie", "b=2"), ("content-length", "7")];
        let all = [&kept[..], &[("x-tidegate-code", "E2001")]].concat();
        assert_eq!(returned(headers(&all)), headers(&kept));
    }
}
