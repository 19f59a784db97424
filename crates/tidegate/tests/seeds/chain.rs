//! Seed items 42 to 52: the targets that are tried after the first.

use http_body_util::BodyExt;
use tidegate::fallback::{AnswerCache, FallbackInfo, FallbackKind};
use tidegate::provider::Verdict;
use tidegate::{ErrorCode, FallbackLayer, Trail};
use tidegate_testkit::strict::{self, Answer};
use tower::{Layer, ServiceExt};

use crate::{chat_request, completion, text};

/// Seed items 42 and 77. Here, the order in which targets are added is the priority, and last resorts come
/// after the other targets.
#[tokio::test(start_paused = true)]
async fn targets_are_tried_in_the_order_of_their_priority() {
    let [(first, primary), (second, two), (third, three)] =
        [strict::service(), strict::service(), strict::service()];
    for provider in [&primary, &two, &three] {
        provider.otherwise(Answer::status(503));
    }
    let layer = FallbackLayer::new().then_static().then("b/two", second).then("c/three", third);
    let response = layer.layer(first).oneshot(chat_request("Who?")).await.unwrap();
    assert_eq!(response.extensions().get::<FallbackInfo>().unwrap().target(), "@static");
    assert_eq!([primary.calls(), two.calls(), three.calls()], [1, 1, 1]);
    let statistics = layer.handle().statistics();
    let order: Vec<_> = statistics.iter().map(|target| (&*target.target, target.position)).collect();
    assert_eq!(order, [("b/two", 1), ("c/three", 2), ("@static", 3)]);
}

/// Seed item 43. Here, the context is the request itself; the number of attempts and the failures are in the
/// trail.
#[tokio::test(start_paused = true)]
async fn the_next_target_gets_the_same_request_and_the_trail_has_the_reason() {
    let [(first, primary), (second, two)] = [strict::service(), strict::service()];
    primary.answer(429);
    let mut request = chat_request("Who?");
    let trail = Trail::new();
    request.extensions_mut().insert(trail.clone());
    let sent = request.body().bytes().cloned();
    FallbackLayer::new().then("b/two", second).layer(first).oneshot(request).await.unwrap();
    assert_eq!(two.requests()[0].body, sent);
    let because = Some(ErrorCode::RateLimited);
    assert_eq!(trail.steps()[0].verdict, Verdict::FellBack { to: "b/two".into(), because });
}

/// Seed item 45. Here, another model is not a smaller one, so the response is not limited to 100 tokens.
#[tokio::test(start_paused = true)]
async fn another_model_gets_the_same_request_and_is_named() {
    let [(first, primary), (second, two), (third, three)] =
        [strict::service(), strict::service(), strict::service()];
    primary.answer(500);
    two.answer(503);
    let request = chat_request("Who?");
    let sent = request.body().bytes().cloned();
    let layer = FallbackLayer::new().then("b/two", second).then("c/three", third);
    let response = layer.layer(first).oneshot(request).await.unwrap();
    let info = response.extensions().get::<FallbackInfo>().unwrap();
    assert_eq!((info.target(), info.kind()), ("c/three", FallbackKind::AlternativeModel));
    assert_eq!((primary.calls(), two.calls()), (1, 1), "failed targets are not tried again");
    assert_eq!(three.requests()[0].body, sent);
}

/// Seed items 48 and 89.
#[tokio::test(start_paused = true)]
async fn an_empty_cache_is_skipped_and_failures_are_counted() {
    let [(first, primary), (second, two)] = [strict::service(), strict::service()];
    primary.answer(503);
    two.then(Answer::error("connection refused"));
    let layer = FallbackLayer::new().then("b/two", second).then_cached(AnswerCache::new()).then_static();
    let chain = layer.layer(first);
    let response = chain.clone().oneshot(chat_request("Who?")).await.unwrap();
    assert_eq!(response.extensions().get::<FallbackInfo>().unwrap().kind(), FallbackKind::StaticResponse);
    let counts = |target: usize| {
        let target = &layer.handle().statistics()[target];
        (target.calls, target.successes, target.recent)
    };
    assert_eq!((counts(0), counts(1), counts(2)), ((1, 0, 1), (0, 0, 0), (1, 1, 1)));

    // A successful response is in the cache for the next call.
    primary.answer(200).header("content-type", "application/json").body(completion("we are"));
    chain.clone().oneshot(chat_request("Who?")).await.unwrap().into_body().collect().await.unwrap();
    primary.answer(503);
    two.then(Answer::error("connection refused"));
    let response = chain.oneshot(chat_request("Who?")).await.unwrap();
    assert_eq!(response.extensions().get::<FallbackInfo>().unwrap().kind(), FallbackKind::CachedResponse);
    assert_eq!(text(&response.into_body().collect().await.unwrap().to_bytes()), "we are");
    assert_eq!(counts(1), (1, 1, 1));
}
