use axum::body::Body;
use http::header::{CONTENT_TYPE, HeaderName};
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body::Body as _;
use tidegate::ErrorCode;

use crate::proxy::GatewayError;

/// The header with the content types that a resource accepts (W3C, Linked Data Platform, 7.1).
const ACCEPT_POST: HeaderName = HeaderName::from_static("accept-post");

/// Checks that the body of a POST is declared as JSON in UTF-8, or not at all. Every handler of a POST calls
/// it.
///
/// A browser sends a body of the types `text/plain`, `application/x-www-form-urlencoded` and
/// `multipart/form-data` to any address without asking. The official clients send JSON, and scripts often no
/// content type.
///
/// # Errors
///
/// The body is declared as something else.
pub(crate) fn check_content_type(headers: &HeaderMap, body: &Body) -> Result<(), Box<GatewayError>> {
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    let is_accepted = match (types.next(), types.next()) {
        (None, _) => true,
        (Some(value), None) => is_json(value) && has_no_other_charset(value),
        (Some(_), Some(_)) => false,
    };
    if is_accepted || body.is_end_stream() {
        return Ok(());
    }
    let message = "content type of the body is not supported, expected `content-type: application/json`";
    let error =
        GatewayError::new(ErrorCode::InvalidRequest, message).status(StatusCode::UNSUPPORTED_MEDIA_TYPE);
    Err(Box::new(error.header(ACCEPT_POST, HeaderValue::from_static("application/json"))))
}

/// Whether a content type is `application/json`, or another one under `application` that ends in `+json`.
fn is_json(value: &HeaderValue) -> bool {
    let value = value.as_bytes();
    let essence =
        value.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii().to_ascii_lowercase();
    let Some(subtype) = essence.strip_prefix(b"application/") else { return false };
    let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$&^_.+-".contains(byte);
    subtype == b"json" || subtype.ends_with(b"+json") && subtype.iter().all(is_token)
}

/// Whether each charset in the parameters is UTF-8. JSON has no other one (RFC 8259, 8.1), but a server may
/// read it.
fn has_no_other_charset(value: &HeaderValue) -> bool {
    let value = String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase();
    value.split(';').skip(1).map(str::trim).all(|parameter| {
        let (name, charset) = parameter.split_once('=').unwrap_or((parameter, ""));
        !name.starts_with("charset") || matches!(charset.trim().trim_matches('"'), "utf-8" | "utf8")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_json_is_json() {
        for (value, expected) in [
            ("application/json", true),
            ("Application/JSON ; charset=utf-8", true),
            ("application/vnd.api+json", true),
            ("text/plain", false),
            ("text/plain; application/json", false),
            ("text/plain, application/json", false),
            ("application/x-www-form-urlencoded", false),
            ("multipart/form-data; boundary=json", false),
            ("application/json, text/plain", false),
            ("application/jsonp", false),
            ("application/x y+json", false),
            ("text/x+json", false),
            ("json", false),
            ("", false),
        ] {
            assert_eq!(is_json(&HeaderValue::from_static(value)), expected, "{value:?}");
        }
    }
}
