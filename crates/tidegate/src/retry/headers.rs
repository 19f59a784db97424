//! What a request says about the call that it belongs to.

use std::hash::{BuildHasher, RandomState};

use http::header::HeaderName;
use http::{HeaderMap, HeaderValue, Method};

const ATTEMPT: HeaderName = HeaderName::from_static("x-tidegate-attempt");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Writes the number of the attempt over whatever stood there: of a gateway further out, or of a caller who lies.
pub(super) fn number(headers: &mut HeaderMap, attempt: u32) {
    let _ = headers.try_insert(ATTEMPT, attempt.into());
}

/// Gives the call a key, unless it has one or does not need one: what is safe to repeat is so without.
pub(super) fn give_key(method: &Method, headers: &mut HeaderMap) {
    if !method.is_idempotent() && !headers.contains_key(IDEMPOTENCY_KEY) {
        let _ = headers.try_insert(IDEMPOTENCY_KEY, key());
    }
}

/// 128 random bits. Not of the generator that draws the jitter: whoever seeds that one, for runs that can be
/// repeated, must not get the answers of the run before.
fn key() -> HeaderValue {
    // Each state is keyed anew from the randomness of the system.
    let state = RandomState::new();
    let key = format!("{:016x}{:016x}", state.hash_one(0), state.hash_one(1));
    HeaderValue::try_from(key).expect("hexadecimal digits can stand in a header")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn keys_are_long_and_never_the_same() {
        let keys: HashSet<_> = (0..10_000).map(|_| key()).collect();
        assert_eq!(keys.len(), 10_000);
        assert!(keys.iter().all(|key| key.len() == 32));
    }
}
