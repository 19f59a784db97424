//! The wait that a response reports.

use std::time::{Duration, SystemTime};

use http::HeaderMap;
use tidegate_core::{HintSource, Reset, RetryHint, server_time};

use crate::error::body::ParsedErrorBody;
use crate::text::message_wait;

/// The time if none is known: for a body without its head, and for a stream without a `Date`. Points in time
/// in them are ignored.
pub(crate) const NO_CLOCK: SystemTime = SystemTime::UNIX_EPOCH;

/// The hint in the usual headers, else in the body, else in the message. Zero is the last: some gateways add
/// `retry-after: 0` to a response with a wait of a minute in its body.
pub(crate) fn hint(headers: &HeaderMap, body: &ParsedErrorBody<'_>, now: SystemTime) -> Option<RetryHint> {
    let header = RetryHint::from_headers(headers, now);
    if header.and_then(|hint| hint.wait).is_some_and(|wait| !wait.is_zero()) {
        return header;
    }
    match from_body(body, server_time(headers, now)) {
        Some(hint) => Some(RetryHint { should_retry: header.and_then(|header| header.should_retry), ..hint }),
        None => header,
    }
}

/// The hint in the body. A field takes precedence over the message. Google rounds the field down: "53.4s" in
/// the message is `53s` in the field. If the message is later by less than a second, its wait is used.
fn from_body(body: &ParsedErrorBody<'_>, now: SystemTime) -> Option<RetryHint> {
    const ROUNDING: Duration = Duration::from_secs(1);
    let wait = |reset: Reset| match reset {
        Reset::At(_) if now == NO_CLOCK => None,
        reset => Some(reset.wait(now)).filter(|wait| !wait.is_zero()),
    };
    let field = body.resets.iter().copied().find_map(wait);
    let texts = || [&body.message, &body.upstream].into_iter().flatten();
    let message = texts().find_map(|text| message_wait::wait(text));
    let message = message.or_else(|| texts().flat_map(|text| message_wait::moments(text)).find_map(wait));
    match (field, message) {
        (Some(field), Some(message)) if message > field && message - field < ROUNDING => {
            Some(RetryHint::after(message, HintSource::Message))
        }
        (Some(field), _) => Some(RetryHint::after(field, HintSource::Body)),
        (None, Some(message)) => Some(RetryHint::after(message, HintSource::Message)),
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hint_of(header: Option<&str>, body: &str) -> Option<(Duration, HintSource)> {
        let mut headers = HeaderMap::new();
        if let Some(value) = header {
            headers.insert("retry-after", value.parse().unwrap());
        }
        let hint = hint(&headers, &ParsedErrorBody::read(body.as_bytes()), SystemTime::UNIX_EPOCH)?;
        Some((hint.wait?, hint.source))
    }

    const RETRY_AFTER: HintSource = HintSource::Header("retry-after");

    fn google(delay: &str, message: &str) -> String {
        format!(r#"{{"error":{{"message":"retry in {message}","details":[{{"retryDelay":"{delay}"}}]}}}}"#)
    }

    // Pitfall P25 (docs/pitfalls.md).
    #[test]
    fn the_header_precedes_the_field_and_the_field_precedes_the_message() {
        let secs = Duration::from_secs;
        assert_eq!(hint_of(Some("7"), &google("38s", "90s")), Some((secs(7), RETRY_AFTER)));
        assert_eq!(hint_of(None, &google("38s", "90s")), Some((secs(38), HintSource::Body)));
        assert_eq!(hint_of(None, &google("soon", "90s")), Some((secs(90), HintSource::Message)));
        assert_eq!(hint_of(None, &google("-38s", "a while")), None);
    }

    // Pitfall P25 (docs/pitfalls.md).
    #[test]
    fn of_a_delay_and_the_same_delay_rounded_down_the_later_is_used() {
        let message = Some((Duration::from_millis(53_400), HintSource::Message));
        assert_eq!(hint_of(None, &google("53s", "53.4s")), message);
        let field = Some((Duration::from_secs(53), HintSource::Body));
        assert_eq!(hint_of(None, &google("53s", "52.9s")), field);
        assert_eq!(hint_of(None, &google("53s", "54s")), field);
    }

    #[test]
    fn zero_is_used_only_if_there_is_no_other_wait() {
        assert_eq!(hint_of(Some("0"), &google("38s", "")), Some((Duration::from_secs(38), HintSource::Body)));
        assert_eq!(hint_of(Some("0"), &google("0s", "12s")).map(|hint| hint.1), Some(HintSource::Message));
        for zero in ["{}", &google("0s", "0s"), r#"{"error":{"retry_after":0}}"#] {
            assert_eq!(hint_of(Some("0"), zero), Some((Duration::ZERO, RETRY_AFTER)), "{zero}");
            assert_eq!(hint_of(None, zero), None, "{zero}");
        }
    }

    #[test]
    fn reads_waits_and_points_in_time_from_fields() {
        let noon = Reset::read("2026-11-05T12:00:00Z").unwrap();
        let Reset::At(noon) = noon else { panic!("a date is a point in time") };
        let hour = Duration::from_secs(3600);
        for (body, secs) in [
            (r#"{"error":{"message":"no","retry_after":12}}"#, 12),
            (r#"{"error":{"retry_after":"12"},"code":7}"#, 12),
            (r#"{"retry_after":12.0}"#, 12),
            (r#"{"error":{"retry_after_ms":12000}}"#, 12),
            (r#"{"error":{"type":"usage_limit_reached","resets_in_seconds":12}}"#, 12),
            (r#"{"error":{"retry_after":1793880012}}"#, 12),
            (r#"{"error":{"retry_after_ms":1793880012}}"#, 12),
            (r#"{"error":{"retryAfterMs":12000}}"#, 12),
            (r#"{"error":{"retry_delay_ms":12000}}"#, 12),
            (r#"{"error":{"retryAfter":12}}"#, 12),
            (r#"{"error":{"retry_delay":"12s"}}"#, 12),
            (r#"{"error":{"retry_after_seconds":12}}"#, 12),
            (r#"{"error":{"Retry-After":12}}"#, 12),
            (r#"{"error":{"resets_at":1793880012}}"#, 12),
            (r#"{"error":{"resetsAt":1793880012}}"#, 12),
            (r#"{"error":{"resetAt":1793880012}}"#, 12),
            (r#"{"error":{"reset_at":"2026-11-05T12:00:12Z"}}"#, 12),
            (r#"{"error":{"metadata":{"headers":{"X-RateLimit-Reset":"1793880012000"}}}}"#, 12),
            (r#"{"error":{"message":"try again at 2026-11-05T12:00:12Z"}}"#, 12),
        ] {
            let wait = |headers: &HeaderMap, now| {
                hint(headers, &ParsedErrorBody::read(body.as_bytes()), now).and_then(|hint| hint.wait)
            };
            let expected = Some(Duration::from_secs(secs));
            assert_eq!(wait(&HeaderMap::new(), noon), expected, "{body}");
            // The clock of the provider is right, and ours is an hour ahead.
            let headers = HeaderMap::from_iter([(
                http::header::DATE,
                "Thu, 05 Nov 2026 12:00:00 GMT".parse().unwrap(),
            )]);
            assert_eq!(wait(&headers, noon + hour), expected, "{body}");
        }
    }

    /// Regression: a zero, or a time that had passed, hid the wait after it.
    #[test]
    fn a_field_without_a_wait_does_not_hide_the_next_one() {
        let secs = Duration::from_secs;
        for (body, wait, source) in [
            (
                r#"{"error":{"message":"slow down","retry_after":0,"resets_in_seconds":90}}"#,
                90,
                HintSource::Body,
            ),
            (
                r#"{"error":{"retry_after":0,"metadata":{"headers":{"X-RateLimit-Reset":"90"}}}}"#,
                90,
                HintSource::Body,
            ),
            (r#"{"error":{"resets_at":"2020-11-05T12:00:00Z","retry_after_ms":9000}}"#, 9, HintSource::Body),
            (r#"{"error":{"retry_after_ms":"0","retry_after":"0s"},"retry_after":9}"#, 9, HintSource::Body),
            (r#"{"error":{"retry_after":0,"message":"retry in 0s; retry in 9s"}}"#, 9, HintSource::Message),
            (r#"{"error":"until 2020-11-05T12:00:00Z, until 1793880009"}"#, 9, HintSource::Message),
            (
                r#"{"error":{"message":"retry in 0s","metadata":{"raw":"retry in 9s"}}}"#,
                9,
                HintSource::Message,
            ),
            (
                r#"{"error":{"message":"until 2020-11-05T12:00:00Z","metadata":{"raw":"until 2026-11-05T12:00:09Z"}}}"#,
                9,
                HintSource::Message,
            ),
        ] {
            let now = SystemTime::UNIX_EPOCH + secs(1_793_880_000);
            let hint = hint(&HeaderMap::new(), &ParsedErrorBody::read(body.as_bytes()), now);
            let hint = hint.and_then(|hint| Some((hint.wait?, hint.source)));
            assert_eq!(hint, Some((secs(wait), source)), "{body}");
        }
        // A point in time has no meaning without a clock.
        let body = r#"{"error":{"resets_at":1793880012,"resets_in_seconds":12}}"#;
        assert_eq!(hint_of(None, body), Some((secs(12), HintSource::Body)));
    }

    #[test]
    fn a_point_in_time_is_ignored_without_a_clock() {
        assert_eq!(hint_of(None, r#"{"error":{"resets_at":1793880012}}"#), None);
    }
}
