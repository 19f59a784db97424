//! Fields of a request body with which a call would leave its limits.

use std::fmt;
use std::sync::LazyLock;

use memchr::memchr;
use memchr::memmem::{Finder, find};
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use tidegate::ErrorCode;

use super::gateway_error::GatewayError;
use super::shortened;
use crate::endpoint::Endpoint;

/// Checks that the provider does not answer in the background: the call would end at once, and what it goes
/// on to use would be in no limit.
pub(super) fn check_background(endpoint: Endpoint, body: &[u8]) -> Result<(), Box<GatewayError>> {
    let name = match endpoint {
        Endpoint::Responses => "background",
        // Of xAI. A body without the word is not read once more.
        Endpoint::ChatCompletions if may_be_deferred(body) => "deferred",
        _ => return Ok(()),
    };
    let reason = "not allowed: the response would be outside of all limits, see `allow_background`";
    let of_name = |key: &str, _: &str| key.eq_ignore_ascii_case(name).then(|| name.to_owned());
    check_absent(body, ErrorCode::InvalidRequest, reason, of_name)
}

/// Whether `deferred` may be a key of `body`, in small letters, capitals or with one capital, or escaped.
fn may_be_deferred(body: &[u8]) -> bool {
    static SPELLINGS: LazyLock<[Finder<'static>; 2]> =
        LazyLock::new(|| ["eferred", "EFERRED"].map(Finder::new));
    let has_escapes = || memchr(b'\\', body).is_some() && find(body, b"\\u00").is_some();
    SPELLINGS.iter().any(|end| end.find(body).is_some()) || has_escapes()
}

/// Checks that no other models are named beside `model`, as fallbacks of a router or for a tool: the routes
/// of the caller would not count.
pub(super) fn check_models(body: &[u8]) -> Result<(), Box<GatewayError>> {
    let reason = "not allowed for this caller, which may not use all routes";
    check_absent(body, ErrorCode::PermissionDenied, reason, |key, value| {
        let nested = |depth| nested_model(value, depth).map(|inner| format!("{key}.{inner}"));
        match &*key.to_ascii_lowercase() {
            "model" => None,
            // Of OpenRouter: any model, and the settings of an account; of LiteLLM.
            "route" | "preset" | "extra_body" | "router_settings_override" | "user_config" => {
                Some(shortened(key))
            }
            // Of OpenRouter, Vercel and Groq.
            "plugins" | "provideroptions" | "provider_options" | "compound_custom" => nested(2),
            // Of OpenAI and Anthropic, where tools may be other models, and of OpenRouter, which has the
            // models of a tool in its `parameters`. The properties of a schema are deeper.
            "tools" => nested(3),
            // `models`, `fallbacks`, `context_window_fallbacks`, `mock_testing_fallbacks`, `safety_model` ..
            _ => names_model(key).then(|| shortened(key)),
        }
    })
}

/// The name of a field that names a model within a value, in objects and arrays up to this depth.
fn nested_model(value: &str, depth: usize) -> Option<String> {
    if depth == 0 || !value.starts_with(['{', '[']) {
        return None;
    }
    let found = find_field(value.as_bytes(), |key, value| match names_model(key) {
        true => Some(shortened(key)),
        false => nested_model(value, depth - 1),
    });
    found.unwrap_or_else(|_| Some("..".to_owned()))
}

fn names_model(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    ["model", "fallback"].iter().any(|word| key.contains(word))
}

fn check_absent(
    body: &[u8],
    code: ErrorCode,
    reason: &str,
    matching: impl Fn(&str, &str) -> Option<String>,
) -> Result<(), Box<GatewayError>> {
    match find_field(body, matching) {
        Ok(None) => Ok(()),
        Ok(Some(name)) => Err(Box::new(GatewayError::new(code, format_args!("`{name}` is {reason}")))),
        // A body that cannot be read may have it.
        Err(_) => {
            Err(Box::new(GatewayError::new(code, format_args!("a field that cannot be read is {reason}"))))
        }
    }
}

/// The first match among the members of a JSON object or array with a value that is not `false`, `null` or an
/// empty array. The members of an array have no name. Of several equal names, any may be the one that a
/// provider reads.
fn find_field(
    json: &[u8],
    matching: impl Fn(&str, &str) -> Option<String>,
) -> Result<Option<String>, serde_json::Error> {
    serde_json::Deserializer::from_slice(json).deserialize_any(FieldVisitor(matching))
}

struct FieldVisitor<F>(F);

impl<F: Fn(&str, &str) -> Option<String>> FieldVisitor<F> {
    fn find(&self, key: &str, value: &RawValue) -> Option<String> {
        let value = value.get();
        let items = value.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let is_empty = items.is_some_and(|items| items.trim().is_empty());
        (!is_empty && !matches!(value, "null" | "false")).then(|| (self.0)(key, value)).flatten()
    }
}

impl<'de, F: Fn(&str, &str) -> Option<String>> Visitor<'de> for FieldVisitor<F> {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or an array")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        // Nothing is built from a value, which may be as long as the body.
        while let Some((key, value)) = map.next_entry::<String, &RawValue>()? {
            found = found.or_else(|| self.find(&key, value));
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(value) = items.next_element::<&RawValue>()? {
            found = found.or_else(|| self.find("", value));
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_counts_however_it_is_written_and_only_at_the_top() {
        let has_field = |body: &str| check_background(Endpoint::Responses, body.as_bytes()).is_err();
        for (body, has) in [
            (r#"{"background":true}"#, true),
            (r#"{"b\u0061ckground": true}"#, true),
            (r#"{"Background":1}"#, true),
            (r#"{"background":false,"background":true}"#, true),
            (r#"{"background":true,"background":false}"#, true),
            (r#"{"background":"true"}"#, true),
            (r#"{"background":false}"#, false),
            (r#"{"background":null}"#, false),
            (r#"{"background": [] }"#, false),
            ("{\"background\":[\n ]}", false),
            (r#"{"background":[0]}"#, true),
            (r#"{"background":1e999,"background":true}"#, true),
            (r#"{"background":"\ud800"}"#, true),
            (r#"{"background":null,"\ud800":1}"#, true),
            (r#"{"metadata":{"background":true},"input":"background"}"#, false),
            ("{}", false),
        ] {
            assert_eq!(has_field(body), has, "{body}");
        }
        let nested = format!(r#"{{"background":{}{}}}"#, "[".repeat(500), "]".repeat(500));
        assert!(has_field(&nested));
    }

    #[test]
    fn each_endpoint_has_its_own_field() {
        for (endpoint, body, has) in [
            (Endpoint::ChatCompletions, r#"{"deferred":true}"#, true),
            (Endpoint::ChatCompletions, r#"{"d\u0065ferred":true}"#, true),
            (Endpoint::ChatCompletions, r#"{"Deferred":true}"#, true),
            (Endpoint::ChatCompletions, r#"{"dEFERRED":true}"#, true),
            (Endpoint::ChatCompletions, r#"{"deferre":true}"#, false),
            (Endpoint::ChatCompletions, r#"{"deferred":false,"content":"deferred"}"#, false),
            (Endpoint::ChatCompletions, r#"{"background":true}"#, false),
            (Endpoint::Responses, r#"{"deferred":true}"#, false),
            (Endpoint::Messages, r#"{"deferred":true,"background":true}"#, false),
        ] {
            assert_eq!(check_background(endpoint, body.as_bytes()).is_err(), has, "{endpoint} {body}");
        }
    }

    #[test]
    fn the_models_of_tools_count_and_properties_of_schemas_do_not() {
        let schema = r#"{"type":"object","properties":{"model":{"type":"string"},"fallback":{}},"required":["model"]}"#;
        for (tool, has) in [
            (r#"{"type":"image_generation","model":"b"}"#.to_owned(), true),
            (r#"{"type":"openrouter:subagent","parameters":{"model":"b"}}"#.to_owned(), true),
            (r#"{"type":"openrouter:fusion","parameters":{"analysis_models":["b"]}}"#.to_owned(), true),
            (r#"{"type":"openrouter:fusion","parameters":{"analysis_models":[]}}"#.to_owned(), false),
            (format!(r#"{{"type":"function","function":{{"name":"f","parameters":{schema}}}}}"#), false),
            (format!(r#"{{"type":"function","name":"f","parameters":{schema}}}"#), false),
            (format!(r#"{{"name":"f","input_schema":{schema}}}"#), false),
        ] {
            let body = format!(r#"{{"model":"a","tools":[{tool}]}}"#);
            assert_eq!(check_models(body.as_bytes()).is_err(), has, "{body}");
        }
    }
}
