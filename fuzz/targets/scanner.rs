//! The result of a scan does not depend on how the bytes are split.
//!
//! Input: the framing of events, the provider, the dialect, eight lengths of pieces, and the stream.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tidegate_core::{Scan, ScanProgress, StreamState};
use tidegate_fuzz::{check, provider};
use tidegate_providers::stream::{Dialect, Scanner};

#[path = "../../crates/tidegate-providers/tests/streams/amazon.rs"]
mod amazon;

const DIALECTS: [Option<Dialect>; 7] = [
    None,
    Some(Dialect::Chat),
    Some(Dialect::Responses),
    Some(Dialect::Anthropic),
    Some(Dialect::Gemini),
    Some(Dialect::Cohere),
    Some(Dialect::Converse),
];

struct Settings {
    framing: u8,
    provider: u8,
    dialect: u8,
}

impl Settings {
    fn scanner(&self) -> Scanner {
        let provider = provider(self.provider);
        let scanner = match self.framing % 5 {
            0 => Scanner::sse(provider),
            1 => Scanner::json_array(provider),
            4 => Scanner::json(provider),
            _ => Scanner::amazon(provider),
        };
        match DIALECTS[usize::from(self.dialect) % DIALECTS.len()] {
            Some(dialect) => scanner.with_dialect(dialect),
            None => scanner,
        }
    }

    /// The bytes of the stream: the input itself, or the binary events that its lines describe.
    fn stream(&self, bytes: &[u8]) -> Vec<u8> {
        if self.framing % 5 != 3 {
            return bytes.to_vec();
        }
        let text = String::from_utf8_lossy(bytes);
        let events = text.lines().filter(|line| line.find(' ').is_some_and(|name| name > 0));
        amazon::stream(&events.collect::<Vec<_>>().join("\n"))
    }
}

/// Scans a stream in pieces of these lengths, used cyclically. Without lengths the stream is one piece.
fn outcome(mut scanner: Scanner, mut bytes: &[u8], lengths: &[u8]) -> (StreamState, ScanProgress) {
    let mut sum = ScanProgress::default();
    let mut add = |progress: ScanProgress| {
        sum.events += progress.events;
        sum.tokens += progress.tokens;
        sum.comments += progress.comments;
    };
    for &length in lengths.iter().cycle() {
        if bytes.is_empty() {
            break;
        }
        let (piece, rest) = bytes.split_at(bytes.len().min(length.into()));
        add(scanner.push(piece));
        bytes = rest;
    }
    add(scanner.push(bytes));
    add(scanner.finish());
    (scanner.state().clone(), sum)
}

fuzz_target!(|input: &[u8]| {
    let Some((&[framing, provider, dialect, ref lengths @ ..], bytes)) = input.split_first_chunk::<11>()
    else {
        return;
    };
    let settings = Settings { framing, provider, dialect };
    let stream = settings.stream(bytes);
    let whole = outcome(settings.scanner(), &stream, &[]);
    // Pieces may be empty, but with empty pieces only the loop would not end.
    if lengths.iter().any(|&length| length > 0) {
        let (state, progress) = outcome(settings.scanner(), &stream, lengths);
        assert_eq!(state, whole.0, "in pieces of {lengths:?}");
        // For JSON that is not an array each piece counts.
        assert!(settings.framing % 5 == 4 || progress == whole.1, "{progress:?} in pieces of {lengths:?}");
    }
    let (state, progress) = whole;
    assert!(progress.tokens <= progress.events, "{progress:?}");
    assert_eq!(state.has_started, progress.tokens > 0, "{state:?} {progress:?}");
    assert!(!(state.has_finished && state.failure.is_some()), "{state:?}");
    if let Some(failure) = &state.failure {
        check(failure);
    }
});
