//! Items 42 to 52: who is asked in place of the first target.

use http_body_util::BodyExt;
use tidegate::fallback::{AnswerCache, FallbackInfo, FallbackKind};
use tidegate::{ErrorCode, FallbackLayer, Trail, Verdict};
use tidegate_testkit::strict::{self, Answer};
use tower::{Layer, ServiceExt};

use crate::{asking, completion, text};

/// Ours: the order in which they are named is the priority, and what asks nobody comes after those who are asked.
#[tokio::test(start_paused = true)]
async fn item_42_links_are_asked_in_the_order_of_their_priority() {
    let [(first, primary), (second, two), (third, three)] =
        [strict::service(), strict::service(), strict::service()];
    for provider in [&primary, &two, &three] {
        provider.otherwise(Answer::status(503));
    }
    let layer = FallbackLayer::new().then_static().then("b/two", second).then("c/three", third);
    let response = layer.layer(first).oneshot(asking("Who?")).await.unwrap();
    assert_eq!(response.extensions().get::<FallbackInfo>().unwrap().target(), "@static");
    assert_eq!([primary.calls(), two.calls(), three.calls()], [1, 1, 1]);
    let statistics = layer.handle().statistics();
    let order: Vec<_> = statistics.iter().map(|link| (&*link.target, link.priority)).collect();
    assert_eq!(order, [("b/two", 1), ("c/three", 2), ("@static", 3)]);
}

/// Ours: the context is the request itself; the number of attempts and what went wrong stand in the trail.
#[tokio::test(start_paused = true)]
async fn item_43_the_next_link_gets_what_the_caller_asked_and_the_trail_why_it_is_asked() {
    let [(first, primary), (second, two)] = [strict::service(), strict::service()];
    primary.answer(429);
    let mut request = asking("Who?");
    let trail = Trail::new();
    request.extensions_mut().insert(trail.clone());
    let asked = request.body().bytes().cloned();
    FallbackLayer::new().then("b/two", second).layer(first).oneshot(request).await.unwrap();
    assert_eq!(two.requests()[0].body, asked);
    let because = Some(ErrorCode::RateLimited);
    assert_eq!(trail.steps()[0].verdict, Verdict::FellBack { to: "b/two".into(), because });
}

/// Ours: another model is no smaller one, so nobody cuts the answer to 100 tokens on the way.
#[tokio::test(start_paused = true)]
async fn item_45_another_model_is_asked_for_the_same_and_named() {
    let [(first, primary), (second, two), (third, three)] =
        [strict::service(), strict::service(), strict::service()];
    primary.answer(500);
    two.answer(503);
    let request = asking("Who?");
    let asked = request.body().bytes().cloned();
    let layer = FallbackLayer::new().then("b/two", second).then("c/three", third);
    let response = layer.layer(first).oneshot(request).await.unwrap();
    let answered = response.extensions().get::<FallbackInfo>().unwrap();
    assert_eq!((answered.target(), answered.strategy()), ("c/three", FallbackKind::AlternativeModel));
    assert_eq!((primary.calls(), two.calls()), (1, 1), "the failed ones are not asked again");
    assert_eq!(three.requests()[0].body, asked);
}

#[tokio::test(start_paused = true)]
async fn item_48_who_has_nothing_to_say_is_skipped_and_who_fails_is_counted() {
    let [(first, primary), (second, two)] = [strict::service(), strict::service()];
    primary.answer(503);
    two.then(Answer::error("connection refused"));
    let layer = FallbackLayer::new().then("b/two", second).then_cached(AnswerCache::new()).then_static();
    let chain = layer.layer(first);
    let response = chain.clone().oneshot(asking("Who?")).await.unwrap();
    assert_eq!(response.extensions().get::<FallbackInfo>().unwrap().strategy(), FallbackKind::StaticResponse);
    let counted = |link: usize| {
        let link = &layer.handle().statistics()[link];
        (link.asked, link.answered, link.recent)
    };
    assert_eq!((counted(0), counted(1), counted(2)), ((1, 0, 1), (0, 0, 0), (1, 1, 1)));

    // What passed well has something to say the next time.
    primary.answer(200).header("content-type", "application/json").body(completion("we are"));
    chain.clone().oneshot(asking("Who?")).await.unwrap().into_body().collect().await.unwrap();
    primary.answer(503);
    two.then(Answer::error("connection refused"));
    let response = chain.oneshot(asking("Who?")).await.unwrap();
    assert_eq!(response.extensions().get::<FallbackInfo>().unwrap().strategy(), FallbackKind::CachedResponse);
    assert_eq!(text(&response.into_body().collect().await.unwrap().to_bytes()), "we are");
    assert_eq!(counted(1), (1, 1, 1));
}
