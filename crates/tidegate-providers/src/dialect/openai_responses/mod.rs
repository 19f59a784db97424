//! OpenAI's Responses API.

mod convert;
mod events;
pub(crate) mod response;

use super::rules::DialectRules;

pub(crate) const RULES: DialectRules = DialectRules {
    read: events::read,
    document: convert::document,
    events: convert::events,
    is_content_only: events::is_content_only,
    stop_reason: events::stop_reason,
    is_own_type: events::is_own_type,
    probe: response::probe,
    usage_field: response::usage_field,
    ..DialectRules::UNKNOWN
};
