//! Fields of a request body with which a call would leave its limits.

use std::fmt;

use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use tidegate::ErrorCode;

use super::gateway_error::GatewayError;
use super::shortened;
use crate::endpoint::Endpoint;

/// The check of the fields of one body.
#[derive(Debug)]
pub(super) struct FieldCheck {
    pub(super) endpoint: Endpoint,
    /// Whether the provider may answer in the background: the call would end at once, and what it goes on to
    /// use would be in no limit.
    pub(super) allow_background: bool,
    /// Whether other models may be named beside `model`, as fallbacks of a router or for a tool: the routes
    /// of the caller would not count.
    pub(super) allow_models: bool,
}

impl FieldCheck {
    /// Checks a field at the top level. Of several equal keys, any may be the one that a provider reads.
    pub(super) fn check(&self, key: &str, value: &str) -> Result<(), Box<GatewayError>> {
        let error = |code, message: String| Err(Box::new(GatewayError::new(code, message)));
        if key != STREAM && is_folded(key, STREAM) {
            let message = format!("body has a field that is `{STREAM}` in another case");
            return error(ErrorCode::InvalidRequest, message);
        }
        if is_off(value) {
            return Ok(());
        }
        let background = match self.endpoint {
            Endpoint::Responses => "background",
            // Of xAI.
            Endpoint::ChatCompletions => "deferred",
            _ => "",
        };
        if !self.allow_background && is_folded(key, background) && !background.is_empty() {
            let reason = "the response would be outside of all limits, see `allow_background`";
            return error(ErrorCode::InvalidRequest, format!("`{background}` is not allowed: {reason}"));
        }
        if !self.allow_models
            && let Some(name) = other_model(key, value)
        {
            let reason = "not allowed for this caller, which may not use all routes";
            return error(ErrorCode::PermissionDenied, format!("`{name}` is {reason}"));
        }
        Ok(())
    }
}

/// The field that makes a response a stream. Some servers read it in any case, and the gateway does not.
const STREAM: &str = "stream";

/// The letters of a key in lower case, as servers compare it that ignore the case. In Go two letters beyond
/// ASCII are the same as one of ASCII.
fn folded(key: &str) -> impl Iterator<Item = char> {
    key.chars().map(|letter| match letter {
        '\u{212a}' => 'k',
        '\u{17f}' => 's',
        letter => letter.to_ascii_lowercase(),
    })
}

fn is_folded(key: &str, name: &str) -> bool {
    folded(key).eq(name.chars())
}

/// Whether a field with this value is as none: `false`, `null` or an empty array.
fn is_off(value: &str) -> bool {
    let items = value.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    matches!(value, "null" | "false") || items.is_some_and(|items| items.trim().is_empty())
}

/// The name of a field at the top level, or of one within it, that names another model than `model`.
fn other_model(key: &str, value: &str) -> Option<String> {
    let nested = |depth| nested_model(value, depth).map(|inner| format!("{key}.{inner}"));
    match &*folded(key).collect::<String>() {
        // The token of a refusal, with which Anthropic charges less for another model; it names none.
        "model" | "fallback_credit_token" => None,
        // Of OpenRouter: any model, and the settings of an account; of LiteLLM.
        "route" | "preset" | "extra_body" | "router_settings_override" | "user_config" => {
            Some(shortened(key))
        }
        // Of OpenRouter, Vercel and Groq.
        "plugins" | "provideroptions" | "provider_options" | "compound_custom" => nested(2),
        // Of OpenAI and Anthropic, where tools may be other models, and of OpenRouter, which has the models
        // of a tool in its `parameters`. The properties of a schema are deeper.
        "tools" => nested(3),
        // `models`, `fallbacks`, `context_window_fallbacks`, `mock_testing_fallbacks`, `safety_model`,
        // `lora_path` ..
        _ => names_model(key).then(|| shortened(key)),
    }
}

/// The name of a field that names a model within a value, in objects and arrays up to this depth.
fn nested_model(value: &str, depth: usize) -> Option<String> {
    if depth == 0 || !value.starts_with(['{', '[']) {
        return None;
    }
    let found = serde_json::Deserializer::from_str(value).deserialize_any(ModelVisitor(depth));
    // What cannot be read may have it.
    found.unwrap_or_else(|_| Some("..".to_owned()))
}

fn names_model(key: &str) -> bool {
    let key: String = folded(key).collect();
    // SGLang, vLLM and llama.cpp have adapters, which are models of their own.
    ["model", "fallback", "adapter", "_lora"].iter().any(|word| key.contains(word)) || key.starts_with("lora")
}

/// The first field that names a model among the members of an object or array. Those of an array have no
/// name.
struct ModelVisitor(usize);

impl ModelVisitor {
    fn find(&self, key: &str, value: &RawValue) -> Option<String> {
        let value = value.get();
        match names_model(key) {
            _ if is_off(value) => None,
            true => Some(shortened(key)),
            false => nested_model(value, self.0 - 1),
        }
    }
}

impl<'de> Visitor<'de> for ModelVisitor {
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
    use proptest::prelude::*;
    use tidegate::providers::ModelField;

    use super::*;

    /// The error for a body, to which a model is added; `"not text"` if a key is none.
    fn error_of(
        body: &str,
        endpoint: Endpoint,
        allow_background: bool,
        allow_models: bool,
    ) -> Option<String> {
        let check = FieldCheck { endpoint, allow_background, allow_models };
        let body = ModelField::set(&body.to_owned().into(), "a").ok();
        let mut checked = Ok(());
        let read = body.map(|body| {
            ModelField::read_with(&body, |key, value| {
                if checked.is_ok() {
                    checked = check.check(key, value);
                }
            })
        });
        match read {
            Some(Ok(_)) => checked.err().map(|error| error.message().to_owned()),
            _ => Some("not text".to_owned()),
        }
    }

    fn is_in_background(endpoint: Endpoint, body: &str) -> bool {
        error_of(body, endpoint, false, true).is_some()
    }

    #[test]
    fn a_field_counts_however_it_is_written_and_only_at_the_top() {
        let has_field = |body: &str| is_in_background(Endpoint::Responses, body);
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
            assert_eq!(is_in_background(endpoint, body), has, "{endpoint} {body}");
        }
    }

    /// Each letter of `name` by itself, in either case, as the other letter that Go reads as it, or escaped.
    fn spelled(name: &str, choices: &[u8]) -> String {
        let letters = name.chars().zip(choices);
        let spell = |(letter, choice): (char, &u8)| match (choice % 6, letter) {
            (1, _) => letter.to_ascii_uppercase().to_string(),
            (2, _) => format!("\\u{:04x}", u32::from(letter)),
            (3, _) => format!("\\u{:04X}", u32::from(letter.to_ascii_uppercase())),
            (4, 'k') => "\u{212a}".to_owned(),
            (4, 's') => "\u{17f}".to_owned(),
            (5, 'k') => "\\u212a".to_owned(),
            (5, 's') => "\\u017F".to_owned(),
            _ => letter.to_string(),
        };
        letters.map(spell).collect()
    }

    fn is_rejected(endpoint: Option<Endpoint>, name: &str) -> bool {
        let body = format!(r#"{{"model":"a","{name}":[{{"model":"b"}}]}}"#);
        error_of(&body, endpoint.unwrap_or(Endpoint::Embeddings), false, endpoint.is_some()).is_some()
    }

    #[test]
    fn a_caller_of_some_routes_names_no_other_model_or_adapter() {
        // Regression: an adapter selected another model.
        for key in [
            "models",
            "fallbacks",
            "safety_model",
            "lora",
            "lora_path",
            "use_lora",
            "loraRequest",
            "adapter_id",
        ] {
            assert!(is_rejected(None, key), "{key}");
        }
        // Regression: the token of a refusal, which names no model, was refused.
        for key in ["temperature", "exploration", "fallback_credit_token"] {
            assert!(!is_rejected(None, key), "{key}");
        }
    }

    const NAMES: [(Option<Endpoint>, &str); 7] = [
        (Some(Endpoint::ChatCompletions), "deferred"),
        (Some(Endpoint::Responses), "background"),
        (None, "models"),
        (None, "fallbacks"),
        (None, "preset"),
        (None, "tools"),
        (None, "lora_path"),
    ];

    /// Regression: `deferred` with one capital within was not found.
    #[test]
    fn one_letter_in_another_spelling_hides_no_field() {
        for (endpoint, name) in NAMES {
            for (letter, choice) in
                (0..name.len()).flat_map(|letter| (0..6).map(move |choice| (letter, choice)))
            {
                let mut choices = vec![0; name.len()];
                choices[letter] = choice;
                let name = spelled(name, &choices);
                assert!(is_rejected(endpoint, &name), "{name}");
            }
        }
    }

    proptest! {
        #[test]
        fn no_spelling_hides_a_field(at in 0..NAMES.len(), choices in prop::collection::vec(any::<u8>(), 10)) {
            let (endpoint, name) = NAMES[at];
            let name = spelled(name, &choices);
            prop_assert!(is_rejected(endpoint, &name), "{name}");
        }
    }

    /// Regression: the response was not read as a stream, and the provider sent one.
    #[test]
    fn a_stream_is_requested_in_one_spelling_alone() {
        for endpoint in Endpoint::ALL {
            for key in ["Stream", "STREAM", "streaM", "\\u0053tream", "\u{17f}tream", "\\u017ftream"] {
                for value in ["true", "false", "null"] {
                    let error =
                        error_of(&format!(r#"{{"stream":true,"{key}":{value}}}"#), endpoint, true, true);
                    assert_eq!(error.as_deref(), Some("body has a field that is `stream` in another case"));
                }
            }
            for key in ["stream", "\\u0073tream", "stream_options", "Streams", "strea"] {
                assert_eq!(error_of(&format!(r#"{{"{key}":true}}"#), endpoint, true, true), None, "{key}");
            }
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
            assert_eq!(error_of(&body, Endpoint::Responses, false, false).is_some(), has, "{body}");
        }
    }
}
