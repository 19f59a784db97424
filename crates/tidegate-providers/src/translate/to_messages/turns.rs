//! Turns, as Anthropic takes them.

use std::collections::{BTreeMap, VecDeque};

use tidegate_core::Untranslatable;

use super::super::fields::Content;
use super::super::ids::Ids;
use super::super::messages::{Block, Message};

/// Said where the assistant has the first word, which Anthropic refused for long, and others who speak its dialect
/// still do ("first message must use the user role"; for Anthropic's change see anthropics/courses#79). A user who says
/// nothing is refused as well.
const NOBODY_SPOKE: &str = "(The assistant speaks first.)";

/// Puts messages in turns of the user and the assistant, and what tools said before all else that the user says.
///
/// Anthropic takes several messages of one role for one turn ("Messages": consecutive turns are combined), and others
/// who speak its dialect refuse them. It refuses a call that is not answered in the next turn, and an answer to
/// none that was called in the last.
pub(super) struct Turns {
    done: Vec<Message>,
    /// Whose turn it is.
    role: &'static str,
    /// What tools said in this turn.
    results: Vec<Block>,
    /// What else was said in it.
    said: Vec<Block>,
    /// The last that the user had to say was nothing, and the turn before was the assistant's.
    asks_nothing: bool,
    /// Calls of the last turn without an answer: how they were named, and how they are. Several may be named alike.
    open: BTreeMap<String, VecDeque<String>>,
    ids: Ids,
}

impl Turns {
    pub(super) fn new() -> Self {
        Self {
            done: Vec::new(),
            role: "user",
            results: Vec::new(),
            said: Vec::new(),
            asks_nothing: false,
            open: BTreeMap::new(),
            ids: Ids::of_messages(),
        }
    }

    /// Whether the assistant has had the last word, apart from users who said nothing.
    pub(super) fn is_replied(&self) -> bool {
        self.role == "assistant"
    }

    pub(super) fn ask(&mut self, blocks: Vec<Block>) {
        // There must be something in a message, and there was nothing.
        if blocks.is_empty() {
            self.asks_nothing |= self.role == "assistant";
            return;
        }
        self.turn("user");
        self.said.extend(blocks);
    }

    pub(super) fn reply(&mut self, mut blocks: Vec<Block>) -> Result<(), Untranslatable> {
        if blocks.is_empty() {
            return Ok(());
        }
        if self.role == "user" {
            self.all_are_answered()?;
        }
        self.turn("assistant");
        for id in blocks.iter_mut().filter_map(|block| block.id.as_mut()) {
            let name = self.ids.name(id);
            let named = std::mem::replace(id, name.clone());
            self.open.entry(named).or_default().push_back(name);
        }
        self.said.extend(blocks);
        Ok(())
    }

    pub(super) fn answer(&mut self, mut result: Block) -> Result<(), Untranslatable> {
        let named = result.tool_use_id.unwrap_or_default();
        let name = self.open.get_mut(&named).and_then(VecDeque::pop_front);
        let orphan = Untranslatable::new("messages[].tool_call_id", "answers no call of the turn before");
        result.tool_use_id = Some(name.ok_or(orphan)?);
        self.turn("user");
        self.results.push(result);
        Ok(())
    }

    /// All turns. A question of white space is not left out like other messages of it: something else would be
    /// answered then.
    pub(super) fn end(mut self) -> Result<Vec<Message>, Untranslatable> {
        self.all_are_answered()?;
        self.turn("");
        match self.asks_nothing || self.done.is_empty() {
            true => Err(Untranslatable::new("messages", "ends with nothing to answer")),
            false => Ok(self.done),
        }
    }

    fn turn(&mut self, role: &'static str) {
        self.asks_nothing &= role.is_empty();
        let before = std::mem::replace(&mut self.role, role);
        let is_empty = self.results.is_empty() && self.said.is_empty();
        if before == role || is_empty {
            return;
        }
        if self.done.is_empty() && before == "assistant" {
            self.done.push(message("user", vec![Block::text(NOBODY_SPOKE.to_owned())]));
        }
        let mut blocks = std::mem::take(&mut self.results);
        blocks.append(&mut self.said);
        self.done.push(message(before, blocks));
    }

    fn all_are_answered(&self) -> Result<(), Untranslatable> {
        match self.open.values().all(VecDeque::is_empty) {
            true => Ok(()),
            false => {
                Err(Untranslatable::new("messages[].tool_calls", "has a call that is not answered next"))
            }
        }
    }
}

fn message(role: &str, blocks: Vec<Block>) -> Message {
    Message { role: role.to_owned(), content: Content::Parts(blocks) }
}
