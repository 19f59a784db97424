//! Seed items 16 to 41 and 70 to 85: the circuit breaker of the lesson, its timeouts and its practice, where
//! no test beside the code has them.

use std::time::Duration;

use http_body_util::BodyExt;
use tidegate::circuit_breaker::State;
use tidegate::fallback::{AnswerCache, FallbackInfo, FallbackKind};
use tidegate::provider::Verdict;
use tidegate::{CircuitBreakerLayer, ErrorCode, FallbackLayer, Rejection, ResilienceBuilder, Trail};
use tidegate_testkit::strict::{self, Answer};
use tower::{Layer, ServiceExt};

use crate::{any_request, chat_request, completion, configured};

const SECOND: Duration = Duration::from_secs(1);

/// Seed items 18 and 28: a call that takes too long is a failure, and the next target is called.
#[tokio::test(start_paused = true)]
async fn a_call_of_more_than_a_minute_times_out_and_falls_back() {
    let [(first, primary), (second, _other)] = [strict::service(), strict::service()];
    primary.otherwise(Answer::status(200).after(61 * SECOND));
    let stack = ResilienceBuilder::new("a/one").attempt_timeout(60 * SECOND);
    let alone = stack.clone().service(first.clone());
    let error = alone.send(any_request()).await.unwrap_err();
    assert_eq!(error.to_string(), "attempt timed out after 60s");

    let breaker = CircuitBreakerLayer::new().failure_threshold(1);
    let chain =
        stack.circuit_breaker(breaker).fallback(FallbackLayer::new().then("b/two", second)).service(first);
    let start = tokio::time::Instant::now();
    let response = chain.send(any_request()).await.unwrap();
    assert_eq!((response.status().as_u16(), start.elapsed()), (200, 60 * SECOND));
    let because = Some(ErrorCode::Timeout);
    let steps = Trail::of(response.extensions()).unwrap().steps();
    assert!(steps.iter().any(|step| step.verdict == Verdict::FellBack { to: "b/two".into(), because }));
    assert_eq!(chain.signals().snapshot().circuit_state, State::Open, "the timeout has counted");
}

/// Seed items 21 and 74: each answer is worse than the one before, and each is better than none.
#[tokio::test(start_paused = true)]
async fn service_degrades_step_by_step() {
    let [(first, primary), (second, other)] = [strict::service(), strict::service()];
    let json = || Answer::status(200).header("content-type", "application/json").body(completion("we are"));
    primary.then(json());
    other.then(json());
    let layer = FallbackLayer::new().then("b/two", second).then_cached(AnswerCache::new()).then_simplified();
    let chain = layer.then_emergency("try again later").layer(first);
    let send = async |prompt: &str| {
        let response = chain.clone().oneshot(chat_request(prompt)).await.unwrap();
        let strategy = response.extensions().get().map(FallbackInfo::kind);
        response.into_body().collect().await.unwrap();
        strategy
    };
    let long = "Who are they?\nWhere from?\nWhat for?\nAnd what will become of them?";
    assert_eq!(send("Who?").await, None);
    primary.answer(503);
    assert_eq!(send("Who?").await, Some(FallbackKind::AlternativeModel));
    primary.otherwise(Answer::status(503));
    other.otherwise(Answer::status(503));
    assert_eq!(send("Who?").await, Some(FallbackKind::CachedResponse));
    primary.answer(503);
    primary.then(json());
    assert_eq!(send(long).await, Some(FallbackKind::SimplifiedPrompt));
    assert_eq!(send("And why?").await, Some(FallbackKind::Emergency));
}

/// The breaker of the lesson. Its `timeout_seconds` is the cooldown, and its `max_wait_duration` the
/// `attempt_timeout` of the stack.
fn breaker() -> CircuitBreakerLayer {
    CircuitBreakerLayer::new()
        .failure_threshold(5)
        .success_threshold(3)
        .cooldown(60 * SECOND)
        .slow_call_threshold(5 * SECOND)
        .slow_call_rate_threshold(0.5)
        .minimum_throughput(10)
        .sliding_window_size(100)
}

/// Seed item 23.
#[tokio::test(start_paused = true)]
async fn the_breaker_of_the_lesson_can_be_configured() {
    let (inner, provider) = strict::service();
    let layer = breaker();
    let (circuit, service) = (layer.handle(), layer.layer(inner));
    let call = async |answer: Answer| {
        provider.then(answer);
        let response = service.clone().oneshot(any_request()).await.unwrap();
        response.into_body().collect().await.unwrap();
        circuit.state()
    };
    let [fast, slow, failed] =
        [|| Answer::status(200), || Answer::status(200).after(5 * SECOND), || Answer::status(503)];
    let states = async |count: usize, answer: fn() -> Answer| {
        let mut states = Vec::new();
        for _ in 0..count {
            states.push(call(answer()).await);
        }
        states
    };
    use State::{Closed, HalfOpen, Open};
    assert_eq!(states(5, failed).await, [Closed, Closed, Closed, Closed, Open]);
    tokio::time::advance(60 * SECOND).await;
    assert_eq!(states(3, fast).await, [HalfOpen, HalfOpen, Closed]);
    assert_eq!((states(5, fast).await, states(5, slow).await.pop()), (vec![Closed; 5], Some(Open)));
}

/// Seed item 29. Here, the rejection has the time to wait, and the snapshot has the time of the last failure.
#[tokio::test(start_paused = true)]
async fn a_rejection_of_an_open_circuit_has_its_time_and_the_snapshot_the_last_failure() {
    let (inner, provider) = strict::service();
    let layer = breaker().failure_threshold(1);
    let service = layer.layer(inner);
    provider.answer(503);
    drop(service.clone().oneshot(any_request()).await.unwrap());
    tokio::time::advance(20 * SECOND).await;
    let error = service.oneshot(any_request()).await.err().unwrap();
    assert_eq!(Rejection::find(&*error).unwrap().retry_after(), Some(40 * SECOND));
    assert_eq!(error.to_string(), "circuit open for another 40s");
    let last_failure = layer.handle().snapshot().last_failure.unwrap();
    assert_eq!((last_failure.code, last_failure.ago_ms), (ErrorCode::Overloaded, 20_000));
}

/// Seed item 35: the lesson looks at the last ten calls.
#[tokio::test(start_paused = true)]
async fn slow_calls_open_the_circuit_after_many_fast_ones() {
    let (service, provider) = configured("preset = 'lesson'");
    provider.otherwise(Answer::status(200));
    for _ in 0..95 {
        service.send(any_request()).await.unwrap();
    }
    provider.otherwise(Answer::status(200).after(5 * SECOND));
    for slow in 1..=5 {
        assert_eq!(service.signals().snapshot().circuit_state, State::Closed, "{slow}");
        service.send(any_request()).await.unwrap();
    }
    assert_eq!(service.signals().snapshot().circuit_state, State::Open);
}
