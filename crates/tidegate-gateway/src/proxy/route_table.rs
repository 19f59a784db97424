use std::collections::HashMap;
use std::sync::Arc;

use super::route_chain::RouteChain;
use crate::config::ANY;
use crate::endpoint::Endpoint;

/// Maps requests to chains, by endpoint and requested model.
#[derive(Debug, Default)]
pub(crate) struct RouteTable(HashMap<Endpoint, EndpointRoutes>);

/// The routes of one endpoint.
#[derive(Debug, Default)]
pub(super) struct EndpointRoutes {
    named: HashMap<String, Arc<RouteChain>>,
    any: Option<Arc<RouteChain>>,
}

impl RouteTable {
    /// Adds a route; `model` may be [`ANY`].
    pub(crate) fn insert(&mut self, endpoint: Endpoint, model: &str, chain: Arc<RouteChain>) {
        let models = self.0.entry(endpoint).or_default();
        if model == ANY {
            models.any = Some(chain);
        } else {
            models.named.insert(model.to_owned(), chain);
        }
    }

    /// The chain of the route for `model`, which may be [`ANY`].
    pub(crate) fn get(&self, endpoint: Endpoint, model: &str) -> Option<&Arc<RouteChain>> {
        let models = self.models(endpoint)?;
        if model == ANY { models.any.as_ref() } else { models.named.get(model) }
    }

    /// The routes of `endpoint`, if it has any.
    pub(super) fn models(&self, endpoint: Endpoint) -> Option<&EndpointRoutes> {
        self.0.get(&endpoint)
    }
}

impl EndpointRoutes {
    /// The chain for `model`, else the chain for any model.
    pub(super) fn pick(&self, model: &str) -> Option<&Arc<RouteChain>> {
        self.named.get(model).or(self.any.as_ref())
    }

    /// The models with a route of their own, sorted.
    pub(super) fn names(&self) -> Vec<&str> {
        let mut names: Vec<_> = self.named.keys().map(String::as_str).collect();
        names.sort_unstable();
        names
    }
}
