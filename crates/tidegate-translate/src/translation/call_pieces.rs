//! The tool calls of a chat stream, which arrive in pieces.

use std::borrow::Cow;

use serde_json::Value;
use tidegate_core::Failure;

use super::encode_events::{too_many, unreadable};

/// A piece of a tool call.
pub(super) struct CallPiece<'a> {
    index: Option<u64>,
    id: &'a str,
    name: &'a str,
    pub(super) arguments: Cow<'a, str>,
}

/// A tool call as far as it was received.
#[derive(Default)]
pub(super) struct ReceivedCall {
    index: Option<u64>,
    pub(super) id: String,
    pub(super) name: String,
    /// The index of its block.
    pub(super) block: u64,
    pub(super) arguments: ObjectProgress,
}

/// Follows the text of a JSON object until it ends.
#[derive(Clone, Copy, Default)]
pub(super) struct ObjectProgress {
    depth: u32,
    is_in_string: bool,
    is_escaped: bool,
    has_begun: bool,
    pub(super) has_ended: bool,
}

/// The tool calls of one stream, in the order in which they began.
#[derive(Default)]
pub(super) struct ReceivedCalls(Vec<ReceivedCall>);

/// The maximum number of tool calls in one stream.
const MAX_CALLS: usize = 1024;

/// The maximum length of an id or a name, since all are kept until the stream ends.
const MAX_NAME: usize = 1024;

impl<'a> CallPiece<'a> {
    /// # Errors
    ///
    /// The arguments are neither a string nor an object.
    pub(super) fn read(call: &'a Value) -> Result<Self, Failure> {
        let function = &call["function"];
        Ok(Self {
            index: call["index"].as_u64(),
            id: call["id"].as_str().unwrap_or_default(),
            name: function["name"].as_str().unwrap_or_default(),
            arguments: arguments(function).ok_or_else(unreadable)?,
        })
    }
}

/// The arguments of a call as JSON text. Some hosts send an object instead of a string. `None` if the
/// arguments are of any other type.
pub(super) fn arguments(function: &Value) -> Option<Cow<'_, str>> {
    let sent = ["arguments", "input"].into_iter().map(|name| &function[name]).find(|sent| !sent.is_null());
    match sent {
        None => Some(Cow::Borrowed("")),
        Some(Value::String(text)) => Some(Cow::Borrowed(text)),
        Some(object @ Value::Object(_)) => Some(Cow::Owned(object.to_string())),
        Some(_) => None,
    }
}

impl ReceivedCalls {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn get(&self, number: usize) -> &ReceivedCall {
        &self.0[number]
    }

    pub(super) fn get_mut(&mut self, number: usize) -> &mut ReceivedCall {
        &mut self.0[number]
    }

    /// Adds the id and the name of a piece to its call, and returns the number of the call and whether it is
    /// new. A new call gets `block`.
    pub(super) fn add(&mut self, piece: &CallPiece<'_>, block: u64) -> Result<(usize, bool), Failure> {
        let known = match piece.index {
            Some(_) => self.0.iter().rposition(|call| call.index == piece.index),
            None => self.0.len().checked_sub(1),
        };
        let known = known.filter(|&number| !self.0[number].is_followed_by(piece));
        let number = known.unwrap_or(self.0.len());
        if known.is_none() {
            if number >= MAX_CALLS {
                return Err(too_many("tool_calls"));
            }
            self.0.push(ReceivedCall { index: piece.index, block, ..ReceivedCall::default() });
        }
        self.0[number].extend(piece)?;
        Ok((number, known.is_none()))
    }
}

impl ReceivedCall {
    /// Whether `piece`, which has the index of this call, is the beginning of another call. Some hosts give
    /// all calls the same index, or none.
    fn is_followed_by(&self, piece: &CallPiece<'_>) -> bool {
        let is_named = !piece.name.is_empty();
        match self.id.is_empty() || piece.id.is_empty() || self.id == piece.id {
            // Some hosts repeat the name in each piece.
            true => self.arguments.has_ended && is_named && !piece.arguments.trim().is_empty(),
            // Some hosts give each piece an id of its own.
            false => is_named || piece.arguments.is_empty(),
        }
    }

    /// Adds the id, if there was none, and the name, which may come in pieces or be repeated.
    fn extend(&mut self, piece: &CallPiece<'_>) -> Result<(), Failure> {
        if self.id.is_empty() {
            piece.id.clone_into(&mut self.id);
        }
        if !self.arguments.has_begun && self.name != piece.name {
            self.name += piece.name;
        }
        match self.id.len() > MAX_NAME || self.name.len() > MAX_NAME {
            true => Err(too_many("tool_calls")),
            false => Ok(()),
        }
    }
}

impl ObjectProgress {
    pub(super) fn push(&mut self, text: &str) {
        for byte in text.bytes() {
            self.has_begun |= !byte.is_ascii_whitespace();
            match byte {
                _ if self.is_escaped => self.is_escaped = false,
                b'\\' if self.is_in_string => self.is_escaped = true,
                b'"' => self.is_in_string = !self.is_in_string,
                _ if self.is_in_string => {}
                b'{' | b'[' => self.depth = self.depth.saturating_add(1),
                b'}' | b']' => {
                    self.depth = self.depth.saturating_sub(1);
                    self.has_ended |= self.depth == 0;
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_has_ended_at_its_last_brace_wherever_it_is_cut() {
        for json in ["{}", r#"{"a":{"b":[1,{}]}}"#, r#"{"a":"}\"}","b\\":"{"}"#, " {\"é\": \"😀\"} "] {
            let end = json.rfind('}').unwrap() + 1;
            for cut in (0..=json.len()).filter(|cut| json.is_char_boundary(*cut)) {
                let mut progress = ObjectProgress::default();
                progress.push(&json[..cut]);
                assert_eq!(progress.has_ended, cut >= end, "{json} at {cut}");
                progress.push(&json[cut..]);
                assert!(progress.has_ended, "{json} at {cut}");
            }
        }
    }
}
