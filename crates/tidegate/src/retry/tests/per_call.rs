//! Items 57 and 58: what one call, or one error, says for itself.

use tidegate_testkit::strict::Answer;
use tower::Layer;

use super::*;
use crate::retry::{Jitter, LoadSignals, NonRetryableError, RetryableError, Strategy};
use crate::{BoxError, RetryOverride};

/// How many attempts a call makes at a provider that is down, and how long that takes.
async fn down(layer: &RetryLayer, retry_override: RetryOverride) -> (usize, u128) {
    let (inner, provider) = strict();
    provider.otherwise(Answer::status(503));
    let mut request = request();
    request.extensions_mut().insert(retry_override);
    let start = clock::now();
    send(&mut layer.layer(inner), request).await.unwrap();
    (provider.calls(), (clock::now() - start).as_millis())
}

#[tokio::test(start_paused = true)]
async fn item_58_a_call_may_bring_its_own_policy() {
    let layer = RetryLayer::exponential().jitter(Jitter::None);
    let own = RetryOverride::new();
    assert_eq!(down(&layer, own).await, (4, 7_000), "what is not named stays");
    assert_eq!(down(&layer, RetryOverride::off()).await, (1, 0));
    assert_eq!(down(&RetryLayer::disabled().jitter(Jitter::None), own.max_retries(1)).await, (2, 1_000));
    assert_eq!(down(&layer, own.initial_delay(2 * SECOND).max_delay(4 * SECOND)).await, (4, 10_000));
    assert_eq!(down(&layer, own.backoff_multiplier(3.0)).await, (4, 13_000));
    assert_eq!(down(&layer, own.backoff_multiplier(f64::NAN)).await, (4, 3_000));
    assert_eq!(down(&layer, own.strategy(Strategy::Linear).max_retries(4)).await, (5, 10_000));
    assert_ne!(down(&layer, own.jitter(Jitter::Full)).await.1, 7_000);
}

#[tokio::test(start_paused = true)]
async fn item_58_a_call_may_bring_the_conditions_that_its_waits_adapt_to() {
    let layer = RetryLayer::new(Strategy::Adaptive).jitter(Jitter::None).max_retries(1);
    let conditions = LoadSignals { load: Some(0.9), ..LoadSignals::default() };
    assert_eq!(down(&layer, RetryOverride::new()).await, (2, 1_000));
    assert_eq!(down(&layer, RetryOverride::new().conditions(conditions)).await, (2, 2_000));
    let other = RetryLayer::exponential().jitter(Jitter::None).max_retries(1).load(|| Some(0.9));
    assert_eq!(down(&other, RetryOverride::new()).await, (2, 1_000));
    assert_eq!(down(&other, RetryOverride::new().strategy(Strategy::Adaptive)).await, (2, 2_000));
}

#[test]
fn the_policys_own_list_of_codes_has_the_last_word() {
    let only = RetryLayer::exponential().retry_on([ErrorCode::RateLimited, ErrorCode::QuotaExhausted]);
    let policy = only.handle().0.settings().policy;
    let now = Instant::now();
    for code in ErrorCode::ALL {
        let again = policy.decide(&Failure::new(code).into(), attempt(1, now)) != RetryDecision::Return;
        assert_eq!(again, code == ErrorCode::RateLimited, "{code}");
        let hint = Some(RetryHint { should_retry: Some(true), ..RetryHint::default() });
        let demanded = policy.decide(&Failure { hint, ..Failure::new(code) }.into(), attempt(1, now));
        let is_listed = matches!(code, ErrorCode::RateLimited | ErrorCode::QuotaExhausted);
        assert_eq!(demanded != RetryDecision::Return, is_listed, "{code}");
    }
}

/// Item 57: the error's own word counts more than its kind, and "no" more than "yes".
#[tokio::test(start_paused = true)]
async fn item_57_errors_say_themselves_whether_to_ask_again() {
    fn invalid() -> BoxError {
        Failure::new(ErrorCode::InvalidRequest).into()
    }
    fn reset() -> BoxError {
        "connection reset".into()
    }
    let cases: [(fn() -> BoxError, usize); 6] = [
        (reset, 4),
        (invalid, 1),
        (|| RetryableError::new(invalid()).into(), 4),
        (|| NonRetryableError::new(reset()).into(), 1),
        (|| RetryableError::new(NonRetryableError::new(reset())).into(), 1),
        (|| std::io::Error::other(NonRetryableError::new(RetryableError::new(reset()))).into(), 1),
    ];
    for (number, (make, calls)) in cases.into_iter().enumerate() {
        let (inner, provider) = strict();
        provider.otherwise(Answer::error_with(make));
        let error = call(&mut RetryLayer::exponential().layer(inner)).await.err().unwrap();
        assert_eq!((provider.calls(), error.to_string()), (calls, make().to_string()), "case {number}");
    }
}
