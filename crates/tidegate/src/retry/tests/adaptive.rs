//! Seed item 54 as a service: the signals of adaptive waits are measured.

use tidegate_testkit::strict::{Answer, Handle, Strict};
use tower::Layer;

use super::*;
use crate::retry::{Jitter, Strategy};
use crate::{HttpService, Payload};

fn adaptive() -> RetryLayer {
    RetryLayer::new(Strategy::Adaptive).jitter(Jitter::None).max_retries(1).without_budget()
}

fn down() -> (Strict<Payload>, Handle) {
    let (inner, provider) = strict();
    provider.otherwise(Answer::status(503));
    (inner, provider)
}

/// The wait of a call between its two attempts.
async fn waits<S: HttpService<Payload>>(service: &mut S) -> u128 {
    let start = clock::now();
    complete(service).await.unwrap();
    (clock::now() - start).as_millis()
}

/// Seed items 54 and 81.
#[tokio::test(start_paused = true)]
async fn the_error_rate_is_measured_and_expires() {
    let (inner, provider) = down();
    let mut service = adaptive().layer(inner);
    for attempts in [1, 3, 5, 7] {
        assert_eq!(waits(&mut service).await, 1_000, "{attempts} attempts are too few");
    }
    // The ninth attempt is still too few; the eleventh is enough.
    assert_eq!((waits(&mut service).await, waits(&mut service).await), (1_000, 1_500));
    tokio::time::advance(120 * SECOND).await;
    assert_eq!(waits(&mut service).await, 1_000);
    provider.otherwise(Answer::status(200));
    assert_eq!(waits(&mut service).await, 0);
}

/// An overloaded provider would look healthy while its calls are rejected before they are sent.
#[tokio::test(start_paused = true)]
async fn rejected_and_cancelled_attempts_are_not_measured() {
    let handle = adaptive().handle();
    for number in 0..100 {
        let failure = || Failure::new(ErrorCode::Overloaded).into();
        let outcome = if number % 5 == 0 { failure() } else { Outcome::Neutral };
        handle.record(&outcome, clock::now());
    }
    assert_eq!(handle.load_signals(|| None).error_rate, Some(1.0));
}

/// Seed item 54.
#[tokio::test(start_paused = true)]
async fn the_response_time_is_measured() {
    let (mut service, provider) = strict_behind(&adaptive());
    provider.otherwise(Answer::status(200).after(6 * SECOND));
    let calls: Vec<_> = (0..10).map(|_| tokio::spawn(service.clone().oneshot(request()))).collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    provider.answer(503);
    assert_eq!(waits(&mut service).await, 1_300 + 6_000);
}

/// Seed item 54.
#[tokio::test(start_paused = true)]
async fn the_load_is_read_from_the_gauge() {
    for (load, wait) in [(None, 1_000), (Some(0.5), 1_000), (Some(0.9), 2_000)] {
        let (inner, _provider) = down();
        assert_eq!(waits(&mut adaptive().load(move || load).layer(inner)).await, wait);
    }
}

/// Seed item 54.
#[tokio::test(start_paused = true)]
async fn in_the_stack_the_load_is_the_share_in_flight() {
    let (inner, provider) = strict();
    let mut service = crate::ResilienceBuilder::new("")
        .retry(adaptive())
        .backpressure(BackpressureLayer::max_inflight(10))
        .service(inner);
    let mut streams = Vec::new();
    for (open, wait) in [(0, 1_000), (8, 1_000), (9, 2_000)] {
        while streams.len() < open {
            provider.answer(200).stall();
            streams.push(call(&mut service).await.unwrap());
        }
        // Few failures among the attempts, so that only the load scales the wait.
        provider.answer(503).body("overloaded");
        assert_eq!(waits(&mut service).await, wait, "{open} of 10 in flight");
    }
}

/// Regression: the call that failed was a load itself, as long as its body was not read.
#[tokio::test(start_paused = true)]
async fn a_call_alone_is_no_load() {
    for answer in [Answer::status(503), Answer::status(503).body("overloaded"), Answer::error("reset")] {
        let (inner, provider) = strict();
        provider.then(answer);
        let mut service = crate::ResilienceBuilder::new("")
            .retry(adaptive())
            .backpressure(BackpressureLayer::max_inflight(1))
            .service(inner);
        assert_eq!(waits(&mut service).await, 1_000);
    }
}
