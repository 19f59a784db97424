//! The JSON Schema of a policy.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Map, Value, json};

use super::names::{ALIASES, PART_ALIASES};
use super::{PolicyFile, Preset};
use crate::settings::{DurationText, OptionalDurationText, OrNone};
use crate::{KeyBy, LimitUnit, backpressure, circuit_breaker, fallback, hedge, rate_limit, retry, timeout};

/// A duration as text: `30s`, `1m 30s`, or a number of seconds.
const DURATION: &str = r"^\s*(\d+(\.\d+)?|(\d+(\.\d+)?\s*[a-zA-Zµ]+\s*)+)\s*$";

impl JsonSchema for PolicyFile {
    fn schema_name() -> Cow<'static, str> {
        "Policy".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let parts = [
            ("preset", generator.subschema_for::<Preset>()),
            ("retry", generator.subschema_for::<retry::Settings>()),
            ("rate_limiter", generator.subschema_for::<rate_limit::Settings>()),
            ("circuit_breaker", generator.subschema_for::<circuit_breaker::Settings>()),
            ("backpressure", generator.subschema_for::<backpressure::Settings>()),
            ("timeout", generator.subschema_for::<timeout::Settings>()),
            ("fallback", generator.subschema_for::<fallback::Settings>()),
            ("hedge", generator.subschema_for::<hedge::Settings>()),
        ];
        let mut parts: Map<String, Value> =
            parts.into_iter().map(|(name, schema)| (name.to_owned(), schema.to_value())).collect();
        for (part, alias, setting) in ALIASES {
            add_alias(&mut parts[part]["properties"], alias, setting);
        }
        let mut parts = Value::Object(parts);
        for (alias, part) in PART_ALIASES {
            add_alias(&mut parts, alias, part);
        }
        json_schema!({
            "description": "One policy: which parts are on, and their settings.",
            "type": "object",
            "properties": parts,
            "additionalProperties": false,
        })
    }
}

fn add_alias(properties: &mut Value, alias: &str, name: &str) {
    let mut schema = properties[name].clone();
    schema["description"] = json!(format!("Another name of `{name}`."));
    if let Some(schema) = schema.as_object_mut() {
        schema.remove("default");
    }
    properties[alias] = schema;
}

impl JsonSchema for DurationText {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A duration such as \"30s\" or \"250ms\", or a number of seconds.",
            "anyOf": [{ "type": "string", "pattern": DURATION }, { "type": "number", "minimum": 0 }],
        })
    }
}

impl JsonSchema for OptionalDurationText {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "OptionalDuration".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        or_none::<DurationText>(generator)
    }
}

impl<T: JsonSchema> JsonSchema for OrNone<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("{}OrNone", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        or_none::<T>(generator)
    }
}

fn or_none<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({ "anyOf": [generator.subschema_for::<T>(), { "const": "none" }] })
}

impl JsonSchema for KeyBy {
    fn schema_name() -> Cow<'static, str> {
        "KeyBy".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^(tenant|caller|credential|model|path|host|header:.+)$" })
    }
}

/// Adds the other names of [`retry::Strategy`], which the derived schema lacks.
pub(crate) fn add_strategy_names(schema: &mut Schema) {
    let names = ["fixed_delay", "linear_backoff", "exponential_backoff", "fibonacci_backoff"];
    let names = json!({ "description": "Other names.", "enum": names });
    if let Some(choices) = schema.get_mut("oneOf").and_then(Value::as_array_mut) {
        choices.push(names);
    }
}

/// The schema of a [`LimitUnit`].
pub(crate) struct LimitUnitName;

impl JsonSchema for LimitUnitName {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "LimitUnit".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let units = [LimitUnit::Requests, LimitUnit::Tokens, LimitUnit::InputTokens, LimitUnit::OutputTokens];
        json_schema!({ "enum": units })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use regex::Regex;

    use super::*;
    use crate::settings::duration::DURATION_TEXTS;

    #[test]
    fn the_pattern_of_a_duration_has_every_valid_text() {
        let pattern = Regex::new(DURATION).unwrap();
        for (text, seconds) in DURATION_TEXTS {
            // What is too large is not known to the pattern.
            let is_valid = seconds.is_some() || text.len() >= 20;
            assert_eq!(pattern.is_match(text), is_valid, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_duration_that_is_parsed_has_its_pattern(text in "[0-9.]{1,5} ?(ms|s|h|[0-9.]{0,3}s|)") {
            prop_assume!(DurationText::parse(&text).is_some());
            prop_assert!(Regex::new(DURATION).unwrap().is_match(&text));
        }
    }

    #[test]
    fn the_pattern_of_a_key_has_every_name_of_one() {
        let schema = KeyBy::json_schema(&mut SchemaGenerator::default());
        let pattern = schema.get("pattern").and_then(Value::as_str).unwrap();
        let mut names: Vec<_> = pattern.trim_matches(['^', '(', ')', '$']).split('|').collect();
        names.sort_unstable();
        assert_eq!(names, ["caller", "credential", "header:.+", "host", "model", "path", "tenant"]);
        for name in names {
            let name = name.replace(".+", "x-user");
            assert!(serde_json::from_value::<KeyBy>(name.clone().into()).is_ok(), "{name}");
        }
    }
}
