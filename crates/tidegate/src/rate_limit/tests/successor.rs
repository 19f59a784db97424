//! A layer that takes the place of another one while the program runs.

use http::{HeaderName, HeaderValue};
use tidegate_testkit::strict::Answer;

use crate::rate_limit::RateLimitLayer;
use crate::testing::{call, complete, request, secs, send, strict_behind};
use crate::{KeyBy, Payload};

const USER: HeaderName = HeaderName::from_static("x-user");

fn per_day() -> RateLimitLayer {
    RateLimitLayer::per_day(10).name("p/m")
}

fn of_user() -> http::Request<Payload> {
    let mut request = request();
    request.headers_mut().insert(USER, HeaderValue::from_static("a"));
    request
}

#[tokio::test(start_paused = true)]
async fn the_state_of_the_same_account_stays_and_of_another_one_the_used_quotas_alone() {
    let keyed = || per_day().key_by(KeyBy::header(USER));
    for layer in [per_day, keyed] {
        let before = layer();
        let (mut service, provider) = strict_behind(&before);
        send(&mut service, of_user()).await.unwrap();
        provider.then(Answer::status(429).header("retry-after", "60"));
        send(&mut service, of_user()).await.unwrap();
        let (same, other) = (layer().state_of(&before), layer().quotas_of(&before));
        let of = |layer: &RateLimitLayer| layer.handle().of(&of_user()).unwrap();
        assert_eq!((of(&same).closed_for(), of(&same).remaining()), (Some(secs(60)), Some(0)));
        assert_eq!((of(&other).closed_for(), of(&other).remaining()), (None, Some(8)));
        tokio::time::advance(secs(60)).await;
        assert_eq!((of(&same).closed_for(), of(&same).remaining()), (None, Some(8)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_reported_limit_is_that_of_the_account() {
    let before = per_day();
    let (mut service, provider) = strict_behind(&before);
    let report = Answer::status(200)
        .header("x-ratelimit-limit-requests", "5")
        .header("x-ratelimit-remaining-requests", "2")
        .header("x-ratelimit-reset-requests", "36s");
    drop(provider.otherwise(report));
    for _ in 0..2 {
        complete(&mut service).await.unwrap();
    }
    let (same, other) = (per_day().state_of(&before), per_day().quotas_of(&before));
    assert_eq!(before.handle().remaining(), Some(2));
    assert_eq!((same.handle().remaining(), other.handle().remaining()), (Some(2), Some(8)));
}

/// A limit per minute is drained while the gate is closed.
#[tokio::test(start_paused = true)]
async fn a_quota_that_was_drained_for_another_account_has_room_for_one_call() {
    let before = RateLimitLayer::per_minute(10);
    let (mut service, provider) = strict_behind(&before);
    provider.then(Answer::status(429).header("retry-after", "3600"));
    complete(&mut service).await.unwrap();
    let after = RateLimitLayer::per_minute(10).quotas_of(&before);
    let (mut service, provider) = strict_behind(&after);
    call(&mut service).await.unwrap();
    assert_eq!((provider.calls(), after.handle().closed_for()), (1, None));
}

#[tokio::test(start_paused = true)]
async fn a_late_report_about_one_account_does_not_close_the_gate_of_the_next() {
    let before = per_day();
    let (mut service, provider) = strict_behind(&before);
    provider.then(Answer::status(429).header("retry-after", "60").after(secs(1)));
    let late = tokio::spawn(async move { complete(&mut service).await });
    tokio::task::yield_now().await;
    assert_eq!(provider.calls(), 1);
    let after = per_day().quotas_of(&before);
    late.await.unwrap().unwrap();
    assert!(before.handle().closed_for().is_some());
    assert_eq!((after.handle().closed_for(), after.handle().remaining()), (None, Some(9)));
}
