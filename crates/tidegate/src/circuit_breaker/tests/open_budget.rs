//! What an open circuit admits where there is no other target.

use http_body_util::BodyExt;
use tidegate_testkit::strict::{self, Answer, Strict};
use tower::{Layer, ServiceExt};

use super::{SECOND, fail, opened};
use crate::circuit_breaker::{CircuitBreaker, CircuitBreakerLayer, Handle, OpenBudget, State};
use crate::testing::{call, complete, rejection, request, send, strict as provider};
use crate::{
    ErrorCode, Failure, FallbackLayer, HintSource, Outcome, Payload, RejectionReason, ResilienceBuilder,
    RetryHint, RetryLayer, StatusClassifier,
};

fn layer() -> CircuitBreakerLayer {
    CircuitBreakerLayer::new().failure_threshold(2).cooldown(30 * SECOND).open_budget(OpenBudget::default())
}

/// An open circuit in front of a provider that fails.
async fn open() -> (CircuitBreaker<Strict<Payload>>, Handle, strict::Handle) {
    let (inner, provider) = provider();
    let layer = layer();
    let (circuit, mut service) = (layer.handle(), layer.layer(inner));
    provider.otherwise(Answer::status(503));
    for _ in 0..2 {
        complete(&mut service).await.unwrap();
    }
    assert!(opened(&circuit));
    (service, circuit, provider)
}

#[tokio::test(start_paused = true)]
async fn an_outage_costs_one_attempt_a_second_and_rejections_name_the_next() {
    let (mut service, circuit, provider) = open().await;
    let rejected = rejection(call(&mut service).await);
    assert_eq!(rejected.reason(), RejectionReason::CircuitOpen);
    assert_eq!(rejected.retry_after(), Some(SECOND));
    assert_eq!(rejection(call(&mut service).await).retry_after(), Some(2 * SECOND), "after the one before");
    for second in 1..=20 {
        tokio::time::advance(SECOND).await;
        assert_eq!(circuit.peek_for(&request()), None);
        assert_eq!(complete(&mut service).await.unwrap(), 503);
        assert!(circuit.peek_for(&request()).is_some() && call(&mut service).await.is_err());
        assert_eq!((provider.calls(), circuit.snapshot().admitted_while_open), (2 + second, second as u64));
    }
    // Others are sent elsewhere for as long as before.
    assert!(circuit.peek().is_some() && circuit.cooldown_remaining().unwrap() < 11 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn successes_admit_more_and_only_probes_close_the_circuit() {
    let (mut service, circuit, provider) = open().await;
    tokio::time::advance(SECOND).await;
    provider.otherwise(Answer::status(200));
    for _ in 0..500 {
        assert_eq!(complete(&mut service).await.unwrap(), 200);
    }
    assert!(opened(&circuit));
    provider.otherwise(Answer::status(503));
    let mut failures = 0;
    while complete(&mut service).await.is_ok() {
        failures += 1;
    }
    assert!((91..=100).contains(&failures), "{failures}: at most ten times what one success adds");
    assert_eq!(circuit.snapshot().failure_rate, Some(1.0), "of the calls before it opened");
    tokio::time::advance(29 * SECOND).await;
    provider.otherwise(Answer::status(200));
    assert_eq!((circuit.state(), complete(&mut service).await.unwrap()), (State::HalfOpen, 200));
    assert_eq!(circuit.state(), State::Closed);
}

/// An attempt that began before the circuit opened counts as well, and a stream counts with its head.
#[tokio::test(start_paused = true)]
async fn a_success_counts_at_its_head_whenever_it_began() {
    let (inner, provider) = provider();
    let mut service = layer().layer(inner);
    provider.answer(200).after(SECOND / 2).frame("token").stall();
    let early = tokio::spawn(service.clone().oneshot(request()));
    tokio::task::yield_now().await;
    provider.otherwise(Answer::status(503));
    for _ in 0..2 {
        complete(&mut service).await.unwrap();
    }
    assert!(call(&mut service).await.is_err());
    let stream = early.await.unwrap().unwrap();
    let mut admitted = 0;
    while call(&mut service).await.is_ok() {
        admitted += 1;
    }
    assert_eq!(admitted, 10);
    drop(stream);
}

#[tokio::test(start_paused = true)]
async fn forced_open_and_without_quota_it_admits_none() {
    let (mut service, circuit, provider) = open().await;
    circuit.force_open();
    tokio::time::advance(20 * SECOND).await;
    assert_eq!(rejection(call(&mut service).await).reason(), RejectionReason::CircuitForcedOpen);
    circuit.reset();
    let exhausted = Outcome::from(Failure::new(ErrorCode::QuotaExhausted));
    provider.answer(429).extension(exhausted);
    complete(&mut service).await.unwrap();
    tokio::time::advance(20 * SECOND).await;
    assert_eq!(rejection(call(&mut service).await).reason(), RejectionReason::QuotaExhausted);
}

/// A target of a chain that others follow is passed by, and the last one is not.
#[tokio::test(start_paused = true)]
async fn only_the_last_target_of_a_chain_has_it() {
    let ((first, primary), (second, other)) = (provider(), provider());
    let stack = |name: &str| {
        ResilienceBuilder::new(name).classify(StatusClassifier).circuit_breaker(layer().failure_threshold(1))
    };
    let last = stack("last").service(second);
    let mut chain = stack("first").fallback(FallbackLayer::new().then_addressed("last", last)).service(first);
    primary.otherwise(Answer::status(503));
    other.otherwise(Answer::status(503));
    call(&mut chain).await.unwrap();
    for calls in 2..5 {
        tokio::time::advance(SECOND).await;
        assert_eq!(call(&mut chain).await.unwrap().status(), 503);
        assert!(call(&mut chain).await.is_err());
        assert_eq!((primary.calls(), other.calls()), (1, calls));
    }
}

/// A budget that is empty covers no retry: the call ends with the response at hand, as without a budget.
#[tokio::test(start_paused = true)]
async fn a_call_is_not_retried_while_the_budget_is_empty() {
    for (budget, sent) in [(None, 1), (Some(OpenBudget { per_second: 1.0, per_success: 10.0 }), 1)] {
        let (inner, provider) = provider();
        let mut circuit = CircuitBreakerLayer::new().failure_threshold(1);
        if let Some(budget) = budget {
            circuit = circuit.open_budget(budget);
        }
        let stack =
            ResilienceBuilder::new("alone").classify(StatusClassifier).retry(RetryLayer::exponential());
        let mut service = stack.circuit_breaker(circuit).service(inner);
        provider.answer(503);
        assert_eq!(send(&mut service, request()).await.unwrap().status(), 503);
        assert_eq!(provider.calls(), sent);
    }
}

/// What successes have paid for is spent in the same outage, and not in the next one.
#[tokio::test(start_paused = true)]
async fn a_circuit_opens_with_an_empty_budget() {
    let (mut service, circuit, provider) = open().await;
    tokio::time::advance(SECOND).await;
    provider.otherwise(Answer::status(200));
    for _ in 0..5 {
        complete(&mut service).await.unwrap();
    }
    tokio::time::advance(29 * SECOND).await;
    complete(&mut service).await.unwrap();
    assert_eq!(circuit.state(), State::Closed);
    fail(&mut service, &provider, 2).await;
    assert!(opened(&circuit) && call(&mut service).await.is_err());
}

/// Ten attempts for each head would send all calls into an outage of streams that break.
#[tokio::test(start_paused = true)]
async fn a_body_that_breaks_takes_back_what_its_head_added() {
    let (mut service, circuit, provider) = open().await;
    provider.otherwise(Answer::status(200).frame("token").break_off("broken"));
    for second in 1..=20 {
        tokio::time::advance(SECOND).await;
        assert!(complete(&mut service).await.is_err());
        assert!(circuit.peek_for(&request()).is_some());
        assert_eq!(provider.calls(), 2 + second);
    }
    // Many heads, before the first of their bodies breaks.
    tokio::time::advance(SECOND).await;
    let mut streams = Vec::new();
    while streams.len() < 200 {
        streams.push(call(&mut service).await.unwrap());
    }
    for stream in streams {
        assert!(stream.into_body().collect().await.is_err());
    }
    assert_eq!(rejection(call(&mut service).await).retry_after(), circuit.cooldown_remaining());
}

/// A head later than a slow call is no reason for more attempts.
#[tokio::test(start_paused = true)]
async fn a_slow_head_adds_no_attempts() {
    let (inner, provider) = provider();
    let layer = layer().slow_call_threshold(SECOND / 2).slow_call_rate_threshold(1.0);
    let (circuit, mut service) = (layer.handle(), layer.layer(inner));
    fail(&mut service, &provider, 2).await;
    provider.otherwise(Answer::status(200).after(SECOND * 6 / 10));
    for _ in 0..10 {
        tokio::time::advance(SECOND).await;
        assert_eq!(complete(&mut service).await.unwrap(), 200);
        assert!(opened(&circuit) && circuit.peek_for(&request()).is_some());
    }
}

/// A hundred rejected calls delayed those of the next hundred seconds.
#[tokio::test(start_paused = true)]
async fn waits_begin_anew_when_a_circuit_opens_again() {
    let (mut service, circuit, _) = open().await;
    for _ in 0..100 {
        assert!(call(&mut service).await.is_err());
    }
    tokio::time::advance(30 * SECOND).await;
    // The probe, and the attempt of a second.
    for _ in 0..2 {
        assert_eq!(complete(&mut service).await.unwrap(), 503);
    }
    assert!(opened(&circuit));
    assert_eq!(rejection(call(&mut service).await).retry_after(), Some(SECOND));
}

/// Pitfall P28 (docs/pitfalls.md): the wait of an attempt beside the open circuit was lost.
#[tokio::test(start_paused = true)]
async fn a_wait_that_an_attempt_gets_while_the_circuit_is_open_extends_its_time() {
    let (mut service, circuit, provider) = open().await;
    let retry_hint = Some(RetryHint::after(300 * SECOND, HintSource::Body));
    let failure = Failure { retry_hint, ..Failure::new(ErrorCode::Overloaded) };
    provider.answer(503).extension(Outcome::from(failure));
    tokio::time::advance(SECOND).await;
    complete(&mut service).await.unwrap();
    assert_eq!(circuit.cooldown_remaining(), Some(300 * SECOND));
}

/// Regression: a quota without a wait left the circuit as it was.
#[tokio::test(start_paused = true)]
async fn a_quota_that_is_exhausted_while_the_circuit_is_open_is_the_reason_from_then_on() {
    for (wait, expected) in [(Some(300 * SECOND), 300 * SECOND), (None, 60 * SECOND)] {
        let (mut service, circuit, provider) = open().await;
        let retry_hint = wait.map(|wait| RetryHint::after(wait, HintSource::Body));
        let failure = Failure { retry_hint, ..Failure::new(ErrorCode::QuotaExhausted) };
        provider.answer(429).extension(Outcome::from(failure));
        tokio::time::advance(SECOND).await;
        complete(&mut service).await.unwrap();
        let rejection = circuit.peek().expect("an open circuit");
        assert_eq!(rejection.code(), ErrorCode::QuotaExhausted);
        assert_eq!(rejection.retry_after(), Some(expected));
    }
}
