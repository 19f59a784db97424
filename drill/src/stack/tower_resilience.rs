use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use tidegate::BoxError;
use tower::util::BoxCloneSyncService;
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};
use tower_resilience_circuitbreaker::{CircuitBreakerLayer, CircuitState};
use tower_resilience_fallback::FallbackLayer;
use tower_resilience_ratelimiter::{RateLimiterLayer, WindowType};
use tower_resilience_retry::{FnInterval, RetryLayer};
use tower_resilience_timelimiter::TimeLimiterLayer;

use super::circuit_cooldown::CircuitCooldown;
use super::settings::FAILURE_RATE;
use super::status_policy::backoff;
use super::{AnswerBody, BuiltStack, ComparedStack, StackPlan, StackService, TargetPlan, peer, round_robin};

pub(super) const STACK: ComparedStack = ComparedStack {
    name: "tower-resilience",
    description: "the order of its guide for clients of external APIs: Fallback to the stack of the next provider, \
                  TimeLimiter of the call, Retry, CircuitBreaker, TimeLimiter of the attempt to its head, RateLimiter of \
                  requests (it has none of tokens) innermost; its Retry cannot see Retry-After; of a group a weighted round \
                  robin written by hand, which starts the Fallback at each member in turn",
    build: |plan, wire| {
        let client = peer::client(wire);
        let places = plan.places().map(|members| {
            let stacks = members.iter().map(|target| target_stack(plan, target, client.clone())).collect();
            round_robin::group_of(stacks, members, with_fallback)
        });
        BuiltStack::new(with_fallback(places.collect()))
    },
};

/// The stacks, each the fallback of the one before.
fn with_fallback(stacks: Vec<StackService>) -> StackService {
    let chain = stacks.into_iter().rev().reduce(|backup, stack| {
        let fallback = FallbackLayer::<Request<Bytes>, Response<AnswerBody>, BoxError>::tower_service(backup)
            .handle_response(|response: &Response<AnswerBody>| !response.status().is_success());
        StackService::new(
            fallback.layer(stack).map_err(|error| error.map_primary(|error| error).into_inner()),
        )
    });
    chain.expect("a checked scenario has a provider")
}

fn target_stack(plan: &StackPlan, target: &TargetPlan, client: StackService) -> StackService {
    let settings = plan.settings;
    let retry = RetryLayer::<Request<Bytes>, Response<AnswerBody>, BoxError>::builder()
        .max_attempts(settings.attempts as usize)
        .backoff(FnInterval::new(move |retry| backoff(&settings, retry as u32)))
        .retry_on_response(peer::is_transient)
        .build();
    let time_limit = |limit: Duration| TimeLimiterLayer::builder().timeout_duration(limit).build();
    let client = limited(plan, target, client);
    let attempt =
        ServiceBuilder::new().map_err(BoxError::from).layer(time_limit(settings.attempt)).service(client);
    let attempt = circuit_breaker(plan, BoxCloneSyncService::new(attempt));
    let call = ServiceBuilder::new()
        .map_err(BoxError::from)
        .layer(time_limit(settings.total - settings.reserve))
        .layer(retry)
        .service(attempt);
    peer::addressed(StackService::new(call), target)
}

fn limited(plan: &StackPlan, target: &TargetPlan, client: StackService) -> StackService {
    let Some(requests) = target.requests else { return client };
    let limit = RateLimiterLayer::builder()
        .limit_for_period(requests as usize)
        .refresh_period(plan.minute)
        .window_type(WindowType::SlidingLog)
        .timeout_duration(plan.settings.total)
        .build()
        .expect("a limit");
    StackService::new(ServiceBuilder::new().map_err(BoxError::from).layer(limit).service(client))
}

fn circuit_breaker(plan: &StackPlan, attempt: StackService) -> StackService {
    let (cooldown, wait) = (CircuitCooldown::default(), plan.settings.cooldown);
    let opened = cooldown.clone();
    let breaker = CircuitBreakerLayer::builder()
        .failure_rate_threshold(FAILURE_RATE)
        .sliding_window_size(plan.settings.window as usize)
        .minimum_number_of_calls(plan.settings.window as usize)
        .wait_duration_in_open(if plan.is_virtual { Duration::ZERO } else { wait })
        .permitted_calls_in_half_open(plan.settings.probes as usize)
        .on_state_transition(move |_, to| {
            if to == CircuitState::Open {
                opened.start();
            }
        })
        .failure_classifier(peer::is_failure)
        .build()
        .expect("valid settings");
    let attempt = ServiceBuilder::new().map_err(BoxError::from).layer(breaker).service(attempt);
    if !plan.is_virtual {
        return StackService::new(attempt);
    }
    let attempt = Arc::new(StackService::new(attempt));
    StackService::new(service_fn(move |request| {
        let (cooldown, attempt) = (cooldown.clone(), Arc::clone(&attempt));
        async move {
            if cooldown.is_on(wait) {
                return Err("circuit is open; call not permitted".into());
            }
            attempt.as_ref().clone().oneshot(request).await
        }
    }))
}
