use http::HeaderMap;
use tidegate_testkit::strict::{Answer, Handle};
use tower::Layer;

use super::*;
use crate::{FallbackLayer, ResilienceBuilder};

fn values(provider: &Handle, name: &str) -> Vec<Option<String>> {
    let value = |headers: &HeaderMap| Some(headers.get(name)?.to_str().unwrap().to_owned());
    provider.requests().iter().map(|seen| value(&seen.headers)).collect()
}

#[tokio::test(start_paused = true)]
async fn no_header_is_added_by_default() {
    let (inner, provider) = strict();
    provider.answer(503);
    complete(&mut RetryLayer::exponential().layer(inner)).await.unwrap();
    assert!(provider.requests().iter().all(|seen| seen.headers.is_empty()));
}

#[tokio::test(start_paused = true)]
async fn a_call_has_one_idempotency_key_over_its_attempts() {
    let (mut service, provider) = strict_behind(&RetryLayer::exponential().idempotency_key(true).seed(1));
    for _ in 0..2 {
        provider.answer(503);
        provider.answer(503);
        complete(&mut service).await.unwrap();
    }
    let keys = values(&provider, "idempotency-key");
    assert_eq!((keys.len(), keys[0].as_ref().unwrap().len()), (6, 32));
    assert!(keys[..3].iter().all(|key| *key == keys[0]) && keys[3..].iter().all(|key| *key == keys[3]));
    assert_ne!(keys[0], keys[3], "another call, another key");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_never_retried_has_the_headers_as_well() {
    let layer = || RetryLayer::exponential().max_retries(0);
    for (layer, header) in [
        (layer().attempt_header(true), "x-tidegate-attempt"),
        (layer().idempotency_key(true), "idempotency-key"),
    ] {
        let (mut stack, provider) = strict_behind(&ResilienceBuilder::new("").retry(layer).build());
        complete(&mut stack).await.unwrap();
        assert!(values(&provider, header)[0].is_some(), "{header}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_existing_key_is_kept_and_an_idempotent_method_gets_none() {
    let (mut service, provider) = strict_behind(&RetryLayer::exponential().idempotency_key(true));
    provider.answer(503);
    let mut own = request();
    own.headers_mut().insert("idempotency-key", "mine".try_into().unwrap());
    send(&mut service, own).await.unwrap();
    assert_eq!(values(&provider, "idempotency-key"), [Some("mine".into()), Some("mine".into())]);
    let mut get = request();
    *get.method_mut() = http::Method::GET;
    send(&mut service, get).await.unwrap();
    assert_eq!(values(&provider, "idempotency-key")[2], None);
}

#[tokio::test(start_paused = true)]
async fn another_target_gets_a_key_of_its_own() {
    let ((first, primary), (second, other)) = (strict(), strict());
    primary.otherwise(Answer::status(503));
    let layer = RetryLayer::exponential().max_retries(1).idempotency_key(true);
    let chain = FallbackLayer::new().then("other", layer.layer(second));
    complete(&mut chain.layer(layer.layer(first))).await.unwrap();
    assert_ne!(values(&primary, "idempotency-key")[0], values(&other, "idempotency-key")[0]);
}

#[tokio::test(start_paused = true)]
async fn the_attempt_number_overwrites_the_callers_header() {
    let (inner, provider) = strict();
    provider.answer(503);
    provider.answer(503);
    let mut request = request();
    request.headers_mut().insert("x-tidegate-attempt", "9".try_into().unwrap());
    send(&mut RetryLayer::exponential().attempt_header(true).layer(inner), request).await.unwrap();
    let numbers = ["1", "2", "3"].map(|number| Some(number.to_owned()));
    assert_eq!(values(&provider, "x-tidegate-attempt"), numbers);
}
