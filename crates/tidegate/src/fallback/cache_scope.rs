use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hash};
use std::sync::LazyLock;

use http::Request;

use crate::key::{KeyBy, Tenant};

/// Seeds the digests per process, so that a credential with the digest of another one cannot be constructed.
static SECRET: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// A digest that is the same for all callers that share answers: those with the same key, by default those with
/// the same credential and the same tenant.
pub(super) fn digest<B>(key: Option<&KeyBy>, request: &Request<B>) -> u64 {
    let mut hasher = SECRET.build_hasher();
    let key = match key {
        Some(key) => key.key(request, hasher),
        None => {
            request.extensions().get::<Tenant>().hash(&mut hasher);
            KeyBy::credential().key(request, hasher)
        }
    };
    key.number()
}
