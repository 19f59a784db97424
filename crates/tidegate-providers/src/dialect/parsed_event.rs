use tidegate_core::{ErrorCode, Failure, FailureKind, StopReason, Usage};

/// The content of one event, independent of its dialect.
#[derive(Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ParsedEvent {
    /// The event contains generated content.
    pub is_token: bool,
    /// Whether the stream may end after the event.
    pub end: EndSignal,
    /// The failure that the event reports.
    pub error: Option<StreamError>,
    /// Why the model stopped.
    pub stop: Option<StopReason>,
    /// The numbers of tokens in the event.
    pub usage: Usage,
    /// The stop reason and the usage of the event show no answer: they are those of a response that only
    /// begins, or that ends without output.
    pub is_bare: bool,
}

/// Whether the stream may end after this event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EndSignal {
    /// The event does not affect the end.
    #[default]
    None,
    /// If the body ends after this event, the response is complete.
    Allowed,
    /// This event ends the response.
    Final,
}

/// How an event reports a failure of the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamError {
    /// The event is an error, which is classified by its body.
    Event,
    /// The stop reason, given here, reports the failure.
    StopReason(&'static str, ErrorCode),
    /// The stop reason, given here, reports that the output of the model could not be parsed.
    Output(&'static str),
}

impl StreamError {
    /// The failure that the stop reason reports; `None` for an error event, whose body reports it.
    #[must_use]
    pub fn failure(self) -> Option<Failure> {
        let (reason, code, kind) = match self {
            Self::Event => return None,
            Self::StopReason(reason, code) => (reason, code, FailureKind::Response),
            Self::Output(reason) => (reason, ErrorCode::ServerError, FailureKind::ModelOutput),
        };
        Some(Failure { kind, provider_code: Some(reason.into()), ..Failure::new(code) })
    }
}

impl ParsedEvent {
    /// An event that contains generated content and nothing else.
    pub(crate) fn token() -> Self {
        Self { is_token: true, ..Self::default() }
    }

    /// Applies a stop reason, which may report a `failure`. An error in a field of its own is more specific.
    pub(crate) fn apply_stop(&mut self, reason: Option<StopReason>, failure: Option<StreamError>) {
        self.stop = reason;
        match failure {
            Some(error) => _ = self.error.get_or_insert(error),
            None => self.end = EndSignal::Allowed,
        }
    }
}
