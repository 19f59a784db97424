//! A request for a chat completion, as one for Anthropic's messages.
//!
//! What Anthropic answers with a 400 and OpenAI does not is put right where it only advises, and refused where it would
//! mean something else. The words in quotation marks are Anthropic's.
//!
//! | in a chat | here | as Anthropic says |
//! |--|--|--|
//! | `temperature` above 1 | 1 | "Messages": 0 to 1 |
//! | `temperature` and `top_p` | the temperature; none from Claude 4.7 on | "cannot both be specified for this model"; "is deprecated for this model" |
//! | either while it thinks | none | "may only be set to 1 when thinking is enabled or in adaptive mode" |
//! | `stop` of white space | left out | "each stop sequence must contain non-whitespace" |
//! | `max_tokens` above what the model can | what it can | "the maximum allowed number of output tokens" |
//! | an effort, and less than 2048 tokens | no thoughts | "Extended thinking": a budget of 1024 at least, below the limit |
//! | an effort, and a tool that must be called, or results of one, or a beginning | no thoughts | "Extended thinking": auto or none; thoughts go back with their calls; no prefill |
//! | no message but the system's; a last one of white space | refused | "at least one message is required"; "must contain non-whitespace text" |
//! | calls of tools that are not declared | declared, and not to be called | "Requests which include `tool_use` or `tool_result` blocks must define tools" |
//! | a call without result, a result without call | refused, as OpenAI does | "`tool_use` ids were found without `tool_result` blocks immediately after" |
//! | ids that are no words, or not unique | numbered | "should match pattern '^[a-zA-Z0-9_-]+$'"; "`tool_use` ids must be unique" |
//! | the assistant last | white space at its end is left out; refused from Claude 4.6 on | "final assistant content cannot end with trailing whitespace"; "does not support assistant message prefill" |
//! | a schema, for a Claude before 4.1 | refused; of a tool's, `strict` is left out | "Structured outputs" |
//! | more than 20 tools that are `strict` | none is | "Too many strict tools" |
//! | `user` that is an address or a number of a telephone, or long | left out | "Messages": an opaque identifier, up to 256 characters (BerriAI/litellm#10102) |

mod conversation;
mod sampling;
mod tools;
mod turns;
mod wish;

use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;
use tidegate_core::Untranslatable;

use self::conversation::conversation;
use self::sampling::sampling;
use self::tools::{called, choosing, tool_choice, tools};
use self::wish::Wish;
use super::chat::{self, ResponseFormat, Stop, StreamOptions};
use super::fields::{Content, Fields, Raw, Refused, foreign, malformed};
use super::messages::{Block, Format, Message, Metadata, OutputConfig, Thinking, Tool, ToolChoice};
use crate::models::{most_tokens, sampling as taken, takes_prefill, takes_schema, thought};

/// The request, and what its answer has to look like.
pub(super) struct Asked {
    pub(super) body: Bytes,
    /// A last chunk of a stream is to tell the usage.
    pub(super) wants_usage: bool,
}

#[derive(Serialize)]
struct Request {
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<Raw>,
    max_tokens: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    system: Vec<Block>,
    messages: Vec<Message>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Tool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<ToolChoice>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop_sequences: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<Raw>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<Raw>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Metadata>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<Raw>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking: Option<Thinking>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_config: Option<OutputConfig>,
}

/// What has no counterpart, unless it asks for nothing.
const REFUSED: [Refused; 11] = [
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

fn is_zero(value: &Value) -> bool {
    value.as_f64() == Some(0.0)
}

pub(super) fn request(body: &[u8], target: &str, default_max_tokens: u64) -> Result<Asked, Untranslatable> {
    let mut fields = Fields::read(body)?;
    for (name, asks_for_nothing) in REFUSED {
        fields.refuse(name, asks_for_nothing)?;
    }
    let spoken: Vec<chat::Message> = fields.take("messages")?.ok_or_else(|| malformed("messages"))?;
    let (system, mut messages) = conversation(spoken)?;
    let begins_the_answer = prefill(&mut messages, target)?;
    let takes_schema = takes_schema(target);
    let mut tools = tools(fields.take("tools")?.unwrap_or_default(), takes_schema)?;
    let mut tool_choice = tool_choice(&mut fields, !tools.is_empty())?;
    if tools.is_empty() {
        tools = called(&messages);
        // The caller has none that it would understand a call of.
        tool_choice = (!tools.is_empty()).then(|| choosing("none"));
    }
    let wish = Wish {
        effort: fields.take("reasoning_effort")?,
        limit: limit(&mut fields)?,
        default_max_tokens,
        most_tokens: most_tokens(target),
        // A call of a tool that was thought over must come with the thoughts, and this dialect has lost them.
        is_in_the_middle: begins_the_answer || messages.last().is_some_and(Message::holds_tool_results),
        is_forced: tool_choice.as_ref().is_some_and(|choice| matches!(&*choice.kind, "any" | "tool")),
    };
    let (max_tokens, thinking, effort) = wish.come_to(thought(target));
    let (temperature, top_p) = sampling(&mut fields, taken(target), thinking.is_some())?;
    let format = format(fields.take("response_format")?)?;
    if format.is_some() && !takes_schema {
        return Err(foreign("response_format"));
    }
    let has_config = effort.is_some() || format.is_some();
    let user: Option<String> = match fields.take("safety_identifier")? {
        Some(user) => Some(user),
        None => fields.take("user")?,
    };
    let options: Option<StreamOptions> = fields.take("stream_options")?;
    let request = Request {
        model: fields.raw("model"),
        max_tokens,
        system,
        messages,
        tools,
        tool_choice,
        stop_sequences: fields.take("stop")?.map(stops).filter(|stops| !stops.is_empty()),
        temperature,
        top_p,
        metadata: user.filter(|user| is_opaque(user)).map(|user| Metadata { user_id: Some(user) }),
        stream: fields.raw("stream"),
        thinking,
        output_config: has_config.then_some(OutputConfig { effort, format }),
    };
    let body = serde_json::to_vec(&request).map_err(|_| malformed("body"))?;
    Ok(Asked { body: body.into(), wants_usage: options.is_some_and(|options| options.include_usage) })
}

/// Whether the last message is the beginning of the answer, which the target goes on with.
fn prefill(messages: &mut [Message], target: &str) -> Result<bool, Untranslatable> {
    let Some(Message { role, content: Content::Parts(blocks) }) = messages.last_mut() else {
        return Ok(false);
    };
    if role != "assistant" {
        return Ok(false);
    }
    if !takes_prefill(target) {
        return Err(Untranslatable::new("messages", "has to end with the user for the target"));
    }
    if let Some(text) = blocks.last_mut().and_then(|block| block.text.as_mut()) {
        text.truncate(text.trim_end().len());
    }
    Ok(true)
}

fn limit(fields: &mut Fields) -> Result<Option<u64>, Untranslatable> {
    for name in ["max_completion_tokens", "max_tokens"] {
        match fields.take(name)? {
            Some(0) => return Err(Untranslatable::new(name, "is less than 1")),
            None => {}
            some => return Ok(some),
        }
    }
    Ok(None)
}

/// Those that are more than white space.
fn stops(stop: Stop) -> Vec<String> {
    let mut stops = match stop {
        Stop::One(stop) => vec![stop],
        Stop::Several(stops) => stops,
    };
    stops.retain(|stop| !stop.trim().is_empty());
    stops
}

/// Whether a user's name says nothing of who it is, as far as Anthropic looks.
fn is_opaque(user: &str) -> bool {
    let is_dialled = |c: char| c.is_ascii_digit() || c.is_whitespace() || matches!(c, '+' | '-' | '(' | ')');
    let is_telephone = user.len() >= 7 && user.chars().all(is_dialled);
    (1..=256).contains(&user.chars().count()) && !user.contains('@') && !is_telephone
}

fn format(format: Option<ResponseFormat>) -> Result<Option<Format>, Untranslatable> {
    let Some(format) = format else { return Ok(None) };
    match (&*format.kind, format.json_schema) {
        ("text", _) => Ok(None),
        ("json_schema", Some(schema)) if schema.schema.is_some() => {
            Ok(Some(Format { kind: "json_schema".to_owned(), schema: schema.schema }))
        }
        // Any JSON will do there, and here only what a schema describes.
        _ => Err(foreign("response_format")),
    }
}
