use tidegate::chain::{ProviderSettings, TargetAddress};
use tidegate::hedge::HedgeLayer;
use tidegate::providers::ProviderClassifier;
use tidegate::store::Store;
use tidegate::{ResilienceBuilder, ResilienceConfig, Signals, fallback, group};

use super::gate_layers::{GateLayers, PreviousLayers};
use crate::client::ProviderClient;
use crate::config::GatewayConfigError;
use crate::proxy::TargetStack;
use crate::target_health::RecentHealth;
use crate::targets::{TargetGates, rejects_calls};

/// A target under a policy, and what it was built from.
#[derive(Clone, Debug)]
pub(super) struct BuiltTarget {
    pub(super) stack: TargetStack,
    pub(super) address: TargetAddress,
    layers: GateLayers,
    provider: ProviderSettings,
    policy: ResilienceConfig,
}

impl BuiltTarget {
    /// Builds the stack of `target`, named `name`. Its limits are shared through the store, if there is one;
    /// the flag is whether that has not changed since `previous`. The layers of `previous` with the same
    /// settings keep their state.
    ///
    /// # Errors
    ///
    /// A setting is out of its range.
    pub(super) fn new(
        name: &str,
        target: &str,
        provider: &ProviderSettings,
        policy: &ResilienceConfig,
        previous: Option<&Self>,
        (store, has_same_store): (Option<Store>, bool),
        client: ProviderClient,
    ) -> Result<Self, GatewayConfigError> {
        let address = TargetAddress::of_member(name, target, provider);
        let previous = previous.map(|it| PreviousLayers {
            layers: &it.layers,
            policy: &it.policy,
            has_same_kind: it.address.kind() == address.kind(),
            has_same_provider: it.provider == *provider,
            has_same_store,
        });
        // Checks the settings, and names the part at fault. The circuit may need the store, which the layers
        // have.
        let without_circuit = ResilienceConfig { circuit_breaker: None, ..policy.clone() };
        let builder = ResilienceBuilder::from_config(&without_circuit)?;
        let layers = GateLayers::new(policy, previous, store)?;
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
        Ok(Self { stack, address, layers, provider: provider.clone(), policy: policy.clone() })
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
