//! Anthropic's Messages API.

mod convert;
mod events;
mod limits;
mod response;

use super::rules::DialectRules;
use crate::provider::Provider;

pub(crate) const RULES: DialectRules = DialectRules {
    read: events::read,
    document: convert::document,
    events: convert::events,
    is_content_only: events::is_content_only,
    stop_reason: events::stop_reason,
    needs_terminator: |provider| provider != Provider::Other,
    is_own_type: events::is_own_type,
    probe: response::probe,
    usage_field: response::usage_field,
    limit_header: Some(limits::limit_header),
    reset_headers: &limits::RESET_HEADERS,
    ..DialectRules::UNKNOWN
};
