use tidegate_core::{ErrorCode, Stop, Usage};

/// What one event says, in the words of its dialect made common.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Reading {
    /// It carries generated content.
    pub(crate) is_token: bool,
    pub(crate) end: End,
    pub(crate) trouble: Option<Trouble>,
    pub(crate) stop: Option<Stop>,
    pub(crate) usage: Usage,
}

/// Whether the stream may end after this event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum End {
    /// Nothing was said about it.
    #[default]
    Open,
    /// The end of the body, when it comes, is the end of the answer.
    Allowed,
    /// This was the end of the answer.
    Said,
}

/// How an event says that the provider failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The event is an error; what it says is to be judged.
    Told,
    /// The stop reason says so, in this word.
    Reason(&'static str, ErrorCode),
}

impl Reading {
    /// An event that carries generated content and nothing else.
    pub(crate) fn token() -> Self {
        Self { is_token: true, ..Self::default() }
    }
}
