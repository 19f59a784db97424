//! The headers of callers that a setting may name.

use http::HeaderName;
use http::header::{CONTENT_TYPE, HOST};
use tidegate::chain::can_be_sent;

use crate::proxy::reaches_chain;

/// Checks that chains see a header.
pub(super) fn check_seen(name: &HeaderName) -> Result<(), String> {
    check(name, reaches_chain(name))
}

/// Checks that chains see a header, and not on every request.
pub(super) fn check_optional(name: &HeaderName) -> Result<(), String> {
    if *name == HOST || *name == CONTENT_TYPE {
        return Err(format!("`{name}` is on every request, with another meaning"));
    }
    check_seen(name)
}

/// Checks that chains see a header, and can send it to a provider.
pub(super) fn check_forwarded(name: &HeaderName) -> Result<(), String> {
    check(name, reaches_chain(name) && can_be_sent(name))
}

fn check(name: &HeaderName, is_allowed: bool) -> Result<(), String> {
    if is_allowed {
        Ok(())
    } else {
        Err(format!(
            "`{name}` is a credential, or belongs to the connection or the gateway, and is never forwarded"
        ))
    }
}
