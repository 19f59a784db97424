use proptest::prelude::*;
use serde_json::{Value, json};

use tidegate_core::Translate;
use tidegate_providers::translate::{ChatToMessages, MessagesToChat};

use super::SOMEBODY;

/// As bytes, so that what passes as it was written does.
fn say(translator: &dyn Translate, body: &[u8]) -> Vec<u8> {
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

fn request() -> impl Strategy<Value = Value> {
    let settings = (
        prop::collection::vec(text(), 0..3),
        prop::option::of((0..=100u8).prop_map(|percent| f64::from(percent) / 100.0)),
        prop::option::of(prop::collection::vec(text(), 1..3)),
        any::<bool>(),
        any::<u32>(),
        prop::option::of(text()),
    );
    let turns = prop::collection::vec(prop_oneof![user(), assistant()], 0..6);
    (settings, turns).prop_map(|((system, temperature, stop, stream, limit, who), turns)| {
        let system = system.into_iter().map(|text| json!({"role": "system", "content": text}));
        let turns = turns.into_iter().flat_map(|turn| turn.as_array().unwrap().clone());
        let mut request =
            json!({"model": "m", "max_tokens": limit, "messages": system.chain(turns).collect::<Vec<_>>()});
        let mut set = |name: &str, value: Value| {
            if !value.is_null() {
                request[name] = value;
            }
        };
        set("temperature", json!(temperature));
        set("stop", json!(stop));
        set("user", json!(who));
        if stream {
            set("stream", json!(true));
            set("stream_options", json!({"include_usage": true}));
        }
        request
    })
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
}
