//! The tool calls of a chat stream, which arrive in pieces.

use std::borrow::Cow;

use serde_json::Value;
use tidegate_core::Failure;

use super::call_arguments::CallArguments;
use super::encode_events::{too_many, unreadable};
use super::split_surrogates::without_marks;
use super::text_digest::TextDigest;

/// A piece of a tool call.
pub(super) struct CallPiece<'a> {
    index: Option<u64>,
    id: Cow<'a, str>,
    pub(super) name: Cow<'a, str>,
    pub(super) arguments: Cow<'a, str>,
    /// Another call of the same list comes before it.
    is_later_in_list: bool,
}

/// A tool call as far as it was received.
#[derive(Default)]
pub(super) struct ReceivedCall {
    index: Option<u64>,
    pub(super) id: String,
    pub(super) name: String,
    /// The name, or a part of it, came after the first arguments.
    has_late_name: bool,
    /// The name was sent again after the arguments.
    is_named_again: bool,
    /// The position of its block among all blocks.
    pub(super) block: u64,
    pub(super) arguments: CallArguments,
}

/// The tool calls of one stream, in the order in which they began.
#[derive(Default)]
pub(super) struct ReceivedCalls {
    calls: Vec<ReceivedCall>,
    /// The call of the last piece.
    last: Option<usize>,
}

/// The maximum number of tool calls in one stream.
const MAX_CALLS: usize = 1024;

/// The maximum length of an id or a name, since all are kept until the stream ends.
const MAX_NAME: usize = 1024;

/// The names of the field with the arguments. The first is OpenAI's, the others are in use.
pub(super) const ARGUMENTS: [&str; 3] = ["arguments", "input", "parameters"];

impl<'a> CallPiece<'a> {
    /// Reads a piece of a call, or a whole call. Some hosts place the fields of `function` beside it.
    ///
    /// # Errors
    ///
    /// The arguments are neither a string nor an object.
    pub(super) fn read(call: &'a Value) -> Result<Self, Failure> {
        let function = function(call);
        let names = [&function["name"], &call["name"], &call["function"]];
        let name = names.into_iter().find_map(|name| name.as_str().filter(|name| !name.is_empty()));
        let arguments = match arguments(function).ok_or_else(unreadable)? {
            text if text.is_empty() => arguments(call).ok_or_else(unreadable)?,
            text => text,
        };
        Ok(Self {
            index: number(&call["index"]),
            id: id(&call["id"]),
            name: without_marks(name.unwrap_or_default()),
            arguments,
            is_later_in_list: false,
        })
    }

    /// Sets the position in the list of calls of one event.
    pub(super) fn at(self, position: usize) -> Self {
        Self { is_later_in_list: position > 0, ..self }
    }

    /// Sets the index of the choice. The calls of each choice are numbered from zero.
    pub(super) fn of_choice(self, choice: u64) -> Self {
        let first = choice.saturating_mul(1 << 32);
        Self { index: self.index.map(|index| index.saturating_add(first)), ..self }
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }
}

/// The object with the name and the arguments: `function`, that of a call of another type, or the call
/// itself.
fn function(call: &Value) -> &Value {
    match &call["function"] {
        function @ Value::Object(_) => function,
        _ => call["type"].as_str().map(|kind| &call[kind]).filter(|of| of.is_object()).unwrap_or(call),
    }
}

/// The arguments of a call as JSON text. Some hosts send an object instead of a string. `None` if the
/// arguments are of any other type.
fn arguments(function: &Value) -> Option<Cow<'_, str>> {
    let is_sent = |sent: &&Value| !sent.is_null() && sent.as_str() != Some("");
    match ARGUMENTS.into_iter().map(|name| &function[name]).find(is_sent) {
        None => Some(Cow::Borrowed("")),
        Some(sent) => argument_text(sent),
    }
}

/// A string, or the JSON text of an object. `None` for any other type.
pub(super) fn argument_text(sent: &Value) -> Option<Cow<'_, str>> {
    match sent {
        Value::Null => Some(Cow::Borrowed("")),
        Value::String(text) => Some(Cow::Borrowed(text)),
        // Its strings are whole.
        Value::Object(_) => Some(Cow::Owned(without_marks(&sent.to_string()).into_owned())),
        _ => None,
    }
}

/// An id, which may be a number; empty if there is none.
pub(super) fn id(id: &Value) -> Cow<'_, str> {
    match id {
        Value::String(id) => without_marks(id),
        Value::Number(id) => Cow::Owned(id.to_string()),
        _ => Cow::Borrowed(""),
    }
}

/// An index, which some hosts send as a string or as a float.
pub(super) fn number(index: &Value) -> Option<u64> {
    match index {
        Value::String(index) => index.trim().parse().ok(),
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "an index is small and not negative"
        )]
        index => index.as_u64().or_else(|| {
            let is_index = |index: &f64| index.fract() == 0.0 && (0.0..1e9).contains(index);
            index.as_f64().filter(is_index).map(|index| index as u64)
        }),
    }
}

impl ReceivedCalls {
    pub(super) fn get(&self, number: usize) -> &ReceivedCall {
        &self.calls[number]
    }

    pub(super) fn get_mut(&mut self, number: usize) -> &mut ReceivedCall {
        &mut self.calls[number]
    }

    /// Adds the id and the name of a piece to its call, and returns the number of the call and whether it is
    /// new. A new call gets `block`.
    pub(super) fn add(&mut self, piece: &CallPiece<'_>, block: u64) -> Result<(usize, bool), Failure> {
        let known = self.find(piece);
        let followed = known.filter(|&number| self.calls[number].is_followed_by(piece));
        let known = known.filter(|_| followed.is_none());
        let number = known.unwrap_or(self.calls.len());
        if number >= MAX_CALLS {
            return Err(too_many("tool_calls"));
        }
        self.last = Some(number);
        if known.is_none() {
            // The name of a second call of one tool may have been sent before these arguments.
            let renamed = followed.filter(|&followed| self.calls[followed].is_named_again);
            let name = match (renamed, &*piece.name, &*piece.id) {
                (Some(followed), "", "") => self.calls[followed].name.clone(),
                _ => String::new(),
            };
            self.calls.push(ReceivedCall { index: piece.index, block, name, ..ReceivedCall::default() });
        }
        self.calls[number].extend(piece)?;
        Ok((number, known.is_none()))
    }

    /// The call to which the piece belongs, unless it begins another: by id, by index, or else the call of
    /// the last piece.
    fn find(&self, piece: &CallPiece<'_>) -> Option<usize> {
        // Some hosts number the calls of each index from zero, so that ids repeat.
        let is_other =
            |call: &ReceivedCall| matches!((call.index, piece.index), (Some(a), Some(b)) if a != b);
        let by_id = self.calls.iter().rposition(|call| *call.id == *piece.id && !is_other(call));
        let by_id = by_id.filter(|_| !piece.id.is_empty());
        let by_index = || self.calls.iter().rposition(|call| call.index == piece.index);
        // The index may be missing in the first piece.
        let without_index = || self.last.filter(|&last| self.calls[last].index.is_none());
        match (by_id, piece.index) {
            (Some(known), _) => Some(known),
            (None, Some(_)) => by_index().or_else(|| without_index().filter(|_| piece.id.is_empty())),
            (None, None) => self.last,
        }
    }

    /// Whether the whole call was received already.
    pub(super) fn is_repeated(&self, piece: &CallPiece<'_>) -> bool {
        // A stream may have many calls.
        let digest = TextDigest::of(&piece.arguments);
        let has_none = matches!(piece.arguments.trim(), "" | "{}" | "null");
        self.calls.iter().any(|call| {
            let is_same_id = call.id.is_empty() || piece.id.is_empty() || *call.id == *piece.id;
            let is_same = if call.arguments.has_begun() { call.arguments.is_same(digest) } else { has_none };
            is_same_id && is_same && *call.name == *piece.name
        })
    }
}

impl ReceivedCall {
    /// Whether `piece`, which was found for this call, is the beginning of another call. Some hosts give all
    /// calls the same index, or none.
    fn is_followed_by(&self, piece: &CallPiece<'_>) -> bool {
        let is_named = !piece.name.is_empty();
        let is_blank = piece.arguments.trim().is_empty();
        // The named calls of one list are different calls.
        if is_named && piece.is_later_in_list && piece.id.is_empty() && piece.index.is_none() {
            return true;
        }
        if *self.id == *piece.id && !self.id.is_empty() {
            let is_new = is_named && !is_blank && !self.arguments.is_same(TextDigest::of(&piece.arguments));
            return is_new && self.arguments.are_final();
        }
        if self.id.is_empty() || piece.id.is_empty() {
            let is_same_name = *self.name == *piece.name;
            // The rest of a name that came after the arguments.
            let continues_name = self.name.is_empty() || self.has_late_name && piece.index.is_some();
            let is_other_name = is_named && !is_same_name && !continues_name;
            // An empty object stands for other arguments that follow.
            let has_ended = if self.id.is_empty() || is_other_name {
                self.arguments.has_ended()
            } else {
                self.arguments.are_final()
            };
            // Some hosts repeat the name in each piece.
            return has_ended && (is_other_name || !is_blank && (is_named || self.is_named_again));
        }
        // Some hosts give each piece an id of its own, and an index.
        let begins = is_blank || piece.index.is_none() && piece.arguments.trim_start().starts_with('{');
        is_named || begins
    }

    /// Adds the id, if there was none, and the name, which may come in pieces or be repeated.
    fn extend(&mut self, piece: &CallPiece<'_>) -> Result<(), Failure> {
        if self.id.is_empty() {
            self.id.push_str(&piece.id);
        }
        self.index = self.index.or(piece.index);
        let has_begun = self.arguments.has_begun();
        let is_named = !piece.name.is_empty();
        self.is_named_again |= is_named && self.arguments.has_ended();
        if is_named && self.name != piece.name && (!has_begun || self.name.is_empty() || self.has_late_name) {
            self.has_late_name |= has_begun;
            self.name += &piece.name;
        }
        if self.id.len() > MAX_NAME || self.name.len() > MAX_NAME {
            Err(too_many("tool_calls"))
        } else {
            Ok(())
        }
    }

    /// Whether the call can be delivered before the stream ends. The name is complete when the arguments
    /// begin, or at the end of the stream.
    pub(super) fn can_start(&self) -> bool {
        self.arguments.has_begun() && !self.name.is_empty() && !self.has_late_name
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_call_is_read_from_all_forms_in_use() {
        let object = json!({"city": "Oslo"});
        for call in [
            json!({"function": {"name": "f", "arguments": "{\"city\":\"Oslo\"}"}}),
            json!({"function": {"name": "f", "arguments": object}}),
            json!({"function": {"name": "f", "arguments": null, "input": object}}),
            json!({"function": {"name": "f", "arguments": "", "parameters": object}}),
            json!({"function": {"name": "f"}, "arguments": object}),
            json!({"function": "f", "arguments": object}),
            json!({"function": null, "name": "f", "arguments": object}),
            json!({"type": "function", "name": "f", "input": {"city": "Oslo"}}),
            json!({"type": "custom", "custom": {"name": "f", "input": "{\"city\":\"Oslo\"}"}}),
        ] {
            let piece = CallPiece::read(&call).unwrap();
            assert_eq!((&*piece.name, &*piece.arguments), ("f", "{\"city\":\"Oslo\"}"), "{call}");
        }
        assert!(CallPiece::read(&json!({"function": {"name": "f", "arguments": [1]}})).is_err());
    }

    #[test]
    fn an_index_is_a_number_in_any_form() {
        for (index, expected) in [
            (json!(1), Some(1)),
            (json!("1"), Some(1)),
            (json!(1.0), Some(1)),
            (json!(1.5), None),
            (json!(-1), None),
            (json!(1e300), None),
            (json!("a"), None),
            (Value::Null, None),
        ] {
            assert_eq!(number(&index), expected, "{index}");
        }
        assert_eq!((&*id(&json!("a")), &*id(&json!(7)), &*id(&json!(null))), ("a", "7", ""));
    }
}
