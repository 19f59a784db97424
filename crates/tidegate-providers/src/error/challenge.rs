//! Web pages of a network in front of a provider, which require proof that a browser is calling.

use http::{HeaderMap, StatusCode};
use memchr::memmem;

use crate::body::first_bytes::trim_start;
use crate::body::format::BodyFormat;

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
/// provider, and nothing is known about the key. A header shows this for any body that is not JSON, such as
/// one that is compressed or empty; without it the page itself has to.
pub(crate) fn is_challenge(status: Option<StatusCode>, headers: &HeaderMap, body: &[u8]) -> bool {
    let first = trim_start(body).first();
    let is_compressed = BodyFormat::of(headers) == BodyFormat::Compressed;
    let is_announced = || {
        headers.contains_key("cf-mitigated")
            || headers.get("x-amzn-waf-action").is_some_and(|action| action != "block")
    };
    let is_page =
        || first == Some(&b'<') && SCRIPTS.iter().any(|script| memmem::find(body, script).is_some());
    let is_json = !is_compressed && matches!(first, Some(b'{' | b'['));
    match status {
        Some(StatusCode::FORBIDDEN) => !is_json && (is_announced() || is_page()),
        // AWS's CAPTCHA.
        Some(StatusCode::METHOD_NOT_ALLOWED) => !is_json && is_announced(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "<html><script src='/cdn-cgi/challenge-platform/x.js'></script></html>";
    const ERROR: &str = r#"{"error":{"message":"no access"}}"#;

    fn is(status: u16, pairs: &[(&'static str, &'static str)], body: &[u8]) -> bool {
        let pair =
            |&(name, value)| (http::HeaderName::from_static(name), http::HeaderValue::from_static(value));
        is_challenge(StatusCode::from_u16(status).ok(), &pairs.iter().map(pair).collect(), body)
    }

    #[test]
    fn only_a_web_page_with_a_challenge_is_one() {
        assert!(is(403, &[], PAGE.as_bytes()));
        assert!(is(403, &[], format!("\u{feff}\n<!-- x -->{PAGE}").as_bytes()));
        assert!(!is(403, &[], b"<html>Forbidden</html>"));
        assert!(!is(403, &[], b""));
        assert!(!is(403, &[], format!("{{\"message\":\"{PAGE}\"}}").as_bytes()));
        assert!(!is(405, &[], PAGE.as_bytes()));
    }

    /// Regression: a CAPTCHA of AWS, and a page that is compressed, were errors of the caller.
    #[test]
    fn a_header_shows_a_challenge_whatever_its_page_is() {
        const CLOUDFLARE: (&str, &str) = ("cf-mitigated", "challenge");
        // The first byte of brotli may be that of JSON.
        let pages: [(Option<&str>, &[u8]); 7] = [
            (None, b""),
            (None, b"<html></html>"),
            (None, b"Just a moment..."),
            (Some("identity"), b"<html></html>"),
            (Some("gzip"), b"\x1f\x8b\x08"),
            (Some("br"), b"[\x02\x00"),
            (Some("br"), b""),
        ];
        for (coding, page) in pages {
            let coding = coding.map(|coding| ("content-encoding", coding));
            let with = |header| [Some(header), coding].into_iter().flatten().collect::<Vec<_>>();
            for (status, header, expected) in [
                (403, CLOUDFLARE, true),
                (403, ("x-amzn-waf-action", "challenge"), true),
                (403, ("x-amzn-waf-action", "captcha"), true),
                (405, ("x-amzn-waf-action", "captcha"), true),
                (403, ("x-amzn-waf-action", "block"), false),
                (405, ("x-amzn-waf-action", "block"), false),
                (403, ("server", "cloudflare"), false),
                (405, ("allow", "GET"), false),
                (401, CLOUDFLARE, false),
                (429, ("x-amzn-waf-action", "captcha"), false),
            ] {
                assert_eq!(is(status, &with(header), page), expected, "{status} {header:?} {coding:?}");
                assert!(!is(status, &[header], ERROR.as_bytes()), "{status} {header:?}");
            }
        }
    }
}
