use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{NotUntil, Quota, RateLimiter};
use http::{Request, Response};
use recloser::{AsyncRecloser, Recloser};
use tidegate::BoxError;
use tidegate::provider::Estimate;
use tidegate::providers::PromptEstimate;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tower::limit::GlobalConcurrencyLimitLayer;
use tower::{ServiceBuilder, ServiceExt, service_fn};

use super::circuit_cooldown::CircuitCooldown;
use super::peer::{self, CircuitOpen, LimitReached};
use super::recloser_events::RecloserEvents;
use super::settings::FAILURE_RATE;
use super::status_policy::StatusPolicy;
use super::{
    AnswerBody, BuiltStack, ComparedStack, StackPlan, StackService, TargetPlan, held_of, round_robin,
};

pub(super) const STACK: ComparedStack = ComparedStack {
    name: "hand-glued",
    description: "a fallback written by hand to the stack of the next provider; tower's Timeout of the call and Retry as \
                  above (not of an open circuit, unless there is no other provider), recloser and a count of failures in a \
                  row written by hand, governor for requests and for estimated tokens, ConcurrencyLimit, Timeout of the \
                  attempt to its head; answers that are no streams are read whole in the attempt; of a group a weighted \
                  round robin, which starts the fallback at each member in turn",
    build: |plan, wire| {
        let client = peer::client(wire);
        let mut semaphores = Vec::new();
        let mut cooldowns = Vec::new();
        let mut stack_of = |target: &TargetPlan| {
            let semaphore = Arc::new(Semaphore::new(plan.settings.in_flight));
            let cooldown = CircuitCooldown::default();
            semaphores.push(Arc::clone(&semaphore));
            cooldowns.push((target.name.clone(), cooldown.clone()));
            target_stack(plan, target, client.clone(), semaphore, cooldown)
        };
        let places = plan.places().map(|members| {
            let stacks = members.iter().map(&mut stack_of).collect();
            round_robin::group_of(stacks, members, with_fallback)
        });
        let places = places.collect();
        let stack =
            BuiltStack::new(with_fallback(places)).held_by(held_of(semaphores, plan.settings.in_flight));
        let guard = plan.is_virtual.then(|| tracing::subscriber::set_default(RecloserEvents(cooldowns)));
        BuiltStack { guard, ..stack }
    },
};

/// Calls the stacks in their order until one has a success, and returns the last result.
fn with_fallback(stacks: Vec<StackService>) -> StackService {
    StackService::new(service_fn(move |request: Request<Bytes>| {
        let stacks = stacks.clone();
        async move {
            let mut result = Err(BoxError::from("no provider"));
            for stack in stacks {
                result = stack.oneshot(request.clone()).await;
                if result.as_ref().is_ok_and(|response| response.status().is_success()) {
                    break;
                }
            }
            result
        }
    }))
}

fn target_stack(
    plan: &StackPlan,
    target: &TargetPlan,
    client: StackService,
    semaphore: Arc<Semaphore>,
    cooldown: CircuitCooldown,
) -> StackService {
    let settings = plan.settings;
    let attempt = ServiceBuilder::new().timeout(settings.attempt).service(client);
    let attempt = peer::whole_answers(StackService::new(attempt), settings.attempt);
    let attempt =
        ServiceBuilder::new().layer(GlobalConcurrencyLimitLayer::with_semaphore(semaphore)).service(attempt);
    let attempt = limited(plan, target, StackService::new(attempt));
    let call = ServiceBuilder::new()
        .timeout(plan.time_of(target))
        .retry(StatusPolicy::new(settings))
        .service(guarded(plan, target, attempt, cooldown));
    peer::addressed(StackService::new(call), target)
}

/// The attempt behind a circuit of recloser and a count of failures in a row. 5xx are failures.
fn guarded(
    plan: &StackPlan,
    target: &TargetPlan,
    attempt: StackService,
    cooldown: CircuitCooldown,
) -> StackService {
    let (wait, is_virtual) = (plan.settings.cooldown, plan.is_virtual);
    let circuit = Recloser::custom()
        .name(target.name.clone())
        .error_rate(FAILURE_RATE as f32)
        .closed_len(plan.settings.window as usize)
        .half_open_len(plan.settings.probes as usize)
        .open_wait(if is_virtual { Duration::ZERO } else { wait })
        .build();
    let circuit = AsyncRecloser::from(circuit);
    let in_a_row = Arc::new(FailuresInARow::new(plan.settings.consecutive, wait));
    StackService::new(service_fn(move |request| {
        let (circuit, attempt, cooldown) = (circuit.clone(), attempt.clone(), cooldown.clone());
        let in_a_row = Arc::clone(&in_a_row);
        async move {
            if in_a_row.is_open() || is_virtual && cooldown.is_on(wait) {
                return Err(CircuitOpen.into());
            }
            // A response of 5xx takes the way of an error, so that the circuit counts it.
            let result = circuit.call(async {
                let result = attempt.oneshot(request).await;
                let is_failure = peer::is_failure(&result);
                in_a_row.record(is_failure);
                if is_failure { Err(result) } else { Ok(result) }
            });
            match result.await {
                Ok(result) | Err(recloser::Error::Inner(result)) => result,
                Err(recloser::Error::Rejected) => Err(CircuitOpen.into()),
            }
        }
    }))
}

/// Opens after so many failures in a row, and again at the first failure after the cooldown.
#[derive(Debug)]
struct FailuresInARow {
    count: AtomicU32,
    most: u32,
    wait: Duration,
    cooldown: CircuitCooldown,
}

impl FailuresInARow {
    fn new(most: u32, wait: Duration) -> Self {
        Self { count: AtomicU32::new(0), most, wait, cooldown: CircuitCooldown::default() }
    }

    fn is_open(&self) -> bool {
        self.cooldown.is_on(self.wait)
    }

    fn record(&self, is_failure: bool) {
        if !is_failure {
            self.count.store(0, Ordering::Relaxed);
        } else if self.count.fetch_add(1, Ordering::Relaxed) + 1 >= self.most {
            self.cooldown.start();
        }
    }
}

/// The attempt behind the published limits.
fn limited(plan: &StackPlan, target: &TargetPlan, attempt: StackService) -> StackService {
    let limit = |amount: Option<u32>| Some(Arc::new(governor(amount?, plan.minute)));
    let (requests, tokens) = (limit(target.requests), limit(target.tokens));
    let longest = plan.settings.limit_wait;
    StackService::new(service_fn(move |request: Request<Bytes>| {
        let (requests, tokens, attempt) = (requests.clone(), tokens.clone(), attempt.clone());
        async move {
            let accepted = timeout(longest, async {
                if let Some(tokens) = &tokens {
                    let cost = PromptEstimate.estimate(request.headers(), request.body());
                    let cost = u32::try_from(cost.input + cost.output(0)).ok().and_then(NonZeroU32::new);
                    if let Some(cost) = cost {
                        wait_until_accepted(|| tokens.check_n(cost).unwrap_or(Ok(()))).await;
                    }
                }
                if let Some(requests) = &requests {
                    wait_until_accepted(|| requests.check()).await;
                }
            });
            accepted.await.map_err(|_| LimitReached)?;
            let response: Result<Response<AnswerBody>, BoxError> = attempt.oneshot(request).await;
            response
        }
    }))
}

/// Tokio's clock, so that time can be virtual.
#[derive(Clone, Debug)]
struct TokioClock;

impl Clock for TokioClock {
    type Instant = Instant;

    fn now(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }
}

type GovernorLimit = RateLimiter<NotKeyed, InMemoryState, TokioClock, NoOpMiddleware<Instant>>;

/// A limit of `amount` at once and as many, evenly spread, in each period.
fn governor(amount: u32, period: Duration) -> GovernorLimit {
    let amount = NonZeroU32::new(amount).unwrap_or(NonZeroU32::MIN);
    let quota = Quota::with_period(period / amount.get()).expect("a period").allow_burst(amount);
    RateLimiter::direct_with_clock(quota, TokioClock)
}

/// Checks the limiter again after each wait that it returns.
async fn wait_until_accepted(check: impl Fn() -> Result<(), NotUntil<Instant>>) {
    while let Err(not_yet) = check() {
        tokio::time::sleep(not_yet.wait_time_from(TokioClock.now())).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn failures_in_a_row_open_and_the_first_one_after_the_cooldown_opens_again() {
        let wait = Duration::from_secs(30);
        let failures = FailuresInARow::new(3, wait);
        [true, true, false, true, true].into_iter().for_each(|is_failure| failures.record(is_failure));
        assert!(!failures.is_open());
        failures.record(true);
        assert!(failures.is_open());
        tokio::time::advance(wait).await;
        assert!(!failures.is_open());
        failures.record(true);
        assert!(failures.is_open());
        tokio::time::advance(wait).await;
        [false, true, true].into_iter().for_each(|is_failure| failures.record(is_failure));
        assert!(!failures.is_open());
    }
}
