use http::{Response, StatusCode};
use serde_json::{Value, json};
use tidegate_core::{BodyMode, ResponseTranslator};

use super::{for_chat, for_messages, head};

fn whole(mut answer: Box<dyn ResponseTranslator>, body: &Value) -> Value {
    assert_eq!(head(&mut *answer, StatusCode::OK, "application/json"), BodyMode::Whole);
    serde_json::from_slice(&answer.whole(StatusCode::OK, body.to_string().as_bytes()).unwrap()).unwrap()
}

#[test]
fn a_message_becomes_a_completion() {
    let message = json!({
        "id": "msg_1", "type": "message", "role": "assistant", "model": "claude",
        "content": [
            {"type": "thinking", "thinking": "The moon.", "signature": "c2ln"},
            {"type": "text", "text": "At ", "citations": null}, {"type": "text", "text": "six."},
            {"type": "tool_use", "id": "t1", "name": "tide_at", "input": {"port": "Brest"}},
            {"type": "made_up_tomorrow", "content": {"text": 7}},
        ],
        "stop_reason": "tool_use", "stop_sequence": null,
        "usage": {"input_tokens": 20, "cache_creation_input_tokens": 5, "cache_read_input_tokens": 100, "output_tokens": 15},
    });
    let call = json!({"id": "t1", "type": "function", "function": {"name": "tide_at", "arguments": "{\"port\":\"Brest\"}"}});
    assert_eq!(
        whole(for_chat(), &message),
        json!({
            "id": "msg_1", "object": "chat.completion", "created": 1_793_880_000, "model": "claude",
            "choices": [{
                "index": 0, "logprobs": null, "finish_reason": "tool_calls",
                "message": {"role": "assistant", "content": "At six.", "refusal": null,
                    "reasoning_content": "The moon.", "tool_calls": [call]},
            }],
            "usage": {"prompt_tokens": 125, "completion_tokens": 15, "total_tokens": 140,
                "prompt_tokens_details": {"cached_tokens": 100, "cache_write_tokens": 5}},
        })
    );
}

#[test]
fn a_completion_becomes_a_message() {
    let call = json!({"id": "c1", "type": "function", "function": {"name": "tide_at", "arguments": "{\"port\":\"Brest\"}"}});
    let completion = json!({
        "id": "chatcmpl-1", "object": "chat.completion", "created": 7, "model": "gpt",
        "choices": [{"index": 0, "finish_reason": "stop",
            "message": {"role": "assistant", "content": "I look.", "reasoning_content": "hm", "tool_calls": [call]}}],
        "usage": {"prompt_tokens": 125, "completion_tokens": 15, "total_tokens": 140,
            "prompt_tokens_details": {"cached_tokens": 100}},
    });
    assert_eq!(
        whole(for_messages(), &completion),
        json!({
            "id": "chatcmpl-1", "type": "message", "role": "assistant", "model": "gpt",
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": ""},
                {"type": "text", "text": "I look."},
                {"type": "tool_use", "id": "chatcmpl-1_c1_0", "name": "tide_at", "input": {"port": "Brest"}},
            ],
            // The finish reason was "stop" although a tool was called.
            "stop_reason": "tool_use", "stop_sequence": null,
            "usage": {"input_tokens": 25, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 100, "output_tokens": 15},
        })
    );
}

#[test]
fn every_stop_reason_has_a_counterpart() {
    for (source, expected) in [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("refusal", "content_filter"),
        ("made_up_tomorrow", "stop"),
    ] {
        let answer = whole(for_chat(), &json!({"content": [], "stop_reason": source}));
        assert_eq!(answer["choices"][0]["finish_reason"], expected, "{source}");
        assert_eq!(answer["choices"][0]["message"]["content"], Value::Null);
    }
    for (source, expected) in [
        ("stop", "end_turn"),
        ("length", "max_tokens"),
        ("content_filter", "refusal"),
        ("eos", "end_turn"),
        ("model_context_window_exceeded", "max_tokens"),
        ("MAX_TOKENS", "max_tokens"),
        ("sensitive", "refusal"),
        ("SAFETY", "refusal"),
        ("IMAGE_SAFETY", "refusal"),
        ("IMAGE_PROHIBITED_CONTENT", "refusal"),
        ("IMAGE_RECITATION", "refusal"),
        ("content_filter: PROHIBITED_CONTENT", "refusal"),
    ] {
        let answer = whole(
            for_messages(),
            &json!({"choices": [{"message": {"content": "x"}, "finish_reason": source}]}),
        );
        assert_eq!(answer["stop_reason"], expected, "{source}");
    }
    let refused =
        json!({"choices": [{"message": {"content": null, "refusal": "No."}, "finish_reason": "stop"}]});
    let refused = whole(for_messages(), &refused);
    assert_eq!(
        (&refused["content"][0]["text"], &refused["stop_reason"]),
        (&"No.".into(), &"end_turn".into())
    );
}

#[test]
fn an_unreadable_response_is_a_failure_and_not_an_empty_response() {
    let arguments = r#"{"choices":[{"message":{"tool_calls":[{"id":"c","function":{"name":"f","arguments":"{\"port"}}]}}]}"#;
    for body in ["", "<html>", "{}", "[]", "{\"choices\":[]}", arguments] {
        let failure = for_messages().whole(StatusCode::OK, body.as_bytes()).unwrap_err();
        assert_eq!(failure.code.code(), "E3001", "{body}");
        let failure = for_chat().whole(StatusCode::OK, body.as_bytes()).unwrap_err();
        assert_eq!(failure.provider_code.as_deref(), Some("unreadable_answer"), "{body}");
    }
    // A response that reports a failure beside its content.
    for reason in ["error", "abort", "insufficient_system_resource"] {
        let body = format!(r#"{{"choices":[{{"message":{{"content":"Ebb"}},"finish_reason":"{reason}"}}]}}"#);
        assert_eq!(
            for_messages().whole(StatusCode::OK, body.as_bytes()).unwrap_err().code.code(),
            "E3001",
            "{body}"
        );
    }
    let error = br#"{"choices":[{"message":{"content":"Ebb"}}],"error":{"code":"rate_limit_exceeded"}}"#;
    assert_eq!(for_messages().whole(StatusCode::OK, error).unwrap_err().code.code(), "E2001");
    // An error body under a success status is classified by its content.
    let error = br#"{"error":{"message":"no credit","code":"insufficient_quota"}}"#;
    assert_eq!(for_messages().whole(StatusCode::OK, error).unwrap_err().code.code(), "E2002");
}

#[test]
fn response_headers_are_adjusted() {
    let head = |status: u16, lines: &[(&str, &str)]| {
        let mut builder =
            Response::builder().status(status).header("content-length", "9").header("x-kept", "1");
        for (name, value) in lines {
            builder = builder.header(*name, *value);
        }
        let mut head = builder.body(()).unwrap().into_parts().0;
        let mode = for_chat().head(&mut head, std::time::SystemTime::UNIX_EPOCH);
        (mode, head.headers)
    };
    let (mode, headers) =
        head(200, &[("content-type", "Text/Event-Stream; charset=utf-8"), ("request-id", "req_1")]);
    assert_eq!(mode, Ok(BodyMode::Events));
    assert_eq!(
        (&headers["x-request-id"], &headers["x-kept"], headers.get("content-length")),
        (&"req_1".parse().unwrap(), &"1".parse().unwrap(), None)
    );
    let (mode, headers) = head(503, &[("content-type", "text/html"), ("content-encoding", "gzip")]);
    assert_eq!(
        (mode, &headers["content-type"], headers.get("content-encoding")),
        (Ok(BodyMode::Whole), &"application/json".parse().unwrap(), None)
    );
    assert_eq!(head(302, &[]).0, Ok(BodyMode::Untouched));
    assert_eq!(head(204, &[]).0, Ok(BodyMode::Untouched));
    // Compressed bodies are not supported.
    assert_eq!(
        head(200, &[("content-encoding", "gzip")]).0.unwrap_err().provider_code.as_deref(),
        Some("content_encoding")
    );
}

/// Anthropic has no format for any JSON object, so the text of a response is checked.
#[test]
fn a_json_object_is_requested_by_an_instruction_and_checked() {
    let request = json!({"messages": super::hello(), "response_format": {"type": "json_object"}});
    for target in ["anthropic/claude-3-5-haiku", "anthropic/claude-opus-4-7"] {
        let translation =
            || super::translate(&tidegate_translate::ChatToMessages::new(target), &request).unwrap();
        let messages = super::body(Ok(translation()));
        assert!(messages["system"][0]["text"].as_str().unwrap().contains("JSON object"), "{messages}");
        let answer = |text: &str, reason: &str| {
            let body =
                json!({"content": [{"type": "text", "text": text}], "stop_reason": reason}).to_string();
            let whole: Value =
                serde_json::from_slice(&translation().response.whole(StatusCode::OK, body.as_bytes())?)
                    .unwrap();
            Ok::<_, tidegate_core::Failure>(
                whole["choices"][0]["message"]["content"].as_str().unwrap().to_owned(),
            )
        };
        for text in ["{\"a\": 1}", " {\"a\": 1}\n", "```json\n{\"a\": 1}\n```", "```\n{\"a\": 1}\n```"] {
            assert_eq!(answer(text, "end_turn").unwrap(), "{\"a\": 1}");
        }
        for text in ["", "Sure: {}", "[1]", "{\"a\": 1", "{} {}"] {
            assert_eq!(answer(text, "end_turn").unwrap_err().code.code(), "E3001", "{text}");
        }
        // Cut off at the token limit, as with OpenAI.
        assert_eq!(answer("{\"a\"", "max_tokens").unwrap(), "{\"a\"");
    }
}
