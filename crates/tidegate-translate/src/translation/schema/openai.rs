use std::collections::HashSet;

use serde_json::Value;
use serde_json::value::RawValue;

use super::tree::{Keyword, Schema, SchemaObject};

/// The keywords of schemas that OpenAI can enforce. `$schema` is ignored there.
const STRICT_KEYWORDS: [&str; 24] = [
    "$schema",
    "$defs",
    "definitions",
    "$ref",
    "type",
    "title",
    "description",
    "properties",
    "required",
    "additionalProperties",
    "items",
    "anyOf",
    "enum",
    "const",
    "pattern",
    "format",
    "multipleOf",
    "maximum",
    "exclusiveMaximum",
    "minimum",
    "exclusiveMinimum",
    "minItems",
    "maxItems",
    "$comment",
];

/// The formats of strings that OpenAI can enforce.
const STRICT_FORMATS: [&str; 9] =
    ["date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"];

/// The keywords of which one has to be there.
const SUBJECTS: [&str; 5] = ["type", "$ref", "anyOf", "enum", "const"];

/// The schema for the parameters of a function. `None` if `raw` is not a schema that can be sent.
pub(in super::super) fn parameters(raw: &RawValue) -> Option<SchemaObject> {
    let mut schema = SchemaObject::read(raw)?;
    if !schema.has("type") {
        schema.set_object_type();
    }
    complete(&mut schema);
    Some(schema)
}

/// Adds what OpenAI requires and JSON Schema does not.
pub(in super::super) fn complete(schema: &mut SchemaObject) {
    schema.for_each(&mut |schema| {
        if schema.is_type("object") && !schema.has("properties") {
            schema.set("properties", Keyword::Named(Vec::new()));
        }
        if schema.is_type("array") && !schema.has("items") {
            schema.set("items", Keyword::One(Schema::Object(SchemaObject::default())));
        }
    });
}

/// Whether OpenAI accepts `strict: true` with the schema.
pub(in super::super) fn accepts_strict(schema: &SchemaObject) -> bool {
    schema.data("type").is_some_and(|kind| kind == "object")
        && !schema.has("anyOf")
        && schema.all(&mut is_strict)
}

fn is_strict(schema: &SchemaObject) -> bool {
    schema.names().all(|name| STRICT_KEYWORDS.contains(&name))
        && SUBJECTS.iter().any(|name| schema.has(name))
        && schema.data("format").is_none_or(|format| STRICT_FORMATS.iter().any(|known| format == *known))
        && (!schema.is_type("object") || is_closed_and_required(schema))
}

/// Whether the object has no other properties than the declared ones, and has all of them.
fn is_closed_and_required(schema: &SchemaObject) -> bool {
    let is_closed = matches!(schema.get("additionalProperties"), Some(Keyword::One(more)) if more.is(false));
    let required = schema.data("required").unwrap_or_default();
    let names: HashSet<&str> = required.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    is_closed
        && match schema.get("properties") {
            None => true,
            Some(Keyword::Named(properties)) => properties.iter().all(|(name, _)| names.contains(&**name)),
            Some(_) => false,
        }
        && (required == Value::Null || required.is_array())
}
