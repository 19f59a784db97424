//! What is reserved in tokens, and what it is settled to.

use std::time::Duration;

use http::Request;
use http_body_util::BodyExt;
use tidegate_testkit::contract;
use tidegate_testkit::strict::{Answer, Handle as Provider, Strict};
use tower::{Layer, Service, ServiceBuilder, ServiceExt};

use crate::providers::ProviderClassifier;
use crate::rate_limit::{OnLimit, RateLimitLayer};
use crate::testing::{rejection, strict};
use crate::{
    BackpressureLayer, CircuitBreakerLayer, ClassifyLayer, Deadline, ErrorCode, Gate, Payload, Rejection,
    RetryLayer, UsageMeter, clock,
};

/// 40 tokens of prompt and 4 for the message; at most 100 of answer.
fn ask() -> Request<Payload> {
    ask_for(100)
}

fn ask_for(max_tokens: u64) -> Request<Payload> {
    let prompt = "four".repeat(40);
    let body = format!(
        r#"{{"model":"m","max_tokens":{max_tokens},"messages":[{{"role":"user","content":"{prompt}"}}]}}"#
    );
    Request::post("http://provider/v1/chat/completions").body(Payload::from(body)).unwrap()
}

const ASKED: u64 = 144;
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
async fn is_reserved_at_the_start_and_settled_by_what_the_provider_counted() {
    let streamed = stream()
        .frame(token())
        .frame("data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n")
        .frame("data: {\"choices\":[],\"usage\":{\"prompt_tokens\":50,\"completion_tokens\":7}}\n\ndata: [DONE]\n\n");
    for answer in [json(r#"{"prompt_tokens":50,"completion_tokens":7}"#), streamed] {
        let (wire, inner, provider) = wire();
        let layer = limit(1_000);
        let service = layer.layer(wire.layer(inner));
        provider.then(answer);
        let response = service.oneshot(ask()).await.unwrap();
        assert_eq!(layer.handle().tokens_remaining(), Some(1_000 - ASKED));
        response.into_body().collect().await.unwrap();
        assert_eq!(layer.handle().tokens_remaining(), Some(1_000 - 57));
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_used_beyond_the_reservation_is_owed() {
    let (wire, inner, provider) = wire();
    let layer = limit(1_000).on_limit(OnLimit::Reject);
    let service = layer.layer(wire.layer(inner));
    provider.then(json(r#"{"prompt_tokens":44,"completion_tokens":3000}"#));
    service.clone().oneshot(ask()).await.unwrap().into_body().collect().await.unwrap();
    // 2044 tokens of debt and room for 144 take 131.28 s to refill.
    let refused = rejection(service.oneshot(ask()).await);
    assert_eq!(refused.retry_after(), Some(Duration::from_millis(131_280)));
    assert_eq!(refused.to_string(), "rate limit reached (tokens per minute), retry after 131s");
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_breaks_or_is_dropped_is_settled_by_what_came() {
    for is_read in [true, false] {
        let (wire, inner, provider) = wire();
        let layer = limit(1_000);
        let service = layer.layer(wire.layer(inner));
        provider.then(stream().frame(token()).frame(token()).frame(token()).break_off("connection reset"));
        let mut body = service.oneshot(ask()).await.unwrap().into_body();
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

#[tokio::test(start_paused = true)]
async fn a_failed_answer_takes_no_tokens_and_one_that_was_turned_down_no_prompt_either() {
    for (status, taken) in [(400, 0), (429, 0), (500, PROMPT)] {
        let (wire, inner, provider) = wire();
        let layer = limit(1_000).quota(10, Duration::from_secs(60)).default_retry_after(Duration::ZERO);
        let service = layer.layer(wire.layer(inner));
        provider.answer(status);
        drop(service.oneshot(ask()).await.unwrap());
        assert_eq!(layer.handle().tokens_remaining(), Some(1_000 - taken), "{status}");
        assert_eq!(layer.handle().remaining(), Some(if status == 429 { 1 } else { 9 }), "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_nobody_can_read_costs_what_was_reserved() {
    let (wire, inner, provider) = wire();
    let layer = limit(1_000);
    let service = layer.layer(wire.layer(inner.clone()));
    provider.then(json("{}").header("content-encoding", "gzip"));
    service.clone().oneshot(ask()).await.unwrap().into_body().collect().await.unwrap();
    assert_eq!(layer.handle().tokens_remaining(), Some(1_000 - ASKED));
    // No answer at all: it may have been written nevertheless.
    provider.fail("connection reset");
    assert!(service.oneshot(ask()).await.is_err());
    assert_eq!(layer.handle().tokens_remaining(), Some(1_000 - 2 * ASKED));
    // Nor one below which there is no wire.
    let bare = limit(1_000);
    drop(bare.layer(inner).oneshot(ask()).await.unwrap());
    assert_eq!(bare.handle().tokens_remaining(), Some(1_000 - ASKED));
}

#[tokio::test(start_paused = true)]
async fn p10_what_never_reached_the_wire_is_given_back() {
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
    assert!(service.clone().oneshot(ask()).await.is_err());
    layer.handle().reset();
    assert_eq!(rejection(service.clone().oneshot(ask()).await).gate(), Gate::CircuitBreaker);
    assert_eq!((layer.handle().tokens_remaining(), layer.handle().remaining()), (Some(1_000), Some(10)));
    circuit.handle().reset();

    // One that left while it waited for a permit below: known to be unsent once the wire has been heard of.
    provider.then(json(r#"{"prompt_tokens":50,"completion_tokens":50}"#));
    let first = service.clone().oneshot(ask()).await.unwrap();
    let mut queued = tokio_test::task::spawn(service.clone().oneshot(ask()));
    assert!(queued.poll().is_pending());
    first.into_body().collect().await.unwrap();
    drop(queued);
    let left = (layer.handle().tokens_remaining(), layer.handle().remaining());
    assert_eq!(left, (Some(900), Some(9)));
}

#[tokio::test(start_paused = true)]
async fn p10_what_was_refused_below_the_wire_is_given_back() {
    let (wire, inner, provider) = wire();
    let layer = limit(1_000).quota(10, Duration::from_secs(60));
    provider.fail_with(|| Rejection::new(Gate::Backpressure, ErrorCode::Overloaded).into());
    assert!(layer.layer(wire.layer(inner)).oneshot(ask()).await.is_err());
    assert_eq!((layer.handle().tokens_remaining(), layer.handle().remaining()), (Some(1_000), Some(10)));
}

/// In the order RateLimit, Retry, CircuitBreaker a call could be refused after its first attempt had been sent, and
/// all of it was given back.
#[tokio::test(start_paused = true)]
async fn p10_a_call_that_was_refused_after_an_attempt_is_not_given_back() {
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
        let refused = rejection(service.oneshot(ask()).await);
        assert_eq!((refused.gate(), refused.follows_attempt()), (Gate::CircuitBreaker, true));
        assert_eq!(layer.handle().remaining(), Some(9));
        if tokens {
            assert_eq!(layer.handle().tokens_remaining(), Some(1_000 - ASKED));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn nested_limits_all_hear_what_was_used() {
    let (wire, inner, provider) = wire();
    let (outer, within) = (limit(10_000), RateLimitLayer::new().output_tokens_per_minute(1_000));
    let service = ServiceBuilder::new().layer(outer.clone()).layer(within.clone()).layer(wire).service(inner);
    provider.then(json(r#"{"prompt_tokens":50,"completion_tokens":7}"#));
    service.oneshot(ask()).await.unwrap().into_body().collect().await.unwrap();
    assert_eq!(outer.handle().tokens_remaining(), Some(10_000 - 57));
    assert_eq!(within.handle().tokens_remaining(), Some(1_000 - 7));
}

/// P18: nothing is estimated, metered or watched where no quota is in tokens.
#[tokio::test(start_paused = true)]
async fn p18_without_a_quota_in_tokens_nothing_is_counted() {
    struct Never;
    impl crate::Estimate for Never {
        fn estimate(&self, _: &http::HeaderMap, _: &[u8]) -> crate::Estimated {
            panic!("nobody asked")
        }
    }
    let (inner, provider) = strict();
    let layer = RateLimitLayer::per_minute(10).estimate(Never);
    drop(layer.layer(inner).oneshot(ask()).await.unwrap());
    assert!(UsageMeter::of(&provider.requests()[0].extensions).is_none());
    assert_eq!(layer.handle().tokens_remaining(), None);
}

/// P27: five calls at once spent 663 of 100 tokens a minute, since each looked before any had spent (litellm 18730).
#[tokio::test(start_paused = true)]
async fn p27_calls_at_once_reserve_before_they_are_sent() {
    let (inner, provider) = strict();
    let layer = limit(300).on_limit(OnLimit::Reject);
    let service = layer.layer(inner);
    let answers = (0..5).map(|_| tokio::spawn(service.clone().oneshot(ask()))).collect::<Vec<_>>();
    let mut refused = 0;
    for answer in answers {
        refused += usize::from(answer.await.unwrap().is_err());
    }
    assert_eq!((refused, provider.calls()), (3, 2));
}

#[tokio::test(start_paused = true)]
async fn p27_a_call_above_the_whole_quota_passes_when_that_is_full() {
    let (inner, _provider) = strict();
    let layer = limit(100).on_limit(OnLimit::Reject);
    let service = layer.layer(inner);
    drop(service.clone().oneshot(ask()).await.unwrap());
    let refused = rejection(service.clone().oneshot(ask()).await);
    assert_eq!(refused.retry_after(), Some(Duration::from_millis(86_400)), "not before it is full again");
    tokio::time::advance(Duration::from_millis(86_400)).await;
    assert!(service.oneshot(ask()).await.is_ok());
}

/// P04, in tokens: what those ahead will take counts.
#[tokio::test(start_paused = true)]
async fn p04_a_wait_behind_dear_calls_is_refused_at_once() {
    let (inner, provider) = strict();
    let layer = limit(600).max_wait(Duration::from_secs(60));
    let service = layer.layer(inner);
    drop(service.clone().oneshot(ask_for(556)).await.unwrap());
    let start = clock::now();
    // 10 tokens a second: the first waits 14.4 s, the second 54.4 s, and a third would wait 68.8 s.
    let first = tokio::spawn(service.clone().oneshot(ask()));
    tokio::task::yield_now().await;
    let second = tokio::spawn(service.clone().oneshot(ask_for(356)));
    tokio::task::yield_now().await;
    let refused = rejection(service.clone().oneshot(ask()).await);
    assert_eq!((refused.code(), refused.quota()), (ErrorCode::RateLimited, Some("tokens per minute")));
    assert_eq!((refused.retry_after(), clock::now()), (Some(Duration::from_millis(68_800)), start));
    let mut hurried = ask_for(0);
    Deadline::after(Duration::from_secs(50), start).tighten(hurried.extensions_mut());
    assert_eq!(rejection(service.clone().oneshot(hurried).await).gate(), Gate::Deadline);
    drop(first.await.unwrap().unwrap());
    assert!(clock::now() - start >= Duration::from_millis(14_400));
    drop(second.await.unwrap().unwrap());
    assert!(clock::now() - start >= Duration::from_millis(54_400));
    assert_eq!(provider.calls(), 3);
}

#[tokio::test(start_paused = true)]
async fn what_comes_back_wakes_the_first_in_the_queue() {
    let (wire, inner, provider) = wire();
    let layer = limit(200).max_wait(Duration::from_secs(60));
    let service = layer.layer(wire.layer(inner));
    provider.then(json(r#"{"prompt_tokens":10,"completion_tokens":10}"#));
    let first = service.clone().oneshot(ask()).await.unwrap();
    let start = clock::now();
    let mut second = tokio_test::task::spawn(service.oneshot(ask()));
    assert!(second.poll().is_pending());
    first.into_body().collect().await.unwrap();
    drop(second.await.unwrap());
    assert!(clock::now() - start < Duration::from_millis(10));
}

#[tokio::test(start_paused = true)]
async fn the_lacking_quota_is_named_and_the_longest_lack_told() {
    let (inner, _provider) = strict();
    let layer = RateLimitLayer::per_minute(100)
        .input_tokens_per_minute(60)
        .output_tokens_per_minute(6_000)
        .on_limit(OnLimit::Reject);
    let service = layer.layer(inner);
    drop(service.clone().oneshot(ask()).await.unwrap());
    let refused: Rejection = rejection(service.oneshot(ask()).await);
    assert_eq!(refused.quota(), Some("input tokens per minute"));
    assert_eq!(refused.retry_after(), Some(Duration::from_secs(28)));
}

/// A body that was no payload yet cost nothing: a hundred calls of a thousand tokens passed a quota of a hundred. And
/// a length that nobody can believe was believed.
#[tokio::test(start_paused = true)]
async fn p27_a_body_that_is_not_at_hand_is_reserved_for_and_settled_all_the_same() {
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
    assert_eq!(layer.handle().tokens_remaining(), Some(500), "the default for an answer");
    response.into_body().collect().await.unwrap();
    assert_eq!(layer.handle().tokens_remaining(), Some(0), "what was counted");
    let refused = rejection(service.ready().await.unwrap().call(streamed(None)).await);
    assert!(refused.retry_after() <= Some(Duration::from_secs(60)));

    layer.handle().reset();
    let response = service.ready().await.unwrap().call(streamed(Some("18446744073709551615"))).await.unwrap();
    response.into_body().collect().await.unwrap();
    assert_eq!(layer.handle().tokens_remaining(), Some(0));
    let refused = rejection(service.ready().await.unwrap().call(streamed(None)).await);
    assert!(refused.retry_after() <= Some(Duration::from_secs(60)), "{:?}", refused.retry_after());
}
