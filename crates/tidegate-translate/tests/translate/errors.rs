use std::time::SystemTime;

use http::{Response, StatusCode};
use serde_json::{Value, json};
use tidegate_core::{Classifier, Failure, Outcome, ResponseTranslator};
use tidegate_providers::{Provider, ProviderClassifier};

use super::{fixture, for_chat, for_messages, head, json_events, stream};

fn error(mut answer: Box<dyn ResponseTranslator>, status: u16, body: &[u8]) -> Value {
    let status = StatusCode::from_u16(status).unwrap();
    head(&mut *answer, status, "application/json");
    serde_json::from_slice(&answer.whole(status, body).unwrap()).unwrap()
}

fn classify(provider: Provider, status: u16, body: &[u8]) -> Failure {
    let head = Response::builder().status(status).body(()).unwrap().into_parts().0;
    match ProviderClassifier::new(provider).classify(&head, body, SystemTime::UNIX_EPOCH) {
        Outcome::Failure(failure) => failure,
        other => panic!("{other:?}"),
    }
}

/// A client reads the body by the status, and a stream has no other status than the one it began with.
#[test]
fn a_failure_with_the_status_of_a_success_has_the_status_of_its_code_unless_it_is_a_stream() {
    let body = br#"{"type":"error","error":{"type":"overloaded_error","message":"busy"}}"#;
    for (content_type, status) in [("application/json", 503), ("text/event-stream", 200)] {
        let failure = classify(Provider::Anthropic, 529, body);
        let head = Response::builder().header("content-type", content_type).extension(Outcome::from(failure));
        let mut head = head.body(()).unwrap().into_parts().0;
        let mut answer = for_chat();
        answer.head(&mut head, SystemTime::UNIX_EPOCH).unwrap();
        assert_eq!(head.status, status, "{content_type}");
    }
}

/// An error has the same meaning in both dialects: the translated error is classified like the original.
#[test]
fn a_translated_error_is_classified_like_the_original() {
    for (name, status) in [
        ("anthropic_rate_limit", 429),
        ("anthropic_spend_limit", 429),
        ("anthropic_overloaded", 529),
        ("anthropic_api_error", 500),
        ("anthropic_api_error_503", 503),
        ("anthropic_authentication", 401),
        ("anthropic_permission", 403),
        ("anthropic_not_found", 404),
        ("anthropic_billing", 402),
        ("anthropic_conflict", 409),
        ("anthropic_request_too_large", 413),
        ("anthropic_prompt_too_long", 400),
        ("anthropic_timeout", 504),
        ("anthropic_invalid_request", 400),
        ("anthropic_output_filtered", 400),
        ("openai_rate_limit", 429),
        ("openai_insufficient_quota", 429),
        ("openai_overloaded", 503),
        ("openai_server_error", 500),
        ("openai_invalid_key", 401),
        ("openai_invalid_key_400", 400),
        ("openai_model_not_found", 404),
        ("openai_context_length", 400),
        ("openai_content_policy", 400),
        ("openai_bad_parameter", 400),
        ("groq_bare_string", 503),
        ("mistral_rate_limit", 429),
        ("deepseek_balance", 402),
    ] {
        let provider = Provider::named(name.split('_').next().unwrap());
        let body = fixture(&format!("{name}.json"));
        let original = classify(provider, status, &body);
        let translated = match provider {
            Provider::Anthropic => error(for_chat(), status, &body),
            _ => error(for_messages(), status, &body),
        };
        let reclassified = classify(Provider::Other, status, translated.to_string().as_bytes());
        assert_eq!(
            (reclassified.code, reclassified.kind),
            (original.code, original.kind),
            "{name}: {translated}"
        );
    }
}

#[test]
fn an_error_has_the_format_and_the_error_types_of_the_dialect() {
    let overloaded =
        br#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"},"request_id":"r"}"#;
    assert_eq!(
        error(for_chat(), 529, overloaded),
        json!({"error": {"message": "Overloaded", "type": "service_unavailable_error", "param": null, "code": "server_is_overloaded"}})
    );
    let limited =
        br#"{"error":{"message":"Slow.","type":"requests","param":null,"code":"rate_limit_exceeded"}}"#;
    assert_eq!(
        error(for_messages(), 429, limited),
        json!({"type": "error", "error": {"type": "rate_limit_error", "message": "Slow."}})
    );
}

/// Clients of Anthropic's API recognise a prompt that is too long by these words alone.
#[test]
fn a_prompt_that_is_too_long_is_reported_in_the_words_of_anthropic() {
    for (message, expected) in [
        ("maximum context length is 9 tokens", "prompt is too long: maximum context length is 9 tokens"),
        ("Prompt is too long: 10 > 9", "Prompt is too long: 10 > 9"),
    ] {
        let body = json!({"error": {"message": message, "code": "context_length_exceeded"}}).to_string();
        let translated = error(for_messages(), 400, body.as_bytes());
        let expected = json!({"type": "invalid_request_error", "message": expected});
        assert_eq!(translated["error"], expected);
    }
}

#[test]
fn an_error_body_without_a_message_gets_a_generated_message() {
    for body in [&b"<html>secret</html>"[..], b"", b"{\"err", b"\xff\xfe"] {
        let translated = error(for_chat(), 502, body);
        assert_eq!(translated["error"]["type"], "server_error");
        assert_eq!(translated["error"]["message"], "provider failed: E3001 server_error");
    }
}

#[test]
fn an_error_event_is_written_once_and_nothing_after_it() {
    let text = stream(for_chat(), &fixture("streams/anthropic_error_midway.sse"), &[]);
    let events = json_events(&text);
    assert_eq!(events.last().unwrap()["error"]["type"], "server_error", "{text}");
    assert!(!text.contains("[DONE]"), "{text}");

    let bytes = [fixture("streams/openai_error_midway.sse"), fixture("streams/openai_plain.sse")].concat();
    let text = stream(for_messages(), &bytes, &[]);
    assert!(text.contains("event: error\ndata: {"), "{text}");
    assert_eq!(json_events(&text).last().unwrap()["type"], "error", "{text}");
}
