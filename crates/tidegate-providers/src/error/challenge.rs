//! Web pages of a network in front of a provider, which require proof that a browser is calling.

use http::{HeaderMap, StatusCode};
use memchr::memmem;

use crate::body::first_bytes::trim_start;

/// What the scripts of such pages are called.
const SCRIPTS: [&[u8]; 8] = [
    b"/cdn-cgi/challenge-platform/",
    b"challenges.cloudflare.com",
    b"_cf_chl_opt",
    b"awswaf",
    b"_Incapsula_Resource",
    b"captcha-delivery.com",
    b"px-captcha",
    b"/_sec/cp_challenge/",
];

/// Whether the response is a challenge page. It was sent by the network, so the request has not reached the
/// provider, and nothing is known about the key.
pub(crate) fn is_challenge(status: Option<StatusCode>, headers: &HeaderMap, body: &[u8]) -> bool {
    status == Some(StatusCode::FORBIDDEN)
        && trim_start(body).first().is_none_or(|first| *first == b'<')
        && (headers.contains_key("cf-mitigated")
            || headers.get("x-amzn-waf-action").is_some_and(|action| action != "block")
            || SCRIPTS.iter().any(|script| memmem::find(body, script).is_some()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_web_page_with_a_challenge_is_one() {
        const PAGE: &str = "<html><script src='/cdn-cgi/challenge-platform/x.js'></script></html>";
        let is = |status: u16, header: Option<&'static str>, body: &str| {
            let name = http::HeaderName::from_static("cf-mitigated");
            let headers = header.map(|value| (name, value.parse().unwrap())).into_iter().collect();
            is_challenge(StatusCode::from_u16(status).ok(), &headers, body.as_bytes())
        };
        assert!(is(403, None, PAGE));
        assert!(is(403, Some("challenge"), "<html></html>"));
        assert!(is(403, None, &format!("\u{feff}\n<!-- x -->{PAGE}")));
        // The body may be cut off at any byte, or be missing.
        assert!(is(403, Some("challenge"), ""));
        assert!(!is(403, None, "<html>Forbidden</html>"));
        assert!(!is(403, Some("challenge"), r#"{"error":{"message":"no access"}}"#));
        assert!(!is(403, None, &format!("{{\"message\":\"{PAGE}\"}}")));
        assert!(!is(401, Some("challenge"), PAGE));
    }
}
