use tidegate::chain::{Chain, ProviderSettings, Providers, TargetGroup, group};
use tidegate::provider::LimitUnit;
use tidegate::rate_limit::Quota;
use tidegate::{
    FallbackChain, ResilienceConfig, backpressure, circuit_breaker, fallback, hedge, rate_limit, retry,
    timeout,
};

use super::settings::FAILURE_RATE;
use super::tidegate_client::{TidegateClient, client, for_callers, rules};
use super::{BuiltStack, ComparedStack, Settings, StackPlan, TargetPlan};
use crate::scenario::ProviderApi;
use crate::wire::RecordedClient;

pub(super) const STACK: ComparedStack = ComparedStack {
    name: "tidegate",
    description: "a FallbackChain; for each target Retry (of rejections, too, if there is no other target), Backpressure \
                  (adaptive by AIMD), RateLimit of \
                  requests and tokens, CircuitBreaker (failures in a row, too; an open_budget if there is no other target), and \
                  the wire, which bounds the first token and the gaps between tokens; too long prompts fall back, and the next \
                  target continues broken streams; the members of a group are a Group without weights",
    build: |plan, wire| build(plan, wire, None),
};

/// The stack, with hedges or without.
pub(super) fn build(plan: &StackPlan, wire: RecordedClient, hedge: Option<hedge::Settings>) -> BuiltStack {
    let chain = chain(plan, client(wire), hedge);
    let signals = chain.signals().to_vec();
    BuiltStack::new(for_callers(chain)).held_by(move || {
        let snapshots = signals.iter().map(tidegate::Signals::snapshot);
        snapshots.map(|state| state.current_inflight + state.queued + state.rate_waiting).sum()
    })
}

/// The chain of all targets, in their order.
fn chain(plan: &StackPlan, client: TidegateClient, hedge: Option<hedge::Settings>) -> Chain<TidegateClient> {
    let common = ResilienceConfig { hedge, ..policy(&plan.settings) };
    let providers = plan.targets.iter().fold(Providers::empty(), |providers, target| {
        let base_url = format!("http://{}/v1", target.authority);
        let settings = match target.dialect {
            ProviderApi::Anthropic => ProviderSettings::anthropic(base_url),
            ProviderApi::Openai | ProviderApi::Deepseek | ProviderApi::Mistral => {
                ProviderSettings::openai(base_url)
            }
        };
        providers.with(&target.name, settings.kind(rules(target.dialect)))
    });
    let chain = FallbackChain::new(plan.places().map(place)).policy(common.clone()).providers(providers);
    let chain = plan.targets.iter().fold(chain, |chain, target| {
        let limits = limits(plan, target);
        chain.policy_of(&name(target), ResilienceConfig { rate_limiter: Some(limits), ..common.clone() })
    });
    chain.service(client).expect("a checked scenario has a chain")
}

/// One target of the chain, or the group of several.
fn place(members: &[TargetPlan]) -> TargetGroup {
    let place = group(members.iter().map(name));
    members[0].group.iter().fold(place, |place, group| place.name(group))
}

pub(super) fn name(target: &TargetPlan) -> String {
    format!("{}/m", target.name)
}

/// The policy of all targets, without the limits of each.
pub(super) fn policy(settings: &Settings) -> ResilienceConfig {
    ResilienceConfig {
        retry: Some(retry::Settings {
            max_retries: settings.attempts - 1,
            initial_delay: settings.initial_delay,
            max_delay: settings.max_delay,
            reserve_for_fallback: settings.reserve,
            // Alone, a call waits for a gate; with another provider, it goes there.
            retry_rejections: settings.reserve.is_zero(),
            ..retry::Settings::default()
        }),
        circuit_breaker: Some(circuit_breaker::Settings {
            failure_threshold: settings.consecutive,
            failure_rate_threshold: Some(FAILURE_RATE),
            minimum_throughput: settings.window,
            sliding_window_size: Some(settings.window),
            cooldown: settings.cooldown,
            success_threshold: settings.probes,
            half_open_max: settings.probes,
            open_budget: Some(circuit_breaker::OpenBudget::default()),
            ..circuit_breaker::Settings::default()
        }),
        backpressure: Some(backpressure::Settings {
            max_inflight: settings.in_flight,
            max_queued: MAX_QUEUED,
            queue_timeout: settings.total,
            adaptive: Some(backpressure::Algorithm::Aimd),
            min_inflight: settings.least_in_flight,
            ..backpressure::Settings::default()
        }),
        timeout: timeout::Settings {
            total: Some(settings.total),
            first_token: settings.attempt,
            token_gap: settings.attempt,
            ..timeout::Settings::default()
        },
        fallback: fallback::Settings {
            on_context_length: true,
            continue_streams: true,
            ..fallback::Settings::default()
        },
        ..ResilienceConfig::default()
    }
}

/// The queues of the other stacks have no bound.
pub(super) const MAX_QUEUED: usize = 10_000;

/// The published limits of a target.
pub(super) fn limits(plan: &StackPlan, target: &TargetPlan) -> rate_limit::Settings {
    let quota = |unit, amount: Option<u32>| Some(Quota::new(unit, amount?.into(), plan.minute));
    let quotas = [quota(LimitUnit::Requests, target.requests), quota(LimitUnit::Tokens, target.tokens)];
    rate_limit::Settings {
        quotas: quotas.into_iter().flatten().collect(),
        max_wait: plan.settings.total,
        max_waiting: MAX_QUEUED,
        ..rate_limit::Settings::default()
    }
}
