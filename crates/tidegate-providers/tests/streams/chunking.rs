//! The same bytes give the same result, in any chunks.

use proptest::prelude::*;
use tidegate_core::{Scan, ScanProgress, StreamState};
use tidegate_providers::stream::{Scanner, SseFramer};

use crate::fixture::{bytes, play, scanner};
use crate::table::STREAMS;

/// The final state of a scan, and the total of its progress.
fn outcome(scanner: Scanner, bytes: &[u8], cuts: &[usize]) -> (StreamState, ScanProgress) {
    let (scanner, progress) = play(scanner, bytes, cuts);
    (scanner.state().clone(), progress)
}

/// The number of bytes before the one that starts the response.
fn start(mut scanner: Scanner, bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|&byte| {
        scanner.push(&[byte]);
        scanner.state().has_started
    })
}

fn cuts(length: usize) -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(0..=length, 0..12).prop_map(|mut cuts| {
        cuts.sort_unstable();
        cuts
    })
}

#[test]
fn single_bytes_give_the_same_result_as_one_chunk() {
    for row in STREAMS {
        let bytes = bytes(row.0);
        let each: Vec<usize> = (0..bytes.len()).collect();
        assert_eq!(outcome(scanner(row.0), &bytes, &each), outcome(scanner(row.0), &bytes, &[]), "{}", row.0);
    }
}

#[test]
fn two_chunks_give_the_same_result_as_one() {
    for row in STREAMS {
        let bytes = bytes(row.0);
        let whole = outcome(scanner(row.0), &bytes, &[]);
        for cut in 0..bytes.len() {
            assert_eq!(outcome(scanner(row.0), &bytes, &[cut]), whole, "{} at {cut}", row.0);
        }
    }
}

#[test]
fn starts_at_the_same_byte_however_it_is_cut() {
    for row in STREAMS {
        let bytes = bytes(row.0);
        let Some(start) = start(scanner(row.0), &bytes) else { continue };
        for (end, has_started) in [(start, false), (start + 1, true)] {
            let mut scanner = scanner(row.0);
            scanner.push(&bytes[..end]);
            assert_eq!(scanner.state().has_started, has_started, "{} at {end}", row.0);
        }
    }
}

/// Every stream with each kind of line end.
#[test]
fn every_kind_of_line_end_gives_the_same_result() {
    for row in STREAMS.iter().filter(|row| row.0.ends_with(".sse")) {
        let text = String::from_utf8(bytes(row.0)).unwrap();
        if text.contains('\r') {
            continue;
        }
        let whole = outcome(scanner(row.0), text.as_bytes(), &[]);
        for end in ["\r", "\r\n"] {
            let text = text.replace('\n', end);
            let each: Vec<usize> = (0..text.len()).collect();
            assert_eq!(outcome(scanner(row.0), text.as_bytes(), &[]), whole, "{} {end:?}", row.0);
            assert_eq!(outcome(scanner(row.0), text.as_bytes(), &each), whole, "{} {end:?}", row.0);
        }
    }
}

/// The events that a framer emits for `bytes`.
fn events(bytes: &[u8], cuts: &[usize]) -> Vec<(String, Vec<u8>)> {
    let (mut framer, mut events, mut start) = (SseFramer::new(), Vec::new(), 0);
    for &cut in cuts.iter().chain([&bytes.len()]) {
        framer.push(&bytes[start..cut], |event| events.push((event.name.to_owned(), event.data.to_vec())));
        start = cut;
    }
    framer.finish(|event| events.push((event.name.to_owned(), event.data.to_vec())));
    events
}

#[test]
fn frames_events_as_the_standard_does() {
    let event = |name: &str, data: &str| (name.to_owned(), data.as_bytes().to_vec());
    for (text, expected) in [
        ("data: a\n\n", vec![event("", "a")]),
        ("data:a\n\ndata:  b\n\n", vec![event("", "a"), event("", " b")]),
        ("data: a\ndata: b\ndata:\n\n", vec![event("", "a\nb\n")]),
        ("data\n\n", vec![event("", "")]),
        ("data\ndata\n\n", vec![event("", "\n")]),
        ("event: x\ndata: a\n\ndata: b\n\n", vec![event("x", "a"), event("", "b")]),
        ("data: a\nevent: x\nevent: y\n\n", vec![event("y", "a")]),
        ("event: x\n\n", vec![event("x", "")]),
        (": c\n\n:\n", vec![event("", ""), event("", "")]),
        ("data: a\n: c\ndata: b\n\n", vec![event("", ""), event("", "a\nb")]),
        ("id: 1\nretry: 7\nother: x\n\n\n\n", vec![]),
        ("\u{feff}data: a\n\n\u{feff}data: b\n\n", vec![event("", "a")]),
        ("data: a\r\rdata: b\r\n\r\ndata: c\n\r\n", vec![event("", "a"), event("", "b"), event("", "c")]),
        ("data: a:b\u{feff}\n\n", vec![event("", "a:b\u{feff}")]),
        ("data: a", vec![event("", "a")]),
        ("data: a\n", vec![event("", "a")]),
        ("", vec![]),
    ] {
        let each: Vec<usize> = (0..text.len()).collect();
        assert_eq!(events(text.as_bytes(), &[]), expected, "{text:?}");
        assert_eq!(events(text.as_bytes(), &each), expected, "{text:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_chunks_give_the_same_result_as_one(
        (index, cuts) in (0..STREAMS.len()).prop_flat_map(|index| (Just(index), cuts(bytes(STREAMS[index].0).len()))),
    ) {
        let fixture = STREAMS[index].0;
        let bytes = bytes(fixture);
        prop_assert_eq!(outcome(scanner(fixture), &bytes, &cuts), outcome(scanner(fixture), &bytes, &[]));
    }

    #[test]
    fn any_lines_are_framed_alike_in_any_chunks(
        (text, cuts) in "(data|event|id|x|[{]\"error\":1[}]|[{])?(:| |:: |a|\u{feff}|\r|\n|\r\n|\n\n){0,40}"
            .prop_flat_map(|text| { let length = text.len(); (Just(text), cuts(length)) }),
    ) {
        prop_assert_eq!(events(text.as_bytes(), &cuts), events(text.as_bytes(), &[]));
    }
}
