use http::HeaderMap;
use serde_json::Value;
use tidegate_core::StopReason;

use super::limit_header::{LimitHeader, ResetHeaders};
use super::parsed_event::{EndSignal, ParsedEvent};
use super::probe_result::{ProbeResult, ProbedLeaf};
use super::usage_field::UsageField;
use crate::dialect::event_merge::NamedEvent;
use crate::event::Event;
use crate::json::walk::{Leaf, walk_while};
use crate::provider::Provider;

/// Everything in which one dialect differs from the others.
pub(crate) struct DialectRules {
    /// Parses an event of a stream.
    pub(crate) read: fn(Event<'_>) -> ParsedEvent,
    /// Whether an event with this data contains generated content and nothing else. False if in doubt.
    pub(crate) is_content_only: fn(&[u8]) -> bool,
    /// The meaning of a stop reason.
    pub(crate) stop_reason: fn(&str) -> Option<StopReason>,
    /// Whether a stream without a terminator is truncated.
    pub(crate) needs_terminator: fn(Provider) -> bool,

    /// Whether events of this type, or with this name, exist in this dialect only.
    pub(crate) is_own_type: fn(&str) -> bool,
    /// Whether events with this leaf exist in this dialect only.
    pub(crate) is_own_leaf: fn(&[&str], Leaf<'_>) -> bool,

    /// Puts the events of a complete stream together. `None` if they are not complete.
    pub(crate) document: fn(&[Value]) -> Option<Value>,
    /// Splits a JSON response into the events of a stream. `None` for what is no answer in this dialect.
    pub(crate) events: fn(&Value) -> Option<Vec<NamedEvent>>,

    /// Whether the beginning of a JSON response certainly shows a success. A search that is faster than
    /// `probe`.
    pub(crate) is_success: fn(&[u8]) -> bool,
    /// What a leaf of a JSON response shows.
    pub(crate) probe: fn(&[&str], ProbedLeaf<'_>) -> ProbeResult,
    /// The meaning of a number at this path of a usage object.
    pub(crate) usage_field: fn(&[&str]) -> Option<UsageField>,

    /// The error code in the headers of a response.
    pub(crate) error_code: fn(&HeaderMap) -> Option<&str>,
    /// The meaning of a header of this name, if it reports on a limit. `None` if the dialect has no such
    /// headers.
    pub(crate) limit_header: Option<ReadLimitHeader>,
    /// The headers that show when an exhausted limit refills.
    pub(crate) reset_headers: &'static [ResetHeaders],
}

impl DialectRules {
    /// Whether the name, the type or a leaf of an event shows that it is one of this dialect.
    pub(crate) fn has_own(&self, event: Event<'_>) -> bool {
        let mut is_own = (self.is_own_type)(event.name);
        walk_while(event.data, |path, leaf| {
            is_own |= (self.is_own_leaf)(path, leaf)
                || matches!((path, leaf), (["type"], Leaf::Text(kind)) if (self.is_own_type)(kind));
            !is_own
        });
        is_own
    }
}

pub(crate) type ReadLimitHeader = fn(Provider, &str) -> Option<LimitHeader<'_>>;

impl DialectRules {
    /// The rules for what no dialect is known of: every event is content, and the body may end after it.
    pub(crate) const UNKNOWN: Self = Self {
        read: |_| ParsedEvent { end: EndSignal::Allowed, ..ParsedEvent::token() },
        is_content_only: |_| false,
        stop_reason: |_| None,
        needs_terminator: |_| false,
        is_own_type: |_| false,
        is_own_leaf: |_, _| false,
        document: |_| None,
        events: |_| None,
        is_success: |_| false,
        probe: |_, _| ProbeResult::Unclear,
        usage_field: |_| None,
        error_code: |_| None,
        limit_header: None,
        reset_headers: &[],
    };
}
