use proptest::prelude::*;
use serde_json::{Value, json};

use tidegate_core::Translator;
use tidegate_translate::{ChatToMessages, MessagesToChat};

use super::UNKNOWN_TARGET;

/// Translates bytes, so that unchanged parts can be compared byte for byte.
fn translated(translator: &dyn Translator, body: &[u8]) -> Vec<u8> {
    let mut head = http::Request::new(()).into_parts().0;
    let sent = translator.request(&mut head, body).unwrap().body.to_vec();
    let checked = if head.headers.contains_key("anthropic-version") {
        super::validator::messages(&read(&sent))
    } else {
        super::validator::chat(&read(&sent))
    };
    assert_eq!(checked, Ok(()));
    sent
}

fn to_messages(body: &[u8]) -> Vec<u8> {
    translated(&ChatToMessages::new(UNKNOWN_TARGET), body)
}

fn to_chat(body: &[u8]) -> Vec<u8> {
    translated(&MessagesToChat::new(UNKNOWN_TARGET), body)
}

fn read(body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap()
}

fn text() -> impl Strategy<Value = String> {
    "[a-zé\"\\\\ ]{0,6}[a-z]"
}

fn user() -> impl Strategy<Value = Value> {
    let image = prop_oneof![Just("https://example.org/a.png"), Just("data:image/webp;base64,UklGRg==")];
    let image = || image.clone().prop_map(|url| json!({"type": "image_url", "image_url": {"url": url}}));
    let part = prop_oneof![text().prop_map(|text| json!({"type": "text", "text": text})), image()];
    prop_oneof![
        text().prop_map(|text| json!([{"role": "user", "content": text}])),
        // Without an image, the texts become one.
        (prop::collection::vec(part, 1..4), image()).prop_map(|(mut parts, image)| {
            parts.push(image);
            json!([{"role": "user", "content": parts}])
        }),
    ]
}

/// An assistant message with the tool results that follow it.
fn assistant() -> impl Strategy<Value = Value> {
    let call = ("[a-z_]{1,6}", prop_oneof![Just("{}"), Just("{\"b\": 1, \"a\":[2.50]}")], text());
    (prop::option::of(text()), prop::collection::vec(call, 0..3)).prop_filter_map(
        "empty message",
        |(text, calls)| {
            if text.is_none() && calls.is_empty() {
                return None;
            }
            let mut turn = vec![json!({"role": "assistant", "content": text})];
            for (number, (name, arguments, result)) in calls.into_iter().enumerate() {
                let id = format!("call_{number}");
                let call =
                    json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}});
                let message = turn[0].as_object_mut().unwrap();
                message.entry("tool_calls").or_insert(json!([])).as_array_mut().unwrap().push(call);
                turn.push(json!({"role": "tool", "tool_call_id": id, "content": result}));
            }
            Some(turn.into())
        },
    )
}

/// Alternating turns, with declarations of all called tools and a unique id for each call.
fn conversation() -> impl Strategy<Value = (Vec<Value>, Vec<Value>)> {
    let turns = prop::collection::vec(prop_oneof![user(), assistant()], 0..8);
    (user(), turns).prop_map(|(first, turns)| {
        let (mut messages, mut tools): (Vec<Value>, Vec<Value>) = (Vec::new(), Vec::new());
        for (at, turn) in std::iter::once(first).chain(turns).enumerate() {
            let mut turn = turn.as_array().unwrap().clone();
            if messages.last().is_some_and(|before| before["role"] == turn[0]["role"]) {
                continue;
            }
            for message in &mut turn {
                for call in message["tool_calls"].as_array_mut().into_iter().flatten() {
                    call["id"] = format!("{at}_{}", call["id"].as_str().unwrap()).into();
                    let schema = json!({"type": "object", "properties": {}});
                    let tool = json!({"type": "function", "function":
                        {"name": call["function"]["name"], "parameters": schema}});
                    // A tool is declared once.
                    if !tools.contains(&tool) {
                        tools.push(tool);
                    }
                }
                if let Some(id) = message["tool_call_id"].as_str() {
                    message["tool_call_id"] = format!("{at}_{id}").into();
                }
                if message["tool_calls"].is_null() {
                    message.as_object_mut().unwrap().remove("tool_calls");
                }
            }
            messages.extend(turn);
        }
        (messages, tools)
    })
}

fn request() -> impl Strategy<Value = Value> {
    let settings = (
        // Several system messages become one.
        prop::collection::vec(text(), 0..2),
        prop::option::of((0..=100u8).prop_map(|percent| f64::from(percent) / 100.0)),
        prop::option::of(prop::collection::vec(text(), 1..3)),
        any::<bool>(),
        1..u32::MAX,
        prop::option::of(text()),
    );
    (settings, conversation()).prop_map(
        |((system, temperature, stop, stream, limit, user_id), (conversation, tools))| {
            let system = system.into_iter().map(|text| json!({"role": "system", "content": text}));
            let messages: Vec<_> = system.chain(conversation).collect();
            let mut request = json!({"model": "m", "max_tokens": limit, "messages": messages});
            let mut set = |name: &str, value: Value| {
                if !value.is_null() {
                    request[name] = value;
                }
            };
            set("temperature", json!(temperature));
            set("stop", json!(stop));
            set("user", json!(user_id));
            set("tools", if tools.is_empty() { Value::Null } else { tools.into() });
            if stream {
                set("stream", json!(true));
                set("stream_options", json!({"include_usage": true}));
            }
            request
        },
    )
}

/// All texts with their roles, all calls, and the call of each result, in order and independent of message
/// boundaries.
fn content_summary(chat: &Value) -> Vec<String> {
    let (mut summary, mut open, mut calls) = (Vec::new(), Vec::new(), 0);
    for message in chat["messages"].as_array().unwrap() {
        let role = message["role"].as_str().unwrap();
        let texts = match &message["content"] {
            // The texts of a message are joined, and so are the system messages at the beginning.
            Value::String(text) => text.split("\n\n").collect(),
            Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect(),
            _ => Vec::new(),
        };
        if let Some(id) = message["tool_call_id"].as_str() {
            // The first call with this id that has no result yet.
            let at = open.iter().position(|(called, _)| *called == id).unwrap();
            let (_, number): (&str, u32) = open.remove(at);
            summary.push(format!("result of {number}: {texts:?}"));
            continue;
        }
        let blanks = |text: &&str| !text.trim().is_empty() && *text != "(The assistant speaks first.)";
        summary.extend(texts.into_iter().filter(blanks).map(|text| format!("{role}: {text}")));
        for call in message["tool_calls"].as_array().into_iter().flatten() {
            summary.push(format!("call of {}", call["function"]));
            open.push((call["id"].as_str().unwrap(), calls));
            calls += 1;
        }
    }
    // Anthropic has a separate place for system messages.
    summary.sort_by_key(|text| !text.starts_with("system: "));
    let mut joined: Vec<String> = Vec::new();
    for text in summary {
        match joined.last_mut().filter(|last| last.starts_with("assistant: ")) {
            // The texts of an answer become one.
            Some(last) if text.starts_with("assistant: ") => *last += &text["assistant: ".len()..],
            _ => joined.push(text),
        }
    }
    joined
}

/// Changes system messages after a final assistant message into user messages, as the translator does.
fn with_trailing_system_as_user(mut conversation: Vec<Value>) -> Vec<Value> {
    let is_system = |message: &Value| message["role"] == "system";
    let end = conversation.iter().rposition(|message| !is_system(message)).map_or(0, |last| last + 1);
    let has_text = |message: &&Value| message["content"].as_str().is_none_or(|text| !text.trim().is_empty());
    let before = conversation[..end].iter().filter(|message| !is_system(message)).rfind(has_text);
    if before.is_some_and(|message| message["role"] == "assistant") {
        conversation[end..].iter_mut().for_each(|message| message["role"] = "user".into());
    }
    conversation
}

proptest! {
    #[test]
    fn a_chat_request_is_unchanged_by_translation_to_messages_and_back(chat in request()) {
        prop_assert_eq!(read(&to_chat(&to_messages(chat.to_string().as_bytes()))), chat);
    }

    #[test]
    fn a_messages_request_is_unchanged_by_translation_to_a_chat_and_back(chat in request()) {
        let messages = to_messages(chat.to_string().as_bytes());
        prop_assert_eq!(read(&to_messages(&to_chat(&messages))), read(&messages));
    }

    /// For messages in any order, with blank messages and duplicate call ids.
    #[test]
    fn no_text_or_call_is_lost_by_translation_and_back(conversation in super::rejected::messages_in_turns()) {
        let chat = json!({"messages": conversation});
        let mut head = http::Request::new(()).into_parts().0;
        if let Ok(there) = ChatToMessages::new(UNKNOWN_TARGET).request(&mut head, chat.to_string().as_bytes()) {
            let chat = json!({"messages": with_trailing_system_as_user(conversation)});
            prop_assert_eq!(content_summary(&read(&to_chat(&there.body))), content_summary(&chat));
        }
    }
}
