//! The generated content in a choice of a chat, in the forms in which hosts of OpenAI's dialect send it.
//!
//! All that the stream scanner counts as a token is found here, so that none of it is lost silently.

use serde_json::Value;

use super::call_pieces::number;

/// A piece of content.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum ChatPiece<'a> {
    Thinking(&'a str),
    Text(&'a str),
    /// A tool call, or a piece of one.
    Call(&'a Value),
    /// Encrypted reasoning, which only its provider can read.
    Encrypted,
}

/// The fields with reasoning. Hosts that fill several of them repeat the same text.
const REASONING: [&str; 4] = ["reasoning_content", "reasoning", "reasoning_text", "thinking"];

/// The content of a message or a delta, in the order in which it is delivered.
pub(super) fn pieces(message: &Value) -> Vec<ChatPiece<'_>> {
    let mut pieces = Vec::new();
    match REASONING.into_iter().find_map(|name| text(&message[name])) {
        Some(text) => pieces.push(ChatPiece::Thinking(text)),
        None => one_or_many(&message["reasoning_details"]).iter().for_each(|detail| {
            match text(&detail["text"]).or(text(&detail["summary"])) {
                Some(text) => pieces.push(ChatPiece::Thinking(text)),
                None => pieces.extend(text(&detail["data"]).map(|_| ChatPiece::Encrypted)),
            }
        }),
    }
    push_content(&message["content"], ChatPiece::Text, &mut pieces);
    // A refusal by the model is translated as text, and so is the text of audio.
    let texts = [&message["refusal"], &message["audio"]["transcript"]];
    pieces.extend(texts.into_iter().filter_map(text).map(ChatPiece::Text));
    let calls = one_or_many(&message["tool_calls"]);
    pieces.extend(calls.iter().filter(|call| call.is_object()).map(ChatPiece::Call));
    // The form before `tool_calls`. Hosts that fill both repeat the same call.
    if calls.is_empty() && message["function_call"].is_object() {
        pieces.push(ChatPiece::Call(&message["function_call"]));
    }
    pieces
}

/// Adds the texts of a content: a string, or parts with texts, of whatever type.
fn push_content<'a>(
    content: &'a Value,
    piece: fn(&'a str) -> ChatPiece<'a>,
    pieces: &mut Vec<ChatPiece<'a>>,
) {
    match content {
        Value::String(_) => pieces.extend(text(content).map(piece)),
        Value::Array(parts) => parts.iter().for_each(|part| push_content(part, piece, pieces)),
        Value::Object(fields) => {
            let is_thinking = matches!(content["type"].as_str(), Some("thinking" | "reasoning"));
            let piece = if is_thinking { ChatPiece::Thinking } else { piece };
            // The fields beside a text are about it.
            let has_text = text(&content["text"]).is_some();
            for (name, value) in fields {
                match (&**name, value) {
                    ("text" | "refusal", Value::String(_)) => pieces.extend(text(value).map(piece)),
                    ("thinking" | "reasoning", _) => push_content(value, ChatPiece::Thinking, pieces),
                    _ if has_text => {}
                    (_, Value::Array(_) | Value::Object(_)) => push_nested(value, piece, pieces),
                    _ => {}
                }
            }
        }
        _ => {}
    }
}

/// Adds the texts of the parts within a part.
fn push_nested<'a>(value: &'a Value, piece: fn(&'a str) -> ChatPiece<'a>, pieces: &mut Vec<ChatPiece<'a>>) {
    match value {
        Value::Array(parts) => parts.iter().for_each(|part| push_nested(part, piece, pieces)),
        Value::Object(_) => push_content(value, piece, pieces),
        _ => {}
    }
}

/// Whether a message or a delta holds an image, which responses in messages cannot.
pub(super) fn has_image(message: &Value) -> bool {
    let is_image = |part: &Value| part["type"].as_str().is_some_and(|kind| kind.contains("image"));
    message["images"].as_array().is_some_and(|images| !images.is_empty())
        || one_or_many(&message["content"]).iter().any(is_image)
}

/// A string of at least one character.
fn text(value: &Value) -> Option<&str> {
    value.as_str().filter(|text| !text.is_empty())
}

/// The elements of a list. Anything else but null is one element.
pub(super) fn one_or_many(value: &Value) -> &[Value] {
    match value {
        Value::Null => &[],
        Value::Array(elements) => elements,
        element => std::slice::from_ref(element),
    }
}

/// The calls in a message or a delta, and all other content of it if it is of the choice whose text is translated.
pub(super) fn pieces_of(message: &Value, is_of_text: bool) -> Vec<ChatPiece<'_>> {
    let mut pieces = pieces(message);
    pieces.retain(|piece| is_of_text || matches!(piece, ChatPiece::Call(_)));
    pieces
}

/// The index of the choice whose text is translated: 0 or else the first, of those with text if any has it.
pub(super) fn text_index(choices: &[Value]) -> Option<u64> {
    let has_text = |choice: &Value| {
        let is_text = |piece: &ChatPiece<'_>| !matches!(piece, ChatPiece::Call(_));
        let mut contents = [&choice["message"], &choice["delta"]].into_iter();
        contents.any(|content| pieces(content).iter().any(is_text)) || text(&choice["text"]).is_some()
    };
    let chosen = match choices {
        [choice] => choice,
        _ => choices.iter().min_by_key(|choice| (!has_text(choice), choice_index(choice) != 0))?,
    };
    Some(choice_index(chosen))
}

/// The index of a choice; 0 if there is none.
pub(super) fn choice_index(choice: &Value) -> u64 {
    number(&choice["index"]).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tidegate_providers::stream::{Dialect, Event};

    use super::*;

    #[test]
    fn whatever_counts_as_a_token_is_content() {
        let call = json!({"function": {"name": "f", "arguments": "{}"}});
        let thinking = |text: &'static str| vec![ChatPiece::Thinking(text)];
        let says = |text: &'static str| vec![ChatPiece::Text(text)];
        for (message, expected) in [
            (json!({"content": "a"}), says("a")),
            (json!({"content": ["a"]}), says("a")),
            (json!({"content": {"text": "a"}}), says("a")),
            (json!({"content": [{"type": "text", "text": "a"}]}), says("a")),
            (json!({"content": [{"type": "output_text", "text": "a"}]}), says("a")),
            (json!({"content": [{"type": "made_up", "parts": [{"text": "a"}]}]}), says("a")),
            (json!({"content": [{"type": "refusal", "refusal": "a"}]}), says("a")),
            (json!({"content": [{"type": "thinking", "thinking": "a"}]}), thinking("a")),
            (
                json!({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "a"}]}]}),
                thinking("a"),
            ),
            (json!({"content": [{"type": "reasoning", "text": "a"}]}), thinking("a")),
            (json!({"refusal": "a"}), says("a")),
            (json!({"audio": {"transcript": "a", "data": "x"}}), says("a")),
            (json!({"reasoning_content": "a"}), thinking("a")),
            (json!({"reasoning": "a", "reasoning_details": [{"text": "a"}]}), thinking("a")),
            (json!({"reasoning_text": "a"}), thinking("a")),
            (json!({"thinking": "a"}), thinking("a")),
            (json!({"reasoning_details": [{"summary": "a"}]}), thinking("a")),
            (
                json!({"reasoning_details": [{"type": "reasoning.encrypted", "data": "a"}]}),
                vec![ChatPiece::Encrypted],
            ),
            (json!({"tool_calls": [call]}), vec![ChatPiece::Call(&call)]),
            (json!({"tool_calls": call}), vec![ChatPiece::Call(&call)]),
            (json!({"function_call": call}), vec![ChatPiece::Call(&call)]),
            (json!({"tool_calls": [call], "function_call": call}), vec![ChatPiece::Call(&call)]),
            (json!({"role": "assistant", "content": "", "tool_calls": null}), vec![]),
            (
                json!({"content": [{"type": "image_url", "image_url": {"url": "u"}}], "tool_calls": []}),
                vec![],
            ),
        ] {
            assert_eq!(pieces(&message), expected, "{message}");
            let chunk = json!({"choices": [{"delta": message}]}).to_string();
            let event = Dialect::Chat.read(Event { data: chunk.as_bytes(), ..Event::default() });
            assert!(!event.is_token || !expected.is_empty(), "{message}");
        }
    }

    #[test]
    fn the_text_is_that_of_the_choice_with_index_0_or_of_the_first_with_text() {
        let with = |index: Value, text: &str| json!({"index": index, "delta": {"content": text}});
        for (choices, expected) in [
            (vec![with(json!("1"), "a"), with(json!(0.0), "b")], Some(0)),
            (vec![with(json!(1), "a"), with(json!(0), "")], Some(1)),
            (vec![with(json!(2), ""), with(json!(1), "a")], Some(1)),
            (vec![with(json!(1), ""), with(json!(0), "")], Some(0)),
            (vec![with(json!(3), "")], Some(3)),
            (vec![], None),
        ] {
            assert_eq!(text_index(&choices), expected, "{choices:?}");
        }
    }
}
