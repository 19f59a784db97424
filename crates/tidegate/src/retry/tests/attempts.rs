//! P30: retry multiplied by fallback multiplied by the client's own retries was 12 to 40 attempts.

use http_body_util::BodyExt;
use tidegate_testkit::strict::Answer;
use tower::{Layer, ServiceExt};

use super::*;
use crate::rate_limit::OnLimit;
use crate::{AttemptBudget, FallbackLayer, RateLimitLayer, ResilienceBuilder};

#[tokio::test(start_paused = true)]
async fn p30_retries_end_with_the_budget_of_their_call_and_the_last_answer_goes_through() {
    let (inner, provider) = strict();
    provider.otherwise(Answer::status(503).body("no room"));
    let layer = RetryLayer::exponential().max_retries(5);
    let budget = AttemptBudget::new(3);
    let mut request = request();
    request.extensions_mut().insert(budget.clone());
    let response = send(&mut layer.layer(inner), request).await.unwrap();
    assert_eq!((response.status().as_u16(), provider.calls(), budget.remaining()), (503, 3, 0));
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "no room");
}

/// An attempt for which no service could be made ready reached nobody.
#[tokio::test(start_paused = true)]
async fn p30_what_is_never_sent_is_given_back() {
    let (inner, provider) = strict();
    provider.answer(503);
    let budget = AttemptBudget::new(3);
    let mut request = request();
    request.extensions_mut().insert(budget.clone());
    let call = RetryLayer::exponential().layer(inner).oneshot(request);
    let mut call = tokio_test::task::spawn(call);
    assert!(call.poll().is_pending(), "the back-off");
    provider.fail_ready("worker gone");
    tokio::time::sleep(SECOND).await;
    assert_eq!(call.await.err().unwrap().to_string(), "worker gone");
    assert_eq!((provider.calls(), budget.remaining()), (1, 2));
}

/// A call that a gate refused at first paid nothing in, though it reached somebody later.
#[tokio::test(start_paused = true)]
async fn a_call_pays_for_retries_once_it_reaches_somebody() {
    let (inner, provider) = strict();
    let mut service =
        RetryLayer::exponential().retry_rejections(true).budget(1.0, 0).max_retries(2).layer(inner);
    complete(&mut service).await.unwrap();
    provider.fail_with(|| {
        Rejection::new(Gate::RateLimit, ErrorCode::RateLimited).with_retry_after(SECOND).into()
    });
    provider.answer(503);
    let mut request = request();
    Deadline::after(60 * SECOND, clock::now()).tighten(request.extensions_mut());
    assert_eq!(send(&mut service, request).await.unwrap().status(), 200);
}

/// A retry that all calls together cannot afford leaves its attempt to the fallback.
#[tokio::test(start_paused = true)]
async fn p30_what_is_not_retried_is_left_for_the_next_target() {
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

#[tokio::test(start_paused = true)]
async fn p30_the_stacks_of_a_chain_share_the_budget_of_the_first() {
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
    let asked: Vec<_> = others.iter().map(|(_, provider)| provider.calls()).collect();
    assert_eq!((primary.calls(), &*asked), (4, &[2, 0][..]), "twelve without the budget");
}

/// An attempt that a gate of ours refuses reaches nobody, and costs nothing.
#[tokio::test(start_paused = true)]
async fn p30_what_our_gates_refuse_is_not_counted() {
    let ((first, primary), (second, refusing), (third, other)) = (strict(), strict(), strict());
    primary.otherwise(Answer::status(503));
    let mut limited = RateLimitLayer::per_minute(1).on_limit(OnLimit::Reject).layer(second);
    complete(&mut limited).await.unwrap();
    let chain = FallbackLayer::new().then("limited", limited).then("other", third);
    let mut chat = ResilienceBuilder::new("").max_attempts(2).fallback(chain).service(first);
    assert_eq!(complete(&mut chat).await.unwrap(), 200);
    assert_eq!((primary.calls(), refusing.calls(), other.calls()), (1, 1, 1));
}
