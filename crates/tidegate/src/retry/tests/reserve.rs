//! Time that is reserved for a fallback.

use http_body_util::BodyExt;
use tidegate_testkit::strict::{Answer, Handle, Strict};

use super::*;
use crate::{FallbackLayer, Payload, Resilience, ResilienceBuilder};

/// A chain of two targets with this reserve and this total timeout, in seconds.
fn chain(reserve: u32, total: u32) -> (Resilience<Strict<Payload>>, Handle, Handle) {
    chain_with(&RetryLayer::exponential(), reserve, total)
}

fn chain_with(retry: &RetryLayer, reserve: u32, total: u32) -> (Resilience<Strict<Payload>>, Handle, Handle) {
    let ((first, primary), (second, other)) = (strict(), strict());
    let retry = retry.clone().reserve_for_fallback(reserve * SECOND);
    let stack = |name| ResilienceBuilder::new(name).retry(retry.clone());
    let chain = FallbackLayer::new().then("other", stack("other").service(second));
    let chat = stack("first").total_timeout(total * SECOND).fallback(chain).service(first);
    (chat, primary, other)
}

/// The status, the time in seconds, and the calls of each target.
async fn outcome(
    (mut chat, primary, other): (Resilience<Strict<Payload>>, Handle, Handle),
) -> (Option<u16>, u64, [usize; 2]) {
    let start = clock::now();
    let status = complete(&mut chat).await.ok();
    (status, (clock::now() - start).as_secs(), [primary.calls(), other.calls()])
}

#[tokio::test(start_paused = true)]
async fn a_hanging_target_leaves_the_reserve_to_the_next() {
    for (reserve, expected) in [(0, (None, 30, [1, 0])), (10, (Some(200), 29, [1, 1]))] {
        for retry in [RetryLayer::exponential(), RetryLayer::exponential().max_retries(0)] {
            let chain = chain_with(&retry, reserve, 30);
            chain.1.otherwise(Answer::hang());
            // Nine of its ten seconds: the last target reserves nothing.
            chain.2.otherwise(Answer::status(200).after(9 * SECOND));
            assert_eq!(outcome(chain).await, expected, "{reserve} s reserved, {retry:?}");
        }
    }
}

/// Without a chain of its own, it skips the layers that have nothing to do.
#[tokio::test(start_paused = true)]
async fn a_target_that_is_never_retried_leaves_the_reserve_to_the_chain_around_it() {
    let retry = RetryLayer::exponential().max_retries(0).reserve_for_fallback(10 * SECOND);
    let (mut target, provider) = strict_behind(&ResilienceBuilder::new("first").retry(retry).build());
    provider.otherwise(Answer::hang());
    let start = clock::now();
    assert!(send(&mut target, with_deadline(request(), 30 * SECOND)).await.is_err());
    assert_eq!((clock::now() - start).as_secs(), 20);
}

#[tokio::test(start_paused = true)]
async fn a_retry_into_the_reserve_is_not_started() {
    for (reserve, expected) in [(0, [2, 0]), (10, [1, 1])] {
        let chain = chain(reserve, 12);
        chain.1.answer(503).header("retry-after", "6");
        assert_eq!(outcome(chain).await.2, expected, "{reserve} s reserved");
    }
}

#[tokio::test(start_paused = true)]
async fn a_reserve_is_at_most_half_of_the_time() {
    let chain = chain(60, 30);
    chain.1.answer(200).after(14 * SECOND);
    assert_eq!(outcome(chain).await, (Some(200), 14, [1, 0]));
}

#[tokio::test(start_paused = true)]
async fn a_stream_may_use_the_reserve_and_ends_at_the_deadline() {
    for (last, is_whole) in [(27, true), (31, false)] {
        let (chat, primary, other) = chain(10, 30);
        let event = "data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\n";
        let answer = primary.answer(200).header("content-type", "text/event-stream").after(5 * SECOND);
        answer.frame(event).pause((last - 5) * SECOND).frame(event).frame("data: [DONE]\n\n");
        let start = clock::now();
        let response = chat.send(request()).await.unwrap();
        let end = response.into_body().collect().await;
        assert_eq!((end.is_ok(), other.calls()), (is_whole, 0), "{end:?}");
        assert_eq!((clock::now() - start).as_secs(), u64::from(last.min(30)));
    }
}
