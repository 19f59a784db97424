use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::{SeenProcesses, SharedStore};
use crate::key::shared_hasher;

/// A store as layers hold it, and the scope of its names. Clones share the store.
#[derive(Clone, Debug)]
pub struct Store {
    pub(crate) shared: Arc<dyn SharedStore>,
    pub(crate) seen_processes: Arc<SeenProcesses>,
    scope: Arc<str>,
    account: Option<u64>,
}

/// The part of a stack whose state is shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SharedPart {
    Rate,
    Circuit,
    Member,
}

impl Store {
    /// Limits shared through `store`, without a scope.
    #[must_use]
    pub fn new(store: impl SharedStore) -> Self {
        Self { shared: Arc::new(store), seen_processes: Arc::default(), scope: "".into(), account: None }
    }

    /// The same store for other states: those of layers with the same name and another scope are apart.
    #[must_use]
    pub fn scope(&self, scope: &str) -> Self {
        Self { scope: scope.into(), ..self.clone() }
    }

    /// The same store for another server or account of the provider: what was learned about one, the states of circuits and the
    /// cooldowns of members, is apart from that about another, under the same name. Quotas are the same for all accounts.
    ///
    /// The names in the store have a hash of `account` with the [salt](SharedStore::salt) of the store.
    #[must_use]
    pub fn account(&self, account: impl Hash) -> Self {
        let mut hasher = shared_hasher(self.shared.salt());
        account.hash(&mut hasher);
        Self { account: Some(hasher.finish()), ..self.clone() }
    }

    /// The name of the shared state of a layer.
    pub(crate) fn name_of(&self, part: SharedPart, layer: &str, key: Option<u64>) -> String {
        let (scope, part_name) = (&self.scope, part.name());
        let account = self.account.filter(|_| part != SharedPart::Rate);
        let account = account.map_or_else(String::new, |account| format!(":account={account:016x}"));
        let key = key.map_or_else(String::new, |key| format!(":{key:016x}"));
        format!("{part_name}:{scope}:{layer}{account}{key}")
    }
}

impl SharedPart {
    const fn name(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::Circuit => "circuit",
            Self::Member => "member",
        }
    }
}

/// Two stores are equal if they are the same one with the same scope and account.
impl PartialEq for Store {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
            && (&self.scope, self.account) == (&other.scope, other.account)
    }
}
