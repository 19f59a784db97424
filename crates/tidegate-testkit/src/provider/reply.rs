use std::time::Duration;

use bytes::Bytes;
use http::header::RETRY_AFTER;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::error_spec::ErrorSpec;
use super::stop_kind::StopKind;

/// The response of a scripted provider to one request.
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
    pub(super) kind: ReplyKind,
    pub(super) latency: Duration,
    pub(super) pace: Duration,
    pub(super) ending: ReplyEnding,
    pub(super) pause: Option<(usize, Duration)>,
    pub(super) malformed_at: Option<usize>,
    /// The number of events before it, and its size in bytes.
    pub(super) giant_at: Option<(usize, usize)>,
    pub(super) pings: Option<Duration>,
}

#[derive(Clone, Debug)]
pub(super) enum ReplyKind {
    Completion { reasoning: usize, content: ReplyContent, stop: StopKind },
    Error(ErrorSpec),
    Raw(Vec<Bytes>),
    Hang,
    Reset,
}

#[derive(Clone, Debug)]
pub(super) enum ReplyContent {
    Text(String),
    Count(usize),
    Call { tool: String, arguments: String },
}

/// How the body ends.
#[derive(Clone, Debug)]
pub(super) enum ReplyEnding {
    Whole,
    StallAfter(usize),
    CutAfter(usize),
    ResetAfter(usize),
    EndAfter(usize),
    ErrorAt(usize, ErrorSpec),
    FailedAt(usize, ErrorSpec),
}

/// Constructors.
impl Reply {
    fn new(status: StatusCode, kind: ReplyKind) -> Self {
        Self {
            status,
            headers: HeaderMap::new(),
            kind,
            latency: Duration::ZERO,
            pace: Duration::ZERO,
            ending: ReplyEnding::Whole,
            pause: None,
            malformed_at: None,
            giant_at: None,
            pings: None,
        }
    }

    /// A successful response of a few words.
    #[must_use]
    pub fn ok() -> Self {
        Self::text("hello from a scripted provider")
    }

    /// A successful response with this text. Each word is a token.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self::completion(ReplyContent::Text(text.into()))
    }

    /// A successful response that calls `tool` and has no text. `arguments` is JSON and is streamed in pieces
    /// of a few characters, each of them a token. Gemini sends a call in one piece.
    #[must_use]
    pub fn tool_call(tool: impl Into<String>, arguments: impl Into<String>) -> Self {
        Self::completion(ReplyContent::Call { tool: tool.into(), arguments: arguments.into() })
    }

    fn completion(content: ReplyContent) -> Self {
        Self::new(StatusCode::OK, ReplyKind::Completion { reasoning: 0, content, stop: StopKind::Natural })
    }

    /// A reply with this status: a successful response below 400, otherwise the dialect's error for the
    /// status.
    ///
    /// # Panics
    ///
    /// If `status` is not an HTTP status.
    #[must_use]
    pub fn status(status: u16) -> Self {
        let status = StatusCode::from_u16(status).expect("an HTTP status is between 100 and 999");
        match status.as_u16() {
            ..400 => Self { status, ..Self::ok() },
            _ => Self::new(status, ReplyKind::Error(ErrorSpec::default())),
        }
    }

    /// An error with the dialect's own code, such as `insufficient_quota` or `overloaded_error`.
    ///
    /// # Panics
    ///
    /// If `status` is not an HTTP status.
    #[must_use]
    pub fn error(status: u16, code: impl Into<String>) -> Self {
        let status = StatusCode::from_u16(status).expect("an HTTP status is between 100 and 999");
        Self::new(status, ReplyKind::Error(ErrorSpec { code: Some(code.into()), ..ErrorSpec::default() }))
    }

    /// The rejection by a rate limit that accepts the next request after `wait`.
    pub(super) fn too_many(wait: Duration) -> Self {
        let spec = ErrorSpec { wait: Some(wait), ..ErrorSpec::default() };
        Self::new(StatusCode::TOO_MANY_REQUESTS, ReplyKind::Error(spec))
    }

    /// 200 with these bytes as its body, sent as they are. [`frame`](Self::frame) adds more.
    #[must_use]
    pub fn raw(body: impl Into<Bytes>) -> Self {
        Self::new(StatusCode::OK, ReplyKind::Raw(vec![body.into()]))
    }

    /// No response is ever sent.
    #[must_use]
    pub fn hang() -> Self {
        Self::new(StatusCode::OK, ReplyKind::Hang)
    }

    /// The connection is reset before a response head is sent.
    #[must_use]
    pub fn reset() -> Self {
        Self::new(StatusCode::OK, ReplyKind::Reset)
    }
}

/// Contents.
impl Reply {
    /// Adds a header, or replaces one that the dialect would send.
    ///
    /// # Panics
    ///
    /// If the name or the value is not valid in a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        let name: HeaderName = name.parse().expect("a header name");
        let value: HeaderValue = value.parse().expect("a header value");
        self.headers.append(name, value);
        self
    }

    /// Sets the header `retry-after` to `seconds`, even if the dialect does not use it.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        self
    }

    /// The human-readable message of an error.
    #[must_use]
    pub fn message(self, message: impl Into<String>) -> Self {
        self.edit_error(|spec| spec.message = Some(message.into()))
    }

    /// The `type` of an error, if it differs from the one that usually goes with its code.
    #[must_use]
    pub fn error_type(self, kind: impl Into<String>) -> Self {
        self.edit_error(|spec| spec.kind = Some(kind.into()))
    }

    fn edit_error(mut self, set: impl FnOnce(&mut ErrorSpec)) -> Self {
        match (&mut self.kind, &mut self.ending) {
            (ReplyKind::Error(spec), _)
            | (_, ReplyEnding::ErrorAt(_, spec) | ReplyEnding::FailedAt(_, spec)) => set(spec),
            _ => {}
        }
        self
    }

    /// A response of `count` tokens.
    #[must_use]
    pub fn tokens(mut self, count: usize) -> Self {
        if let ReplyKind::Completion { content, .. } = &mut self.kind {
            *content = ReplyContent::Count(count);
        }
        self
    }

    /// The number of reasoning tokens before the first token of the text, in the form of the dialect.
    #[must_use]
    pub const fn reasoning(mut self, tokens: usize) -> Self {
        if let ReplyKind::Completion { reasoning, .. } = &mut self.kind {
            *reasoning = tokens;
        }
        self
    }

    /// The finish reason, as the dialect spells it. The default is that of a complete response: `stop`,
    /// `end_turn`, `tool_calls`, `STOP`, ...
    #[must_use]
    pub fn finish_reason(self, reason: impl Into<String>) -> Self {
        self.stop(StopKind::Custom(reason.into()))
    }

    /// The response ends at the token limit.
    #[must_use]
    pub fn stopped_by_length(self) -> Self {
        self.stop(StopKind::Length)
    }

    /// The response ends because of a content filter.
    #[must_use]
    pub fn stopped_by_filter(self) -> Self {
        self.stop(StopKind::Filter)
    }

    fn stop(mut self, reason: StopKind) -> Self {
        if let ReplyKind::Completion { stop, .. } = &mut self.kind {
            *stop = reason;
        }
        self
    }

    /// Adds a frame to a [raw](Self::raw) body.
    #[must_use]
    pub fn frame(mut self, data: impl Into<Bytes>) -> Self {
        if let ReplyKind::Raw(frames) = &mut self.kind {
            frames.push(data.into());
        }
        self
    }
}

impl ReplyContent {
    /// The text, or the arguments of a call, in the pieces that a model would send.
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

    /// The name of the called tool.
    pub(super) fn tool(&self) -> Option<&str> {
        match self {
            Self::Call { tool, .. } => Some(tool),
            Self::Text(_) | Self::Count(_) => None,
        }
    }
}
