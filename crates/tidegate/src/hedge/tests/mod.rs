mod chain;
mod drops;
mod failures;
mod gates;
mod group;
mod long_tail;
mod requests;

use std::time::Duration;

use http::Request;
use http_body_util::BodyExt;
use tidegate_testkit::contract;
use tidegate_testkit::strict::{Answer, Handle};
use tower::Layer;

use super::{HedgeInfo, HedgeLayer, HedgeStatistics, Settings};
use crate::events::{Decision, subscribe_to};
use crate::testing::{
    SECOND, call, chat_request, of_tenant, paused, read_frames, request, request_with, send,
    streaming_request, strict, strict_behind, verdicts, with_deadline,
};
use crate::{
    FallbackLayer, HttpService, Payload, ResilienceBuilder, StatusClassifier, Trail, Verdict, clock,
};

/// Enough calls for the estimate, and for a hedge or two.
const USUAL_CALLS: u32 = 50;

/// Makes calls that take a second.
async fn warm_up<S: HttpService<Payload>>(service: &mut S, provider: &Handle) {
    for _ in 0..USUAL_CALLS {
        provider.answer(200).after(SECOND);
        assert_eq!(call(service).await.unwrap().status(), 200);
    }
}

fn stack(name: &str) -> ResilienceBuilder {
    ResilienceBuilder::new(name).classify(StatusClassifier).hedge(HedgeLayer::new())
}

fn is_hedge_at(verdict: &Verdict, target: &str) -> bool {
    matches!(verdict, Verdict::Hedged { to, .. } if **to == *target)
}

#[tokio::test(start_paused = true)]
async fn keeps_towers_contract() {
    contract::check(|inner| HedgeLayer::new().layer(inner)).await;
    contract::check(|inner| HedgeLayer::disabled().layer(inner)).await;
    contract::check(|inner| stack("a/m").service(inner)).await;
    contract::check(|inner| {
        stack("a/m").fallback(FallbackLayer::new().then("b/m", strict().0)).service(inner)
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_late_call_is_hedged_at_the_percentile_and_not_before() {
    let layer = HedgeLayer::new();
    let (mut service, provider) = strict_behind(&layer);
    warm_up(&mut service, &provider).await;
    let slow = provider.answer(200).hold().body("slow");
    provider.answer(200).after(SECOND / 2).body("fast");
    let start = clock::now();
    let mut late = tokio_test::task::spawn(service.send(request()));
    assert!(late.poll().is_pending());
    while provider.calls() == USUAL_CALLS as usize + 1 {
        assert!(clock::now() - start < 2 * SECOND);
        tokio::time::advance(Duration::from_millis(5)).await;
        assert!(late.poll().is_pending());
    }
    // The histogram is at most four percent above.
    assert!((SECOND..SECOND * 105 / 100).contains(&(clock::now() - start)), "{:?}", clock::now() - start);
    let response = late.await.unwrap();
    assert_eq!(
        (response.headers()["x-tidegate-hedge"].as_bytes(), provider.live_futures()),
        (&b"won"[..], 0)
    );
    assert!(response.extensions().get::<HedgeInfo>().is_some_and(HedgeInfo::won));
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "fast");
    slow.release();
    let expected = HedgeStatistics { calls: 51, hedges: 1, won: 1, ..HedgeStatistics::default() };
    assert_eq!(layer.handle().statistics(), expected);
}

#[tokio::test(start_paused = true)]
async fn the_first_attempt_may_be_faster_than_the_hedge() {
    let (mut service, provider) = strict_behind(&HedgeLayer::new());
    warm_up(&mut service, &provider).await;
    provider.answer(200).after(SECOND * 3 / 2).body("first");
    provider.hang();
    let response = call(&mut service).await.unwrap();
    assert_eq!(
        (response.headers()["x-tidegate-hedge"].as_bytes(), provider.live_futures()),
        (&b"lost"[..], 0)
    );
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "first");
    let statistics = service.handle().hedges().unwrap();
    assert_eq!((statistics.hedges, statistics.won), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_hedged_before_there_are_enough_samples() {
    let (mut service, provider) = strict_behind(&HedgeLayer::new().min_samples(20).max_extra_requests(1.0));
    for number in 1..=20 {
        provider.answer(200).after(number * SECOND);
        call(&mut service).await.unwrap();
        assert_eq!(provider.calls(), number as usize);
    }
    provider.answer(200).after(100 * SECOND);
    provider.answer(200);
    call(&mut service).await.unwrap();
    assert_eq!(provider.calls(), 22);
}

#[tokio::test(start_paused = true)]
async fn a_call_is_late_after_the_shortest_delay_at_the_earliest() {
    let (mut service, provider) = strict_behind(&HedgeLayer::new().min_delay(5 * SECOND));
    warm_up(&mut service, &provider).await;
    provider.hang();
    provider.answer(200);
    let start = clock::now();
    call(&mut service).await.unwrap();
    assert_eq!((clock::now() - start).as_secs(), 5);
}

/// A stack that is not set to hedge, or set not to.
#[tokio::test(start_paused = true)]
async fn nothing_is_hedged_or_measured_when_off() {
    for builder in
        [ResilienceBuilder::new("a/m").classify(StatusClassifier), stack("a/m").hedge(HedgeLayer::disabled())]
    {
        let (mut service, provider) = strict_behind(&builder.build());
        warm_up(&mut service, &provider).await;
        provider.answer(200).after(100 * SECOND);
        call(&mut service).await.unwrap();
        assert_eq!(provider.calls(), USUAL_CALLS as usize + 1);
        assert_eq!(service.signals().snapshot().hedge, None);
    }
}

#[tokio::test(start_paused = true)]
async fn the_budget_bounds_the_hedges_when_all_calls_are_late() {
    let (mut service, provider) = strict_behind(&HedgeLayer::new());
    warm_up(&mut service, &provider).await;
    provider.otherwise(Answer::status(200).after(60 * SECOND));
    let calls: Vec<_> = (0..100).map(|_| tokio::spawn(service.send(request()))).collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    let statistics = service.handle().hedges().unwrap();
    assert!((5..=7).contains(&statistics.hedges), "{statistics:?}");
    assert_eq!(provider.calls() as u64, statistics.calls + statistics.hedges);
    assert_eq!(statistics.out_of_budget, 100 - statistics.hedges);
}

/// Calls of different sizes, of which the late ones are the largest: of a stream the prompt counts, and of a
/// whole answer the output as well.
#[tokio::test(start_paused = true)]
async fn the_budget_bounds_the_tokens_as_well() {
    let stream = |tokens: usize| {
        let prompt = "word ".repeat(tokens);
        chat_request(format!(r#"{{"stream":true,"messages":[{{"role":"user","content":"{prompt}"}}]}}"#))
    };
    let document = |tokens: usize| {
        chat_request(format!(r#"{{"max_tokens":{tokens},"messages":[{{"role":"user","content":"hi"}}]}}"#))
    };
    let kinds: [&dyn Fn(usize) -> Request<Payload>; 2] = [&stream, &document];
    for request in kinds {
        let (mut service, provider) = strict_behind(&HedgeLayer::new().max_extra_requests(1.0));
        for _ in 0..60 {
            provider.answer(200).after(SECOND);
            send(&mut service, request(100)).await.unwrap();
        }
        for (tokens, calls) in [(1_000, 1), (100, 2)] {
            let before = provider.calls();
            provider.answer(200).after(3 * SECOND);
            provider.answer(200).after(SECOND);
            send(&mut service, request(tokens)).await.unwrap();
            provider.clear();
            assert_eq!(provider.calls() - before, calls, "{tokens}");
        }
    }
}

/// The attempts that lose to their hedges count, so that a target that has become slow is not hedged at its
/// former speed.
#[tokio::test(start_paused = true)]
async fn attempts_that_are_given_up_make_hedges_later() {
    let (mut service, provider) =
        strict_behind(&HedgeLayer::new().max_extra_requests(1.0).max_extra_tokens(1.0));
    warm_up(&mut service, &provider).await;
    for _ in 0..10 {
        provider.answer(200).after(100 * SECOND);
        provider.answer(200).after(10 * SECOND);
        call(&mut service).await.unwrap();
    }
    assert_eq!(service.handle().hedges().unwrap().won, 10);
    let before = provider.calls();
    provider.otherwise(Answer::status(200).after(5 * SECOND));
    call(&mut service).await.unwrap();
    assert_eq!(provider.calls() - before, 1);
}

#[tokio::test(start_paused = true)]
async fn a_hedge_is_in_the_trail_and_in_the_events() {
    let (mut service, provider) = strict_behind(&stack("hedged/events").build());
    warm_up(&mut service, &provider).await;
    let mut events = subscribe_to("hedged/events");
    provider.hang();
    provider.answer(200);
    let response = call(&mut service).await.unwrap();
    let trail = Trail::of(response.extensions()).unwrap();
    let recorded = verdicts(trail);
    assert!(is_hedge_at(&recorded[0], "hedged/events"), "{recorded:?}");
    assert_eq!(recorded[1..], [Verdict::Succeeded, Verdict::Cancelled]);
    assert_eq!((trail.attempts(), trail.target().as_deref()), (2, Some("hedged/events")));
    let hedges: Vec<_> = std::iter::from_fn(|| events.try_next()).map(|event| event.decision).collect();
    assert!(
        matches!(&hedges[..], [Decision::Hedged { .. }, Decision::HedgeEnded { won: true }]),
        "{hedges:?}"
    );
    assert_eq!(service.signals().snapshot().hedge.map(|hedge| hedge.won), Some(1));
}

#[test]
fn settings_out_of_range_are_errors_that_name_them() {
    let settings = Settings {
        percentile: 100.0,
        min_samples: 513,
        max_extra_requests: -0.1,
        max_extra_tokens: f64::NAN,
        ..Settings::default()
    };
    let error = HedgeLayer::from_settings(settings).unwrap_err().to_string();
    let expected = "percentile: expected a number above 0 and below 100, found 100\n\
                    min_samples: expected at most 512, found 513\n\
                    max_extra_requests: expected a number from 0 to 1, found -0.1\n\
                    max_extra_tokens: expected a number from 0 to 1, found NaN";
    assert_eq!(error, expected);
    let zero = Settings { percentile: 0.0, min_samples: 0, ..Settings::default() };
    assert!(
        HedgeLayer::from_settings(zero).unwrap_err().to_string().contains("min_samples: expected at least 1")
    );
}

#[test]
fn setters_keep_to_the_ranges_of_the_settings() {
    let layer = HedgeLayer::new()
        .percentile(f64::INFINITY)
        .min_samples(u32::MAX)
        .max_extra_requests(f64::NAN)
        .max_extra_tokens(7.0);
    let settings = layer.handle().settings().clone();
    assert_eq!(settings.check(), Ok(()));
    assert_eq!((settings.max_extra_requests, settings.max_extra_tokens), (0.0, 1.0));
    assert_eq!(HedgeLayer::new().percentile(-1.0).handle().settings().check(), Ok(()));
    assert_eq!(HedgeLayer::new().min_samples(0).percentile(f64::NAN).handle().settings().check(), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn a_late_call_without_a_target_for_its_hedge_is_counted() {
    let (inner, provider) = strict();
    let mut service = stack("a/m").hedge(HedgeLayer::new().same_target(false)).service(inner);
    warm_up(&mut service, &provider).await;
    provider.answer(200).after(5 * SECOND);
    call(&mut service).await.unwrap();
    let statistics = service.signals().snapshot().hedge.unwrap();
    assert_eq!((statistics.hedges, statistics.out_of_budget, statistics.unavailable), (0, 0, 1));
}

/// Regression: an attempt that ended in a timeout was counted twice, by the timeout and by the wire below.
#[tokio::test(start_paused = true)]
async fn an_attempt_that_ends_in_a_timeout_is_counted_once() {
    use crate::{ClassifyLayer, TimeoutLayer};
    let nested = [TimeoutLayer::disabled(), TimeoutLayer::new(4 * SECOND), TimeoutLayer::new(6 * SECOND)];
    for nested in nested {
        let (inner, provider) = strict();
        let mut service = HedgeLayer::new().layer(
            tower::ServiceBuilder::new()
                .layer(TimeoutLayer::new(5 * SECOND))
                .layer(nested)
                .layer(ClassifyLayer::new(StatusClassifier))
                .service(inner),
        );
        warm_up(&mut service, &provider).await;
        provider.hang();
        provider.answer(200).after(20 * SECOND);
        let trail = Trail::new();
        assert!(send(&mut service, request_with(trail.clone())).await.is_err());
        let failed = Verdict::Failed(crate::ErrorCode::Timeout);
        assert_eq!(verdicts(&trail)[1..], [failed.clone(), failed], "{nested:?}");
        assert_eq!(trail.attempts(), 2);
    }
}
