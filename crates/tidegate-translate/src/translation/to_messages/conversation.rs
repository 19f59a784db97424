//! Translates the messages of a conversation.

use tidegate_core::Untranslatable;

use super::super::chat::{self, ContentPart};
use super::super::content::{Content, raw};
use super::super::messages::{AnthropicMessage, CacheMark, ContentBlock, MediaSource, ToolResultContent};
use super::super::tool_names::ToolNames;
use super::cache_marks::mark_last;
use super::turns::Turns;
use crate::untranslatable::{malformed, unsupported};

impl AnthropicMessage {
    /// Whether the message contains tool results.
    pub(super) fn has_tool_results(&self) -> bool {
        matches!(&self.content, Content::Parts(blocks) if blocks.iter().any(|block| block.kind == "tool_result"))
    }

    /// The names of the tools that the message calls.
    pub(super) fn called_tools(&self) -> impl Iterator<Item = &str> {
        let blocks = if let Content::Parts(blocks) = &self.content { &blocks[..] } else { &[] };
        blocks.iter().filter(|block| block.kind == "tool_use").filter_map(|block| block.name.as_deref())
    }
}

/// Translates the messages into the `system` blocks and the turns. Anthropic has one place for system
/// messages, so all of them are collected there. System messages after a final assistant message become a
/// user message, because the model has to respond to them: without a user message it would continue its own.
pub(super) fn conversation(
    incoming: Vec<chat::ChatMessage>,
    tool_names: &mut ToolNames,
) -> Result<(Vec<ContentBlock>, Vec<AnthropicMessage>), Untranslatable> {
    let (mut system, mut trailing, mut turns) = (Vec::new(), Vec::new(), Turns::new());
    for mut message in incoming {
        let mark = CacheMark::read(message.cache_control.take());
        if let "system" | "developer" = &*message.role {
            trailing.extend(mark_last(texts(message.content)?, mark));
            continue;
        }
        system.append(&mut trailing);
        match &*message.role {
            "user" => turns.push_user(mark_last(user(message.content)?, mark)),
            "assistant" => turns.push_assistant(mark_last(assistant(message, tool_names)?, mark))?,
            "tool" => turns.push_tool_result(tool_result(message, mark)?)?,
            _ => return Err(unsupported("messages[].role")),
        }
    }
    if turns.ends_with_assistant() && !trailing.is_empty() {
        turns.push_user(trailing)
    } else {
        system.append(&mut trailing)
    }
    Ok((system, turns.finish()?))
}

/// The texts of a content that can hold only text. Blank texts are dropped: Anthropic rejects them ("text
/// content blocks must contain non-whitespace text").
fn texts(content: Option<Content<ContentPart>>) -> Result<Vec<ContentBlock>, Untranslatable> {
    let block = |part: ContentPart| {
        let text = match &*part.kind {
            "text" => part.text.ok_or_else(|| malformed("messages[].content[].text"))?,
            "refusal" => part.refusal.ok_or_else(|| malformed("messages[].content[].refusal"))?,
            _ => return Err(unsupported("messages[].content[].type")),
        };
        let cache_control = CacheMark::of_part(part.cache_control, part.prompt_cache_breakpoint);
        Ok(ContentBlock { cache_control, ..ContentBlock::text(text) })
    };
    let mut blocks = match content {
        None => Vec::new(),
        Some(Content::Text(text)) => vec![ContentBlock::text(text)],
        Some(Content::Parts(parts)) => parts.into_iter().map(block).collect::<Result<_, _>>()?,
    };
    blocks.retain(|block| block.text.as_ref().is_some_and(|text| !text.trim().is_empty()));
    Ok(blocks)
}

fn user(content: Option<Content<ContentPart>>) -> Result<Vec<ContentBlock>, Untranslatable> {
    let parts = match content {
        Some(Content::Parts(parts)) => parts,
        other => return texts(other),
    };
    let mut blocks = Vec::with_capacity(parts.len());
    for part in parts {
        let block = match &*part.kind {
            "image_url" => {
                image(&part.image_url.ok_or_else(|| malformed("messages[].content[].image_url"))?.url)?
            }
            "file" => document(part.file.ok_or_else(|| malformed("messages[].content[].file"))?)?,
            _ => {
                blocks.append(&mut texts(Some(Content::Parts(vec![part])))?);
                continue;
            }
        };
        let cache_control = CacheMark::of_part(part.cache_control, part.prompt_cache_breakpoint);
        blocks.push(ContentBlock { cache_control, ..block });
    }
    Ok(blocks)
}

/// The image types that Anthropic accepts ("Vision").
const IMAGE_TYPES: [&str; 4] = ["image/jpeg", "image/png", "image/gif", "image/webp"];

/// Parses a data URL such as `data:image/png;base64,...`.
fn data_url(url: &str) -> Option<MediaSource> {
    let (media, data) = url.strip_prefix("data:")?.split_once(',')?;
    let media = match media.strip_suffix(";base64")?.split(';').next()? {
        "image/jpg" => "image/jpeg",
        media => media,
    };
    let (media_type, data) = (Some(media.to_owned()), Some(data.to_owned()));
    Some(MediaSource { kind: "base64".to_owned(), media_type, data, url: None })
}

/// The type of an image by its first bytes, in base64.
fn image_type(data: &str) -> Option<&'static str> {
    match data {
        _ if data.starts_with("/9j/") => Some("image/jpeg"),
        _ if data.starts_with("iVBORw0KGgo") => Some("image/png"),
        _ if data.starts_with("R0lGOD") => Some("image/gif"),
        // RIFF, the length, and WEBP.
        _ if data.starts_with("UklGR") && data.get(11..16) == Some("XRUJQ") => Some("image/webp"),
        _ => None,
    }
}

/// Anthropic fetches images by https only. It rejects data of another type than the declared one, while others
/// look at the bytes.
fn image(url: &str) -> Result<ContentBlock, Untranslatable> {
    const FIELD: &str = "messages[].content[].image_url.url";
    let is_https = url.get(..8).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https://"));
    let mut source = match url.starts_with("data:") {
        true => data_url(url).ok_or_else(|| malformed(FIELD))?,
        false if !is_https => {
            return Err(Untranslatable::new(FIELD, "has to be an https URL for the target"));
        }
        false => MediaSource { kind: "url".to_owned(), url: Some(url.to_owned()), ..MediaSource::default() },
    };
    if let Some(found) = source.data.as_deref().and_then(image_type) {
        source.media_type = Some(found.to_owned());
    }
    if source.media_type.as_deref().is_some_and(|media| !IMAGE_TYPES.contains(&media)) {
        return Err(unsupported(FIELD));
    }
    Ok(ContentBlock { source: Some(source), ..ContentBlock::of("image") })
}

fn document(file: chat::FilePart) -> Result<ContentBlock, Untranslatable> {
    // An uploaded file is available only to the provider that stores it.
    let data = file.file_data.ok_or_else(|| unsupported("messages[].content[].file.file_id"))?;
    let source = data_url(&data).filter(|source| source.media_type.as_deref() == Some("application/pdf"));
    let source = source.ok_or_else(|| unsupported("messages[].content[].file.file_data"))?;
    Ok(ContentBlock { source: Some(source), title: file.filename, ..ContentBlock::of("document") })
}

fn assistant(
    message: chat::ChatMessage,
    tool_names: &mut ToolNames,
) -> Result<Vec<ContentBlock>, Untranslatable> {
    if message.function_call.is_some() {
        return Err(unsupported("messages[].function_call"));
    }
    if message.audio.is_some() {
        return Err(unsupported("messages[].audio"));
    }
    let refusal = message.refusal.into_iter().filter(|text| !text.trim().is_empty());
    let mut blocks = texts(message.content)?;
    blocks.extend(refusal.map(ContentBlock::text));
    for call in message.tool_calls.unwrap_or_default() {
        let function = call.function.filter(|_| call.kind == "function");
        let function = function.ok_or_else(|| unsupported("messages[].tool_calls[].type"))?;
        let input = match function.arguments.trim() {
            "" | "null" => "{}",
            arguments => arguments,
        };
        let input = raw(input).filter(|input| input.get().starts_with('{'));
        blocks.push(ContentBlock {
            id: Some(call.id),
            name: Some(tool_names.assign(function.name)?),
            input: Some(input.ok_or_else(|| unsupported("messages[].tool_calls[].function.arguments"))?),
            ..ContentBlock::of("tool_use")
        });
    }
    Ok(blocks)
}

fn tool_result(
    message: chat::ChatMessage,
    mut mark: Option<CacheMark>,
) -> Result<ContentBlock, Untranslatable> {
    let content = match message.content {
        // A tool may return no text.
        Some(Content::Text(text)) => Some(text).filter(|text| !text.trim().is_empty()).map(Content::Text),
        other => {
            let texts = texts(other)?;
            mark = texts.iter().rev().find_map(|block| block.cache_control).or(mark);
            let text_content =
                |block: ContentBlock| ToolResultContent { kind: block.kind, text: block.text, source: None };
            Some(texts.into_iter().map(text_content).collect())
                .filter(|contents: &Vec<ToolResultContent>| !contents.is_empty())
                .map(Content::Parts)
        }
    };
    let tool_use_id = Some(message.tool_call_id.ok_or_else(|| malformed("messages[].tool_call_id"))?);
    Ok(ContentBlock { tool_use_id, content, cache_control: mark, ..ContentBlock::of("tool_result") })
}
