//! A request for Anthropic's messages, as one for a chat completion.
//!
//! What is answered with a 400 though Anthropic takes it is put right where it only advises, and refused where it would
//! mean something else:
//!
//! | in messages | here | who says so |
//! |--|--|--|
//! | `max_tokens` above what the model can | what it can | OpenAI: "max_tokens is too large" |
//! | `temperature`, `top_p` for OpenAI's models that reason | left out | OpenAI: "Only the default (1) value is supported" |
//! | `stop_sequences` for these | refused | OpenAI, "Chat completions": not with reasoning models |
//! | an effort beside tools, for GPT from 5.2 on | left out, or "none" | OpenAI: "Function tools with reasoning_effort are not supported" |
//! | more than 4 `stop_sequences` (DeepSeek: 16) | refused | OpenAI, DeepSeek, "Chat completions" |
//! | `metadata.user_id` above 64 characters, or for Mistral | left out | OpenAI: "string too long" (maximhq/bifrost#1000); Mistral: "Extra inputs are not permitted" |
//! | ids above 40 characters; with Mistral, other than 9 letters and digits | numbered | OpenAI: "maximum length 40"; Mistral: "with a length of 9" |
//! | the assistant last, for OpenAI | refused | it is not gone on with, but answered |
//! | no message | refused | OpenAI: "[] is too short" |

mod conversation;

use bytes::Bytes;
use serde::Serialize;
use serde_json::{Value, json};
use tidegate_core::Untranslatable;

use self::conversation::conversation;
use super::chat::{Function, JsonSchema, Message, ResponseFormat, StreamOptions, Tool};
use super::fields::{Content, Fields, Raw, Refused, foreign, malformed};
use super::ids::Ids;
use super::messages::{self, Block, Metadata, OutputConfig, Thinking, ToolChoice};
use crate::Provider;
use crate::models::{
    EffortWithTools, effort_with_tools, has_to_be_asked_for_usage, limits_completion, may_go_on, most_stops,
    most_tokens, only_reasons, takes_effort,
};

#[derive(Serialize)]
struct Request {
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<Raw>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<u64>,
    messages: Vec<Message>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Tool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parallel_tool_calls: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<Raw>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<Raw>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_options: Option<StreamOptions>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_effort: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<ResponseFormat>,
}

/// What has no counterpart, unless it asks for nothing.
const REFUSED: [Refused; 5] = [
    ("top_k", |_| false),
    ("container", |_| false),
    ("mcp_servers", |servers| servers.as_array().is_some_and(Vec::is_empty)),
    ("context_management", only_clears),
    ("inference_geo", |place| place == "global"),
];

/// Whether of what was said some is only cleared away to make room, thoughts and what tools said. Who is told all of it
/// lacks nothing, and thoughts are left out anyway. Claude Code asks for this whenever it thinks.
fn only_clears(management: &Value) -> bool {
    let edits = management["edits"].as_array().map_or(&[][..], |edits| edits);
    edits.iter().all(|edit| edit["type"].as_str().is_some_and(|kind| kind.starts_with("clear_")))
}

pub(super) fn request(body: &[u8], target: &str) -> Result<Bytes, Untranslatable> {
    let mut fields = Fields::read(body)?;
    for (name, asks_for_nothing) in REFUSED {
        fields.refuse(name, asks_for_nothing)?;
    }
    let system: Option<Content<Block>> = fields.take("system")?;
    let spoken: Vec<messages::Message> = fields.take("messages")?.ok_or_else(|| malformed("messages"))?;
    let tools = tools(fields.take("tools")?.unwrap_or_default())?;
    let choice: Option<ToolChoice> = fields.take("tool_choice")?;
    let choice = choice.filter(|_| !tools.is_empty());
    let config: OutputConfig = fields.take("output_config")?.unwrap_or_default();
    // So it was called before, and so it is by the clients of that time.
    let format = config.format.or(fields.take("output_format")?);
    let thinking: Option<Thinking> = fields.take("thinking")?;
    let effort = effort(config.effort, thinking).filter(|_| takes_effort(target));
    let effort = match effort_with_tools(target) {
        EffortWithTools::Refused if !tools.is_empty() => None,
        EffortWithTools::None if !tools.is_empty() => Some("none".to_owned()),
        _ => effort,
    };
    let stream: Option<bool> = fields.take("stream")?;
    let limit: Option<u64> = fields.take("max_tokens")?;
    let limit = limit.map(|limit| limit.min(most_tokens(target).unwrap_or(u64::MAX)));
    let (max_tokens, max_completion_tokens) =
        if limits_completion(target) { (None, limit) } else { (limit, None) };
    let metadata: Option<Metadata> = fields.take("metadata")?;
    let is_single = choice.as_ref().is_some_and(|choice| choice.disable_parallel_tool_use == Some(true));
    let is_mistral = Provider::named(target) == Provider::Mistral;
    let user = metadata.and_then(|metadata| metadata.user_id);
    let messages = conversation(system, spoken, Ids::of_chat(is_mistral))?;
    if messages.last().is_some_and(|last| last.role == "assistant") && !may_go_on(target) {
        return Err(Untranslatable::new("messages", "has to end with the user for the target"));
    }
    let request = Request {
        model: fields.raw("model"),
        max_tokens,
        max_completion_tokens,
        messages,
        tools,
        tool_choice: choice.map(tool_choice).transpose()?,
        parallel_tool_calls: is_single.then_some(false),
        stop: stop(fields.take("stop_sequences")?, target)?,
        temperature: fields.raw("temperature").filter(|_| !only_reasons(target)),
        top_p: fields.raw("top_p").filter(|_| !only_reasons(target)),
        user: user.filter(|user| !is_mistral && user.chars().count() <= 64),
        stream,
        // A message always tells what it cost.
        stream_options: (stream == Some(true) && has_to_be_asked_for_usage(target))
            .then_some(StreamOptions { include_usage: true }),
        reasoning_effort: effort,
        response_format: format.map(response_format).transpose()?,
    };
    serde_json::to_vec(&request).map(Bytes::from).map_err(|_| malformed("body"))
}

fn stop(stops: Option<Vec<String>>, target: &str) -> Result<Option<Vec<String>>, Untranslatable> {
    let stops = stops.unwrap_or_default();
    match stops.len() {
        0 => Ok(None),
        _ if only_reasons(target) => Err(foreign("stop_sequences")),
        count if count > most_stops(target) => {
            Err(Untranslatable::new("stop_sequences", "are more than the target takes"))
        }
        _ => Ok(Some(stops)),
    }
}

fn tools(tools: Vec<messages::Tool>) -> Result<Vec<Tool>, Untranslatable> {
    let tool = |tool: messages::Tool| {
        if tool.kind.is_some_and(|kind| kind != "custom") {
            return Err(foreign("tools[].type"));
        }
        let function = Function {
            name: tool.name,
            description: tool.description,
            parameters: tool.input_schema,
            strict: tool.strict,
        };
        Ok(Tool { kind: "function".to_owned(), function: Some(function) })
    };
    tools.into_iter().map(tool).collect()
}

fn tool_choice(choice: ToolChoice) -> Result<Value, Untranslatable> {
    Ok(match (&*choice.kind, choice.name) {
        ("auto", _) => json!("auto"),
        ("none", _) => json!("none"),
        ("any", _) => json!("required"),
        ("tool", Some(name)) => json!({"type": "function", "function": {"name": name}}),
        _ => return Err(foreign("tool_choice.type")),
    })
}

/// A budget is as good as an effort where nothing else is understood.
fn effort(effort: Option<String>, thinking: Option<Thinking>) -> Option<String> {
    let effort = match (effort.as_deref(), thinking) {
        (Some("low"), _) => "low",
        (Some("medium"), _) => "medium",
        (Some(_), _) => "high",
        (None, Some(Thinking { kind, budget_tokens: Some(budget) })) if kind == "enabled" => match budget {
            ..4096 => "low",
            4096..16_384 => "medium",
            _ => "high",
        },
        (None, _) => return None,
    };
    Some(effort.to_owned())
}

fn response_format(format: messages::Format) -> Result<ResponseFormat, Untranslatable> {
    if format.kind != "json_schema" {
        return Err(foreign("output_config.format.type"));
    }
    // It has to have a name, and over there it is always kept to.
    let json_schema =
        Some(JsonSchema { name: "answer".to_owned(), schema: format.schema, strict: Some(true) });
    Ok(ResponseFormat { kind: format.kind, json_schema })
}
