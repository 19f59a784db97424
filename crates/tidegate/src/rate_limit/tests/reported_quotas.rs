//! The limits that the provider reports, and the checks that a report has to pass.

use std::time::Duration;

use http::Request;
use tidegate_testkit::strict::{Answer, Handle as Provider, Strict};
use tokio::task::JoinSet;
use tower::{Layer, ServiceExt};

use crate::providers::{Provider as ProviderName, ProviderClassifier};
use crate::rate_limit::{OnLimit, RateLimit, RateLimitLayer};
use crate::testing::{complete, rejection, request, strict, strict_behind};
use crate::{ClassifyLayer, Gate, LimitUnit, Payload, clock};

const MINUTE: Duration = Duration::from_secs(60);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A response that reports a request limit in OpenAI's headers.
fn reporting(limit: &str, remaining: &str, reset: &str) -> Answer {
    Answer::status(200)
        .header("x-ratelimit-limit-requests", limit)
        .header("x-ratelimit-remaining-requests", remaining)
        .header("x-ratelimit-reset-requests", reset)
}

fn openai(layer: RateLimitLayer) -> RateLimitLayer {
    layer.classifier(ProviderClassifier::new(ProviderName::OpenAi))
}

fn limited(layer: RateLimitLayer) -> (RateLimit<Strict<Payload>>, Provider, RateLimitLayer) {
    let (inner, provider) = strict();
    let layer = openai(layer);
    (layer.layer(inner), provider, layer)
}

#[tokio::test(start_paused = true)]
async fn a_success_that_reports_nothing_left_closes_until_the_reset() {
    let mut checked = 0;
    for answer in [
        reporting("60", "0", "1.5s"),
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
            checked += 1;
        }
    }
    assert_eq!(checked, 8);
}

/// OpenAI's reset is the time until the whole limit has refilled. With nothing left, the next request is due
/// after a part of that.
#[tokio::test(start_paused = true)]
async fn a_limit_that_refills_evenly_sets_the_pace_and_does_not_close() {
    let (mut service, provider, layer) = limited(RateLimitLayer::per_minute(500));
    provider.then(reporting("500", "0", "60s"));
    complete(&mut service).await.unwrap();
    assert_eq!(layer.handle().closed_for(), None);
    let start = clock::now();
    complete(&mut service).await.unwrap();
    let waited = clock::now() - start;
    assert!(waited >= ms(119) && waited < ms(125), "{waited:?}");
}

/// Regression: the first report of such a limit closed the gate for its whole period, which was not confirmed.
#[tokio::test(start_paused = true)]
async fn the_first_report_of_a_limit_that_refills_evenly_closes_until_the_next_call_has_room() {
    let tokens = Answer::status(200)
        .header("x-ratelimit-limit-tokens", "30000")
        .header("x-ratelimit-remaining-tokens", "0")
        .header("x-ratelimit-reset-tokens", "60s");
    for (answer, expected) in [
        (reporting("200", "0", "24h0m0s"), ms(432_000)),
        (reporting("500", "0", "60s"), ms(120)),
        (tokens, ms(3_000)),
    ] {
        let (mut service, provider, layer) = limited(RateLimitLayer::new());
        provider.then(answer);
        complete(&mut service).await.unwrap();
        let closed = layer.handle().closed_for().unwrap_or_default();
        assert!(closed > expected.mul_f64(0.99) && closed <= expected, "{closed:?} of {expected:?}");
    }
}

/// Nothing of such a limit is refilled before the reset.
#[tokio::test(start_paused = true)]
async fn a_fixed_window_that_is_used_up_closes_until_its_reset_also_if_it_is_not_adopted() {
    let (mut service, provider, layer) = limited(RateLimitLayer::new().adopt_reported_quotas(false));
    let answer = Answer::status(200).header("ratelimit", "\"default\";r=0;t=30");
    provider.then(answer.header("ratelimit-policy", "\"default\";q=100;w=60"));
    complete(&mut service).await.unwrap();
    assert_eq!(layer.handle().closed_for(), Some(ms(30_000)));
}

/// Regression: what a call had reserved and not used was returned to configured quotas only, so that a few
/// failures without a report closed the limit.
#[tokio::test(start_paused = true)]
async fn an_adopted_quota_gets_back_what_a_call_without_a_report_has_not_used() {
    for (failure, used) in [(529, 44), (500, 44), (400, 0)] {
        let (inner, provider) = strict();
        let layer = RateLimitLayer::new().classifier(ProviderClassifier::new(ProviderName::Anthropic));
        let wire = ClassifyLayer::new(ProviderClassifier::new(ProviderName::Anthropic));
        let mut service = layer.layer(wire.layer(inner));
        let report = Answer::status(200)
            .header("anthropic-ratelimit-tokens-limit", "8000")
            .header("anthropic-ratelimit-tokens-remaining", "8000");
        provider.then(report);
        complete(&mut service).await.unwrap();
        let before = layer.handle().tokens_remaining().unwrap();
        provider.then(Answer::status(failure).body("{}"));
        let body = format!(
            r#"{{"max_tokens":4096,"messages":[{{"role":"user","content":"{}"}}]}}"#,
            "four".repeat(40)
        );
        let request = Request::post("/v1/messages").body(Payload::from(body)).unwrap();
        let response = service.clone().oneshot(request).await;
        drop(response);
        assert_eq!(before - layer.handle().tokens_remaining().unwrap(), used, "{failure}");
    }
}

/// The provider has counted a call in the report that comes with its own response.
#[tokio::test(start_paused = true)]
async fn a_reported_quota_gets_nothing_back_from_the_call_that_it_came_with() {
    let (inner, provider) = strict();
    let layer = RateLimitLayer::new().classifier(ProviderClassifier::new(ProviderName::Anthropic));
    let wire = ClassifyLayer::new(ProviderClassifier::new(ProviderName::Anthropic));
    let service = layer.layer(wire.layer(inner));
    // A twentieth of the limit is held back.
    for (remaining, expected) in [("8000", 7_600), ("5000", 4_600)] {
        let answer = Answer::status(200)
            .header("content-type", "application/json")
            .header("anthropic-ratelimit-tokens-limit", "8000")
            .header("anthropic-ratelimit-tokens-remaining", remaining)
            .body(r#"{"type":"message","content":[],"usage":{"input_tokens":10,"output_tokens":10}}"#);
        provider.then(answer);
        let request = Request::post("/v1/messages").body(Payload::from(r#"{"max_tokens":300}"#)).unwrap();
        let response = service.clone().oneshot(request).await.unwrap();
        http_body_util::BodyExt::collect(response.into_body()).await.unwrap();
        assert_eq!(layer.handle().tokens_remaining(), Some(expected));
    }
}

#[tokio::test(start_paused = true)]
async fn a_lower_count_lowers_ours_and_a_higher_one_never_raises_it() {
    let (mut service, provider, layer) = limited(RateLimitLayer::per_minute(100));
    provider.then(reporting("100", "40", "36s"));
    complete(&mut service).await.unwrap();
    assert_eq!(layer.handle().remaining(), Some(40));
    // Other clients sent fewer calls than the first report suggested. Our own calls still count.
    provider.then(reporting("100", "100", "0s"));
    complete(&mut service).await.unwrap();
    assert_eq!(layer.handle().remaining(), Some(98));
    provider.then(reporting("9000", "8999", "7ms"));
    complete(&mut service).await.unwrap();
    assert_eq!(layer.handle().remaining(), Some(97));
}

#[tokio::test(start_paused = true)]
async fn a_reported_quota_is_adopted_once_its_period_is_confirmed() {
    let answers = [reporting("500", "400", "12s"), reporting("500", "399", "12.12s")];
    let (mut service, provider, layer) = limited(RateLimitLayer::new());
    answers.iter().for_each(|answer| drop(provider.then(answer.clone())));
    complete(&mut service).await.unwrap();
    assert_eq!(layer.handle().remaining(), None, "one report is not enough");
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

/// Regression: a gateway that was later replaced had reported 60 a minute once, and the limit was kept for
/// ever.
#[tokio::test(start_paused = true)]
async fn a_quota_that_is_no_longer_reported_expires_after_its_period() {
    let adopted = |reset: &str| reporting("500", "400", reset);
    let (mut service, provider, layer) = limited(RateLimitLayer::new());
    provider.then(adopted("12s"));
    provider.then(adopted("12s"));
    complete(&mut service).await.unwrap();
    complete(&mut service).await.unwrap();
    assert!(layer.handle().remaining().is_some());
    // No call was made, so no report was missing. One response without a report does not count either.
    tokio::time::advance(100 * MINUTE).await;
    complete(&mut service).await.unwrap();
    assert_eq!(layer.handle().remaining(), Some(499));
    tokio::time::advance(MINUTE - ms(1)).await;
    complete(&mut service).await.unwrap();
    assert!(layer.handle().remaining().is_some());
    // A new report renews the quota.
    provider.then(reporting("500", "499", "120ms"));
    complete(&mut service).await.unwrap();
    tokio::time::advance(MINUTE).await;
    complete(&mut service).await.unwrap();
    // Failures do not have to report limits.
    tokio::time::advance(MINUTE).await;
    provider.answer(503);
    complete(&mut service).await.unwrap();
    assert!(layer.handle().remaining().is_some());
    complete(&mut service).await.unwrap();
    assert_eq!(layer.handle().remaining(), None);
    // The quota is adopted again by the same rules.
    provider.then(adopted("12s"));
    provider.then(adopted("12s"));
    complete(&mut service).await.unwrap();
    complete(&mut service).await.unwrap();
    assert!(layer.handle().remaining().is_some());
}

/// A response that reports a request limit with its period, in seconds.
fn reporting_window(limit: u32, remaining: u32, seconds: u64) -> Answer {
    Answer::status(200)
        .header("ratelimit", &format!("\"d\";r={remaining};t=1"))
        .header("ratelimit-policy", &format!("\"d\";q={limit};w={seconds}"))
}

/// A report on a configured quota expires as well, after its period and not before a minute. The quota stays.
#[tokio::test(start_paused = true)]
async fn a_reported_lower_count_expires() {
    for (seconds, retention) in [(1, MINUTE), (60, MINUTE), (86_400, 1_440 * MINUTE)] {
        let (mut service, provider, layer) = limited(RateLimitLayer::new().quota(1_000_000, 60 * MINUTE));
        provider.then(reporting_window(10, 5, seconds));
        complete(&mut service).await.unwrap();
        let is_kept = || layer.handle().remaining().unwrap() <= 10;
        complete(&mut service).await.unwrap();
        tokio::time::advance(retention - ms(1)).await;
        complete(&mut service).await.unwrap();
        assert!(is_kept(), "{seconds} s: {:?}", layer.handle());
        tokio::time::advance(ms(1)).await;
        complete(&mut service).await.unwrap();
        assert!(layer.handle().remaining() > Some(999_000), "{seconds} s: {:?}", layer.handle());
    }
}

/// A provider that names its limits by request must not make the list grow without bound.
#[tokio::test(start_paused = true)]
async fn of_many_reported_limits_the_first_eight_are_kept() {
    let (mut service, provider, layer) = limited(RateLimitLayer::new());
    for number in 1..=9 {
        provider.then(reporting_window(1_000, 1_000 - 10 * number, 60 * u64::from(number)));
        complete(&mut service).await.unwrap();
    }
    assert_eq!(layer.handle().remaining(), Some(1_000 - 80 - 1));
}

#[tokio::test(start_paused = true)]
async fn an_adopted_token_quota_has_calls_estimated_from_then_on() {
    let layer = RateLimitLayer::new().classifier(ProviderClassifier::new(ProviderName::Anthropic));
    let (mut service, provider) = strict_behind(&layer);
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
    let _response =
        service.clone().oneshot(Request::post("/").body(Payload::from(body)).unwrap()).await.unwrap();
    assert_eq!(layer.handle().tokens_remaining(), Some(4_500 - 504));
}

/// Pitfall P32 (docs/pitfalls.md): unknown units, negative counts, "1m" read as 1, and contradictory values.
#[tokio::test(start_paused = true)]
async fn contradictory_reports_are_ignored_and_counted() {
    for answer in [
        reporting("100", "101", "1s"),
        reporting("0", "0", "-1s"),
        reporting("100", "-1", "0"),
        reporting("100", "50", "999999h"),
        reporting("100", "x", "1s"),
    ] {
        let (mut service, provider, layer) = limited(RateLimitLayer::per_minute(1_000));
        provider.then(answer);
        complete(&mut service).await.unwrap();
        assert_eq!((layer.handle().remaining(), layer.handle().closed_for()), (Some(999), None));
        assert!(layer.handle().ignored() > 0);
    }
    // 30 s of a minute were read as 30 ms. No quota of half a second is adopted.
    let (mut service, provider, layer) = limited(RateLimitLayer::new());
    for left in ["50", "49", "48"] {
        provider.then(reporting("100", left, "30ms"));
        complete(&mut service).await.unwrap();
    }
    assert_eq!(layer.handle().remaining(), None);
}

#[tokio::test(start_paused = true)]
async fn a_report_older_than_the_last_one_is_ignored() {
    let (service, provider, layer) = limited(RateLimitLayer::per_minute(100));
    provider.then(reporting("100", "20", "48s").after(ms(500)));
    provider.then(reporting("100", "80", "12s").after(ms(100)));
    let slow = tokio::spawn(service.clone().oneshot(request()));
    tokio::task::yield_now().await;
    drop(service.oneshot(request()).await.unwrap());
    let after = layer.handle().remaining();
    assert_eq!(after, Some(80));
    drop(slow.await.unwrap().unwrap());
    assert!(layer.handle().remaining() >= after);
    assert_eq!(layer.handle().ignored(), 1);
}

/// The report does not include calls that were sent after the one that it answers.
#[tokio::test(start_paused = true)]
async fn calls_in_flight_are_subtracted_from_the_reported_remaining_count() {
    let (service, provider, layer) = limited(RateLimitLayer::per_minute(100));
    provider.then(reporting("100", "10", "54s").after(ms(10)));
    let slow = tokio::spawn(service.clone().oneshot(request()));
    tokio::task::yield_now().await;
    for _ in 0..7 {
        provider.then(Answer::hang());
        assert!(tokio_test::task::spawn(service.clone().oneshot(request())).poll().is_pending());
    }
    drop(slow.await.unwrap().unwrap());
    assert_eq!(layer.handle().remaining(), Some(3));
}

/// Groq counts requests per day and tokens per minute, and states that only in its documentation.
#[tokio::test(start_paused = true)]
async fn in_a_stack_the_headers_are_read_by_the_classifier_of_its_provider() {
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

/// A call in flight at the time of a reset is not returned to the new quotas, and its response does not count
/// as a new report for ever.
#[tokio::test(start_paused = true)]
async fn a_reset_ignores_the_calls_in_flight() {
    let (service, provider, layer) = limited(RateLimitLayer::per_minute(100).tokens_per_minute(10_000));
    for _ in 0..5 {
        drop(service.clone().oneshot(request()).await.unwrap());
    }
    provider.then(reporting("100", "70", "18s").after(ms(10)));
    let slow = tokio::spawn(service.clone().oneshot(request()));
    tokio::task::yield_now().await;
    tokio::time::advance(ms(1)).await;
    layer.handle().reset();
    let _under_way = service.clone().oneshot(request()).await.unwrap();
    let tokens = layer.handle().tokens_remaining();
    drop(slow.await.unwrap().unwrap());
    assert!(layer.handle().tokens_remaining() <= tokens.map(|tokens| tokens + 2), "nothing is returned");
    provider.then(reporting("100", "40", "36s"));
    drop(service.oneshot(request()).await.unwrap());
    assert_eq!((layer.handle().remaining(), layer.handle().ignored()), (Some(40), 0));
}

/// Pitfall P28 (docs/pitfalls.md): a default cooldown shortened a long one that the server had sent, and a
/// second failure did not extend it.
#[tokio::test(start_paused = true)]
async fn the_latest_of_all_reported_times_holds() {
    let (mut service, provider, layer) = limited(RateLimitLayer::per_minute(100).max_wait(MINUTE));
    provider
        .answer(429)
        .header("retry-after", "30")
        .header("x-ratelimit-remaining-requests", "0")
        .header("x-ratelimit-reset-requests", "2s");
    complete(&mut service).await.unwrap();
    assert_eq!(layer.handle().closed_for(), Some(Duration::from_secs(30)));
    // A call that was in flight fails without a wait, so the default of 1 s applies.
    layer.handle().on_outcome(&crate::Failure::new(crate::ErrorCode::RateLimited).into(), clock::now());
    assert_eq!(layer.handle().closed_for(), Some(Duration::from_secs(30)));
    let longer = crate::RetryHint::after(Duration::from_secs(40), crate::HintSource::Body);
    layer.handle().on_outcome(
        &crate::Failure { retry_hint: Some(longer), ..crate::Failure::new(crate::ErrorCode::RateLimited) }
            .into(),
        clock::now(),
    );
    assert_eq!(layer.handle().closed_for(), Some(Duration::from_secs(40)));
}

/// Pitfalls P25 and P12 (docs/pitfalls.md): twenty clients woke in the same instant (hermes-agent 109234). A
/// limit without a quota admitted all waiting calls at once.
#[tokio::test(start_paused = true)]
async fn after_retry_after_no_call_is_early_and_all_are_spread() {
    for quota in [None, Some(50)] {
        let layer = quota.map_or_else(RateLimitLayer::new, RateLimitLayer::per_second);
        let (service, provider) = strict_behind(&layer);
        provider.answer(429).header("retry-after", "2");
        drop(service.clone().oneshot(request()).await.unwrap());
        let start = tokio::time::Instant::now();
        let mut calls = JoinSet::new();
        (0..100).for_each(|_| drop(calls.spawn(service.clone().oneshot(request()))));
        while let Some(response) = calls.join_next().await {
            assert_eq!(response.unwrap().unwrap().status(), 200);
        }
        let at: Vec<_> = provider.requests()[1..].iter().map(|seen| seen.at - start).collect();
        assert_eq!(at.len(), 100);
        assert!(at[0] >= Duration::from_secs(2) && at[0] <= ms(2_102), "{:?}", at[0]);
        match quota {
            // The calls are spread over a tenth of the wait. Timers have a resolution of a millisecond.
            None => {
                assert!(at[99] - at[0] >= ms(95) && at[99] <= ms(2_300), "{:?} to {:?}", at[0], at[99]);
                let shortest_span = at.windows(20).map(|some| some[19] - some[0]).min();
                assert!(shortest_span >= Some(ms(10)), "{shortest_span:?}");
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
async fn a_quota_with_a_custom_period_is_enforced() {
    let layer = RateLimitLayer::new()
        .quota_of(LimitUnit::Requests, 2, Duration::from_secs(5))
        .on_limit(OnLimit::Reject);
    let (mut service, _provider, _) = limited(layer);
    complete(&mut service).await.unwrap();
    complete(&mut service).await.unwrap();
    let rejected = rejection(service.oneshot(request()).await);
    assert_eq!((rejected.gate(), rejected.quota()), (Gate::RateLimit, Some("requests per period")));
    assert_eq!(rejected.retry_after(), Some(ms(2_500)));
}

/// Pitfall P32 (docs/pitfalls.md): one response header closed the gate for a hundred years, and a time in
/// milliseconds closed it for a day.
#[tokio::test(start_paused = true)]
async fn implausible_reports_are_ignored_and_counted() {
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

/// Regression: of a limit per minute and a limit per day with nothing left, the first header won.
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

/// Regression: the counts of keys that were dropped were lost.
#[tokio::test(start_paused = true)]
async fn the_reports_that_were_ignored_are_counted_for_all_keys_since_the_start() {
    let layer = RateLimitLayer::per_minute(1_000).key_by(crate::KeyBy::path()).max_keys(2);
    let (service, provider, layer) = limited(layer);
    for key in 1..100 {
        provider.then(reporting("100", "101", "1s"));
        let request = Request::get(format!("/{key}")).body(Payload::empty()).unwrap();
        service.clone().oneshot(request).await.unwrap();
        assert_eq!(layer.handle().ignored(), key);
    }
    assert!(layer.handle().keys() < 10);
}
