//! OpenAI's chat completions, also used by Azure, Mistral, Groq, DeepSeek, OpenRouter, xAI and others.

mod convert;
mod events;
mod limits;
mod response;
mod stop_reason;

use super::rules::DialectRules;
use crate::provider::Provider;

pub(crate) const RULES: DialectRules = DialectRules {
    read: events::read,
    document: convert::document,
    events: convert::events,
    is_content_only: events::is_content_only,
    stop_reason: stop_reason::stop_reason,
    needs_terminator: Provider::sends_done,
    is_own_leaf: events::is_own_leaf,
    is_success: response::has_content_first,
    probe: response::probe,
    usage_field: response::usage_field,
    limit_header: Some(limits::limit_header),
    reset_headers: &limits::RESET_HEADERS,
    ..DialectRules::UNKNOWN
};
