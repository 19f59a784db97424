//! Translates a request for a chat completion into one for Anthropic's messages.
//!
//! Values that OpenAI accepts and Anthropic answers with a 400 are corrected or dropped if they are only
//! advisory. They are rejected if a change would alter the meaning of the request. Texts in quotation marks
//! are from Anthropic's documentation or error messages.
//!
//! | in a chat | here | Anthropic |
//! |--|--|--|
//! | `temperature` above 1 | 1 | "Messages": 0 to 1 |
//! | `temperature` and `top_p` | the temperature; none from Claude 4.7 on | "cannot both be specified for this model"; "is deprecated for this model" |
//! | either, with thinking | neither | "may only be set to 1 when thinking is enabled or in adaptive mode" |
//! | `top_k` that is no positive integer | dropped | "Messages": a positive integer |
//! | a data URL with another type than that of the image | the type of the image | "the image appears to be a image/jpeg image" |
//! | an image at a URL other than https | rejected | "Vision": https only |
//! | `stop` of only white space | dropped | "each stop sequence must contain non-whitespace" |
//! | `max_tokens` above the model's maximum | the maximum | "the maximum allowed number of output tokens" |
//! | the effort "xhigh", up to Claude 4.6, or "max", up to 4.5 | "high" | "Effort": the levels of each model |
//! | either, with thinking off | "high" | the same: off only up to "high" |
//! | an effort, and a limit below 2048 tokens | no thinking, up to Claude 4.5 | "Extended thinking": a budget of 1024 at least, below the limit |
//! | the effort "none", or no effort and a limit below 2048 tokens, for a Claude from 5 on | thinking is off, or the effort is low where it is always on | migration guides of Claude 5: "thinking on by default" |
//! | an effort, or thinking by default, from Claude 4.6 on | `display: "summarized"` | "What's new in Claude 4.7": "thinking content omitted by default" |
//! | no limit, for a model that thinks | the default, and 1024, 4096, 16384 or 32768 tokens for thinking, by the effort | the same: the limit is one "on thinking plus text" |
//! | an effort, and a required tool call, for a Claude before 5 | no thinking | "Extended thinking": auto or none |
//! | an effort, and tool results or a prefill, for a Claude before 4.6 | no thinking | "Extended thinking": thinking is sent back with its calls; no prefill |
//! | a required tool call, for a Claude that thinks by default | thinking is off, or has room where it is always on | migration guides of Claude 5: "thinking on by default" |
//! | a required tool call, for a Claude from 5.1 on but Haiku | rejected | "type \"tool\" and \"any\" are not supported for this model" |
//! | only system messages; a last message of only white space | rejected | "at least one message is required"; "must contain non-whitespace text" |
//! | calls of tools that are not declared | the tools are declared, with `tool_choice` none | "Requests which include `tool_use` or `tool_result` blocks must define tools" |
//! | a call without a result, a result without a call | rejected, as by OpenAI | "`tool_use` ids were found without `tool_result` blocks immediately after" |
//! | ids with other characters, or not unique | numbered | "should match pattern '^[a-zA-Z0-9_-]+$'"; "`tool_use` ids must be unique" |
//! | a final assistant message | trailing white space is removed; rejected from Claude 4.6 on | "final assistant content cannot end with trailing whitespace"; "does not support assistant message prefill" |
//! | a schema, for a Claude before 4.1 | rejected; for a tool, `strict` is dropped | "Structured outputs" |
//! | more than 20 `strict` tools, or more optional properties or unions than can be enforced | `strict` is dropped from all; a response format alone is rejected | "Too many strict tools"; "too many optional parameters" |
//! | more than four marks of `cache_control`, or some of another form | the last four; others are dropped | "Prompt caching": up to four, with the longer ones first |
//! | `user` that is an email address or a phone number, or too long | dropped | "Messages": an opaque identifier, up to 256 characters (BerriAI/litellm#10102) |

mod cache_marks;
mod conversation;
mod sampling;
mod thinking;
mod tools;
mod turns;

use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;
use tidegate_core::Untranslatable;

use self::cache_marks::limit_marks;
use self::conversation::conversation;
use self::sampling::sampling;
use self::thinking::ThinkingRequest;
use self::tools::{declare_called_tools, tool_choice, tools, unnamed_choice};
use super::chat::{self, JsonSchema, ResponseFormat, StopSequences, StreamOptions};
use super::content::Content;
use super::fields::{RejectedField, read_fields};
use super::messages::{
    AnthropicMessage, AnthropicTool, ContentBlock, Metadata, OutputConfig, OutputFormat, ThinkingConfig,
    ToolChoice,
};
use super::schema::{self, SchemaObject};
use super::tool_names::ToolNames;
use crate::models::{
    accepts_prefill, accepts_schema, claude_efforts, max_output_tokens, sampling as supported_sampling,
    thinking_control,
};
use crate::request_fields::{RawJson, RequestFields};
use crate::untranslatable::{malformed, unsupported};

/// The translated request, and what the response must contain.
pub(super) struct MessagesRequest {
    pub(super) body: Bytes,
    /// Whether a stream ends with a usage chunk.
    pub(super) wants_usage: bool,
    pub(super) tool_names: ToolNames,
    /// Whether the text of a response has to be a JSON object.
    pub(super) wants_json: bool,
}

#[derive(Serialize)]
struct MessagesRequestBody {
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<RawJson>,
    max_tokens: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    system: Vec<ContentBlock>,
    messages: Vec<AnthropicMessage>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<AnthropicTool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<ToolChoice>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop_sequences: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<RawJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<RawJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_k: Option<RawJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Metadata>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<RawJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking: Option<ThinkingConfig>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_config: Option<OutputConfig>,
}

/// Fields without a counterpart, which are rejected unless their value has no effect.
const REJECTED_FIELDS: [RejectedField; 11] = [
    ("n", |n| *n == 1),
    ("logprobs", |on| *on == false),
    ("top_logprobs", is_zero),
    ("logit_bias", |bias| bias.as_object().is_some_and(serde_json::Map::is_empty)),
    ("frequency_penalty", is_zero),
    ("presence_penalty", is_zero),
    ("modalities", |kinds| *kinds == serde_json::json!(["text"])),
    ("audio", |_| false),
    ("web_search_options", |_| false),
    ("functions", |functions| functions.as_array().is_some_and(Vec::is_empty)),
    ("function_call", |choice| choice == "none"),
];

/// The last system block of a request for a JSON object. Anthropic has no such response format; all its
/// models follow the instruction.
const JSON_INSTRUCTION: &str =
    "Respond with a single JSON object and nothing else: no text before or after it, and no code fence.";

fn is_zero(value: &Value) -> bool {
    value.as_f64() == Some(0.0)
}

pub(super) fn request(
    body: &[u8],
    target: &str,
    default_max_tokens: u64,
) -> Result<MessagesRequest, Untranslatable> {
    let mut fields = read_fields(body)?;
    for (name, is_noop) in REJECTED_FIELDS {
        fields.reject(name, is_noop)?;
    }
    let incoming: Vec<chat::ChatMessage> = fields.take("messages")?.ok_or_else(|| malformed("messages"))?;
    let mut tool_names = ToolNames::for_messages();
    let (mut system, mut messages) = conversation(incoming, &mut tool_names)?;
    let has_prefill = prefill(&mut messages, target)?;
    let accepts_schema = accepts_schema(target);
    let response_format: Option<ResponseFormat> = fields.take("response_format")?;
    let wants_json = response_format.as_ref().is_some_and(|format| format.kind == "json_object");
    if wants_json {
        system.push(ContentBlock::text(JSON_INSTRUCTION.to_owned()));
    }
    let format = response_schema(response_format)?;
    if format.is_some() && !accepts_schema {
        return Err(unsupported("response_format"));
    }
    let tools_field = fields.take("tools")?.unwrap_or_default();
    let mut tools = tools(tools_field, accepts_schema, format.as_ref(), &mut tool_names)?;
    let mut tool_choice = tool_choice(&mut fields, !tools.is_empty(), target, &mut tool_names)?;
    if tools.is_empty() {
        tools = declare_called_tools(&messages);
        // The caller declared no tools, so it cannot handle a call.
        tool_choice = (!tools.is_empty()).then(|| unnamed_choice("none"));
    }
    let thinking_request = ThinkingRequest {
        effort: fields.take("reasoning_effort")?,
        efforts: claude_efforts(target),
        limit: limit(&mut fields)?,
        default_max_tokens,
        max_output_tokens: max_output_tokens(target),
        // With thinking on, a tool call must be sent back with its thinking, which the chat dialect does not
        // preserve.
        is_mid_turn: has_prefill || messages.last().is_some_and(AnthropicMessage::has_tool_results),
        is_tool_forced: tool_choice.as_ref().is_some_and(ToolChoice::is_required),
    };
    let (max_tokens, thinking, effort) = thinking_request.resolve(thinking_control(target));
    let sampling = sampling(&mut fields, supported_sampling(target), thinking.is_some())?;
    let format = format.map(|schema| OutputFormat { kind: "json_schema".to_owned(), schema: schema.write() });
    let has_config = effort.is_some() || format.is_some();
    let user: Option<String> = match fields.take("safety_identifier")? {
        Some(user) => Some(user),
        None => fields.take("user")?,
    };
    let options: Option<StreamOptions> = fields.take("stream_options")?;
    limit_marks(&mut tools, &mut system, &mut messages);
    let request = MessagesRequestBody {
        model: fields.take_raw("model"),
        max_tokens,
        system,
        messages,
        tools,
        tool_choice,
        stop_sequences: fields.take("stop")?.map(stops).filter(|stops| !stops.is_empty()),
        temperature: sampling.temperature,
        top_p: sampling.top_p,
        top_k: sampling.top_k,
        metadata: user.filter(|user| is_opaque(user)).map(|user| Metadata { user_id: Some(user) }),
        stream: fields.take_raw("stream"),
        thinking,
        output_config: has_config.then_some(OutputConfig { effort, format }),
    };
    let body = serde_json::to_vec(&request).map_err(|_| malformed("body"))?;
    Ok(MessagesRequest {
        body: body.into(),
        wants_usage: options.is_some_and(|options| options.include_usage),
        tool_names,
        wants_json,
    })
}

/// Whether the last message is a prefill that the target continues. Its trailing white space is removed.
fn prefill(messages: &mut [AnthropicMessage], target: &str) -> Result<bool, Untranslatable> {
    let Some(AnthropicMessage { role, content: Content::Parts(blocks), .. }) = messages.last_mut() else {
        return Ok(false);
    };
    if role != "assistant" {
        return Ok(false);
    }
    if !accepts_prefill(target) {
        return Err(Untranslatable::new("messages", "has to end with the user for the target"));
    }
    if let Some(text) = blocks.last_mut().and_then(|block| block.text.as_mut()) {
        text.truncate(text.trim_end().len());
    }
    Ok(true)
}

fn limit(fields: &mut RequestFields) -> Result<Option<u64>, Untranslatable> {
    for name in ["max_completion_tokens", "max_tokens"] {
        match fields.take(name)? {
            Some(0) => return Err(Untranslatable::new(name, "is less than 1")),
            None => {}
            some => return Ok(some),
        }
    }
    Ok(None)
}

/// The stop sequences that contain more than white space.
fn stops(stop: StopSequences) -> Vec<String> {
    let mut stops = match stop {
        StopSequences::One(stop) => vec![stop],
        StopSequences::Several(stops) => stops,
    };
    stops.retain(|stop| !stop.trim().is_empty());
    stops
}

/// Whether a user identifier contains no personal data of the kinds that Anthropic rejects.
fn is_opaque(user: &str) -> bool {
    let is_phone_char =
        |c: char| c.is_ascii_digit() || c.is_whitespace() || matches!(c, '+' | '-' | '(' | ')');
    let is_phone_number = user.len() >= 7 && user.chars().all(is_phone_char);
    (1..=256).contains(&user.chars().count()) && !user.contains('@') && !is_phone_number
}

/// The schema that the response has to follow.
fn response_schema(format: Option<ResponseFormat>) -> Result<Option<SchemaObject>, Untranslatable> {
    let Some(format) = format else { return Ok(None) };
    match (&*format.kind, format.json_schema) {
        // Requested by an instruction.
        ("text" | "json_object", _) => Ok(None),
        ("json_schema", Some(JsonSchema { description, schema: Some(schema), .. })) => {
            let malformed = || malformed("response_format.json_schema.schema");
            let mut schema = SchemaObject::read(&schema).ok_or_else(malformed)?;
            if let Some(description) = description {
                schema.describe_as(&description);
            }
            let unenforced = |problem| Untranslatable::new("response_format.json_schema.schema", problem);
            let schema = schema::enforced(schema).map_err(unenforced)?;
            match schema::are_within_limits([&schema]) {
                true => Ok(Some(schema)),
                false => {
                    Err(unenforced("has more optional properties or unions than the target can enforce"))
                }
            }
        }
        _ => Err(unsupported("response_format")),
    }
}
