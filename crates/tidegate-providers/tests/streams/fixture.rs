//! The streams in `fixtures/streams`, as bytes and with the scanner that matches their head.

use std::path::{Path, PathBuf};

use tidegate_core::{Scan, ScanProgress};
use tidegate_providers::Provider;
use tidegate_providers::stream::Scanner;

use crate::amazon;

pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/streams")
}

pub(crate) fn provider(fixture: &str) -> Provider {
    Provider::named(fixture.split('_').next().unwrap())
}

pub(crate) fn bytes(fixture: &str) -> Vec<u8> {
    let bytes = std::fs::read(folder().join(fixture)).unwrap_or_else(|error| panic!("{fixture}: {error}"));
    if fixture.ends_with(".events") { amazon::stream(&String::from_utf8(bytes).unwrap()) } else { bytes }
}

pub(crate) fn scanner(fixture: &str) -> Scanner {
    match fixture.rsplit('.').next() {
        Some("sse") => Scanner::sse(provider(fixture)),
        Some("json") => Scanner::json_array(provider(fixture)),
        Some("events") => Scanner::amazon(provider(fixture)),
        other => panic!("{other:?}"),
    }
}

pub(crate) fn sum(progress: impl IntoIterator<Item = ScanProgress>) -> ScanProgress {
    progress.into_iter().fold(ScanProgress::default(), |sum, progress| ScanProgress {
        events: sum.events + progress.events,
        tokens: sum.tokens + progress.tokens,
        surplus_tokens: sum.surplus_tokens + progress.surplus_tokens,
        comments: sum.comments + progress.comments,
    })
}

/// Scans the whole stream in the chunks that end at `cuts`.
pub(crate) fn play(mut scanner: Scanner, bytes: &[u8], cuts: &[usize]) -> (Scanner, ScanProgress) {
    let (mut progress, mut start) = (Vec::new(), 0);
    for &cut in cuts.iter().chain([&bytes.len()]) {
        progress.push(scanner.push(&bytes[start..cut]));
        start = cut;
    }
    progress.push(scanner.finish());
    (scanner, sum(progress))
}
