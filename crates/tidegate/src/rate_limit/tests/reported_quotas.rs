//! What the provider says of its limits, and how far it is believed.

use std::time::Duration;

use http::Request;
use tidegate_testkit::strict::{Answer, Handle as Provider, Strict};
use tokio::task::JoinSet;
use tower::{Layer, ServiceExt};

use crate::providers::{Provider as Name, ProviderClassifier};
use crate::rate_limit::{OnLimit, RateLimit, RateLimitLayer};
use crate::testing::{complete, rejection, request, strict};
use crate::{Gate, LimitUnit, Payload, clock};

const MINUTE: Duration = Duration::from_secs(60);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// How OpenAI tells of requests.
fn told(limit: &str, remaining: &str, reset: &str) -> Answer {
    Answer::status(200)
        .header("x-ratelimit-limit-requests", limit)
        .header("x-ratelimit-remaining-requests", remaining)
        .header("x-ratelimit-reset-requests", reset)
}

fn openai(layer: RateLimitLayer) -> RateLimitLayer {
    layer.classifier(ProviderClassifier::new(Name::OpenAi))
}

fn limited(layer: RateLimitLayer) -> (RateLimit<Strict<Payload>>, Provider, RateLimitLayer) {
    let (inner, provider) = strict();
    let layer = openai(layer);
    (layer.layer(inner), provider, layer)
}

#[tokio::test(start_paused = true)]
async fn a_success_that_says_nothing_is_left_closes_until_the_reset() {
    let mut missing = 0;
    for answer in [
        told("60", "0", "1.5s"),
        Answer::status(200)
            .header("x-ratelimit-remaining-requests", "0")
            .header("x-ratelimit-reset-requests", "1.5s"),
        Answer::status(200)
            .header("x-ratelimit-remaining-tokens", "0")
            .header("x-ratelimit-reset-tokens", "1500ms"),
        Answer::status(200)
            .header("ratelimit", "\"default\";r=0;t=1.5")
            .header("ratelimit-policy", "\"default\";q=60;w=60"),
    ] {
        for layer in [RateLimitLayer::new(), RateLimitLayer::per_minute(1_000)] {
            let (mut service, provider, layer) = limited(layer);
            provider.then(answer.clone());
            complete(&mut service).await.unwrap();
            let start = clock::now();
            assert!(layer.handle().closed_for() > Some(ms(1_490)), "{:?}", layer.handle());
            complete(&mut service).await.unwrap();
            let waited = clock::now() - start;
            assert!(waited >= ms(1_500) && waited < ms(1_600), "{waited:?}");
            missing += 1;
        }
    }
    assert_eq!(missing, 8);
}

/// OpenAI's reset is when all is back: with nothing left the next request is due after a part of that.
#[tokio::test(start_paused = true)]
async fn a_limit_that_refills_evenly_sets_the_pace_and_does_not_close() {
    let (mut service, provider, layer) = limited(RateLimitLayer::per_minute(500));
    provider.then(told("500", "0", "60s"));
    complete(&mut service).await.unwrap();
    assert_eq!(layer.handle().closed_for(), None);
    let start = clock::now();
    complete(&mut service).await.unwrap();
    let waited = clock::now() - start;
    assert!(waited >= ms(119) && waited < ms(125), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_lower_count_lowers_ours_and_a_higher_one_never_raises_it() {
    let (mut service, provider, layer) = limited(RateLimitLayer::per_minute(100));
    provider.then(told("100", "40", "36s"));
    complete(&mut service).await.unwrap();
    assert_eq!(layer.handle().remaining(), Some(40));
    // Somebody else's calls were fewer than it seemed; ours count all the same.
    provider.then(told("100", "100", "0s"));
    complete(&mut service).await.unwrap();
    assert_eq!(layer.handle().remaining(), Some(98));
    provider.then(told("9000", "8999", "7ms"));
    complete(&mut service).await.unwrap();
    assert_eq!(layer.handle().remaining(), Some(97));
}

#[tokio::test(start_paused = true)]
async fn a_quota_that_nobody_configured_is_adopted_once_it_is_sure() {
    let answers = [told("500", "400", "12s"), told("500", "399", "12.12s")];
    let (mut service, provider, layer) = limited(RateLimitLayer::new());
    answers.iter().for_each(|answer| drop(provider.then(answer.clone())));
    complete(&mut service).await.unwrap();
    assert_eq!(layer.handle().remaining(), None, "once may be a mistake");
    complete(&mut service).await.unwrap();
    assert_eq!(layer.handle().remaining(), Some(399));
    tokio::time::advance(ms(1_200)).await;
    assert_eq!(layer.handle().remaining(), Some(409));

    for layer in
        [RateLimitLayer::new().adopt_reported_quotas(false), RateLimitLayer::new().follow_headers(false)]
    {
        let (mut service, provider, layer) = limited(layer);
        answers.iter().for_each(|answer| drop(provider.then(answer.clone())));
        complete(&mut service).await.unwrap();
        complete(&mut service).await.unwrap();
        assert_eq!(layer.handle().remaining(), None);
    }
}

/// A provider that had told of 60 a minute once, by a gateway that was replaced, was asked 60 times a minute for ever.
#[tokio::test(start_paused = true)]
async fn a_quota_of_which_nobody_tells_any_more_is_forgotten_after_its_period() {
    let adopted = |reset: &str| told("500", "400", reset);
    let (mut service, provider, layer) = limited(RateLimitLayer::new());
    provider.then(adopted("12s"));
    provider.then(adopted("12s"));
    complete(&mut service).await.unwrap();
    complete(&mut service).await.unwrap();
    assert!(layer.handle().remaining().is_some());
    // Nobody asked, so nobody was silent, and one answer need not tell.
    tokio::time::advance(100 * MINUTE).await;
    complete(&mut service).await.unwrap();
    assert_eq!(layer.handle().remaining(), Some(499));
    tokio::time::advance(MINUTE - ms(1)).await;
    complete(&mut service).await.unwrap();
    assert!(layer.handle().remaining().is_some());
    // Told of again, it is known again.
    provider.then(told("500", "499", "120ms"));
    complete(&mut service).await.unwrap();
    tokio::time::advance(MINUTE).await;
    complete(&mut service).await.unwrap();
    // Failures need not tell.
    tokio::time::advance(MINUTE).await;
    provider.answer(503);
    complete(&mut service).await.unwrap();
    assert!(layer.handle().remaining().is_some());
    complete(&mut service).await.unwrap();
    assert_eq!(layer.handle().remaining(), None);
    // It is adopted again by the rules by which it was.
    provider.then(adopted("12s"));
    provider.then(adopted("12s"));
    complete(&mut service).await.unwrap();
    complete(&mut service).await.unwrap();
    assert!(layer.handle().remaining().is_some());
}

/// What was told of a quota that was configured is forgotten alike, and the quota stays.
#[tokio::test(start_paused = true)]
async fn a_lower_count_is_not_kept_to_for_ever() {
    let (mut service, provider, layer) = limited(RateLimitLayer::per_day(1_000_000));
    let told = || {
        Answer::status(200).header("ratelimit", "\"d\";r=5;t=1").header("ratelimit-policy", "\"d\";q=10;w=60")
    };
    provider.then(told());
    complete(&mut service).await.unwrap();
    assert!(layer.handle().remaining() < Some(11));
    complete(&mut service).await.unwrap();
    tokio::time::advance(MINUTE).await;
    complete(&mut service).await.unwrap();
    assert!(layer.handle().remaining() > Some(999_000), "{:?}", layer.handle());
}

#[tokio::test(start_paused = true)]
async fn a_quota_of_tokens_that_was_adopted_has_calls_estimated_from_then_on() {
    let (inner, provider) = strict();
    let layer = RateLimitLayer::new().classifier(ProviderClassifier::new(Name::Anthropic));
    let mut service = layer.layer(inner);
    let answer = Answer::status(200)
        .header("anthropic-ratelimit-input-tokens-limit", "50000")
        .header("anthropic-ratelimit-input-tokens-remaining", "2000");
    provider.then(answer);
    complete(&mut service).await.unwrap();
    // A twentieth of the limit is held back.
    assert_eq!(layer.handle().tokens_remaining(), Some(0));
    tokio::time::advance(Duration::from_secs(6)).await;
    assert_eq!(layer.handle().tokens_remaining(), Some(4_500));
    let body =
        format!(r#"{{"max_tokens":9,"messages":[{{"role":"user","content":"{}"}}]}}"#, "four".repeat(500));
    let _answer =
        service.clone().oneshot(Request::post("/").body(Payload::from(body)).unwrap()).await.unwrap();
    assert_eq!(layer.handle().tokens_remaining(), Some(4_500 - 504));
}

/// P32: units, negative counts, "1m" read as 1; and what contradicts itself.
#[tokio::test(start_paused = true)]
async fn p32_what_makes_no_sense_is_ignored_and_counted() {
    for answer in [
        told("100", "101", "1s"),
        told("0", "0", "-1s"),
        told("100", "-1", "0"),
        told("100", "50", "999999h"),
        told("100", "x", "1s"),
    ] {
        let (mut service, provider, layer) = limited(RateLimitLayer::per_minute(1_000));
        provider.then(answer);
        complete(&mut service).await.unwrap();
        assert_eq!((layer.handle().remaining(), layer.handle().closed_for()), (Some(999), None));
        assert!(layer.handle().ignored() > 0);
    }
    // 30 s of a minute read as 30 ms: no quota of half a second is adopted.
    let (mut service, provider, layer) = limited(RateLimitLayer::new());
    for left in ["50", "49", "48"] {
        provider.then(told("100", left, "30ms"));
        complete(&mut service).await.unwrap();
    }
    assert_eq!(layer.handle().remaining(), None);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_was_overtaken_is_ignored() {
    let (service, provider, layer) = limited(RateLimitLayer::per_minute(100));
    provider.then(told("100", "20", "48s").after(ms(500)));
    provider.then(told("100", "80", "12s").after(ms(100)));
    let slow = tokio::spawn(service.clone().oneshot(request()));
    tokio::task::yield_now().await;
    drop(service.oneshot(request()).await.unwrap());
    let after = layer.handle().remaining();
    assert_eq!(after, Some(80));
    drop(slow.await.unwrap().unwrap());
    assert!(layer.handle().remaining() >= after);
    assert_eq!(layer.handle().ignored(), 1);
}

/// The provider knew nothing of the calls that were sent after the one that it answered.
#[tokio::test(start_paused = true)]
async fn calls_under_way_are_taken_off_what_the_provider_says_is_left() {
    let (service, provider, layer) = limited(RateLimitLayer::per_minute(100));
    provider.then(told("100", "10", "54s").after(ms(10)));
    let slow = tokio::spawn(service.clone().oneshot(request()));
    tokio::task::yield_now().await;
    for _ in 0..7 {
        provider.then(Answer::hang());
        assert!(tokio_test::task::spawn(service.clone().oneshot(request())).poll().is_pending());
    }
    drop(slow.await.unwrap().unwrap());
    assert_eq!(layer.handle().remaining(), Some(3));
}

/// Groq counts requests by the day and tokens by the minute, and only its documents say so.
#[tokio::test(start_paused = true)]
async fn in_a_stack_the_headers_are_read_in_the_words_of_its_provider() {
    for (name, remaining) in [("groq/llama", Some(14_000)), ("openai/gpt-4o", None)] {
        let (inner, provider) = strict();
        let stack = crate::ResilienceBuilder::new(name).rate_limit(RateLimitLayer::new()).build();
        provider.then(
            Answer::status(200)
                .header("x-ratelimit-limit-requests", "14400")
                .header("x-ratelimit-remaining-requests", "14000"),
        );
        complete(&mut stack.layer(inner)).await.unwrap();
        assert_eq!(stack.signals().snapshot().rate_remaining, remaining, "{name}");
    }
}

/// What is under way when all is forgotten is neither given back to the fresh quotas nor taken for news for ever.
#[tokio::test(start_paused = true)]
async fn a_reset_leaves_nothing_behind_of_the_calls_under_way() {
    let (service, provider, layer) = limited(RateLimitLayer::per_minute(100).tokens_per_minute(10_000));
    for _ in 0..5 {
        drop(service.clone().oneshot(request()).await.unwrap());
    }
    provider.then(told("100", "70", "18s").after(ms(10)));
    let slow = tokio::spawn(service.clone().oneshot(request()));
    tokio::task::yield_now().await;
    tokio::time::advance(ms(1)).await;
    layer.handle().reset();
    let _under_way = service.clone().oneshot(request()).await.unwrap();
    let tokens = layer.handle().tokens_remaining();
    drop(slow.await.unwrap().unwrap());
    assert!(layer.handle().tokens_remaining() <= tokens.map(|tokens| tokens + 2), "nothing was given back");
    provider.then(told("100", "40", "36s"));
    drop(service.oneshot(request()).await.unwrap());
    assert_eq!((layer.handle().remaining(), layer.handle().ignored()), (Some(40), 0));
}

/// P28: a default cooldown shortened a long one that the server had told, and a second failure did not extend it.
#[tokio::test(start_paused = true)]
async fn p28_of_all_that_was_told_the_latest_moment_holds() {
    let (mut service, provider, layer) = limited(RateLimitLayer::per_minute(100).max_wait(MINUTE));
    provider
        .answer(429)
        .header("retry-after", "30")
        .header("x-ratelimit-remaining-requests", "0")
        .header("x-ratelimit-reset-requests", "2s");
    complete(&mut service).await.unwrap();
    assert_eq!(layer.handle().closed_for(), Some(Duration::from_secs(30)));
    // One that was under way comes back, and names no time: 1 s.
    layer.handle().on_outcome(&crate::Failure::new(crate::ErrorCode::RateLimited).into());
    assert_eq!(layer.handle().closed_for(), Some(Duration::from_secs(30)));
    let longer = crate::RetryHint::after(Duration::from_secs(40), crate::HintSource::Body);
    layer.handle().on_outcome(
        &crate::Failure { retry_hint: Some(longer), ..crate::Failure::new(crate::ErrorCode::RateLimited) }.into(),
    );
    assert_eq!(layer.handle().closed_for(), Some(Duration::from_secs(40)));
}

/// P25, P12: twenty clients woke in the same instant (hermes-agent 109234), and a limit without a quota let all who had
/// waited go at once.
#[tokio::test(start_paused = true)]
async fn p12_after_retry_after_nobody_is_early_and_all_are_spread() {
    for quota in [None, Some(50)] {
        let layer = quota.map_or_else(RateLimitLayer::new, RateLimitLayer::per_second);
        let (inner, provider) = strict();
        let service = layer.layer(inner);
        provider.answer(429).header("retry-after", "2");
        drop(service.clone().oneshot(request()).await.unwrap());
        let start = tokio::time::Instant::now();
        let mut calls = JoinSet::new();
        (0..100).for_each(|_| drop(calls.spawn(service.clone().oneshot(request()))));
        while let Some(answer) = calls.join_next().await {
            assert_eq!(answer.unwrap().unwrap().status(), 200);
        }
        let at: Vec<_> = provider.requests()[1..].iter().map(|seen| seen.at - start).collect();
        assert_eq!(at.len(), 100);
        assert!(at[0] >= Duration::from_secs(2) && at[0] <= ms(2_102), "{:?}", at[0]);
        match quota {
            // A tenth of the wait to spread over. Timers tick in milliseconds.
            None => {
                assert!(at[99] - at[0] >= ms(95) && at[99] <= ms(2_300), "{:?} to {:?}", at[0], at[99]);
                let crowd = at.windows(20).map(|some| some[19] - some[0]).min();
                assert!(crowd >= Some(ms(10)), "{crowd:?}");
            }
            Some(_) => {
                for (number, at) in at.iter().enumerate() {
                    assert!(*at >= Duration::from_secs(2) + ms(20) * number as u32, "{number}: {at:?}");
                }
                assert!(at[99] <= ms(2_102 + 20 * 99 + 110), "{:?}", at[99]);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_currency_of_ones_own_period_is_kept_too() {
    let layer = RateLimitLayer::new()
        .quota_of(LimitUnit::Requests, 2, Duration::from_secs(5))
        .on_limit(OnLimit::Reject);
    let (mut service, _provider, _) = limited(layer);
    complete(&mut service).await.unwrap();
    complete(&mut service).await.unwrap();
    let refused = rejection(service.oneshot(request()).await);
    assert_eq!((refused.gate(), refused.quota()), (Gate::RateLimit, Some("requests per period")));
    assert_eq!(refused.retry_after(), Some(ms(2_500)));
}

/// One header of an answer closed the gate for a hundred years, and a moment in milliseconds for a day.
#[tokio::test(start_paused = true)]
async fn p32_what_nobody_could_mean_is_ignored_and_counted() {
    let header = |pairs: &[(&str, &str)]| {
        pairs.iter().fold(Answer::status(200), |answer, (name, value)| answer.header(name, value))
    };
    for answer in [
        header(&[("ratelimit-policy", "1;w=3153600000"), ("ratelimit", "\"d\";r=0;t=1")]),
        header(&[
            ("x-ratelimit-remaining-requests", "0"),
            ("x-ratelimit-reset-requests", "99999999999999999999999h"),
        ]),
        header(&[
            ("x-ratelimit-remaining-requests", "0"),
            ("x-ratelimit-reset-requests", "2126-11-05T00:00:00Z"),
        ]),
    ] {
        let (mut service, provider, layer) = limited(RateLimitLayer::per_minute(1_000));
        provider.then(answer);
        complete(&mut service).await.unwrap();
        assert_eq!((layer.handle().closed_for(), layer.handle().ignored()), (None, 1));
        assert_eq!(layer.handle().peek(None), None);
    }
}

/// Of a minute's and a day's limit with nothing left, the one that was named first won.
#[tokio::test(start_paused = true)]
async fn of_two_limits_with_nothing_left_the_later_reset_holds() {
    let pairs = [("minute", "10"), ("day", "3600")];
    for order in [[0, 1], [1, 0]] {
        let (mut service, provider, layer) = limited(RateLimitLayer::per_minute(1_000));
        let answer = order.into_iter().fold(Answer::status(200), |answer, at| {
            let (period, reset) = pairs[at];
            answer
                .header(&format!("x-ratelimit-remaining-requests-{period}"), "0")
                .header(&format!("x-ratelimit-reset-requests-{period}"), reset)
        });
        provider.then(answer);
        complete(&mut service).await.unwrap();
        assert!(layer.handle().closed_for() > Some(ms(3_599_000)), "{:?}", layer.handle().closed_for());
    }
}
