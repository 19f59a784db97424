//! The tokens that are reserved, and the use that they are settled to.

use std::time::Duration;

use http::Request;
use http_body_util::BodyExt;
use tidegate_testkit::contract;
use tidegate_testkit::strict::{Answer, Handle as Provider, Strict};
use tower::{Layer, Service, ServiceBuilder, ServiceExt};

use crate::fallback::{FallbackInfo, FallbackKind};
use crate::providers::ProviderClassifier;
use crate::rate_limit::{OnLimit, RateLimitLayer};
use crate::testing::{chat_request, rejection, strict, strict_behind};
use crate::{
    BackpressureLayer, CircuitBreakerLayer, ClassifyLayer, Deadline, ErrorCode, FallbackLayer, Gate, Payload,
    Rejection, RetryLayer, UsageMeter, clock,
};

/// 40 prompt tokens and 4 for the message; at most 100 response tokens.
fn question() -> Request<Payload> {
    chat_request_with_max(100)
}

fn chat_request_with_max(max_tokens: u64) -> Request<Payload> {
    let prompt = "four".repeat(40);
    chat_request(format!(
        r#"{{"model":"m","max_tokens":{max_tokens},"messages":[{{"role":"user","content":"{prompt}"}}]}}"#
    ))
}

/// The same request for a stream. A stream that was not requested is converted.
fn streamed_request() -> Request<Payload> {
    question().map(|body| {
        let body = String::from_utf8(body.bytes().expect("a buffered body").to_vec()).expect("UTF-8");
        Payload::from(body.replacen('{', r#"{"stream":true,"#, 1))
    })
}

const RESERVED: u64 = 144;
const PROMPT: u64 = 44;

fn json(usage: &str) -> Answer {
    let body = format!(r#"{{"choices":[{{"message":{{"content":"hi"}}}}],"usage":{usage}}}"#);
    let (head, tail) = body.split_at(body.len() / 2);
    Answer::status(200)
        .header("content-type", "application/json")
        .frame(head.to_owned())
        .frame(tail.to_owned())
}

fn stream() -> Answer {
    let answer = Answer::status(200).header("content-type", "text/event-stream");
    answer.frame("data: {\"choices\":[{\"delta\":{\"role\":\"assistant\"}}]}\n\n")
}

fn token() -> &'static str {
    "data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\n"
}

fn wire() -> (ClassifyLayer, Strict<Payload>, Provider) {
    let (inner, provider) = strict();
    (ClassifyLayer::new(ProviderClassifier::default()), inner, provider)
}

fn limit(tokens: u64) -> RateLimitLayer {
    RateLimitLayer::new().tokens_per_minute(tokens)
}

#[tokio::test(start_paused = true)]
async fn keeps_towers_contract() {
    contract::check(|inner| RateLimitLayer::per_second(2).tokens_per_minute(1_000_000).layer(inner)).await;
}

#[tokio::test(start_paused = true)]
async fn tokens_are_reserved_at_the_start_and_settled_by_the_reported_usage() {
    let streamed = stream()
        .frame(token())
        .frame("data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n")
        .frame("data: {\"choices\":[],\"usage\":{\"prompt_tokens\":50,\"completion_tokens\":7}}\n\ndata: [DONE]\n\n");
    for answer in [json(r#"{"prompt_tokens":50,"completion_tokens":7}"#), streamed] {
        let (wire, inner, provider) = wire();
        let layer = limit(1_000);
        let service = layer.layer(wire.layer(inner));
        provider.then(answer);
        let response = service.oneshot(question()).await.unwrap();
        assert_eq!(layer.handle().tokens_remaining(), Some(1_000 - RESERVED));
        response.into_body().collect().await.unwrap();
        assert_eq!(layer.handle().tokens_remaining(), Some(1_000 - 57));
    }
}

#[tokio::test(start_paused = true)]
async fn use_beyond_the_reservation_delays_later_calls() {
    let (wire, inner, provider) = wire();
    let layer = limit(1_000).on_limit(OnLimit::Reject);
    let service = layer.layer(wire.layer(inner));
    provider.then(json(r#"{"prompt_tokens":44,"completion_tokens":3000}"#));
    service.clone().oneshot(question()).await.unwrap().into_body().collect().await.unwrap();
    // 2044 tokens of debt and room for 144 take 131.28 s to refill.
    let rejected = rejection(service.oneshot(question()).await);
    assert_eq!(rejected.retry_after(), Some(Duration::from_millis(131_280)));
    assert_eq!(rejected.to_string(), "rate limit reached (tokens per minute), retry after 131s");
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_breaks_or_is_dropped_is_settled_by_the_tokens_seen() {
    for is_read in [true, false] {
        let (wire, inner, provider) = wire();
        let layer = limit(1_000);
        let service = layer.layer(wire.layer(inner));
        provider.then(stream().frame(token()).frame(token()).frame(token()).break_off("connection reset"));
        let mut body = service.oneshot(streamed_request()).await.unwrap().into_body();
        for _ in 0..4 {
            body.frame().await.unwrap().unwrap();
        }
        if is_read {
            assert!(body.frame().await.unwrap().is_err());
        }
        drop(body);
        assert_eq!(layer.handle().tokens_remaining(), Some(1_000 - PROMPT - 3));
    }
}

/// Regression: the gate stayed open, and every caller was sent out to fail.
#[tokio::test(start_paused = true)]
async fn a_rate_limit_inside_a_stream_closes_the_gate() {
    let limited =
        r#"data: {"error":{"message":"Rate limit reached, try again in 20s","code":"rate_limit_exceeded"}}"#;
    for layer in [limit(1_000), RateLimitLayer::per_second(9), RateLimitLayer::new()] {
        let (wire, inner, provider) = wire();
        let service = layer.layer(wire.layer(inner));
        provider.then(stream().frame(token()).frame(format!("{limited}\n\n")));
        let response = service.oneshot(streamed_request()).await.unwrap();
        assert_eq!(layer.handle().closed_for(), None);
        assert!(response.into_body().collect().await.is_err());
        assert_eq!(layer.handle().closed_for(), Some(Duration::from_secs(20)), "{layer:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_4xx_costs_no_tokens_and_a_5xx_costs_the_prompt() {
    for (status, taken) in [(400, 0), (429, 0), (500, PROMPT)] {
        let (wire, inner, provider) = wire();
        let layer = limit(1_000).quota(10, Duration::from_secs(60)).default_retry_after(Duration::ZERO);
        let service = layer.layer(wire.layer(inner));
        provider.answer(status);
        drop(service.oneshot(question()).await.unwrap());
        assert_eq!(layer.handle().tokens_remaining(), Some(1_000 - taken), "{status}");
        assert_eq!(layer.handle().remaining(), Some(if status == 429 { 1 } else { 9 }), "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_unreadable_response_costs_the_whole_reservation() {
    let (wire, inner, provider) = wire();
    let layer = limit(1_000);
    let service = layer.layer(wire.layer(inner.clone()));
    provider.then(json("{}").header("content-encoding", "gzip"));
    service.clone().oneshot(question()).await.unwrap().into_body().collect().await.unwrap();
    assert_eq!(layer.handle().tokens_remaining(), Some(1_000 - RESERVED));
    // Without a response the request may still have been processed.
    provider.fail("connection reset");
    assert!(service.oneshot(question()).await.is_err());
    assert_eq!(layer.handle().tokens_remaining(), Some(1_000 - 2 * RESERVED));
    // The same holds for a limit without a wire below it.
    let bare = limit(1_000);
    drop(bare.layer(inner).oneshot(question()).await.unwrap());
    assert_eq!(bare.handle().tokens_remaining(), Some(1_000 - RESERVED));
}

// Pitfall P10 (docs/pitfalls.md).
#[tokio::test(start_paused = true)]
async fn a_reservation_that_never_reached_the_wire_is_returned() {
    let (wire, inner, provider) = wire();
    let layer = limit(1_000).quota(10, Duration::from_secs(60));
    let circuit = CircuitBreakerLayer::new().failure_threshold(1);
    let service = ServiceBuilder::new()
        .layer(layer.clone())
        .layer(circuit.clone())
        .layer(BackpressureLayer::max_inflight(1))
        .layer(wire)
        .service(inner);
    provider.fail("connection reset");
    assert!(service.clone().oneshot(question()).await.is_err());
    layer.handle().reset();
    assert_eq!(rejection(service.clone().oneshot(question()).await).gate(), Gate::CircuitBreaker);
    assert_eq!((layer.handle().tokens_remaining(), layer.handle().remaining()), (Some(1_000), Some(10)));
    circuit.handle().reset();

    // A call is dropped while it waits for a permit below. It is known to be unsent once the wire has
    // recorded an attempt.
    provider.then(json(r#"{"prompt_tokens":50,"completion_tokens":50}"#));
    let first = service.clone().oneshot(question()).await.unwrap();
    let mut queued = tokio_test::task::spawn(service.clone().oneshot(question()));
    assert!(queued.poll().is_pending());
    first.into_body().collect().await.unwrap();
    drop(queued);
    let left = (layer.handle().tokens_remaining(), layer.handle().remaining());
    assert_eq!(left, (Some(900), Some(9)));
}

// Pitfall P10 (docs/pitfalls.md).
#[tokio::test(start_paused = true)]
async fn a_reservation_rejected_below_the_wire_is_returned() {
    let (wire, inner, provider) = wire();
    let layer = limit(1_000).quota(10, Duration::from_secs(60));
    provider.fail_with(|| Rejection::new(Gate::Backpressure, ErrorCode::Overloaded).into());
    assert!(layer.layer(wire.layer(inner)).oneshot(question()).await.is_err());
    assert_eq!((layer.handle().tokens_remaining(), layer.handle().remaining()), (Some(1_000), Some(10)));
}

/// Pitfall P10 (docs/pitfalls.md). In the order RateLimit, Retry, CircuitBreaker a call could be rejected
/// after its first attempt had been sent, and the whole reservation was returned.
#[tokio::test(start_paused = true)]
async fn a_call_rejected_after_an_attempt_keeps_its_reservation() {
    for tokens in [true, false] {
        let (wire, inner, provider) = wire();
        let layer = RateLimitLayer::per_minute(10);
        let layer = if tokens { layer.tokens_per_minute(1_000) } else { layer };
        let service = ServiceBuilder::new()
            .layer(layer.clone())
            .layer(RetryLayer::exponential().initial_delay(Duration::from_millis(1)))
            .layer(CircuitBreakerLayer::new().failure_threshold(1))
            .layer(wire)
            .service(inner);
        provider.fail("connection reset");
        let rejected = rejection(service.oneshot(question()).await);
        assert_eq!((rejected.gate(), rejected.follows_attempt()), (Gate::CircuitBreaker, true));
        assert_eq!(layer.handle().remaining(), Some(9));
        if tokens {
            assert_eq!(layer.handle().tokens_remaining(), Some(1_000 - RESERVED));
        }
    }
}

/// Regression: beside a token quota a call cost as many requests as it had attempts.
#[tokio::test(start_paused = true)]
async fn a_call_costs_one_request_with_or_without_a_token_quota() {
    for tokens in [true, false] {
        let (wire, inner, provider) = wire();
        let layer = RateLimitLayer::per_minute(10);
        let layer = if tokens { layer.tokens_per_minute(1_000) } else { layer };
        let retry = RetryLayer::exponential().initial_delay(Duration::ZERO);
        let service = ServiceBuilder::new().layer(layer.clone()).layer(retry).layer(wire).service(inner);
        provider.answer(500);
        provider.answer(500);
        provider.then(json(r#"{"prompt_tokens":50,"completion_tokens":7}"#));
        service.oneshot(question()).await.unwrap().into_body().collect().await.unwrap();
        assert_eq!((provider.calls(), layer.handle().remaining()), (3, Some(9)), "{tokens}");
        let left = tokens.then_some(1_000 - 2 * PROMPT - 57);
        assert_eq!(layer.handle().tokens_remaining(), left, "the tokens of all attempts count");
    }
}

/// Regression: a limit of callers around a chain kept the tokens reserved for each answer that no provider gave,
/// so that an outage closed it.
#[tokio::test(start_paused = true)]
async fn an_answer_without_an_attempt_costs_a_request_and_no_tokens() {
    for has_reported in [true, false] {
        let (wire, inner, provider) = wire();
        let layer = RateLimitLayer::per_minute(10).tokens_per_minute(1_000);
        let circuit = CircuitBreakerLayer::new();
        let service = ServiceBuilder::new()
            .layer(layer.clone())
            .layer(FallbackLayer::new().then_emergency("later"))
            .layer(circuit.clone())
            .layer(wire)
            .service(inner);
        if has_reported {
            provider.then(json(r#"{"prompt_tokens":50,"completion_tokens":7}"#));
            service.clone().oneshot(question()).await.unwrap().into_body().collect().await.unwrap();
            layer.handle().reset();
        }
        circuit.handle().force_open();
        let calls = provider.calls();
        let response = service.oneshot(question()).await.unwrap();
        assert_eq!(response.extensions().get().map(FallbackInfo::kind), Some(FallbackKind::Emergency));
        response.into_body().collect().await.unwrap();
        assert_eq!(provider.calls(), calls);
        let left = (layer.handle().tokens_remaining(), layer.handle().remaining());
        assert_eq!(left, (Some(1_000), Some(9)), "{has_reported}");
    }
}

/// The same for a layer below that is no chain, once the wire has recorded an attempt.
#[tokio::test(start_paused = true)]
async fn an_answer_from_above_a_known_wire_costs_a_request_and_no_tokens() {
    let (wire, inner, provider) = wire();
    let layer = RateLimitLayer::per_minute(10).tokens_per_minute(1_000);
    provider.then(json(r#"{"prompt_tokens":50,"completion_tokens":7}"#));
    let response = layer.layer(wire.layer(inner.clone())).oneshot(question()).await.unwrap();
    response.into_body().collect().await.unwrap();
    drop(layer.layer(inner).oneshot(question()).await.unwrap());
    let left = (layer.handle().tokens_remaining(), layer.handle().remaining());
    assert_eq!(left, (Some(1_000 - 57), Some(8)));
}

#[tokio::test(start_paused = true)]
async fn nested_limits_all_settle_by_the_reported_usage() {
    let (wire, inner, provider) = wire();
    let (outer, within) = (limit(10_000), RateLimitLayer::new().output_tokens_per_minute(1_000));
    let service = ServiceBuilder::new().layer(outer.clone()).layer(within.clone()).layer(wire).service(inner);
    provider.then(json(r#"{"prompt_tokens":50,"completion_tokens":7}"#));
    service.oneshot(question()).await.unwrap().into_body().collect().await.unwrap();
    assert_eq!(outer.handle().tokens_remaining(), Some(10_000 - 57));
    assert_eq!(within.handle().tokens_remaining(), Some(1_000 - 7));
}

/// Pitfall P18 (docs/pitfalls.md). Without a token quota nothing is estimated, metered or watched.
#[tokio::test(start_paused = true)]
async fn without_a_token_quota_nothing_is_counted() {
    struct Never;
    impl crate::Estimate for Never {
        fn estimate(&self, _: &http::HeaderMap, _: &[u8]) -> crate::Estimated {
            panic!("the estimate is not needed")
        }
    }
    let (inner, provider) = strict();
    let layer = RateLimitLayer::per_minute(10).estimate(Never);
    drop(layer.layer(inner).oneshot(question()).await.unwrap());
    assert!(UsageMeter::of(&provider.requests()[0].extensions).is_none());
    assert_eq!(layer.handle().tokens_remaining(), None);
}

/// Pitfall P27 (docs/pitfalls.md): five concurrent calls spent 663 of 100 tokens a minute, because each
/// checked before any had spent (litellm 18730).
#[tokio::test(start_paused = true)]
async fn concurrent_calls_reserve_before_they_are_sent() {
    let layer = limit(300).on_limit(OnLimit::Reject);
    let (service, provider) = strict_behind(&layer);
    let responses = (0..5).map(|_| tokio::spawn(service.clone().oneshot(question()))).collect::<Vec<_>>();
    let mut rejected = 0;
    for response in responses {
        rejected += usize::from(response.await.unwrap().is_err());
    }
    assert_eq!((rejected, provider.calls()), (3, 2));
}

// Pitfall P27 (docs/pitfalls.md).
#[tokio::test(start_paused = true)]
async fn a_call_above_the_whole_quota_passes_when_the_quota_is_full() {
    let (inner, _provider) = strict();
    let layer = limit(100).on_limit(OnLimit::Reject);
    let service = layer.layer(inner);
    drop(service.clone().oneshot(question()).await.unwrap());
    let rejected = rejection(service.clone().oneshot(question()).await);
    assert_eq!(
        rejected.retry_after(),
        Some(Duration::from_millis(86_400)),
        "the quota is full again by then"
    );
    tokio::time::advance(Duration::from_millis(86_400)).await;
    assert!(service.oneshot(question()).await.is_ok());
}

/// A call that is cut off before its response has an unknown use, for which its reservation stands.
#[tokio::test(start_paused = true)]
async fn a_call_that_is_cut_off_closes_the_limit_for_one_period_whatever_output_it_allows() {
    for max_tokens in [1_000, 128_000, u64::MAX] {
        let (wire, inner, provider) = wire();
        let layer = limit(1_000);
        let service = layer.layer(wire.layer(inner));
        provider.hang();
        let mut call = tokio_test::task::spawn(service.clone().oneshot(chat_request_with_max(max_tokens)));
        assert!(call.poll().is_pending());
        drop(call);
        assert_eq!(provider.calls(), 1);
        assert_eq!(layer.handle().tokens_remaining(), Some(0));
        tokio::time::advance(Duration::from_secs(63)).await;
        assert_eq!(layer.handle().tokens_remaining(), Some(1_000), "max_tokens = {max_tokens}");
    }
}

/// Pitfall P04 (docs/pitfalls.md), in tokens: the cost of the calls ahead in the queue counts.
#[tokio::test(start_paused = true)]
async fn a_long_wait_behind_expensive_calls_is_rejected_at_once() {
    let layer = limit(600).max_wait(Duration::from_secs(60));
    let (service, provider) = strict_behind(&layer);
    drop(service.clone().oneshot(chat_request_with_max(556)).await.unwrap());
    let start = clock::now();
    // 10 tokens a second: the first waits 14.4 s, the second 54.4 s, and a third would wait 68.8 s.
    let first = tokio::spawn(service.clone().oneshot(question()));
    tokio::task::yield_now().await;
    let second = tokio::spawn(service.clone().oneshot(chat_request_with_max(356)));
    tokio::task::yield_now().await;
    let rejected = rejection(service.clone().oneshot(question()).await);
    assert_eq!((rejected.code(), rejected.quota()), (ErrorCode::RateLimited, Some("tokens per minute")));
    assert_eq!((rejected.retry_after(), clock::now()), (Some(Duration::from_millis(68_800)), start));
    let mut with_deadline = chat_request_with_max(0);
    Deadline::after(Duration::from_secs(50), start).tighten(with_deadline.extensions_mut());
    assert_eq!(rejection(service.clone().oneshot(with_deadline).await).gate(), Gate::Deadline);
    drop(first.await.unwrap().unwrap());
    assert!(clock::now() - start >= Duration::from_millis(14_400));
    drop(second.await.unwrap().unwrap());
    assert!(clock::now() - start >= Duration::from_millis(54_400));
    assert_eq!(provider.calls(), 3);
}

#[tokio::test(start_paused = true)]
async fn returned_tokens_wake_the_first_call_in_the_queue() {
    let (wire, inner, provider) = wire();
    let layer = limit(200).max_wait(Duration::from_secs(60));
    let service = layer.layer(wire.layer(inner));
    provider.then(json(r#"{"prompt_tokens":10,"completion_tokens":10}"#));
    let first = service.clone().oneshot(question()).await.unwrap();
    let start = clock::now();
    let mut second = tokio_test::task::spawn(service.oneshot(question()));
    assert!(second.poll().is_pending());
    first.into_body().collect().await.unwrap();
    drop(second.await.unwrap());
    assert!(clock::now() - start < Duration::from_millis(10));
}

#[tokio::test(start_paused = true)]
async fn the_rejection_names_the_quota_with_the_longest_wait() {
    let (inner, _provider) = strict();
    let layer = RateLimitLayer::per_minute(100)
        .input_tokens_per_minute(60)
        .output_tokens_per_minute(6_000)
        .on_limit(OnLimit::Reject);
    let service = layer.layer(inner);
    drop(service.clone().oneshot(question()).await.unwrap());
    let rejected: Rejection = rejection(service.oneshot(question()).await);
    assert_eq!(rejected.quota(), Some("input tokens per minute"));
    assert_eq!(rejected.retry_after(), Some(Duration::from_secs(28)));
}

/// Pitfall P27 (docs/pitfalls.md): a body that was not in memory cost nothing, so that a hundred calls of a
/// thousand tokens passed a quota of a hundred. An implausible `content-length` was trusted.
#[tokio::test(start_paused = true)]
async fn a_streamed_request_body_is_reserved_for_and_settled() {
    let (wire, inner, provider) = wire();
    provider.otherwise(json(r#"{"prompt_tokens":900,"completion_tokens":100}"#));
    let layer = limit(1_000).on_limit(OnLimit::Reject);
    let mut service = ServiceBuilder::new().layer(layer.clone()).layer(wire).service(inner);
    let streamed = |length: Option<&str>| {
        let body = Payload::streamed(http_body_util::Full::new(bytes::Bytes::from_static(b"a prompt")));
        let builder = Request::post("http://provider/v1/chat/completions");
        let builder =
            length.into_iter().fold(builder, |builder, length| builder.header("content-length", length));
        builder.body(body).unwrap()
    };
    let response = service.ready().await.unwrap().call(streamed(None)).await.unwrap();
    assert_eq!(layer.handle().tokens_remaining(), Some(500), "the default output tokens are reserved");
    response.into_body().collect().await.unwrap();
    assert_eq!(layer.handle().tokens_remaining(), Some(0), "the reported usage is charged");
    let rejected = rejection(service.ready().await.unwrap().call(streamed(None)).await);
    assert!(rejected.retry_after().unwrap() <= Duration::from_secs(60));

    layer.handle().reset();
    let response = service.ready().await.unwrap().call(streamed(Some("18446744073709551615"))).await.unwrap();
    let wait = rejection(service.ready().await.unwrap().call(streamed(None)).await).retry_after().unwrap();
    assert!(wait.as_secs() / 60 <= 10_000, "ten million tokens are reserved at most: {wait:?}");
    response.into_body().collect().await.unwrap();
    assert_eq!(layer.handle().tokens_remaining(), Some(0));
    let wait = rejection(service.ready().await.unwrap().call(streamed(None)).await).retry_after().unwrap();
    assert!(wait <= Duration::from_secs(60), "{wait:?}");
}

/// A count of tokens that no call can have blocked the limit for ever.
#[tokio::test(start_paused = true)]
async fn an_implausible_usage_is_charged_as_ten_million_tokens() {
    for usage in [
        r#"{"prompt_tokens":1000000000000000000,"completion_tokens":0}"#,
        r#"{"prompt_tokens":0,"completion_tokens":1000000000000000000}"#,
    ] {
        let (wire, inner, provider) = wire();
        provider.then(json(usage));
        let layer = limit(1_000_000).on_limit(OnLimit::Reject);
        let mut service = ServiceBuilder::new().layer(layer).layer(wire).service(inner);
        let response = service.ready().await.unwrap().call(question()).await.unwrap();
        response.into_body().collect().await.unwrap();
        tokio::time::advance(Duration::from_secs(8 * 60)).await;
        rejection(service.ready().await.unwrap().call(question()).await);
        tokio::time::advance(Duration::from_secs(2 * 60)).await;
        service.ready().await.unwrap().call(question()).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn the_capacity_is_that_of_the_quota_with_the_least_left() {
    let none = RateLimitLayer::new();
    assert_eq!((none.handle().capacity(), none.handle().tokens_capacity()), (None, None));
    let (_, inner, provider) = wire();
    let layer =
        RateLimitLayer::per_minute(5).quota(60, Duration::from_secs(24 * 60 * 60)).tokens_per_minute(9_000);
    let mut service = layer.clone().layer(inner);
    let requests = || (layer.handle().remaining(), layer.handle().capacity());
    assert_eq!((requests(), layer.handle().tokens_capacity()), ((Some(5), Some(5)), Some(9_000)));
    for _ in 0..57 {
        provider.then(json(r#"{"prompt_tokens":1,"completion_tokens":1}"#));
        service.ready().await.unwrap().call(question()).await.unwrap().into_body().collect().await.unwrap();
        tokio::time::advance(Duration::from_secs(12)).await;
    }
    assert_eq!(requests(), (Some(3), Some(60)));
}
