//! Pitfall P30 (docs/pitfalls.md): retries times fallbacks times the retries of the client made 12 to 40
//! attempts.

use http_body_util::BodyExt;
use tidegate_testkit::strict::Answer;
use tower::{Layer, ServiceExt};

use super::*;
use crate::rate_limit::OnLimit;
use crate::retry::Jitter;
use crate::{AttemptBudget, FallbackLayer, RateLimitLayer, ResilienceBuilder};

/// Pitfall P30 (docs/pitfalls.md).
#[tokio::test(start_paused = true)]
async fn retries_end_with_the_attempt_budget_and_the_last_response_is_returned() {
    let (inner, provider) = strict();
    provider.otherwise(Answer::status(503).body("no room"));
    let layer = RetryLayer::exponential().max_retries(5);
    let budget = AttemptBudget::new(3);
    let request = request_with(budget.clone());
    let response = send(&mut layer.layer(inner), request).await.unwrap();
    assert_eq!((response.status().as_u16(), provider.calls(), budget.remaining()), (503, 3, 0));
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "no room");
}

/// Regression: they were sent by the first service of all clones that was ever called, with its credential.
#[tokio::test(start_paused = true)]
async fn retries_are_sent_by_the_service_that_was_called() {
    let ((first, of_first), (second, of_second)) = (strict(), strict());
    let mut service = RetryLayer::exponential().layer(first.clone());
    let mut stack =
        ResilienceBuilder::new("openai/gpt-4o").retry(RetryLayer::exponential()).service(first.clone());
    let (mut clone, mut stack_clone) = (service.clone(), stack.clone());
    of_first.answer(503);
    complete(&mut service).await.unwrap();
    of_first.answer(503);
    complete(&mut stack).await.unwrap();
    *clone.get_mut() = second.clone();
    *stack_clone.get_mut() = second;
    of_second.answer(503);
    complete(&mut clone).await.unwrap();
    of_second.answer(503);
    complete(&mut stack_clone).await.unwrap();
    assert_eq!((of_first.calls(), of_second.calls()), (4, 4));
    of_first.answer(503);
    complete(&mut service).await.unwrap();
    assert_eq!((of_first.calls(), of_second.calls()), (6, 4));
}

/// Pitfall P30 (docs/pitfalls.md): an attempt for which no service became ready was not sent.
#[tokio::test(start_paused = true)]
async fn an_attempt_that_is_never_sent_is_returned_to_the_budget() {
    let (inner, provider) = strict();
    provider.answer(503);
    let budget = AttemptBudget::new(3);
    let request = request_with(budget.clone());
    let call = RetryLayer::exponential().layer(inner).oneshot(request);
    let mut call = tokio_test::task::spawn(call);
    assert!(call.poll().is_pending(), "the back-off");
    provider.fail_ready("worker gone");
    tokio::time::sleep(SECOND).await;
    assert_eq!(call.await.err().unwrap().to_string(), "worker gone");
    assert_eq!((provider.calls(), budget.remaining()), (1, 2));
}

/// Regression: a future that was not polled until its deadline had passed sent another attempt.
#[tokio::test(start_paused = true)]
async fn no_attempt_is_sent_after_the_deadline() {
    let (inner, provider) = strict();
    provider.answer(503);
    let call = RetryLayer::exponential().layer(inner).oneshot(with_deadline(request(), 10 * SECOND));
    let mut call = tokio_test::task::spawn(call);
    assert!(call.poll().is_pending(), "the back-off");
    tokio::time::sleep(20 * SECOND).await;
    let error = call.await.err().unwrap();
    assert_eq!(error.rejection().map(Rejection::code), Some(ErrorCode::Timeout));
    assert_eq!(provider.calls(), 1);
}

/// Regression: the request of the last attempt was not kept, although a gate that rejects it gives the
/// attempt back.
#[tokio::test(start_paused = true)]
async fn the_last_attempt_is_repeated_after_a_rejection_if_rejections_are() {
    let (inner, provider) = strict();
    provider.answer(503);
    let mut chat = ResilienceBuilder::new("openai/gpt-4o")
        .retry(
            RetryLayer::exponential().initial_delay(SECOND / 10).jitter(Jitter::None).retry_rejections(true),
        )
        .rate_limit(RateLimitLayer::per_second(1).burst_size(1).on_limit(OnLimit::Reject))
        .max_attempts(2)
        .total_timeout(60 * SECOND)
        .service(inner);
    assert_eq!((complete(&mut chat).await.unwrap(), provider.calls()), (200, 2));
}

/// A call that a gate rejected at first made no deposit into the retry budget, although a later attempt was
/// sent.
#[tokio::test(start_paused = true)]
async fn a_call_deposits_once_an_attempt_is_sent() {
    let (mut service, provider) =
        strict_behind(&RetryLayer::exponential().retry_rejections(true).budget(1.0, 0).max_retries(2));
    provider.fail_with(|| {
        Rejection::new(Gate::RateLimit, ErrorCode::RateLimited).with_retry_after(SECOND).into()
    });
    provider.answer(503);
    let request = with_deadline(request(), 60 * SECOND);
    assert_eq!(send(&mut service, request).await.unwrap().status(), 200);
}

/// Pitfall P30 (docs/pitfalls.md): a retry that the retry budget does not cover leaves its attempt to the
/// fallback.
#[tokio::test(start_paused = true)]
async fn an_attempt_that_is_not_retried_remains_for_the_next_target() {
    let ((first, primary), (second, other)) = (strict(), strict());
    primary.otherwise(Answer::status(503));
    let mut chat = ResilienceBuilder::new("openai/gpt-4o")
        .retry(RetryLayer::exponential().budget(0.0, 0))
        .max_attempts(2)
        .fallback(FallbackLayer::new().then("deepseek/deepseek-chat", second))
        .service(first);
    assert_eq!(complete(&mut chat).await.unwrap(), 200);
    assert_eq!((primary.calls(), other.calls()), (1, 1));
}

/// Pitfall P30 (docs/pitfalls.md).
#[tokio::test(start_paused = true)]
async fn the_stacks_of_a_chain_share_one_attempt_budget() {
    let (first, primary) = strict();
    primary.otherwise(Answer::status(503));
    let others = [strict(), strict()];
    let stack = |name| ResilienceBuilder::new(name).retry(RetryLayer::exponential()).max_attempts(6);
    let mut chain = FallbackLayer::new();
    for (inner, provider) in &others {
        provider.otherwise(Answer::status(500));
        chain = chain.then("other", stack("other").service(inner.clone()));
    }
    let mut chat = stack("openai/gpt-4o").fallback(chain).service(first);
    assert_eq!(complete(&mut chat).await.unwrap(), 500);
    let calls: Vec<_> = others.iter().map(|(_, provider)| provider.calls()).collect();
    assert_eq!((primary.calls(), &*calls), (4, &[2, 0][..]), "twelve without the budget");
}

/// Pitfall P30 (docs/pitfalls.md): an attempt that a gate rejects is not sent, and takes nothing from the
/// attempt budget.
#[tokio::test(start_paused = true)]
async fn rejected_attempts_are_not_counted() {
    let ((first, primary), (second, limited_provider), (third, other)) = (strict(), strict(), strict());
    primary.otherwise(Answer::status(503));
    let mut limited = RateLimitLayer::per_minute(1).on_limit(OnLimit::Reject).layer(second);
    complete(&mut limited).await.unwrap();
    let chain = FallbackLayer::new().then("limited", limited).then("other", third);
    let mut chat = ResilienceBuilder::new("").max_attempts(2).fallback(chain).service(first);
    assert_eq!(complete(&mut chat).await.unwrap(), 200);
    assert_eq!((primary.calls(), limited_provider.calls(), other.calls()), (1, 1, 1));
}

/// A rejected attempt was no load for the provider: the next one is not paid for by the budget of all calls.
#[tokio::test(start_paused = true)]
async fn the_attempt_after_a_rejection_takes_no_retry() {
    let (mut service, provider) =
        strict_behind(&RetryLayer::exponential().retry_rejections(true).budget(0.0, 0));
    let rejection = Rejection::new(Gate::RateLimit, ErrorCode::RateLimited).with_retry_after(SECOND);
    provider.fail_with(move || rejection.clone().into());
    let with_deadline = with_deadline(request(), 60 * SECOND);
    assert_eq!(send(&mut service, with_deadline).await.unwrap().status(), 200);
    provider.answer(503);
    assert_eq!(send(&mut service, request()).await.unwrap().status(), 503);
    assert_eq!(provider.calls(), 3);
}
