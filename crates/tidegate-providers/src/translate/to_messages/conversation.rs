//! What was said, message by message.

use tidegate_core::Untranslatable;

use super::super::chat::{self, Part};
use super::super::fields::{Content, foreign, malformed, raw};
use super::super::messages::{Block, Message, Said, Source};
use super::turns::Turns;

impl Message {
    /// Whether it answers a call of tools.
    pub(super) fn holds_tool_results(&self) -> bool {
        matches!(&self.content, Content::Parts(blocks) if blocks.iter().any(|block| block.kind == "tool_result"))
    }

    /// The tools that are called in it.
    pub(super) fn called(&self) -> impl Iterator<Item = &str> {
        let blocks = if let Content::Parts(blocks) = &self.content { &blocks[..] } else { &[] };
        blocks.iter().filter(|block| block.kind == "tool_use").filter_map(|block| block.name.as_deref())
    }
}

/// What was said, and before it all that the system had to say: there is one place for that here. What it says after
/// the assistant's last word is what has to be answered, and told as the user's: without it the assistant would go on
/// with its own.
pub(super) fn conversation(spoken: Vec<chat::Message>) -> Result<(Vec<Block>, Vec<Message>), Untranslatable> {
    let (mut system, mut last, mut turns) = (Vec::new(), Vec::new(), Turns::new());
    for message in spoken {
        if let "system" | "developer" = &*message.role {
            last.extend(texts(message.content)?.into_iter().map(Block::text));
            continue;
        }
        system.append(&mut last);
        match &*message.role {
            "user" => turns.ask(user(message.content)?),
            "assistant" => turns.reply(assistant(message)?)?,
            "tool" => turns.answer(tool_result(message)?)?,
            _ => return Err(foreign("messages[].role")),
        }
    }
    match turns.is_replied() && !last.is_empty() {
        true => turns.ask(last),
        false => system.append(&mut last),
    }
    Ok((system, turns.end()?))
}

/// Where nothing but text can stand. Anthropic refuses blocks without text ("text content blocks must contain
/// non-whitespace text").
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

/// The pictures that Anthropic takes ("Vision").
const PICTURES: [&str; 4] = ["image/jpeg", "image/png", "image/gif", "image/webp"];

/// `data:image/png;base64,...`, taken apart.
fn data_url(url: &str) -> Option<Source> {
    let (media, data) = url.strip_prefix("data:")?.split_once(',')?;
    let media = match media.strip_suffix(";base64")?.split(';').next()? {
        "image/jpg" => "image/jpeg",
        media => media,
    };
    let (media_type, data) = (Some(media.to_owned()), Some(data.to_owned()));
    Some(Source { kind: "base64".to_owned(), media_type, data, url: None })
}

fn image(url: &str) -> Result<Block, Untranslatable> {
    let source = match url.starts_with("data:") {
        true => data_url(url).ok_or_else(|| malformed("messages[].content[].image_url.url"))?,
        false => Source { kind: "url".to_owned(), url: Some(url.to_owned()), ..Source::default() },
    };
    if source.media_type.as_deref().is_some_and(|media| !PICTURES.contains(&media)) {
        return Err(foreign("messages[].content[].image_url.url"));
    }
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
        // A tool may have nothing to say.
        Some(Content::Text(text)) => Some(text).filter(|text| !text.trim().is_empty()).map(Content::Text),
        other => {
            let said = |text| Said { kind: "text".to_owned(), text: Some(text), source: None };
            Some(texts(other)?.into_iter().map(said).collect())
                .filter(|said: &Vec<Said>| !said.is_empty())
                .map(Content::Parts)
        }
    };
    let tool_use_id = Some(message.tool_call_id.ok_or_else(|| malformed("messages[].tool_call_id"))?);
    Ok(Block { tool_use_id, content, ..Block::of("tool_result") })
}
