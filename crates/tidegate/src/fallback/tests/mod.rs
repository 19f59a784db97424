mod attempts;
#[cfg(feature = "translate")]
mod cache;
#[cfg(all(feature = "providers", feature = "translate"))]
mod continuation;
mod last_resorts;
#[cfg(feature = "providers")]
mod models;
mod reported_failure;

use std::time::Duration;

use http_body_util::BodyExt;
use tidegate_testkit::contract;
use tidegate_testkit::strict::Answer;
use tower::Layer;

use super::{FallbackInfo, FallbackKind, FallbackLayer, TargetStatistics};
use crate::testing::{call, request, send, strict, verdicts, with_deadline};
use crate::{ErrorCode, Failure, FailureKind, Outcome, RetryLayer, StatusClassifier, Trail, Verdict};

#[tokio::test(start_paused = true)]
async fn keeps_towers_contract() {
    contract::check(|inner| FallbackLayer::new().layer(inner)).await;
    contract::check(|inner| FallbackLayer::new().then("other", strict().0).layer(inner)).await;
}

#[tokio::test(start_paused = true)]
async fn calls_the_next_target_and_names_it() {
    let ((first, primary), (second, other)) = (strict(), strict());
    let layer = FallbackLayer::new().then("deepseek/deepseek-chat", second);
    primary.answer(503).frame("never read").stall();
    other.answer(200).body("from the other");
    let response = call(&mut layer.layer(first)).await.unwrap();
    let info = response.extensions().get::<FallbackInfo>().unwrap();
    assert_eq!((info.target(), info.kind()), ("deepseek/deepseek-chat", FallbackKind::AlternativeModel));
    assert_eq!(primary.live_bodies(), 0);
    assert_eq!(other.requests()[0].body.as_deref(), Some(&b"{}"[..]));
    let verdicts = verdicts(Trail::of(response.extensions()).unwrap());
    let because = Some(ErrorCode::Overloaded);
    assert_eq!(verdicts, [Verdict::FellBack { to: "deepseek/deepseek-chat".into(), because }]);
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "from the other");
    let expected = TargetStatistics {
        target: "deepseek/deepseek-chat".into(),
        position: 1,
        calls: 1,
        successes: 1,
        skips: 0,
        recent: 1,
        recent_successes: 1,
        success_rate: Some(1.0),
    };
    assert_eq!(layer.handle().statistics(), [expected]);
}

/// Every code, in every position of the chain: the flag decides.
#[tokio::test(start_paused = true)]
async fn the_code_decides_in_every_position_of_the_chain() {
    for code in ErrorCode::ALL {
        let is_refusal = matches!(code, ErrorCode::PermissionDenied | ErrorCode::NotFound);
        for position in 0..3 {
            let targets = [strict(), strict(), strict()];
            let [first, second, third] = targets.each_ref().map(|(service, _)| service.clone());
            let chain = FallbackLayer::new().then("second", second).then("third", third);
            for (_, handle) in &targets[..position] {
                handle.answer(503);
            }
            targets[position].1.answer(400).extension(Outcome::from(Failure::new(code)));
            let response = call(&mut chain.layer(first)).await.unwrap();
            let calls: Vec<_> = targets.iter().map(|(_, handle)| handle.calls()).collect();
            let falls_back = (code.is_fallbackable() || is_refusal && position > 0) && position < 2;
            let expected: Vec<_> =
                (0..3).map(|at| usize::from(at <= position + usize::from(falls_back))).collect();
            assert_eq!(calls, expected, "{code} at {position}");
            assert_eq!(response.status() == 200, falls_back, "{code} at {position}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn context_length_and_content_filter_fall_back_only_if_enabled() {
    for cause in [FailureKind::ContextLength, FailureKind::ContentFilter] {
        for enabled in [false, true] {
            let ((first, primary), (second, other)) = (strict(), strict());
            let failure = Failure { kind: cause, ..Failure::new(ErrorCode::InvalidRequest) };
            primary.answer(400).extension(Outcome::from(failure));
            let layer = FallbackLayer::new()
                .then("larger", second)
                .on_context_length(enabled)
                .on_content_filter(enabled);
            call(&mut layer.layer(first)).await.unwrap();
            assert_eq!(other.calls(), usize::from(enabled), "{cause:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn when_all_targets_fail_the_last_response_is_returned_unchanged() {
    let ((first, primary), (second, other)) = (strict(), strict());
    primary.answer(503);
    other.answer(429).body("slow down");
    let response = call(&mut FallbackLayer::new().then("other", second).layer(first)).await.unwrap();
    assert_eq!(response.status(), 429);
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "slow down");
}

/// Regression: the last failure hid that the prompt has to be shortened, or how long to wait.
#[tokio::test(start_paused = true)]
async fn when_all_targets_fail_the_failure_that_helps_the_caller_most_is_returned() {
    let failed = |kind| Outcome::from(Failure { kind, ..Failure::new(ErrorCode::InvalidRequest) });
    let answers = [
        (1, "key", Answer::status(401)),
        (1, "down", Answer::status(503)),
        (1, "limit", Answer::status(429)),
        (2, "wait", Answer::status(429).header("retry-after", "5")),
        (3, "large", Answer::status(413)),
        (3, "long", Answer::status(400).extension(failed(FailureKind::ContextLength))),
        (3, "filtered", Answer::status(400).extension(failed(FailureKind::ContentFilter))),
    ];
    for first in &answers {
        for second in &answers {
            for third in &answers {
                let called = [first, second, third];
                let targets = [strict(), strict(), strict()];
                for ((_, handle), (_, name, answer)) in targets.iter().zip(called) {
                    handle.then(answer.clone().body(*name));
                }
                let [a, b, c] = targets.map(|(service, _)| service);
                let chain = FallbackLayer::new().then("b", b).then("c", c);
                let chain = chain.on_context_length(true).on_content_filter(true);
                let response = call(&mut chain.layer(a)).await.unwrap();
                let body = response.into_body().collect().await.unwrap().to_bytes();
                let best = called.iter().max_by_key(|(rank, ..)| *rank).unwrap().1;
                assert_eq!(body, best, "{:?}", called.map(|(_, name, _)| name));
            }
        }
    }
}

/// Regression: a mistake for one provider alone replaced the failure of the first target, with its wait, and a
/// refusal of one target ended the chain.
#[tokio::test(start_paused = true)]
async fn a_refusal_of_a_later_target_replaces_no_failure_that_helps_more() {
    let wait = Answer::status(429).header("retry-after", "5");
    for (first, second, third, expected) in [
        (wait.clone(), 400, 200, ("first", 0)),
        (wait.clone(), 403, 503, ("first", 1)),
        (wait.clone(), 404, 503, ("first", 1)),
        (Answer::status(503), 400, 200, ("second", 0)),
        (Answer::status(503), 403, 500, ("third", 1)),
        (Answer::status(503), 404, 400, ("third", 1)),
        (Answer::status(503), 404, 200, ("third", 1)),
        (Answer::status(404), 200, 200, ("first", 0)),
    ] {
        let targets = [strict(), strict(), strict()];
        let answers = [first, Answer::status(second), Answer::status(third)];
        for ((_, handle), (name, answer)) in
            targets.iter().zip(["first", "second", "third"].into_iter().zip(answers))
        {
            handle.then(answer.body(name));
        }
        let [(a, _), (b, _), (c, third)] = targets;
        let response = call(&mut FallbackLayer::new().then("b", b).then("c", c).layer(a)).await.unwrap();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!((std::str::from_utf8(&body).unwrap(), third.calls()), expected, "{second}");
    }
}

#[tokio::test(start_paused = true)]
async fn no_target_is_called_after_the_deadline() {
    let ((first, primary), (second, other)) = (strict(), strict());
    primary.answer(503).after(Duration::from_secs(2));
    let request = with_deadline(request(), Duration::from_secs(2));
    let chain = FallbackLayer::new().then("other", second);
    assert_eq!(send(&mut chain.layer(first), request).await.unwrap().status(), 503);
    assert_eq!(other.calls(), 0);
}

/// Pitfall P19 (docs/pitfalls.md): a fallback that requires `Response: Clone`, and copies the request
/// although no target can follow.
#[tokio::test(start_paused = true)]
async fn without_targets_it_keeps_no_copy_of_the_body() {
    use http_body_util::Full;
    use tower::ServiceExt;
    let (first, primary) = strict();
    let long = request().map(|_| Full::new(bytes::Bytes::from_static(b"a prompt")));
    FallbackLayer::new().layer(first).oneshot(long).await.unwrap();
    assert_eq!(primary.requests()[0].body, None, "streamed through, not kept");
}

#[tokio::test(start_paused = true)]
async fn the_trail_continues_after_a_retried_first_target() {
    let ((first, primary), (second, _other)) = (strict(), strict());
    primary.otherwise(Answer::status(503));
    let wire = crate::ClassifyLayer::new(StatusClassifier);
    let retried = RetryLayer::exponential().max_retries(2).layer(wire.layer(first));
    let mut chain = FallbackLayer::new().then("other", wire.layer(second)).layer(retried);
    let response = call(&mut chain).await.unwrap();
    assert_eq!(Trail::of(response.extensions()).unwrap().attempts(), 4);
}
