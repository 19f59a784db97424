use tidegate_core::{BodyProbe, StopReason};

use super::parsed_event::StreamError;
use crate::json::walk::Leaf;

/// What the first bytes of a response body, or one of its leaves, show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProbeResult {
    Success,
    Unclear,
    /// A content filter stopped the response. It is an error if the rest of the body has no content either.
    Filtered,
    Error(StreamError),
}

impl ProbeResult {
    /// What a stop reason shows: the `failure` that it reports, a filter, or a response that is complete.
    pub(crate) fn of_stop(reason: Option<StopReason>, failure: Option<StreamError>) -> Self {
        match (failure, reason) {
            (Some(failure), _) => Self::Error(failure),
            (None, Some(StopReason::ContentFilter)) => Self::Filtered,
            (None, Some(_)) => Self::Success,
            (None, None) => Self::Unclear,
        }
    }
}

impl From<ProbeResult> for BodyProbe {
    fn from(beginning: ProbeResult) -> Self {
        match beginning {
            ProbeResult::Success => Self::Success,
            ProbeResult::Unclear | ProbeResult::Filtered => Self::Unclear,
            ProbeResult::Error(_) => Self::Error,
        }
    }
}

/// A leaf at the beginning of a response body, which may be cut off.
#[derive(Clone, Copy)]
pub(crate) struct ProbedLeaf<'a> {
    pub(crate) leaf: Leaf<'a>,
    /// The leaf, if it is a string that is complete. A truncated string may be the prefix of another one.
    pub(crate) text: Option<&'a str>,
}

impl ProbedLeaf<'_> {
    /// Whether it is a string that is not empty, or a number that is not zero.
    pub(crate) fn is_set(self) -> bool {
        self.leaf.is_value()
    }
}
