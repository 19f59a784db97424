use std::collections::{BTreeMap, HashSet};

use serde_json::Value;
use serde_json::value::RawValue;

use super::tree::{Keyword, Schema, SchemaObject};

/// The keywords of schemas that Anthropic can enforce.
const ENFORCED_KEYWORDS: [&str; 16] = [
    "$defs",
    "definitions",
    "$ref",
    "type",
    "title",
    "description",
    "default",
    "properties",
    "required",
    "additionalProperties",
    "items",
    "anyOf",
    "allOf",
    "enum",
    "const",
    "format",
];

/// The formats of strings that Anthropic can enforce.
const ENFORCED_FORMATS: [&str; 10] =
    ["date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"];

/// Keywords that may declare the properties of an object.
const DECLARING: [&str; 7] = ["properties", "$ref", "anyOf", "oneOf", "allOf", "enum", "const"];

/// Keywords that a schema may have beside a reference. If a schema with one element in its `allOf` has them as
/// well, its own count.
const ANNOTATIONS: [&str; 3] = ["title", "description", "default"];

/// Keywords about the schema and not about the value.
const REMARKS: [&str; 3] = ["$schema", "$id", "$comment"];

/// Keywords that Anthropic rejects at the top of an input schema.
const COMBINATIONS: [&str; 3] = ["anyOf", "oneOf", "allOf"];

/// The maximum length of the name of a parameter.
const MAX_NAME: usize = 64;

/// The schema for the input of a tool. `None` if `raw` is not a schema of an object.
pub(in super::super) fn input_schema(raw: &RawValue) -> Option<SchemaObject> {
    let mut schema = SchemaObject::read(raw)?;
    match schema.has("type") {
        false => schema.set_object_type(),
        true if schema.is_type("object") => schema.set("type", Keyword::data(&"object")),
        true => return None,
    }
    Some(schema)
}

/// Moves the combinations at the top of an input schema into the description. Returns whether there were any.
pub(in super::super) fn describe_combinations(schema: &mut SchemaObject) -> bool {
    let combinations = schema.split_off(|name, _| !COMBINATIONS.contains(&name));
    let has_some = !combinations.is_empty();
    describe(schema, combinations);
    has_some
}

/// Whether Anthropic accepts the names of the parameters.
pub(in super::super) fn accepts_names(schema: &SchemaObject) -> bool {
    let is_valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    let is_accepted = |name: &str| (1..=MAX_NAME).contains(&name.len()) && name.chars().all(is_valid);
    match schema.get("properties") {
        Some(Keyword::Named(properties)) => properties.iter().all(|(name, _)| is_accepted(name)),
        _ => true,
    }
}

/// Adapts a schema for Anthropic to enforce, or returns why it cannot be enforced.
pub(in super::super) fn enforced(mut schema: SchemaObject) -> Result<SchemaObject, &'static str> {
    schema.for_each(&mut merge_single_all_of);
    if !schema.all(&mut has_accepted_references) {
        return Err("has a reference to elsewhere or in `allOf`, which the target cannot enforce");
    }
    if !schema.all(&mut |schema| !has_arbitrary_keys(schema)) {
        return Err("has an object with arbitrary keys, which the target cannot enforce");
    }
    if is_recursive(&schema) {
        return Err("contains itself, which the target cannot enforce");
    }
    schema.for_each(&mut |schema| {
        schema.rename("oneOf", "anyOf");
        let limits = schema.split_off(is_enforced);
        describe(schema, limits);
        if schema.is_type("object") || schema.has("properties") {
            schema.set("additionalProperties", Keyword::data(&false));
        }
    });
    Ok(schema)
}

/// The most optional properties, and the most schemas of several types, in all the enforced schemas of a request:
/// more are rejected ("too many optional parameters", "too many parameters with union types",
/// camel-ai/camel#4171).
const MAX_OPTIONAL: usize = 24;
const MAX_UNIONS: usize = 16;

/// Whether Anthropic can enforce all of these schemas in one request.
pub(in super::super) fn are_within_limits<'a>(schemas: impl IntoIterator<Item = &'a SchemaObject>) -> bool {
    let (mut optional, mut unions) = (0, 0);
    schemas.into_iter().all(|schema| {
        schema.all(&mut |schema| {
            optional += optional_properties(schema);
            unions +=
                usize::from(schema.has("anyOf") || matches!(schema.data("type"), Some(Value::Array(_))));
            optional <= MAX_OPTIONAL && unions <= MAX_UNIONS
        })
    })
}

fn optional_properties(schema: &SchemaObject) -> usize {
    let Some(Keyword::Named(properties)) = schema.get("properties") else { return 0 };
    let required = schema.data("required").unwrap_or_default();
    let required: HashSet<&str> =
        required.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    properties.iter().filter(|(name, _)| !required.contains(&**name)).count()
}

/// Replaces an `allOf` of one element by the element, as schemas of Pydantic before 2.9 have for a nested model
/// with a description.
fn merge_single_all_of(schema: &mut SchemaObject) {
    let Some(Keyword::Several(elements)) = schema.get("allOf") else { return };
    let [Schema::Object(only)] = &elements[..] else { return };
    let own: HashSet<&str> = schema.names().collect();
    if only.names().any(|name| own.contains(name) && !ANNOTATIONS.contains(&name)) {
        return;
    }
    for (_, mut keyword) in schema.split_off(|name, _| name != "allOf") {
        keyword.schemas_mut(|only| schema.add_missing(std::mem::take(only)));
    }
}

/// Whether all references of the schema are to its own definitions, and none is an element of `allOf`.
fn has_accepted_references(schema: &SchemaObject) -> bool {
    let is_reference = |element: &Schema| matches!(element, Schema::Object(object) if object.has("$ref"));
    let is_own =
        schema.data("$ref").is_none_or(|target| target.as_str().is_some_and(|it| it.starts_with('#')));
    is_own && !matches!(schema.get("allOf"), Some(Keyword::Several(all)) if all.iter().any(is_reference))
}

/// Whether the object is a map: other keys than the declared ones have values of a certain form, or none is
/// declared. Without such keys, a map is always empty.
fn has_arbitrary_keys(schema: &SchemaObject) -> bool {
    match schema.get("additionalProperties") {
        Some(Keyword::One(more)) if more.is(false) => false,
        Some(Keyword::One(more)) if !more.is(true) => true,
        _ => schema.is_type("object") && !DECLARING.iter().any(|name| schema.has(name)),
    }
}

fn is_enforced(name: &str, keyword: &Keyword) -> bool {
    match (name, keyword) {
        ("format", Keyword::Data(raw)) => {
            let format: Option<String> = serde_json::from_str(raw.get()).ok();
            format.is_some_and(|format| ENFORCED_FORMATS.contains(&&*format))
        }
        ("enum", Keyword::Data(raw)) => {
            let values: Vec<Value> = serde_json::from_str(raw.get()).unwrap_or_default();
            !values.iter().any(|value| value.is_object() || value.is_array())
        }
        ("minItems", Keyword::Data(raw)) => matches!(raw.get(), "0" | "1"),
        // A list with a schema for each element.
        ("items", Keyword::Several(_)) => false,
        _ => ENFORCED_KEYWORDS.contains(&name),
    }
}

/// Adds keywords that cannot be enforced to the description, which the model reads.
fn describe(schema: &mut SchemaObject, limits: Vec<(String, Keyword)>) {
    let limits = limits.into_iter().filter(|(name, _)| !REMARKS.contains(&&**name));
    let limits: Vec<String> = limits
        .filter_map(|(name, value)| Some(format!("{name}: {}", serde_json::to_string(&value).ok()?)))
        .collect();
    if limits.is_empty() {
        return;
    }
    let limits = format!("{{{}}}", limits.join(", "));
    let description = match schema.data("description") {
        Some(Value::String(text)) if !text.is_empty() => format!("{text}\n\n{limits}"),
        _ => limits,
    };
    schema.set("description", Keyword::data(&description));
}

/// Whether a definition contains a reference to itself, directly or through others.
fn is_recursive(schema: &SchemaObject) -> bool {
    let mut definitions = BTreeMap::new();
    for group in ["$defs", "definitions"] {
        let Some(Keyword::Named(named)) = schema.get(group) else { continue };
        for (name, definition) in named {
            if let Schema::Object(definition) = definition {
                definitions.insert(format!("#/{group}/{name}"), definition);
            }
        }
    }
    let numbers: BTreeMap<&str, usize> =
        definitions.keys().enumerate().map(|(number, name)| (&**name, number)).collect();
    // A definition is flat if all that it refers to are flat. Those that are not are in a circle, or lead to
    // one.
    let mut referrers = vec![Vec::new(); numbers.len()];
    let mut unknown = vec![0; numbers.len()];
    for (number, definition) in definitions.values().enumerate() {
        for target in references(definition).iter().filter_map(|target| numbers.get(&**target)) {
            referrers[*target].push(number);
            unknown[number] += 1;
        }
    }
    let mut flat: Vec<usize> = (0..unknown.len()).filter(|&number| unknown[number] == 0).collect();
    let mut seen = 0;
    while let Some(number) = flat.pop() {
        seen += 1;
        for &referrer in &referrers[number] {
            unknown[referrer] -= 1;
            if unknown[referrer] == 0 {
                flat.push(referrer);
            }
        }
    }
    seen < numbers.len() || references(schema).iter().any(|target| target == "#")
}

/// The references within a schema.
fn references(schema: &SchemaObject) -> Vec<String> {
    let mut found = Vec::new();
    schema.all(&mut |schema| {
        if let Some(Value::String(target)) = schema.data("$ref") {
            found.push(target);
        }
        true
    });
    found
}
