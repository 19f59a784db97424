use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use super::SharedStore;

/// A store as layers hold it, and the scope of its names. Clones share the store.
#[derive(Clone, Debug)]
pub struct Store {
    pub(crate) shared: Arc<dyn SharedStore>,
    /// The most processes that have been seen to share a limit. The next limit has as many, until its own number is known.
    pub(crate) seen_processes: Arc<AtomicU32>,
    scope: Arc<str>,
}

impl Store {
    /// Limits shared through `store`, without a scope.
    #[must_use]
    pub fn new(store: impl SharedStore) -> Self {
        Self { shared: Arc::new(store), seen_processes: Arc::default(), scope: "".into() }
    }

    /// The same store for other states: those of layers with the same name and another scope are apart.
    #[must_use]
    pub fn scope(&self, scope: &str) -> Self {
        Self { scope: scope.into(), ..self.clone() }
    }

    /// The name of the shared state of a layer.
    pub(crate) fn name_of(&self, part: &str, layer: &str, key: Option<u64>) -> String {
        let scope = &self.scope;
        match key {
            Some(key) => format!("{part}:{scope}:{layer}:{key:016x}"),
            None => format!("{part}:{scope}:{layer}"),
        }
    }
}

/// Two stores are equal if they are the same one with the same scope.
impl PartialEq for Store {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared) && self.scope == other.scope
    }
}
