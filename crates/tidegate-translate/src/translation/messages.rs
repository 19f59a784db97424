//! The translated types of Anthropic's messages dialect.

use serde::{Deserialize, Serialize};
use tidegate_core::Untranslatable;

use super::content::Content;
use crate::models::rejects_required_call;
use crate::request_fields::RawJson;

#[derive(Deserialize, Serialize)]
pub(super) struct AnthropicMessage {
    pub(super) role: String,
    pub(super) content: Content<ContentBlock>,
    /// Changes the effort from this message on.
    #[serde(skip_serializing)]
    pub(super) output_config: Option<OutputConfig>,
}

/// A mark up to which the prompt is cached.
#[derive(Clone, Copy, Serialize)]
pub(super) struct CacheMark {
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    /// Five minutes if it is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ttl: Option<&'static str>,
}

/// A content block of any type. Each type uses some of the fields.
#[derive(Default, Deserialize, Serialize)]
pub(super) struct ContentBlock {
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) thinking: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) signature: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) source: Option<MediaSource>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) title: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) input: Option<RawJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tool_use_id: Option<String>,
    #[serde(skip_serializing)]
    pub(super) is_error: Option<bool>,
    /// The citation settings of a document, or the citations of a response. Raw, so that an unexpected value
    /// does not fail the whole block.
    #[serde(skip_serializing)]
    pub(super) citations: Option<RawJson>,
    /// The content of a tool result. It has a type of its own, so that nesting is bounded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) content: Option<Content<ToolResultContent>>,
    /// Only sent: a caller's is dropped.
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    pub(super) cache_control: Option<CacheMark>,
}

#[derive(Default, Deserialize, Serialize)]
pub(super) struct ToolResultContent {
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) text: Option<String>,
    #[serde(skip_serializing)]
    pub(super) source: Option<MediaSource>,
}

/// The data or the URL of an image or a document.
#[derive(Default, Deserialize, Serialize)]
pub(super) struct MediaSource {
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) media_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) data: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) url: Option<String>,
}

#[derive(Deserialize, Serialize)]
pub(super) struct AnthropicTool {
    /// Set for the provider's own tools; optional for the caller's tools.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub(super) kind: Option<String>,
    pub(super) name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) description: Option<String>,
    pub(super) input_schema: Option<RawJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) strict: Option<bool>,
    /// Only sent: a caller's is dropped.
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    pub(super) cache_control: Option<CacheMark>,
}

#[derive(Default, Deserialize, Serialize)]
pub(super) struct ToolChoice {
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) disable_parallel_tool_use: Option<bool>,
}

#[derive(Deserialize, Serialize)]
pub(super) struct Metadata {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) user_id: Option<String>,
}

#[derive(Default, Deserialize, Serialize)]
pub(super) struct ThinkingConfig {
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) budget_tokens: Option<u64>,
    /// Only sent: a caller's is dropped.
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    pub(super) display: Option<&'static str>,
}

impl ThinkingConfig {
    pub(super) fn of(kind: &str) -> Self {
        Self { kind: kind.to_owned(), ..Self::default() }
    }
}

#[derive(Default, Deserialize, Serialize)]
pub(super) struct OutputConfig {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) effort: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) format: Option<OutputFormat>,
}

#[derive(Deserialize, Serialize)]
pub(super) struct OutputFormat {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) schema: Option<RawJson>,
}

impl ToolChoice {
    /// Whether a tool has to be called.
    pub(super) fn is_required(&self) -> bool {
        matches!(&*self.kind, "any" | "tool")
    }

    /// Rejects a required call that the target does not accept.
    pub(super) fn check(&self, target: &str) -> Result<(), Untranslatable> {
        match self.is_required() && rejects_required_call(target, self.kind == "tool") {
            true => Err(Untranslatable::new("tool_choice", "requires a call, which the target rejects")),
            false => Ok(()),
        }
    }
}

impl ContentBlock {
    pub(super) fn of(kind: &str) -> Self {
        Self { kind: kind.to_owned(), ..Self::default() }
    }

    pub(super) fn text(text: String) -> Self {
        Self { text: Some(text), ..Self::of("text") }
    }
}
