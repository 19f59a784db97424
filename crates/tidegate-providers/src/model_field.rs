//! The `model` field of a request body, and its position.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use serde::Deserializer as _;
use serde::de::IgnoredAny;
use serde_json::{Deserializer, Value};

use crate::json::members::members;

/// The model of a request body and its position.
///
/// ```
/// use bytes::Bytes;
/// use tidegate_providers::ModelField;
///
/// let body = Bytes::from_static(br#"{"model": "gpt-4o", "input": "high water?"}"#);
/// let field = ModelField::read(&body)?;
/// assert_eq!(field.model(), "gpt-4o");
/// assert_eq!(field.span().replace(&body, "llama").unwrap(), &br#"{"model": "llama", "input": "high water?"}"#[..]);
/// # Ok::<(), tidegate_providers::ModelFieldError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelField {
    model: String,
    span: ModelSpan,
}

/// The position of the model in the body, quotes included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelSpan(Range<usize>);

/// A request body has no usable model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ModelFieldError {
    /// The body is not JSON from this place on.
    NotJson {
        /// The line, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
    },
    /// The body is JSON, and no object.
    NotAnObject,
    /// The object has no `model`.
    NoModel,
    /// The object has several fields `model`.
    ModelTwice,
    /// The object has a field that differs from `model` only in case. Some servers read it as the model.
    ModelInOtherCase,
    /// The `model` is not a string.
    ModelNotText,
}

impl ModelField {
    /// Reads the model of a body.
    ///
    /// # Errors
    ///
    /// The body is no JSON object in UTF-8 with exactly one `model`, in any case, that is a string.
    pub fn read(body: &[u8]) -> Result<Self, ModelFieldError> {
        Self::read_with(body, |_, _| {})
    }

    /// The same. `each` gets all fields of the object: each key, without escapes, and its value as it is
    /// written.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub fn read_with(body: &[u8], mut each: impl FnMut(&str, &str)) -> Result<Self, ModelFieldError> {
        let text = std::str::from_utf8(body)
            .map_err(|error| ModelFieldError::not_utf8(&body[..error.valid_up_to()]))?;
        let mut model = ModelOccurrence::Missing;
        let mut has_text_keys = true;
        let read = members(body, |key, value| {
            let Some(key) = unescaped(key) else {
                has_text_keys = false;
                return;
            };
            each(&key, &text[value.clone()]);
            model = match (FieldName::of(&key), &model) {
                (FieldName::Other, _) | (FieldName::Model, ModelOccurrence::InOtherCase) => return,
                (FieldName::Model, ModelOccurrence::Missing) => ModelOccurrence::Once(value),
                (FieldName::Model, _) => ModelOccurrence::Twice,
                (FieldName::ModelInOtherCase, _) => ModelOccurrence::InOtherCase,
            };
        });
        let span = match model {
            _ if read.is_none() || !has_text_keys => return Err(ModelFieldError::of_invalid(body)),
            ModelOccurrence::Missing => return Err(ModelFieldError::NoModel),
            ModelOccurrence::Twice => return Err(ModelFieldError::ModelTwice),
            ModelOccurrence::InOtherCase => return Err(ModelFieldError::ModelInOtherCase),
            ModelOccurrence::Once(span) => span,
        };
        let model = serde_json::from_slice(&body[span.clone()]).map_err(|_| ModelFieldError::ModelNotText)?;
        Ok(Self { model, span: ModelSpan(span) })
    }

    /// The model.
    #[must_use]
    pub fn model(&self) -> &str {
        &self.model
    }

    /// The position of the model.
    #[must_use]
    pub fn span(&self) -> &ModelSpan {
        &self.span
    }

    /// The body with this model, which is added if there is none. All other bytes are unchanged.
    ///
    /// # Errors
    ///
    /// The body is no JSON object, or has another `model` than one string.
    pub fn set(body: &Bytes, model: &str) -> Result<Bytes, ModelFieldError> {
        match Self::read(body) {
            Ok(field) => Ok(field.span.replace(body, model).expect("a position in this body")),
            Err(ModelFieldError::NoModel) => {
                // An object begins with its brace, after white space.
                let (before, fields) =
                    body.split_at(body.iter().position(|&byte| byte == b'{').map_or(0, |at| at + 1));
                let comma = if fields.trim_ascii_start().starts_with(b"}") { "" } else { "," };
                let model = Value::from(model);
                Ok([before, format!("\"model\":{model}{comma}").as_bytes(), fields].concat().into())
            }
            Err(error) => Err(error),
        }
    }
}

impl ModelSpan {
    /// The body with another model in this position; `None` if the position is outside of it. All other bytes
    /// are unchanged.
    #[must_use]
    pub fn replace(&self, body: &Bytes, model: &str) -> Option<Bytes> {
        let (Range { start, end }, model) = (self.0.clone(), Value::from(model).to_string());
        if body.get(start..end)? == model.as_bytes() {
            return Some(body.clone());
        }
        Some([&body[..start], model.as_bytes(), &body[end..]].concat().into())
    }
}

impl ModelFieldError {
    /// The body has a byte that is no text after `text`.
    fn not_utf8(text: &[u8]) -> Self {
        let newlines = memchr::memchr_iter(b'\n', text);
        let (line, start) = newlines.fold((1, 0), |(line, _), newline| (line + 1, newline + 1));
        Self::NotJson { line, column: text.len() - start + 1 }
    }

    /// Why a body is not a JSON object. Nothing is built: it may have millions of keys.
    fn of_invalid(body: &[u8]) -> Self {
        let mut json = Deserializer::from_slice(body);
        match json.deserialize_map(IgnoredAny).and_then(|_| json.end()) {
            Err(error) if !error.is_data() => Self::NotJson { line: error.line(), column: error.column() },
            _ => Self::NotAnObject,
        }
    }
}

impl std::error::Error for ModelFieldError {}

impl fmt::Display for ModelFieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotJson { line, column } => {
                write!(f, "body is not JSON, see line {line} column {column}")
            }
            Self::NotAnObject => f.write_str("body is not a JSON object"),
            Self::NoModel => f.write_str("body has no `model`"),
            // JSON does not define which of two equal keys is used, and the provider may use another one than
            // the gateway.
            Self::ModelTwice => f.write_str("body has more than one `model`"),
            Self::ModelInOtherCase => f.write_str("body has a field that is `model` in another case"),
            Self::ModelNotText => f.write_str("`model` is not a string"),
        }
    }
}

enum ModelOccurrence {
    Missing,
    Once(Range<usize>),
    Twice,
    InOtherCase,
}

/// A key, reduced to whether it is `model`.
enum FieldName {
    Model,
    /// No letter beyond ASCII is one of these letters in another case, so ASCII is enough.
    ModelInOtherCase,
    Other,
}

impl FieldName {
    fn of(key: &str) -> Self {
        match key {
            "model" => Self::Model,
            _ if key.eq_ignore_ascii_case("model") => Self::ModelInOtherCase,
            _ => Self::Other,
        }
    }
}

/// A key that is written as `key`; `None` if it is no text, because it has half of a surrogate pair. A server
/// that leaves the half out may read another key.
fn unescaped(key: &[u8]) -> Option<Cow<'_, str>> {
    if key.contains(&b'\\') {
        serde_json::from_slice(&[b"\"", key, b"\""].concat()).ok().map(Cow::Owned)
    } else {
        std::str::from_utf8(key).ok().map(Cow::Borrowed)
    }
}

#[cfg(test)]
mod tests {
    use allocation_counter::measure;
    use proptest::prelude::*;

    use super::*;

    fn replaced(body: &str, model: &str) -> String {
        let field = ModelField::read(body.as_bytes()).unwrap();
        let body = field.span.replace(&Bytes::copy_from_slice(body.as_bytes()), model).unwrap();
        String::from_utf8(body.to_vec()).unwrap()
    }

    #[test]
    fn only_the_model_changes() {
        let body =
            "{ \"x\" : [1.0e+1, {\"model\":\"inner\"}],\n\t\"model\" :  \"gpt-4o\"  ,\"u\":\"\\u00e9\" }\n";
        let expected = body.replace("\"gpt-4o\"", "\"llama\"");
        assert_eq!(replaced(body, "llama"), expected);
        assert_eq!(ModelField::read(body.as_bytes()).unwrap().model, "gpt-4o");
        // The key and the model may be written with escapes.
        assert_eq!(replaced(r#"{"mod\u0065l":"gpt\u002d4o"}"#, "m"), r#"{"mod\u0065l":"m"}"#);
        assert_eq!(ModelField::read(br#"{"mod\u0065l":"gpt\u002d4o"}"#).unwrap().model, "gpt-4o");
    }

    #[test]
    fn a_body_that_has_the_model_already_is_not_copied() {
        let body = Bytes::from_static(b"{\"model\":\"m\"}");
        let field = ModelField::read(&body).unwrap();
        assert_eq!(field.span.replace(&body, "m").unwrap().as_ptr(), body.as_ptr());
    }

    #[test]
    fn an_invalid_body_is_rejected_with_its_reason() {
        for (body, message) in [
            ("", "body is not JSON, see line 1 column 0"),
            ("{\"model\":\"m\"", "body is not JSON, see line 1 column 12"),
            ("{\"model\":\"m\"} x", "body is not JSON, see line 1 column 15"),
            ("[\"m\"]", "body is not a JSON object"),
            ("\"m\"", "body is not a JSON object"),
            ("{}", "body has no `model`"),
            ("{\"model\":\"m\",\"model\":\"n\"}", "body has more than one `model`"),
            ("{\"model\":\"m\",\"MODEL\":\"n\"}", "body has a field that is `model` in another case"),
            ("{\"Model\":7,\"model\":\"m\"}", "body has a field that is `model` in another case"),
            ("{\"mode\\u004c\":\"n\"}", "body has a field that is `model` in another case"),
            ("{\"model\":7}", "`model` is not a string"),
            ("{\"model\":null}", "`model` is not a string"),
        ] {
            assert_eq!(ModelField::read(body.as_bytes()).unwrap_err().to_string(), message, "{body}");
        }
    }

    /// Regression: only the keys were checked. Some servers fail at such a body, and others read it in
    /// another charset.
    #[test]
    fn a_body_that_is_not_utf_8_is_rejected_with_the_place() {
        for (before, after, line, column) in [
            (&b""[..], &b""[..], 1, 1),
            (b"{\"model\":\"m\",\"content\":\"caf", b"\"}", 1, 28),
            (b"{\"model\":\"m\",\n\n \"content\":[\"caf", b"\"]}", 3, 17),
            (b"{\"model\":\"m\"}\n", b"", 2, 1),
            ("{\"model\":\"\u{e9}".as_bytes(), b"\"}", 1, 13),
        ] {
            for bytes in [&b"\xe9"[..], b"\xff", b"\xc3(", b"\xed\xa0\x80"] {
                let error = ModelField::read(&[before, bytes, after].concat()).unwrap_err();
                assert_eq!(error, ModelFieldError::NotJson { line, column }, "{before:?} {bytes:?}");
            }
        }
    }

    /// A lenient server may leave out what is no text, and read the model.
    #[test]
    fn a_key_that_is_no_text_is_rejected() {
        for key in [&b"mod\xffel"[..], b"model\xff", b"mode\\ud800l", b"\\udc00"] {
            let body = [&br#"{"model":"a",""#[..], key, br#"":"b"}"#].concat();
            let error = ModelField::read(&body).unwrap_err();
            assert!(matches!(error, ModelFieldError::NotJson { .. }), "{key:?} {error}");
        }
    }

    /// Regression: to report the place of the mistake, a map of all keys was built, nine times as large as the
    /// body.
    #[test]
    fn the_place_of_a_mistake_is_found_without_memory() {
        let fields: String = (0..1000).map(|key| format!("\"{key}\":0,")).collect();
        for end in ["", "}", "\"\\ud800\":0}", "\"model\":\"m\"} x"] {
            let body = format!("{{{fields}{end}");
            let used = measure(|| {
                let error = ModelField::read(body.as_bytes()).unwrap_err();
                assert!(matches!(error, ModelFieldError::NotJson { line: 1, .. }), "{error}");
            });
            assert!(used.bytes_max < 1024, "{used:?}");
        }
    }

    #[test]
    fn each_field_is_passed_with_its_key_unescaped_and_its_value_as_it_is_written() {
        let body = "{ \"mod\\u0065l\" : \"m\\u0065\" , \"\u{17f}\":[ 1,{\"a\":2} ]\n,\"\":null,\"\":1e9}";
        let mut fields = Vec::new();
        let field =
            ModelField::read_with(body.as_bytes(), |key, value| fields.push(format!("{key}={value}")));
        assert_eq!(field.unwrap().model, "me");
        assert_eq!(fields, ["model=\"m\\u0065\"", "\u{17f}=[ 1,{\"a\":2} ]", "=null", "=1e9"]);
    }

    #[test]
    fn a_missing_model_is_added() {
        for (body, expected) in [
            ("{}", r#"{"model":"m"}"#),
            (" \n{ }", " \n{\"model\":\"m\" }"),
            (r#"{"input":"{"}"#, r#"{"model":"m","input":"{"}"#),
            (r#"{"model":"n","a":1}"#, r#"{"model":"m","a":1}"#),
        ] {
            assert_eq!(ModelField::set(&Bytes::from(body), "m").unwrap(), expected, "{body}");
        }
        for body in ["", "[]", r#"{"model":7}"#, r#"{"model":"a","model":"b"}"#, r#"{"Model":"a"}"#] {
            assert!(ModelField::set(&Bytes::from(body), "m").is_err(), "{body}");
        }
    }

    fn value() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            ".*".prop_map(|text: String| text.into()),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
                prop::collection::btree_map("model|[a-z]{0,3}", inner, 0..4)
                    .prop_map(|map| map.into_iter().collect::<serde_json::Map<_, _>>().into()),
            ]
        })
    }

    proptest! {
        #[test]
        fn everything_around_the_model_is_unchanged(
            before in prop::collection::btree_map("[a-l]{1,3}", value(), 0..4),
            after in prop::collection::btree_map("[n-z]{1,3}", value(), 0..4),
            (was, is) in (".*", ".*"),
            pretty in any::<bool>(),
        ) {
            let write = |value: &serde_json::Value| if pretty {
                serde_json::to_string_pretty(value).unwrap()
            } else {
                value.to_string()
            };
            let body = |model: &str| {
                let model = serde_json::Value::from(model);
                let fields = before.iter().chain([(&"model".to_owned(), &model)]).chain(&after)
                    .map(|(key, value)| format!("{}: {}", serde_json::Value::from(&**key), write(value)))
                    .collect::<Vec<_>>();
                format!("{{{}}}", fields.join(" ,"))
            };
            prop_assert_eq!(&ModelField::read(body(&was).as_bytes()).unwrap().model, &was);
            prop_assert_eq!(replaced(&body(&was), &is), body(&is));
        }

        #[test]
        fn no_body_panics(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = ModelField::read(&body);
        }
    }
}
