use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hash};
use std::sync::LazyLock;

use http::Request;

use crate::key::{KeyBy, Tenant};

/// The callers that share cached answers.
#[derive(Clone, Debug, Default)]
pub(super) enum CacheScope {
    /// Callers with the same credential and the same tenant.
    #[default]
    CredentialAndTenant,
    /// Callers with the same key.
    By(KeyBy),
}

/// Seeds the digests per process, so that a credential with the digest of another one cannot be constructed.
static SECRET: LazyLock<RandomState> = LazyLock::new(RandomState::new);

impl CacheScope {
    /// A digest that is the same for all callers that share answers.
    pub(super) fn digest<B>(&self, request: &Request<B>) -> u64 {
        let mut hasher = SECRET.build_hasher();
        match self {
            Self::CredentialAndTenant => {
                request.extensions().get::<Tenant>().hash(&mut hasher);
                KeyBy::credential().key(request, hasher).number()
            }
            Self::By(key) => key.key(request, hasher).number(),
        }
    }
}
