//! When to come back, as the answer itself tells it.

use std::time::{Duration, SystemTime};

use http::HeaderMap;
use tidegate_core::{HintSource, RetryHint};

use crate::error_body::ParsedErrorBody;
use crate::{go_duration, message_wait};

/// The hint in the usual headers, else in the body, else in the message.
///
/// A zero is taken only if nobody knows better: an eager gateway adds `retry-after: 0` to an answer that
/// asks for a minute.
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

/// The field goes before the message. Google rounds the field down: "53.4s" in the message is `53s` in the
/// field, and the later of two that close is the one that was meant.
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

    fn google(delay: &str, words: &str) -> String {
        format!(r#"{{"error":{{"message":"retry in {words}","details":[{{"retryDelay":"{delay}"}}]}}}}"#)
    }

    #[test]
    fn p25_the_header_goes_before_the_field_and_the_field_before_the_message() {
        let secs = Duration::from_secs;
        assert_eq!(hint_of(Some("7"), &google("38s", "90s")), Some((secs(7), RETRY_AFTER)));
        assert_eq!(hint_of(None, &google("38s", "90s")), Some((secs(38), HintSource::Body)));
        assert_eq!(hint_of(None, &google("soon", "90s")), Some((secs(90), HintSource::Message)));
        assert_eq!(hint_of(None, &google("-38s", "a while")), None);
    }

    #[test]
    fn p25_the_later_of_a_delay_and_the_same_delay_rounded_down() {
        let message = Some((Duration::from_millis(53_400), HintSource::Message));
        assert_eq!(hint_of(None, &google("53s", "53.4s")), message);
        let field = Some((Duration::from_secs(53), HintSource::Body));
        assert_eq!(hint_of(None, &google("53s", "52.9s")), field);
        assert_eq!(hint_of(None, &google("53s", "54s")), field);
    }

    #[test]
    fn a_zero_is_taken_only_if_nobody_knows_better() {
        assert_eq!(hint_of(Some("0"), &google("38s", "")), Some((Duration::from_secs(38), HintSource::Body)));
        assert_eq!(hint_of(Some("0"), "{}"), Some((Duration::ZERO, RETRY_AFTER)));
    }
}
