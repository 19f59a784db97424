//! What a request says about the call that it belongs to.

use std::hash::{BuildHasher, RandomState};

use http::header::HeaderName;
use http::{HeaderMap, HeaderValue, Request};

use crate::chain_position::{IDEMPOTENCY_KEY, ChainPosition};

const ATTEMPT: HeaderName = HeaderName::from_static("x-tidegate-attempt");

/// Writes the number of the attempt over whatever stood there: of a gateway further out, or of a caller who lies.
pub(super) fn set_attempt_number(headers: &mut HeaderMap, attempt: u32) {
    let _ = headers.try_insert(ATTEMPT, attempt.into());
}

/// Gives the call a key, unless it has one or does not need one: what is safe to repeat is so without. A target that a
/// chain asks once more is given the key it had.
pub(super) fn ensure_idempotency_key<B>(request: &mut Request<B>) {
    if !request.method().is_idempotent() && !request.headers().contains_key(IDEMPOTENCY_KEY) {
        let key = ChainPosition::of(request.extensions()).map_or_else(random, ChainPosition::idempotency_key);
        let _ = request.headers_mut().try_insert(IDEMPOTENCY_KEY, header_value(key));
    }
}

/// 128 random bits. Not of the generator that draws the jitter: whoever seeds that one, for runs that can be
/// repeated, must not get the answers of the run before.
fn random() -> [u64; 2] {
    // Each state has another key, and the first of a thread is of the randomness of the system.
    let state = RandomState::new();
    [0, 1].map(|half| state.hash_one(half))
}

fn header_value([high, low]: [u64; 2]) -> HeaderValue {
    let key = format!("{high:016x}{low:016x}");
    HeaderValue::try_from(key).expect("hexadecimal digits can stand in a header")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn keys_are_long_and_never_the_same() {
        let keys: HashSet<_> = (0..10_000).map(|_| header_value(random())).collect();
        assert_eq!(keys.len(), 10_000);
        assert!(keys.iter().all(|key| key.len() == 32));
    }
}
