//! Seed item 60: the statistics of the retries.

use serde_json::json;
use tidegate_testkit::strict::Answer;
use tower::Layer;

use super::*;

/// Seed items 60 and 90. The average of the lesson divided the attempts of all calls by the number of retried
/// calls.
#[tokio::test(start_paused = true)]
async fn calls_with_one_attempt_are_not_operations() {
    let layer = RetryLayer::exponential().max_retries(2);
    let (mut service, provider) = strict_behind(&layer);
    let rates = || {
        let statistics = layer.handle().statistics();
        (statistics.total_attempts, statistics.retry_success_rate(), statistics.avg_attempts_per_operation())
    };
    assert_eq!(rates(), (0, 1.0, 0.0));
    for _ in 0..5 {
        complete(&mut service).await.unwrap();
    }
    provider.answer(400);
    complete(&mut service).await.unwrap();
    assert_eq!(rates(), (6, 1.0, 0.0), "neither a success nor a failure at the first try is an operation");
    provider.answer(503);
    complete(&mut service).await.unwrap();
    assert_eq!(rates(), (8, 1.0, 2.0));
    provider.otherwise(Answer::status(503));
    complete(&mut service).await.unwrap();
    assert_eq!(rates(), (11, 0.5, 2.5));
    let expected = json!({
        "total_attempts": 11, "retries": 3, "successful_retries": 1, "failed_after_retries": 1,
        "retry_success_rate": 0.5, "avg_attempts_per_operation": 2.5, "out_of_budget": 0,
        "config": {
            "max_attempts": 3, "strategy": "exponential", "initial_delay_ms": 1_000, "max_delay_ms": 30_000,
        },
    });
    assert_eq!(serde_json::to_value(layer.handle().statistics()).unwrap(), expected);
}

/// Regression: a call that was dropped while its retry was slow was no operation.
#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_after_its_first_retry_has_failed() {
    for (time, expected) in [(SECOND / 1_000, (0, 0)), (60 * SECOND, (1, 2))] {
        let layer = RetryLayer::exponential().max_retries(2);
        let (mut service, provider) = strict_behind(&layer);
        provider.answer(503);
        provider.hang();
        tokio::time::timeout(time, complete(&mut service)).await.unwrap_err();
        let statistics = layer.handle().statistics();
        assert_eq!((statistics.failed_after_retries, statistics.operation_attempts), expected);
    }
}

/// Seed item 55: the lesson has three attempts, the first included; the reference has three after the first.
#[tokio::test(start_paused = true)]
async fn the_settings_of_the_lesson_are_available() {
    use crate::retry::{Jitter, Settings, Strategy};
    let (inner, provider) = strict();
    let lesson = RetryLayer::new(Strategy::Exponential)
        .max_retries(2)
        .initial_delay(SECOND)
        .max_delay(60 * SECOND)
        .jitter(Jitter::Ratio(0.1))
        .backoff_multiplier(2.0);
    provider.otherwise(Answer::status(503));
    let start = clock::now();
    complete(&mut lesson.layer(inner)).await.unwrap();
    let took = (clock::now() - start).as_millis();
    assert!(provider.calls() == 3 && (2_700..=3_302).contains(&took), "{took} ms");
    assert_eq!(lesson.handle().statistics().config.max_attempts, 3);
    let attempts = |max_attempts| {
        let layer = RetryLayer::from_settings(Settings { max_attempts, ..Settings::default() }).unwrap();
        layer.handle().statistics().config.max_attempts
    };
    assert_eq!([None, Some(2), Some(9)].map(attempts), [4, 2, 4]);
}
