//! Translates the messages of a conversation.

use std::collections::BTreeMap;

use serde_json::Value;
use tidegate_core::Untranslatable;

use super::super::call_ids::RequestCallIds;
use super::super::chat::{ChatMessage, ContentPart, FilePart, ImageUrl, ToolCall};
use super::super::content::Content;
use super::super::messages::{self, ContentBlock, MediaSource};
use super::super::tool_names::ToolNames;
use crate::untranslatable::{malformed, unsupported};

pub(super) fn conversation(
    system: Option<Content<ContentBlock>>,
    incoming: Vec<messages::AnthropicMessage>,
    call_ids: RequestCallIds,
    tool_names: &mut ToolNames,
) -> Result<Vec<ChatMessage>, Untranslatable> {
    let mut messages = Vec::new();
    let texts = match system {
        None => Vec::new(),
        Some(Content::Text(text)) => vec![text],
        Some(Content::Parts(blocks)) => blocks
            .into_iter()
            .map(|block| {
                block.text.filter(|_| block.kind == "text").ok_or_else(|| unsupported("system[].type"))
            })
            .collect::<Result<_, _>>()?,
    };
    // One message for each block: some providers do not accept a system message with parts.
    let system_message =
        |text| ChatMessage { content: Some(Content::Text(text)), ..ChatMessage::of("system") };
    messages.extend(texts.into_iter().filter(|text| !text.is_empty()).map(system_message));
    let mut id_map = CallIdMap { call_ids, assigned: BTreeMap::new() };
    let before = messages.len();
    // The user messages of the current turn. The tool results of the whole turn are placed before them.
    let mut user_messages = Vec::new();
    for message in incoming {
        if message.role != "user" {
            messages.append(&mut user_messages);
        }
        match (&*message.role, message.content) {
            ("user", Content::Text(text)) => {
                user_messages
                    .push(ChatMessage { content: Some(Content::Text(text)), ..ChatMessage::of("user") });
            }
            (role @ ("assistant" | "system"), Content::Text(text)) => {
                messages.push(ChatMessage { content: Some(Content::Text(text)), ..ChatMessage::of(role) });
            }
            ("user", Content::Parts(blocks)) => user(blocks, &mut id_map, &mut messages, &mut user_messages)?,
            // System messages in the middle ("Mid-conversation system messages").
            ("system", Content::Parts(blocks)) => {
                for block in blocks {
                    let text = block.text.filter(|_| block.kind == "text");
                    messages
                        .push(system_message(text.ok_or_else(|| unsupported("messages[].content[].type"))?));
                }
            }
            ("assistant", Content::Parts(blocks)) => {
                messages.extend(assistant(blocks, &mut id_map, tool_names)?)
            }
            _ => return Err(unsupported("messages[].role")),
        }
    }
    messages.append(&mut user_messages);
    match messages.len() > before {
        true => Ok(messages),
        false => Err(Untranslatable::new("messages", "ends with nothing to answer")),
    }
}

/// Maps the ids of calls and their results to ids that the target accepts.
struct CallIdMap {
    call_ids: RequestCallIds,
    assigned: BTreeMap<String, String>,
}

impl CallIdMap {
    fn target_id(&mut self, id: String) -> String {
        let Self { call_ids, assigned } = self;
        assigned.entry(id).or_insert_with_key(|id| call_ids.assign(id)).clone()
    }
}

/// Translates a user message. Each tool result becomes a message of its own and is placed first, because it
/// must follow the message with the call. Images in tool results follow after all of them, since a tool
/// message can hold only text.
fn user(
    blocks: Vec<ContentBlock>,
    id_map: &mut CallIdMap,
    messages: &mut Vec<ChatMessage>,
    user_messages: &mut Vec<ChatMessage>,
) -> Result<(), Untranslatable> {
    let (mut image_parts, mut parts) = (Vec::new(), Vec::new());
    for block in blocks {
        match &*block.kind {
            "tool_result" => messages.push(tool_result(block, id_map, &mut image_parts)?),
            "text" => parts
                .push(ContentPart::text(block.text.ok_or_else(|| malformed("messages[].content[].text"))?)),
            "image" => {
                let source = block.source.ok_or_else(|| malformed("messages[].content[].source"))?;
                parts.push(image(source).ok_or_else(|| unsupported("messages[].content[].source.type"))?);
            }
            "document" => parts.push(document(block)?),
            _ => return Err(unsupported("messages[].content[].type")),
        }
    }
    image_parts.append(&mut parts);
    let parts = image_parts;
    if !parts.is_empty() {
        let content = match <[ContentPart; 1]>::try_from(parts) {
            Ok([ContentPart { text: Some(text), .. }]) => Content::Text(text),
            Ok([part]) => Content::Parts(vec![part]),
            Err(parts) => Content::Parts(parts),
        };
        user_messages.push(ChatMessage { content: Some(content), ..ChatMessage::of("user") });
    }
    Ok(())
}

fn image(source: MediaSource) -> Option<ContentPart> {
    url(source).map(|url| ContentPart { image_url: Some(ImageUrl { url }), ..ContentPart::of("image_url") })
}

/// The URL of the source, or a data URL.
fn url(source: MediaSource) -> Option<String> {
    match (&*source.kind, source.url, source.media_type, source.data) {
        ("url", Some(url), ..) => Some(url),
        ("base64", _, Some(media), Some(data)) => Some(format!("data:{media};base64,{data}")),
        _ => None,
    }
}

fn document(block: ContentBlock) -> Result<ContentPart, Untranslatable> {
    let citations = block.citations.and_then(|raw| serde_json::from_str::<Value>(raw.get()).ok());
    if citations.is_some_and(|citations| citations["enabled"] == true) {
        return Err(unsupported("messages[].content[].citations"));
    }
    let source = block.source.ok_or_else(|| malformed("messages[].content[].source"))?;
    match &*source.kind {
        "text" => source.data.map(ContentPart::text),
        "base64" => url(source).map(|data| ContentPart {
            // A chat file needs a name.
            file: Some(FilePart {
                filename: Some(block.title.unwrap_or_else(|| "document.pdf".to_owned())),
                file_data: Some(data),
            }),
            ..ContentPart::of("file")
        }),
        _ => None,
    }
    .ok_or_else(|| unsupported("messages[].content[].source.type"))
}

/// Translates a tool result. Its images are appended to `image_parts`, labelled with the id of the call.
fn tool_result(
    block: ContentBlock,
    id_map: &mut CallIdMap,
    image_parts: &mut Vec<ContentPart>,
) -> Result<ChatMessage, Untranslatable> {
    let id = block.tool_use_id.ok_or_else(|| malformed("messages[].content[].tool_use_id"))?;
    let id = id_map.target_id(id);
    let content = match block.content {
        // A failed call without content becomes the text `error`.
        None if block.is_error == Some(true) => Content::Text("error".to_owned()),
        None => Content::Text(String::new()),
        Some(Content::Text(text)) => Content::Text(text),
        Some(Content::Parts(parts)) => {
            let unsupported = || unsupported("messages[].content[].content[].type");
            let (mut texts, mut images) = (Vec::new(), Vec::new());
            for part in parts {
                match (&*part.kind, part.text, part.source) {
                    ("text", Some(text), _) => texts.push(text),
                    ("image", _, Some(source)) => images.push(image(source).ok_or_else(unsupported)?),
                    _ => return Err(unsupported()),
                }
            }
            if !images.is_empty() {
                texts.push(format!("[images of {id} follow]"));
                image_parts.push(ContentPart::text(format!("[images of {id}]")));
                image_parts.append(&mut images);
            }
            match <[String; 1]>::try_from(texts) {
                Ok([text]) => Content::Text(text),
                Err(texts) => Content::Parts(texts.into_iter().map(ContentPart::text).collect()),
            }
        }
    };
    Ok(ChatMessage { content: Some(content), tool_call_id: Some(id), ..ChatMessage::of("tool") })
}

/// Translates an assistant message. Thinking is dropped, because its signature is valid only for the provider
/// that issued it.
fn assistant(
    blocks: Vec<ContentBlock>,
    id_map: &mut CallIdMap,
    tool_names: &mut ToolNames,
) -> Result<Option<ChatMessage>, Untranslatable> {
    let (mut texts, mut calls) = (Vec::new(), Vec::new());
    for block in blocks {
        match &*block.kind {
            "text" => texts.push(block.text.ok_or_else(|| malformed("messages[].content[].text"))?),
            "tool_use" => match (block.id, block.name, block.input) {
                (Some(id), Some(name), Some(input)) => {
                    let (id, name) = (id_map.target_id(id), tool_names.assign(name)?);
                    calls.push(ToolCall::new(id, name, input.get().to_owned()));
                }
                _ => return Err(malformed("messages[].content[].input")),
            },
            "thinking" | "redacted_thinking" => {}
            _ => return Err(unsupported("messages[].content[].type")),
        }
    }
    let content = match <[String; 1]>::try_from(texts) {
        Ok([text]) => Some(Content::Text(text)),
        Err(texts) if texts.is_empty() => None,
        Err(texts) => Some(Content::Parts(texts.into_iter().map(ContentPart::text).collect())),
    };
    if content.is_none() && calls.is_empty() {
        return Ok(None);
    }
    let tool_calls = Some(calls).filter(|calls| !calls.is_empty());
    Ok(Some(ChatMessage { content, tool_calls, ..ChatMessage::of("assistant") }))
}
