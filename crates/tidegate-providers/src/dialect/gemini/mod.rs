//! Google's `generateContent`, at Gemini and Vertex.

mod convert;
mod events;
pub(crate) mod framing;
mod response;
pub(super) mod stop_reason;

use super::rules::DialectRules;

/// No event contains content only, since each has a usage.
pub(crate) const RULES: DialectRules = DialectRules {
    read: events::read,
    document: convert::document,
    events: convert::events,
    stop_reason: stop_reason::stop_reason,
    is_own_leaf: events::is_own_leaf,
    probe: response::probe,
    usage_field: response::usage_field,
    ..DialectRules::UNKNOWN
};
