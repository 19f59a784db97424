use std::hash::Hash;

use http::Request;

use crate::key::{KeyBy, KeyId, Tenant, hasher};

/// A digest that is the same for all callers that share answers: those with the same key, by default those with
/// the same credential and the same tenant. A request without a key shares none.
pub(super) fn digest<B: 'static>(key: Option<&KeyBy>, request: &Request<B>) -> Option<u64> {
    let mut hasher = hasher();
    let key = match key {
        Some(key) => key.key(request, hasher),
        None => {
            request.extensions().get::<Tenant>().hash(&mut hasher);
            KeyBy::credential().key(request, hasher)
        }
    };
    key.map(KeyId::number)
}
