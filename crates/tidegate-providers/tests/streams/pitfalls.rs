//! Faults of other systems in the handling of streams.

use http::Response;
use tidegate_core::{Classifier, Scan, ScanProgress, StopReason};
use tidegate_providers::stream::{Dialect, Scanner};
use tidegate_providers::{Provider, ProviderClassifier};

use crate::fixture::{bytes, play, scanner};
use crate::table::STREAMS;

// Pitfall P21 (docs/pitfalls.md).
/// A truncated stream ended as a complete 200.
#[test]
fn no_truncated_stream_has_finished() {
    for row in STREAMS {
        let bytes = bytes(row.0);
        // Unknown providers may omit the terminator.
        if !row.2 || row.0.starts_with("other_") {
            continue;
        }
        let mut scanner = scanner(row.0);
        let end = bytes.iter().position(|&byte| {
            scanner.push(&[byte]);
            scanner.state().has_finished
        });
        // Without a terminator only the end of the body completes the stream; with one the stream is not
        // finished before it.
        let Some(end) = end else { continue };
        for cut in 0..end {
            let (cut_off, _) = play(crate::fixture::scanner(row.0), &bytes[..cut], &[]);
            let rest = String::from_utf8_lossy(&bytes[cut..]);
            let is_only_the_empty_line = rest.trim_ascii().is_empty() || rest.starts_with(['\n', '\r']);
            assert!(!cut_off.state().has_finished || is_only_the_empty_line, "{} at {cut}", row.0);
        }
    }
    let finished = |fixture: &str| play(scanner(fixture), &bytes(fixture), &[]).0.state().has_finished;
    for row in STREAMS.iter().filter(|row| row.0.contains("truncated") || row.0.contains("_cut_")) {
        assert!(!finished(row.0), "{}", row.0);
    }
}

// Pitfall P21 (docs/pitfalls.md).
/// A finish reason is not the end: the usage comes after it.
#[test]
fn a_finish_reason_is_not_a_terminator() {
    let mut scanner = Scanner::sse(Provider::OpenAi);
    scanner.push(b"data: {\"choices\":[{\"delta\":{\"content\":\"x\"},\"finish_reason\":\"stop\"}]}\n\n");
    scanner.finish();
    assert!(!scanner.state().has_finished && scanner.state().stop.is_some());
}

/// Many servers with OpenAI's dialect never send `[DONE]`: each of their complete streams was reported as
/// truncated.
#[test]
fn a_stream_of_an_unknown_provider_may_end_with_a_finish_reason() {
    let mut scanner = Scanner::sse(Provider::Other);
    scanner.push(b"data: {\"choices\":[{\"delta\":{\"content\":\"x\"},\"finish_reason\":\"stop\"}]}\n\n");
    assert!(!scanner.state().has_finished);
    scanner.finish();
    assert!(scanner.state().has_finished);
}

/// The same in Anthropic's dialect: some servers end with the stop reason.
#[test]
fn a_stream_of_an_unknown_provider_may_end_with_a_stop_reason() {
    let whole = String::from_utf8(bytes("anthropic_plain.sse")).unwrap();
    let end = whole.find("event: message_stop").unwrap();
    let reason = whole.find("event: message_delta").unwrap();
    for (provider, end, is_complete) in [
        (Provider::Other, end, true),
        (Provider::Anthropic, end, false),
        (Provider::DeepSeek, end, false),
        (Provider::Other, reason, false),
    ] {
        let mut scanner = Scanner::sse(provider).for_answer();
        scanner.push(&whole.as_bytes()[..end]);
        assert!(!scanner.state().has_finished);
        scanner.finish();
        assert_eq!(scanner.state().has_finished, is_complete, "{provider}: {}", &whole[..end]);
    }
}

// Pitfall P21 (docs/pitfalls.md).
/// Google's streams have no terminator, so only the end of the body completes them.
#[test]
fn without_a_terminator_the_end_of_the_body_is_the_end() {
    let mut scanner = Scanner::sse(Provider::Gemini);
    scanner.push(&bytes("gemini_plain.sse"));
    assert!(!scanner.state().has_finished);
    scanner.finish();
    assert!(scanner.state().has_finished);
}

// Pitfall P22 (docs/pitfalls.md).
/// An error after the first event got no fallback, because the first event was treated as the first token.
#[test]
fn an_error_before_the_first_token_is_reported_before_the_start() {
    let rows = STREAMS.iter().filter(|row| row.0.contains("_first.") || row.0.contains("error_after_"));
    let mut seen = 0;
    for row in rows.filter(|row| row.3.is_some()) {
        let mut scanner = scanner(row.0);
        let bytes = bytes(row.0);
        for byte in &bytes {
            scanner.push(&[*byte]);
            assert!(!scanner.state().has_started, "{}", row.0);
        }
        scanner.finish();
        assert!(scanner.state().failure.is_some(), "{}", row.0);
        seen += usize::from(!row.1);
    }
    assert!(seen >= 12, "{seen}");
}

// Pitfall P22 (docs/pitfalls.md).
#[test]
fn nothing_after_a_failure_counts() {
    let mut scanner = Scanner::sse(Provider::OpenAi);
    let progress = scanner.push(
        b"data: {\"error\":{\"code\":\"insufficient_quota\"}}\n\ndata: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\n\
          data: {\"error\":{\"code\":\"server_error\"}}\n\ndata: [DONE]\n\n",
    );
    assert_eq!(progress, ScanProgress { events: 4, tokens: 0, comments: 0, ..ScanProgress::default() });
    let state = scanner.state();
    assert_eq!(state.failure.as_ref().map(|failure| failure.code.code()), Some("E2002"));
    assert!(!state.has_started && !state.has_finished);
}

// Pitfall P23 (docs/pitfalls.md).
/// Pings reset the stall timer, or were swallowed, so that a thinking model looked dead.
#[test]
fn a_ping_is_an_event_but_not_a_token() {
    for ping in [
        ": keep-alive\n\n",
        ": OPENROUTER PROCESSING\n\n",
        ":\n",
        "event: keepalive\n\n",
        "event: keepalive\ndata: {}\n\n",
        "event: ping\ndata: {\"type\": \"ping\"}\n\n",
        "data: {\"type\":\"ping\"}\n\n",
    ] {
        for dialect in [None, Some(Dialect::Chat), Some(Dialect::Anthropic)] {
            let mut scanner = Scanner::sse(Provider::Other);
            if let Some(dialect) = dialect {
                scanner = scanner.with_dialect(dialect);
            }
            let comments = u32::from(!ping.contains("data"));
            let expected = ScanProgress { events: 1, tokens: 0, comments, ..ScanProgress::default() };
            assert_eq!(scanner.push(ping.as_bytes()), expected, "{ping:?}");
            assert_eq!(scanner.dialect(), dialect, "{ping:?}");
            assert!(!scanner.state().has_started, "{ping:?}");
        }
    }
}

#[test]
fn the_head_determines_whether_the_body_is_scanned() {
    let is_read = |status: u16, headers: &[(&str, &str)]| {
        let mut head = Response::builder().status(status);
        for &(name, value) in headers {
            head = head.header(name, value);
        }
        ProviderClassifier::default().scan(&head.body(()).unwrap().into_parts().0).is_some()
    };
    for (media, expected) in [
        ("text/event-stream", true),
        ("Text/Event-Stream; charset=utf-8", true),
        ("application/vnd.amazon.eventstream", true),
        ("application/json", false),
        ("text/plain", false),
        ("text/event-streams", false),
        ("", false),
    ] {
        assert_eq!(is_read(200, &[("content-type", media)]), expected, "{media}");
        assert!(!is_read(503, &[("content-type", media)]), "{media}");
    }
    let stream = ("content-type", "text/event-stream");
    assert!(!is_read(200, &[]));
    assert!(!is_read(200, &[stream, ("content-encoding", "gzip")]));
    assert!(is_read(200, &[stream, ("content-encoding", "identity")]));
}

#[test]
fn the_dialect_is_recognised_from_the_stream() {
    let dialect = |fixture: &str| play(scanner(fixture), &bytes(fixture), &[]).0.dialect();
    for (fixture, expected) in [
        ("openai_plain.sse", Some(Dialect::Chat)),
        ("azure_plain.sse", Some(Dialect::Chat)),
        ("openai_responses_plain.sse", Some(Dialect::Responses)),
        ("deepseek_anthropic_plain.sse", Some(Dialect::Anthropic)),
        ("anthropic_without_names.sse", Some(Dialect::Anthropic)),
        ("gemini_plain.sse", Some(Dialect::Gemini)),
        ("gemini_array_plain.json", Some(Dialect::Gemini)),
        ("gemini_blocked_prompt.sse", Some(Dialect::Gemini)),
        ("cohere_plain.sse", Some(Dialect::Cohere)),
        ("bedrock_plain.events", Some(Dialect::Converse)),
        ("bedrock_invoke_plain.events", Some(Dialect::Anthropic)),
        ("bedrock_invoke_unknown_dialect.events", None),
        ("other_unknown_dialect.sse", None),
    ] {
        assert_eq!(dialect(fixture), expected, "{fixture}");
    }
}

/// The handling of an account depends on the error code in an event, as it does on that of a response.
#[test]
fn a_failure_carries_the_code_of_the_provider() {
    let code = |fixture: &str| {
        let (scanner, _) = play(scanner(fixture), &bytes(fixture), &[]);
        scanner
            .state()
            .failure
            .as_ref()
            .and_then(|failure| failure.provider_code.as_deref().map(str::to_owned))
    };
    for (fixture, expected) in [
        ("openai_error_midway.sse", "server_is_overloaded"),
        ("anthropic_error_first.sse", "overloaded_error"),
        ("openai_responses_failed_first.sse", "rate_limit_exceeded"),
        ("gemini_error_midway.sse", "RESOURCE_EXHAUSTED"),
        ("gemini_error_outside_of_events.sse", "RESOURCE_EXHAUSTED"),
        ("deepseek_no_resource.sse", "insufficient_system_resource"),
        ("bedrock_error_midway.events", "modelStreamErrorException"),
        ("cohere_error_midway.sse", "TIMEOUT"),
    ] {
        assert_eq!(code(fixture).as_deref(), Some(expected), "{fixture}");
    }
}

fn chat_end(reason: &str) -> String {
    format!(r#"{{"choices":[{{"index":0,"delta":{{}},"finish_reason":"{reason}"}}]}}"#)
}

/// A failure that only a stop reason reports was the clean end of an empty or half an answer.
#[test]
fn a_stop_reason_may_report_a_failure() {
    let text = r#"{"choices":[{"index":0,"delta":{"content":"x"}}]}"#;
    let google_text = r#"{"candidates":[{"content":{"parts":[{"text":"x"}]}}]}"#;
    let google_end = |reason| format!(r#"{{"candidates":[{{"content":{{}},"finishReason":"{reason}"}}]}}"#);
    for (dialect, text, end, reason) in [
        (Dialect::Chat, text, chat_end("network_error"), "network_error"),
        (Dialect::Chat, text, chat_end("network-error"), "network_error"),
        (Dialect::Chat, text, chat_end("malformed_function_call"), "malformed_function_call"),
        (
            Dialect::Chat,
            text,
            chat_end("function_call_filter: MALFORMED_FUNCTION_CALL"),
            "MALFORMED_FUNCTION_CALL",
        ),
        (Dialect::Chat, text, chat_end("UNEXPECTED_TOOL_CALL"), "UNEXPECTED_TOOL_CALL"),
        (Dialect::Gemini, google_text, google_end("MALFORMED_FUNCTION_CALL"), "MALFORMED_FUNCTION_CALL"),
        (Dialect::Gemini, google_text, google_end("MALFORMED_RESPONSE"), "MALFORMED_RESPONSE"),
        (Dialect::Gemini, google_text, google_end("UNEXPECTED_TOOL_CALL"), "UNEXPECTED_TOOL_CALL"),
    ] {
        for has_started in [false, true] {
            let mut scanner = Scanner::sse(Provider::Other).for_answer();
            if has_started {
                scanner.push(format!("data: {text}\n\n").as_bytes());
            }
            scanner.push(format!("data: {end}\n\ndata: [DONE]\n\n").as_bytes());
            scanner.finish();
            let state = scanner.state();
            let failure = state.failure.as_ref().expect(reason);
            assert_eq!((failure.code.code(), failure.provider_code.as_deref()), ("E3001", Some(reason)));
            assert_eq!((scanner.dialect(), state.has_started), (Some(dialect), has_started), "{end}");
            assert!(!state.has_finished, "{end}");
        }
    }
}

/// A content filter or a full context under a name that one provider has for it was any other stop.
#[test]
fn a_stop_reason_is_known_under_each_of_its_names() {
    for (reason, stop) in [
        ("sensitive", StopReason::ContentFilter),
        ("content_filter: PROHIBITED_CONTENT", StopReason::ContentFilter),
        ("SAFETY", StopReason::ContentFilter),
        ("RECITATION", StopReason::ContentFilter),
        ("MODEL_ARMOR", StopReason::ContentFilter),
        ("MAX_TOKENS", StopReason::Length),
        ("model_context_window_exceeded", StopReason::Length),
        ("content_filters", StopReason::Other),
        ("OTHER", StopReason::Other),
    ] {
        let mut scanner = Scanner::sse(Provider::Other).for_answer();
        scanner.push(format!("data: {}\n\n", chat_end(reason)).as_bytes());
        assert_eq!(scanner.state().stop, Some(stop), "{reason}");
        assert!(scanner.state().failure.is_none(), "{reason}");
    }
}

/// OpenRouter puts its error into the choice. Its code was lost, and a rate limit was treated as a server
/// error.
#[test]
fn an_error_inside_of_a_choice_keeps_its_code() {
    let mut scanner = Scanner::sse(Provider::OpenRouter);
    scanner.push(
        b"data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"error\",\"error\":{\"code\":429,\"message\":\"slow down\"}}]}\n\n",
    );
    assert_eq!(scanner.state().failure.as_ref().map(|failure| failure.code.code()), Some("E2001"));
}

/// Reasoning under an unknown field name did not count as progress, and healthy thinking was cut short.
#[test]
fn reasoning_is_content_under_each_of_its_names() {
    for name in ["reasoning", "reasoning_content", "reasoning_text", "thinking"] {
        let mut scanner = Scanner::sse(Provider::Other);
        scanner.push(format!("data: {{\"choices\":[{{\"delta\":{{\"{name}\":\"hm\"}}}}]}}\n\n").as_bytes());
        assert!(scanner.state().has_started, "{name}");
    }
}

/// An event named `metadata` in a stream of server-sent events selected the Converse dialect and ended the
/// stream.
#[test]
fn a_metadata_event_alone_does_not_determine_the_dialect() {
    let mut scanner = Scanner::sse(Provider::Other);
    scanner.push(b"event: metadata\ndata: {\"run_id\":\"1\"}\n\n");
    assert!(scanner.dialect().is_none() && !scanner.state().has_finished);
}
