//! Error bodies of all providers in one structure.
//!
//! The JSON is visited leaf by leaf, and each leaf is kept or skipped by its position. No field is expected
//! to have a certain type, so an unexpected type does not make the rest unreadable. The fields before the end
//! of a truncated body are kept. Strings are borrowed unless they contain escapes. Nesting is bounded by
//! `serde_json`.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use tidegate_core::Reset;

use crate::body::first_bytes::{FirstBytes, trim_start};
use crate::text::go_duration;

/// The fields of an error body that matter for classification.
#[derive(Default)]
pub(crate) struct ParsedErrorBody<'a> {
    /// `error.code`, if it is a string; the exception of a Bedrock body.
    pub(crate) code: Option<Cow<'a, str>>,
    /// `error.code`, if it is a number or a number in quotes.
    pub(crate) number: Option<u16>,
    /// `error.type`.
    pub(crate) kind: Option<Cow<'a, str>>,
    /// Google's `error.status`.
    pub(crate) status: Option<Cow<'a, str>>,
    /// The human-readable message. It may quote the prompt or a key, so it is read and never passed on.
    pub(crate) message: Option<Cow<'a, str>>,
    /// `reason` and similar fields at deeper levels.
    pub(crate) reasons: Vec<Cow<'a, str>>,
    /// The names of the limits that Google reports as exceeded.
    pub(crate) limits: Vec<Cow<'a, str>>,
    /// One of these limits is zero.
    pub(crate) has_zero_limit: bool,
    /// When the provider may be called again: `RetryInfo.retryDelay`, `retry_after`, `resets_at` and the
    /// like, each as it is sent: one may be zero, or have passed.
    pub(crate) resets: Vec<Reset>,
    /// The error text of the provider behind OpenRouter.
    pub(crate) upstream: Option<Cow<'a, str>>,
    /// OpenRouter lists flagged input.
    pub(crate) is_flagged: bool,
    /// The body has the shape of an error.
    pub(crate) is_error: bool,
    /// The body is truncated or malformed.
    pub(crate) is_cut: bool,
}

/// Maximum number of bytes that are read of a message. The rest is usually the prompt.
const MAX_MESSAGE: usize = 8 * 1024;

const MILLISECOND: Duration = Duration::from_millis(1);

/// Maximum number of reasons, limits and resets that are kept. A body usually has one or two.
const MAX_ITEMS: usize = 16;

impl<'a> ParsedErrorBody<'a> {
    /// Parses any bytes.
    pub(crate) fn read(bytes: &'a [u8]) -> Self {
        let mut body = Self::default();
        let bytes = trim_start(bytes).trim_ascii_end();
        let bytes = document_in_events(bytes).unwrap_or(bytes);
        match bytes.first() {
            None | Some(b'<') => {}
            Some(b'{' | b'[' | b'"') => {
                let mut json = serde_json::Deserializer::from_slice(bytes);
                let visitor =
                    ErrorBodyVisitor { body: &mut body, section: Section::Outside, field: ErrorField::Other };
                body.is_cut = visitor.deserialize(&mut json).is_err();
            }
            Some(_) => body.message = std::str::from_utf8(bytes).ok().map(|text| clip(text.into())),
        }
        body
    }

    /// The message of a complete body. In a truncated body an error code that takes precedence over the
    /// message may be missing, so its message is not used.
    pub(crate) fn whole_message(&self) -> &str {
        match &self.message {
            Some(message) if !self.is_cut => message,
            _ => "",
        }
    }

    /// The message, unless it is blank.
    pub(crate) fn into_message(self) -> Option<String> {
        self.message.filter(|text| !text.trim().is_empty()).map(Cow::into_owned)
    }

    fn record(&mut self, section: Section, field: ErrorField, text: Cow<'a, str>) {
        use {ErrorField as F, Section as S};
        match (section, field) {
            (S::Top | S::Error, F::Code) => {
                self.number = self.number.or_else(|| text.parse().ok());
                self.code.get_or_insert(text);
            }
            (S::Top | S::Error, F::Exception) => {
                // `com.amazon.coral.service#ThrottlingException`
                let name = match text {
                    Cow::Borrowed(text) => Cow::Borrowed(text.rsplit('#').next().unwrap_or(text)),
                    Cow::Owned(text) => Cow::Owned(text.rsplit('#').next().unwrap_or(&text).to_owned()),
                };
                self.code.get_or_insert(name);
            }
            // Anthropic's envelope and OpenAI's event have the type "error".
            (S::Top, F::Type | F::Object) if text == "error" => self.is_error = true,
            (S::Top | S::Error, F::Type) => _ = self.kind.get_or_insert(text),
            (S::Error, F::Status) => _ = self.status.get_or_insert(text),
            (S::Outside, _) | (S::Top | S::Error | S::BaseResponse, F::Message) => {
                self.message.get_or_insert(clip(text));
            }
            (S::Top, F::Error) if !text.trim().is_empty() => {
                self.is_error = true;
                self.message.get_or_insert(clip(text));
            }
            (S::Inner | S::Details | S::Metadata, F::Code | F::Type | F::Reason)
                if self.reasons.len() < MAX_ITEMS =>
            {
                self.reasons.push(text);
            }
            (S::Details, F::Limit) if self.limits.len() < MAX_ITEMS => self.limits.push(text),
            (S::Details, F::LimitValue) => self.has_zero_limit |= text == "0",
            (S::Top | S::Error | S::Details | S::Metadata, F::RetryDelay) => {
                self.record_reset(go_duration::reset(&text));
            }
            (S::Top | S::Error | S::Details | S::Metadata, F::RetryDelayMs) => {
                self.record_wait(text.parse().ok(), MILLISECOND);
            }
            (S::Metadata, F::Raw) => _ = self.upstream.get_or_insert(clip(text)),
            (S::Metadata, F::Flagged) => self.is_flagged = true,
            _ => {}
        }
    }

    fn record_reset(&mut self, reset: Option<Reset>) {
        self.resets.extend(reset.filter(|_| self.resets.len() < MAX_ITEMS));
    }

    fn record_wait(&mut self, amount: Option<f64>, unit: Duration) {
        let amount = amount.filter(|amount| amount.is_finite() && *amount >= 0.0);
        self.record_reset(amount.and_then(|amount| Reset::of_number(amount, unit)));
    }

    /// A wait or a point in time that is a number in JSON.
    fn record_amount(&mut self, section: Section, field: ErrorField, amount: f64) {
        use {ErrorField as F, Section as S};
        let unit = match field {
            F::RetryDelay => Duration::from_secs(1),
            F::RetryDelayMs => MILLISECOND,
            _ => return,
        };
        if matches!(section, S::Top | S::Error | S::Details | S::Metadata) {
            self.record_wait(Some(amount), unit);
        }
    }

    fn record_number(&mut self, section: Section, field: ErrorField, number: u64) {
        self.record_amount(section, field, number as f64);
        match (section, field) {
            (Section::Top | Section::Error, ErrorField::Code) => {
                match number.try_into() {
                    Ok(number) => _ = self.number.get_or_insert(number),
                    // Baidu's codes have six digits.
                    Err(_) => _ = self.code.get_or_insert_with(|| number.to_string().into()),
                }
            }
            (Section::Details, ErrorField::LimitValue) => self.has_zero_limit |= number == 0,
            // Zero is a success. Elsewhere the number means something else.
            (Section::BaseResponse, ErrorField::StatusCode) if number != 0 => {
                self.code.get_or_insert_with(|| format!("base_resp.{number}").into());
            }
            _ => {}
        }
    }

    /// The fields of an `error` object replace those of the object around it.
    fn enter_error(&mut self) {
        if !self.is_error {
            (self.code, self.number, self.kind, self.message) = (None, None, None, None);
        }
        self.is_error = true;
    }
}

/// The first document in an error that is framed as events, unless it continues on the next line. DashScope sends
/// such a body with an error status if the request was for a stream.
fn document_in_events(bytes: &[u8]) -> Option<&[u8]> {
    if matches!(bytes.first(), None | Some(b'{' | b'[')) || FirstBytes::of(bytes) != FirstBytes::Events {
        return None;
    }
    let mut values = bytes.split(|byte| matches!(byte, b'\n' | b'\r')).filter_map(|line| {
        line.strip_prefix(b"data:").or_else(|| line.strip_prefix(b"error:")).map(<[u8]>::trim_ascii)
    });
    let document = values.find(|value| value.starts_with(b"{"));
    // The body may be truncated.
    document.filter(|document| document.ends_with(b"}") || bytes.ends_with(document))
}

/// At most [`MAX_MESSAGE`] bytes of `text`.
fn clip(text: Cow<'_, str>) -> Cow<'_, str> {
    let end = (0..=MAX_MESSAGE).rev().find(|&end| text.is_char_boundary(end)).unwrap_or_default();
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(&text[..end]),
        Cow::Owned(mut text) => {
            text.truncate(end);
            Cow::Owned(text)
        }
    }
}

/// The part of an error body that a leaf belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Section {
    /// Outside of any object. Google may wrap its error in an array with one element.
    Outside,
    Top,
    /// `error`, or its equivalent at other providers.
    Error,
    /// Azure's `innererror`.
    Inner,
    /// `error.details`, at any depth.
    Details,
    /// OpenRouter's `error.metadata`.
    Metadata,
    /// MiniMax's `base_resp`, beside the fields of an answer.
    BaseResponse,
    Elsewhere,
}

impl Section {
    /// The section of a value under `field` of an object in this section.
    fn child(self, field: ErrorField) -> Self {
        match (self, field) {
            // The object of a `response.failed` event, Groq's `x_groq`, or the choices of a chunk.
            (Self::Outside, _) | (Self::Top, ErrorField::Response) => Self::Top,
            (Self::Top, ErrorField::Error | ErrorField::Message) => Self::Error,
            (Self::Top, ErrorField::BaseResponse) => Self::BaseResponse,
            (Self::Top | Self::Error, ErrorField::Inner) => Self::Inner,
            (Self::Top | Self::Error, ErrorField::Details) | (Self::Details, _) => Self::Details,
            (Self::Error, ErrorField::Metadata) | (Self::Metadata, ErrorField::Headers) => Self::Metadata,
            _ => Self::Elsewhere,
        }
    }
}

/// The field names that matter, as seen in error bodies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum ErrorField {
    #[serde(alias = "errors")]
    Error,
    #[serde(alias = "error_code")]
    Code,
    #[serde(rename = "__type")]
    Exception,
    #[serde(alias = "error_type")]
    Type,
    Object,
    Status,
    #[serde(rename = "base_resp")]
    BaseResponse,
    StatusCode,
    #[serde(alias = "Message", alias = "msg", alias = "detail", alias = "status_msg")]
    Message,
    #[serde(rename = "innererror", alias = "inner_error")]
    Inner,
    Details,
    Metadata,
    #[serde(alias = "x_groq", alias = "choices")]
    Response,
    Reason,
    #[serde(rename = "quotaId", alias = "quota_limit")]
    Limit,
    #[serde(rename = "quotaValue", alias = "quota_limit_value")]
    LimitValue,
    #[serde(
        rename = "retryDelay",
        alias = "retry_delay",
        alias = "retry_after",
        alias = "retryAfter",
        alias = "retry_after_seconds",
        alias = "Retry-After",
        alias = "resets_in_seconds",
        alias = "resets_at",
        alias = "reset_at",
        alias = "resetsAt",
        alias = "resetAt",
        alias = "X-RateLimit-Reset"
    )]
    RetryDelay,
    #[serde(rename = "retry_after_ms", alias = "retryAfterMs", alias = "retry_delay_ms")]
    RetryDelayMs,
    /// The headers of the provider behind OpenRouter.
    Headers,
    Raw,
    #[serde(rename = "flagged_input", alias = "reasons")]
    Flagged,
    #[serde(other)]
    Other,
}

/// Visits one value of the document, given its section and its field name.
struct ErrorBodyVisitor<'b, 'de> {
    body: &'b mut ParsedErrorBody<'de>,
    section: Section,
    field: ErrorField,
}

impl<'de> DeserializeSeed<'de> for ErrorBodyVisitor<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        match self.section {
            Section::Elsewhere => IgnoredAny::deserialize(deserializer).map(drop),
            _ => deserializer.deserialize_any(self),
        }
    }
}

impl<'de> Visitor<'de> for ErrorBodyVisitor<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let section = self.section.child(self.field);
        // The message of an answer is an object as well.
        if section == Section::Error && self.field == ErrorField::Error {
            self.body.enter_error();
        }
        while let Some(field) = map.next_key()? {
            map.next_value_seed(ErrorBodyVisitor { body: &mut *self.body, section, field })?;
        }
        Ok(())
    }

    /// The elements have the section of their array.
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let ErrorBodyVisitor { body, section, field } = self;
        while seq.next_element_seed(ErrorBodyVisitor { body: &mut *body, section, field })?.is_some() {}
        Ok(())
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<(), E> {
        self.body.record(self.section, self.field, Cow::Borrowed(text));
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.body.record(self.section, self.field, Cow::Owned(text.to_owned()));
        Ok(())
    }

    fn visit_u64<E>(self, number: u64) -> Result<(), E> {
        self.body.record_number(self.section, self.field, number);
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, number: f64) -> Result<(), E> {
        self.body.record_amount(self.section, self.field, number);
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_shape_of_an_error() {
        for body in [
            r#"{"error":{"message":"no","type":"t","param":null,"code":"c"}}"#,
            r#"{"type":"error","error":{"code":"c","type":"t","message":"no"},"request_id":"r"}"#,
            r#"[{"error":{"code":"c","type":"t","message":"no","details":null}}]"#,
            r#"{"object":"error","message":"no","type":"t","param":null,"code":"c"}"#,
            r#"{"__type":"a.b#c","Message":"no","type":"t"}"#,
            r#"{"type":"response.failed","response":{"id":1,"error":{"code":"c","message":"no","type":"t"}}}"#,
            r#"{"detail":[{"code":"c","msg":"no","type":"t","loc":["body",1]}]}"#,
            r#"{"errors":[{"code":"c","type":"t","message":"no"},{"code":"d","message":"another"}]}"#,
            r#"{"type":"outer","code":7,"error":{"code":"c","message":"no","type":"t"}}"#,
            r#"{"error":{"code":"\u0063","message":"n\u006f","type":"t"},"type":"outer","code":"d"}"#,
        ] {
            let read = ParsedErrorBody::read(body.as_bytes());
            let text = |field: &Option<Cow<'_, str>>| field.as_deref().unwrap_or("-").to_owned();
            let got = (text(&read.code), text(&read.kind), text(&read.message));
            assert_eq!(got, ("c".into(), "t".into(), "no".into()), "{body}");
            assert!(!read.is_cut, "{body}");
        }
    }

    #[test]
    fn a_bare_string_is_the_message() {
        for body in [
            "\u{feff}{\"error\":\"no\"}",
            r#""no""#,
            r#"{"error":"no"}"#,
            r#"{"detail":"no"}"#,
            "no",
            "\n no \n",
            r#"[{"error":"no"}]"#,
        ] {
            assert_eq!(ParsedErrorBody::read(body.as_bytes()).message.as_deref(), Some("no"), "{body}");
        }
    }

    #[test]
    fn an_error_in_the_framing_of_events_is_read_as_the_same_without_it() {
        const ERROR: &str = r#"{"error":{"code":"c","message":"no","type":"t"}}"#;
        for frame in [
            "data: ERROR",
            "data:ERROR\n\n",
            "\r\nevent: error\r\ndata: ERROR\r\n\r\n",
            "id:1\nevent:error\n:HTTP_STATUS/429\ndata:ERROR\n\n",
            ": ping\n\ndata: wait\n\ndata: ERROR\n\ndata: {\"code\":\"d\"}\n\n",
            "error: ERROR",
            "event: error\rdata: ERROR\r\r",
        ] {
            let body = frame.replace("ERROR", ERROR);
            let read = ParsedErrorBody::read(body.as_bytes());
            let got = (read.code.as_deref(), read.message.as_deref(), read.kind.as_deref(), read.is_error);
            assert_eq!(got, (Some("c"), Some("no"), Some("t"), true), "{body}");
        }
        let pretty = "data: {\ndata:   \"error\": {\ndata:     \"message\": \"no\"\ndata:   }\ndata: }";
        let cut = ParsedErrorBody::read(br#"data: {"error":{"code":"c","message":"n"#);
        assert_eq!((cut.code.as_deref(), cut.is_cut), (Some("c"), true));
        for text in ["error: no", "data: no", "event: error\ndata: no", pretty] {
            assert_eq!(ParsedErrorBody::read(text.as_bytes()).message.as_deref(), Some(text));
        }
    }

    #[test]
    fn a_field_of_an_unexpected_type_is_skipped_alone() {
        let odd = br#"{"error":{"code":{"a":[1]},"type":["t"],"message":1.5,"status":true,"details":-3}}"#;
        let read = ParsedErrorBody::read(odd);
        assert_eq!((read.code, read.kind.as_deref(), read.is_cut), (None, Some("t"), false));
        for (body, number) in [
            (r#"{"error":{"code":429}}"#, Some(429)),
            (r#"{"error":{"code":"429"}}"#, Some(429)),
            (r#"{"error":{"code":null}}"#, None),
            (r#"{"error":{"code":-1}}"#, None),
            (r#"{"error":{"code":99999999999999999999999}}"#, None),
        ] {
            assert_eq!(ParsedErrorBody::read(body.as_bytes()).number, number, "{body}");
        }
    }

    #[test]
    fn the_fields_before_a_cut_are_kept() {
        let read = ParsedErrorBody::read(br#"{"error":{"code":"c","message":"the prom"#);
        assert_eq!((read.code.as_deref(), read.message.is_none(), read.is_cut), (Some("c"), true, true));
        assert!(ParsedErrorBody::read(b"{\"error\":{\"code\":\"c\",\"message\":\"\xff\"}}").is_cut);
    }

    #[test]
    fn a_body_that_is_not_an_error_gives_nothing() {
        let deep = "[".repeat(100_000);
        for body in ["", " ", "<html>plan</html>", "{", "[", "{}", "[]", "{\"a\":1}", &deep] {
            let read = ParsedErrorBody::read(body.as_bytes());
            assert!(read.code.is_none() && read.message.is_none() && !read.is_error, "{body:.20}");
        }
        assert!(ParsedErrorBody::read(b"\xff\xfe").message.is_none());
        assert!(!ParsedErrorBody::read(br#"{"error":null,"id":"resp"}"#).is_error);
    }

    #[test]
    fn a_long_message_is_truncated() {
        let long = "é".repeat(MAX_MESSAGE);
        let read = ParsedErrorBody::read(long.as_bytes());
        assert_eq!(read.message.map(|message| message.len()), Some(MAX_MESSAGE));
        let reasons = format!(r#"{{"error":{{"details":[{}0]}}}}"#, r#"{"reason":"r"},"#.repeat(99));
        assert_eq!(ParsedErrorBody::read(reasons.as_bytes()).reasons.len(), MAX_ITEMS);
    }
}
