//! The shapes of OpenAI's chat, as far as they are translated.

use serde::{Deserialize, Serialize};

use super::fields::{Content, Raw};

/// A message of a request.
#[derive(Default, Deserialize, Serialize)]
pub(super) struct Message {
    pub(super) role: String,
    /// Told even where there is none: not everybody who speaks this dialect takes a message without.
    pub(super) content: Option<Content<Part>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) refusal: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tool_calls: Option<Vec<ToolCall>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tool_call_id: Option<String>,
    #[serde(skip_serializing)]
    pub(super) function_call: Option<Raw>,
    #[serde(skip_serializing)]
    pub(super) audio: Option<Raw>,
}

/// A part of a message.
#[derive(Default, Deserialize, Serialize)]
pub(super) struct Part {
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) refusal: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) image_url: Option<ImageUrl>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) file: Option<File>,
}

#[derive(Deserialize, Serialize)]
pub(super) struct ImageUrl {
    pub(super) url: String,
}

#[derive(Deserialize, Serialize)]
pub(super) struct File {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) filename: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) file_data: Option<String>,
}

#[derive(Deserialize, Serialize)]
pub(super) struct ToolCall {
    #[serde(default)]
    pub(super) id: String,
    #[serde(rename = "type", default = "function")]
    pub(super) kind: String,
    pub(super) function: Option<Call>,
}

#[derive(Deserialize, Serialize)]
pub(super) struct Call {
    pub(super) name: String,
    #[serde(default)]
    pub(super) arguments: String,
}

#[derive(Deserialize, Serialize)]
pub(super) struct Tool {
    #[serde(rename = "type", default = "function")]
    pub(super) kind: String,
    pub(super) function: Option<Function>,
}

#[derive(Deserialize, Serialize)]
pub(super) struct Function {
    pub(super) name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) parameters: Option<Raw>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) strict: Option<bool>,
}

/// A schema that an answer keeps to.
#[derive(Deserialize, Serialize)]
pub(super) struct ResponseFormat {
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) json_schema: Option<JsonSchema>,
}

#[derive(Deserialize, Serialize)]
pub(super) struct JsonSchema {
    #[serde(default)]
    pub(super) name: String,
    pub(super) schema: Option<Raw>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) strict: Option<bool>,
}

#[derive(Deserialize, Serialize)]
pub(super) struct StreamOptions {
    #[serde(default)]
    pub(super) include_usage: bool,
}

/// One or several sequences at which the model stops.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum Stop {
    One(String),
    Several(Vec<String>),
}

fn function() -> String {
    "function".to_owned()
}

impl Message {
    pub(super) fn of(role: &str) -> Self {
        Self { role: role.to_owned(), ..Self::default() }
    }
}

impl Part {
    pub(super) fn of(kind: &str) -> Self {
        Self { kind: kind.to_owned(), ..Self::default() }
    }

    pub(super) fn text(text: String) -> Self {
        Self { text: Some(text), ..Self::of("text") }
    }
}

impl ToolCall {
    pub(super) fn new(id: String, name: String, arguments: String) -> Self {
        Self { id, kind: function(), function: Some(Call { name, arguments }) }
    }
}
