use std::collections::BTreeMap;

use tidegate_providers::ProviderClassifier;
use tower_layer::Layer;

use super::{ApiDialect, Chain, NamedTarget, Providers, TargetAddress, TargetGroup, named_target};
use crate::fallback::AsTarget;
use crate::group::{Group, Member};
use crate::hedge::HedgeLayer;
use crate::settings::ConfigError;
use crate::{FallbackLayer, Resilience, ResilienceBuilder, ResilienceConfig, Signals};

/// A chain of targets by name; see the [module page](mod@crate::chain).
#[derive(Clone, Debug)]
#[must_use = "a chain does nothing until it has a client"]
pub struct FallbackChain {
    groups: Vec<TargetGroup>,
    policy: ResilienceConfig,
    policies: BTreeMap<String, ResilienceConfig>,
    providers: Option<Providers>,
    fallback: Option<FallbackLayer>,
}

impl FallbackChain {
    /// A chain of these targets, each `provider/model`, or [groups](super::group) of them, in this order.
    pub fn new<T: Into<TargetGroup>>(targets: impl IntoIterator<Item = T>) -> Self {
        Self {
            groups: targets.into_iter().map(Into::into).collect(),
            policy: ResilienceConfig::default(),
            policies: BTreeMap::new(),
            providers: None,
            fallback: None,
        }
    }

    /// The policy of every target that has none of its own, and of the call as a whole. Each target has gates
    /// of its own. By default there are timeouts and nothing else.
    pub fn policy(self, policy: ResilienceConfig) -> Self {
        Self { policy, ..self }
    }

    /// The policy of one target. It hedges the calls at this target alone, if the policy of the chain does
    /// not hedge.
    pub fn policy_of(mut self, target: &str, policy: ResilienceConfig) -> Self {
        self.policies.insert(target.to_owned(), policy);
        self
    }

    /// The providers that the targets name. By default the built-in ones, with keys from the environment.
    /// Keys in variables that were not read before are read from there, too.
    pub fn providers(self, providers: Providers) -> Self {
        Self { providers: Some(providers), ..self }
    }

    /// The settings and the last resorts of the chain, in place of the settings in the policy. Targets of
    /// this layer come after those of the chain.
    pub fn fallback(self, fallback: FallbackLayer) -> Self {
        Self { fallback: Some(fallback), ..self }
    }

    /// The chain around `client`, which sends the requests to all providers.
    ///
    /// # Errors
    ///
    /// There is no target; a target is twice in the chain, or names no provider; a provider has no key, or an
    /// API that nothing is translated into; its variable has a value that is no key or no URL; a weight or a
    /// number in a policy is out of range. The message names the target or the setting.
    pub fn service<C: AsTarget>(self, client: C) -> Result<Chain<C>, ConfigError> {
        let providers = match &self.providers {
            Some(providers) => {
                let names = self.targets().filter_map(|target| Some(target.split_once('/')?.0));
                providers.clone().with_missing_keys(names, &|variable: &str| std::env::var_os(variable))?
            }
            None => Providers::from_env()?,
        };
        let is_mixed = self.check(&providers)?;
        let fallback = match self.fallback.clone() {
            Some(fallback) => fallback,
            None => FallbackLayer::from_settings(self.policy.fallback.clone())
                .map_err(|error| error.within("fallback"))?,
        };
        let mut signals = Vec::new();
        let groups: Vec<_> = self
            .groups
            .iter()
            .map(|group| {
                let models = fallback.model_catalog();
                let members = self.members(group, &providers, is_mixed, &client, &mut signals)?;
                let built =
                    Group::new(&group.display_name(), members)?.affinity(group.affinity_of().cloned());
                Ok(built.with_catalog(models).with_own_accounts())
            })
            .collect::<Result<_, ConfigError>>()?;
        let handles = groups.iter().map(Group::handle).collect();
        let mut groups = groups.into_iter();
        let first = groups.next().ok_or_else(no_target)?;
        let fallback = match &self.policy.hedge {
            Some(settings) => {
                let hedge = HedgeLayer::from_settings(settings.clone());
                fallback.hedge(hedge.map_err(|error| error.within("hedge"))?.name(first.name()))
            }
            None => fallback,
        };
        let fallback = fallback.groups_first(groups);
        Ok(Chain::new(fallback.layer(first), self.policy.call_limits()?, signals, handles))
    }

    fn targets(&self) -> impl Iterator<Item = &String> {
        self.groups.iter().flat_map(TargetGroup::targets)
    }

    /// Checks the targets. Whether one of them has Anthropic's API.
    fn check(&self, providers: &Providers) -> Result<bool, ConfigError> {
        if self.groups.is_empty() {
            return Err(no_target());
        }
        self.groups.iter().try_for_each(TargetGroup::check)?;
        if let Some(unknown) = self.policies.keys().find(|name| !self.targets().any(|it| it == *name)) {
            let problem = format!("`{unknown}` has a policy and is not in the chain");
            return Err(ConfigError::new("chain", problem));
        }
        let mut is_mixed = false;
        for (index, target) in self.targets().enumerate() {
            if self.targets().take(index).any(|before| before == target) {
                return Err(ConfigError::new("chain", format!("`{target}` is in the chain already")));
            }
            let dialect = providers.of_target(target)?.dialect();
            if dialect == ApiDialect::Gemini {
                let problem = format!(
                    "`{target}` has Gemini's own API, which nothing is translated into; use its OpenAI-compatible URL"
                );
                return Err(ConfigError::new("chain", problem));
            }
            is_mixed |= dialect == ApiDialect::Anthropic;
        }
        Ok(is_mixed)
    }

    /// The members of a group: each target, or each key of it.
    fn members<C: AsTarget>(
        &self,
        group: &TargetGroup,
        providers: &Providers,
        is_mixed: bool,
        client: &C,
        signals: &mut Vec<Signals>,
    ) -> Result<Vec<Member<NamedTarget<Resilience<C>>>>, ConfigError> {
        let mut members = Vec::new();
        for (target, weight) in group.weighted() {
            let settings = providers.of_target(target)?;
            for (name, settings) in settings.by_key(target) {
                let address = TargetAddress::of_member(&name, target, &settings);
                let stack = self.stack(target, &address, client.clone())?;
                let own = stack.signals();
                let service = named_target(stack, address.clone(), is_mixed);
                members.push(Member::new(&name, service).signals(&own).address(&address).weight(weight));
                signals.push(own);
            }
        }
        Ok(members)
    }

    fn stack<C>(
        &self,
        target: &str,
        address: &TargetAddress,
        client: C,
    ) -> Result<Resilience<C>, ConfigError> {
        let policy = self.policies.get(target).unwrap_or(&self.policy);
        let stack = ResilienceBuilder::from_config(policy)?
            .name(address.target())
            .fallback(FallbackLayer::new())
            .classify(ProviderClassifier::new(address.kind()));
        // The hedges of the common policy are those of the chain.
        let has_own_policy = self.policies.contains_key(target);
        let stack = if has_own_policy { stack } else { stack.hedge(HedgeLayer::disabled()) };
        Ok(stack.service(client))
    }
}

fn no_target() -> ConfigError {
    ConfigError::new("chain", "expected at least one \"provider/model\"")
}

#[cfg(test)]
mod tests {
    use http::Request;
    use serde_json::{Value, json};
    use tidegate_testkit::strict::{Answer, Handle};

    use super::super::{ProviderSettings, group};
    use super::*;
    use crate::events::{Decision, subscribe_to};
    use crate::testing::strict;
    use crate::{ErrorCode, Gate, Payload, Trail, Verdict};

    /// By the translation, and by the address of a target that nothing is translated for.
    #[tokio::test]
    async fn a_request_that_the_first_target_cannot_take_is_recorded_with_its_name() {
        for (dialect, target) in
            [(ApiDialect::Anthropic, "refusing-a/m"), (ApiDialect::OpenAi, "refusing-o/m")]
        {
            let (client, provider) = strict();
            let (name, _) = target.split_once('/').unwrap();
            let settings = ProviderSettings::new("http://first.test/v1", dialect);
            let chain = FallbackChain::new([target]).providers(Providers::empty().with(name, settings));
            let (chain, mut events) = (chain.service(client).unwrap(), subscribe_to(target));
            let request = Request::post("http://any.test/v1/chat/completions").extension(Trail::new());
            let request = request.body(Payload::from("no JSON")).unwrap();
            let trail = Trail::of(request.extensions()).cloned().unwrap();
            assert!(chain.send(request).await.is_err());
            let steps: Vec<_> = trail.steps().into_iter().map(|step| (step.target, step.verdict)).collect();
            let rejected = Verdict::Rejected { gate: Gate::Translate, code: ErrorCode::InvalidRequest };
            assert_eq!((steps, provider.calls()), (vec![(Some(target.into()), rejected)], 0));
            let event = events.try_next().map(|event| event.decision);
            assert!(matches!(event, Some(Decision::Rejected { .. })), "{event:?}");
        }
    }

    /// The providers of these names, each with so many keys.
    fn providers(names: &[(&str, usize)]) -> Providers {
        names.iter().fold(Providers::empty(), |providers, (name, keys)| {
            let keys = (0..*keys).map(|key| format!("key-{key}"));
            providers.with(name, ProviderSettings::openai(format!("http://{name}.test/v1")).api_keys(keys))
        })
    }

    fn chat(prompt: &str) -> Request<Payload> {
        let body = json!({"model": "m", "messages": [{"role": "user", "content": prompt}]});
        Request::post("http://any/v1/chat/completions").body(Payload::from(body.to_string())).unwrap()
    }

    /// The models that were requested.
    fn models(provider: &Handle) -> Vec<String> {
        let model = |body: Option<bytes::Bytes>| {
            let body: Value = serde_json::from_slice(&body?).ok()?;
            Some(body["model"].as_str()?.to_owned())
        };
        provider.requests().into_iter().filter_map(|request| model(request.body)).collect()
    }

    fn answered() -> Answer {
        let body = r#"{"choices":[{"message":{"content":"a"},"finish_reason":"stop"}]}"#;
        Answer::status(200).header("content-type", "application/json").body(body)
    }

    #[tokio::test(start_paused = true)]
    async fn a_reset_of_a_chain_is_one_of_the_gates_and_of_the_members_of_its_groups() {
        let (client, provider) = strict();
        provider.then(Answer::status(429).header("retry-after", "3600"));
        provider.otherwise(answered());
        let policy = ResilienceConfig { circuit_breaker: Some(Default::default()), ..Default::default() };
        let chain = FallbackChain::new(["a/m"]).policy(policy).providers(providers(&[("a", 2)]));
        let chain = chain.service(client).unwrap();
        assert_eq!(chain.send(chat("hi")).await.unwrap().status(), 200);
        let cooldowns = || {
            let members = chain.groups()[0].snapshot().members;
            members.into_iter().filter_map(|member| member.cooldown_remaining_ms).collect::<Vec<_>>()
        };
        chain.signals()[0].circuit_breaker().force_open();
        assert_eq!(cooldowns(), [3_600_000]);
        chain.reset();
        assert_eq!((cooldowns(), chain.signals()[0].is_healthy()), (Vec::new(), true));
    }

    /// Regression: they came before the second target of the chain.
    #[tokio::test(start_paused = true)]
    async fn targets_of_the_layer_come_after_those_of_the_chain() {
        for is_hedged in [false, true] {
            let [(client, provider), (own, last)] = [strict(), strict()];
            provider.otherwise(Answer::status(503));
            last.otherwise(answered());
            let fallback = FallbackLayer::new().then_addressed("own", own).then_emergency("sorry");
            let fallback = if is_hedged { fallback.hedge(HedgeLayer::new()) } else { fallback };
            let chain = FallbackChain::new(["a/one".into(), group(["a/two", "b/two"]), "b/three".into()])
                .providers(providers(&[("a", 1), ("b", 1)]))
                .fallback(fallback)
                .service(client)
                .unwrap();
            assert_eq!(chain.send(chat("hi")).await.unwrap().status(), 200);
            assert_eq!(
                (models(&provider), last.calls()),
                (["one", "two", "two", "three"].map(str::to_owned).to_vec(), 1)
            );
            let names: Vec<_> = chain.handle().statistics().iter().map(|it| it.target.to_string()).collect();
            assert_eq!(names, ["a/two|b/two", "b/three", "own", "@emergency"]);
        }
    }

    /// Pitfall P31 (docs/pitfalls.md): with more than one key, no target was skipped.
    #[tokio::test(start_paused = true)]
    async fn a_target_that_cannot_take_the_request_is_skipped_whatever_the_number_of_its_keys() {
        for keys in 1..=3 {
            let (client, provider) = strict();
            provider.then(Answer::status(503));
            provider.otherwise(answered());
            let chain = FallbackChain::new(["down/m", "openai/gpt-4", "openai/gpt-4o"])
                .providers(providers(&[("down", 1), ("openai", keys)]))
                .service(client)
                .unwrap();
            assert_eq!(chain.send(chat(&"word ".repeat(9_000))).await.unwrap().status(), 200);
            assert_eq!(models(&provider), ["m", "gpt-4o"], "{keys}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_member_that_cannot_take_the_request_is_left_out_whatever_the_number_of_its_keys() {
        for keys in 1..=3 {
            let (client, provider) = strict();
            provider.otherwise(answered());
            let chain = FallbackChain::new([group(["openai/gpt-4", "openai/gpt-4o"])])
                .providers(providers(&[("openai", keys)]))
                .service(client)
                .unwrap();
            for _ in 0..20 {
                assert_eq!(chain.send(chat(&"word ".repeat(9_000))).await.unwrap().status(), 200);
            }
            assert!(models(&provider).iter().all(|model| model == "gpt-4o"), "{keys}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_prompt_that_was_too_long_is_sent_to_larger_models_whatever_the_number_of_the_keys() {
        let targets = ["down/m", "openai/gpt-4o", "azure/gpt-4o-mini", "openai/gpt-4.1"];
        for (first, keys) in [(1, 1), (1, 2), (0, 2)] {
            let (client, provider) = strict();
            if first == 0 {
                provider.then(Answer::status(503));
            }
            let body = r#"{"error":{"message":"too long","code":"context_length_exceeded"}}"#;
            provider.then(Answer::status(400).header("content-type", "application/json").body(body));
            provider.otherwise(answered());
            let chain = FallbackChain::new(&targets[first..])
                .providers(providers(&[("openai", keys), ("azure", 1), ("down", 1)]))
                .fallback(FallbackLayer::new().on_context_length(true))
                .service(client)
                .unwrap();
            let response = chain.send(chat("hi")).await.unwrap();
            let trail = crate::Trail::of(response.extensions()).unwrap();
            let is_skipped = trail.steps().iter().any(
                |step| matches!(&step.verdict, Verdict::Skipped { target, .. } if **target == *targets[2]),
            );
            assert!(is_skipped, "{first}, {keys}");
            assert_eq!(models(&provider).last().map(String::as_str), Some("gpt-4.1"));
        }
    }
}
