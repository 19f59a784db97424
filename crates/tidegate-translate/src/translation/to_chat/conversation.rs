//! Translates the messages of a conversation.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tidegate_core::Untranslatable;

use super::super::call_ids::RequestCallIds;
use super::super::chat::{ChatMessage, ContentPart, FilePart, ImageUrl, ToolCall};
use super::super::content::Content;
use super::super::messages::{self, ContentBlock, MediaSource};
use super::super::tool_names::ToolNames;
use crate::models::{
    CallSignature, accepts_later_system, accepts_user_after_tool, required_call_signature,
    requires_reasoned_calls, wants_reasoning,
};
use crate::untranslatable::{malformed, unsupported};

/// Translates the system prompt and the messages.
///
/// The system messages at the beginning become one, because many chat templates reject a second one. The
/// texts of a message become one as well, because these and some providers reject a content with parts. Later
/// ones become user messages, unless the target is known to accept them.
pub(super) fn conversation(
    system: Option<Content<ContentBlock>>,
    incoming: Vec<messages::AnthropicMessage>,
    target: &str,
    tool_names: &mut ToolNames,
) -> Result<Vec<ChatMessage>, Untranslatable> {
    let mut messages = Vec::new();
    let mut incoming = incoming.into_iter().peekable();
    let mut leading = texts(system, "system[].type")?;
    while let Some(message) = incoming.next_if(|message| message.role == "system") {
        leading.extend(texts(Some(message.content), "messages[].content[].type")?);
    }
    leading.iter_mut().for_each(drop_billing_line);
    leading.retain(|text| !text.is_empty());
    if !leading.is_empty() {
        messages.push(text_message("system", join(&leading)));
    }
    let later_role = if accepts_later_system(target) { "system" } else { "user" };
    let mut assistants = AssistantMessages {
        id_map: CallIdMap { call_ids: RequestCallIds::for_target(target), assigned: BTreeMap::new() },
        tool_names,
        wants_reasoning: wants_reasoning(target),
        requires_reasoned_calls: requires_reasoned_calls(target),
        call_signature: required_call_signature(target),
    };
    let before = messages.len();
    // The user messages of the current turn. The tool results of the whole turn are placed before them.
    let mut user_messages = Vec::new();
    while let Some(message) = incoming.next() {
        let role = if message.role == "system" { later_role } else { &*message.role };
        if role != "user" {
            end_turn(&mut messages, &mut user_messages, target)?;
        }
        match (&*message.role, message.content) {
            ("user", Content::Text(text)) => user_messages.push(text_message("user", text)),
            ("assistant", Content::Text(text)) => messages.push(text_message("assistant", text)),
            ("user", Content::Parts(blocks)) => {
                user(blocks, &mut assistants.id_map, &mut messages, &mut user_messages)?;
            }
            // System messages in the middle ("Mid-conversation system messages").
            ("system", content) => {
                let texts = texts(Some(content), "messages[].content[].type")?;
                let later = if role == "user" { &mut user_messages } else { &mut messages };
                later.extend(texts.into_iter().map(|text| text_message(role, text)));
            }
            ("assistant", Content::Parts(blocks)) => {
                let has_calls = blocks.iter().any(|block| block.kind == "tool_use");
                let mut contents = vec![blocks];
                // Nothing may stand between the calls and their results.
                while let Some(next) = incoming.next_if(|next| has_calls && next.role == "assistant") {
                    contents.push(match next.content {
                        Content::Text(text) => vec![ContentBlock::text(text)],
                        Content::Parts(blocks) => blocks,
                    });
                }
                messages.extend(assistants.translate(contents)?);
            }
            _ => return Err(unsupported("messages[].role")),
        }
    }
    end_turn(&mut messages, &mut user_messages, target)?;
    if messages.len() > before {
        Ok(messages)
    } else {
        Err(Untranslatable::new("messages", "ends with nothing to answer"))
    }
}

/// Appends the user messages of a turn to its tool results. Where they must not follow these, their texts are
/// added to the last result.
fn end_turn(
    messages: &mut Vec<ChatMessage>,
    user_messages: &mut Vec<ChatMessage>,
    target: &str,
) -> Result<(), Untranslatable> {
    match messages.last_mut().filter(|last| last.role == "tool" && !accepts_user_after_tool(target)) {
        None => messages.append(user_messages),
        Some(result) => {
            let contents = std::iter::once(result.content.take())
                .chain(user_messages.drain(..).map(|user| user.content));
            let text = |content| if let Some(Content::Text(text)) = content { Some(text) } else { None };
            let texts = contents.map(text).collect::<Option<Vec<_>>>().ok_or_else(|| {
                Untranslatable::new("messages[].content", "has to be text after tool results for the target")
            })?;
            result.content = Some(Content::Text(join(&texts)));
        }
    }
    Ok(())
}

fn text_message(role: &str, text: String) -> ChatMessage {
    ChatMessage { content: Some(Content::Text(text)), ..ChatMessage::of(role) }
}

/// The texts of a system prompt that are not empty.
fn texts(system: Option<Content<ContentBlock>>, field: &'static str) -> Result<Vec<String>, Untranslatable> {
    let blocks = match system {
        None => return Ok(Vec::new()),
        Some(Content::Text(text)) => vec![ContentBlock::text(text)],
        Some(Content::Parts(blocks)) => blocks,
    };
    let text =
        |block: ContentBlock| block.text.filter(|_| block.kind == "text").ok_or_else(|| unsupported(field));
    let texts = blocks.into_iter().map(text).collect::<Result<Vec<_>, _>>()?;
    Ok(texts.into_iter().filter(|text| !text.is_empty()).collect())
}

/// Removes the line that Claude Code writes before its instructions, for Anthropic only. The line has other
/// characters in each request, so that no cache of prompts would have the beginning (anthropics/claude-code#68900).
fn drop_billing_line(text: &mut String) {
    if text.starts_with("x-anthropic-billing-header:") {
        text.drain(..text.find('\n').map_or(text.len(), |end| end + 1));
    }
}

/// Joins the texts of one message.
fn join(texts: &[impl AsRef<str>]) -> String {
    let texts = texts.iter().map(AsRef::as_ref).filter(|text| !text.is_empty());
    texts.collect::<Vec<&str>>().join("\n\n")
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
        reject_title(&block)?;
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
        let texts = parts.iter().map(|part| part.text.as_deref()).collect::<Option<Vec<_>>>();
        let content = match texts {
            Some(texts) => Content::Text(join(&texts)),
            None => Content::Parts(parts),
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

/// Rejects a title of a block that has none in its dialect, since it would be lost.
fn reject_title(block: &ContentBlock) -> Result<(), Untranslatable> {
    let is_of_none = matches!(&*block.kind, "text" | "image" | "tool_use" | "tool_result" | "thinking");
    if block.title.is_some() && is_of_none { Err(unsupported("messages[].content[].title")) } else { Ok(()) }
}

fn document(block: ContentBlock) -> Result<ContentPart, Untranslatable> {
    let citations = block.citations.and_then(|raw| serde_json::from_str::<Value>(raw.get()).ok());
    if citations.is_some_and(|citations| citations["enabled"] == true) {
        return Err(unsupported("messages[].content[].citations"));
    }
    let source = block.source.ok_or_else(|| malformed("messages[].content[].source"))?;
    match &*source.kind {
        // A chat has no documents of text, so the title becomes its heading.
        "text" => source.data.map(|text| match block.title.filter(|title| !title.trim().is_empty()) {
            Some(title) => ContentPart::text(format!("{title}\n\n{text}")),
            None => ContentPart::text(text),
        }),
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
            Content::Text(join(&texts))
        }
    };
    Ok(ChatMessage { content: Some(content), tool_call_id: Some(id), ..ChatMessage::of("tool") })
}

/// Translates the messages of the assistant.
struct AssistantMessages<'a> {
    id_map: CallIdMap,
    tool_names: &'a mut ToolNames,
    wants_reasoning: bool,
    requires_reasoned_calls: bool,
    call_signature: Option<CallSignature>,
}

/// In place of the reasoning of a call that another model has made, or of which it was omitted. An empty text
/// is rejected (BerriAI/litellm, `fill_reasoning_content`).
const BLANK_REASONING: &str = " ";

/// In place of a signature, the documented mark of a call that another model has made (Google, "Thought
/// signatures").
const UNSIGNED_CALL: &str = "skip_thought_signature_validator";

impl AssistantMessages<'_> {
    /// Translates the contents of consecutive messages into one message.
    ///
    /// Thinking with a signature is dropped, because the signature is valid only for the provider that issued
    /// it. Thinking without one was translated from a chat, and is sent back to targets that want it.
    fn translate(&mut self, contents: Vec<Vec<ContentBlock>>) -> Result<Option<ChatMessage>, Untranslatable> {
        let (mut texts, mut calls, mut reasoning) = (Vec::<String>::new(), Vec::new(), String::new());
        for blocks in contents {
            let (mut follows_text, earlier_calls) = (false, calls.len());
            for block in blocks {
                reject_title(&block)?;
                let is_next = std::mem::replace(&mut follows_text, block.kind == "text");
                match &*block.kind {
                    "text" => {
                        let text = block.text.ok_or_else(|| malformed("messages[].content[].text"))?;
                        match texts.last_mut().filter(|_| is_next) {
                            // Citations divide an answer within its sentences.
                            Some(before) => *before += &text,
                            None => texts.push(text),
                        }
                    }
                    "tool_use" => match (block.id, block.name, block.input) {
                        (Some(id), Some(name), Some(input)) => {
                            let (id, name) = (self.id_map.target_id(id), self.tool_names.assign(name)?);
                            calls.push(ToolCall::new(id, name, input.get().to_owned()));
                        }
                        _ => return Err(malformed("messages[].content[].input")),
                    },
                    "thinking" if block.signature.is_none_or(|signature| signature.is_empty()) => {
                        reasoning += block.thinking.as_deref().unwrap_or_default();
                    }
                    "thinking" | "redacted_thinking" => {}
                    // The calls before it are of a declined attempt, and have no results.
                    "fallback" => calls.truncate(earlier_calls),
                    _ => return Err(unsupported("messages[].content[].type")),
                }
            }
        }
        let content = (!texts.is_empty()).then(|| Content::Text(join(&texts)));
        if content.is_none() && calls.is_empty() {
            return Ok(None);
        }
        let mut reasoning_details = None;
        match (self.call_signature, calls.first_mut()) {
            (None, _) | (_, None) => {}
            // As in Google's own responses, the first of parallel calls has the signature.
            (Some(CallSignature::InFirstCall), Some(call)) => {
                call.extra_content = Some(json!({"google": {"thought_signature": UNSIGNED_CALL}}));
            }
            (Some(CallSignature::InReasoningDetails), Some(_)) => {
                let details = calls.iter().enumerate().map(|(index, call)| {
                    json!({"type": "reasoning.encrypted", "id": call.id, "format": "google-gemini-v1",
                        "index": index, "data": UNSIGNED_CALL})
                });
                reasoning_details = Some(details.collect());
            }
        }
        let tool_calls = Some(calls).filter(|calls| !calls.is_empty());
        let mut reasoning_content = Some(reasoning).filter(|text| self.wants_reasoning && !text.is_empty());
        if self.requires_reasoned_calls && tool_calls.is_some() {
            reasoning_content.get_or_insert_with(|| BLANK_REASONING.to_owned());
        }
        Ok(Some(ChatMessage {
            content,
            tool_calls,
            reasoning_content,
            reasoning_details,
            ..ChatMessage::of("assistant")
        }))
    }
}
