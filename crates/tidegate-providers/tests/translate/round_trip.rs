use proptest::prelude::*;
use serde_json::{Value, json};

use tidegate_core::Translator;
use tidegate_providers::translate::{ChatToMessages, MessagesToChat};

use super::SOMEBODY;

/// As bytes, so that what passes as it was written does.
fn say(translator: &dyn Translator, body: &[u8]) -> Vec<u8> {
    let mut head = http::Request::new(()).into_parts().0;
    translator.request(&mut head, body).unwrap().body.to_vec()
}

fn to_messages(body: &[u8]) -> Vec<u8> {
    say(&ChatToMessages::new(SOMEBODY), body)
}

fn to_chat(body: &[u8]) -> Vec<u8> {
    say(&MessagesToChat::new(SOMEBODY), body)
}

fn read(body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap()
}

fn text() -> impl Strategy<Value = String> {
    "[a-zé\"\\\\ ]{0,6}[a-z]"
}

fn user() -> impl Strategy<Value = Value> {
    let image = prop_oneof![Just("https://example.org/a.png"), Just("data:image/webp;base64,UklGRg==")];
    let part = prop_oneof![
        text().prop_map(|text| json!({"type": "text", "text": text})),
        image.prop_map(|url| json!({"type": "image_url", "image_url": {"url": url}})),
    ];
    prop_oneof![
        text().prop_map(|text| json!([{"role": "user", "content": text}])),
        prop::collection::vec(part, 2..4).prop_map(|parts| json!([{"role": "user", "content": parts}])),
    ]
}

/// An assistant's turn, and what the tools said to it.
fn assistant() -> impl Strategy<Value = Value> {
    let call = (text(), prop_oneof![Just("{}"), Just("{\"b\": 1, \"a\":[2.50]}")], text());
    (prop::option::of(text()), prop::collection::vec(call, 0..3)).prop_filter_map(
        "says nothing",
        |(said, calls)| {
            if said.is_none() && calls.is_empty() {
                return None;
            }
            let mut turn = vec![json!({"role": "assistant", "content": said})];
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

/// Turns that alternate, with tools for all that is called, each call with a name of its own.
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
                    let schema = json!({"type": "object"});
                    tools.push(json!({"type": "function", "function":
                        {"name": call["function"]["name"], "parameters": schema}}));
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
        prop::collection::vec(text(), 0..3),
        prop::option::of((0..=100u8).prop_map(|percent| f64::from(percent) / 100.0)),
        prop::option::of(prop::collection::vec(text(), 1..3)),
        any::<bool>(),
        1..u32::MAX,
        prop::option::of(text()),
    );
    (settings, conversation()).prop_map(
        |((system, temperature, stop, stream, limit, who), (spoken, tools))| {
            let system = system.into_iter().map(|text| json!({"role": "system", "content": text}));
            let messages: Vec<_> = system.chain(spoken).collect();
            let mut request = json!({"model": "m", "max_tokens": limit, "messages": messages});
            let mut set = |name: &str, value: Value| {
                if !value.is_null() {
                    request[name] = value;
                }
            };
            set("temperature", json!(temperature));
            set("stop", json!(stop));
            set("user", json!(who));
            set("tools", if tools.is_empty() { Value::Null } else { tools.into() });
            if stream {
                set("stream", json!(true));
                set("stream_options", json!({"include_usage": true}));
            }
            request
        },
    )
}

/// All that was said, by whom, and which result goes with which call: in this order, wherever messages begin and end.
fn said(chat: &Value) -> Vec<String> {
    let (mut said, mut open, mut calls) = (Vec::new(), Vec::new(), 0);
    for message in chat["messages"].as_array().unwrap() {
        let role = message["role"].as_str().unwrap();
        let texts = match &message["content"] {
            Value::String(text) => vec![text.as_str()],
            Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect(),
            _ => Vec::new(),
        };
        if let Some(id) = message["tool_call_id"].as_str() {
            // The first call of this name that has no result yet.
            let at = open.iter().position(|(called, _)| *called == id).unwrap();
            let (_, number): (&str, u32) = open.remove(at);
            said.push(format!("result of {number}: {texts:?}"));
            continue;
        }
        let blanks = |text: &&str| !text.trim().is_empty() && *text != "(The assistant speaks first.)";
        said.extend(texts.into_iter().filter(blanks).map(|text| format!("{role}: {text:?}")));
        for call in message["tool_calls"].as_array().into_iter().flatten() {
            said.push(format!("call of {}", call["function"]));
            open.push((call["id"].as_str().unwrap(), calls));
            calls += 1;
        }
    }
    // The system has a place of its own there.
    said.sort_by_key(|text| !text.starts_with("system: "));
    said
}

/// What the system says after the assistant's last word is told as the user's.
fn asked_at_last(mut spoken: Vec<Value>) -> Vec<Value> {
    let is_of_the_system = |message: &Value| message["role"] == "system";
    let end = spoken.iter().rposition(|message| !is_of_the_system(message)).map_or(0, |last| last + 1);
    let says = |message: &&Value| message["content"].as_str().is_none_or(|text| !text.trim().is_empty());
    let before = spoken[..end].iter().filter(|message| !is_of_the_system(message)).rfind(says);
    if before.is_some_and(|message| message["role"] == "assistant") {
        spoken[end..].iter_mut().for_each(|message| message["role"] = "user".into());
    }
    spoken
}

proptest! {
    #[test]
    fn a_request_that_went_to_messages_and_back_asks_for_the_same(chat in request()) {
        prop_assert_eq!(read(&to_chat(&to_messages(chat.to_string().as_bytes()))), chat);
    }

    #[test]
    fn a_request_that_went_to_a_chat_and_back_asks_for_the_same(chat in request()) {
        let messages = to_messages(chat.to_string().as_bytes());
        prop_assert_eq!(read(&to_messages(&to_chat(&messages))), read(&messages));
    }

    /// In whatever order it was said, with blank messages and calls that are named alike.
    #[test]
    fn nothing_that_was_said_gets_lost_on_the_way_and_back(spoken in super::refused::spoken()) {
        let chat = json!({"messages": spoken});
        let mut head = http::Request::new(()).into_parts().0;
        if let Ok(there) = ChatToMessages::new(SOMEBODY).request(&mut head, chat.to_string().as_bytes()) {
            let chat = json!({"messages": asked_at_last(spoken)});
            prop_assert_eq!(said(&read(&to_chat(&there.body))), said(&chat));
        }
    }
}
