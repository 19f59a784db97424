//! What others get wrong about streams.

use http::Response;
use tidegate_core::{Classifier, Scan, ScanProgress};
use tidegate_providers::stream::{Dialect, Scanner};
use tidegate_providers::{Provider, ProviderClassifier};

use crate::fixture::{bytes, play, scanner};
use crate::table::STREAMS;

/// A stream that was cut ended as a clean 200.
#[test]
fn p21_no_stream_that_was_cut_has_finished() {
    for row in STREAMS {
        let bytes = bytes(row.0);
        // A stranger may leave its terminator out.
        if !row.2 || row.0.starts_with("other_") {
            continue;
        }
        let mut scanner = scanner(row.0);
        let end = bytes.iter().position(|&byte| {
            scanner.push(&[byte]);
            scanner.state().has_finished
        });
        // Without a marker, only the end of the body can tell; those who have one are not finished before it.
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

/// A finish reason is not the end: the usage comes after it.
#[test]
fn p21_a_finish_reason_is_no_terminator() {
    let mut scanner = Scanner::sse(Provider::OpenAi);
    scanner.push(b"data: {\"choices\":[{\"delta\":{\"content\":\"x\"},\"finish_reason\":\"stop\"}]}\n\n");
    scanner.finish();
    assert!(!scanner.state().has_finished && scanner.state().stop.is_some());
}

/// Many a server that speaks OpenAI's dialect never sends `[DONE]`: each of its healthy streams was called broken.
#[test]
fn a_stranger_may_end_with_a_finish_reason() {
    let mut scanner = Scanner::sse(Provider::Other);
    scanner.push(b"data: {\"choices\":[{\"delta\":{\"content\":\"x\"},\"finish_reason\":\"stop\"}]}\n\n");
    assert!(!scanner.state().has_finished);
    scanner.finish();
    assert!(scanner.state().has_finished);
}

/// Google's streams have no marker, so nothing but the end of the body tells.
#[test]
fn p21_without_a_marker_the_end_of_the_body_is_the_end() {
    let mut scanner = Scanner::sse(Provider::Gemini);
    scanner.push(&bytes("gemini_plain.sse"));
    assert!(!scanner.state().has_finished);
    scanner.finish();
    assert!(scanner.state().has_finished);
}

/// An error after the first event got no fallback, for the first event was taken for the first token.
#[test]
fn p22_an_error_before_the_first_token_is_told_before_the_start() {
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

#[test]
fn p22_nothing_after_a_failure_counts() {
    let mut scanner = Scanner::sse(Provider::OpenAi);
    let progress = scanner.push(
        b"data: {\"error\":{\"code\":\"insufficient_quota\"}}\n\ndata: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\n\
          data: {\"error\":{\"code\":\"server_error\"}}\n\ndata: [DONE]\n\n",
    );
    assert_eq!(progress, ScanProgress { events: 4, tokens: 0 });
    let state = scanner.state();
    assert_eq!(state.failure.as_ref().map(|failure| failure.code.code()), Some("E2002"));
    assert!(!state.has_started && !state.has_finished);
}

/// Pings reset the clock of a stalled answer, or were swallowed, so that a thinking model looked dead.
#[test]
fn p23_a_ping_is_an_event_and_no_token() {
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
            assert_eq!(scanner.push(ping.as_bytes()), ScanProgress { events: 1, tokens: 0 }, "{ping:?}");
            assert_eq!(scanner.dialect(), dialect, "{ping:?}");
            assert!(!scanner.state().has_started, "{ping:?}");
        }
    }
}

#[test]
fn the_head_tells_who_reads_the_body() {
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
fn the_dialect_is_told_by_the_stream() {
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

/// What an account may do next depends on the words of the event, as it does on those of an answer.
#[test]
fn the_code_of_a_failure_comes_with_the_words_of_the_provider() {
    let word = |fixture: &str| {
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
        ("deepseek_no_resource.sse", "insufficient_system_resource"),
        ("bedrock_error_midway.events", "modelStreamErrorException"),
        ("cohere_error_midway.sse", "TIMEOUT"),
    ] {
        assert_eq!(word(fixture).as_deref(), Some(expected), "{fixture}");
    }
}

/// OpenRouter puts its error into the choice; its code was lost, and a limit was taken for a broken server.
#[test]
fn an_error_inside_of_a_choice_keeps_its_code() {
    let mut scanner = Scanner::sse(Provider::OpenRouter);
    scanner.push(
        b"data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"error\",\"error\":{\"code\":429,\"message\":\"slow down\"}}]}\n\n",
    );
    assert_eq!(scanner.state().failure.as_ref().map(|failure| failure.code.code()), Some("E2001"));
}

/// Reasoning under a name that was not known was no sign of life, and healthy thinking was cut short.
#[test]
fn reasoning_is_content_under_each_of_its_names() {
    for name in ["reasoning", "reasoning_content", "reasoning_text", "thinking"] {
        let mut scanner = Scanner::sse(Provider::Other);
        scanner.push(format!("data: {{\"choices\":[{{\"delta\":{{\"{name}\":\"hm\"}}}}]}}\n\n").as_bytes());
        assert!(scanner.state().has_started, "{name}");
    }
}

/// An event named `metadata` made a stream of server-sent events Amazon's, and finished.
#[test]
fn metadata_alone_says_nothing_about_the_dialect() {
    let mut scanner = Scanner::sse(Provider::Other);
    scanner.push(b"event: metadata\ndata: {\"run_id\":\"1\"}\n\n");
    assert!(scanner.dialect().is_none() && !scanner.state().has_finished);
}
