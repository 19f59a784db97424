//! An error body in one shape, whoever sent it.
//!
//! The JSON is walked leaf by leaf, and each leaf is kept or let go by the place where it stands. No type is
//! expected anywhere, so no surprise makes the rest unreadable, and what stood before a cut is known. Strings
//! are borrowed unless they hold escapes; nesting is bounded by `serde_json`.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// What the body says.
#[derive(Default)]
pub(crate) struct ParsedErrorBody<'a> {
    /// `error.code`, if it is text; the exception of a Bedrock body.
    pub(crate) code: Option<Cow<'a, str>>,
    /// `error.code`, if it is a number or a number in quotes.
    pub(crate) number: Option<u16>,
    /// `error.type`.
    pub(crate) kind: Option<Cow<'a, str>>,
    /// Google's `error.status`.
    pub(crate) status: Option<Cow<'a, str>>,
    /// The words for a human. May quote the prompt or a key, so it is read and never handed on.
    pub(crate) message: Option<Cow<'a, str>>,
    /// `reason` and the like, deeper inside.
    pub(crate) reasons: Vec<Cow<'a, str>>,
    /// The names of the limits that Google says were reached.
    pub(crate) limits: Vec<Cow<'a, str>>,
    /// One of these limits is zero.
    pub(crate) has_zero_limit: bool,
    /// `RetryInfo.retryDelay`.
    pub(crate) retry_delay: Option<Cow<'a, str>>,
    /// What the provider behind OpenRouter answered.
    pub(crate) upstream: Option<Cow<'a, str>>,
    /// OpenRouter says what it flagged.
    pub(crate) is_flagged: bool,
    /// The body speaks of an error, as far as its shape tells.
    pub(crate) is_error: bool,
    /// The body ended early, or is not what it began as.
    pub(crate) is_cut: bool,
}

/// A message is read so far; what follows is the prompt, as a rule.
const MAX_MESSAGE: usize = 8 * 1024;

/// So many reasons and limits are kept; a body has one or two.
const MAX_ITEMS: usize = 16;

impl<'a> ParsedErrorBody<'a> {
    /// Reads any bytes.
    pub(crate) fn read(bytes: &'a [u8]) -> Self {
        let mut body = Self::default();
        let bytes = bytes.trim_ascii();
        match bytes.first() {
            None | Some(b'<') => {}
            Some(b'{' | b'[' | b'"') => {
                let mut json = serde_json::Deserializer::from_slice(bytes);
                let visitor = ErrorBodyVisitor { body: &mut body, section: Section::Outside, field: ErrorField::Other };
                body.is_cut = visitor.deserialize(&mut json).is_err();
            }
            Some(_) => body.message = std::str::from_utf8(bytes).ok().map(|text| clip(text.into())),
        }
        body
    }

    /// The message of a whole body. In a cut one, the code word that goes before it may be what was lost.
    pub(crate) fn whole_message(&self) -> &str {
        match &self.message {
            Some(message) if !self.is_cut => message,
            _ => "",
        }
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
            // Anthropic's envelope, and OpenAI's event, are of the type "error".
            (S::Top, F::Type) if text == "error" => self.is_error = true,
            (S::Top | S::Error, F::Type) => _ = self.kind.get_or_insert(text),
            (S::Error, F::Status) => _ = self.status.get_or_insert(text),
            (S::Outside, _) | (S::Top | S::Error, F::Message) => {
                self.message.get_or_insert(clip(text));
            }
            (S::Top, F::Error) => {
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
            (S::Details, F::RetryDelay) => _ = self.retry_delay.get_or_insert(text),
            (S::Metadata, F::Raw) => _ = self.upstream.get_or_insert(clip(text)),
            (S::Metadata, F::Flagged) => self.is_flagged = true,
            _ => {}
        }
    }

    fn record_number(&mut self, section: Section, field: ErrorField, number: u64) {
        match (section, field) {
            (Section::Top | Section::Error, ErrorField::Code) => {
                self.number = self.number.or_else(|| number.try_into().ok());
            }
            (Section::Details, ErrorField::LimitValue) => self.has_zero_limit |= number == 0,
            _ => {}
        }
    }

    /// An `error` object says it better than what stands around it.
    fn enter_error(&mut self) {
        if !self.is_error {
            (self.code, self.number, self.kind, self.message) = (None, None, None, None);
        }
        self.is_error = true;
    }
}

/// At most [`MAX_MESSAGE`] bytes of `text`.
fn clip(text: Cow<'_, str>) -> Cow<'_, str> {
    let end = text.floor_char_boundary(MAX_MESSAGE);
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(&text[..end]),
        Cow::Owned(mut text) => {
            text.truncate(end);
            Cow::Owned(text)
        }
    }
}

/// Where a leaf stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Section {
    /// Not in an object yet. Google may wrap its error in an array of one.
    Outside,
    Top,
    /// `error`, or what others call it.
    Error,
    /// Azure's `innererror`.
    Inner,
    /// `error.details`, at any depth.
    Details,
    /// OpenRouter's `error.metadata`.
    Metadata,
    Elsewhere,
}

impl Section {
    /// The place of what an object here holds under `field`.
    fn child(self, field: ErrorField) -> Self {
        match (self, field) {
            // The object of a `response.failed` event, and Groq's of a chunk.
            (Self::Outside, _) | (Self::Top, ErrorField::Response) => Self::Top,
            (Self::Top, ErrorField::Error | ErrorField::Message) => Self::Error,
            (Self::Top | Self::Error, ErrorField::Inner) => Self::Inner,
            (Self::Top | Self::Error, ErrorField::Details) | (Self::Details, _) => Self::Details,
            (Self::Error, ErrorField::Metadata) => Self::Metadata,
            _ => Self::Elsewhere,
        }
    }
}

/// The names that matter, as far as they were seen in error bodies.
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
    Status,
    #[serde(alias = "Message", alias = "msg", alias = "detail")]
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
    #[serde(rename = "retryDelay")]
    RetryDelay,
    Raw,
    #[serde(rename = "flagged_input", alias = "reasons")]
    Flagged,
    #[serde(other)]
    Other,
}

/// One value of the document: where it stands, and under which name.
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
        if section == Section::Error {
            self.body.enter_error();
        }
        while let Some(field) = map.next_key()? {
            map.next_value_seed(ErrorBodyVisitor { body: &mut *self.body, section, field })?;
        }
        Ok(())
    }

    /// The elements stand where the array stands.
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

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
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
        for body in
            [r#""no""#, r#"{"error":"no"}"#, r#"{"detail":"no"}"#, "no", "\n no \n", r#"[{"error":"no"}]"#]
        {
            assert_eq!(ParsedErrorBody::read(body.as_bytes()).message.as_deref(), Some("no"), "{body}");
        }
    }

    #[test]
    fn a_field_of_an_unexpected_type_costs_that_field_only() {
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
    fn keeps_what_stood_before_the_cut() {
        let read = ParsedErrorBody::read(br#"{"error":{"code":"c","message":"the prom"#);
        assert_eq!((read.code.as_deref(), read.message.is_none(), read.is_cut), (Some("c"), true, true));
        assert!(ParsedErrorBody::read(b"{\"error\":{\"code\":\"c\",\"message\":\"\xff\"}}").is_cut);
    }

    #[test]
    fn what_is_not_ours_to_read_says_nothing() {
        let deep = "[".repeat(100_000);
        for body in ["", " ", "<html>plan</html>", "{", "[", "{}", "[]", "{\"a\":1}", &deep] {
            let read = ParsedErrorBody::read(body.as_bytes());
            assert!(read.code.is_none() && read.message.is_none() && !read.is_error, "{body:.20}");
        }
        assert!(ParsedErrorBody::read(b"\xff\xfe").message.is_none());
        assert!(!ParsedErrorBody::read(br#"{"error":null,"id":"resp"}"#).is_error);
    }

    #[test]
    fn a_long_message_is_read_in_part() {
        let long = "é".repeat(MAX_MESSAGE);
        let read = ParsedErrorBody::read(long.as_bytes());
        assert_eq!(read.message.map(|message| message.len()), Some(MAX_MESSAGE));
        let reasons = format!(r#"{{"error":{{"details":[{}0]}}}}"#, r#"{"reason":"r"},"#.repeat(99));
        assert_eq!(ParsedErrorBody::read(reasons.as_bytes()).reasons.len(), MAX_ITEMS);
    }
}
