//! Bedrock's Converse API, and the binary framing in which Amazon streams it and other dialects.

mod base64;
mod error;
mod events;
pub(crate) mod framing;
mod response;

use super::rules::DialectRules;

/// No fast path for content: the events are short.
pub(crate) const RULES: DialectRules = DialectRules {
    read: events::read,
    stop_reason: events::stop_reason,
    is_own_type: events::is_own_type,
    probe: response::probe,
    usage_field: response::usage_field,
    error_code: error::exception,
    ..DialectRules::UNKNOWN
};
