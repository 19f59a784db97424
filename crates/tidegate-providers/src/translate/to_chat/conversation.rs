//! What was said, message by message.

use std::collections::BTreeMap;

use serde_json::Value;
use tidegate_core::Untranslatable;

use super::super::chat::{File, ImageUrl, Message, Part, ToolCall};
use super::super::fields::{Content, foreign, malformed};
use super::super::ids::Ids;
use super::super::messages::{self, Block, Source};

pub(super) fn conversation(
    system: Option<Content<Block>>,
    spoken: Vec<messages::Message>,
    ids: Ids,
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
    let mut names = Names { ids, known: BTreeMap::new() };
    let before = messages.len();
    // Of one turn, however many messages it comes in: what tools said goes before it.
    let mut asked = Vec::new();
    for message in spoken {
        if message.role != "user" {
            messages.append(&mut asked);
        }
        match (&*message.role, message.content) {
            ("user", Content::Text(text)) => {
                asked.push(Message { content: Some(Content::Text(text)), ..Message::of("user") });
            }
            (role @ ("assistant" | "system"), Content::Text(text)) => {
                messages.push(Message { content: Some(Content::Text(text)), ..Message::of(role) });
            }
            ("user", Content::Parts(blocks)) => user(blocks, &mut names, &mut messages, &mut asked)?,
            // What the system says in the middle ("Mid-conversation system messages").
            ("system", Content::Parts(blocks)) => {
                for block in blocks {
                    let text = block.text.filter(|_| block.kind == "text");
                    messages.push(said(text.ok_or_else(|| foreign("messages[].content[].type"))?));
                }
            }
            ("assistant", Content::Parts(blocks)) => messages.extend(assistant(blocks, &mut names)?),
            _ => return Err(foreign("messages[].role")),
        }
    }
    messages.append(&mut asked);
    match messages.len() > before {
        true => Ok(messages),
        false => Err(Untranslatable::new("messages", "ends with nothing to answer")),
    }
}

/// How each call is named for the target, and its result likewise.
struct Names {
    ids: Ids,
    known: BTreeMap<String, String>,
}

impl Names {
    fn of(&mut self, id: String) -> String {
        let Self { ids, known } = self;
        known.entry(id).or_insert_with_key(|id| ids.name(id)).clone()
    }
}

/// What tools said is a message each, and before everything else: it answers the message before. What they showed comes
/// after all of them, since a message of a tool holds nothing but text.
fn user(
    blocks: Vec<Block>,
    names: &mut Names,
    messages: &mut Vec<Message>,
    asked: &mut Vec<Message>,
) -> Result<(), Untranslatable> {
    let (mut shown, mut parts) = (Vec::new(), Vec::new());
    for block in blocks {
        match &*block.kind {
            "tool_result" => messages.push(tool_result(block, names, &mut shown)?),
            "text" => {
                parts.push(Part::text(block.text.ok_or_else(|| malformed("messages[].content[].text"))?))
            }
            "image" => {
                let source = block.source.ok_or_else(|| malformed("messages[].content[].source"))?;
                parts.push(image(source).ok_or_else(|| foreign("messages[].content[].source.type"))?);
            }
            "document" => parts.push(document(block)?),
            _ => return Err(foreign("messages[].content[].type")),
        }
    }
    shown.append(&mut parts);
    let parts = shown;
    if !parts.is_empty() {
        let content = match <[Part; 1]>::try_from(parts) {
            Ok([Part { text: Some(text), .. }]) => Content::Text(text),
            Ok([part]) => Content::Parts(vec![part]),
            Err(parts) => Content::Parts(parts),
        };
        asked.push(Message { content: Some(content), ..Message::of("user") });
    }
    Ok(())
}

fn image(source: Source) -> Option<Part> {
    url(source).map(|url| Part { image_url: Some(ImageUrl { url }), ..Part::of("image_url") })
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
    let citations = block.citations.and_then(|raw| serde_json::from_str::<Value>(raw.get()).ok());
    if citations.is_some_and(|citations| citations["enabled"] == true) {
        return Err(foreign("messages[].content[].citations"));
    }
    let source = block.source.ok_or_else(|| malformed("messages[].content[].source"))?;
    match &*source.kind {
        "text" => source.data.map(Part::text),
        "base64" => url(source).map(|data| Part {
            // It has to have a name.
            file: Some(File {
                filename: Some(block.title.unwrap_or_else(|| "document.pdf".to_owned())),
                file_data: Some(data),
            }),
            ..Part::of("file")
        }),
        _ => None,
    }
    .ok_or_else(|| foreign("messages[].content[].source.type"))
}

/// What a tool said; what it showed is added to `shown`, under the name of the call.
fn tool_result(block: Block, names: &mut Names, shown: &mut Vec<Part>) -> Result<Message, Untranslatable> {
    let id = block.tool_use_id.ok_or_else(|| malformed("messages[].content[].tool_use_id"))?;
    let id = names.of(id);
    let content = match block.content {
        // What failed without a word is told as much.
        None if block.is_error == Some(true) => Content::Text("error".to_owned()),
        None => Content::Text(String::new()),
        Some(Content::Text(text)) => Content::Text(text),
        Some(Content::Parts(said)) => {
            let foreign = || foreign("messages[].content[].content[].type");
            let (mut texts, mut pictures) = (Vec::new(), Vec::new());
            for said in said {
                match (&*said.kind, said.text, said.source) {
                    ("text", Some(text), _) => texts.push(text),
                    ("image", _, Some(source)) => pictures.push(image(source).ok_or_else(foreign)?),
                    _ => return Err(foreign()),
                }
            }
            if !pictures.is_empty() {
                texts.push(format!("[images of {id} follow]"));
                shown.push(Part::text(format!("[images of {id}]")));
                shown.append(&mut pictures);
            }
            match <[String; 1]>::try_from(texts) {
                Ok([text]) => Content::Text(text),
                Err(texts) => Content::Parts(texts.into_iter().map(Part::text).collect()),
            }
        }
    };
    Ok(Message { content: Some(content), tool_call_id: Some(id), ..Message::of("tool") })
}

/// Thoughts stay here: they are signed for the one who had them.
fn assistant(blocks: Vec<Block>, names: &mut Names) -> Result<Option<Message>, Untranslatable> {
    let (mut texts, mut calls) = (Vec::new(), Vec::new());
    for block in blocks {
        match &*block.kind {
            "text" => texts.push(block.text.ok_or_else(|| malformed("messages[].content[].text"))?),
            "tool_use" => match (block.id, block.name, block.input) {
                (Some(id), Some(name), Some(input)) => {
                    calls.push(ToolCall::new(names.of(id), name, input.get().to_owned()));
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
