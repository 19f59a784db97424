//! One stream made of two, of any bytes: the first passes as it came, and both are the same however they are cut.
//!
//! An input: eight lengths of pieces, where the first stream ends, and both of them.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use tidegate_core::{StreamContinuator, StreamSplicer};
use tidegate_providers::continuation::StreamContinuation;

const ASKED: &[u8] = br#"{"max_tokens":9,"stream":true,"messages":[{"role":"user","content":"q"}]}"#;

fn splice() -> Box<dyn StreamSplicer> {
    let head =
        http::Response::builder().header("content-type", "text/event-stream").body(()).expect("a head");
    StreamContinuation.follow(&head.into_parts().0).expect("a stream")
}

/// In pieces of these lengths, taken by turns.
fn pieces<'a>(mut bytes: &'a [u8], lengths: &'a [u8]) -> impl Iterator<Item = Bytes> + 'a {
    let mut lengths = lengths.iter().cycle();
    std::iter::from_fn(move || {
        let length = bytes.len().min(usize::from(*lengths.next()?).max(1));
        let (piece, rest) = bytes.split_at(length);
        bytes = rest;
        (!piece.is_empty()).then(|| Bytes::copy_from_slice(piece))
    })
}

/// All that is told, and whether the rest could be asked for.
fn told(first: &[u8], second: &[u8], lengths: &[u8]) -> (Vec<u8>, Option<Bytes>, bool) {
    let mut splice = splice();
    let mut out = Vec::new();
    for piece in pieces(first, lengths) {
        out.extend(splice.pass(&piece).expect("its own bytes"));
    }
    assert!(first.starts_with(&out), "not the bytes that came");
    let asked = splice.ask("mistral/m", ASKED);
    let mut is_fit = true;
    if asked.is_some() {
        out.extend(splice.go_on("mistral/m"));
        for piece in pieces(second, lengths) {
            let Ok(more) = splice.pass(&piece) else {
                is_fit = false;
                break;
            };
            out.extend(more);
        }
        out.extend(splice.finish());
        let _ = splice.ask("anthropic/claude-3", ASKED);
    } else {
        out.extend(splice.give_up());
        assert_eq!(out, first);
    }
    (out, asked, is_fit)
}

fuzz_target!(|input: &[u8]| {
    let Some((&[a, b, ref lengths @ ..], bytes)) = input.split_first_chunk::<10>() else { return };
    let (first, second) = bytes.split_at(bytes.len().min(u16::from_le_bytes([a, b]).into()));
    let (whole, asked, is_fit) = told(first, second, &[255]);
    let pieces = told(first, second, lengths);
    assert_eq!((&pieces.1, pieces.2), (&asked, is_fit), "in pieces of {lengths:?}");
    // What came before something unfit depends on the pieces.
    assert!(!is_fit || pieces.0 == whole, "in pieces of {lengths:?}");
});
