//! The content blocks of a stream of Anthropic's messages, one after the other.
//!
//! ```text
//!  start ─ delta* ─ stop ─ start ─ delta* ─ stop ─ ...
//! ```
//!
//! The deltas of a chat stream may be of several tool calls in turn, and the name of a call may come late or
//! in pieces. Deltas of the first block are written at once. Those of the other blocks wait until all blocks
//! before have ended: text ends when another block follows, a call when its arguments are a whole object with
//! content, and every block with the stream. A call starts with its first arguments, because its name is
//! complete then; if the name comes later, the call starts at the end of the stream. A text starts with its
//! first character other than white space, and is dropped if it has none: the caller would send it back, and
//! Anthropic rejects it ("text content blocks must contain non-whitespace text"). After a stop sequence no block
//! begins.

use std::collections::VecDeque;

use bytes::BytesMut;
use serde_json::{Value, json};
use tidegate_core::Failure;

use super::call_ids::ResponseCallIds;
use super::call_pieces::{CallPiece, ReceivedCalls};
use super::encode_events::{DEFAULT_EVENT_CAP, too_many, unreadable};
use super::split_surrogates::HeldHalf;
use super::stop_sequences::StopSequenceSearch;
use super::text_digest::TextDigest;
use super::tool_names::ToolNames;
use crate::sse::write_event;

/// Writes content blocks in order.
pub(super) struct BlockQueue {
    /// The blocks that have not ended. Only the first of them may have started.
    blocks: VecDeque<Block>,
    has_started: bool,
    /// The position of the first block among all blocks.
    first: u64,
    /// The index of the next block that starts, and after its start that of the first block.
    index: u64,
    written_calls: usize,
    has_cut_call: bool,
    calls: ReceivedCalls,
    call_ids: ResponseCallIds,
    tool_names: ToolNames,
    stops: StopSequenceSearch,
    /// The bytes that wait.
    waiting: usize,
    max_waiting: usize,
}

struct Block {
    kind: BlockKind,
    /// The text that was not written. The arguments of a call wait in the call.
    waiting: String,
    half: HeldHalf,
    /// Whether the block contained more than white space.
    is_visible: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum BlockKind {
    Text,
    Thinking,
    /// The tool call with this number.
    Call(usize),
}

/// The memory of a block beside its content.
const BLOCK_SIZE: usize = 64;

impl BlockQueue {
    pub(super) fn new(tool_names: ToolNames, stops: StopSequenceSearch) -> Self {
        Self {
            blocks: VecDeque::new(),
            has_started: false,
            first: 0,
            index: 0,
            written_calls: 0,
            has_cut_call: false,
            calls: ReceivedCalls::default(),
            call_ids: ResponseCallIds::default(),
            tool_names,
            stops,
            waiting: 0,
            max_waiting: DEFAULT_EVENT_CAP,
        }
    }

    pub(super) fn set_max_waiting(&mut self, bytes: usize) {
        self.max_waiting = bytes;
    }

    pub(super) fn begin(&mut self, call_ids: ResponseCallIds) {
        self.call_ids = call_ids;
    }

    pub(super) fn tool_names(&self) -> &ToolNames {
        &self.tool_names
    }

    pub(super) fn stops(&self) -> &StopSequenceSearch {
        &self.stops
    }

    /// Whether a stop sequence was found, so that no block begins any more.
    pub(super) fn has_stopped(&self) -> bool {
        self.stops.found().is_some()
    }

    /// Whether a call was written.
    pub(super) fn has_calls(&self) -> bool {
        self.written_calls > 0
    }

    /// Whether the arguments of a written call are incomplete.
    pub(super) fn has_cut_call(&self) -> bool {
        self.has_cut_call
    }

    /// Adds text or thinking, unless a stop sequence was found.
    pub(super) fn push_text(
        &mut self,
        kind: BlockKind,
        text: &str,
        out: &mut BytesMut,
    ) -> Result<(), Failure> {
        if self.has_stopped() {
            return Ok(());
        }
        if self.blocks.back().is_none_or(|last| last.kind != kind) {
            self.push_block(Block::new(kind));
        }
        if let Some(last) = self.blocks.back_mut() {
            let text = last.half.join(text);
            let text = if kind == BlockKind::Text { self.stops.push(text) } else { text };
            self.waiting += last.push(&text);
        }
        self.advance(out)
    }

    /// Adds a piece of a tool call. After a stop sequence only the calls that began before it continue.
    pub(super) fn push_call(&mut self, piece: &CallPiece<'_>, out: &mut BytesMut) -> Result<(), Failure> {
        let next = self.first + self.blocks.len() as u64;
        let has_stopped = self.has_stopped();
        let (number, is_new) = match self.calls.add(piece, next) {
            Err(_) if has_stopped => return Ok(()),
            added => added?,
        };
        if is_new && !has_stopped {
            self.push_block(Block::new(BlockKind::Call(number)));
        }
        let call = self.calls.get_mut(number);
        // A call that begins after the stop has no block.
        if has_stopped && call.block == next {
            return Ok(());
        }
        // A delta must not follow the stop of its block.
        if call.block < self.first {
            let is_repeated =
                piece.arguments.trim().is_empty() || call.arguments.is_same(TextDigest::of(&piece.arguments));
            return if is_repeated || has_stopped { Ok(()) } else { Err(unreadable()) };
        }
        let held = call.arguments.held_len();
        call.arguments.push(&piece.arguments)?;
        self.waiting = self.waiting + call.arguments.held_len() - held;
        self.advance(out)
    }

    /// Whether the whole call was received already.
    pub(super) fn is_repeated(&self, piece: &CallPiece<'_>) -> bool {
        self.calls.is_repeated(piece)
    }

    /// Ends all blocks.
    ///
    /// # Errors
    ///
    /// A call has no name, or arguments that are not an object.
    pub(super) fn finish(&mut self, out: &mut BytesMut) -> Result<(), Failure> {
        self.end_text();
        self.write_blocks(true, out)
    }

    fn push_block(&mut self, block: Block) {
        self.end_text();
        self.waiting += BLOCK_SIZE;
        self.blocks.push_back(block);
    }

    /// Adds what was held back at the end of the last block.
    fn end_text(&mut self) {
        if let Some(last) = self.blocks.back_mut() {
            self.waiting += last.push(self.stops.take_held());
            if let Some(half) = last.half.take().filter(|_| self.stops.found().is_none()) {
                self.waiting += last.push(half.encode_utf8(&mut [0; 4]));
            }
        }
    }

    /// Writes all that does not have to wait. What waits is bounded.
    fn advance(&mut self, out: &mut BytesMut) -> Result<(), Failure> {
        self.write_blocks(false, out)?;
        if self.waiting > self.max_waiting { Err(too_many("bytes")) } else { Ok(()) }
    }

    /// Writes the blocks up to the first that has to wait; `is_final` if no more content follows.
    fn write_blocks(&mut self, is_final: bool, out: &mut BytesMut) -> Result<(), Failure> {
        while let Some(block) = self.blocks.front() {
            let kind = block.kind;
            if !self.has_started && !is_final && !self.can_start(kind) {
                break;
            }
            let ends = is_final || self.blocks.len() > 1 && self.has_ended(kind);
            if self.is_nothing(kind) {
                self.pop_block();
                continue;
            }
            let content = self.take_content(kind, ends)?;
            if !self.has_started && (ends || !content.is_empty()) {
                let start = self.start(kind)?;
                write(
                    json!({"type": "content_block_start", "index": self.index, "content_block": start}),
                    out,
                );
                self.has_started = true;
            }
            if !content.is_empty() {
                let delta = kind.delta(&content);
                write(json!({"type": "content_block_delta", "index": self.index, "delta": delta}), out);
            }
            if !ends {
                break;
            }
            write(json!({"type": "content_block_stop", "index": self.index}), out);
            self.index += 1;
            self.pop_block();
        }
        Ok(())
    }

    fn pop_block(&mut self) {
        self.waiting -= BLOCK_SIZE + self.blocks.pop_front().map_or(0, |block| block.waiting.len());
        (self.has_started, self.first) = (false, self.first + 1);
    }

    /// The content that can be written; all of it if the block ends.
    fn take_content(&mut self, kind: BlockKind, ends: bool) -> Result<String, Failure> {
        let BlockKind::Call(number) = kind else {
            let content = std::mem::take(&mut self.blocks[0].waiting);
            self.waiting -= content.len();
            return Ok(content);
        };
        let arguments = &mut self.calls.get_mut(number).arguments;
        let held = arguments.held_len();
        let content = if ends { arguments.finish()? } else { arguments.release() };
        self.has_cut_call |= ends && arguments.is_cut();
        self.waiting = self.waiting + arguments.held_len() - held;
        Ok(content)
    }

    fn can_start(&self, kind: BlockKind) -> bool {
        match kind {
            BlockKind::Call(number) => self.calls.get(number).can_start(),
            BlockKind::Text => self.blocks[0].is_visible || self.blocks.len() > 1,
            BlockKind::Thinking => true,
        }
    }

    fn has_ended(&self, kind: BlockKind) -> bool {
        match kind {
            BlockKind::Call(number) => self.calls.get(number).arguments.are_final(),
            BlockKind::Text | BlockKind::Thinking => true,
        }
    }

    /// Whether the text is only white space, or the call at the end of the stream only an id.
    fn is_nothing(&self, kind: BlockKind) -> bool {
        match kind {
            BlockKind::Call(number) => {
                let call = self.calls.get(number);
                call.name.is_empty() && !call.arguments.has_begun()
            }
            BlockKind::Text => !self.blocks[0].is_visible,
            BlockKind::Thinking => false,
        }
    }

    /// The block at its start.
    fn start(&mut self, kind: BlockKind) -> Result<Value, Failure> {
        Ok(match kind {
            BlockKind::Text => json!({"type": "text", "text": ""}),
            BlockKind::Thinking => json!({"type": "thinking", "thinking": "", "signature": ""}),
            BlockKind::Call(number) => {
                let call = self.calls.get(number);
                if call.name.is_empty() {
                    return Err(unreadable());
                }
                self.written_calls += 1;
                let (id, name) = (self.call_ids.assign(&call.id), self.tool_names.original(&call.name));
                json!({"type": "tool_use", "id": id, "name": name, "input": {}})
            }
        })
    }
}

impl Block {
    fn new(kind: BlockKind) -> Self {
        Self { kind, waiting: String::new(), half: HeldHalf::default(), is_visible: false }
    }

    /// Adds text, and returns the number of bytes by which the waiting text has grown.
    fn push(&mut self, text: &str) -> usize {
        self.is_visible |= !text.trim().is_empty();
        self.waiting += text;
        text.len()
    }
}

impl BlockKind {
    fn delta(self, content: &str) -> Value {
        match self {
            Self::Text => json!({"type": "text_delta", "text": content}),
            Self::Thinking => json!({"type": "thinking_delta", "thinking": content}),
            Self::Call(_) => json!({"type": "input_json_delta", "partial_json": content}),
        }
    }
}

fn write(event: Value, out: &mut BytesMut) {
    write_event(&event, out);
}
