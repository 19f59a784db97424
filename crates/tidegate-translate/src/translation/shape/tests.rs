use std::collections::BTreeSet;

use serde_json::{Value, json};
use tidegate_core::Translator;

use super::{Field, Shape, chat, messages};
use crate::{ChatToMessages, MessagesToChat};

const TARGET: &str = "unknown/some-model";

/// What is sent, or the field that is rejected.
fn translated(translator: &dyn Translator, request: &Value) -> Result<Value, String> {
    let mut head = http::Request::new(()).into_parts().0;
    let sent = translator.request(&mut head, request.to_string().as_bytes());
    let sent = sent.map_err(|error| error.field().to_owned())?;
    Ok(serde_json::from_slice(&sent.body).unwrap())
}

/// The paths of all fields.
fn paths(shape: &Shape, found: &mut BTreeSet<String>) {
    for (name, field) in shape.fields {
        if found.insert(format!("{}{name}", shape.path))
            && let Field::Within(inner) = field
        {
            paths(inner, found);
        }
    }
}

/// The objects in `value` that have a shape, as pointers.
fn objects(shape: &'static Shape, value: &Value, at: &str, found: &mut Vec<(String, &'static Shape)>) {
    match value {
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                objects(shape, item, &format!("{at}/{index}"), found);
            }
        }
        Value::Object(fields) => {
            found.push((at.to_owned(), shape));
            for (name, field) in shape.fields {
                if let (Field::Within(inner), Some(value)) = (field, fields.get(*name)) {
                    objects(inner, value, &format!("{at}/{name}"), found);
                }
            }
        }
        _ => {}
    }
}

/// In each object of `request`, each field of the table is read, dropped or rejected as it is listed, and any
/// other is rejected by name. `unread` are those that are listed as read and may have another value.
fn keeps_to_its_table(translator: &dyn Translator, table: &'static Shape, request: &Value, unread: &[&str]) {
    let sent = translated(translator, request).unwrap();
    let (mut listed, mut seen, mut read, mut found) =
        (BTreeSet::new(), BTreeSet::new(), BTreeSet::new(), Vec::new());
    paths(table, &mut listed);
    objects(table, request, "", &mut found);
    for (at, shape) in &found {
        let with = |name: &str, value: Value| {
            let mut request = request.clone();
            request.pointer_mut(at).unwrap()[name] = value;
            translated(translator, &request)
        };
        let odd = || json!({"odd": ["value"]});
        for (name, field) in shape.fields {
            let path = format!("{}{name}", shape.path);
            match field {
                // Some are dropped only if they have their type.
                Field::Dropped(_) => {
                    let mut values = [odd(), json!("a"), json!(true)].into_iter();
                    assert!(values.any(|value| with(name, value).as_ref() == Ok(&sent)), "{path}");
                }
                Field::DroppedIf(_) => {
                    assert_eq!(with(name, Value::Null).as_ref(), Ok(&sent), "{path}");
                    assert_eq!(with(name, odd()).as_ref(), Err(&path));
                }
                Field::Read | Field::Within(_) => {
                    if with(name, json!(7.5)).as_ref() != Ok(&sent) {
                        read.insert(path.clone());
                    }
                }
            }
            if matches!(field, Field::Dropped(_) | Field::DroppedIf(_)) {
                read.insert(path.clone());
            }
            seen.insert(path);
        }
        assert_eq!(with("unheard_of", odd()), Err(format!("{}unheard_of", shape.path)));
    }
    assert_eq!(seen, listed, "every object of the table is in the request");
    let not_read: Vec<_> = listed.difference(&read).collect();
    assert_eq!(not_read, unread);
}

#[test]
fn a_chat_is_translated_by_its_table() {
    let mark = json!({"type": "ephemeral"});
    let schema = json!({"type": "object", "properties": {}});
    let call = json!({"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}});
    let request = json!({
        "model": "m", "max_tokens": 7, "stop": "END", "temperature": 0.5,
        "top_p": 0.5, "top_k": 5, "stream": true, "stream_options": {"include_usage": true}, "user": "u1",
        "parallel_tool_calls": false, "tool_choice": {"type": "function", "function": {"name": "f"}},
        "response_format": {"type": "json_schema", "json_schema": {"description": "a", "schema": schema}},
        "tools": [{"type": "function", "cache_control": mark,
            "function": {"name": "f", "description": "a", "parameters": schema, "strict": false}}],
        "messages": [
            {"role": "system", "content": [{"type": "text", "text": "a", "cache_control": mark}]},
            {"role": "user", "content": [
                {"type": "image_url", "image_url": {"url": "https://a"}},
                {"type": "file", "file": {"filename": "a", "file_data": "data:application/pdf;base64,AA"}},
                {"type": "text", "text": "a", "prompt_cache_breakpoint": {"mode": "explicit"}},
            ]},
            {"role": "assistant", "content": [{"type": "refusal", "refusal": "a"}], "refusal": "a",
                "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c", "content": "a", "cache_control": mark},
        ],
    });
    let unread = ["messages[].content[].file.file_id"];
    keeps_to_its_table(&ChatToMessages::new(TARGET), &chat::REQUEST, &request, &unread);
}

#[test]
fn messages_are_translated_by_their_table() {
    let format = json!({"type": "json_schema", "schema": {"type": "object", "properties": {}}});
    let source = json!({"type": "base64", "media_type": "image/png", "data": "AA"});
    let request = json!({
        "model": "m", "max_tokens": 99, "stop_sequences": ["END"], "temperature": 0.5, "top_p": 0.5,
        "stream": true, "metadata": {"user_id": "u1"}, "thinking": {"type": "enabled", "budget_tokens": 9},
        "output_config": {"effort": "high", "format": format}, "output_format": format,
        "system": [{"type": "text", "text": "a"}], "tool_choice": {"type": "tool", "name": "f"},
        "tools": [{"type": "custom", "name": "f", "description": "a", "input_schema": {"type": "object"}}],
        "messages": [
            {"role": "user", "content": [
                {"type": "text", "text": "a"},
                {"type": "image", "source": {"type": "url", "url": "https://a"}},
                {"type": "document", "title": "a", "source": source},
            ]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "a", "signature": "a"},
                {"type": "tool_use", "id": "t", "name": "f", "input": {}},
            ]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": [
                {"type": "text", "text": "a"},
                {"type": "image", "source": source},
            ]}]},
            {"role": "system", "content": [], "output_config": {"effort": "low"}},
        ],
    });
    // Only other edits than those that clear, and enabled citations, have an effect.
    let unread = ["context_management", "messages[].content[].citations"];
    keeps_to_its_table(&MessagesToChat::new(TARGET), &messages::REQUEST, &request, &unread);
}
