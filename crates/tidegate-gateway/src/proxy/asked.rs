//! What a request body asks for, as far as a gateway has to know: the model, and where it stands.

use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// A request body, read no further than needed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) model: String,
    pub(super) place: Place,
}

/// Where the model stands in the body, quotes included. Travels with the request, to each target in turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place(Range<usize>);

/// Why a body asks for nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mistake {
    NotJson { line: usize, column: usize },
    NotAnObject,
    NoModel,
    ModelTwice,
    ModelNotText,
}

impl Asked {
    pub(super) fn read(body: &[u8]) -> Result<Self, Mistake> {
        let fields: Fields<'_> = serde_json::from_slice(body).map_err(|error| match error.classify() {
            serde_json::error::Category::Data => Mistake::NotAnObject,
            _ => Mistake::NotJson { line: error.line(), column: error.column() },
        })?;
        let raw = match fields.model {
            Found::Nowhere => return Err(Mistake::NoModel),
            Found::Twice => return Err(Mistake::ModelTwice),
            Found::Once(raw) => raw.get(),
        };
        let model = serde_json::from_str(raw).map_err(|_| Mistake::ModelNotText)?;
        // `raw` borrows from `body`, so the distance between the two is its place.
        let start = raw.as_ptr().addr() - body.as_ptr().addr();
        Ok(Self { model, place: Place(start..start + raw.len()) })
    }
}

impl Place {
    /// `body` with the JSON text `model` here, and every other byte as it was.
    pub(super) fn splice(&self, body: &Bytes, model: &str) -> Bytes {
        let Range { start, end } = self.0;
        if &body[start..end] == model.as_bytes() {
            return body.clone();
        }
        [&body[..start], model.as_bytes(), &body[end..]].concat().into()
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotJson { line, column } => {
                write!(f, "body is not JSON, see line {line} column {column}")
            }
            Self::NotAnObject => f.write_str("body is not a JSON object"),
            Self::NoModel => f.write_str("body has no `model`"),
            // Which of them counts is anybody's guess, and the provider's may differ from ours.
            Self::ModelTwice => f.write_str("body has more than one `model`"),
            Self::ModelNotText => f.write_str("`model` is not a string"),
        }
    }
}

/// The top level of a JSON object. By hand, because a derived one would take an array as well.
struct Fields<'a> {
    model: Found<'a>,
}

enum Found<'a> {
    Nowhere,
    Once(&'a RawValue),
    Twice,
}

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(TopLevel)
    }
}

struct TopLevel;

impl<'de> Visitor<'de> for TopLevel {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
        let mut model = Found::Nowhere;
        while let Some(Key { is_model }) = map.next_key()? {
            if !is_model {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let value = map.next_value()?;
            model = match model {
                Found::Nowhere => Found::Once(value),
                Found::Once(_) | Found::Twice => Found::Twice,
            };
        }
        Ok(Fields { model })
    }
}

/// A key, of which only one thing matters.
struct Key {
    is_model: bool,
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct IsModel;
        impl Visitor<'_> for IsModel {
            type Value = Key;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_str<E>(self, key: &str) -> Result<Key, E> {
                Ok(Key { is_model: key == "model" })
            }
        }
        deserializer.deserialize_str(IsModel)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn spliced(body: &str, model: &str) -> String {
        let asked = Asked::read(body.as_bytes()).unwrap();
        let body = asked.place.splice(&Bytes::copy_from_slice(body.as_bytes()), model);
        String::from_utf8(body.to_vec()).unwrap()
    }

    #[test]
    fn only_the_model_changes() {
        let body =
            "{ \"x\" : [1.0e+1, {\"model\":\"inner\"}],\n\t\"model\" :  \"gpt-4o\"  ,\"u\":\"\\u00e9\" }\n";
        let expected = body.replace("\"gpt-4o\"", "\"llama\"");
        assert_eq!(spliced(body, "\"llama\""), expected);
        assert_eq!(Asked::read(body.as_bytes()).unwrap().model, "gpt-4o");
        // Written with escapes, it is the same key and the same model.
        assert_eq!(spliced(r#"{"mod\u0065l":"gpt\u002d4o"}"#, "\"m\""), r#"{"mod\u0065l":"m"}"#);
        assert_eq!(Asked::read(br#"{"mod\u0065l":"gpt\u002d4o"}"#).unwrap().model, "gpt-4o");
    }

    #[test]
    fn a_body_that_names_the_model_already_is_not_copied() {
        let body = Bytes::from_static(b"{\"model\":\"m\"}");
        let asked = Asked::read(&body).unwrap();
        assert_eq!(asked.place.splice(&body, "\"m\"").as_ptr(), body.as_ptr());
    }

    #[test]
    fn says_what_is_wrong_with_a_body() {
        for (body, mistake) in [
            ("", "body is not JSON, see line 1 column 0"),
            ("{\"model\":\"m\"", "body is not JSON, see line 1 column 12"),
            ("{\"model\":\"m\"} x", "body is not JSON, see line 1 column 15"),
            ("[\"m\"]", "body is not a JSON object"),
            ("\"m\"", "body is not a JSON object"),
            ("{}", "body has no `model`"),
            ("{\"model\":\"m\",\"model\":\"n\"}", "body has more than one `model`"),
            ("{\"model\":7}", "`model` is not a string"),
            ("{\"model\":null}", "`model` is not a string"),
        ] {
            assert_eq!(Asked::read(body.as_bytes()).unwrap_err().to_string(), mistake, "{body}");
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
        fn whatever_stands_around_the_model_stays(
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
            prop_assert_eq!(&Asked::read(body(&was).as_bytes()).unwrap().model, &was);
            prop_assert_eq!(spliced(&body(&was), &write(&is.clone().into())), body(&is));
        }

        #[test]
        fn no_body_is_too_strange(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Asked::read(&body);
        }
    }
}
