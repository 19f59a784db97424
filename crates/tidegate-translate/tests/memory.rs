//! The memory to translate a request grows with its size, and not with that of the levels of its schemas.

#![cfg(target_os = "linux")]

use serde_json::{Value, json};
use tidegate_core::Translator;
use tidegate_translate::{ChatToMessages, MessagesToChat};

/// The most memory that this process has used, in bytes.
fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim_end_matches("kB").trim().parse::<usize>().unwrap() * 1024
}

#[test]
fn the_levels_of_a_schema_do_not_own_the_text_below_them() {
    const LENGTH: usize = 4 << 20;
    let mut schema = json!({"type": "string", "description": "x".repeat(LENGTH)});
    for level in 0..40 {
        schema = match level % 3 {
            0 => json!({"type": "object", "properties": {"a": schema}}),
            1 => json!({"anyOf": [schema]}),
            _ => json!({"type": "array", "items": schema}),
        };
    }
    let messages = json!([{"role": "user", "content": "Ebb?"}]);
    let function = json!({"name": "f", "parameters": schema});
    let chat = json!({"messages": messages, "tools": [{"type": "function", "function": function}]});
    let tool = json!({"name": "f", "input_schema": schema});
    let message = json!({"messages": messages, "max_tokens": 9, "tools": [tool]});
    let translators: [(Box<dyn Translator>, Value); 2] = [
        (Box::new(ChatToMessages::new("anthropic/claude")), chat),
        (Box::new(MessagesToChat::new("openai/gpt")), message),
    ];
    for (translator, request) in translators {
        let (body, before) = (request.to_string(), peak());
        drop(translator.request(&mut http::Request::new(()).into_parts().0, body.as_bytes()).unwrap());
        let used = peak() - before;
        assert!(used < 16 * LENGTH, "{used} bytes");
    }
}
