use std::collections::BTreeMap;

use tidegate_providers::ProviderClassifier;
use tower_layer::Layer;

use super::{ApiDialect, Chain, NamedTarget, ProviderSettings, Providers, TargetAddress, named_target};
use crate::fallback::AsTarget;
use crate::hedge::HedgeLayer;
use crate::settings::ConfigError;
use crate::{FallbackLayer, Resilience, ResilienceBuilder, ResilienceConfig};

/// A chain of targets by name; see the [module page](mod@crate::chain).
#[derive(Clone, Debug)]
#[must_use = "a chain does nothing until it has a client"]
pub struct FallbackChain {
    targets: Vec<String>,
    policy: ResilienceConfig,
    policies: BTreeMap<String, ResilienceConfig>,
    providers: Option<Providers>,
    fallback: Option<FallbackLayer>,
}

impl FallbackChain {
    /// A chain of these targets, each `provider/model`, in this order.
    pub fn new<T: AsRef<str>>(targets: impl IntoIterator<Item = T>) -> Self {
        let targets = targets.into_iter().map(|target| target.as_ref().to_owned()).collect();
        Self {
            targets,
            policy: ResilienceConfig::default(),
            policies: BTreeMap::new(),
            providers: None,
            fallback: None,
        }
    }

    /// The policy of every target that has none of its own, and of the call as a whole. Each target has gates of its
    /// own. By default there are timeouts and nothing else.
    pub fn policy(self, policy: ResilienceConfig) -> Self {
        Self { policy, ..self }
    }

    /// The policy of one target. It hedges the calls at this target alone, if the policy of the chain does not hedge.
    pub fn policy_of(mut self, target: &str, policy: ResilienceConfig) -> Self {
        self.policies.insert(target.to_owned(), policy);
        self
    }

    /// The providers that the targets name. By default the built-in ones, with keys from the environment. Keys in
    /// variables that were not read before are read from there, too.
    pub fn providers(self, providers: Providers) -> Self {
        Self { providers: Some(providers), ..self }
    }

    /// The settings and the last resorts of the chain, in place of the settings in the policy. Targets of this layer come
    /// after those of the chain.
    pub fn fallback(self, fallback: FallbackLayer) -> Self {
        Self { fallback: Some(fallback), ..self }
    }

    /// The chain around `client`, which sends the requests to all providers.
    ///
    /// # Errors
    ///
    /// There is no target; a target is twice in the chain, or names no provider; a provider has no key, or an API that
    /// nothing is translated into; its variable has a value that is no key or no URL; a number in a policy is out of range. The message names the target or the setting.
    pub fn service<C: AsTarget>(self, client: C) -> Result<Chain<C>, ConfigError> {
        let providers = match &self.providers {
            Some(providers) => {
                let names = self.targets.iter().filter_map(|target| Some(target.split_once('/')?.0));
                providers.clone().with_missing_keys(names, &|variable: &str| std::env::var_os(variable))?
            }
            None => Providers::from_env()?,
        };
        let settings = self.check(&providers)?;
        let is_mixed = settings.iter().any(|settings| settings.dialect() == ApiDialect::Anthropic);
        let mut targets = self
            .targets
            .iter()
            .zip(settings)
            .map(|(name, settings)| Ok((&**name, self.target(name, settings, is_mixed, client.clone())?)))
            .collect::<Result<Vec<_>, ConfigError>>()?
            .into_iter();
        let (first_name, first) = targets.next().ok_or_else(no_target)?;
        let fallback = match self.fallback.clone() {
            Some(fallback) => fallback,
            None => FallbackLayer::from_settings(self.policy.fallback.clone())
                .map_err(|error| error.within("fallback"))?,
        };
        let fallback = match &self.policy.hedge {
            Some(settings) => {
                let hedge = HedgeLayer::from_settings(settings.clone());
                fallback.hedge(hedge.map_err(|error| error.within("hedge"))?.name(first_name))
            }
            None => fallback,
        };
        let mut signals = vec![first.get_ref().get_ref().signals()];
        let fallback = targets.fold(fallback, |fallback, (name, target)| {
            signals.push(target.get_ref().get_ref().signals());
            fallback.then_addressed(name, target)
        });
        Ok(Chain::new(fallback.layer(first), self.policy.bounds()?, signals))
    }

    /// The settings of the provider of each target.
    fn check<'a>(&self, providers: &'a Providers) -> Result<Vec<&'a ProviderSettings>, ConfigError> {
        if self.targets.is_empty() {
            return Err(no_target());
        }
        if let Some(unknown) = self.policies.keys().find(|name| !self.targets.contains(name)) {
            let problem = format!("`{unknown}` has a policy and is not in the chain");
            return Err(ConfigError::new("chain", problem));
        }
        let check = |(index, target): (usize, &String)| {
            if self.targets[..index].contains(target) {
                return Err(ConfigError::new("chain", format!("`{target}` is in the chain already")));
            }
            let settings = providers.of_target(target)?;
            if settings.dialect() == ApiDialect::Gemini {
                let problem = format!(
                    "`{target}` has Gemini's own API, which nothing is translated into; use its OpenAI-compatible URL"
                );
                return Err(ConfigError::new("chain", problem));
            }
            Ok(settings)
        };
        self.targets.iter().enumerate().map(check).collect()
    }

    fn target<C>(
        &self,
        name: &str,
        settings: &ProviderSettings,
        is_mixed: bool,
        client: C,
    ) -> Result<NamedTarget<Resilience<C>>, ConfigError> {
        let policy = self.policies.get(name).unwrap_or(&self.policy);
        let address = TargetAddress::new(name, settings);
        let stack = ResilienceBuilder::from_config(policy)?
            .name(name)
            .fallback(FallbackLayer::new())
            .classify(ProviderClassifier::new(address.kind()));
        // The hedges of the common policy are those of the chain.
        let has_own_policy = self.policies.contains_key(name);
        let stack = if has_own_policy { stack } else { stack.hedge(HedgeLayer::disabled()) };
        Ok(named_target(stack.service(client), address, is_mixed))
    }
}

fn no_target() -> ConfigError {
    ConfigError::new("chain", "expected at least one \"provider/model\"")
}
