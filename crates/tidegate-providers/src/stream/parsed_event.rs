use tidegate_core::{ErrorCode, StopReason, Usage};

/// What one event says, in the words of its dialect made common.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct ParsedEvent {
    /// It carries generated content.
    pub(crate) is_token: bool,
    pub(crate) end: EndSignal,
    pub(crate) error: Option<StreamError>,
    pub(crate) stop: Option<StopReason>,
    pub(crate) usage: Usage,
}

/// Whether the stream may end after this event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum EndSignal {
    /// Nothing was said about it.
    #[default]
    None,
    /// The end of the body, when it comes, is the end of the answer.
    Allowed,
    /// This was the end of the answer.
    Final,
}

/// How an event says that the provider failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StreamError {
    /// The event is an error; what it says is to be judged.
    Event,
    /// The stop reason says so, in this word.
    StopReason(&'static str, ErrorCode),
}

impl ParsedEvent {
    /// An event that carries generated content and nothing else.
    pub(crate) fn token() -> Self {
        Self { is_token: true, ..Self::default() }
    }
}
