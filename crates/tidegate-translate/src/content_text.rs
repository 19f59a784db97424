//! The texts in the content of a message: a string, or a list of parts.

use serde_json::Value;

/// A part of a content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ContentPiece<'a> {
    Text(&'a str),
    /// Reasoning, which Anthropic and Mistral send as a part.
    Thinking,
    Other,
}

/// The parts of `content`. A string is one text, and so is a part of the type `text`.
pub(crate) fn pieces(content: &Value) -> impl Iterator<Item = ContentPiece<'_>> {
    let (whole, parts) = match content {
        Value::String(text) => (Some(ContentPiece::Text(text)), &[][..]),
        Value::Array(parts) => (None, &parts[..]),
        _ => (Some(ContentPiece::Other), &[][..]),
    };
    whole.into_iter().chain(parts.iter().map(piece))
}

fn piece(part: &Value) -> ContentPiece<'_> {
    match (part["type"].as_str(), part["text"].as_str()) {
        (Some("text"), Some(text)) => ContentPiece::Text(text),
        (Some("thinking" | "redacted_thinking"), _) => ContentPiece::Thinking,
        _ => ContentPiece::Other,
    }
}

/// The text of `content` without the reasoning; `None` if there is anything else.
pub(crate) fn text_only(content: &Value) -> Option<String> {
    let text = |piece| match piece {
        ContentPiece::Text(text) => Some(text),
        ContentPiece::Thinking => Some(""),
        ContentPiece::Other => None,
    };
    pieces(content).map(text).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_content_is_a_string_or_a_list_of_parts() {
        let text = json!({"type": "text", "text": "a"});
        let thinking = json!({"type": "thinking", "thinking": "hm"});
        let image = json!({"type": "image_url"});
        for (content, only) in [
            (json!("a"), Some("a")),
            (json!(""), Some("")),
            (json!([]), Some("")),
            (json!([text, text]), Some("aa")),
            (json!([thinking, text]), Some("a")),
            (json!([text, image]), None),
            (json!([{"type": "text"}]), None),
            (json!(null), None),
            (json!({"text": "a"}), None),
        ] {
            assert_eq!(text_only(&content).as_deref(), only, "{content}");
        }
    }
}
