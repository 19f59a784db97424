//! The content blocks of a stream of Anthropic's messages, one after the other.
//!
//! ```text
//!  start ─ delta* ─ stop ─ start ─ delta* ─ stop ─ ...
//! ```
//!
//! The deltas of a chat stream may be of several tool calls in turn, and the name of a call may come late or
//! in pieces. Deltas of the first block are written at once. Those of the other blocks wait until all blocks
//! before have ended: text ends when another block follows, a call when its arguments are a whole object, and
//! every block with the stream. A call starts with its first arguments, because its name is complete then.

use std::collections::VecDeque;

use bytes::BytesMut;
use serde_json::{Value, json};
use tidegate_core::Failure;

use super::call_ids::ResponseCallIds;
use super::call_pieces::{CallPiece, ReceivedCalls};
use super::encode_events::{DEFAULT_EVENT_CAP, too_many, unreadable};
use super::tool_names::ToolNames;
use crate::sse::write_event;

/// Writes content blocks in order.
pub(super) struct BlockQueue {
    /// The blocks that have not ended. Only the first of them may have started.
    blocks: VecDeque<Block>,
    has_started: bool,
    /// The index of the first block.
    first: u64,
    calls: ReceivedCalls,
    call_ids: ResponseCallIds,
    tool_names: ToolNames,
    /// The bytes that wait.
    waiting: usize,
    max_waiting: usize,
}

struct Block {
    kind: BlockKind,
    /// The content that was not written.
    waiting: String,
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
    pub(super) fn new(tool_names: ToolNames) -> Self {
        Self {
            blocks: VecDeque::new(),
            has_started: false,
            first: 0,
            calls: ReceivedCalls::default(),
            call_ids: ResponseCallIds::default(),
            tool_names,
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

    pub(super) fn has_calls(&self) -> bool {
        !self.calls.is_empty()
    }

    /// Adds text or thinking.
    pub(super) fn push_text(
        &mut self,
        kind: BlockKind,
        text: &str,
        out: &mut BytesMut,
    ) -> Result<(), Failure> {
        if self.blocks.back().is_none_or(|last| last.kind != kind) {
            self.push_block(kind);
        }
        let last = self.blocks.len() - 1;
        self.append(last, text, out)
    }

    /// Adds a piece of a tool call.
    pub(super) fn push_call(&mut self, call: &Value, out: &mut BytesMut) -> Result<(), Failure> {
        let piece = CallPiece::read(call)?;
        let (number, is_new) = self.calls.add(&piece, self.first + self.blocks.len() as u64)?;
        if is_new {
            self.push_block(BlockKind::Call(number));
        }
        if piece.arguments.is_empty() {
            return self.advance(out);
        }
        let call = self.calls.get_mut(number);
        // A delta must not follow the stop of its block.
        let Some(at) = call.block.checked_sub(self.first) else {
            return if piece.arguments.trim().is_empty() { Ok(()) } else { Err(unreadable()) };
        };
        let at = at as usize;
        call.arguments.push(&piece.arguments);
        self.append(at, &piece.arguments, out)
    }

    /// Ends all blocks.
    pub(super) fn finish(&mut self, out: &mut BytesMut) {
        self.write_blocks(true, out);
    }

    fn push_block(&mut self, kind: BlockKind) {
        self.waiting += BLOCK_SIZE;
        self.blocks.push_back(Block { kind, waiting: String::new() });
    }

    fn append(&mut self, at: usize, content: &str, out: &mut BytesMut) -> Result<(), Failure> {
        self.waiting += content.len();
        self.blocks[at].waiting += content;
        self.advance(out)
    }

    /// Writes all that does not have to wait. What waits is bounded.
    fn advance(&mut self, out: &mut BytesMut) -> Result<(), Failure> {
        self.write_blocks(false, out);
        match self.waiting > self.max_waiting {
            true => Err(too_many("bytes")),
            false => Ok(()),
        }
    }

    /// Writes the blocks up to the first that has to wait; `is_final` if no more content follows.
    fn write_blocks(&mut self, is_final: bool, out: &mut BytesMut) {
        while let Some(block) = self.blocks.front() {
            let kind = block.kind;
            if !self.has_started {
                if !is_final && !self.can_start(block) {
                    break;
                }
                let start = self.start(kind);
                write(
                    json!({"type": "content_block_start", "index": self.first, "content_block": start}),
                    out,
                );
                self.has_started = true;
            }
            let waiting = std::mem::take(&mut self.blocks[0].waiting);
            self.waiting -= waiting.len();
            if !waiting.is_empty() {
                let delta = kind.delta(&waiting);
                write(json!({"type": "content_block_delta", "index": self.first, "delta": delta}), out);
            }
            if !is_final && (self.blocks.len() == 1 || !self.has_ended(kind)) {
                break;
            }
            write(json!({"type": "content_block_stop", "index": self.first}), out);
            self.blocks.pop_front();
            self.waiting -= BLOCK_SIZE;
            (self.has_started, self.first) = (false, self.first + 1);
        }
    }

    fn can_start(&self, block: &Block) -> bool {
        match block.kind {
            BlockKind::Call(_) => !block.waiting.trim().is_empty(),
            BlockKind::Text | BlockKind::Thinking => true,
        }
    }

    fn has_ended(&self, kind: BlockKind) -> bool {
        match kind {
            BlockKind::Call(number) => self.calls.get(number).arguments.has_ended,
            BlockKind::Text | BlockKind::Thinking => true,
        }
    }

    /// The block at its start.
    fn start(&mut self, kind: BlockKind) -> Value {
        match kind {
            BlockKind::Text => json!({"type": "text", "text": ""}),
            BlockKind::Thinking => json!({"type": "thinking", "thinking": "", "signature": ""}),
            BlockKind::Call(number) => {
                let call = self.calls.get(number);
                let (id, name) = (self.call_ids.assign(&call.id), self.tool_names.original(&call.name));
                json!({"type": "tool_use", "id": id, "name": name, "input": {}})
            }
        }
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
