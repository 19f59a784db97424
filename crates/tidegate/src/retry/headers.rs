//! Request headers that describe the attempt and the call.

use std::hash::{BuildHasher, RandomState};

use http::header::HeaderName;
use http::request::Parts;
use http::{HeaderMap, HeaderValue};

use crate::chain_position::{ChainPosition, IDEMPOTENCY_KEY};

const ATTEMPT: HeaderName = HeaderName::from_static("x-tidegate-attempt");

/// Sets the number of the attempt. A value from an outer gateway or from the caller is overwritten.
pub(super) fn set_attempt_number(headers: &mut HeaderMap, attempt: u32) {
    let _ = headers.try_insert(ATTEMPT, attempt.into());
}

/// Sets an idempotency key, unless the request has one or its method is idempotent. A target that a chain
/// sends the request to again gets the same key as before.
pub(super) fn ensure_idempotency_key(head: &mut Parts) {
    if !head.method.is_idempotent() && !head.headers.contains_key(IDEMPOTENCY_KEY) {
        let key = ChainPosition::of(&head.extensions).map_or_else(random, ChainPosition::idempotency_key);
        let _ = head.headers.try_insert(IDEMPOTENCY_KEY, header_value(key));
    }
}

/// 128 random bits. They do not come from the generator of the jitter: that one may be seeded for repeatable
/// runs, and equal keys would return the responses of the earlier run.
fn random() -> [u64; 2] {
    // Each state has another key; the first of a thread comes from the randomness of the operating system.
    let state = RandomState::new();
    [0, 1].map(|half| state.hash_one(half))
}

fn header_value([high, low]: [u64; 2]) -> HeaderValue {
    let key = format!("{high:016x}{low:016x}");
    HeaderValue::try_from(key).expect("hexadecimal digits are a valid header value")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn keys_are_long_and_unique() {
        let keys: HashSet<_> = (0..10_000).map(|_| header_value(random())).collect();
        assert_eq!(keys.len(), 10_000);
        assert!(keys.iter().all(|key| key.len() == 32));
    }
}
