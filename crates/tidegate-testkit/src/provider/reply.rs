use std::time::Duration;

use bytes::Bytes;
use http::header::RETRY_AFTER;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

/// What the provider does with one request.
///
/// ```
/// use std::time::Duration;
/// use tidegate_testkit::Reply;
///
/// let quota = Reply::error(429, "insufficient_quota").message("you exceeded your current quota");
/// let slow = Reply::text("one two three").latency(Duration::from_secs(2)).pace(Duration::from_millis(50));
/// let broken = Reply::ok().tokens(100).cut_after(3);
/// # drop((quota, slow, broken));
/// ```
#[derive(Clone, Debug)]
pub struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) kind: Kind,
    pub(super) latency: Duration,
    pub(super) pace: Duration,
    pub(super) ending: Ending,
    pub(super) malformed_at: Option<usize>,
    pub(super) pings: Option<Duration>,
}

#[derive(Clone, Debug)]
pub(super) enum Kind {
    Answer { words: Words, finish_reason: Option<String> },
    Error(ErrorWords),
    Raw(Vec<Bytes>),
    Hang,
    Reset,
}

#[derive(Clone, Debug)]
pub(super) enum Words {
    Text(String),
    Count(usize),
}

/// What an error body says. The dialect fills in what is not set.
#[derive(Clone, Debug, Default)]
pub(super) struct ErrorWords {
    pub(super) code: Option<String>,
    pub(super) kind: Option<String>,
    pub(super) message: Option<String>,
}

/// How the body ends.
#[derive(Clone, Debug)]
pub(super) enum Ending {
    Whole,
    StallAfter(usize),
    CutAfter(usize),
    EndAfter(usize),
    ErrorAt(usize, ErrorWords),
}

/// What kind of reply.
impl Reply {
    fn new(status: StatusCode, kind: Kind) -> Self {
        Self {
            status,
            headers: HeaderMap::new(),
            kind,
            latency: Duration::ZERO,
            pace: Duration::ZERO,
            ending: Ending::Whole,
            malformed_at: None,
            pings: None,
        }
    }

    /// A good answer in a few words.
    #[must_use]
    pub fn ok() -> Self {
        Self::text("hello from a scripted provider")
    }

    /// A good answer in these words; each word is a token.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        let words = Words::Text(text.into());
        Self::new(StatusCode::OK, Kind::Answer { words, finish_reason: None })
    }

    /// A reply with this status: an answer below 400, else the error that the dialect has for it.
    ///
    /// # Panics
    ///
    /// If `status` is no HTTP status.
    #[must_use]
    pub fn status(status: u16) -> Self {
        let status = StatusCode::from_u16(status).expect("an HTTP status is between 100 and 999");
        match status.as_u16() {
            ..400 => Self { status, ..Self::ok() },
            _ => Self::new(status, Kind::Error(ErrorWords::default())),
        }
    }

    /// An error with the dialect's own word for it, such as `insufficient_quota` or `overloaded_error`.
    ///
    /// # Panics
    ///
    /// If `status` is no HTTP status.
    #[must_use]
    pub fn error(status: u16, code: impl Into<String>) -> Self {
        let status = StatusCode::from_u16(status).expect("an HTTP status is between 100 and 999");
        Self::new(status, Kind::Error(ErrorWords { code: Some(code.into()), ..ErrorWords::default() }))
    }

    /// 200 and these bytes, whatever they mean. [`frame`](Self::frame) adds more.
    #[must_use]
    pub fn raw(body: impl Into<Bytes>) -> Self {
        Self::new(StatusCode::OK, Kind::Raw(vec![body.into()]))
    }

    /// No answer, ever.
    #[must_use]
    pub fn hang() -> Self {
        Self::new(StatusCode::OK, Kind::Hang)
    }

    /// The connection is reset instead of an answer.
    #[must_use]
    pub fn reset() -> Self {
        Self::new(StatusCode::OK, Kind::Reset)
    }
}

/// What is in it.
impl Reply {
    /// Adds a header, or replaces one that the dialect would send.
    ///
    /// # Panics
    ///
    /// If the name or the value cannot stand in a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        let name: HeaderName = name.parse().expect("a header name");
        let value: HeaderValue = value.parse().expect("a header value");
        self.headers.append(name, value);
        self
    }

    /// Tells the caller to come back after so many seconds.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        self
    }

    /// The words of an error for people.
    #[must_use]
    pub fn message(self, message: impl Into<String>) -> Self {
        self.error_words(|words| words.message = Some(message.into()))
    }

    /// The `type` of an error, where it is not the one that usually goes with its code.
    #[must_use]
    pub fn error_type(self, kind: impl Into<String>) -> Self {
        self.error_words(|words| words.kind = Some(kind.into()))
    }

    fn error_words(mut self, set: impl FnOnce(&mut ErrorWords)) -> Self {
        match (&mut self.kind, &mut self.ending) {
            (Kind::Error(words), _) | (_, Ending::ErrorAt(_, words)) => set(words),
            _ => {}
        }
        self
    }

    /// An answer of so many tokens.
    #[must_use]
    pub fn tokens(mut self, count: usize) -> Self {
        if let Kind::Answer { words, .. } = &mut self.kind {
            *words = Words::Count(count);
        }
        self
    }

    /// Why the answer ends, in the dialect's words; `stop` or `end_turn` when not set.
    #[must_use]
    pub fn finish_reason(mut self, reason: impl Into<String>) -> Self {
        if let Kind::Answer { finish_reason, .. } = &mut self.kind {
            *finish_reason = Some(reason.into());
        }
        self
    }

    /// One more frame of a [raw](Self::raw) body.
    #[must_use]
    pub fn frame(mut self, data: impl Into<Bytes>) -> Self {
        if let Kind::Raw(frames) = &mut self.kind {
            frames.push(data.into());
        }
        self
    }
}

/// How it comes, and what goes wrong with it on the way.
impl Reply {
    /// The time until the head.
    #[must_use]
    pub const fn latency(mut self, latency: Duration) -> Self {
        self.latency = latency;
        self
    }

    /// The time between two tokens, or two raw frames. An answer that is not streamed takes as long as its
    /// stream would, before its head.
    #[must_use]
    pub const fn pace(mut self, pace: Duration) -> Self {
        self.pace = pace;
        self
    }

    /// Silence after `tokens` tokens (or raw frames), and no end.
    #[must_use]
    pub fn stall_after(mut self, tokens: usize) -> Self {
        self.ending = Ending::StallAfter(tokens);
        self
    }

    /// While it stalls, the dialect's sign of life comes at this interval.
    #[must_use]
    pub const fn pings(mut self, every: Duration) -> Self {
        self.pings = Some(every);
        self
    }

    /// The connection closes after `tokens` tokens (or raw frames).
    #[must_use]
    pub fn cut_after(mut self, tokens: usize) -> Self {
        self.ending = Ending::CutAfter(tokens);
        self
    }

    /// The body ends after `tokens` tokens (or raw frames), as if all were well, but without the terminator.
    #[must_use]
    pub fn end_after(mut self, tokens: usize) -> Self {
        self.ending = Ending::EndAfter(tokens);
        self
    }

    /// After `events` events of the stream comes an error event, and the end.
    #[must_use]
    pub fn error_event_at(mut self, events: usize, code: impl Into<String>) -> Self {
        let words = ErrorWords { code: Some(code.into()), ..ErrorWords::default() };
        self.ending = Ending::ErrorAt(events, words);
        self
    }

    /// After `events` events of the stream comes one that is no JSON; then the stream goes on.
    #[must_use]
    pub const fn malformed_event_at(mut self, events: usize) -> Self {
        self.malformed_at = Some(events);
        self
    }
}

impl Words {
    /// The text in pieces, as a model would send it.
    pub(super) fn tokens(&self) -> Vec<String> {
        match self {
            Self::Text(text) => text.split_inclusive(' ').map(str::to_owned).collect(),
            Self::Count(count) => (1..=*count).map(|number| format!("t{number} ")).collect(),
        }
    }
}
