//! Alternating turns, as Anthropic requires them.

use std::collections::{BTreeMap, VecDeque};

use tidegate_core::Untranslatable;

use super::super::call_ids::RequestCallIds;
use super::super::content::Content;
use super::super::messages::{AnthropicMessage, ContentBlock};

/// The text of the user turn that is inserted before a leading assistant message. Anthropic rejected a
/// leading assistant message for a long time, and other providers of its dialect still do ("first message
/// must use the user role"; for Anthropic's change see anthropics/courses#79). An empty user message is
/// rejected as well.
const FIRST_USER_TEXT: &str = "(The assistant speaks first.)";

/// Groups messages into alternating turns of the user and the assistant. Tool results come first in a user
/// turn.
///
/// Anthropic combines consecutive messages of one role ("Messages": consecutive turns are combined); other
/// providers of its dialect reject them. Anthropic rejects a call without a result in the next turn, and a
/// result without a call in the previous turn.
pub(super) struct Turns {
    done: Vec<AnthropicMessage>,
    /// The role of the current turn.
    role: &'static str,
    /// The tool results of the current turn.
    results: Vec<ContentBlock>,
    /// All other blocks of the current turn.
    blocks: Vec<ContentBlock>,
    /// The last user message was blank and followed an assistant turn.
    ends_with_blank_user: bool,
    /// The calls of the last turn without a result: the assigned ids by original id. Several calls may have
    /// the same original id. None of the lists is empty.
    open_calls: BTreeMap<String, VecDeque<String>>,
    call_ids: RequestCallIds,
}

impl Turns {
    pub(super) fn new() -> Self {
        Self {
            done: Vec::new(),
            role: "user",
            results: Vec::new(),
            blocks: Vec::new(),
            ends_with_blank_user: false,
            open_calls: BTreeMap::new(),
            call_ids: RequestCallIds::for_messages(),
        }
    }

    /// Whether the current turn is the assistant's; blank user messages do not count.
    pub(super) fn ends_with_assistant(&self) -> bool {
        self.role == "assistant"
    }

    pub(super) fn push_user(&mut self, blocks: Vec<ContentBlock>) {
        // Anthropic rejects an empty message.
        if blocks.is_empty() {
            self.ends_with_blank_user |= self.role == "assistant";
            return;
        }
        self.switch_to("user");
        self.blocks.extend(blocks);
    }

    pub(super) fn push_assistant(&mut self, mut blocks: Vec<ContentBlock>) -> Result<(), Untranslatable> {
        if blocks.is_empty() {
            return Ok(());
        }
        if self.role == "user" {
            self.check_no_open_calls()?;
        }
        self.switch_to("assistant");
        for id in blocks.iter_mut().filter_map(|block| block.id.as_mut()) {
            let assigned = self.call_ids.assign(id);
            let original = std::mem::replace(id, assigned.clone());
            self.open_calls.entry(original).or_default().push_back(assigned);
        }
        self.blocks.extend(blocks);
        Ok(())
    }

    pub(super) fn push_tool_result(&mut self, mut result: ContentBlock) -> Result<(), Untranslatable> {
        let original = result.tool_use_id.unwrap_or_default();
        let ids = self.open_calls.get_mut(&original);
        let (assigned, is_last) = ids.map_or((None, false), |ids| (ids.pop_front(), ids.is_empty()));
        if is_last {
            self.open_calls.remove(&original);
        }
        let orphan = Untranslatable::new("messages[].tool_call_id", "answers no call of the turn before");
        result.tool_use_id = Some(assigned.ok_or(orphan)?);
        self.switch_to("user");
        self.results.push(result);
        Ok(())
    }

    /// Returns all turns. A blank last user message is an error and is not dropped like other blank messages,
    /// because the model would respond to a different message.
    pub(super) fn finish(mut self) -> Result<Vec<AnthropicMessage>, Untranslatable> {
        self.check_no_open_calls()?;
        self.switch_to("");
        if self.ends_with_blank_user || self.done.is_empty() {
            Err(Untranslatable::new("messages", "ends with nothing to answer"))
        } else {
            Ok(self.done)
        }
    }

    fn switch_to(&mut self, role: &'static str) {
        self.ends_with_blank_user &= role.is_empty();
        let before = std::mem::replace(&mut self.role, role);
        let is_empty = self.results.is_empty() && self.blocks.is_empty();
        if before == role || is_empty {
            return;
        }
        if self.done.is_empty() && before == "assistant" {
            self.done.push(message("user", vec![ContentBlock::text(FIRST_USER_TEXT.to_owned())]));
        }
        let mut blocks = std::mem::take(&mut self.results);
        blocks.append(&mut self.blocks);
        self.done.push(message(before, blocks));
    }

    fn check_no_open_calls(&self) -> Result<(), Untranslatable> {
        if self.open_calls.is_empty() {
            Ok(())
        } else {
            Err(Untranslatable::new("messages[].tool_calls", "has a call that is not answered next"))
        }
    }
}

fn message(role: &str, blocks: Vec<ContentBlock>) -> AnthropicMessage {
    AnthropicMessage { role: role.to_owned(), content: Content::Parts(blocks), output_config: None }
}
