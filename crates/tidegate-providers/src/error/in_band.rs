//! Failures in a body that came without an error status.

use std::time::SystemTime;

use http::{HeaderMap, StatusCode};
use tidegate_core::{Category, ErrorCode, Failure};

use super::body::ParsedErrorBody;
use super::codes::look_up;
use super::phrases;
use super::response::ErrorResponse;
use super::retry_after::NO_CLOCK;
use crate::dialect::parsed_event::StreamError;
use crate::event::Event;
use crate::json::walk::{Leaf, walk_while};
use crate::provider::Provider;

/// The failure in a `body` that may be an error. `None` if it is not one.
pub(crate) fn failure_in(provider: Provider, body: &[u8]) -> Option<Failure> {
    let (headers, now) = (HeaderMap::new(), NO_CLOCK);
    let response = ErrorResponse::read(provider, None, &headers, body, now);
    response.is_error().then(|| response.failure(now))
}

/// The failure in a `body` that is no answer, if its code is MiniMax's, or if its code, its number or its
/// sentence shows that it is about a limit or the key. Any other code may be one of a server in front of the
/// provider: the same request may be answered by another one.
pub(crate) fn known_failure_in(
    provider: Provider,
    headers: &HeaderMap,
    body: &[u8],
    now: SystemTime,
) -> Option<Failure> {
    let response = ErrorResponse::read(provider, None, headers, body, now);
    let failure = response.failure(now);
    let is_of_account =
        failure.code.category() == Category::Rate || failure.code == ErrorCode::Authentication;
    let is_known = response.is_rate_limit()
        || response.has_code_of_answer()
        || response.has_known_code() && is_of_account;
    is_known.then_some(failure)
}

/// The failure in a `body` that is known to be an error.
pub(crate) fn failure_of(provider: Provider, status: Option<StatusCode>, body: &[u8]) -> Failure {
    let (headers, now) = (HeaderMap::new(), NO_CLOCK);
    ErrorResponse::read(provider, status, &headers, body, now).failure(now)
}

/// The failure in an event that is known to be an error. `code` is the error code in its frame.
pub(crate) fn failure_of_event(
    provider: Provider,
    code: Option<&str>,
    event: Event<'_>,
    now: SystemTime,
) -> Failure {
    let headers = HeaderMap::new();
    let status = event.status.filter(|status| (400..600).contains(status));
    let status = status.and_then(|status| StatusCode::from_u16(status).ok());
    ErrorResponse::read(provider, status, &headers, event.data, now).with_code(code).failure(now)
}

/// How much an event that is not one of the dialect of its stream resembles an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resemblance {
    /// Nothing in it is one of an error.
    None,
    /// It is a sentence, or an object with a message or the code of a failure.
    Vague,
    /// It has a message, and a code, a number or a sentence that is known.
    Known,
    /// It has the shape of an error.
    Error,
}

impl Resemblance {
    /// Parses the data of the event once. No phrase is searched in its message, except at the beginning.
    pub(crate) fn of(data: &[u8]) -> Self {
        let body = ParsedErrorBody::read(data);
        if body.is_error && has_error(data) {
            return Self::Error;
        }
        let message = body.message.as_deref().unwrap_or_default();
        let has_message = match data.trim_ascii().first() {
            Some(b'{' | b'[') => !message.trim().is_empty(),
            _ => message.contains(' '),
        };
        let mut codes = body.code.iter().chain(&body.reasons).chain(&body.kind).chain(&body.status);
        let is_known = has_message
            && (codes.any(|code| look_up(code).is_some())
                || body.number.is_some_and(|number| (400..600).contains(&number))
                || phrases::is_rate_limit(message));
        match body.number {
            _ if is_known => Self::Known,
            Some(0 | 200) => Self::None,
            number if has_message || number.is_some() || body.code.is_some() => Self::Vague,
            _ => Self::None,
        }
    }
}

/// Whether a body that has the shape of an error has a value in it. An object with empty fields is no error.
fn has_error(body: &[u8]) -> bool {
    let mut is_found = false;
    walk_while(body, |path, leaf| {
        is_found = matches!((path, leaf), ([.., "type" | "object"], Leaf::Text("error")))
            || leaf.is_value() && path.iter().any(|key| matches!(*key, "error" | "errors"));
        !is_found
    });
    is_found
}

/// The failure in the `body` of a response that was detected as an error. Its status is ignored, since it was
/// sent before the error occurred.
pub(crate) fn failure_of_body(
    provider: Provider,
    error: StreamError,
    headers: &HeaderMap,
    body: &[u8],
    now: SystemTime,
) -> Failure {
    let response = ErrorResponse::read(provider, None, headers, body, now);
    match error.failure() {
        Some(failure) if response.is_unknown() => failure,
        _ => response.failure(now),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_error_of_unknown_words_without_an_error_status_is_one_of_the_server() {
        for body in [
            "busy",
            "\"busy\"",
            r#"{"error":"busy"}"#,
            r#"{"error":{"message":"Provider returned error"}}"#,
            r#"{"error":{"message":"unable to serve","code":0}}"#,
            r#"{"error":{"message":"unable to serve","code":200}}"#,
            r#"{"error":{"message":"unable to serve","code":"ok"}}"#,
            r#"{"error":{"message":"unable to serve","code":null}}"#,
            r#"{"error":{"code":"a_new_code","type":"a_new_type"}}"#,
            r#"{"error":{}}"#,
            r#"{"errors":[{"message":"x"}]}"#,
            r#"{"errors":["x"]}"#,
            r#"{"status":"failed","error":{"message":"x"}}"#,
            r#"{"type":"error","message":"x"}"#,
            "",
        ] {
            let failure = failure_of(Provider::Other, None, body.as_bytes());
            assert_eq!(failure.code, ErrorCode::ServerError, "{body}");
            assert!(failure.code.is_fallbackable() && failure.code.is_retryable(), "{body}");
        }
    }

    /// Regression: it was counted against the circuit of the provider, and its wait was ignored.
    #[test]
    fn a_rate_limit_that_only_its_sentence_shows_is_one() {
        let secs = |secs| Some(Duration::from_secs(secs));
        for (sentence, code, wait) in [
            (
                "Rate limit reached for model `m` in organization `o` on tokens per minute (TPM): Limit 6000, Used 5900, \
                 Requested 700. Please try again in 5s. Visit https://console.example.com/settings/billing for more.",
                ErrorCode::RateLimited,
                secs(5),
            ),
            ("Rate limit reached, try again in 5s", ErrorCode::RateLimited, secs(5)),
            ("rate limit exceeded", ErrorCode::RateLimited, None),
            ("Rate limited: retry after 7 seconds.", ErrorCode::RateLimited, secs(7)),
            ("Too many requests. Please wait 3 seconds", ErrorCode::RateLimited, secs(3)),
            ("429 Too Many Requests", ErrorCode::RateLimited, None),
            (
                "Rate limit reached on tokens per day (TPD). Please try again in 9h",
                ErrorCode::QuotaExhausted,
                secs(32_400),
            ),
            // These words may be quoted from the request.
            ("Unknown tool: rate limit reached, try again in 90s", ErrorCode::ServerError, None),
            ("The tool `too many requests, retry in 90s` is not known", ErrorCode::ServerError, None),
            ("Rate limits are part of the plan", ErrorCode::ServerError, None),
        ] {
            let quoted = serde_json::to_string(sentence).unwrap();
            for body in [
                sentence.to_owned(),
                quoted.clone(),
                format!(r#"{{"error":{quoted}}}"#),
                format!(r#"{{"error":{{"message":{quoted}}}}}"#),
                format!(r#"[{{"error":{{"message":{quoted},"code":null}}}}]"#),
                format!(r#"{{"type":"error","message":{quoted}}}"#),
            ] {
                let failure = failure_of(Provider::Groq, None, body.as_bytes());
                assert_eq!((failure.code, failure.wait()), (code, wait), "{body}");
            }
        }
    }

    #[test]
    fn what_is_known_of_an_error_keeps_its_class() {
        for (body, code) in [
            (r#"{"error":{"message":"x","code":"insufficient_quota"}}"#, ErrorCode::QuotaExhausted),
            (r#"{"error":{"message":"x","code":429}}"#, ErrorCode::RateLimited),
            (r#"{"error":{"message":"x","type":"overloaded_error"}}"#, ErrorCode::Overloaded),
            (r#"{"error":{"message":"x","type":"invalid_request_error"}}"#, ErrorCode::InvalidRequest),
            (r#"{"error":{"message":"x","code":"context_length_exceeded"}}"#, ErrorCode::RequestTooLarge),
            (r#"{"error":{"message":"x","code":"unknown"}}"#, ErrorCode::ServerError),
        ] {
            assert_eq!(failure_of(Provider::Other, None, body.as_bytes()).code, code, "{body}");
        }
    }

    #[test]
    fn an_event_resembles_an_error_as_far_as_it_has_values_of_one() {
        for (data, expected) in [
            (r#"{"error":{"code":7}}"#, Resemblance::Error),
            (r#"{"object":"error"}"#, Resemblance::Error),
            (r#"{"response":{"error":"x"}}"#, Resemblance::Error),
            (r#"{"code":429,"message":"x"}"#, Resemblance::Known),
            (r#"{"reason":"x","details":{"reason":"unauthorized"},"message":"x"}"#, Resemblance::Known),
            (r#"{"code":200,"message":"too many requests"}"#, Resemblance::Known),
            (r#"{"code":429}"#, Resemblance::Vague),
            (r#"{"message":"a rate limit"}"#, Resemblance::Vague),
            (r#"{"error":{}}"#, Resemblance::None),
            (r#"{"type":"summary","errors":[]}"#, Resemblance::None),
            (r#"{"error":{"code":0,"message":""}}"#, Resemblance::None),
            (r#"{"code":0,"message":"x"}"#, Resemblance::None),
        ] {
            assert_eq!(Resemblance::of(data.as_bytes()), expected, "{data}");
        }
    }

    #[test]
    fn a_stop_reason_decides_where_the_body_has_no_error_of_its_own() {
        let error = StreamError::StopReason("insufficient_system_resource", ErrorCode::Overloaded);
        let of = |body: &str| {
            failure_of_body(Provider::Other, error, &HeaderMap::new(), body.as_bytes(), NO_CLOCK)
        };
        assert_eq!(of(r#"{"choices":[]}"#).code, ErrorCode::Overloaded);
        assert_eq!(
            of(r#"{"error":{"message":"x","code":"insufficient_quota"}}"#).code,
            ErrorCode::QuotaExhausted
        );
    }
}
