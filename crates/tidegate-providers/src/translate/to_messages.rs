//! A request for a chat completion, as one for Anthropic's messages.

use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;
use tidegate_core::Untranslatable;

use super::chat::{self, Part, ResponseFormat, Stop, StreamOptions};
use super::fields::{Content, Fields, Raw, Refused, foreign, malformed, raw};
use super::messages::{
    Block, Format, Message, Metadata, OutputConfig, Said, Source, Thinking, Tool, ToolChoice,
};
use crate::models::{Thought, thought};

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

impl Message {
    fn holds_tool_results(&self) -> bool {
        matches!(&self.content, Content::Parts(blocks) if blocks.iter().any(|block| block.kind == "tool_result"))
    }
}

/// What was said, and before it all that the system had to say: there is one place for that here.
fn conversation(spoken: Vec<chat::Message>) -> Result<(Vec<Block>, Vec<Message>), Untranslatable> {
    let (mut system, mut messages): (Vec<Block>, Vec<Message>) = (Vec::new(), Vec::new());
    let mut answers_tools = false;
    for message in spoken {
        let is_of_tool = message.role == "tool";
        let role = match &*message.role {
            "system" | "developer" => {
                system.extend(texts(message.content)?.into_iter().map(Block::text));
                continue;
            }
            "user" | "tool" => "user",
            "assistant" => "assistant",
            _ => return Err(foreign("messages[].role")),
        };
        let blocks = match role {
            _ if is_of_tool => vec![tool_result(message)?],
            "user" => user(message.content)?,
            _ => assistant(message)?,
        };
        match messages.last_mut() {
            Some(Message { content: Content::Parts(results), .. }) if is_of_tool && answers_tools => {
                results.extend(blocks);
            }
            // There must be something in a message, and there was nothing.
            _ if blocks.is_empty() => {}
            _ => messages.push(Message { role: role.to_owned(), content: Content::Parts(blocks) }),
        }
        answers_tools = is_of_tool;
    }
    Ok((system, messages))
}

/// Where nothing but text can stand. Blocks without text are refused over there.
fn texts(content: Option<Content<Part>>) -> Result<Vec<String>, Untranslatable> {
    let texts = match content {
        None => Vec::new(),
        Some(Content::Text(text)) => vec![text],
        Some(Content::Parts(parts)) => parts
            .into_iter()
            .map(|part| match &*part.kind {
                "text" => part.text.ok_or_else(|| malformed("messages[].content[].text")),
                "refusal" => part.refusal.ok_or_else(|| malformed("messages[].content[].refusal")),
                _ => Err(foreign("messages[].content[].type")),
            })
            .collect::<Result<_, _>>()?,
    };
    Ok(texts.into_iter().filter(|text| !text.trim().is_empty()).collect())
}

fn user(content: Option<Content<Part>>) -> Result<Vec<Block>, Untranslatable> {
    let parts = match content {
        Some(Content::Parts(parts)) => parts,
        other => return Ok(texts(other)?.into_iter().map(Block::text).collect()),
    };
    let mut blocks = Vec::with_capacity(parts.len());
    for part in parts {
        blocks.push(match &*part.kind {
            "image_url" => {
                image(&part.image_url.ok_or_else(|| malformed("messages[].content[].image_url"))?.url)?
            }
            "file" => document(part.file.ok_or_else(|| malformed("messages[].content[].file"))?)?,
            _ => {
                blocks.extend(texts(Some(Content::Parts(vec![part])))?.into_iter().map(Block::text));
                continue;
            }
        });
    }
    Ok(blocks)
}

/// `data:image/png;base64,...`, taken apart.
fn data_url(url: &str) -> Option<Source> {
    let (media, data) = url.strip_prefix("data:")?.split_once(',')?;
    let media = media.strip_suffix(";base64")?.split(';').next()?;
    let (media_type, data) = (Some(media.to_owned()), Some(data.to_owned()));
    Some(Source { kind: "base64".to_owned(), media_type, data, url: None })
}

fn image(url: &str) -> Result<Block, Untranslatable> {
    let source = match url.starts_with("data:") {
        true => data_url(url).ok_or_else(|| malformed("messages[].content[].image_url.url"))?,
        false => Source { kind: "url".to_owned(), url: Some(url.to_owned()), ..Source::default() },
    };
    Ok(Block { source: Some(source), ..Block::of("image") })
}

fn document(file: chat::File) -> Result<Block, Untranslatable> {
    // A file that was uploaded is known to nobody else.
    let data = file.file_data.ok_or_else(|| foreign("messages[].content[].file.file_id"))?;
    let source = data_url(&data).filter(|source| source.media_type.as_deref() == Some("application/pdf"));
    let source = source.ok_or_else(|| foreign("messages[].content[].file.file_data"))?;
    Ok(Block { source: Some(source), title: file.filename, ..Block::of("document") })
}

fn assistant(message: chat::Message) -> Result<Vec<Block>, Untranslatable> {
    if message.function_call.is_some() {
        return Err(foreign("messages[].function_call"));
    }
    if message.audio.is_some() {
        return Err(foreign("messages[].audio"));
    }
    let refusal = message.refusal.into_iter().filter(|text| !text.trim().is_empty());
    let mut blocks: Vec<Block> =
        texts(message.content)?.into_iter().chain(refusal).map(Block::text).collect();
    for call in message.tool_calls.unwrap_or_default() {
        let function = call.function.filter(|_| call.kind == "function");
        let function = function.ok_or_else(|| foreign("messages[].tool_calls[].type"))?;
        let input = match function.arguments.trim() {
            "" => "{}",
            arguments => arguments,
        };
        let input = raw(input).filter(|input| input.get().starts_with('{'));
        blocks.push(Block {
            id: Some(call.id),
            name: Some(function.name),
            input: Some(input.ok_or_else(|| foreign("messages[].tool_calls[].function.arguments"))?),
            ..Block::of("tool_use")
        });
    }
    Ok(blocks)
}

fn tool_result(message: chat::Message) -> Result<Block, Untranslatable> {
    let content = match message.content {
        Some(Content::Text(text)) => Some(Content::Text(text)),
        other => {
            let said = |text| Said { kind: "text".to_owned(), text: Some(text) };
            Some(texts(other)?.into_iter().map(said).collect())
                .filter(|said: &Vec<Said>| !said.is_empty())
                .map(Content::Parts)
        }
    };
    let tool_use_id = Some(message.tool_call_id.ok_or_else(|| malformed("messages[].tool_call_id"))?);
    Ok(Block { tool_use_id, content, ..Block::of("tool_result") })
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

/// How much is to be thought, and said.
struct Wish {
    effort: Option<String>,
    limit: Option<u64>,
    default_max_tokens: u64,
    is_in_the_middle: bool,
    /// Nobody who must call a tool may think first.
    is_forced: bool,
}

/// The least that can be thought, says Anthropic.
const MIN_BUDGET: u64 = 1024;

impl Wish {
    /// The limit of tokens, and how to think.
    fn come_to(self, thought: Thought) -> (u64, Option<Thinking>, Option<String>) {
        let limit = self.limit.unwrap_or(self.default_max_tokens);
        let of = |kind: &str, budget_tokens| Some(Thinking { kind: kind.to_owned(), budget_tokens });
        let effort = match self.effort.as_deref() {
            None | Some("none") => return (limit, None, None),
            Some(_) if thought == Thought::Budget && (self.is_in_the_middle || self.is_forced) => {
                return (limit, None, None);
            }
            Some("minimal" | "low") => "low",
            Some("medium") => "medium",
            Some(_) => "high",
        };
        match thought {
            Thought::None => (limit, None, None),
            Thought::Effort => {
                (limit, of("adaptive", None).filter(|_| !self.is_forced), Some(effort.to_owned()))
            }
            Thought::Budget => {
                let budget = match effort {
                    "low" => MIN_BUDGET,
                    "medium" => 4 * MIN_BUDGET,
                    _ => 16 * MIN_BUDGET,
                };
                match self.limit {
                    // The limit is for thoughts and words together.
                    None => (budget + limit, of("enabled", Some(budget)), None),
                    Some(limit) if limit > MIN_BUDGET => {
                        (limit, of("enabled", Some(budget.min(limit - 1))), None)
                    }
                    Some(limit) => (limit, None, None),
                }
            }
        }
    }
}
