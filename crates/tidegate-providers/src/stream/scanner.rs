use std::fmt;
use std::time::SystemTime;

use http::HeaderMap;
use tidegate_core::{Failure, Scan, ScanProgress, StreamState, Usage};

use super::amazon::AmazonFramer;
use super::array::ArrayFramer;
use super::chat::DONE;
use super::dialect::{Dialect, Guess};
use super::event::{Event, within};
use super::leaves::walk;
use super::reading::{End, Reading, Trouble};
use super::sse::SseFramer;
use crate::opening::{self, Beginning};
use crate::{Provider, ProviderClassifier};

/// Reads the stream of one answer: cuts it into events, and knows what they come to.
///
/// The dialect is recognised by the first event that belongs to one. A stream that belongs to none is let
/// through: whatever it carries is content, and its end is its end.
pub struct Scanner {
    framer: Framer,
    reader: Reader,
}

enum Framer {
    /// JSON of which no byte has come but, perhaps, the bracket of an array.
    Undecided {
        is_array: bool,
    },
    /// One JSON text: not for us, unless it is an error. The beginning of one that has not said yet.
    Plain(Option<Vec<u8>>),
    Sse(SseFramer),
    Array(ArrayFramer),
    Amazon(AmazonFramer),
}

/// So much of one JSON text is read at the most: as much as of any error.
const BEGINNING: usize = 64 * 1024;

/// What is known of the stream so far.
struct Reader {
    classifier: ProviderClassifier,
    dialect: Option<Dialect>,
    /// The body may end here.
    may_end: bool,
    state: StreamState,
    pulse: ScanProgress,
}

impl Scanner {
    /// For server-sent events: `text/event-stream`.
    #[must_use]
    pub fn sse(provider: Provider) -> Self {
        Self::new(provider, Framer::Sse(SseFramer::new()))
    }

    /// For JSON that may be an array of objects sent one by one, which its first two characters tell. Anything else in
    /// JSON is let through as it comes: each piece of it is content, and its end is its end. A body without a byte is
    /// no JSON, and was cut.
    #[must_use]
    pub fn json(provider: Provider) -> Self {
        Self::new(provider, Framer::Undecided { is_array: false })
    }

    /// For a JSON array that is sent element by element, as Google does without `alt=sse`.
    ///
    /// By its head such an answer looks like any other in JSON; [`json`](Self::json) is for those who did not ask
    /// for it themselves.
    #[must_use]
    pub fn json_array(provider: Provider) -> Self {
        Self::new(provider, Framer::Array(ArrayFramer::default()))
    }

    /// For Amazon's binary events: `application/vnd.amazon.eventstream`.
    #[must_use]
    pub fn amazon(provider: Provider) -> Self {
        Self::new(provider, Framer::Amazon(AmazonFramer::default()))
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

    fn new(provider: Provider, framer: Framer) -> Self {
        let reader = Reader {
            classifier: ProviderClassifier::new(provider),
            dialect: None,
            may_end: false,
            state: StreamState::default(),
            pulse: ScanProgress::default(),
        };
        Self { framer, reader }
    }

    /// Tells an array of objects from other JSON.
    fn decide(&mut self, bytes: &[u8]) {
        let Framer::Undecided { is_array } = &mut self.framer else { return };
        for byte in bytes.iter().filter(|byte| !byte.is_ascii_whitespace()) {
            match (*is_array, byte) {
                (false, b'[') => *is_array = true,
                (true, b'{') => return self.framer = Framer::Array(ArrayFramer::default()),
                (false, b'{') => return self.framer = Framer::Plain(Some(Vec::new())),
                _ => return self.framer = Framer::Plain(None),
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
            Framer::Undecided { .. } => {}
            Framer::Plain(beginning) => reader.open(beginning, bytes),
            Framer::Sse(framer) => framer.push(bytes, |event| reader.take(event)),
            Framer::Array(framer) => framer.push(bytes, |event| reader.take(event)),
            Framer::Amazon(framer) => framer.push(bytes, |event| reader.take(event)),
        }
        std::mem::take(&mut reader.pulse)
    }

    fn finish(&mut self) -> ScanProgress {
        let reader = &mut self.reader;
        if let Framer::Plain(Some(beginning)) = &self.framer {
            reader.close(beginning);
        }
        if let Framer::Sse(framer) = &mut self.framer {
            // The last event may lack its empty line. One that was cut in the middle is not an event.
            framer.finish(|event| {
                if is_whole(event.data) {
                    reader.take(event);
                }
            });
        }
        // Nobody knows what an array of strangers means, but that it was cut.
        let is_cut =
            matches!(&self.framer, Framer::Array(framer) if framer.is_within() && reader.dialect.is_none());
        if reader.may_end && !is_cut && reader.state.failure.is_none() {
            reader.state.has_finished = true;
        }
        std::mem::take(&mut reader.pulse)
    }

    fn state(&self) -> &StreamState {
        &self.reader.state
    }
}

/// Whether the data of an event without an empty line after it is all of it.
pub(crate) fn is_whole(data: &[u8]) -> bool {
    data.trim_ascii() == DONE || walk(data, |_, _| {})
}

impl Reader {
    /// A piece of one JSON text. Nothing of it counts before it has said what it is.
    fn open(&mut self, beginning: &mut Option<Vec<u8>>, bytes: &[u8]) {
        if let Some(beginning) = beginning {
            beginning.extend_from_slice(within(bytes, BEGINNING - beginning.len()));
            match opening::read(beginning) {
                // Read to its end: the code may stand in any of it.
                Beginning::Error(_) => return,
                Beginning::Unclear if beginning.len() < BEGINNING => return,
                Beginning::Answer | Beginning::Unclear => {}
            }
        }
        *beginning = None;
        self.let_through();
    }

    /// The end of a JSON text that was no answer up to then.
    fn close(&mut self, beginning: &[u8]) {
        match opening::read(beginning) {
            Beginning::Error(trouble) => {
                let (headers, now) = (HeaderMap::new(), SystemTime::UNIX_EPOCH);
                let failure = self.classifier.failure_behind(trouble, &headers, beginning, now);
                self.state.failure = Some(failure);
            }
            Beginning::Answer | Beginning::Unclear => self.let_through(),
        }
    }

    /// A piece of something that is no stream of events.
    fn let_through(&mut self) {
        self.pulse.events = self.pulse.events.saturating_add(1);
        self.pulse.tokens = self.pulse.tokens.saturating_add(1);
        self.state.has_started = true;
        self.may_end = true;
    }

    fn take(&mut self, event: Event<'_>) {
        self.pulse.events = self.pulse.events.saturating_add(1);
        if self.state.failure.is_some() || (event.data.is_empty() && !event.is_error) {
            return;
        }
        if event.is_error {
            return self.fail(event, Trouble::Told);
        }
        let reading = match self.dialect {
            // Until the first token every event is read in full.
            Some(dialect) if self.state.has_started && dialect.is_plain(event.data) => Reading::token(),
            Some(dialect) => dialect.read(event),
            None => match Guess::of(event) {
                Guess::Known(dialect) => {
                    (self.dialect, self.may_end) = (Some(dialect), false);
                    dialect.read(event)
                }
                _ if self.classifier.failure_in(event.data).is_some() => {
                    return self.fail(event, Trouble::Told);
                }
                Guess::Open => return,
                Guess::Stranger => Reading { end: End::Allowed, ..Reading::token() },
            },
        };
        self.apply(event, reading);
    }

    fn apply(&mut self, event: Event<'_>, reading: Reading) {
        let usage = reading.usage;
        if usage != Usage::default() {
            let known = self.state.usage.get_or_insert_default();
            known.input = usage.input.or(known.input);
            known.output = usage.output.or(known.output);
        }
        if let Some(trouble) = reading.trouble {
            return self.fail(event, trouble);
        }
        self.state.stop = reading.stop.or(self.state.stop);
        if reading.is_token {
            self.pulse.tokens = self.pulse.tokens.saturating_add(1);
            self.state.has_started = true;
        }
        match reading.end {
            End::Open => {}
            // Who is known to send a terminator is held to it.
            End::Allowed if self.dialect == Some(Dialect::Chat) => {
                self.may_end = !self.classifier.provider().sends_done();
            }
            End::Allowed => self.may_end = true,
            End::Said => self.state.has_finished = true,
        }
    }

    /// What comes after the end is no failure of this answer.
    fn fail(&mut self, event: Event<'_>, trouble: Trouble) {
        if self.state.has_finished {
            return;
        }
        self.state.failure = Some(match trouble {
            Trouble::Told => {
                // Server-sent events call an error just that; Amazon says which.
                let name = Some(event.name).filter(|&name| event.is_error && name != "error");
                self.classifier.failure_of(name, event.data)
            }
            Trouble::Reason(word, code) => Failure { provider_code: Some(word.into()), ..Failure::new(code) },
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn play(pieces: &[&[u8]]) -> (Scanner, Vec<ScanProgress>) {
        let mut scanner = Scanner::json(Provider::Gemini);
        let pulses = pieces.iter().map(|piece| scanner.push(piece)).collect();
        scanner.finish();
        (scanner, pulses)
    }

    const TOKEN: &[u8] = br#"{"candidates":[{"content":{"parts":[{"text":"The"}]}}]}"#;
    const LAST: &[u8] = br#"{"candidates":[{"finishReason":"STOP"}]}"#;

    #[test]
    fn json_that_begins_with_a_bracket_is_read_as_an_array_wherever_it_is_cut() {
        let whole = [b" \r\n[", TOKEN, b",\n", LAST, b"]"].concat();
        for cut in 0..whole.len() {
            let (scanner, pulses) = play(&[&whole[..cut], &whole[cut..]]);
            let tokens: u32 = pulses.iter().map(|pulse| pulse.tokens).sum();
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
            let (scanner, pulses) = play(&[first, rest]);
            assert_eq!(pulses[0], ScanProgress { events: 1, tokens: 1 }, "{plain:?}");
            assert!(scanner.state().has_started && scanner.state().has_finished);
            assert!(scanner.state().failure.is_none() && scanner.dialect().is_none());
        }
    }

    #[test]
    fn an_error_in_one_piece_is_a_failure_wherever_it_is_cut() {
        let error = br#"{"error":{"code":503,"status":"UNAVAILABLE"}}"#;
        for cut in 0..error.len() {
            let (scanner, pulses) = play(&[&error[..cut], &error[cut..]]);
            assert_eq!(pulses, [ScanProgress::default(); 2]);
            let failure = scanner.state().failure.clone().expect("a failure");
            assert_eq!(failure.provider_code.as_deref(), Some("UNAVAILABLE"), "{cut}");
            assert!(!scanner.state().has_started && !scanner.state().has_finished, "{cut}");
        }
        // What says nothing to its end is an answer.
        for nothing in [&b"{}"[..], b"\n {\"a\":["] {
            let (scanner, pulses) = play(&[nothing]);
            assert_eq!(pulses, [ScanProgress::default()]);
            assert!(scanner.state().has_started && scanner.state().has_finished);
        }
    }

    #[test]
    fn an_answer_without_a_byte_is_no_json() {
        let (scanner, pulses) = play(&[b"", b" \n"]);
        assert_eq!(pulses, [ScanProgress::default(); 2]);
        assert!(!scanner.state().has_started && !scanner.state().has_finished);
        // Nor is one that was cut after its bracket, or in the middle of what nobody knows.
        assert!(!play(&[b" [", b" "]).0.state().has_finished);
        assert!(!play(&[br#"[{"a":1},{"b":"#]).0.state().has_finished);
        assert!(play(&[br#"[{"a":1},{"b":2}]"#]).0.state().has_finished);
    }
}
