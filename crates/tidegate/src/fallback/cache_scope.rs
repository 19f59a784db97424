use std::hash::Hash;

use http::Request;

use crate::key::{KeyBy, KeyId, Tenant, hasher};

/// A request extension: no answer to this request is stored in an [`AnswerCache`](super::AnswerCache), and none is
/// taken from it. For requests of callers that cannot be distinguished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uncached;

/// A digest that is the same for all callers that share answers: those with the same key, by default those with
/// the same credential and the same tenant. `None` if the request is [`Uncached`] or has no key.
pub(super) fn digest<B: 'static>(key: Option<&KeyBy>, request: &Request<B>) -> Option<u64> {
    if request.extensions().get::<Uncached>().is_some() {
        return None;
    }
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
