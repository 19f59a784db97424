use std::time::Duration;

use bytes::Bytes;
use http::header::RETRY_AFTER;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::dialect::Stop;

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
    pub(super) pause: Option<(usize, Duration)>,
    pub(super) malformed_at: Option<usize>,
    /// After how many events, and of how many bytes.
    pub(super) giant_at: Option<(usize, usize)>,
    pub(super) pings: Option<Duration>,
}

#[derive(Clone, Debug)]
pub(super) enum Kind {
    Answer { reasoning: usize, words: Words, stop: Stop },
    Error(ErrorWords),
    Raw(Vec<Bytes>),
    Hang,
    Reset,
}

#[derive(Clone, Debug)]
pub(super) enum Words {
    Text(String),
    Count(usize),
    Call { tool: String, arguments: String },
}

/// What an error body says. The dialect fills in what is not set.
#[derive(Clone, Debug, Default)]
pub(super) struct ErrorWords {
    pub(super) code: Option<String>,
    pub(super) kind: Option<String>,
    pub(super) message: Option<String>,
    /// When to come back, for dialects that say so in the body.
    pub(super) wait: Option<Duration>,
}

/// How the body ends.
#[derive(Clone, Debug)]
pub(super) enum Ending {
    Whole,
    StallAfter(usize),
    CutAfter(usize),
    ResetAfter(usize),
    EndAfter(usize),
    ErrorAt(usize, ErrorWords),
    FailedAt(usize, ErrorWords),
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
            pause: None,
            malformed_at: None,
            giant_at: None,
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
        Self::answer(Words::Text(text.into()))
    }

    /// A good answer that calls `tool` instead of saying something; `arguments` is JSON, and comes in pieces of
    /// some characters, each of them a token (where the dialect has pieces: Gemini sends a call whole).
    #[must_use]
    pub fn tool_call(tool: impl Into<String>, arguments: impl Into<String>) -> Self {
        Self::answer(Words::Call { tool: tool.into(), arguments: arguments.into() })
    }

    fn answer(words: Words) -> Self {
        Self::new(StatusCode::OK, Kind::Answer { reasoning: 0, words, stop: Stop::Natural })
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

    /// The refusal of a limit that will let the next one in after `wait`.
    pub(super) fn too_many(wait: Duration) -> Self {
        let words = ErrorWords { wait: Some(wait), ..ErrorWords::default() };
        Self::new(StatusCode::TOO_MANY_REQUESTS, Kind::Error(words))
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

    /// Tells the caller to come back after so many seconds, by the usual header, whether the dialect has it or not.
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
            (Kind::Error(words), _) | (_, Ending::ErrorAt(_, words) | Ending::FailedAt(_, words)) => {
                set(words)
            }
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

    /// So many tokens of thought before the first word, as the dialect tells them.
    #[must_use]
    pub const fn reasoning(mut self, tokens: usize) -> Self {
        if let Kind::Answer { reasoning, .. } = &mut self.kind {
            *reasoning = tokens;
        }
        self
    }

    /// Why the answer ends, in the dialect's own word. When not set, all was said: `stop`, `end_turn`,
    /// `tool_calls`, `STOP`, ...
    #[must_use]
    pub fn finish_reason(self, reason: impl Into<String>) -> Self {
        self.stop(Stop::Word(reason.into()))
    }

    /// The answer ends because it is as long as it may be.
    #[must_use]
    pub fn stopped_by_length(self) -> Self {
        self.stop(Stop::Length)
    }

    /// The answer ends because a content filter stopped it.
    #[must_use]
    pub fn stopped_by_filter(self) -> Self {
        self.stop(Stop::Filter)
    }

    fn stop(mut self, reason: Stop) -> Self {
        if let Kind::Answer { stop, .. } = &mut self.kind {
            *stop = reason;
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

impl Words {
    /// The text, or the arguments of a call, in pieces as a model would send them.
    pub(super) fn tokens(&self) -> Vec<String> {
        const PIECE: usize = 8;
        match self {
            Self::Text(text) => text.split_inclusive(' ').map(str::to_owned).collect(),
            Self::Count(count) => (1..=*count).map(|number| format!("t{number} ")).collect(),
            Self::Call { arguments, .. } => {
                let characters: Vec<char> = arguments.chars().collect();
                characters.chunks(PIECE).map(|piece| piece.iter().collect()).collect()
            }
        }
    }

    /// The tool that is called.
    pub(super) fn tool(&self) -> Option<&str> {
        match self {
            Self::Call { tool, .. } => Some(tool),
            Self::Text(_) | Self::Count(_) => None,
        }
    }
}
