//! Merges the values in the events of a stream, for the dialects' conversions to one document.

use serde_json::Value;

/// An event of a stream: its name, empty in a dialect without names, and its data.
pub(crate) type NamedEvent = (&'static str, Value);

/// Appends the text at `key` of `delta` to that of `message`. Other values that are not null replace it.
pub(crate) fn append(message: &mut Value, key: &str, delta: &Value) {
    match (message.get_mut(key), delta) {
        (_, Value::Null) => {}
        (Some(Value::String(text)), Value::String(more)) => text.push_str(more),
        (Some(Value::Array(items)), Value::Array(more)) => items.extend_from_slice(more),
        _ => message[key] = delta.clone(),
    }
}

/// The items of an array; none for any other value.
pub(crate) fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The item of `array` with this `index` field, the last one if several have it. It is added if there is none.
pub(crate) fn item_at<'a>(array: &'a mut Vec<Value>, index: &Value) -> &'a mut Value {
    let known = array.iter().rposition(|item| item["index"] == *index);
    let at = known.unwrap_or_else(|| {
        array.push(serde_json::json!({"index": index}));
        array.len() - 1
    });
    &mut array[at]
}

/// The arguments of a call as text: an object is serialised.
pub(crate) fn arguments_text(arguments: &Value) -> Value {
    match arguments {
        Value::String(_) | Value::Null => arguments.clone(),
        arguments => arguments.to_string().into(),
    }
}
