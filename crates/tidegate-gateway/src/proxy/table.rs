use std::collections::HashMap;
use std::sync::Arc;

use super::chain::Chain;
use crate::config::ANY;
use crate::endpoint::Endpoint;

/// Which requests go to which chain: by endpoint, then by the model they ask for.
#[derive(Debug, Default)]
pub(crate) struct Table(HashMap<Endpoint, Models>);

/// The routes of one endpoint.
#[derive(Debug, Default)]
pub(super) struct Models {
    named: HashMap<String, Arc<Chain>>,
    any: Option<Arc<Chain>>,
}

impl Table {
    /// Adds a route; `model` may be [`ANY`].
    pub(crate) fn insert(&mut self, endpoint: Endpoint, model: &str, chain: Arc<Chain>) {
        let models = self.0.entry(endpoint).or_default();
        if model == ANY {
            models.any = Some(chain);
        } else {
            models.named.insert(model.to_owned(), chain);
        }
    }

    /// The routes of `endpoint`, if it has any.
    pub(super) fn models(&self, endpoint: Endpoint) -> Option<&Models> {
        self.0.get(&endpoint)
    }
}

impl Models {
    /// The chain for `model`: its own, else the one for any.
    pub(super) fn pick(&self, model: &str) -> Option<&Arc<Chain>> {
        self.named.get(model).or(self.any.as_ref())
    }

    /// The models that have a route, sorted.
    pub(super) fn names(&self) -> Vec<&str> {
        let mut names: Vec<_> = self.named.keys().map(String::as_str).collect();
        names.sort_unstable();
        names
    }
}
