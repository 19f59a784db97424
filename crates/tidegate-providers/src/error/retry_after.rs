//! The wait that a response reports.

use std::time::{Duration, SystemTime};

use http::HeaderMap;
use tidegate_core::{HintSource, RetryHint};

use crate::error::body::ParsedErrorBody;
use crate::text::{go_duration, message_wait};

/// The hint in the usual headers, else in the body, else in the message.
///
/// A zero in the headers is used only if there is no other wait: some gateways add `retry-after: 0` to a
/// response with a wait of a minute in its body.
pub(crate) fn hint(headers: &HeaderMap, body: &ParsedErrorBody<'_>, now: SystemTime) -> Option<RetryHint> {
    let header = RetryHint::from_headers(headers, now);
    if header.is_some_and(|hint| hint.wait.is_some_and(|wait| !wait.is_zero())) {
        return header;
    }
    match from_body(body) {
        Some(hint) => Some(RetryHint { should_retry: header.and_then(|header| header.should_retry), ..hint }),
        None => header,
    }
}

/// The hint in the body. A field takes precedence over the message. Google rounds the field down: "53.4s" in
/// the message is `53s` in the field. If the message is later by less than a second, its wait is used.
fn from_body(body: &ParsedErrorBody<'_>) -> Option<RetryHint> {
    const ROUNDING: Duration = Duration::from_secs(1);
    let field = body.retry_delay.as_deref().and_then(go_duration::parse);
    let texts = [&body.message, &body.upstream];
    let message = texts.into_iter().flatten().find_map(|text| message_wait::wait(text));
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
    fn a_zero_is_used_only_without_another_wait() {
        assert_eq!(hint_of(Some("0"), &google("38s", "")), Some((Duration::from_secs(38), HintSource::Body)));
        assert_eq!(hint_of(Some("0"), "{}"), Some((Duration::ZERO, RETRY_AFTER)));
    }
}
