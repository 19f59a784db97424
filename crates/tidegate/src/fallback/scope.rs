use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hash};
use std::sync::LazyLock;

use http::Request;

use crate::key::{KeyBy, Tenant};

/// Who may be given whose answers.
#[derive(Clone, Debug, Default)]
pub(super) enum Scope {
    /// The same credential and the same tenant.
    #[default]
    Own,
    /// The same key.
    By(KeyBy),
}

/// Nobody can make up a credential whose digest is another's.
static SECRET: LazyLock<RandomState> = LazyLock::new(RandomState::new);

impl Scope {
    /// A number for those who share.
    pub(super) fn digest<B>(&self, request: &Request<B>) -> u64 {
        let mut hasher = SECRET.build_hasher();
        match self {
            Self::Own => {
                request.extensions().get::<Tenant>().hash(&mut hasher);
                KeyBy::credential().key(request, hasher).number()
            }
            Self::By(key) => key.key(request, hasher).number(),
        }
    }
}
