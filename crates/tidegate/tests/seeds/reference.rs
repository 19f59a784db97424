//! Seed items 1 to 14: the parts of the reference, their numbers and their signals.

use std::time::Duration;

use http_body_util::BodyExt;
use tidegate::circuit_breaker::State;
use tidegate::fallback::FallbackInfo;
use tidegate::provider::{Gate, HttpService};
use tidegate::rate_limit::OnLimit;
use tidegate::{
    BackpressureLayer, BoxError, CircuitBreakerLayer, FallbackLayer, Payload, RateLimitLayer, Rejection,
    RetryLayer, Signals,
};
use tidegate_testkit::strict::{self, Answer};
use tokio::time::Instant;
use tower::{Layer, ServiceExt};

use crate::{any_request, configured};

const SECOND: Duration = Duration::from_secs(1);

/// Seed items 1 and 6. The model is the name of the stack. Whether a failure is retried is decided by the
/// `retryable` of its code.
#[tokio::test(start_paused = true)]
async fn one_configuration_builds_the_client_of_a_model() {
    let (stack, provider) = configured(
        "retry = { max_retries = 1 }\n\
         rate_limiter = { requests_per_second = 10 }\n\
         circuit_breaker = { failure_threshold = 2, max_attempts_counted_per_call = 2 }\n\
         backpressure = { max_inflight = 50 }",
    );
    let signals = stack.signals();
    provider.answer(400);
    assert_eq!(stack.send(any_request()).await.unwrap().status(), 400);
    assert_eq!(provider.calls(), 1, "E1001 is not retryable");
    provider.otherwise(Answer::status(503));
    assert_eq!(stack.send(any_request()).await.unwrap().status(), 503);
    assert_eq!(provider.calls(), 3, "E3002 is");
    let snapshot = signals.snapshot();
    assert_eq!((&*snapshot.target, snapshot.circuit_state), ("openai/gpt-4o", State::Open));
    assert_eq!(snapshot.max_inflight, Some(50));
    assert!(snapshot.rate_remaining.is_some_and(|remaining| remaining < 10));
}

/// Seed items 2 and 19: three retries, from one second on, doubled each time, of at most thirty seconds.
#[tokio::test(start_paused = true)]
async fn by_default_three_retries_wait_one_two_and_four_seconds() {
    let (stack, provider) = configured("retry = { jitter = \"none\" }");
    provider.otherwise(Answer::status(503));
    let start = Instant::now();
    stack.send(any_request()).await.unwrap();
    assert_eq!((provider.calls(), start.elapsed()), (4, 7 * SECOND));
    let config = stack.signals().snapshot().retry.config;
    assert_eq!((config.initial_delay_ms, config.max_delay_ms), (1_000, 30_000));

    let (stack, provider) = configured("retry = { jitter = \"none\", max_retries = 6 }");
    provider.otherwise(Answer::status(503));
    let start = Instant::now();
    stack.send(any_request()).await.unwrap();
    assert_eq!(start.elapsed(), (1 + 2 + 4 + 8 + 16 + 30) * SECOND);
}

/// Seed items 3 and 9: ten requests a second, in bursts of twenty.
#[tokio::test(start_paused = true)]
async fn a_burst_of_twenty_passes_at_once_and_then_ten_a_second() {
    let (stack, _provider) = configured("rate_limiter = { requests_per_second = 10, burst_size = 20 }");
    let start = Instant::now();
    for (calls, elapsed) in [(20, Duration::ZERO), (1, SECOND / 10), (9, SECOND)] {
        for _ in 0..calls {
            stack.send(any_request()).await.unwrap();
        }
        assert_eq!(start.elapsed(), elapsed);
    }
}

/// Seed items 4 and 8: five failures open the circuit for thirty seconds, and its state is printed.
#[tokio::test(start_paused = true)]
async fn five_failures_open_the_circuit_for_thirty_seconds() {
    let (stack, provider) = configured("circuit_breaker = {}");
    let state = || stack.signals().snapshot().circuit_state.to_string();
    for _ in 0..5 {
        assert_eq!(state(), "closed");
        provider.answer(503);
        stack.send(any_request()).await.unwrap();
    }
    tokio::time::advance(30 * SECOND - Duration::from_millis(1)).await;
    assert_eq!(state(), "open");
    tokio::time::advance(Duration::from_millis(1)).await;
    assert_eq!(state(), "half_open");
    stack.send(any_request()).await.unwrap().into_body().collect().await.unwrap();
    assert_eq!((state(), provider.calls()), ("closed".into(), 6));
}

/// Seed items 5 and 10: at most fifty calls are in flight.
#[tokio::test(start_paused = true)]
async fn at_most_fifty_calls_are_in_flight() {
    let (stack, provider) = configured("backpressure = {}");
    provider.otherwise(Answer::hang());
    let mut calls: Vec<_> = (0..60).map(|_| tokio_test::task::spawn(stack.send(any_request()))).collect();
    for expected in [(50, 10), (50, 9)] {
        calls.iter_mut().for_each(|call| assert!(call.poll().is_pending()));
        assert_eq!((provider.live_futures(), stack.signals().snapshot().queued), expected);
        drop(calls.remove(0));
    }
}

/// Seed item 7.
#[tokio::test(start_paused = true)]
async fn each_layer_works_alone() {
    async fn rejected(service: impl HttpService<Payload>) -> Option<Gate> {
        let error: BoxError = service.oneshot(any_request()).await.err()?.into();
        Rejection::find(&*error).map(Rejection::gate)
    }

    let (inner, provider) = strict::service();
    provider.answer(503);
    let retry = RetryLayer::exponential().layer(inner);
    assert_eq!(retry.oneshot(any_request()).await.unwrap().status(), 200);

    let (inner, _provider) = strict::service();
    let limit = RateLimitLayer::per_minute(1).on_limit(OnLimit::Reject).layer(inner);
    let results = [rejected(limit.clone()).await, rejected(limit).await];
    assert_eq!(results, [None, Some(Gate::RateLimit)]);

    let (inner, provider) = strict::service();
    provider.answer(503);
    let breaker = CircuitBreakerLayer::new().failure_threshold(1).layer(inner);
    let results = [rejected(breaker.clone()).await, rejected(breaker).await];
    assert_eq!(results, [None, Some(Gate::CircuitBreaker)]);

    let (inner, provider) = strict::service();
    provider.answer(200).stall();
    let bulkhead = BackpressureLayer::max_inflight(1).max_queued(0).layer(inner);
    let response = bulkhead.clone().oneshot(any_request()).await.unwrap();
    assert_eq!(rejected(bulkhead.clone()).await, Some(Gate::Backpressure));
    drop(response);
    assert_eq!(rejected(bulkhead).await, None);

    let [(inner, provider), (other, _other)] = [strict::service(), strict::service()];
    provider.answer(503);
    let chain = FallbackLayer::new().then("b/two", other).layer(inner);
    assert_eq!(chain.oneshot(any_request()).await.unwrap().status(), 200);
}

/// Seed item 11. Here, each name comes with the service of its target. (The gateway has the list of names:
/// `chain` of a route.)
#[tokio::test(start_paused = true)]
async fn a_chain_of_three_models_answers_while_one_of_them_does() {
    const NAMES: [&str; 3] = ["openai/gpt-4o", "anthropic/claude-3-5-sonnet", "deepseek/deepseek-chat"];
    let [(openai, first), (anthropic, second), (deepseek, third)] =
        [strict::service(), strict::service(), strict::service()];
    let chain = FallbackLayer::new().then(NAMES[1], anthropic).then(NAMES[2], deepseek).layer(openai);
    for (number, provider) in [&first, &second, &third].into_iter().enumerate() {
        let response = chain.clone().oneshot(any_request()).await.unwrap();
        let target = response.extensions().get().map_or(NAMES[0], FallbackInfo::target);
        assert_eq!((response.status().as_u16(), target), (200, NAMES[number]));
        provider.otherwise(Answer::status(503));
    }
    assert_eq!(chain.oneshot(any_request()).await.unwrap().status(), 503);
    assert_eq!([first.calls(), second.calls(), third.calls()], [4, 3, 2]);
}

/// Seed items 12, 13 and 86. Here, the check of a call takes its deadline, if it has one.
#[tokio::test(start_paused = true)]
async fn preflight_and_snapshot_show_circuit_rate_and_calls_in_flight() {
    fn parts(signals: &Signals) -> (State, usize, Option<u32>) {
        let snapshot = signals.snapshot();
        (snapshot.circuit_state, snapshot.current_inflight, snapshot.rate_remaining)
    }

    let (stack, provider) = configured(
        "rate_limiter = { requests_per_minute = 3, on_limit = \"reject\" }\n\
         circuit_breaker = { failure_threshold = 1 }\n\
         backpressure = { max_inflight = 1, max_queued = 0 }",
    );
    let signals = stack.signals();
    let rejected = || signals.preflight(None).map_err(|rejection| rejection.gate());
    assert_eq!((parts(&signals), rejected()), ((State::Closed, 0, Some(3)), Ok(())));
    provider.answer(200).stall();
    let response = stack.send(any_request()).await.unwrap();
    assert_eq!((parts(&signals), rejected()), ((State::Closed, 1, Some(2)), Err(Gate::Backpressure)));
    drop(response);
    provider.answer(503);
    drop(stack.send(any_request()).await.unwrap());
    assert_eq!((parts(&signals), rejected()), ((State::Open, 0, Some(1)), Err(Gate::CircuitBreaker)));
    signals.reset();
    for _ in 0..3 {
        drop(stack.send(any_request()).await.unwrap());
    }
    assert_eq!((parts(&signals), rejected()), ((State::Closed, 0, Some(0)), Err(Gate::RateLimit)));
}
