//! The tool calls of a stream of Anthropic message events, of which several blocks may be open.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tidegate_core::Failure;

use super::call_arguments::CallArguments;
use super::call_ids::ResponseCallIds;
use super::call_pieces::{CallPiece, argument_text};
use super::encode_events::{DEFAULT_EVENT_CAP, too_many, unreadable};
use super::tool_names::ToolNames;

/// The open calls by block index. Each function returns the call of a chat delta, if there is one to write.
pub(super) struct OpenCalls {
    calls: BTreeMap<u64, OpenCall>,
    call_ids: ResponseCallIds,
    /// The index of the next call.
    next: u64,
    has_cut_call: bool,
    /// The bytes that are held.
    held: usize,
    max_held: usize,
}

struct OpenCall {
    number: u64,
    /// The `input` of the start. It is usually empty and followed by deltas, but it may be the only
    /// arguments, or be repeated by the deltas.
    input: String,
    /// The arguments in the deltas.
    arguments: CallArguments,
}

/// The maximum number of tool calls in one stream.
const MAX_CALLS: u64 = 1024;

impl Default for OpenCalls {
    fn default() -> Self {
        Self {
            calls: BTreeMap::new(),
            call_ids: ResponseCallIds::default(),
            next: 0,
            has_cut_call: false,
            held: 0,
            max_held: DEFAULT_EVENT_CAP,
        }
    }
}

impl OpenCalls {
    pub(super) fn set_max_held(&mut self, bytes: usize) {
        self.max_held = bytes;
    }

    /// Starts the response.
    pub(super) fn begin(&mut self, call_ids: ResponseCallIds) {
        self.call_ids = call_ids;
    }

    /// Whether there was a call.
    pub(super) fn has_calls(&self) -> bool {
        self.next > 0
    }

    /// Whether the arguments of a call that has ended are incomplete.
    pub(super) fn has_cut_call(&self) -> bool {
        self.has_cut_call
    }

    /// The index of a block that is open.
    pub(super) fn first_open(&self) -> Option<u64> {
        self.calls.keys().next().copied()
    }

    /// Starts a call.
    ///
    /// # Errors
    ///
    /// The call has no name.
    pub(super) fn start(&mut self, index: u64, block: &Value, names: &ToolNames) -> Result<Value, Failure> {
        let call = CallPiece::read(block)?;
        match (self.next >= MAX_CALLS, call.name.is_empty()) {
            (true, _) => return Err(too_many("tool_calls")),
            (_, true) => return Err(unreadable()),
            (false, false) => {}
        }
        let number = self.next;
        self.next += 1;
        let id = self.call_ids.assign_global(call.id());
        let function = json!({"name": names.original(&call.name), "arguments": ""});
        let (input, arguments) = (call.arguments.into_owned(), CallArguments::default());
        self.hold(0, input.len())?;
        self.calls.insert(index, OpenCall { number, input, arguments });
        Ok(json!({"index": number, "id": id, "type": "function", "function": function}))
    }

    /// Adds arguments.
    ///
    /// # Errors
    ///
    /// The call has not started or has ended, or the arguments are not an object.
    pub(super) fn push(&mut self, index: u64, json: &Value) -> Result<Option<Value>, Failure> {
        let json = argument_text(json).ok_or_else(unreadable)?;
        let Some(call) = self.calls.get_mut(&index) else {
            return if json.trim().is_empty() { Ok(None) } else { Err(unreadable()) };
        };
        let before = call.arguments.held_len();
        call.arguments.push(&json)?;
        let ready = call.arguments.release();
        let delta = call.delta(&ready);
        let after = call.arguments.held_len();
        self.hold(before, after)?;
        Ok(delta)
    }

    /// Ends a call. A call without arguments gets an empty object.
    pub(super) fn end(&mut self, index: u64) -> Result<Option<Value>, Failure> {
        let Some(mut call) = self.calls.remove(&index) else { return Ok(None) };
        self.hold(call.input.len() + call.arguments.held_len(), 0)?;
        let mut rest = call.arguments.finish()?;
        self.has_cut_call |= call.arguments.is_cut();
        if !call.arguments.has_content() {
            rest = CallArguments::whole(&call.input)?;
        }
        Ok(call.delta(&rest))
    }

    /// Counts the bytes that are held, which are bounded.
    fn hold(&mut self, before: usize, after: usize) -> Result<(), Failure> {
        self.held = self.held + after - before;
        if self.held > self.max_held { Err(too_many("bytes")) } else { Ok(()) }
    }
}

impl OpenCall {
    fn delta(&self, arguments: &str) -> Option<Value> {
        let delta = || json!({"index": self.number, "function": {"arguments": arguments}});
        (!arguments.is_empty()).then(delta)
    }
}
