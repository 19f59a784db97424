use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use tidegate::chain::{ProviderSettings, TargetAddress, named_target};
use tidegate::fallback::AnswerCache;
use tidegate::providers::ProviderClassifier;
use tidegate::{FallbackLayer, KeyBy, ResilienceBuilder, ResilienceConfig};

use crate::client::{ProviderClient, client};
use crate::config::{Config, GatewayConfigError, LastResortName, Route, TargetName};
use crate::endpoint::{ApiDialect, Endpoint};
use crate::proxy::{AddressedTarget, CachedFor, RouteChain, RouteTable, TargetStack, TokenCounter};
use crate::targets::{TargetGates, Targets, rejects_calls};

/// Builds the chains of the routes, with one stack per target and policy, so that routes with the same target and
/// policy share its state.
pub(super) struct ChainFactory<'a> {
    config: &'a Config,
    client: ProviderClient,
    /// The cache of responses. All routes share it, since its keys contain the tenant and the model.
    cache: AnswerCache,
    stacks: BTreeMap<(Arc<str>, String), TargetStack>,
}

/// The chains of all routes, and their targets.
pub(super) struct BuiltChains {
    pub(super) routes: RouteTable,
    pub(super) targets: Targets,
}

impl<'a> ChainFactory<'a> {
    pub(super) fn new(config: &'a Config) -> Result<Self, GatewayConfigError> {
        let (client, cache) = (client(&config.connections)?, config.cache.cache());
        Ok(Self { config, client, cache, stacks: BTreeMap::new() })
    }

    /// Builds all chains.
    pub(super) fn build(mut self) -> Result<BuiltChains, GatewayConfigError> {
        let mut routes = RouteTable::default();
        let mut chains = Vec::with_capacity(self.config.routes.len());
        for route in &self.config.routes {
            let chain = Arc::new(self.chain(route)?);
            routes.insert(route.endpoint, &route.model, Arc::clone(&chain));
            chains.push((&route.policy, chain));
        }
        let targets = self.stacks.iter().map(|((target, policy), stack)| {
            let starting_here =
                chains.iter().filter(|(of_route, chain)| *of_route == policy && chain.first() == target);
            let chains = starting_here.map(|(_, chain)| chain.handle()).collect();
            let circuit_breaker =
                self.config.policies.get(policy).and_then(|policy| policy.circuit_breaker.as_ref());
            let has_circuit = rejects_calls(circuit_breaker);
            TargetGates { policy: policy.as_str().into(), has_circuit, signals: stack.signals(), chains }
        });
        Ok(BuiltChains { routes, targets: Targets::new(targets) })
    }

    fn chain(&mut self, route: &Route) -> Result<RouteChain, GatewayConfigError> {
        let policy = self.config.policies.get(&route.policy).cloned().unwrap_or_default();
        let targets = route.chain.iter().map(|name| self.target(name, route, &policy));
        let mut targets = targets.collect::<Result<Vec<_>, _>>()?.into_iter();
        let first = targets.next().ok_or_else(|| GatewayConfigError::new("routes", "a chain is empty"))?;
        let fallback = FallbackLayer::from_settings(policy.fallback.clone());
        let fallback = fallback.map_err(|error| error.within("fallback"))?;
        let fallback = fallback.models(self.config.models.clone());
        let cached_for = match &policy.fallback.cache_by {
            None if self.config.cache.shared => CachedFor::Everybody,
            None => CachedFor::Tenants,
            Some(key) if *key == KeyBy::tenant() => CachedFor::Tenants,
            Some(key) => key.header_name().cloned().map_or(CachedFor::Everybody, CachedFor::Header),
        };
        // One key for all requests.
        let fallback = match cached_for {
            CachedFor::Everybody if policy.fallback.cache_by.is_none() => {
                fallback.cache_by(KeyBy::new(|_| ()))
            }
            _ => fallback,
        };
        let fallback = route.resorts.iter().fold(fallback, |chain, resort| match resort {
            LastResortName::Cached => chain.then_cached(self.cache.clone()),
            LastResortName::Simplified => chain.then_simplified(),
            LastResortName::Static => chain.then_static(),
            LastResortName::Emergency => chain.then_emergency(&self.config.emergency_text),
        });
        let retries = policy.retry.as_ref().is_some_and(|retry| {
            retry.enabled && retry.max_attempts.map_or(retry.max_retries > 0, |attempts| attempts > 1)
        });
        Ok(RouteChain::new(first, targets, fallback, policy.bounds()?)
            .with_model(&route.model)
            .with_attempt_time(attempt_time(&policy))
            .with_token_counter(self.token_counter(route))
            .with_repeated_attempts(retries || route.chain.len() > 1)
            .with_cached_for(cached_for))
    }

    /// The first target of a route of messages whose provider counts tokens.
    fn token_counter(&self, route: &Route) -> Option<TokenCounter> {
        let counting = route.chain.iter().find_map(|target| {
            let provider = self.config.providers.get(&target.provider)?;
            (route.endpoint == Endpoint::Messages && provider.dialect() == ApiDialect::Anthropic)
                .then_some((target, provider))
        });
        counting.map(|(target, provider)| TokenCounter::new(target, provider, self.client.clone()))
    }

    fn target(
        &mut self,
        name: &TargetName,
        route: &Route,
        policy: &ResilienceConfig,
    ) -> Result<(Arc<str>, AddressedTarget), GatewayConfigError> {
        let missing = || GatewayConfigError::new("providers", format!("`{}` is missing", name.provider));
        let provider = self.config.providers.get(&name.provider).ok_or_else(missing)?;
        let address = TargetAddress::new(&name.name, provider);
        let stack = match self.stacks.entry((Arc::clone(&name.name), route.policy.clone())) {
            Entry::Occupied(stack) => stack.get().clone(),
            Entry::Vacant(vacant) => {
                let builder = ResilienceBuilder::from_config(policy)?
                    .name(&name.name)
                    .classify(ProviderClassifier::new(address.kind()));
                vacant.insert(builder.service(self.client.clone())).clone()
            }
        };
        // The caller would send unsigned reasoning back with its next request, and a native target would reject that.
        let is_mixed = route.chain.iter().any(|other| {
            let dialect = self.config.providers.get(&other.provider).map(ProviderSettings::dialect);
            dialect == Some(route.endpoint.dialect())
        });
        let target = named_target(stack, address, is_mixed).body_cap(self.config.translated_body_limit);
        Ok((Arc::clone(&name.name), target))
    }
}

/// The longest time of an attempt, to the last byte of its response.
fn attempt_time(policy: &ResilienceConfig) -> Duration {
    policy.timeout.total.map_or(policy.timeout.attempt, |total| total.min(policy.timeout.attempt))
}
