//! Seed items 57 and 58: retry policies per call and per error.

use tidegate_testkit::strict::Answer;
use tower::Layer;

use super::*;
use crate::BoxError;
use crate::retry::{Jitter, LoadSignals, NonRetryableError, RetryOverride, RetryableError, Strategy};

/// The attempts of a call to a provider that is down, and the time that they take.
async fn down(layer: &RetryLayer, retry_override: RetryOverride) -> (usize, u128) {
    let (inner, provider) = strict();
    provider.otherwise(Answer::status(503));
    let request = request_with(retry_override);
    let start = clock::now();
    send(&mut layer.layer(inner), request).await.unwrap();
    (provider.calls(), (clock::now() - start).as_millis())
}

/// Seed item 58.
#[tokio::test(start_paused = true)]
async fn a_call_may_override_the_policy() {
    let layer = RetryLayer::exponential().jitter(Jitter::None);
    let own = RetryOverride::new();
    assert_eq!(down(&layer, own).await, (4, 7_000), "values that are not set remain");
    assert_eq!(down(&layer, RetryOverride::off()).await, (1, 0));
    assert_eq!(down(&RetryLayer::disabled().jitter(Jitter::None), own.max_retries(1)).await, (2, 1_000));
    assert_eq!(down(&layer, own.initial_delay(2 * SECOND).max_delay(4 * SECOND)).await, (4, 10_000));
    assert_eq!(down(&layer, own.backoff_multiplier(3.0)).await, (4, 13_000));
    assert_eq!(down(&layer, own.backoff_multiplier(f64::NAN)).await, (4, 3_000));
    assert_eq!(down(&layer, own.strategy(Strategy::Linear).max_retries(4)).await, (5, 10_000));
    assert_ne!(down(&layer, own.jitter(Jitter::Full)).await.1, 7_000);
    let layer = layer.retry_on([ErrorCode::RateLimited]);
    assert_eq!(down(&layer, own).await, (1, 0));
    assert_eq!(down(&layer, own.retry_on([ErrorCode::ServerError, ErrorCode::Overloaded])).await, (4, 7_000));
}

/// Seed item 58.
#[tokio::test(start_paused = true)]
async fn a_call_may_override_the_load_signals() {
    let layer = RetryLayer::new(Strategy::Adaptive).jitter(Jitter::None).max_retries(1);
    let conditions = LoadSignals { load: Some(0.9), ..LoadSignals::default() };
    assert_eq!(down(&layer, RetryOverride::new()).await, (2, 1_000));
    assert_eq!(down(&layer, RetryOverride::new().load_signals(conditions)).await, (2, 2_000));
    let other = RetryLayer::exponential().jitter(Jitter::None).max_retries(1).load(|| Some(0.9));
    assert_eq!(down(&other, RetryOverride::new()).await, (2, 1_000));
    assert_eq!(down(&other, RetryOverride::new().strategy(Strategy::Adaptive)).await, (2, 2_000));
}

#[test]
fn retry_on_restricts_even_what_the_provider_demands() {
    let only = RetryLayer::exponential().retry_on([ErrorCode::RateLimited, ErrorCode::QuotaExhausted]);
    let policy = only.handle().0.policy;
    let now = Instant::now();
    for code in ErrorCode::ALL {
        let again = policy.decide(&Failure::new(code).into(), attempt(1, now)) != RetryDecision::Return;
        assert_eq!(again, code == ErrorCode::RateLimited, "{code}");
        let hint = Some(RetryHint { should_retry: Some(true), ..RetryHint::default() });
        let demanded =
            policy.decide(&Failure { retry_hint: hint, ..Failure::new(code) }.into(), attempt(1, now));
        let is_listed = matches!(code, ErrorCode::RateLimited | ErrorCode::QuotaExhausted);
        assert_eq!(demanded != RetryDecision::Return, is_listed, "{code}");
    }
}

/// Seed item 57: the marker of an error takes precedence over its kind and the codes that are retried, and
/// "no" over "yes".
#[tokio::test(start_paused = true)]
async fn error_markers_override_the_code() {
    /// The attempts with all codes, and with one that no case has.
    type Case = (fn() -> BoxError, [usize; 2]);
    fn invalid() -> BoxError {
        Failure::new(ErrorCode::InvalidRequest).into()
    }
    fn reset() -> BoxError {
        "connection reset".into()
    }
    let cases: [Case; 6] = [
        (reset, [4, 1]),
        (invalid, [1, 1]),
        (|| RetryableError::new(invalid()).into(), [4, 4]),
        (|| NonRetryableError::new(reset()).into(), [1, 1]),
        (|| RetryableError::new(NonRetryableError::new(reset())).into(), [1, 1]),
        (|| std::io::Error::other(NonRetryableError::new(RetryableError::new(reset()))).into(), [1, 1]),
    ];
    let layers = [RetryLayer::exponential(), RetryLayer::exponential().retry_on([ErrorCode::RateLimited])];
    for (number, (make, calls)) in cases.into_iter().enumerate() {
        for (layer, calls) in layers.iter().zip(calls) {
            let (inner, provider) = strict();
            provider.otherwise(Answer::error_with(make));
            let error = call(&mut layer.layer(inner)).await.err().unwrap();
            assert_eq!((provider.calls(), error.to_string()), (calls, make().to_string()), "case {number}");
        }
    }
}
