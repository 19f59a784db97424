//! Malformed and oversized streams.

use proptest::prelude::*;
use tidegate_core::{Scan, StreamState};
use tidegate_providers::Provider;
use tidegate_providers::stream::{Dialect, Scanner};

use crate::amazon;
use crate::fixture::{bytes, play};
use crate::table::STREAMS;

const LIMIT: usize = 256 * 1024;

const MAKERS: [fn(Provider) -> Scanner; 3] = [Scanner::sse, Scanner::json_array, Scanner::amazon];

const DIALECTS: [Dialect; 6] = [
    Dialect::Chat,
    Dialect::Responses,
    Dialect::Anthropic,
    Dialect::Gemini,
    Dialect::Cohere,
    Dialect::Converse,
];

/// An event with `padding` bytes of content, in each framing.
fn large(padding: usize) -> [(Scanner, Vec<u8>); 3] {
    let text = "x".repeat(padding);
    let chat = format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n");
    let gemini = format!(r#"[{{"candidates":[{{"content":{{"parts":[{{"text":"{text}"}}]}}}}]}}"#);
    let converse = format!(r#"{{"delta":{{"text":"{text}"}}}}"#);
    [
        (Scanner::sse(Provider::Other), chat.into_bytes()),
        (Scanner::json_array(Provider::Gemini), gemini.into_bytes()),
        (
            Scanner::amazon(Provider::Bedrock),
            amazon::message("event", ":event-type", "contentBlockDelta", converse.as_bytes()),
        ),
    ]
}

#[test]
fn an_event_above_the_limit_is_still_content() {
    for padding in [LIMIT - 200, LIMIT - 50, LIMIT - 20, LIMIT, LIMIT + 50, 3 * LIMIT] {
        for ((at_once, bytes), (in_pieces, _)) in large(padding).into_iter().zip(large(padding)) {
            let cuts: Vec<usize> = (0..bytes.len()).step_by(4099).collect();
            let (at_once, progress) = play(at_once, &bytes, &[]);
            assert_eq!(
                (progress.events, progress.tokens, at_once.state().has_started),
                (1, 1, true),
                "{padding}"
            );
            let (in_pieces, pieces) = play(in_pieces, &bytes, &cuts);
            assert_eq!((pieces, in_pieces.state()), (progress, at_once.state()), "{padding}");
        }
    }
}

/// Bytes beyond the limit are not read, regardless of the chunking.
#[test]
fn the_limit_does_not_depend_on_the_chunks() {
    let usage = r#""usage":{"prompt_tokens":7}"#;
    for padding in (LIMIT - 100..LIMIT).step_by(7) {
        let text = "x".repeat(padding);
        let bytes = format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{text}\"}}}}],{usage}}}\n\n");
        let make = || Scanner::sse(Provider::Other).with_dialect(Dialect::Chat);
        let ((at_once, _), (in_two, _)) =
            (play(make(), bytes.as_bytes(), &[]), play(make(), bytes.as_bytes(), &[padding / 2]));
        assert_eq!(at_once.state(), in_two.state(), "{padding}");
        assert!(at_once.state().has_started);
    }
}

#[test]
fn an_event_after_a_large_one_is_read() {
    let mut scanner = Scanner::sse(Provider::Other);
    let [(_, large), ..] = large(3 * LIMIT);
    for piece in large.chunks(1000) {
        scanner.push(piece);
    }
    scanner.push(b"data: [DONE]\n\n");
    assert!(scanner.state().has_finished);
}

/// A line without an end, an element without an end, and the longest message that is possible.
#[test]
fn an_endless_event_changes_no_state() {
    let begin: [&[u8]; 3] = [b"data: ", b"[{\"a\":\"", b"\x02\0\0\0\0\0\0\0\0\0\0\0"];
    for (maker, begin) in MAKERS.into_iter().zip(begin) {
        let mut scanner = maker(Provider::Other);
        scanner.push(begin);
        for _ in 0..31 * 1024 / 64 {
            assert_eq!(scanner.push(&[b'x'; 64 * 1024]).events, 0);
        }
        assert_eq!(*scanner.state(), StreamState::default());
    }
}

#[test]
fn an_impossible_length_ends_the_scan() {
    let good = amazon::message("event", ":event-type", "contentBlockDelta", br#"{"delta":{"text":"x"}}"#);
    for prelude in [[0; 12], [255; 12], *b"\0\0\0\x10\0\0\0\x01\0\0\0\0", *b"<html>502 ba"] {
        let mut scanner = Scanner::amazon(Provider::Bedrock);
        assert_eq!(scanner.push(&prelude).events + scanner.push(&good).events, 0);
        scanner.finish();
        assert_eq!(*scanner.state(), StreamState::default());
    }
}

#[test]
fn a_body_that_is_not_a_stream_is_not_finished() {
    for body in
        [&b""[..], b"\n\n\n", b"<html>502 bad gateway</html>", b": hello\n\n", b"{\"choices\":[]}", b"[]"]
    {
        for maker in MAKERS {
            let (scanner, _) = play(maker(Provider::Other), body, &[]);
            assert!(!scanner.state().has_finished && !scanner.state().has_started);
        }
    }
}

/// The bytes are generated content.
#[test]
fn debug_does_not_show_content() {
    let mut scanner = Scanner::sse(Provider::Other);
    scanner.push(b"data: {\"choices\":[{\"delta\":{\"content\":\"secret\"}}]}\n\ndata: secret");
    assert!(!format!("{scanner:?}").contains("secret"));
}

/// Random bytes, random text in the shape of events, and streams of which a part is overwritten.
fn any_stream() -> impl Strategy<Value = Vec<u8>> {
    let fixture = (prop::sample::select(STREAMS), any::<prop::sample::Index>(), "[ -~é\n]{0,12}");
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..300),
        "((data|event|:)[: ]{0,2}[\\[\\]{}\",:a-z0-9\\\\ ]{0,60}[\r\n]{1,2}){0,8}"
            .prop_map(String::into_bytes),
        "[\\[\\]{}\",:a-z0-9\\\\ ]{0,300}".prop_map(String::into_bytes),
        fixture.prop_map(|(row, at, noise)| {
            let mut body = bytes(row.0);
            let at = at.index(body.len());
            let end = (at + noise.len()).min(body.len());
            body.splice(at..end, noise.bytes());
            body
        }),
    ]
}

proptest! {
    #[test]
    fn no_bytes_panic_and_all_cuts_agree(
        bytes in any_stream(),
        at in any::<prop::sample::Index>(),
        maker in prop::sample::select(MAKERS.to_vec()),
        dialect in prop::option::of(prop::sample::select(DIALECTS.to_vec())),
    ) {
        let make = || {
            let scanner = maker(Provider::Other);
            match dialect {
                Some(dialect) => scanner.with_dialect(dialect),
                None => scanner,
            }
        };
        let (whole, progress) = play(make(), &bytes, &[]);
        let (cut, pieces) = play(make(), &bytes, &[at.index(bytes.len() + 1)]);
        prop_assert_eq!((whole.state(), progress), (cut.state(), pieces));
        prop_assert!(progress.tokens <= progress.events);
        prop_assert!(!(whole.state().has_finished && whole.state().failure.is_some()));
    }

    /// Generated text of any kind is one token, and does not affect the state of the stream.
    #[test]
    fn no_generated_text_changes_the_state(text in "(\"|\\\\|error|usage|finish_reason|delta|text|type|\\[DONE\\]|message_stop|[:{}\\[\\], \n]|é){1,12}") {
        let text = serde_json::to_string(&text).unwrap();
        let chat = format!(r#"{{"choices":[{{"delta":{{"content":{text}}},"finish_reason":null}}],"usage":null}}"#);
        let responses = format!(r#"{{"type":"response.output_text.delta","item_id":"m","delta":{text}}}"#);
        let anthropic = format!(r#"{{"type":"content_block_delta","index":0,"delta":{{"type":"text_delta","text":{text}}}}}"#);
        let gemini = format!(r#"{{"candidates":[{{"content":{{"parts":[{{"text":{text}}}]}}}}]}}"#);
        let cohere = format!(r#"{{"type":"content-delta","delta":{{"message":{{"content":{{"text":{text}}}}}}}}}"#);
        for event in [chat, responses, anthropic, gemini, cohere] {
            let mut scanner = Scanner::sse(Provider::Other);
            // The event is parsed in full before the start, and by the fast path after it.
            for _ in 0..2 {
                let progress = scanner.push(format!("data: {event}\n\n").as_bytes());
                prop_assert_eq!((progress.events, progress.tokens), (1, 1), "{}", event);
            }
            let expected = StreamState { has_started: true, ..StreamState::default() };
            prop_assert_eq!(scanner.state(), &expected, "{}", event);
        }
    }
}
