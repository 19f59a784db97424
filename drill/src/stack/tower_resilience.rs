use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use tidegate::BoxError;
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};
use tower_resilience_adaptive::{AdaptiveError, AdaptiveLimiterLayer, Aimd};
use tower_resilience_circuitbreaker::{
    CircuitBreakerConfigBuilder, CircuitBreakerError, CircuitBreakerLayer, CircuitState, DefaultClassifier,
};
use tower_resilience_fallback::FallbackLayer;
use tower_resilience_hedge::{HedgeError, HedgeLayer};
use tower_resilience_ratelimiter::{RateLimiterLayer, RateLimiterServiceError};
use tower_resilience_retry::{FnInterval, RetryLayer};
use tower_resilience_timelimiter::TimeLimiterLayer;

use super::circuit_cooldown::CircuitCooldown;
use super::judged_attempt::{judged, unjudged};
use super::settings::FAILURE_RATE;
use super::status_policy::{backoff, jittered, retry_after};
use super::{
    AnswerBody, BuiltStack, ComparedStack, Settings, StackPlan, StackService, TargetPlan, peer, round_robin,
};
use crate::wire::RecordedClient;

pub(super) const STACK: ComparedStack = ComparedStack {
    name: "tower-resilience",
    description: "the order of its guide for clients of external APIs: Fallback to the stack of the next provider, \
                  TimeLimiter of the call, Retry (not of an open circuit, unless there is no other provider), CircuitBreaker \
                  for failures in a row and one for their rate since it closed (its window by number does not slide), RateLimiter \
                  of requests (a token bucket; it has none of tokens), AdaptiveLimiter (AIMD by errors and bad responses) in the \
                  place of a Bulkhead, TimeLimiter of the attempt to its head; the limiters are outside of that, since \
                  waits for them are no time of the provider; its Retry cannot wait as Retry-After reports, so without another \
                  provider a service written by hand does, and a longer wait than the longest back-off is not retried; answers \
                  that are no streams are read whole, by hand, in the attempt; of a group a weighted round robin written by \
                  hand, which starts the Fallback at each member in turn",
    build: |plan, wire| build(plan, wire, None),
};

/// The stack, with hedges after this delay or without.
pub(super) fn build(plan: &StackPlan, wire: RecordedClient, hedge_delay: Option<Duration>) -> BuiltStack {
    let client = peer::client(wire);
    let mut limiters = Vec::new();
    let mut stack_of = |target: &TargetPlan| {
        let (stack, in_flight) = target_stack(plan, target, client.clone(), hedge_delay);
        limiters.push(in_flight);
        stack
    };
    let places = plan.places().map(|members| {
        let stacks = members.iter().map(&mut stack_of).collect();
        round_robin::group_of(stacks, members, with_fallback)
    });
    let stack = BuiltStack::new(with_fallback(places.collect()));
    stack.held_by(move || limiters.iter().map(|in_flight| in_flight()).sum())
}

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

fn target_stack(
    plan: &StackPlan,
    target: &TargetPlan,
    client: StackService,
    hedge_delay: Option<Duration>,
) -> (StackService, impl Fn() -> usize + use<>) {
    let settings = plan.settings;
    let has_fallback = !settings.reserve.is_zero();
    let retry = RetryLayer::<Request<Bytes>, Response<AnswerBody>, BoxError>::builder()
        .max_attempts(settings.attempts as usize)
        .backoff(FnInterval::new(move |retry| backoff(&settings, retry as u32)))
        .retry_on_response(move |response| {
            peer::is_transient(response)
                && retry_after(response).is_none_or(|wait| wait <= settings.max_delay)
        })
        // Without a fallback, more calls are served with retries of the rejections.
        .retry_on(move |error| !(is_limited(error) || has_fallback && is_circuit_open(error)))
        .build();
    let attempt =
        ServiceBuilder::new().map_err(BoxError::from).layer(time_limit(settings.attempt)).service(client);
    let attempt = peer::whole_answers(StackService::new(attempt), settings.attempt);
    let (attempt, in_flight) = adaptively_limited(settings, attempt);
    let attempt = match hedge_delay {
        Some(delay) => hedged(delay, attempt),
        None => attempt,
    };
    let attempt = circuits(plan, limited(plan, target, attempt));
    let attempt = if has_fallback { attempt } else { waits_as_reported(settings, attempt) };
    let call = ServiceBuilder::new()
        .map_err(BoxError::from)
        .layer(time_limit(plan.time_of(target)))
        .layer(retry)
        .service(attempt);
    (peer::addressed(StackService::new(call), target), in_flight)
}

/// Waits for the time of `Retry-After` before the response, since Retry cannot.
fn waits_as_reported(settings: Settings, attempt: StackService) -> StackService {
    let attempt = attempt.and_then(move |response: Response<AnswerBody>| async move {
        let wait = retry_after(&response).filter(|wait| *wait <= settings.max_delay);
        if let Some(wait) = wait.filter(|_| peer::is_transient(&response)) {
            tokio::time::sleep(jittered(wait)).await;
        }
        Ok(response)
    });
    StackService::new(attempt)
}

fn time_limit(limit: Duration) -> TimeLimiterLayer {
    TimeLimiterLayer::builder().timeout_duration(limit).build()
}

/// An adaptive limit of the attempts in flight, and their number. Its latency is by the clock of the machine,
/// so that it is not used; what lowers the limit are errors and the responses that are worth another attempt.
fn adaptively_limited(
    settings: Settings,
    attempt: StackService,
) -> (StackService, impl Fn() -> usize + use<>) {
    let limit = Aimd::builder()
        .initial_limit(settings.first_in_flight)
        .min_limit(settings.least_in_flight)
        .max_limit(settings.in_flight)
        .latency_threshold(Duration::MAX);
    let limit = AdaptiveLimiterLayer::new(limit.build().expect("valid settings"));
    let limited = limit.layer(judged(attempt));
    let counted = limited.clone();
    let attempt = unjudged(limited, |error| match error {
        AdaptiveError::Service(result) => Some(result),
        AdaptiveError::LimitReached => None,
    });
    (attempt, move || counted.in_flight())
}

/// A second attempt if the first one has no success for this long.
fn hedged(delay: Duration, attempt: StackService) -> StackService {
    let hedge = HedgeLayer::builder().delay(delay).max_hedged_attempts(2).build();
    unjudged(hedge.layer(judged(attempt)), |error: HedgeError<_>| Some(error.into_inner()))
}

/// A token bucket of the published limit.
fn limited(plan: &StackPlan, target: &TargetPlan, attempt: StackService) -> StackService {
    let Some(requests) = target.requests else { return attempt };
    let limit = RateLimiterLayer::builder()
        .limit_for_period(requests as usize)
        .refresh_period(plan.minute)
        .burst_size(0)
        .timeout_duration(plan.settings.limit_wait)
        .build()
        .expect("a limit");
    StackService::new(ServiceBuilder::new().map_err(BoxError::from).layer(limit).service(attempt))
}

/// A circuit counts failures in a row or their rate, so there are two.
fn circuits(plan: &StackPlan, attempt: StackService) -> StackService {
    let (window, in_a_row) = (plan.settings.window as usize, plan.settings.consecutive as usize);
    let by_rate = circuit_breaker(plan, attempt, |builder| {
        let builder = builder.failure_rate_threshold(FAILURE_RATE);
        builder.sliding_window_size(window).minimum_number_of_calls(window)
    });
    circuit_breaker(plan, by_rate, |builder| builder.consecutive_failures(in_a_row))
}

type CircuitBreakerBuilder = CircuitBreakerConfigBuilder<DefaultClassifier>;

fn circuit_breaker(
    plan: &StackPlan,
    attempt: StackService,
    model: impl Fn(CircuitBreakerBuilder) -> CircuitBreakerBuilder,
) -> StackService {
    let (cooldown, wait) = (CircuitCooldown::default(), plan.settings.cooldown);
    let opened = cooldown.clone();
    let breaker = model(CircuitBreakerLayer::builder())
        .wait_duration_in_open(if plan.is_virtual { Duration::ZERO } else { wait })
        .permitted_calls_in_half_open(plan.settings.probes as usize)
        .on_state_transition(move |_, to| {
            if to == CircuitState::Open {
                opened.start();
            }
        })
        .failure_classifier(is_failure)
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
                return Err(OpenCircuit::OpenCircuit.into());
            }
            attempt.as_ref().clone().oneshot(request).await
        }
    }))
}

type OpenCircuit = CircuitBreakerError<BoxError>;

/// What a circuit counts: no rejection of the other one, nor of the limiter.
fn is_failure(result: &Result<Response<AnswerBody>, BoxError>) -> bool {
    let is_rejection = |error: &BoxError| is_circuit_open(error) || is_limited(error);
    peer::is_failure(result) && !result.as_ref().is_err_and(is_rejection)
}

fn is_circuit_open(error: &BoxError) -> bool {
    match error.downcast_ref() {
        Some(OpenCircuit::OpenCircuit) => true,
        Some(OpenCircuit::Inner(error)) => is_circuit_open(error),
        None => false,
    }
}

fn is_limited(error: &BoxError) -> bool {
    match error.downcast_ref() {
        Some(OpenCircuit::Inner(error)) => is_limited(error),
        Some(OpenCircuit::OpenCircuit) => false,
        None => {
            let error = error.downcast_ref::<RateLimiterServiceError<BoxError>>();
            error.is_some_and(RateLimiterServiceError::is_rate_limited)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};

    use http_body_util::{BodyExt, Full};
    use tokio::task::JoinSet;
    use tokio::time::Instant;

    use super::*;
    use crate::scenario::Scale;

    const SECOND: Duration = Duration::from_secs(1);

    /// An attempt of a second with the response of this status.
    fn attempt(status: impl Fn() -> u16 + Clone + Send + Sync + 'static) -> StackService {
        StackService::new(service_fn(move |_: Request<Bytes>| {
            let status = status();
            async move {
                tokio::time::sleep(SECOND).await;
                let body = Full::new(Bytes::new()).map_err(BoxError::from).boxed_unsync();
                Ok::<_, BoxError>(Response::builder().status(status).body(body)?)
            }
        }))
    }

    async fn status_of(service: &StackService) -> u16 {
        service.clone().oneshot(Request::default()).await.unwrap().status().as_u16()
    }

    #[tokio::test(start_paused = true)]
    async fn an_adaptive_limit_falls_with_bad_responses_and_grows_with_good_ones() {
        let settings = Settings::new(30 * SECOND, false, Scale::ONE);
        let current = Arc::new(AtomicU16::new(200));
        let status = Arc::clone(&current);
        let (service, in_flight) =
            adaptively_limited(settings, attempt(move || status.load(Ordering::Relaxed)));
        // The attempts in flight, half a second after 150 calls at one moment.
        let most_of = async |status: u16| {
            current.store(status, Ordering::Relaxed);
            let mut calls = JoinSet::new();
            for _ in 0..150 {
                let service = service.clone();
                calls.spawn(async move { status_of(&service).await });
            }
            tokio::time::sleep(SECOND / 2).await;
            let most = in_flight();
            assert!(calls.join_all().await.into_iter().all(|of_call| of_call == status));
            assert_eq!(in_flight(), 0);
            most
        };
        assert_eq!(most_of(200).await, settings.first_in_flight);
        assert_eq!(most_of(503).await, settings.in_flight);
        assert_eq!(most_of(429).await, settings.least_in_flight);
        assert_eq!(most_of(400).await, settings.least_in_flight);
        assert_eq!(most_of(200).await, settings.in_flight);
    }

    #[tokio::test(start_paused = true)]
    async fn a_hedge_follows_a_late_or_a_bad_response() {
        for (statuses, delay, expected) in [
            ([200, 503], 2 * SECOND, (200, SECOND, 1)),
            ([200, 429], SECOND / 2, (200, SECOND, 2)),
            ([503, 200], 3 * SECOND, (200, 4 * SECOND, 2)),
            ([503, 429], 3 * SECOND, (503, 4 * SECOND, 2)),
            ([400, 200], 2 * SECOND, (400, SECOND, 1)),
        ] {
            let sent = Arc::new(AtomicUsize::new(0));
            let next = Arc::clone(&sent);
            let service = hedged(delay, attempt(move || statuses[next.fetch_add(1, Ordering::Relaxed)]));
            let start = Instant::now();
            let status = status_of(&service).await;
            assert_eq!((status, start.elapsed(), sent.load(Ordering::Relaxed)), expected, "{statuses:?}");
        }
    }
}
