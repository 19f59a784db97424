use std::fmt;
use std::time::SystemTime;

use http::HeaderMap;
use tidegate_core::{Failure, Scan, ScanProgress, StreamState, Usage};

use super::amazon::AmazonFramer;
use super::array::ArrayFramer;
use super::chat::DONE;
use super::dialect::{Dialect, DialectGuess};
use super::event::{Event, prefix};
use super::json_walk::walk;
use super::parsed_event::{EndSignal, ParsedEvent, StreamError};
use super::sse::SseFramer;
use crate::body_probe::{self, ProbeResult};
use crate::{Provider, ProviderClassifier};

/// Reads the stream of one answer: cuts it into events, and knows what they come to.
///
/// The dialect is recognised by the first event that belongs to one. A stream that belongs to none is let
/// through: whatever it carries is content, and its end is its end.
pub struct Scanner {
    framer: BodyFramer,
    reader: StreamReader,
}

enum BodyFramer {
    /// JSON of which no byte has come but, perhaps, the bracket of an array.
    Undecided {
        is_array: bool,
    },
    /// One JSON text: not for us, unless it is an error. The beginning of one that has not said yet.
    Json(Option<Vec<u8>>),
    Sse(SseFramer),
    Array(ArrayFramer),
    Amazon(AmazonFramer),
}

/// So much of one JSON text is read at the most: as much as of any error.
const MAX_BEGINNING: usize = 64 * 1024;

/// What is known of the stream so far.
struct StreamReader {
    classifier: ProviderClassifier,
    dialect: Option<Dialect>,
    /// The body may end here.
    may_end: bool,
    state: StreamState,
    progress: ScanProgress,
}

impl Scanner {
    /// For server-sent events: `text/event-stream`.
    #[must_use]
    pub fn sse(provider: Provider) -> Self {
        Self::new(provider, BodyFramer::Sse(SseFramer::new()))
    }

    /// For JSON that may be an array of objects sent one by one, which its first two characters tell. Anything else in
    /// JSON is let through as it comes: each piece of it is content, and its end is its end. A body without a byte is
    /// no JSON, and was cut.
    #[must_use]
    pub fn json(provider: Provider) -> Self {
        Self::new(provider, BodyFramer::Undecided { is_array: false })
    }

    /// For a JSON array that is sent element by element, as Google does without `alt=sse`.
    ///
    /// By its head such an answer looks like any other in JSON; [`json`](Self::json) is for those who did not ask
    /// for it themselves.
    #[must_use]
    pub fn json_array(provider: Provider) -> Self {
        Self::new(provider, BodyFramer::Array(ArrayFramer::default()))
    }

    /// For Amazon's binary events: `application/vnd.amazon.eventstream`.
    #[must_use]
    pub fn amazon(provider: Provider) -> Self {
        Self::new(provider, BodyFramer::Amazon(AmazonFramer::default()))
    }

    /// Settles the dialect from the start, where it is known.
    #[must_use]
    pub fn with_dialect(mut self, dialect: Dialect) -> Self {
        self.reader.dialect = Some(dialect);
        self
    }

    /// The dialect, once it is known.
    #[must_use]
    pub fn dialect(&self) -> Option<Dialect> {
        self.reader.dialect
    }

    fn new(provider: Provider, framer: BodyFramer) -> Self {
        let reader = StreamReader {
            classifier: ProviderClassifier::new(provider),
            dialect: None,
            may_end: false,
            state: StreamState::default(),
            progress: ScanProgress::default(),
        };
        Self { framer, reader }
    }

    /// Tells an array of objects from other JSON.
    fn decide(&mut self, bytes: &[u8]) {
        let BodyFramer::Undecided { is_array } = &mut self.framer else { return };
        for byte in bytes.iter().filter(|byte| !byte.is_ascii_whitespace()) {
            match (*is_array, byte) {
                (false, b'[') => *is_array = true,
                (true, b'{') => return self.framer = BodyFramer::Array(ArrayFramer::default()),
                (false, b'{') => return self.framer = BodyFramer::Json(Some(Vec::new())),
                _ => return self.framer = BodyFramer::Json(None),
            }
        }
    }
}

impl fmt::Debug for Scanner {
    /// Without the bytes it holds: they are what the model said.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scanner")
            .field("dialect", &self.reader.dialect)
            .field("state", &self.reader.state)
            .finish_non_exhaustive()
    }
}

impl Scan for Scanner {
    fn push(&mut self, bytes: &[u8]) -> ScanProgress {
        self.decide(bytes);
        let reader = &mut self.reader;
        match &mut self.framer {
            BodyFramer::Undecided { .. } => {}
            BodyFramer::Json(beginning) => reader.push_json(beginning, bytes),
            BodyFramer::Sse(framer) => framer.push(bytes, |event| reader.handle_event(event)),
            BodyFramer::Array(framer) => framer.push(bytes, |event| reader.handle_event(event)),
            BodyFramer::Amazon(framer) => framer.push(bytes, |event| reader.handle_event(event)),
        }
        std::mem::take(&mut reader.progress)
    }

    fn finish(&mut self) -> ScanProgress {
        let reader = &mut self.reader;
        if let BodyFramer::Json(Some(beginning)) = &self.framer {
            reader.finish_json(beginning);
        }
        if let BodyFramer::Sse(framer) = &mut self.framer {
            // The last event may lack its empty line. One that was cut in the middle is not an event.
            framer.finish(|event| {
                if is_whole(event.data) {
                    reader.handle_event(event);
                }
            });
        }
        // Nobody knows what an array of strangers means, but that it was cut.
        let is_cut =
            matches!(&self.framer, BodyFramer::Array(framer) if framer.is_within() && reader.dialect.is_none());
        if reader.may_end && !is_cut && reader.state.failure.is_none() {
            reader.state.has_finished = true;
        }
        std::mem::take(&mut reader.progress)
    }

    fn state(&self) -> &StreamState {
        &self.reader.state
    }
}

/// Whether the data of an event without an empty line after it is all of it.
pub(crate) fn is_whole(data: &[u8]) -> bool {
    data.trim_ascii() == DONE || walk(data, |_, _| {})
}

impl StreamReader {
    /// A piece of one JSON text. Nothing of it counts before it has said what it is.
    fn push_json(&mut self, beginning: &mut Option<Vec<u8>>, bytes: &[u8]) {
        if let Some(beginning) = beginning {
            beginning.extend_from_slice(prefix(bytes, MAX_BEGINNING - beginning.len()));
            match body_probe::read(beginning) {
                // Read to its end: the code may stand in any of it.
                ProbeResult::Error(_) => return,
                ProbeResult::Unclear if beginning.len() < MAX_BEGINNING => return,
                ProbeResult::Answer | ProbeResult::Unclear => {}
            }
        }
        *beginning = None;
        self.pass_through();
    }

    /// The end of a JSON text that was no answer up to then.
    fn finish_json(&mut self, beginning: &[u8]) {
        match body_probe::read(beginning) {
            ProbeResult::Error(error) => {
                let (headers, now) = (HeaderMap::new(), SystemTime::UNIX_EPOCH);
                let failure = self.classifier.failure_of_response(error, &headers, beginning, now);
                self.state.failure = Some(failure);
            }
            ProbeResult::Answer | ProbeResult::Unclear => self.pass_through(),
        }
    }

    /// A piece of something that is no stream of events.
    fn pass_through(&mut self) {
        self.progress.events = self.progress.events.saturating_add(1);
        self.progress.tokens = self.progress.tokens.saturating_add(1);
        self.state.has_started = true;
        self.may_end = true;
    }

    fn handle_event(&mut self, event: Event<'_>) {
        self.progress.events = self.progress.events.saturating_add(1);
        if self.state.failure.is_some() || (event.data.is_empty() && !event.is_error) {
            return;
        }
        if event.is_error {
            return self.fail(event, StreamError::Event);
        }
        let parsed = match self.dialect {
            // Until the first token every event is read in full.
            Some(dialect) if self.state.has_started && dialect.is_content_only(event.data) => ParsedEvent::token(),
            Some(dialect) => dialect.read(event),
            None => match DialectGuess::of(event) {
                DialectGuess::Known(dialect) => {
                    (self.dialect, self.may_end) = (Some(dialect), false);
                    dialect.read(event)
                }
                _ if self.classifier.failure_in(event.data).is_some() => {
                    return self.fail(event, StreamError::Event);
                }
                DialectGuess::Undecided => return,
                DialectGuess::Unknown => ParsedEvent { end: EndSignal::Allowed, ..ParsedEvent::token() },
            },
        };
        self.apply(event, parsed);
    }

    fn apply(&mut self, event: Event<'_>, parsed: ParsedEvent) {
        let usage = parsed.usage;
        if usage != Usage::default() {
            let known = self.state.usage.get_or_insert_default();
            known.input = usage.input.or(known.input);
            known.output = usage.output.or(known.output);
        }
        if let Some(error) = parsed.error {
            return self.fail(event, error);
        }
        self.state.stop = parsed.stop.or(self.state.stop);
        if parsed.is_token {
            self.progress.tokens = self.progress.tokens.saturating_add(1);
            self.state.has_started = true;
        }
        match parsed.end {
            EndSignal::None => {}
            // Who is known to send a terminator is held to it.
            EndSignal::Allowed if self.dialect == Some(Dialect::Chat) => {
                self.may_end = !self.classifier.provider().sends_done();
            }
            EndSignal::Allowed => self.may_end = true,
            EndSignal::Final => self.state.has_finished = true,
        }
    }

    /// What comes after the end is no failure of this answer.
    fn fail(&mut self, event: Event<'_>, error: StreamError) {
        if self.state.has_finished {
            return;
        }
        self.state.failure = Some(match error {
            StreamError::Event => {
                // Server-sent events call an error just that; Amazon says which.
                let name = Some(event.name).filter(|&name| event.is_error && name != "error");
                self.classifier.failure_of_event(name, event.data)
            }
            StreamError::StopReason(word, code) => Failure { provider_code: Some(word.into()), ..Failure::new(code) },
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn play(pieces: &[&[u8]]) -> (Scanner, Vec<ScanProgress>) {
        let mut scanner = Scanner::json(Provider::Gemini);
        let progress = pieces.iter().map(|piece| scanner.push(piece)).collect();
        scanner.finish();
        (scanner, progress)
    }

    const TOKEN: &[u8] = br#"{"candidates":[{"content":{"parts":[{"text":"The"}]}}]}"#;
    const LAST: &[u8] = br#"{"candidates":[{"finishReason":"STOP"}]}"#;

    #[test]
    fn json_that_begins_with_a_bracket_is_read_as_an_array_wherever_it_is_cut() {
        let whole = [b" \r\n[", TOKEN, b",\n", LAST, b"]"].concat();
        for cut in 0..whole.len() {
            let (scanner, progress) = play(&[&whole[..cut], &whole[cut..]]);
            let tokens: u32 = progress.iter().map(|progress| progress.tokens).sum();
            assert_eq!((tokens, scanner.dialect()), (1, Some(Dialect::Gemini)), "{cut}");
            assert!(scanner.state().has_started && scanner.state().has_finished, "{cut}");
        }
        let (cut, _) = play(&[b"[", TOKEN]);
        assert!(cut.state().has_started && !cut.state().has_finished);
        let (failed, _) = play(&[br#"[{"error":{"code":503,"status":"UNAVAILABLE"}}]"#]);
        assert!(failed.state().failure.is_some() && !failed.state().has_started);
    }

    #[test]
    fn any_other_json_is_let_through_piece_by_piece() {
        // Even if it looks like a cut: whoever reads the whole of it will see.
        let plain = [
            &br#"{"candidates":[{"content":{"parts":[{"text":"The first of them is the longest by far"}]}}]}"#[..],
            b"\"[\"",
            b"7",
            b"[]",
            b"[[0.1]]",
            b" [1, 2]",
            b"[\"{\"]",
        ];
        for plain in plain {
            let (first, rest) = plain.split_at(plain.len() / 2 + 1);
            let (scanner, progress) = play(&[first, rest]);
            assert_eq!(progress[0], ScanProgress { events: 1, tokens: 1 }, "{plain:?}");
            assert!(scanner.state().has_started && scanner.state().has_finished);
            assert!(scanner.state().failure.is_none() && scanner.dialect().is_none());
        }
    }

    #[test]
    fn an_error_in_one_piece_is_a_failure_wherever_it_is_cut() {
        let error = br#"{"error":{"code":503,"status":"UNAVAILABLE"}}"#;
        for cut in 0..error.len() {
            let (scanner, progress) = play(&[&error[..cut], &error[cut..]]);
            assert_eq!(progress, [ScanProgress::default(); 2]);
            let failure = scanner.state().failure.clone().expect("a failure");
            assert_eq!(failure.provider_code.as_deref(), Some("UNAVAILABLE"), "{cut}");
            assert!(!scanner.state().has_started && !scanner.state().has_finished, "{cut}");
        }
        // What says nothing to its end is an answer.
        for nothing in [&b"{}"[..], b"\n {\"a\":["] {
            let (scanner, progress) = play(&[nothing]);
            assert_eq!(progress, [ScanProgress::default()]);
            assert!(scanner.state().has_started && scanner.state().has_finished);
        }
    }

    #[test]
    fn an_answer_without_a_byte_is_no_json() {
        let (scanner, progress) = play(&[b"", b" \n"]);
        assert_eq!(progress, [ScanProgress::default(); 2]);
        assert!(!scanner.state().has_started && !scanner.state().has_finished);
        // Nor is one that was cut after its bracket, or in the middle of what nobody knows.
        assert!(!play(&[b" [", b" "]).0.state().has_finished);
        assert!(!play(&[br#"[{"a":1},{"b":"#]).0.state().has_finished);
        assert!(play(&[br#"[{"a":1},{"b":2}]"#]).0.state().has_finished);
    }
}
