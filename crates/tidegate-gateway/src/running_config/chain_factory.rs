use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use tidegate::chain::{ProviderSettings, named_target};
use tidegate::fallback::AnswerCache;
use tidegate::group::{Group, Member};
use tidegate::hedge::HedgeLayer;
use tidegate::store::Store;
use tidegate::{FallbackLayer, KeyBy, ResilienceConfig, Tenant};
use tidegate_redis::RedisStoreError;

use super::RunningConfig;
use super::built_target::{BuiltTarget, PreviousTargets};
use super::gate_layers::StoreOfLayers;
use super::shared_limits::SharedLimits;
use crate::client::{ProviderClient, client};
use crate::config::{
    Config, GatewayConfigError, LastResortName, Route, RouteGroup, TargetName, WeightedTarget,
};
use crate::endpoint::{ApiDialect, Endpoint};
use crate::proxy::{
    AddressedTarget, CachedFor, ChainSettings, RouteChain, RouteTable, SharedStack, TokenCounter,
};
use crate::targets::{Targets, TargetsOfRoute};

/// Builds the chains of the routes, with one stack per target and policy, so that routes with the same target
/// and policy share its state. What is the same in the configuration before is taken from there, with its
/// state.
pub(super) struct ChainFactory<'a> {
    config: &'a Config,
    previous: Option<&'a RunningConfig>,
    client: ProviderClient,
    /// The cache of responses. All routes share it, since its keys contain the tenant and the model.
    cache: AnswerCache,
    store: Option<SharedLimits>,
    targets: BTreeMap<TargetKey, BuiltTarget>,
}

/// The name of a target and that of its policy.
type TargetKey = (Arc<str>, String);

/// The chains of all routes in their order, and what they consist of.
#[derive(Debug)]
pub(super) struct BuiltChains {
    chains: Vec<Arc<RouteChain>>,
    targets: BTreeMap<TargetKey, BuiltTarget>,
    client: ProviderClient,
    cache: AnswerCache,
    store: Option<SharedLimits>,
}

impl BuiltChains {
    /// The store for limits that are shared with other gateways.
    pub(super) fn store(&self) -> Option<&Store> {
        self.store.as_ref().map(SharedLimits::store)
    }

    /// The secret that gateways with this store have in common.
    pub(super) fn salt(&self) -> Option<&str> {
        self.store.as_ref().map(SharedLimits::salt)
    }

    pub(super) async fn check_store(&self) -> Result<(), RedisStoreError> {
        match &self.store {
            Some(store) => store.check().await,
            None => Ok(()),
        }
    }

    /// The chains by the requests that take them.
    pub(super) fn route_table(&self, routes: &[Route]) -> RouteTable {
        let mut table = RouteTable::default();
        for (route, chain) in routes.iter().zip(&self.chains) {
            table.insert(route.endpoint, &route.model, Arc::clone(chain));
        }
        table
    }

    /// The targets, for the pages.
    pub(super) fn targets(&self, routes: &[Route]) -> Targets {
        let (mut starting_here, mut groups) = (BTreeMap::<_, Vec<_>>::new(), BTreeMap::<_, Vec<_>>::new());
        for (route, chain) in routes.iter().zip(&self.chains) {
            let key = |target: &Arc<str>| (Arc::clone(target), route.policy.clone());
            if let Some(first) = chain.first_members().next() {
                starting_here.entry(key(first)).or_default().push(chain.handle());
            }
            for (target, group) in chain.memberships() {
                groups.entry(key(target)).or_default().push(group);
            }
        }
        let gates = self.targets.iter().map(|(key, built)| {
            let (chains, groups) = (starting_here.remove(key), groups.remove(key));
            built.gates(&key.1, chains.unwrap_or_default(), groups.unwrap_or_default())
        });
        let chains = routes.iter().zip(&self.chains).map(|(route, chain)| {
            let built = |target: &Arc<str>| {
                self.targets.get(&(Arc::clone(target), route.policy.clone())).map(BuiltTarget::signals)
            };
            TargetsOfRoute {
                name: format!("{} {}", route.endpoint.path(), route.model).into(),
                signals: chain.members().filter_map(built).collect(),
            }
        });
        Targets::new(gates, chains)
    }

    /// Applies the limits of the policies to the calls in flight.
    pub(super) fn set_limits(&self) {
        self.targets.values().for_each(BuiltTarget::set_limit);
    }
}

impl<'a> ChainFactory<'a> {
    pub(super) fn new(
        config: &'a Config,
        previous: Option<&'a RunningConfig>,
    ) -> Result<Self, GatewayConfigError> {
        let client = match previous.filter(|it| has_same_client(config, it)) {
            Some(previous) => previous.built.client.clone(),
            None => client(&config.connections, config.https.as_deref())?,
        };
        let same_cache = previous.filter(|it| it.config.cache == config.cache);
        let cache = same_cache.map_or_else(|| config.cache.cache(), |it| it.built.cache.clone());
        let same_store = previous.filter(|it| it.config.store == config.store);
        let store = match (same_store, &config.store) {
            (Some(previous), _) => previous.built.store.clone(),
            (None, Some(settings)) => Some(SharedLimits::new(settings)?),
            (None, None) => None,
        };
        Ok(Self { config, previous, client, cache, store, targets: BTreeMap::new() })
    }

    /// Builds all chains.
    pub(super) fn build(mut self) -> Result<BuiltChains, GatewayConfigError> {
        let chains = self.config.routes.iter().map(|route| self.chain(route)).collect::<Result<_, _>>()?;
        let Self { client, cache, store, targets, .. } = self;
        Ok(BuiltChains { chains, targets, client, cache, store })
    }

    fn chain(&mut self, route: &Route) -> Result<Arc<RouteChain>, GatewayConfigError> {
        let policy = self.config.policies.get(&route.policy).cloned().unwrap_or_default();
        let previous = self.previous_chain(route);
        let groups = route.chain.iter().map(|group| self.group(group, route, &policy, previous));
        let groups = groups.collect::<Result<Vec<_>, _>>()?;
        let fallback = FallbackLayer::from_settings(policy.fallback.clone());
        let fallback = fallback.map_err(|error| error.within("fallback"))?;
        let fallback = fallback.models(self.config.models.clone());
        let hedge = self.hedge(route, &policy)?;
        let fallback = hedge.iter().cloned().fold(fallback, FallbackLayer::hedge);
        let (shared, cache_by) = (self.config.cache.shared, &policy.fallback.cache_by);
        let cached_for = CachedFor {
            needs_tenant: !shared || cache_by.as_ref() == Some(&KeyBy::tenant()),
            header: cache_by.as_ref().and_then(KeyBy::header_name).cloned(),
        };
        let fallback = match cached_for.header.clone() {
            Some(header) if !shared => fallback.cache_by(by_tenant_and(header)),
            // One key for all requests.
            None if shared && cache_by.is_none() => fallback.cache_by(KeyBy::new(|_| ())),
            _ => fallback,
        };
        let fallback = route.resorts.iter().fold(fallback, |chain, resort| match resort {
            LastResortName::Cached => chain.then_cached(self.cache.clone()),
            LastResortName::Simplified => chain.then_simplified(),
            LastResortName::Static => chain.then_static_answers(self.config.static_texts.answers()),
            LastResortName::Emergency => chain.then_emergency(&self.config.emergency_text),
        });
        let retries = policy.retry.as_ref().is_some_and(|retry| {
            retry.enabled && retry.max_attempts.map_or(retry.max_retries > 0, |attempts| attempts > 1)
        });
        let repeats_attempts =
            retries || groups.len() > 1 || groups.iter().any(|it| it.members().count() > 1);
        let settings = ChainSettings {
            model: route.model.as_str().into(),
            limits: policy.call_limits()?,
            timeout_header: policy.timeout.header.clone(),
            hedge,
            attempt_time: attempt_time(&policy),
            token_counter: self.token_counter(route),
            repeats_attempts,
            cached_for,
        };
        let chain = RouteChain::new(groups, fallback, settings, previous);
        chain.map(Arc::new).ok_or_else(|| GatewayConfigError::new("routes", "a chain is empty"))
    }

    /// The chain for the same requests in the configuration before.
    fn previous_chain(&self, route: &Route) -> Option<&'a RouteChain> {
        self.previous?.proxy.routes.get(route.endpoint, &route.model).map(|chain| &**chain)
    }

    /// The hedges of a route: those before, if their settings and the first target are the same.
    fn hedge(
        &self,
        route: &Route,
        policy: &ResilienceConfig,
    ) -> Result<Option<HedgeLayer>, GatewayConfigError> {
        let Some(settings) = &policy.hedge else { return Ok(None) };
        let first = route.chain.first().map_or("", |target| &target.name);
        let before = self.previous_chain(route).filter(|chain| &**chain.first() == first);
        let before = before
            .and_then(|chain| chain.settings.hedge.as_ref())
            .filter(|hedge| hedge.settings() == settings);
        if let Some(same) = before {
            return Ok(Some(same.clone()));
        }
        let layer = HedgeLayer::from_settings(settings.clone()).map_err(|error| error.within("hedge"))?;
        Ok(Some(layer.name(first)))
    }

    /// The first target of a route of messages whose provider counts tokens.
    fn token_counter(&self, route: &Route) -> Option<TokenCounter> {
        let counting = route.targets().find_map(|target| {
            let provider = self.config.providers.get(&target.provider)?;
            (route.endpoint == Endpoint::Messages && provider.dialect() == ApiDialect::Anthropic)
                .then_some((target, provider))
        });
        counting.map(|(target, provider)| TokenCounter::new(target, provider, self.client.clone()))
    }

    /// Builds a place of the chain. A member that has not changed keeps what its group has learned about it.
    fn group(
        &mut self,
        group: &RouteGroup,
        route: &Route,
        policy: &ResilienceConfig,
        previous: Option<&RouteChain>,
    ) -> Result<Group<AddressedTarget>, GatewayConfigError> {
        let (mut members, mut unchanged) = (Vec::new(), Vec::new());
        for WeightedTarget { target, weight } in &group.members {
            let provider = self.config.providers.get(&target.provider);
            let missing =
                || GatewayConfigError::new("providers", format!("`{}` is missing", target.provider));
            let by_key = provider.ok_or_else(missing)?.by_key(&target.name);
            for (name, settings) in &by_key {
                let (built, is_unchanged) = self.target(name, target, settings, &by_key, route, policy)?;
                let signals = built.signals();
                let service = self.addressed(&built, route);
                let member = Member::new(name, service).signals(&signals).address(&built.address);
                members.push(member.weight(*weight));
                unchanged.extend(is_unchanged.then(|| name.clone()));
            }
        }
        let built = Group::new(&group.name, members)?
            .affinity(group.affinity.clone())
            .models(self.config.models.clone());
        Ok(match previous.and_then(|previous| previous.group(&group.name)) {
            Some(previous) => built.state_of(previous, |name| unchanged.iter().any(|it| it == name)),
            None => built,
        })
    }

    /// The stack of a target under the policy of the route, and whether it is the same as in the
    /// configuration before.
    fn target(
        &mut self,
        name: &str,
        target: &TargetName,
        provider: &ProviderSettings,
        by_key: &[(String, ProviderSettings)],
        route: &Route,
        policy: &ResilienceConfig,
    ) -> Result<(BuiltTarget, bool), GatewayConfigError> {
        let key = (Arc::from(name), route.policy.clone());
        let has_same_store = self.previous.is_some_and(|it| it.config.store == self.config.store);
        let same_client = self.previous.filter(|it| has_same_client(self.config, it));
        let same_client = same_client.filter(|_| has_same_store);
        // What was learned about an account ends with it, and is the same for a key with another number.
        let store = self.store.as_ref().map(|it| it.store().scope(&route.policy).name(&target.name));
        let store = store.map(|store| store.account(provider.account()));
        let before = |it: &'a RunningConfig| it.built.targets.get(&key);
        let same = same_client.and_then(before).filter(|it| it.is_of(provider, policy));
        let of_name = self.previous.and_then(before);
        let is_moved = |it: &&BuiltTarget| by_key.iter().any(|(_, own)| it.is_of_key(&target.name, own));
        let of_key = self.previous_of_key(&target.name, provider, route);
        let of_key = of_key.or_else(|| of_name.filter(|it| !is_moved(it)));
        let previous = PreviousTargets { of_name, of_key };
        let built = match self.targets.entry(key.clone()) {
            Entry::Occupied(built) => built.get().clone(),
            Entry::Vacant(vacant) => {
                let built = match same {
                    Some(same) => same.clone(),
                    None => {
                        let store = StoreOfLayers { store, is_same: has_same_store };
                        let client = self.client.clone();
                        BuiltTarget::new(name, &target.name, provider, policy, previous, store, client)?
                    }
                };
                vacant.insert(built).clone()
            }
        };
        Ok((built, same.is_some()))
    }

    /// The member of `target` in the configuration before that had this key under the policy of the route.
    fn previous_of_key(
        &self,
        target: &str,
        provider: &ProviderSettings,
        route: &Route,
    ) -> Option<&'a BuiltTarget> {
        let under_policy = |((_, policy), it): (&TargetKey, &'a BuiltTarget)| {
            (*policy == route.policy && it.is_of_key(target, provider)).then_some(it)
        };
        self.previous?.built.targets.iter().find_map(under_policy)
    }

    /// The target for the requests of a route.
    fn addressed(&self, built: &BuiltTarget, route: &Route) -> AddressedTarget {
        // The caller would send unsigned reasoning back with its next request, and a native target would
        // reject that.
        let is_mixed = route.targets().any(|other| {
            let dialect = self.config.providers.get(&other.provider).map(ProviderSettings::dialect);
            dialect == Some(route.endpoint.dialect())
        });
        let target = named_target(SharedStack::new(built.stack.clone()), built.address.clone(), is_mixed);
        target.body_cap(self.config.translated_body_limit)
    }
}

/// Whether `config` keeps the client of the configuration before, which may connect by http alone if it had no
/// address by https.
fn has_same_client(config: &Config, previous: &RunningConfig) -> bool {
    let before = &previous.config;
    before.connections == config.connections && (before.https.is_some() || config.https.is_none())
}

/// Any caller may send the header. Its name is a part of the key: entries outlive a reload that changes it.
fn by_tenant_and(header: HeaderName) -> KeyBy {
    KeyBy::new(move |head| {
        let values: Vec<_> = head.headers.get_all(&header).iter().cloned().collect();
        (head.extensions.get::<Tenant>().cloned(), header.clone(), values)
    })
}

/// The longest time of an attempt, to the last byte of its response.
fn attempt_time(policy: &ResilienceConfig) -> Duration {
    policy.timeout.total.map_or(policy.timeout.attempt, |total| total.min(policy.timeout.attempt))
}
