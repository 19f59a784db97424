//! The fields of requests: translated, dropped, or rejected by name.
//!
//! A field that is neither translated nor listed as droppable is rejected, because its effect is not
//! known. The lists are in [`chat`] and [`messages`], each droppable field with its reason.

mod chat;
mod messages;

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use tidegate_core::Untranslatable;

use super::repair;
use crate::untranslatable::malformed;

/// The fields of an object.
struct Shape {
    /// The path of its fields, such as `messages[].`.
    path: &'static str,
    fields: &'static [(&'static str, Field)],
}

/// What happens with a field.
#[derive(Clone, Copy)]
enum Field {
    /// It is translated, and contains no fields of the dialect.
    Read,
    /// An object, or a list of objects, whose fields are checked. Anything else has none.
    Within(&'static Shape),
    /// It is dropped, for this reason.
    Dropped(#[allow(dead_code, reason = "documents the list")] &'static str),
    /// It is dropped if its value has no effect, and else rejected.
    DroppedIf(fn(&serde_json::Value) -> bool),
}

/// Checks a request for a chat completion.
pub(super) fn check_chat(body: &[u8]) -> Result<(), Untranslatable> {
    check(body, &chat::REQUEST)
}

/// Checks a request for Anthropic's messages.
pub(super) fn check_messages(body: &[u8]) -> Result<(), Untranslatable> {
    check(body, &messages::REQUEST)
}

fn check(body: &[u8], shape: &'static Shape) -> Result<(), Untranslatable> {
    let mut unknown = None;
    let seed = ShapeSeed { shape, unknown: &mut unknown };
    let body = repair::decode(body);
    let checked = seed.deserialize(&mut serde_json::Deserializer::from_str(&body));
    match (unknown, checked) {
        (Some(unknown), _) => Err(unknown),
        (None, Err(_)) => Err(malformed("body")),
        (None, Ok(())) => Ok(()),
    }
}

/// Reads an object, or a list of objects, of which only the names of the fields matter.
struct ShapeSeed<'a> {
    shape: &'static Shape,
    /// The error about the first field that is rejected.
    unknown: &'a mut Option<Untranslatable>,
}

/// The longest name of a field that an error repeats.
const MAX_NAME: usize = 64;

impl ShapeSeed<'_> {
    fn again(&mut self) -> ShapeSeed<'_> {
        ShapeSeed { shape: self.shape, unknown: self.unknown }
    }

    fn reject<E: serde::de::Error>(&mut self, name: &str) -> E {
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '$');
        // A name that is none may be a part of the prompt.
        let name = if name.len() <= MAX_NAME && name.chars().all(is_name) { name } else { "?" };
        let unknown = Untranslatable::unknown(format!("{}{name}", self.shape.path));
        // With this code, Anthropic's clients send the whole conversation instead.
        *self.unknown = Some(match unknown.field() {
            "thread" => unknown.with_error_code("thread_unsupported_request"),
            _ => unknown,
        });
        E::custom("unknown field")
    }
}

impl<'de> DeserializeSeed<'de> for ShapeSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ShapeSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_map<M: MapAccess<'de>>(mut self, mut map: M) -> Result<(), M::Error> {
        while let Some(name) = map.next_key::<Cow<'de, str>>()? {
            let known = self.shape.fields.iter().find(|(known, _)| *known == name).map(|(_, field)| *field);
            match known {
                Some(Field::Read | Field::Dropped(_)) => _ = map.next_value::<IgnoredAny>()?,
                Some(Field::Within(shape)) => {
                    map.next_value_seed(ShapeSeed { shape, unknown: self.unknown })?
                }
                Some(Field::DroppedIf(is_noop)) => {
                    let value: serde_json::Value = map.next_value()?;
                    if !value.is_null() && !is_noop(&value) {
                        return Err(self.reject(&name));
                    }
                }
                // A null counts as absent.
                None => match map.next_value::<Option<IgnoredAny>>()? {
                    None => {}
                    Some(_) => return Err(self.reject(&name)),
                },
            }
        }
        Ok(())
    }

    fn visit_seq<S: SeqAccess<'de>>(mut self, mut list: S) -> Result<(), S::Error> {
        while list.next_element_seed(self.again())?.is_some() {}
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

/// For values that have no effect.
fn is_empty(value: &serde_json::Value) -> bool {
    match value {
        serde_json::Value::Array(list) => list.is_empty(),
        serde_json::Value::Object(object) => object.is_empty(),
        serde_json::Value::Bool(flag) => !flag,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
