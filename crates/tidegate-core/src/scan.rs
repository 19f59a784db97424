use crate::Failure;

/// Reads a stream as it passes, and knows what it has come to.
///
/// Sans-io: bytes in, in any chunks; the same bytes give the same meaning however they are cut. It never
/// fails: an event that cannot be read is an event without meaning.
pub trait Scan: Send {
    /// Takes the next bytes.
    fn push(&mut self, bytes: &[u8]) -> ScanProgress;

    /// The body has ended; what was left unfinished is taken as it is.
    fn finish(&mut self) -> ScanProgress;

    /// Where the stream stands.
    fn state(&self) -> &StreamState;
}

/// What one piece of a stream held: signs of life, for the clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScanProgress {
    /// Events that were completed, pings and comments included.
    pub events: u32,
    /// Of these, events that carry generated content: text, tool calls or reasoning.
    pub tokens: u32,
}

/// What a stream has come to so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StreamState {
    /// Generated content has been seen: the commit point is behind us.
    pub has_started: bool,
    /// The provider said that it has finished, in the way its dialect does.
    pub has_finished: bool,
    /// The provider said that it has failed; nothing that follows counts.
    pub failure: Option<Failure>,
    /// Why the model stopped, if it said so.
    pub stop: Option<StopReason>,
    /// The tokens that the provider counted.
    pub usage: Option<Usage>,
}

/// Why a model stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopReason {
    /// It had said what it wanted, or wants a tool to be called.
    Natural,
    /// It ran into the limit of tokens.
    Length,
    /// A content filter stopped it.
    ContentFilter,
    /// Another reason.
    Other,
}

/// The tokens that a provider counted for one answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the prompt.
    pub input: Option<u64>,
    /// Tokens of the answer.
    pub output: Option<u64>,
}

impl Usage {
    /// Both together, as far as they are known.
    #[must_use]
    pub fn total(&self) -> Option<u64> {
        match (self.input, self.output) {
            (None, None) => None,
            (input, output) => Some(input.unwrap_or(0).saturating_add(output.unwrap_or(0))),
        }
    }
}
