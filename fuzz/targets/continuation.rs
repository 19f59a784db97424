//! Splices two streams of arbitrary bytes into one. The first passes unchanged, and the output does not
//! depend on how the streams are split.
//!
//! Input: eight lengths of pieces, the length of the first stream, and both streams.

#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use tidegate_core::{StreamContinuator, StreamSplicer};
use tidegate_translate::StreamContinuation;

const REQUEST: &[u8] = br#"{"max_tokens":9,"stream":true,"messages":[{"role":"user","content":"q"}]}"#;

fn new_splicer() -> Box<dyn StreamSplicer> {
    let head =
        http::Response::builder().header("content-type", "text/event-stream").body(()).expect("a head");
    StreamContinuation.splicer(&head.into_parts().0).expect("a stream")
}

/// Splits the bytes into pieces of these lengths, used cyclically.
fn pieces<'a>(mut bytes: &'a [u8], lengths: &'a [u8]) -> impl Iterator<Item = Bytes> + 'a {
    let mut lengths = lengths.iter().cycle();
    std::iter::from_fn(move || {
        let length = bytes.len().min(usize::from(*lengths.next()?).max(1));
        let (piece, rest) = bytes.split_at(length);
        bytes = rest;
        (!piece.is_empty()).then(|| Bytes::copy_from_slice(piece))
    })
}

/// The output, the request for the rest if there is one, and whether the second stream fits.
fn splice(first: &[u8], second: &[u8], lengths: &[u8]) -> (Vec<u8>, Option<Bytes>, bool) {
    let mut splicer = new_splicer();
    let mut out = Vec::new();
    for piece in pieces(first, lengths) {
        out.extend(splicer.push(&piece).expect("bytes of one stream"));
    }
    assert!(first.starts_with(&out), "the first stream changed");
    let request = splicer.continuation_request("mistral/m", REQUEST);
    let mut fits = true;
    if request.is_some() {
        out.extend(splicer.switch_to("mistral/m"));
        for piece in pieces(second, lengths) {
            let Ok(more) = splicer.push(&piece) else {
                fits = false;
                break;
            };
            out.extend(more);
        }
        out.extend(splicer.finish());
        let _ = splicer.continuation_request("anthropic/claude-3", REQUEST);
    } else {
        out.extend(splicer.abandon());
        assert_eq!(out, first);
    }
    (out, request, fits)
}

fuzz_target!(|input: &[u8]| {
    let Some((&[a, b, ref lengths @ ..], bytes)) = input.split_first_chunk::<10>() else { return };
    let (first, second) = bytes.split_at(bytes.len().min(u16::from_le_bytes([a, b]).into()));
    let (whole, request, fits) = splice(first, second, &[255]);
    let pieces = splice(first, second, lengths);
    assert_eq!((&pieces.1, pieces.2), (&request, fits), "in pieces of {lengths:?}");
    // The output before a piece that does not fit depends on the pieces.
    assert!(!fits || pieces.0 == whole, "in pieces of {lengths:?}");
});
