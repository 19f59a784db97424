//! Merges the values in the events of a stream, for the dialects' conversions to one document.

use std::borrow::Cow;

use serde_json::{Value, json};

use crate::convert::MAX_CONVERTED;
use crate::json::exact_numbers::is_marked;

/// An event of a stream: its name, empty in a dialect without names, and its data.
pub(crate) type NamedEvent = (&'static str, Value);

/// The value of the field `key`, which is added if it is absent. `None` if `object` is neither an object nor
/// null.
pub(crate) fn field<'a>(object: &'a mut Value, key: &str) -> Option<&'a mut Value> {
    (object.is_object() || object.is_null()).then(|| &mut object[key])
}

/// Sets the fields of `object` to those of `fields`, which may be null. A null replaces no other value. `None` if
/// either is not an object.
pub(crate) fn set_fields(object: &mut Value, fields: &Value) -> Option<()> {
    match fields {
        Value::Null => Some(()),
        fields => fields.as_object()?.iter().try_for_each(|(key, value)| {
            let known = field(object, key)?;
            if !value.is_null() {
                *known = value.clone();
            }
            Some(())
        }),
    }
}

/// Appends `delta`, a text or an array, to that at `key` of `message`. Other values that are not null replace
/// it. `None` if `message` is not an object, or if the text or the array would be lost.
pub(crate) fn append(message: &mut Value, key: &str, delta: &Value) -> Option<()> {
    let is_number = |value: &Value| value.as_str().is_some_and(is_marked);
    let is_text_or_array = |value: &Value| (value.is_string() && !is_number(value)) || value.is_array();
    match (message.get_mut(key), delta) {
        (_, Value::Null) => {}
        (Some(known), delta) if is_text_or_array(known) && is_empty(delta) => {}
        (Some(Value::String(text)), Value::String(more)) if !is_marked(text) && !is_marked(more) => {
            text.push_str(more);
        }
        (Some(Value::Array(items)), Value::Array(more)) => items.extend_from_slice(more),
        (Some(known), _) if is_text_or_array(known) && !is_empty(known) => return None,
        _ => *field(message, key)? = delta.clone(),
    }
    Some(())
}

fn is_empty(value: &Value) -> bool {
    *value == "" || value.as_array().is_some_and(Vec::is_empty)
}

/// The objects of an array; none for null. `None` for anything else, which would be lost.
pub(crate) fn objects(value: &Value) -> Option<&[Value]> {
    match value {
        Value::Null => Some(&[]),
        Value::Array(items) => items.iter().all(Value::is_object).then_some(items),
        _ => None,
    }
}

/// The blocks of a content. Some servers send a string instead, which is one block of the type `text_type`.
/// `None` if the content is of any other form.
pub(crate) fn content_blocks<'a>(content: &'a Value, text_type: &str) -> Option<Cow<'a, [Value]>> {
    match content.as_str() {
        Some("") => Some(Cow::Borrowed(&[])),
        Some(text) => Some(vec![json!({"type": text_type, "text": text})].into()),
        None => objects(content).map(Cow::Borrowed),
    }
}

/// The most choices, blocks, calls or parts of one answer. Each event is compared with all of them.
pub(crate) const MAX_ITEMS: usize = 1024;

/// The item of `array` with this `index` field, the last one if several have it. It is added if there is
/// none. `None` if there are too many.
pub(crate) fn item_at<'a>(array: &'a mut Vec<Value>, index: &Value) -> Option<&'a mut Value> {
    let known = array.iter().rposition(|item| item["index"] == *index);
    let at = known.unwrap_or_else(|| {
        array.push(json!({"index": index}));
        array.len() - 1
    });
    array.get_mut(at).filter(|_| at < MAX_ITEMS)
}

/// `None` if that many copies of each of these values are longer than a stream may be.
pub(crate) fn check_copies<'a>(mut copies: impl Iterator<Item = (&'a Value, usize)>) -> Option<()> {
    let length = copies.try_fold(0_usize, |length, (value, count)| {
        length.checked_add(value.to_string().len().checked_mul(count)?)
    });
    length.filter(|&length| length <= MAX_CONVERTED).map(|_| ())
}

/// The arguments of a call as text: an object is serialised.
pub(crate) fn arguments_text(arguments: &Value) -> Value {
    match arguments {
        Value::String(_) | Value::Null => arguments.clone(),
        arguments => arguments.to_string().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::exact_numbers::mark;

    /// Regression: numbers that a value would change were appended to each other, as texts are.
    #[test]
    fn numbers_replace_each_other_however_they_are_written() {
        let number = |text: &str| serde_json::from_str::<Value>(&mark(text).unwrap()).unwrap();
        for [first, second] in [["1e-05", "2e-05"], ["1e-05", "0.5"], ["0.5", "1e-05"]] {
            let mut message = json!({"score": number(first)});
            append(&mut message, "score", &number(second)).unwrap();
            assert_eq!(message["score"], number(second));
        }
        let mut message = json!({"text": "a"});
        assert_eq!(append(&mut message, "text", &number("1e-05")), None, "the text would be lost");
    }
}
