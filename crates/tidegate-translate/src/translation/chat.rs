//! The translated types of OpenAI's chat dialect.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::content::Content;
use crate::request_fields::RawJson;

/// A message of a request.
#[derive(Default, Deserialize, Serialize)]
pub(super) struct ChatMessage {
    pub(super) role: String,
    /// Serialized even if it is null: some providers of this dialect reject a message without `content`.
    pub(super) content: Option<Content<ContentPart>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) refusal: Option<String>,
    /// Only sent: the reasoning in a caller's request is dropped.
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    pub(super) reasoning_content: Option<String>,
    /// Not OpenAI's, but OpenRouter's. Only sent.
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    pub(super) reasoning_details: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tool_calls: Option<Vec<ToolCall>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tool_call_id: Option<String>,
    #[serde(skip_serializing)]
    pub(super) function_call: Option<RawJson>,
    #[serde(skip_serializing)]
    pub(super) audio: Option<RawJson>,
    /// Not OpenAI's, but accepted by many hosts and SDKs for Anthropic's models.
    #[serde(skip_serializing)]
    pub(super) cache_control: Option<Value>,
}

/// A part of a message content.
#[derive(Default, Deserialize, Serialize)]
pub(super) struct ContentPart {
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) refusal: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) image_url: Option<ImageUrl>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) file: Option<FilePart>,
    #[serde(skip_serializing)]
    pub(super) cache_control: Option<Value>,
    /// OpenAI's own mark, from GPT-5.6 on.
    #[serde(skip_serializing)]
    pub(super) prompt_cache_breakpoint: Option<Value>,
}

#[derive(Deserialize, Serialize)]
pub(super) struct ImageUrl {
    pub(super) url: String,
}

#[derive(Deserialize, Serialize)]
pub(super) struct FilePart {
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
    pub(super) function: Option<FunctionCall>,
    /// Only sent: the signature in a caller's request is dropped.
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    pub(super) extra_content: Option<Value>,
}

#[derive(Deserialize, Serialize)]
pub(super) struct FunctionCall {
    pub(super) name: String,
    #[serde(default)]
    pub(super) arguments: String,
}

#[derive(Deserialize, Serialize)]
pub(super) struct FunctionTool {
    #[serde(rename = "type", default = "function")]
    pub(super) kind: String,
    pub(super) function: Option<Function>,
    #[serde(skip_serializing)]
    pub(super) cache_control: Option<Value>,
}

#[derive(Deserialize, Serialize)]
pub(super) struct Function {
    pub(super) name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) parameters: Option<RawJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) strict: Option<bool>,
}

/// The JSON schema that the response must match.
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
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) description: Option<String>,
    pub(super) schema: Option<RawJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) strict: Option<bool>,
}

#[derive(Deserialize, Serialize)]
pub(super) struct StreamOptions {
    #[serde(default)]
    pub(super) include_usage: bool,
}

/// One stop sequence or several.
#[derive(Deserialize)]
#[serde(untagged)]
pub(super) enum StopSequences {
    One(String),
    Several(Vec<String>),
}

fn function() -> String {
    "function".to_owned()
}

impl ChatMessage {
    pub(super) fn of(role: &str) -> Self {
        Self { role: role.to_owned(), ..Self::default() }
    }
}

impl ContentPart {
    pub(super) fn of(kind: &str) -> Self {
        Self { kind: kind.to_owned(), ..Self::default() }
    }

    pub(super) fn text(text: String) -> Self {
        Self { text: Some(text), ..Self::of("text") }
    }
}

impl ToolCall {
    pub(super) fn new(id: String, name: String, arguments: String) -> Self {
        Self { id, kind: function(), function: Some(FunctionCall { name, arguments }), extra_content: None }
    }
}
