use super::WireEvent;
use crate::provider::request_info::RequestInfo;
use crate::provider::stop_kind::StopKind;

/// A successful response, independent of the dialect.
pub(in crate::provider) struct Completion<'a> {
    pub(in crate::provider) info: &'a RequestInfo,
    pub(in crate::provider) number: usize,
    /// The reasoning tokens, which precede the text.
    pub(in crate::provider) reasoning: &'a [String],
    /// The tokens of the text, or of the arguments of the call.
    pub(in crate::provider) tokens: &'a [String],
    /// The tool that is called instead of a text.
    pub(in crate::provider) tool: Option<&'a str>,
    pub(in crate::provider) stop: &'a StopKind,
}

/// The finish reasons of a dialect.
pub(super) struct StopReasons {
    pub(super) natural: &'static str,
    pub(super) tool: &'static str,
    pub(super) length: &'static str,
    pub(super) filter: &'static str,
}

/// The events of a stream.
#[derive(Default)]
pub(in crate::provider) struct StreamEvents {
    pub(in crate::provider) before: Vec<WireEvent>,
    /// The events of each token: the event itself, after the events that open its block.
    pub(in crate::provider) tokens: Vec<Vec<WireEvent>>,
    pub(in crate::provider) after: Vec<WireEvent>,
}

impl<'a> Completion<'a> {
    pub(super) fn model(&self) -> &'a str {
        self.info.model.as_deref().unwrap_or("scripted-model")
    }

    /// The number of all generated tokens.
    pub(super) fn count(&self) -> usize {
        self.reasoning.len() + self.tokens.len()
    }

    /// The text, or the arguments of a call.
    pub(super) fn text(&self) -> String {
        self.tokens.concat()
    }

    pub(super) fn stop_reason(&self, reasons: &StopReasons) -> &'a str {
        match self.stop {
            StopKind::Natural if self.tool.is_some() => reasons.tool,
            StopKind::Natural => reasons.natural,
            StopKind::Length => reasons.length,
            StopKind::Filter => reasons.filter,
            StopKind::Custom(reason) => reason,
        }
    }
}
