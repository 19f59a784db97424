//! Marks up to which a prompt is cached: Anthropic's, which callers write in chats, too, and OpenAI's own.

use serde_json::Value;

use super::super::content::Content;
use super::super::messages::{AnthropicMessage, AnthropicTool, CacheMark, ContentBlock};

/// The maximum number of marks: more are rejected (Anthropic, "Prompt caching").
const MAX_MARKS: usize = 4;

impl CacheMark {
    /// `None` for any other form, which would be rejected.
    pub(super) fn read(mark: Option<Value>) -> Option<Self> {
        let mark = mark.filter(|mark| mark["type"] == "ephemeral")?;
        Some(Self { kind: "ephemeral", ttl: (mark["ttl"] == "1h").then_some("1h") })
    }

    /// The mark of a part, which may have one of OpenAI's.
    pub(super) fn of_part(mark: Option<Value>, breakpoint: Option<Value>) -> Option<Self> {
        let is_marked = breakpoint.is_some_and(|breakpoint| breakpoint["mode"] == "explicit");
        Self::read(mark).or_else(|| is_marked.then_some(Self { kind: "ephemeral", ttl: None }))
    }
}

/// Marks the last block, unless it has a mark.
pub(super) fn mark_last(mut blocks: Vec<ContentBlock>, mark: Option<CacheMark>) -> Vec<ContentBlock> {
    if let Some(last) = blocks.last_mut() {
        last.cache_control = last.cache_control.or(mark);
    }
    blocks
}

/// Removes all marks but the last ones, with which the most of the prompt is cached. A mark for an hour has to be
/// before those for five minutes, or is one of them.
pub(super) fn limit_marks(
    tools: &mut [AnthropicTool],
    system: &mut [ContentBlock],
    messages: &mut [AnthropicMessage],
) {
    let blocks = messages.iter_mut().flat_map(|message| match &mut message.content {
        Content::Parts(blocks) => &mut blocks[..],
        Content::Text(_) => &mut [],
    });
    let of_tools = tools.iter_mut().map(|tool| &mut tool.cache_control);
    let of_blocks = system.iter_mut().chain(blocks).map(|block| &mut block.cache_control);
    let marks: Vec<_> = of_tools.chain(of_blocks).filter(|mark| mark.is_some()).collect();
    let excess = marks.len().saturating_sub(MAX_MARKS);
    let mut ttl = Some("1h");
    for (at, slot) in marks.into_iter().enumerate() {
        *slot = slot.filter(|_| at >= excess).map(|mark| CacheMark { ttl: mark.ttl.and(ttl), ..mark });
        ttl = slot.map_or(ttl, |mark| mark.ttl);
    }
}
