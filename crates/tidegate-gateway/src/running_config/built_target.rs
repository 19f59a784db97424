use tidegate::chain::{ProviderSettings, TargetAddress};
use tidegate::hedge::HedgeLayer;
use tidegate::providers::ProviderClassifier;
use tidegate::{ResilienceBuilder, ResilienceConfig, Signals, fallback, group};

use super::gate_layers::{GateLayers, PreviousLayers, StoreOfLayers};
use crate::client::ProviderClient;
use crate::config::GatewayConfigError;
use crate::proxy::TargetStack;
use crate::target_health::RecentHealth;
use crate::targets::{TargetGates, rejects_calls};

/// What a target takes over from the configuration before.
#[derive(Clone, Copy, Debug)]
pub(super) struct PreviousTargets<'a> {
    /// The target of the same name.
    pub(super) of_name: Option<&'a BuiltTarget>,
    /// The member with the same key; if there is none, the one in the place of which it is.
    pub(super) of_key: Option<&'a BuiltTarget>,
}

/// A target under a policy, and what it was built from.
#[derive(Clone, Debug)]
pub(super) struct BuiltTarget {
    pub(super) stack: TargetStack,
    pub(super) address: TargetAddress,
    name: Box<str>,
    /// The name of the target, which its members have in common.
    target: Box<str>,
    layers: GateLayers,
    provider: ProviderSettings,
    policy: ResilienceConfig,
}

impl BuiltTarget {
    /// Builds the stack of `target`, named `name`. Its limits are shared through the store, if there is one. The
    /// layers of `previous` with the same settings keep their state.
    ///
    /// # Errors
    ///
    /// A setting is out of its range.
    pub(super) fn new<'a>(
        name: &str,
        target: &str,
        provider: &ProviderSettings,
        policy: &ResilienceConfig,
        previous: PreviousTargets<'a>,
        store: StoreOfLayers,
        client: ProviderClient,
    ) -> Result<Self, GatewayConfigError> {
        let address = TargetAddress::of_member(name, target, provider);
        let layers_of = |it: &'a Self| PreviousLayers {
            layers: &it.layers,
            policy: &it.policy,
            has_same_name: &*it.name == name,
            has_same_kind: it.address.kind() == address.kind(),
            has_same_provider: it.provider == *provider,
        };
        // Checks the settings, and names the part at fault. The circuit may need the store, which the layers
        // have.
        let without_circuit = ResilienceConfig { circuit_breaker: None, ..policy.clone() };
        let builder = ResilienceBuilder::from_config(&without_circuit)?;
        let previous = [previous.of_name.map(layers_of), previous.of_key.map(layers_of)];
        let layers = GateLayers::new(name, policy, previous, store)?;
        let stack = builder
            .name(name)
            // The chain of the route hedges its targets.
            .hedge(HedgeLayer::disabled())
            .classify(ProviderClassifier::new(address.kind()))
            .retry(layers.retry.clone())
            .backpressure(layers.backpressure.clone())
            .rate_limit(layers.rate_limit.clone())
            .circuit_breaker(layers.circuit_breaker.clone())
            .service(client);
        let (name, target) = (name.into(), target.into());
        let (provider, policy) = (provider.clone(), policy.clone());
        Ok(Self { stack, address, name, target, layers, provider, policy })
    }

    /// Whether it is a member of `target` with the key of this one.
    pub(super) fn is_of_key(&self, target: &str, provider: &ProviderSettings) -> bool {
        &*self.target == target && self.provider.has_keys_of(provider)
    }

    /// Whether it was built from these settings.
    pub(super) fn is_of(&self, provider: &ProviderSettings, policy: &ResilienceConfig) -> bool {
        self.provider == *provider && self.policy == *policy
    }

    /// Applies the limit of its policy to the calls in flight.
    pub(super) fn set_limit(&self) {
        self.layers.set_limit(&self.policy);
    }

    pub(super) fn signals(&self) -> Signals {
        self.stack.signals()
    }

    /// Its gates, for the pages.
    pub(super) fn gates(
        &self,
        policy: &str,
        chains: Vec<fallback::Handle>,
        groups: Vec<group::Handle>,
    ) -> TargetGates {
        let has_circuit = rejects_calls(self.policy.circuit_breaker.as_ref());
        let (signals, health) = (self.stack.signals(), RecentHealth::default());
        TargetGates { policy: policy.into(), has_circuit, signals, health, chains, groups }
    }
}
