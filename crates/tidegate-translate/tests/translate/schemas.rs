//! Schemas, as the target accepts them.

use serde_json::{Value, json};
use tidegate_translate::{ChatToMessages, MessagesToChat};

use super::{body, hello, translate};

const CLAUDE: &str = "anthropic/claude-sonnet-4-5";

/// The parameters of a tool as OpenAI receives them, and whether they are strict.
fn parameters(schema: &Value) -> (Value, bool) {
    let tools = json!([{"name": "f", "input_schema": schema, "strict": true}]);
    let chat = body(translate(
        &MessagesToChat::new("openai/gpt-4o"),
        &json!({"messages": hello(), "max_tokens": 9, "tools": tools}),
    ));
    let function = &chat["tools"][0]["function"];
    (function["parameters"].clone(), function["strict"] == true)
}

/// A response schema as Anthropic receives it.
fn enforced(schema: &Value) -> Result<Value, String> {
    let format = json!({"type": "json_schema", "json_schema": {"name": "a", "schema": schema}});
    let request = json!({"messages": hello(), "response_format": format});
    let translation = translate(&ChatToMessages::new(CLAUDE), &request).map_err(|error| error.to_string())?;
    Ok(body(Ok(translation))["output_config"]["format"]["schema"].clone())
}

#[test]
fn objects_without_properties_and_arrays_without_items_are_completed_at_every_depth() {
    let open = json!({"type": "object"});
    let full = json!({"type": "object", "properties": {}});
    for (schema, expected) in [
        (json!({}), full.clone()),
        (open.clone(), full.clone()),
        (
            json!({"type": "object", "properties": {"a": open, "b": {"type": "array"}, "properties": {"type": "array"}}}),
            json!({"type": "object", "properties": {"a": full, "b": {"type": "array", "items": {}},
                "properties": {"type": "array", "items": {}}}}),
        ),
        (
            json!({"type": "object", "properties": {"a": {"anyOf": [open, {"type": ["array", "null"]}]}}, "$defs": {"d": open}}),
            json!({"type": "object", "properties": {"a": {"anyOf": [full, {"type": ["array", "null"], "items": {}}]}},
                "$defs": {"d": full}}),
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "array", "items": open}}, "additionalProperties": open}),
            json!({"type": "object", "properties": {"a": {"type": "array", "items": full}}, "additionalProperties": full}),
        ),
        // Values are not schemas.
        (
            json!({"type": "object", "properties": {}, "default": open, "enum": [open], "examples": [{"type": "array"}]}),
            json!({"type": "object", "properties": {}, "default": open, "enum": [open], "examples": [{"type": "array"}]}),
        ),
    ] {
        assert_eq!(parameters(&schema).0, expected, "{schema}");
    }
}

#[test]
fn a_schema_is_strict_only_if_openai_can_enforce_it() {
    let object = |property: Value, required: Value| json!({"type": "object", "properties": {"a": property}, "required": required, "additionalProperties": false});
    let closed = object(json!({"type": "string"}), json!(["a"]));
    for (schema, is_strict) in [
        (closed.clone(), true),
        (object(closed.clone(), json!(["a"])), true),
        (json!({"type": "object", "properties": {}, "additionalProperties": false}), true),
        (object(json!({"$ref": "#/$defs/d"}), json!(["a"])), true),
        (object(json!({"type": "string", "format": "email"}), json!(["a"])), true),
        (object(json!({"type": "string"}), json!([])), false),
        (object(json!({"type": "string"}), Value::Null), false),
        (json!({"type": "object", "properties": {}}), false),
        (json!({"type": "object", "properties": {}, "additionalProperties": true}), false),
        (object(json!({"type": "object"}), json!(["a"])), false),
        (object(json!({"type": "array"}), json!(["a"])), false),
        (object(json!({"anyOf": [closed, {"type": "object"}]}), json!(["a"])), false),
        (object(json!({"type": "string", "minLength": 1}), json!(["a"])), false),
        (object(json!({"type": "string", "format": "uri"}), json!(["a"])), false),
        (object(json!({}), json!(["a"])), false),
    ] {
        assert_eq!(parameters(&schema).1, is_strict, "{schema}");
        let request = json!({"messages": hello(), "max_tokens": 9,
            "output_config": {"format": {"type": "json_schema", "schema": schema}}});
        let chat = body(translate(&MessagesToChat::new("openai/gpt-4o"), &request));
        assert_eq!(chat["response_format"]["json_schema"]["strict"] == true, is_strict, "{schema}");
    }
}

#[test]
fn enforced_objects_are_closed_and_limits_are_described() {
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {
            "name": {"type": "string", "description": "The port.", "minLength": 1, "pattern": "^[A-Z]"},
            "depth": {"type": "number", "minimum": 0, "exclusiveMaximum": 100},
            "site": {"type": "string", "format": "uri"},
            "code": {"type": "string", "format": "regex"},
            "tides": {"type": "array", "minItems": 1, "maxItems": 4, "items": {"type": "object", "properties": {"at": {}}, "additionalProperties": true}},
            "one": {"oneOf": [{"type": "object", "properties": {}}, {"type": "null"}]},
        },
        "required": ["name"],
        "$defs": {"d": {"type": "object", "additionalProperties": false}},
    });
    assert_eq!(
        enforced(&schema).unwrap(),
        json!({
            "type": "object",
            "properties": {
                "name": {"type": "string", "description": "The port.\n\n{minLength: 1, pattern: \"^[A-Z]\"}"},
                "depth": {"type": "number", "description": "{exclusiveMaximum: 100, minimum: 0}"},
                "site": {"type": "string", "format": "uri"},
                "code": {"type": "string", "description": "{format: \"regex\"}"},
                "tides": {"type": "array", "minItems": 1, "description": "{maxItems: 4}",
                    "items": {"type": "object", "properties": {"at": {}}, "additionalProperties": false}},
                "one": {"anyOf": [{"type": "object", "properties": {}, "additionalProperties": false}, {"type": "null"}]},
            },
            "required": ["name"],
            "$defs": {"d": {"type": "object", "additionalProperties": false}},
            "additionalProperties": false,
        })
    );
}

/// Regression: this is how Pydantic before 2.9 writes a nested model with a description, and Anthropic answered it
/// with a 400.
#[test]
fn an_all_of_with_one_element_becomes_the_element() {
    let becomes = |field: Value| {
        let schema = |field: &Value| {
            json!({"type": "object", "properties": {"a": field},
            "$defs": {"d": {"type": "null"}}, "additionalProperties": false})
        };
        enforced(&schema(&field)).map(|schema| schema["properties"]["a"].clone())
    };
    let (reference, described) =
        (json!({"$ref": "#/$defs/d"}), json!({"$ref": "#/$defs/d", "description": "inner"}));
    let string = json!({"type": "string"});
    for (field, expected) in [
        (json!({"allOf": [reference]}), reference.clone()),
        (json!({"allOf": [reference], "description": "x"}), json!({"$ref": "#/$defs/d", "description": "x"})),
        (json!({"allOf": [described], "description": "x"}), json!({"$ref": "#/$defs/d", "description": "x"})),
        (json!({"allOf": [{"allOf": [described]}]}), described.clone()),
        (json!({"items": {"allOf": [reference]}}), json!({"items": reference})),
        (json!({"allOf": [string], "type": "string"}), json!({"allOf": [string], "type": "string"})),
        (json!({"allOf": [string, {"const": "x"}]}), json!({"allOf": [string, {"const": "x"}]})),
        (json!({"enum": ["a", null, 1]}), json!({"enum": ["a", null, 1]})),
        (json!({"enum": [{"b": 1}]}), json!({"description": "{enum: [{\"b\":1}]}"})),
    ] {
        assert_eq!(becomes(field.clone()), Ok(expected), "{field}");
    }
}

/// A strict tool is adapted in the same way, and one that is not strict is unchanged.
#[test]
fn only_strict_tools_are_adapted() {
    let schema = json!({"type": "object", "properties": {"n": {"type": "number", "minimum": 0}}});
    let map = json!({"type": "object", "additionalProperties": {"type": "string"}});
    let open = json!({"type": "object"});
    let tool = |schema: &Value, strict: bool| {
        let tools =
            json!([{"type": "function", "function": {"name": "f", "parameters": schema, "strict": strict}}]);
        let request = json!({"messages": hello(), "tools": tools});
        body(translate(&ChatToMessages::new(CLAUDE), &request))["tools"][0].clone()
    };
    assert_eq!(tool(&schema, false), json!({"name": "f", "input_schema": schema}));
    assert_eq!(tool(&map, true), json!({"name": "f", "input_schema": map}));
    assert_eq!(tool(&open, true), json!({"name": "f", "input_schema": open}));
    let adapted = json!({"type": "object", "additionalProperties": false,
        "properties": {"n": {"type": "number", "description": "{minimum: 0}"}}});
    assert_eq!(tool(&schema, true), json!({"name": "f", "input_schema": adapted, "strict": true}));
}

/// A tool as Anthropic receives it.
fn input(schema: &Value, strict: bool) -> Result<Value, String> {
    let tools =
        json!([{"type": "function", "function": {"name": "f", "parameters": schema, "strict": strict}}]);
    let request = json!({"messages": hello(), "tools": tools});
    let translation = translate(&ChatToMessages::new(CLAUDE), &request).map_err(|error| error.to_string())?;
    Ok(body(Ok(translation))["tools"][0].clone())
}

/// Regression: parameters that are a union were answered with a 400 ("input_schema does not support oneOf,
/// allOf, or anyOf at the top level"), and with them every request that declares such a tool.
#[test]
fn combinations_at_the_top_of_an_input_schema_are_described() {
    let a = json!({"properties": {"a": {"type": "string"}}, "required": ["a"]});
    let union =
        json!([{"type": "object", "properties": {"b": {"anyOf": [{"type": "null"}]}}}, {"type": "null"}]);
    let nested = json!({"type": "object", "properties": {"a": {"anyOf": [{"type": "null"}]}}});
    for (schema, expected) in [
        (json!({"anyOf": union}), json!({"type": "object", "description": format!("{{anyOf: {union}}}")})),
        (
            json!({"type": "object", "description": "A tide.", "oneOf": [a], "allOf": [a], "properties": {"a": {}}}),
            json!({"type": "object", "properties": {"a": {}},
                "description": format!("A tide.\n\n{{allOf: [{a}], oneOf: [{a}]}}")}),
        ),
        (json!({"type": "object", "anyOf": []}), json!({"type": "object", "description": "{anyOf: []}"})),
    ] {
        for strict in [false, true] {
            assert_eq!(
                input(&schema, strict),
                Ok(json!({"name": "f", "input_schema": expected})),
                "{schema}"
            );
        }
    }
    assert_eq!(input(&nested, false).unwrap()["input_schema"], nested);
    assert_eq!(input(&nested, true).unwrap()["strict"], true);
}

/// Regression: other names of properties were answered with a 400 ("Property keys should match pattern").
#[test]
fn parameters_with_names_that_the_target_rejects_are_rejected_by_name() {
    let long = "n".repeat(64);
    let schema = |name: &str| json!({"type": "object", "properties": {name: {"type": "object", "properties": {"$a b": {}}}}});
    for name in ["a", "A-1_.b", &long] {
        assert_eq!(input(&schema(name), false).unwrap()["input_schema"], schema(name));
    }
    for name in ["", "$filter", "a b", "a[]", "é", "@type", &format!("{long}n")] {
        let error = "`tools[].function.parameters` has names of properties that the target rejects";
        assert_eq!(input(&schema(name), false), Err(error.to_owned()), "{name}");
    }
}

/// Anthropic requires the type of an object.
#[test]
fn parameters_are_an_object_or_rejected() {
    for kind in [json!("object"), json!(["object", "null"]), json!(["object"])] {
        let sent = input(&json!({"type": kind, "properties": {}}), false).unwrap();
        assert_eq!(sent["input_schema"], json!({"type": "object", "properties": {}}));
    }
    for kind in [json!("string"), json!(["string", "null"]), json!([]), Value::Null, json!(7)] {
        let error = input(&json!({"type": kind}), false).unwrap_err();
        assert_eq!(error, "`tools[].function.parameters` is not in the form of its dialect", "{kind}");
    }
}

#[test]
fn a_response_schema_that_cannot_be_enforced_is_rejected_by_name() {
    let map = json!({"type": "object", "properties": {"a": {"type": "object", "additionalProperties": {"type": "string"}}}});
    let tree = json!({"$ref": "#/$defs/a", "$defs": {
        "a": {"type": "object", "properties": {"b": {"$ref": "#/$defs/b"}}},
        "b": {"type": "array", "items": {"$ref": "#/$defs/a"}},
        "c": {"type": "null"},
    }});
    let own = json!({"type": "object", "properties": {"next": {"$ref": "#"}}});
    let items = |object: Value| json!({"type": "array", "items": object});
    for (schema, problem) in [
        (map, "has an object with arbitrary keys"),
        (json!({"type": "object"}), "has an object with arbitrary keys"),
        (items(json!({"type": ["object", "null"]})), "has an object with arbitrary keys"),
        (items(json!({"type": "object", "additionalProperties": true})), "has an object with arbitrary keys"),
        (items(json!({"type": "object", "minProperties": 1})), "has an object with arbitrary keys"),
        (tree, "contains itself"),
        (own, "contains itself"),
        (items(json!({"allOf": [{"$ref": "#/$defs/a"}, {"type": "string"}]})), "has a reference"),
        (items(json!({"allOf": [{"$ref": "#/$defs/a"}], "$ref": "#/$defs/b"})), "has a reference"),
        (items(json!({"$ref": "https://a/b.json"})), "has a reference"),
        (json!(true), "is not in the form of its dialect"),
    ] {
        let error = enforced(&schema).unwrap_err();
        assert!(error.starts_with(&format!("`response_format.json_schema.schema` {problem}")), "{error}");
    }
    let shared = json!({"type": "object", "properties": {"a": {"$ref": "#/$defs/d"}, "b": {"$ref": "#/$defs/d"}},
        "$defs": {"d": {"$ref": "#/$defs/e"}, "e": {"type": "null"}}});
    assert!(enforced(&shared).is_ok());
}

/// The model reads the description of a response format.
#[test]
fn the_description_of_a_response_format_is_kept() {
    let format = json!({"type": "json_schema", "json_schema": {"name": "a", "description": "A tide.", "schema": {"type": "object", "properties": {}}}});
    let request = json!({"messages": hello(), "response_format": format});
    let messages = body(translate(&ChatToMessages::new(CLAUDE), &request));
    assert_eq!(messages["output_config"]["format"]["schema"]["description"], "A tide.");
}

/// Neither a stack overflow nor a cost that grows faster than the schema.
#[test]
fn schemas_of_any_depth_and_size_are_read_or_rejected() {
    let deep = format!("{}{{}}{}", "{\"items\":".repeat(10_000), "}".repeat(10_000));
    let mut head = http::Request::new(()).into_parts().0;
    let request = format!(
        r#"{{"messages":[{{"role":"user","content":"q"}}],"max_tokens":9,"tools":[{{"name":"f","input_schema":{deep}}}]}}"#
    );
    let translator = MessagesToChat::new("openai/gpt-4o");
    let error = tidegate_core::Translator::request(&translator, &mut head, request.as_bytes()).unwrap_err();
    assert_eq!(error.field(), "tools[].input_schema");
    let chain: serde_json::Map<String, Value> =
        (0..20_000).map(|at| (format!("d{at}"), json!({"$ref": format!("#/$defs/d{}", at + 1)}))).collect();
    assert!(enforced(&json!({"type": "object", "properties": {}, "$defs": chain})).is_ok());
}

/// A schema below a keyword that is not visited would be sent as it is, and answered with a 400.
#[test]
fn the_schemas_below_each_keyword_are_adapted() {
    type Keyword = (&'static str, fn(&Value) -> Value);

    let (open, full) = (json!({"type": "object"}), json!({"type": "object", "properties": {}}));
    let elsewhere = json!({"$ref": "https://a/b"});
    let one = |schema: &Value| schema.clone();
    let several = |schema: &Value| json!([true, schema]);
    let named = |schema: &Value| json!({"a": schema});
    let keywords: [Keyword; 20] = [
        ("items", one),
        ("items", several),
        ("additionalProperties", one),
        ("not", one),
        ("if", one),
        ("then", one),
        ("else", one),
        ("contains", one),
        ("propertyNames", one),
        ("unevaluatedProperties", one),
        ("unevaluatedItems", one),
        ("additionalItems", one),
        ("anyOf", several),
        ("oneOf", several),
        ("allOf", several),
        ("prefixItems", several),
        ("patternProperties", named),
        ("$defs", named),
        ("definitions", named),
        ("dependentSchemas", named),
    ];
    for (keyword, form) in keywords {
        let inner = |schema: &Value| json!({"type": "array", "items": {}, keyword: form(schema)});
        let schema = |inner: &Value| json!({"type": "object", "properties": {"a": inner}});
        assert_eq!(parameters(&schema(&inner(&open))).0, schema(&inner(&full)), "{keyword}");
        let refused = enforced(&schema(&inner(&elsewhere))).unwrap_err();
        assert!(refused.contains("reference to elsewhere"), "{keyword}: {refused}");
    }
}

#[test]
fn each_keyword_and_format_that_openai_enforces_stays_strict() {
    let schema = |keyword: &str, value: &Value| {
        let mut inner = json!({"type": "string"});
        inner[keyword] = value.clone();
        json!({"type": "object", "properties": {"a": inner}, "required": ["a"], "additionalProperties": false})
    };
    let (text, number) = (json!("a"), json!(1));
    for (keyword, value) in [
        ("$comment", &text),
        ("$schema", &text),
        ("title", &text),
        ("description", &text),
        ("pattern", &text),
        ("const", &text),
        ("enum", &json!(["a"])),
        ("anyOf", &json!([{"type": "string"}])),
        ("$defs", &json!({})),
        ("definitions", &json!({})),
        ("$ref", &json!("#/$defs/a")),
        ("multipleOf", &number),
        ("maximum", &number),
        ("exclusiveMaximum", &number),
        ("minimum", &number),
        ("exclusiveMinimum", &number),
        ("minItems", &number),
        ("maxItems", &number),
    ] {
        assert!(parameters(&schema(keyword, value)).1, "{keyword}");
    }
    for (keyword, value) in
        [("minLength", &number), ("default", &text), ("not", &json!({})), ("format", &json!("uri"))]
    {
        assert!(!parameters(&schema(keyword, value)).1, "{keyword}");
    }
    let formats = ["date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"];
    for format in formats {
        assert!(parameters(&schema("format", &json!(format))).1, "{format}");
    }
    for format in formats.into_iter().chain(["uri"]) {
        let schema = schema("format", &json!(format));
        assert_eq!(enforced(&schema).unwrap(), schema);
    }
    assert_eq!(
        enforced(&schema("format", &json!("regex"))).unwrap()["properties"]["a"],
        json!({"type": "string", "description": "{format: \"regex\"}"})
    );
}
