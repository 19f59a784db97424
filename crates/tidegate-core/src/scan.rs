use crate::Failure;

/// Scans a response stream while it passes, and keeps its state.
///
/// Implementations do no I/O: they take bytes in chunks of any size, and the same bytes give the same state
/// however they are split. Scanning never fails: an event that cannot be parsed has no effect on the state.
pub trait Scan: Send + Sync {
    /// Scans the next bytes of the body.
    fn push(&mut self, bytes: &[u8]) -> ScanProgress;

    /// Ends the scan at the end of the body. An incomplete last event is scanned as it is.
    fn finish(&mut self) -> ScanProgress;

    /// The state of the stream so far.
    fn state(&self) -> &StreamState;
}

/// The number of events in one chunk of a stream, by which the stream timers are reset.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScanProgress {
    /// Events that were completed by the chunk, pings and comments included.
    pub events: u32,
    /// Of these, events with generated content: text, tool calls or reasoning.
    pub tokens: u32,
    /// The tokens of their texts beyond one for each event, estimated: for texts that are longer than any token.
    pub surplus_tokens: u32,
    /// Of these, events without data: comments, and names alone.
    pub comments: u32,
}

/// The state of a stream so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamState {
    /// Generated content was seen: the stream has passed the commit point.
    pub has_started: bool,
    /// The provider sent the event or terminator that ends a complete stream in its dialect.
    pub has_finished: bool,
    /// The failure that the provider reported in the stream. Later events are ignored.
    pub failure: Option<Failure>,
    /// Why the model stopped, if the provider reported it.
    pub stop: Option<StopReason>,
    /// The token usage that the provider reported.
    pub usage: Option<Usage>,
}

/// Why a model stopped generating.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// The response is complete, or it ends in a tool call.
    Natural,
    /// The limit of tokens was reached.
    Length,
    /// A content filter ended the response.
    ContentFilter,
    /// Another reason.
    Other,
}

/// The token usage that a provider reported for one response.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the prompt, as they count against the limits of the provider.
    pub input: Option<u64>,
    /// Tokens of the response.
    pub output: Option<u64>,
    /// Tokens of the prompt that the provider read from its cache of prompts.
    pub cache_read: Option<u64>,
    /// Of these, those that `input` does not contain, since they do not count against the limits: all at
    /// Anthropic and Bedrock, and none at the others.
    pub uncounted: Option<u64>,
    /// Tokens of the prompt that the provider wrote to its cache of prompts. `input` contains them.
    pub cache_written: Option<u64>,
}

impl Usage {
    /// The sum of both, as far as they are known.
    #[must_use]
    pub fn total(&self) -> Option<u64> {
        match (self.input, self.output) {
            (None, None) => None,
            (input, output) => Some(input.unwrap_or(0).saturating_add(output.unwrap_or(0))),
        }
    }
}
