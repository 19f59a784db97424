//! One of the two attempts fails, or both.

use super::*;
use crate::{ErrorCode, RetryLayer};

#[tokio::test(start_paused = true)]
async fn when_one_fails_the_other_is_waited_for() {
    for is_hedge in [true, false] {
        let (mut service, provider) = strict_behind(&stack("a/m").build());
        warm_up(&mut service, &provider).await;
        let (failing, succeeding) =
            (Answer::status(503).after(2 * SECOND), Answer::status(200).after(4 * SECOND));
        let [first, second] = if is_hedge { [succeeding, failing] } else { [failing, succeeding] };
        provider.then(first);
        provider.then(second);
        let start = clock::now();
        let response = call(&mut service).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!((clock::now() - start).as_secs(), if is_hedge { 4 } else { 5 });
        let trail = verdicts(Trail::of(response.extensions()).unwrap());
        assert!(is_hedge_at(&trail[0], "a/m"), "{trail:?}");
        assert_eq!(trail[1..], [Verdict::Failed(ErrorCode::Overloaded), Verdict::Succeeded]);
        let won = response.extensions().get::<HedgeInfo>().unwrap().won();
        assert_eq!((won, provider.live_futures(), provider.live_bodies()), (!is_hedge, 0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn when_both_fail_the_failure_is_returned() {
    let (mut service, provider) = strict_behind(&stack("a/m").build());
    warm_up(&mut service, &provider).await;
    provider.answer(503).after(2 * SECOND);
    provider.answer(500).after(2 * SECOND);
    let response = call(&mut service).await.unwrap();
    assert_eq!((response.status().as_u16(), provider.live_futures()), (500, 0));
    assert_eq!(service.signals().snapshot().hedge.unwrap().won, 0);
}

#[tokio::test(start_paused = true)]
async fn an_error_of_the_hedge_is_a_failure_like_any_other() {
    let (mut service, provider) = strict_behind(&stack("a/m").build());
    warm_up(&mut service, &provider).await;
    provider.answer(200).after(3 * SECOND).body("first");
    provider.fail("connection reset");
    let response = call(&mut service).await.unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "first");
}

/// The caller would get the same response from the other attempt.
#[tokio::test(start_paused = true)]
async fn a_failure_that_would_only_be_repeated_ends_the_call() {
    let (mut service, provider) = strict_behind(&stack("a/m").build());
    warm_up(&mut service, &provider).await;
    provider.answer(400).after(2 * SECOND);
    provider.hang();
    let response = call(&mut service).await.unwrap();
    assert_eq!((response.status().as_u16(), provider.live_futures()), (400, 0));
}

#[tokio::test(start_paused = true)]
async fn retries_of_the_first_attempt_go_on_beside_the_hedge() {
    let retry =
        RetryLayer::exponential().max_retries(3).initial_delay(SECOND).jitter(crate::retry::Jitter::None);
    let (mut service, provider) = strict_behind(&stack("a/m").retry(retry).build());
    warm_up(&mut service, &provider).await;
    provider.answer(503).after(SECOND / 2);
    provider.hang();
    provider.answer(200).body("the retry");
    let response = call(&mut service).await.unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "the retry");
    assert_eq!(provider.live_futures(), 0);
}
