use std::fmt;
use std::time::{Duration, Instant, SystemTime};

use http::HeaderMap;
use tidegate_core::{ErrorCode, Failure, Scan, ScanProgress, StreamState, Usage, server_time};

use super::content_template::ContentTemplate;
use super::generated_text::generated_length;
use super::own_dialect;
use super::sse::SseFramer;
use crate::body::probe::{self, Expected};
use crate::dialect::bedrock::framing::AmazonFramer;
use crate::dialect::gemini::framing::ArrayFramer;
use crate::dialect::parsed_event::{EndSignal, ParsedEvent, StreamError};
use crate::dialect::probe_result::ProbeResult;
use crate::dialect::rules::DialectRules;
use crate::dialect::{Dialect, DialectGuess};
use crate::endpoint::Endpoint;
use crate::error::in_band::{self, Resemblance};
use crate::error::retry_after::NO_CLOCK;
use crate::event::{Event, prefix};
use crate::prompt::BYTES_PER_TOKEN;
use crate::provider::Provider;

/// Scans the stream of one response: splits it into events and tracks its state.
///
/// The dialect is recognised by the first event that belongs to one. A stream in an unknown dialect is passed
/// through: all of its data counts as content, and the end of the body is its end.
pub struct Scanner {
    framer: BodyFramer,
    reader: StreamReader,
}

enum BodyFramer {
    /// JSON of which nothing was received yet, except possibly the bracket of an array.
    Undecided {
        is_array: bool,
    },
    /// A single JSON document, which is passed through unless it is an error. Holds its beginning until the
    /// probe has a result.
    Json(Option<Vec<u8>>),
    Sse(SseFramer),
    Array(ArrayFramer),
    Amazon(AmazonFramer),
}

/// Hardly any token of a vocabulary has more bytes. A longer text counts by its length.
const LONGEST_TOKEN: usize = 32;

/// The length of an event with one token, in which no text is looked for.
const MAX_SHORT_EVENT: usize = 192;

/// Maximum number of bytes that are read of a single JSON document, the same as for any error body.
const MAX_BEGINNING: usize = 64 * 1024;

/// The state of the stream so far.
struct StreamReader {
    provider: Provider,
    dialect: Option<Dialect>,
    /// Whether the stream has to be the answer of a model, so that not every unknown event is content.
    is_answer: bool,
    /// The endpoint of the request. Events in its dialects are accepted.
    endpoint: Endpoint,
    /// The time at the server when it sent the head of the response, and when that arrived.
    sent_at: Option<(SystemTime, Instant)>,
    /// The body may end here.
    may_end: bool,
    /// A token, a stop reason or the usage of generated tokens was seen.
    shows_answer: bool,
    /// An event that resembles an error was seen, and no token after it.
    last_resembles_error: bool,
    template: ContentTemplate,
    state: StreamState,
    progress: ScanProgress,
}

impl Scanner {
    /// A scanner for server-sent events: `text/event-stream`.
    #[must_use]
    pub fn sse(provider: Provider) -> Self {
        Self::new(provider, BodyFramer::Sse(SseFramer::new()))
    }

    /// A scanner for JSON that may be a streamed array of objects, which its first two characters show. Any
    /// other JSON is passed through: each chunk counts as content, and the end of the body is its end. An
    /// empty body is not JSON, and counts as truncated.
    #[must_use]
    pub fn json(provider: Provider) -> Self {
        Self::new(provider, BodyFramer::Undecided { is_array: false })
    }

    /// A scanner for a JSON array that is streamed element by element, as by Google without `alt=sse`.
    ///
    /// The head of such a response does not differ from that of any JSON response. Where the request was not
    /// under the caller's control, use [`json`](Self::json).
    #[must_use]
    pub fn json_array(provider: Provider) -> Self {
        Self::new(provider, BodyFramer::Array(ArrayFramer::default()))
    }

    /// A scanner for Amazon's binary events: `application/vnd.amazon.eventstream`.
    #[must_use]
    pub fn amazon(provider: Provider) -> Self {
        Self::new(provider, BodyFramer::Amazon(AmazonFramer::default()))
    }

    /// Sets the dialect from the start, where it is known.
    #[must_use]
    pub fn with_dialect(mut self, dialect: Dialect) -> Self {
        self.reader.dialect = Some(dialect);
        self
    }

    /// For the response to a request that a model answers: events of an unknown dialect are content only if
    /// they have a field in which some server has its answer.
    #[must_use]
    pub fn for_answer(mut self) -> Self {
        self.reader.is_answer = true;
        self
    }

    /// For the response to a request at `endpoint`: a stream in another dialect is no answer.
    pub(crate) fn at_endpoint(mut self, endpoint: Endpoint) -> Self {
        self.reader.endpoint = endpoint;
        self.for_answer()
    }

    /// Takes the time at the server from the headers of a response that arrives now.
    pub(crate) fn sent_at(mut self, headers: &HeaderMap) -> Self {
        let sent_at = Some(server_time(headers, NO_CLOCK)).filter(|&sent_at| sent_at != NO_CLOCK);
        self.reader.sent_at = sent_at.map(|sent_at| (sent_at, Instant::now()));
        self
    }

    /// The dialect, once it is recognised.
    #[must_use]
    pub fn dialect(&self) -> Option<Dialect> {
        self.reader.dialect
    }

    fn new(provider: Provider, framer: BodyFramer) -> Self {
        let reader = StreamReader {
            provider,
            dialect: None,
            is_answer: false,
            endpoint: Endpoint::Unknown,
            sent_at: None,
            may_end: false,
            shows_answer: false,
            last_resembles_error: false,
            template: ContentTemplate::default(),
            state: StreamState::default(),
            progress: ScanProgress::default(),
        };
        Self { framer, reader }
    }

    /// Distinguishes an array of objects from other JSON.
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
    /// Omits the buffered bytes, since they are generated content.
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
            // The empty line after the last event may be missing. A truncated event is not an event.
            framer.finish(|event| {
                if event.is_complete() {
                    reader.handle_event(event);
                }
            });
        }
        // An array in an unknown dialect has no terminator, but an incomplete element shows that it was
        // truncated.
        let is_cut = matches!(&self.framer, BodyFramer::Array(framer) if framer.is_within() && reader.dialect.is_none());
        if reader.may_end && !is_cut && reader.state.failure.is_none() {
            reader.end();
        }
        std::mem::take(&mut reader.progress)
    }

    fn state(&self) -> &StreamState {
        &self.reader.state
    }
}

impl StreamReader {
    /// Handles a chunk of a single JSON document. Nothing is counted before the probe has a result.
    fn push_json(&mut self, beginning: &mut Option<Vec<u8>>, bytes: &[u8]) {
        if let Some(beginning) = beginning {
            beginning.extend_from_slice(prefix(bytes, MAX_BEGINNING - beginning.len()));
            match probe::read(beginning, Expected::Resource) {
                // The rest is read as well: the error code may be in any part of it.
                ProbeResult::Error(_) => return,
                ProbeResult::Unclear | ProbeResult::Filtered if beginning.len() < MAX_BEGINNING => return,
                _ => {}
            }
        }
        *beginning = None;
        self.pass_through();
    }

    /// Handles the end of a JSON document that the probe had not recognised as a success.
    fn finish_json(&mut self, beginning: &[u8]) {
        match probe::read(beginning, Expected::Resource) {
            ProbeResult::Error(error) => {
                let failure = in_band::failure_of_body(
                    self.provider,
                    error,
                    &HeaderMap::new(),
                    beginning,
                    self.server_time(),
                );
                self.state.failure = Some(failure);
            }
            ProbeResult::Filtered => self.state.failure = Some(Failure::content_filter()),
            ProbeResult::Success | ProbeResult::Unclear => self.pass_through(),
        }
    }

    /// Counts a chunk of a body that is not a stream of events.
    fn pass_through(&mut self) {
        self.progress.events = self.progress.events.saturating_add(1);
        self.progress.tokens = self.progress.tokens.saturating_add(1);
        self.state.has_started = true;
        (self.may_end, self.shows_answer) = (true, true);
    }

    fn handle_event(&mut self, event: Event<'_>) {
        self.progress.events = self.progress.events.saturating_add(1);
        if event.data.is_empty() && !event.is_error {
            self.progress.comments = self.progress.comments.saturating_add(1);
            return;
        }
        if self.state.failure.is_some() {
            return;
        }
        if event.is_error {
            return self.fail(event, StreamError::Event);
        }
        let parsed = match self.dialect {
            Some(dialect) => {
                let parsed = self.read(dialect, event);
                if parsed == ParsedEvent::default() && !dialect.rules().has_own(event) {
                    self.read_other(event);
                }
                parsed
            }
            None => match DialectGuess::of(event) {
                DialectGuess::Known(dialect) if self.endpoint.accepts(dialect) => {
                    (self.dialect, self.may_end) = (Some(dialect), false);
                    self.read(dialect, event)
                }
                DialectGuess::Known(other) => {
                    match other.read(event).error {
                        Some(error) => self.fail(event, error),
                        None => self.state.failure = Some(Failure::no_answer()),
                    }
                    return;
                }
                // The error of a method that the caller has named.
                _ if !self.is_answer && event.is_json_rpc() => (DialectRules::UNKNOWN.read)(event),
                _ if Resemblance::of(event.data) == Resemblance::Error => {
                    return self.fail(event, StreamError::Event);
                }
                DialectGuess::Undecided => return,
                DialectGuess::Unknown if self.is_answer => {
                    self.state.failure = self.known_failure_in(event);
                    match self.endpoint {
                        _ if self.state.failure.is_some() => return,
                        Endpoint::Unknown => own_dialect::read(event),
                        _ => ParsedEvent::default(),
                    }
                }
                DialectGuess::Unknown => (DialectRules::UNKNOWN.read)(event),
            },
        };
        self.apply(event, parsed);
    }

    /// Handles an event that is not one of the dialect of the stream. An error in the form of another API is a
    /// failure at any place of the stream.
    #[cold]
    fn read_other(&mut self, event: Event<'_>) {
        if self.state.has_finished {
            return;
        }
        let resemblance = Resemblance::of(event.data);
        if resemblance == Resemblance::None || DialectGuess::of(event) != DialectGuess::Unknown {
            return;
        }
        match resemblance {
            Resemblance::Error => return self.fail(event, StreamError::Event),
            Resemblance::Known => self.state.failure = self.known_failure_in(event),
            Resemblance::Vague | Resemblance::None => {}
        }
        self.last_resembles_error = true;
    }

    fn known_failure_in(&self, event: Event<'_>) -> Option<Failure> {
        in_band::known_failure_in(self.provider, &HeaderMap::new(), event.data, self.server_time())
    }

    /// The time at the server, with which points in time are compared.
    fn server_time(&self) -> SystemTime {
        // The date of a response has whole seconds.
        let now = |(sent_at, arrived): (SystemTime, Instant)| {
            sent_at + Duration::from_secs(arrived.elapsed().as_secs())
        };
        self.sent_at.map_or(NO_CLOCK, now)
    }

    fn is_content_only(&mut self, dialect: Dialect, data: &[u8]) -> bool {
        let is_content = self.template.matches(data);
        is_content
            || (dialect.rules().is_content_only)(data) && {
                self.template.set(data);
                true
            }
    }

    /// Parses an event. The content of one that is malformed is not a first token: nothing is committed to
    /// it.
    fn read(&mut self, dialect: Dialect, event: Event<'_>) -> ParsedEvent {
        // Before the first token every event is parsed in full.
        if self.state.has_started && self.is_content_only(dialect, event.data) {
            self.add_text(self.template.text_length(event.data));
            return ParsedEvent::token();
        }
        let parsed = dialect.read(event);
        if parsed.is_token && event.data.len() > MAX_SHORT_EVENT {
            self.add_text(generated_length(event.data));
        }
        let is_first = parsed.is_token && !self.state.has_started && self.is_answer;
        let is_token = parsed.is_token && (!is_first || event.is_cut || event.is_complete());
        ParsedEvent { is_token, ..parsed }
    }

    /// Counts the text of an event with content, if it is longer than one token.
    fn add_text(&mut self, length: usize) {
        if length > LONGEST_TOKEN {
            let tokens = u32::try_from(length / BYTES_PER_TOKEN as usize).unwrap_or(u32::MAX);
            let surplus = &mut self.progress.surplus_tokens;
            *surplus = surplus.saturating_add(tokens - 1);
        }
    }

    fn apply(&mut self, event: Event<'_>, parsed: ParsedEvent) {
        let usage = parsed.usage;
        if usage != Usage::default() {
            let known = self.state.usage.get_or_insert_default();
            // An event of Anthropic's may repeat the input without what was written to the cache.
            let is_apart = usage.cache_written.is_none() && self.dialect == Some(Dialect::Anthropic);
            let written = known.cache_written.filter(|_| is_apart).unwrap_or_default();
            known.input = usage.input.map(|input| input.saturating_add(written)).or(known.input);
            known.output = usage.output.or(known.output);
            known.cache_read = usage.cache_read.or(known.cache_read);
            known.uncounted = usage.uncounted.or(known.uncounted);
            known.cache_written = usage.cache_written.or(known.cache_written);
        }
        if let Some(error) = parsed.error {
            return self.fail(event, error);
        }
        let has_output = usage.output.is_some_and(|output| output > 0);
        self.shows_answer |= parsed.is_token || !parsed.is_bare && (parsed.stop.is_some() || has_output);
        // Some servers end a response twice: the first end has the reason.
        if !self.state.has_finished {
            self.state.stop = parsed.stop.or(self.state.stop);
        }
        if parsed.is_token {
            self.progress.tokens = self.progress.tokens.saturating_add(1);
            self.state.has_started = true;
            self.last_resembles_error = false;
        }
        match parsed.end {
            // Another choice goes on.
            EndSignal::None => self.may_end &= !parsed.is_token,
            EndSignal::Allowed => {
                let rules = self.dialect.map_or(&DialectRules::UNKNOWN, Dialect::rules);
                self.may_end = !(rules.needs_terminator)(self.provider);
            }
            EndSignal::Final => self.end(),
        }
    }

    /// Handles the end of the stream: without an answer before it, it is a failure. So is an end without a stop
    /// reason after what resembles an error.
    fn end(&mut self) {
        match self.shows_answer {
            true if self.last_resembles_error && self.state.stop.is_none() => {
                self.state.failure = Some(Failure::new(ErrorCode::ServerError));
            }
            true => self.state.has_finished = true,
            false if self.state.has_finished => {}
            false => self.state.failure = Some(Failure::no_answer()),
        }
    }

    /// Errors after the end are not failures of this response.
    fn fail(&mut self, event: Event<'_>, error: StreamError) {
        if self.state.has_finished {
            return;
        }
        self.state.failure = Some(error.failure().unwrap_or_else(|| {
            // Server-sent events name an error just `error`; Amazon names the exception.
            let name = Some(event.name).filter(|&name| event.is_error && !matches!(name, "" | "error"));
            let failure = in_band::failure_of_event(self.provider, name, event, self.server_time());
            // A server that accepted the request, and then reports an error outside of the dialect, has
            // failed whatever the error is: another one may answer the same request.
            if event.is_error && event.name.is_empty() && !failure.code.is_fallbackable() {
                Failure { provider_code: failure.provider_code, ..Failure::new(ErrorCode::ServerError) }
            } else {
                failure
            }
        }));
    }
}

#[cfg(test)]
mod tests {
    use tidegate_core::StopReason;

    use super::*;
    use crate::event::MAX_EVENT;

    fn play(pieces: &[&[u8]]) -> (Scanner, Vec<ScanProgress>) {
        let mut scanner = Scanner::json(Provider::Gemini);
        let progress = pieces.iter().map(|piece| scanner.push(piece)).collect();
        scanner.finish();
        (scanner, progress)
    }

    const TOKEN: &[u8] = br#"{"candidates":[{"content":{"parts":[{"text":"The"}]}}]}"#;
    const LAST: &[u8] = br#"{"candidates":[{"finishReason":"STOP"}]}"#;

    /// Regression: a zero in it failed a stream, and not the same document.
    /// Regression: ten thousand words in four events were four tokens.
    #[test]
    fn a_long_text_counts_as_the_tokens_of_its_length() {
        let text = "word ".repeat(200);
        let (chat, object) =
            (|delta: String| format!(r#"{{"choices":[{{"index":0,"delta":{delta}}}]}}"#), "x".repeat(999));
        for event in [
            chat(format!(r#"{{"content":"{text}"}}"#)),
            chat(format!(r#"{{"refusal":"{text}"}}"#)),
            chat(format!(r#"{{"tool_calls":[{{"index":0,"function":{{"arguments":"{text}"}}}}]}}"#)),
            format!(r#"{{"type":"content_block_delta","delta":{{"type":"text_delta","text":"{text}"}}}}"#),
            format!(
                r#"{{"type":"content_block_delta","delta":{{"type":"input_json_delta","partial_json":"{text}"}}}}"#
            ),
            format!(r#"{{"type":"response.output_text.delta","item_id":"m","delta":"{text}"}}"#),
            format!(r#"{{"candidates":[{{"content":{{"parts":[{{"text":"{text}"}}]}}}}]}}"#),
            format!(
                r#"{{"candidates":[{{"content":{{"parts":[{{"functionCall":{{"name":"f","args":{{"a":"{object}"}}}}}}]}}}}]}}"#
            ),
            format!(r#"{{"type":"content-delta","delta":{{"message":{{"content":{{"text":"{text}"}}}}}}}}"#),
        ] {
            let mut scanner = Scanner::sse(Provider::Other);
            // The second one is not parsed.
            for _ in 0..2 {
                let progress = scanner.push(format!("data: {event}\n\n").as_bytes());
                let tokens = progress.tokens + progress.surplus_tokens;
                assert!(progress.tokens == 1 && (249..=251).contains(&tokens), "{tokens} in {event}");
            }
        }
        // One token each, whatever is around it.
        let logprobs = r#"{"token":"a","logprob":-0.1,"bytes":[97]},"#.repeat(20);
        for around in
            [format!(r#""logprobs":{{"content":[{logprobs}{{}}]}}"#), format!(r#""obfuscation":"{object}""#)]
        {
            let mut scanner = Scanner::sse(Provider::Other);
            for text in ["international", "a"] {
                let event =
                    format!(r#"{{"choices":[{{"index":0,"delta":{{"content":"{text}"}},{around}}}]}}"#);
                let progress = scanner.push(format!("data: {event}\n\n").as_bytes());
                assert_eq!((progress.tokens, progress.surplus_tokens), (1, 0), "{event}");
            }
        }
    }

    #[test]
    fn an_error_field_without_a_value_is_no_error_in_an_event_and_in_a_document() {
        let empty = ["null", "{}", "\"\"", r#"{"message":null,"code":null}"#, "[]", "0", "0.0", "-0"];
        let empty = empty.map(|error| (error, false)).into_iter();
        let empty =
            empty.chain([(r#"{"code":0,"message":""}"#, false), (r#"{"code":0.0,"param":[0]}"#, false)]);
        let set =
            ["7", "-1", "0.5", "\"x\"", r#"{"code":-32000,"message":""}"#, r#"{"code":0,"message":"x"}"#];
        let events = [
            r#"{"choices":[{"delta":{"content":"x"},"finish_reason":"stop"}]}"#,
            r#"{"type":"response.completed","response":{"output":[{}],"usage":{"output_tokens":1}}}"#,
            r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":1}}"#,
            r#"{"candidates":[{"content":{"parts":[{"text":"x"}]},"finishReason":"STOP"}]}"#,
            r#"{"type":"message-end","delta":{"finish_reason":"COMPLETE"}}"#,
        ];
        // A number in `errors` is how many there are.
        let is_number = |error: &str| error.parse::<f64>().is_ok();
        for (error, is_error) in empty.chain(set.map(|error| (error, true))) {
            for event in events {
                let event = format!(r#"{{"error":{error},{}"#, &event[1..]);
                let mut scanner = Scanner::sse(Provider::Other).for_answer();
                scanner.push(format!("data: {event}\n\n").as_bytes());
                scanner.finish();
                assert_eq!(scanner.state().failure.is_some(), is_error, "{event}");
            }
            let document = format!(r#"{{"error":{error},"choices":[{{"message":{{"content":"x"}}}}]}}"#);
            let probed = probe::read(document.as_bytes(), Expected::Answer(Endpoint::Chat));
            assert_eq!(matches!(probed, ProbeResult::Error(_)), is_error, "{document}");
            for (key, is_error) in [("error", is_error), ("errors", is_error && !is_number(error))] {
                let other = format!(r#"{{"{key}":{error},"kind":"summary"}}"#);
                let token = r#"{"choices":[{"delta":{"content":"x"}}]}"#;
                for ([first, second], is_error) in [
                    ([token, &other], is_error),
                    // Before a token the dialect, in which a number is an error, is not known.
                    ([&other, token], is_error && !is_number(error)),
                ] {
                    let mut scanner = Scanner::sse(Provider::Other).for_answer();
                    let events = format!("data: {first}\n\ndata: {second}\n\ndata: [DONE]\n\n");
                    scanner.push(events.as_bytes());
                    let outcome = (scanner.state().failure.is_some(), scanner.state().has_finished);
                    assert_eq!(outcome, (is_error, !is_error), "{events}");
                }
            }
        }
    }

    /// Regression: the age of the stream was added to the wait.
    #[test]
    fn a_point_in_time_is_compared_with_the_time_of_its_event() {
        let headers = [(http::header::DATE, "Thu, 05 Nov 2026 12:00:00 GMT".parse().unwrap())];
        let mut scanner = Scanner::sse(Provider::Other).for_answer().sent_at(&headers.into_iter().collect());
        let (_, arrived) = scanner.reader.sent_at.as_mut().expect("a date");
        *arrived = arrived.checked_sub(Duration::from_secs(300)).expect("a clock before");
        scanner.push(br#"data: {"error":{"code":"rate_limit_exceeded","resets_at":1793880420}}"#);
        scanner.finish();
        let wait = scanner.state().failure.as_ref().and_then(Failure::wait).expect("a wait");
        assert!((100..=120).contains(&wait.as_secs()), "{wait:?}");
    }

    #[test]
    fn an_error_in_a_field_of_its_own_is_one_of_the_server() {
        for (error, code) in [
            (
                r#"{"code":400,"message":"the prompt does not fit the context","type":"invalid_request_error"}"#,
                ErrorCode::ServerError,
            ),
            (r#"{"code":500,"message":"no slot","type":"server_error"}"#, ErrorCode::ServerError),
            (r#"{"message":"slow down","type":"rate_limit_error"}"#, ErrorCode::RateLimited),
            ("busy", ErrorCode::ServerError),
        ] {
            let mut scanner = Scanner::sse(Provider::Other).for_answer();
            scanner.push(format!("error: {error}\n\ndata: [DONE]\n\n").as_bytes());
            scanner.finish();
            assert_eq!(scanner.state().failure.as_ref().map(|failure| failure.code), Some(code), "{error}");
        }
    }

    /// Regression: Google ends a stream with a document outside of any event, which was a truncation and was
    /// counted against the provider.
    #[test]
    fn an_error_outside_of_the_events_is_the_failure_of_the_stream() {
        const COMPACT: &str =
            r#"{"error":{"code":429,"status":"RESOURCE_EXHAUSTED","details":[{"retryDelay":"38s"}]}}"#;
        const PRETTY: &str = "{\n  \"error\": {\n    \"code\": 429,\n    \"status\": \"RESOURCE_EXHAUSTED\",\n    \"details\": \
                              [\n      {\n        \"retryDelay\": \"38s\"\n      }\n    ]\n  }\n}";
        let array = format!("[{PRETTY}\n]");
        let token = format!("data: {}\n\n", std::str::from_utf8(TOKEN).unwrap());
        for error in [COMPACT, PRETTY, &array] {
            for before in ["", ": ping\n\n", "id: 7\n\n", "\u{feff}", &token] {
                for after in ["", "\n", "\n\n", "\ndata: [DONE]\n\n", "\nevent: x\ndata: {}\n\n", error] {
                    let stream = format!("{before}{error}{after}");
                    let mut scanner = Scanner::sse(Provider::Gemini).for_answer();
                    let mut progress = scanner.push(stream.as_bytes());
                    progress.events += scanner.finish().events;
                    let state = scanner.state();
                    let failure = state.failure.clone().expect(&stream);
                    assert_eq!(failure.code, ErrorCode::RateLimited, "{stream}");
                    assert_eq!(failure.wait(), Some(std::time::Duration::from_secs(38)), "{stream}");
                    assert!(!state.has_finished && progress.events > 0, "{stream}");
                }
            }
        }
    }

    #[test]
    fn any_other_text_outside_of_the_events_is_ignored() {
        const END: &str = "data: {\"candidates\":[{\"finishReason\":\"STOP\"}]}\n\n";
        let token = format!("data: {}\n\n", std::str::from_utf8(TOKEN).unwrap());
        for text in [
            r#"{"a":1}"#,
            "{",
            "[]",
            r#"{"error":null}"#,
            r#"{"error":{"code":4"#,
            "{ not JSON",
            r#"x{"error":{"code":429}}"#,
            r#"id: {"error":{"code":429}}"#,
            // A line of data that is continued without the name of its field.
            "data: {}\n{\"error\":{\"code\":429}}\n",
        ] {
            for end in ["\n", "\n\n"] {
                let mut scanner = Scanner::sse(Provider::Gemini).for_answer();
                let progress = scanner.push(format!("{token}{text}{end}{END}").as_bytes());
                scanner.finish();
                let state = scanner.state();
                assert!(state.failure.is_none() && state.has_finished, "{text}");
                assert_eq!((progress.tokens, state.stop), (1, Some(StopReason::Natural)), "{text}");
            }
        }
    }

    #[test]
    fn a_rate_limit_in_a_sentence_alone_ends_an_answer() {
        for event in [
            "data: Rate limit reached, try again in 5s",
            r#"data: "Rate limit reached, try again in 5s""#,
            r#"data: {"error":"Rate limit reached, try again in 5s"}"#,
            "event: error\ndata: Rate limit reached, try again in 5s",
        ] {
            let mut scanner = Scanner::sse(Provider::Groq).for_answer();
            scanner.push(format!("{event}\n\n").as_bytes());
            scanner.finish();
            let failure = scanner.state().failure.clone().expect(event);
            assert_eq!(failure.code, ErrorCode::RateLimited, "{event}");
            assert_eq!(failure.wait(), Some(std::time::Duration::from_secs(5)), "{event}");
        }
    }

    /// The error of a JSON-RPC message is one of the method, which the caller has named.
    #[test]
    fn an_error_in_a_json_rpc_message_is_no_failure_of_the_provider() {
        for message in [
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"unknown tool"}}"#,
            r#"{"error":{"code":-32000,"message":"rate limit reached","data":{"type":"rate_limit_error"}},"id":1,"jsonrpc":"2.0"}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"x"}],"isError":true}}"#,
            r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"error","data":"x"}}"#,
            r#"[{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"x"}}]"#,
        ] {
            for name in ["", "event: message\n"] {
                let mut scanner = Scanner::sse(Provider::Other);
                scanner.push(format!("{name}data: {message}\n\n").as_bytes());
                scanner.finish();
                let state = scanner.state();
                assert!(state.failure.is_none() && state.has_started && state.has_finished, "{message}");
                // Where a model has to answer it is none.
                let mut scanner = Scanner::sse(Provider::Other).for_answer();
                scanner.push(format!("{name}data: {message}\n\n").as_bytes());
                scanner.finish();
                assert!(!scanner.state().has_finished, "{message}");
            }
        }
    }

    /// Regression: a stream that broke off in one choice was complete if another choice had ended before.
    #[test]
    fn a_choice_that_goes_on_is_not_ended_by_the_stop_reason_of_another() {
        for template in [
            r#"{"choices":[{"index":INDEX,"delta":{"content":"TEXT"},"finish_reason":"REASON"}]}"#,
            r#"{"candidates":[{"index":INDEX,"content":{"parts":[{"text":"TEXT"}]},"finishReason":"REASON"}]}"#,
        ] {
            let event = |&(index, text, reason): &(&str, &str, &str)| {
                let data = template.replace("INDEX", index).replace("TEXT", text).replace("REASON", reason);
                format!("data: {data}\n\n")
            };
            let events = [
                ("0", "a", ""),
                ("1", "b", ""),
                ("0", "", "stop"),
                ("1", "c", ""),
                ("1", "d", ""),
                ("1", "", "stop"),
            ];
            for (count, is_complete) in [(4, false), (5, false), (6, true)] {
                let mut scanner = Scanner::sse(Provider::Other).for_answer();
                scanner.push(events[..count].iter().map(event).collect::<String>().as_bytes());
                scanner.finish();
                assert_eq!(scanner.state().has_finished, is_complete, "{count} of {template}");
            }
        }
    }

    fn scanned_usage(events: &[(&str, &str)]) -> Usage {
        let mut scanner = Scanner::sse(Provider::Other).for_answer();
        for (name, data) in events {
            scanner.push(format!("event: {name}\ndata: {data}\n\n").as_bytes());
        }
        scanner.finish();
        scanner.state().usage.unwrap()
    }

    #[test]
    fn a_stream_reports_the_cached_tokens_of_every_dialect() {
        let chat = |usage: &str| {
            format!(r#"{{"choices":[],"usage":{{"prompt_tokens":90,"completion_tokens":1,{usage}}}}}"#)
        };
        let chunk = r#"{"choices":[{"delta":{"content":"x"},"finish_reason":"stop"}]}"#;
        let own = chat(r#""prompt_tokens_details":{"cached_tokens":64}"#);
        let of_deepseek = chat(r#""prompt_cache_hit_tokens":64,"prompt_cache_miss_tokens":26"#);
        let start = r#"{"type":"message_start","message":{"usage":{"input_tokens":6,"cache_creation_input_tokens":100,"cache_read_input_tokens":900,"output_tokens":1}}}"#;
        let block = r#"{"type":"content_block_delta","delta":{"type":"text_delta","text":"x"}}"#;
        let delta =
            r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":7}}"#;
        let again = r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"input_tokens":6,"cache_creation_input_tokens":100,"cache_read_input_tokens":900,"output_tokens":7}}"#;
        let input_only = r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"input_tokens":6,"output_tokens":7}}"#;
        let completed = r#"{"type":"response.completed","response":{"output":[{}],"usage":{"input_tokens":90,"input_tokens_details":{"cached_tokens":64},"output_tokens":1}}}"#;
        let part = r#"{"candidates":[{"content":{"parts":[{"text":"x"}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":90,"cachedContentTokenCount":64}}"#;
        let cohere = r#"{"type":"message-end","delta":{"finish_reason":"COMPLETE","usage":{"tokens":{"input_tokens":90,"output_tokens":1},"cached_tokens":64}}}"#;
        let content = r#"{"type":"content-delta","delta":{"message":{"content":{"text":"x"}}}}"#;
        let written = chat(r#""prompt_tokens_details":{"cached_tokens":64,"cache_write_tokens":20}"#);
        let completed_written =
            completed.replace(r#""cached_tokens":64"#, r#""cached_tokens":64,"cache_write_tokens":20"#);
        for (events, input, cache_read, cache_written) in [
            (vec![("", chunk), ("", &*own)], 90, 64, None),
            (vec![("", chunk), ("", &*written)], 90, 64, Some(20)),
            (vec![("", chunk), ("", &*written), ("", &*own)], 90, 64, Some(20)),
            (vec![("", &*completed_written)], 90, 64, Some(20)),
            (vec![("", chunk), ("", &*of_deepseek)], 90, 64, None),
            (vec![("", start), ("", block), ("", delta)], 106, 900, Some(100)),
            (vec![("", start), ("", block), ("", again)], 106, 900, Some(100)),
            (vec![("", start), ("", block), ("", input_only)], 106, 900, Some(100)),
            (vec![("", completed)], 90, 64, None),
            (vec![("", part)], 90, 64, None),
            (vec![("", content), ("", cohere)], 90, 64, None),
        ] {
            let usage = scanned_usage(&events);
            assert_eq!(
                (usage.input, usage.cache_read, usage.cache_written),
                (Some(input), Some(cache_read), cache_written),
                "{events:?}"
            );
            let is_apart = input > 90;
            assert_eq!(usage.uncounted, is_apart.then_some(cache_read), "{events:?}");
        }
    }

    /// Bedrock's numbers are in its last event.
    #[test]
    fn what_bedrock_wrote_to_the_cache_is_input() {
        let data = br#"{"usage":{"inputTokens":30,"cacheReadInputTokens":40,"cacheWriteInputTokens":20,"outputTokens":6}}"#;
        let usage = Dialect::Converse.read(Event { name: "metadata", data, ..Event::default() }).usage;
        let [input, output] = [50, 6].map(Some);
        let [cache_read, uncounted, cache_written] = [40, 40, 20].map(Some);
        assert_eq!(usage, Usage { input, output, cache_read, uncounted, cache_written });
    }

    #[test]
    fn the_usage_of_a_prompt_and_a_bare_end_are_no_answer() {
        const START: &str =
            r#"{"type":"message_start","message":{"usage":{"input_tokens":7,"output_tokens":1}}}"#;
        const STOP: &str = r#"{"type":"message_stop"}"#;
        const BLOCK: &str =
            r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#;
        const CREATED: &str =
            r#"{"type":"response.created","response":{"status":"in_progress","output":[]}}"#;
        let delta = |delta: &str, usage: &str| {
            format!(r#"{{"type":"message_delta","delta":{{"stop_reason":{delta}}},"usage":{usage}}}"#)
        };
        let completed = |output: &str, usage: &str| {
            format!(r#"{{"type":"response.completed","response":{{"output":{output},"usage":{usage}}}}}"#)
        };
        let text = r#"{"type":"response.output_text.delta","delta":"Hi"}"#;
        for (events, is_answer) in [
            (vec![START.to_owned(), STOP.into()], false),
            (vec![START.into(), BLOCK.into(), STOP.into()], false),
            (vec![START.into(), delta("null", "{}"), STOP.into()], false),
            (vec![START.into(), delta("null", r#"{"output_tokens":0}"#), STOP.into()], false),
            (vec![START.into(), delta("null", r#"{"output_tokens":3}"#), STOP.into()], true),
            (vec![START.into(), delta(r#""end_turn""#, "{}"), STOP.into()], true),
            (vec![CREATED.into(), completed("[]", "null")], false),
            (
                vec![CREATED.replace("[]", r#"[],"usage":{"output_tokens":3}"#), completed("[]", "null")],
                false,
            ),
            (vec![CREATED.into(), completed("[]", r#"{"input_tokens":7,"output_tokens":0}"#)], false),
            (vec![CREATED.into(), completed("[]", r#"{"input_tokens":7,"output_tokens":5}"#)], true),
            (vec![CREATED.into(), completed(r#"[{"type":"reasoning"}]"#, "null")], true),
            (vec![CREATED.into(), text.into(), completed("[]", "null")], true),
        ] {
            // Some servers end a response with an event of another type.
            for end in ["response.completed", "response.done"] {
                let mut scanner = Scanner::sse(Provider::Other).for_answer();
                for event in &events {
                    let event = event.replace("response.completed", end);
                    scanner.push(format!("data: {event}\n\n").as_bytes());
                }
                scanner.finish();
                let state = scanner.state();
                assert_eq!(
                    (state.has_finished, state.failure.is_none()),
                    (is_answer, is_answer),
                    "{end}: {events:?}"
                );
            }
        }
    }

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
    fn any_other_json_is_passed_through_chunk_by_chunk() {
        // Even if it looks truncated: that is left to the reader of the whole body.
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
            assert_eq!(
                progress[0],
                ScanProgress { events: 1, tokens: 1, comments: 0, ..ScanProgress::default() },
                "{plain:?}"
            );
            assert!(scanner.state().has_started && scanner.state().has_finished);
            assert!(scanner.state().failure.is_none() && scanner.dialect().is_none());
        }
    }

    #[test]
    fn an_error_object_is_a_failure_wherever_it_is_cut() {
        let error = br#"{"error":{"code":503,"status":"UNAVAILABLE"}}"#;
        for cut in 0..error.len() {
            let (scanner, progress) = play(&[&error[..cut], &error[cut..]]);
            assert_eq!(progress, [ScanProgress::default(); 2]);
            let failure = scanner.state().failure.clone().expect("a failure");
            assert_eq!(failure.provider_code.as_deref(), Some("UNAVAILABLE"), "{cut}");
            assert!(!scanner.state().has_started && !scanner.state().has_finished, "{cut}");
        }
        // A body that stays undecided to its end is a success.
        for nothing in [&b"{}"[..], b"\n {\"a\":["] {
            let (scanner, progress) = play(&[nothing]);
            assert_eq!(progress, [ScanProgress::default()]);
            assert!(scanner.state().has_started && scanner.state().has_finished);
        }
    }

    #[test]
    fn an_empty_body_is_not_finished() {
        let (scanner, progress) = play(&[b"", b" \n"]);
        assert_eq!(progress, [ScanProgress::default(); 2]);
        assert!(!scanner.state().has_started && !scanner.state().has_finished);
        // The same holds for an array that is truncated after its bracket, or within an element of an unknown
        // dialect.
        assert!(!play(&[b" [", b" "]).0.state().has_finished);
        assert!(!play(&[br#"[{"a":1},{"b":"#]).0.state().has_finished);
        assert!(play(&[br#"[{"a":1},{"b":2}]"#]).0.state().has_finished);
    }

    #[test]
    fn the_end_of_an_event_above_the_limit_is_read() {
        let text = "x".repeat(2 * MAX_EVENT);
        let chat = format!(
            r#"{{"choices":[{{"delta":{{"content":"{text}"}},"finish_reason":"stop"}}],"usage":{{"completion_tokens":7}}}}"#
        );
        let gemini = format!(
            r#"{{"candidates":[{{"content":{{"parts":[{{"inlineData":{{"data":"{text}"}}}}]}},"finishReason":"STOP"}}]}}"#
        );
        let error = format!(r#"{{"pad":"{text}","error":{{"message":"x","code":503}}}}"#);
        for (bytes, scanner, is_error) in [
            (format!("data: {chat}\n\n"), Scanner::sse(Provider::Other), false),
            (format!("data: {gemini}\n\n"), Scanner::sse(Provider::Gemini), false),
            (format!("[{gemini}]"), Scanner::json_array(Provider::Gemini), false),
            (format!("data: {error}\n\n"), Scanner::sse(Provider::Other), true),
        ] {
            let mut scanner = scanner.for_answer();
            for piece in bytes.as_bytes().chunks(60_000) {
                scanner.push(piece);
            }
            scanner.finish();
            let state = scanner.state();
            assert_eq!((state.has_finished, state.stop.is_some()), (!is_error, !is_error), "{:.40}", bytes);
            let code = state.failure.as_ref().map(|failure| failure.code);
            assert_eq!(code, is_error.then_some(ErrorCode::Overloaded), "{:.40}", bytes);
        }
    }

    #[test]
    fn a_malformed_event_is_not_the_first_token_of_an_answer() {
        let mut scanner = Scanner::sse(Provider::Other).for_answer();
        scanner.push(b"data: {\"choices\":[{\"delta\":{\"content\":\"haldata: [DONE]\n\n");
        assert!(!scanner.state().has_started);
        scanner.push(b"data: {\"choices\":[{\"delta\":{\"content\":\"Hi\"}}]}\n\n");
        assert!(scanner.state().has_started);
    }

    /// Without the limit a gigabyte without an end would be buffered.
    #[test]
    fn no_framer_buffers_more_than_the_limit() {
        let (mut sse, mut array, mut amazon) =
            (SseFramer::new(), ArrayFramer::default(), AmazonFramer::default());
        let mut bare = SseFramer::new();
        bare.push(b"{\n", |_| {});
        sse.push(b"event: x\n", |_| {});
        array.push(b"[{\"a\":\"", |_| {});
        amazon.push(b"\x02\0\0\0\0\0\0\0\0\0\0\0", |_| {});
        for _ in 0..64 {
            for _ in 0..16 {
                sse.push(&[b'x'; 16 * 1024], |_| {});
                bare.push(&[b'x'; 16 * 1024], |_| {});
                array.push(&[b'x'; 16 * 1024], |_| {});
                amazon.push(&[b'x'; 16 * 1024], |_| {});
            }
            sse.push(b"\ndata: ", |_| {});
            bare.push(b"\n", |_| {});
        }
        // A buffer grows by doubling.
        assert!(sse.buffered() <= 5 * MAX_EVENT, "{}", sse.buffered());
        assert!(bare.buffered() <= 5 * MAX_EVENT, "{}", bare.buffered());
        assert!(array.buffered() <= 3 * MAX_EVENT, "{}", array.buffered());
        assert!(amazon.buffered() <= 2 * MAX_EVENT, "{}", amazon.buffered());
    }
}
