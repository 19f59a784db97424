//! Characters of two UTF-16 code units that a host has split over two events.

use proptest::prelude::*;
use serde_json::Value;

use super::{for_chat, for_messages, json_events, stream};

/// A JSON string of escapes.
fn escaped(units: &[u16]) -> String {
    let escapes: String = units.iter().map(|unit| format!("\\u{unit:04x}")).collect();
    format!("\"{escapes}\"")
}

fn chat(delta: &str) -> String {
    format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{delta}}}]}}\n\n")
}

fn messages(delta: &str) -> String {
    format!("data: {{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{delta}}}\n\n")
}

/// The value of this field in all events, joined.
fn joined(text: &str, field: &str) -> String {
    let of = |event: &Value| {
        let call = &event["choices"][0]["delta"]["tool_calls"][0]["function"][field];
        let deltas = [&event["delta"][field], &event["choices"][0]["delta"][field], call];
        deltas.into_iter().find_map(Value::as_str).unwrap_or_default().to_owned()
    };
    json_events(text).iter().map(of).collect()
}

proptest! {
    #[test]
    fn text_of_any_pieces_is_unchanged(
        text in "([a-z\"\\\\]|🌍|é|\u{10ffff}|\u{10f000}){0,6}",
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        chunks in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        // A text that contains the characters of a mark is only split between characters.
        prop_assume!(!text.contains('\u{10ffff}') || cuts.is_empty());
        prop_assume!(!text.contains("\u{10ffff}\u{10f000}"));
        let object = serde_json::json!({"a": text}).to_string();
        for (new_translator, event, end, forms) in [
            (for_messages as fn() -> _, chat as fn(&str) -> String, "data: [DONE]\n\n", [
                ("{\"content\":CUT}", "text"),
                ("{\"reasoning_content\":CUT}", "thinking"),
                ("{\"tool_calls\":[{\"index\":0,\"function\":{\"name\":\"f\",\"arguments\":CUT}}]}", "partial_json"),
            ]),
            (for_chat, messages, "data: {\"type\":\"message_stop\"}\n\n", [
                ("{\"type\":\"text_delta\",\"text\":CUT}", "content"),
                ("{\"type\":\"thinking_delta\",\"thinking\":CUT}", "reasoning_content"),
                ("{\"type\":\"input_json_delta\",\"partial_json\":CUT}", "arguments"),
            ]),
        ] {
            for (form, field) in forms {
                let sent = if matches!(field, "partial_json" | "arguments") { &object } else { &text };
                let units: Vec<_> = sent.encode_utf16().collect();
                let mut ends: Vec<_> = cuts.iter().map(|cut| cut.index(units.len() + 1)).collect();
                ends.extend([0, units.len()]);
                ends.sort_unstable();
                let pieces = ends.windows(2).map(|cut| event(&form.replace("CUT", &escaped(&units[cut[0]..cut[1]]))));
                let start = r#"{"type":"content_block_start","index":0,"content_block":{"type":"tool_use","name":"f"}}"#;
                let bytes = match field {
                    "arguments" => format!("data: {start}\n\n"),
                    _ => String::new(),
                };
                let bytes = bytes + &pieces.collect::<String>() + end;
                let mut chunks: Vec<_> = chunks.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
                chunks.sort_unstable();
                let translated = stream(new_translator(), bytes.as_bytes(), &chunks);
                prop_assert_eq!(&joined(&translated, field), sent, "{}", bytes);
            }
        }
    }
}

#[test]
fn half_a_character_is_not_joined_with_that_of_another_call() {
    let piece = |index: u64, name: &str, units: &str| {
        let call =
            format!("{{\"index\":{index},\"function\":{{\"name\":\"{name}\",\"arguments\":\"{units}\"}}}}");
        chat(&format!("{{\"tool_calls\":[{call}]}}"))
    };
    let first = r#"{\"a\":\""#;
    let bytes = piece(0, "f", &format!("{first}\\ud83c"))
        + &piece(1, "g", &format!("{first}\\ud83d"))
        + &chat(r#"{"content":"between"}"#)
        + &piece(1, "", r#"\ude00\"}"#)
        + &piece(0, "", r#"\udf0d\"}"#)
        + "data: [DONE]\n\n";
    let text = stream(for_messages(), bytes.as_bytes(), &[]);
    assert_eq!(joined(&text, "partial_json"), r#"{"a":"🌍"}{"a":"😀"}"#);
}

#[test]
fn half_a_character_at_the_end_of_a_text_is_replaced() {
    for (bytes, field, new_translator) in [
        (chat(r#"{"content":"a\ud83c"}"#) + "data: [DONE]\n\n", "text", for_messages as fn() -> _),
        (
            chat(r#"{"content":"a"}"#) + &chat(r#"{"content":"\ud83c"}"#) + "data: [DONE]\n\n",
            "text",
            for_messages,
        ),
        (messages(r#"{"text":"a\ud83c"}"#) + "data: {\"type\":\"message_stop\"}\n\n", "content", for_chat),
    ] {
        assert_eq!(joined(&stream(new_translator(), bytes.as_bytes(), &[]), field), "a\u{fffd}");
    }
    let only = chat(r#"{"content":"\ud83c"}"#) + "data: [DONE]\n\n";
    assert_eq!(joined(&stream(for_messages(), only.as_bytes(), &[]), "text"), "\u{fffd}");
}
