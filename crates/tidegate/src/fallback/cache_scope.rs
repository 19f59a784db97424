use std::hash::Hash;

use http::Request;

use crate::key::{KeyBy, Tenant, hasher};

/// A digest that is the same for all callers that share answers: those with the same key, by default those with
/// the same credential and the same tenant.
pub(super) fn digest<B>(key: Option<&KeyBy>, request: &Request<B>) -> u64 {
    let mut hasher = hasher();
    let key = match key {
        Some(key) => key.key(request, hasher),
        None => {
            request.extensions().get::<Tenant>().hash(&mut hasher);
            KeyBy::credential().key(request, hasher)
        }
    };
    key.number()
}
