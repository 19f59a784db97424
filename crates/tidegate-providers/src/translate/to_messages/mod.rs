//! A request for a chat completion, as one for Anthropic's messages.

mod conversation;
mod wish;

use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;
use tidegate_core::Untranslatable;

use self::conversation::conversation;
use self::wish::Wish;
use super::chat::{self, ResponseFormat, Stop, StreamOptions};
use super::fields::{Fields, Raw, Refused, foreign, malformed, raw};
use super::messages::{Block, Format, Message, Metadata, OutputConfig, Thinking, Tool, ToolChoice};
use crate::models::thought;

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
const REFUSED: [Refused; 12] = [
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
    ("verbosity", |verbosity| verbosity == "medium"),
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
    let (system, messages) = conversation(spoken)?;
    let tools = tools(fields.take("tools")?.unwrap_or_default())?;
    let tool_choice = tool_choice(&mut fields, !tools.is_empty())?;
    let limit = match fields.take("max_completion_tokens")? {
        Some(limit) => Some(limit),
        None => fields.take("max_tokens")?,
    };
    let wish = Wish {
        effort: fields.take("reasoning_effort")?,
        limit,
        default_max_tokens,
        // A call of a tool that was thought over must come with the thoughts, and this dialect has lost them.
        is_in_the_middle: messages.last().is_some_and(Message::holds_tool_results),
        is_forced: tool_choice.as_ref().is_some_and(|choice| matches!(&*choice.kind, "any" | "tool")),
    };
    let (max_tokens, thinking, effort) = wish.come_to(thought(target));
    let format = format(fields.take("response_format")?)?;
    let has_config = effort.is_some() || format.is_some();
    let user = match fields.take("safety_identifier")? {
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
        stop_sequences: fields.take("stop")?.map(|stop| match stop {
            Stop::One(stop) => vec![stop],
            Stop::Several(stops) => stops,
        }),
        temperature: temperature(&mut fields)?,
        top_p: fields.raw("top_p"),
        metadata: user.map(|user| Metadata { user_id: Some(user) }),
        stream: fields.raw("stream"),
        thinking,
        output_config: has_config.then_some(OutputConfig { effort, format }),
    };
    let body = serde_json::to_vec(&request).map_err(|_| malformed("body"))?;
    Ok(Asked { body: body.into(), wants_usage: options.is_some_and(|options| options.include_usage) })
}

fn tools(tools: Vec<chat::Tool>) -> Result<Vec<Tool>, Untranslatable> {
    let tool = |tool: chat::Tool| {
        let function = tool.function.filter(|_| tool.kind == "function");
        let function = function.ok_or_else(|| foreign("tools[].type"))?;
        Ok(Tool {
            kind: None,
            name: function.name,
            description: function.description,
            // A function without parameters has an empty list of them, and a tool without a schema is none.
            input_schema: function.parameters.or_else(|| raw(r#"{"type":"object","properties":{}}"#)),
            strict: function.strict.filter(|strict| *strict),
        })
    };
    tools.into_iter().map(tool).collect()
}

fn tool_choice(fields: &mut Fields, has_tools: bool) -> Result<Option<ToolChoice>, Untranslatable> {
    let choice: Option<Value> = fields.take("tool_choice")?;
    let is_parallel: Option<bool> = fields.take("parallel_tool_calls")?;
    let of = |kind: &str| ToolChoice { kind: kind.to_owned(), ..ToolChoice::default() };
    let mut choice = match choice {
        None => None,
        Some(Value::String(choice)) => Some(match &*choice {
            "auto" => of("auto"),
            "none" => of("none"),
            "required" | "any" => of("any"),
            _ => return Err(foreign("tool_choice")),
        }),
        Some(choice) if choice["type"] == "function" => {
            let name = choice["function"]["name"].as_str();
            Some(ToolChoice {
                name: Some(name.ok_or_else(|| malformed("tool_choice.function.name"))?.to_owned()),
                ..of("tool")
            })
        }
        Some(_) => return Err(foreign("tool_choice.type")),
    };
    // Without tools there is nothing to choose from, and a choice is refused.
    if !has_tools {
        return Ok(None);
    }
    if is_parallel == Some(false) {
        let choice = choice.get_or_insert_with(|| of("auto"));
        choice.disable_parallel_tool_use = Some(true).filter(|_| choice.kind != "none");
    }
    Ok(choice)
}

/// Up to 2 there, up to 1 here.
fn temperature(fields: &mut Fields) -> Result<Option<Raw>, Untranslatable> {
    let Some(written) = fields.raw("temperature") else { return Ok(None) };
    let degrees: f64 = serde_json::from_str(written.get()).map_err(|_| malformed("temperature"))?;
    Ok(match degrees {
        ..0.0 => raw("0"),
        0.0..=1.0 => Some(written),
        _ => raw("1"),
    })
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
