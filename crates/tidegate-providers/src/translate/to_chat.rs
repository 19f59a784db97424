//! A request for Anthropic's messages, as one for a chat completion.

use bytes::Bytes;
use serde::Serialize;
use serde_json::{Value, json};
use tidegate_core::Untranslatable;

use super::chat::{
    File, Function, ImageUrl, JsonSchema, Message, Part, ResponseFormat, StreamOptions, Tool, ToolCall,
};
use super::fields::{Content, Fields, Raw, Refused, foreign, malformed};
use super::messages::{self, Block, Metadata, OutputConfig, Source, Thinking, ToolChoice};
use crate::models::{limits_completion, takes_effort};

#[derive(Serialize)]
struct Request {
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<Raw>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_tokens: Option<Raw>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_completion_tokens: Option<Raw>,
    messages: Vec<Message>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Tool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parallel_tool_calls: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop: Option<Raw>,
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
    ("context_management", |_| false),
    ("inference_geo", |place| place == "global"),
];

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
    let thinking: Option<Thinking> = fields.take("thinking")?;
    let effort = effort(config.effort, thinking).filter(|_| takes_effort(target));
    let stream: Option<bool> = fields.take("stream")?;
    let limit = fields.raw("max_tokens");
    let (max_tokens, max_completion_tokens) =
        if limits_completion(target) { (None, limit) } else { (limit, None) };
    let metadata: Option<Metadata> = fields.take("metadata")?;
    let is_single = choice.as_ref().is_some_and(|choice| choice.disable_parallel_tool_use == Some(true));
    let request = Request {
        model: fields.raw("model"),
        max_tokens,
        max_completion_tokens,
        messages: conversation(system, spoken)?,
        tools,
        tool_choice: choice.map(tool_choice).transpose()?,
        parallel_tool_calls: is_single.then_some(false),
        stop: fields.raw("stop_sequences"),
        temperature: fields.raw("temperature"),
        top_p: fields.raw("top_p"),
        user: metadata.and_then(|metadata| metadata.user_id),
        stream,
        // A message always tells what it cost.
        stream_options: (stream == Some(true)).then_some(StreamOptions { include_usage: true }),
        reasoning_effort: effort,
        response_format: config.format.map(response_format).transpose()?,
    };
    serde_json::to_vec(&request).map(Bytes::from).map_err(|_| malformed("body"))
}

fn conversation(
    system: Option<Content<Block>>,
    spoken: Vec<messages::Message>,
) -> Result<Vec<Message>, Untranslatable> {
    let mut messages = Vec::new();
    let texts = match system {
        None => Vec::new(),
        Some(Content::Text(text)) => vec![text],
        Some(Content::Parts(blocks)) => blocks
            .into_iter()
            .map(|block| block.text.filter(|_| block.kind == "text").ok_or_else(|| foreign("system[].type")))
            .collect::<Result<_, _>>()?,
    };
    // One for each block: not everybody takes a message of the system in parts.
    let said = |text| Message { content: Some(Content::Text(text)), ..Message::of("system") };
    messages.extend(texts.into_iter().filter(|text| !text.is_empty()).map(said));
    for message in spoken {
        match (&*message.role, message.content) {
            (role @ ("user" | "assistant" | "system"), Content::Text(text)) => {
                messages.push(Message { content: Some(Content::Text(text)), ..Message::of(role) });
            }
            ("user", Content::Parts(blocks)) => user(blocks, &mut messages)?,
            ("assistant", Content::Parts(blocks)) => messages.extend(assistant(blocks)?),
            _ => return Err(foreign("messages[].role")),
        }
    }
    Ok(messages)
}

/// What tools said is a message each, and before everything else: it answers the message before.
fn user(blocks: Vec<Block>, messages: &mut Vec<Message>) -> Result<(), Untranslatable> {
    let mut parts = Vec::new();
    for block in blocks {
        match &*block.kind {
            "tool_result" => messages.push(tool_result(block)?),
            "text" => {
                parts.push(Part::text(block.text.ok_or_else(|| malformed("messages[].content[].text"))?))
            }
            "image" => {
                let source = block.source.ok_or_else(|| malformed("messages[].content[].source"))?;
                let url = url(source).ok_or_else(|| foreign("messages[].content[].source.type"))?;
                parts.push(Part {
                    image_url: Some(ImageUrl { url }),
                    ..Part { kind: "image_url".to_owned(), ..Part::default() }
                });
            }
            "document" => parts.push(document(block)?),
            _ => return Err(foreign("messages[].content[].type")),
        }
    }
    if !parts.is_empty() {
        let content = match <[Part; 1]>::try_from(parts) {
            Ok([Part { text: Some(text), .. }]) => Content::Text(text),
            Ok([part]) => Content::Parts(vec![part]),
            Err(parts) => Content::Parts(parts),
        };
        messages.push(Message { content: Some(content), ..Message::of("user") });
    }
    Ok(())
}

/// A URL, or all of it in one.
fn url(source: Source) -> Option<String> {
    match (&*source.kind, source.url, source.media_type, source.data) {
        ("url", Some(url), ..) => Some(url),
        ("base64", _, Some(media), Some(data)) => Some(format!("data:{media};base64,{data}")),
        _ => None,
    }
}

fn document(block: Block) -> Result<Part, Untranslatable> {
    let source = block.source.ok_or_else(|| malformed("messages[].content[].source"))?;
    match &*source.kind {
        "text" => source.data.map(Part::text),
        "base64" => url(source).map(|data| Part {
            kind: "file".to_owned(),
            // It has to have a name.
            file: Some(File {
                filename: Some(block.title.unwrap_or_else(|| "document.pdf".to_owned())),
                file_data: Some(data),
            }),
            ..Part::default()
        }),
        _ => None,
    }
    .ok_or_else(|| foreign("messages[].content[].source.type"))
}

fn tool_result(block: Block) -> Result<Message, Untranslatable> {
    let content = match block.content {
        None => Content::Text(String::new()),
        Some(Content::Text(text)) => Content::Text(text),
        Some(Content::Parts(said)) => {
            let texts = said.into_iter().map(|said| said.text.filter(|_| said.kind == "text"));
            let texts: Option<Vec<String>> = texts.collect();
            let texts = texts.ok_or_else(|| foreign("messages[].content[].content[].type"))?;
            match <[String; 1]>::try_from(texts) {
                Ok([text]) => Content::Text(text),
                Err(texts) => Content::Parts(texts.into_iter().map(Part::text).collect()),
            }
        }
    };
    let id = block.tool_use_id.ok_or_else(|| malformed("messages[].content[].tool_use_id"))?;
    Ok(Message { content: Some(content), tool_call_id: Some(id), ..Message::of("tool") })
}

/// Thoughts stay here: they are signed for the one who had them.
fn assistant(blocks: Vec<Block>) -> Result<Option<Message>, Untranslatable> {
    let (mut texts, mut calls) = (Vec::new(), Vec::new());
    for block in blocks {
        match &*block.kind {
            "text" => texts.push(block.text.ok_or_else(|| malformed("messages[].content[].text"))?),
            "tool_use" => match (block.id, block.name, block.input) {
                (Some(id), Some(name), Some(input)) => {
                    calls.push(ToolCall::new(id, name, input.get().to_owned()));
                }
                _ => return Err(malformed("messages[].content[].input")),
            },
            "thinking" | "redacted_thinking" => {}
            _ => return Err(foreign("messages[].content[].type")),
        }
    }
    let content = match <[String; 1]>::try_from(texts) {
        Ok([text]) => Some(Content::Text(text)),
        Err(texts) if texts.is_empty() => None,
        Err(texts) => Some(Content::Parts(texts.into_iter().map(Part::text).collect())),
    };
    if content.is_none() && calls.is_empty() {
        return Ok(None);
    }
    let tool_calls = Some(calls).filter(|calls| !calls.is_empty());
    Ok(Some(Message { content, tool_calls, ..Message::of("assistant") }))
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
