//! A call that is dropped while two attempts are under way leaves nothing behind.

use std::future::{Future, poll_fn};
use std::iter;
use std::task::Poll;

use proptest::prelude::*;

use super::*;
use crate::{BackpressureLayer, CircuitBreakerLayer, LimitUnit, RateLimitLayer, RetryLayer};

/// Those of no other test: the events are counted.
const NAMES: [&str; 2] = ["openai/dropped-a", "openai/dropped-b"];

const TOKEN: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\"}}]}\n\n";

fn stream() -> Answer {
    Answer::status(200).header("content-type", "text/event-stream")
}

/// What a provider does with a request of a call.
#[derive(Clone, Copy, Debug)]
enum Script {
    Stream(u32),
    Silent,
    BrokenStream(u32),
    Status(u16, u32),
    Hang,
}

impl Script {
    fn answer(self) -> Answer {
        match self {
            Self::Stream(seconds) => stream()
                .pause(seconds * SECOND)
                .frame(TOKEN)
                .pause(SECOND)
                .frame(TOKEN)
                .frame("data: [DONE]\n\n"),
            Self::Silent => stream().frame(": ping\n\n").stall(),
            Self::BrokenStream(seconds) => stream().pause(seconds * SECOND).break_off("connection reset"),
            Self::Status(status, seconds) => Answer::status(status).after(seconds * SECOND),
            Self::Hang => Answer::hang(),
        }
    }
}

fn script() -> impl Strategy<Value = Script> {
    prop_oneof![
        (0..5_u32).prop_map(Script::Stream),
        Just(Script::Silent),
        (0..5_u32).prop_map(Script::BrokenStream),
        (prop::sample::select(vec![400_u16, 429, 500, 503]), 0..5_u32)
            .prop_map(|(status, seconds)| Script::Status(status, seconds)),
        Just(Script::Hang),
    ]
}

fn check(scripts: [Vec<Script>; 2], callers: Vec<(u64, usize)>, seed: u64) {
    paused().block_on(async move {
        let ((first, primary), (second, other)) = (strict(), strict());
        let mut events = NAMES.map(subscribe_to);
        let gates = |name: &str| {
            ResilienceBuilder::new(name)
                .retry(RetryLayer::exponential().max_retries(1).seed(seed))
                .backpressure(BackpressureLayer::max_inflight(4))
                .rate_limit(
                    RateLimitLayer::new()
                        .quota_of(LimitUnit::Tokens, 1_000_000, 1_000_000 * SECOND)
                        .quota(1_000, 1_000_000 * SECOND),
                )
                .circuit_breaker(CircuitBreakerLayer::new().failure_threshold(3).cooldown(SECOND))
        };
        let next = gates(NAMES[1]).service(second);
        let hedge = HedgeLayer::new().max_extra_requests(1.0).max_extra_tokens(1.0);
        let stack = gates(NAMES[0])
            .hedge(hedge)
            .total_timeout(30 * SECOND)
            .fallback(FallbackLayer::new().then_addressed(NAMES[1], next.clone()))
            .service(first);
        for _ in 0..USUAL_CALLS {
            primary.then(Script::Stream(1).answer());
            send(&mut stack.clone(), streaming_request()).await.unwrap();
        }
        for (provider, scripts) in [&primary, &other].into_iter().zip(&scripts) {
            provider.otherwise(Script::Stream(0).answer());
            scripts.iter().for_each(|script| _ = provider.then(script.answer()));
        }
        let calls: Vec<_> =
            callers.into_iter().map(|caller| tokio::spawn(act(stack.clone(), caller))).collect();
        for call in calls {
            call.await.unwrap();
        }
        for events in &mut events {
            let decisions: Vec<_> = iter::from_fn(|| events.try_next()).map(|event| event.decision).collect();
            let count = |is: fn(&Decision) -> bool| decisions.iter().filter(|it| is(it)).count();
            let sent = count(|it| matches!(it, Decision::Hedged { .. }));
            assert_eq!(count(|it| matches!(it, Decision::HedgeEnded { .. })), sent, "each hedge ends");
        }
        for (stack, provider) in [(&stack, &primary), (&next, &other)] {
            let snapshot = stack.signals().snapshot();
            assert_eq!((snapshot.current_inflight, snapshot.queued, snapshot.rate_waiting), (0, 0, 0));
            assert_eq!((provider.live_futures(), provider.live_bodies()), (0, 0));
            assert_eq!(provider.violations(), [] as [String; 0]);
            provider.clear();
            provider.otherwise(Script::Stream(0).answer());
            tokio::time::advance(120 * SECOND).await;
            let sent = provider.calls() as u32;
            assert_eq!(
                stack.signals().snapshot().rate_remaining,
                Some(1_000 - sent),
                "each request is counted once"
            );
            // No probe slot is occupied.
            let response = send(&mut stack.clone(), streaming_request()).await.unwrap();
            assert_eq!((response.status().as_u16(), provider.calls() as u32), (200, sent + 1));
            response.into_body().collect().await.unwrap();
        }
    });
}

/// Drops the call after a time in tenths of a second, or its body after some frames.
async fn act<S>(stack: S, (tenths, frames): (u64, usize))
where
    S: HttpService<Payload, Body: http_body::Body<Data = bytes::Bytes>> + Clone,
    S::Future: Send,
{
    let mut stack = stack;
    let limit = Duration::from_millis(100 * tenths);
    let Ok(Ok(response)) = tokio::time::timeout(limit, send(&mut stack, streaming_request())).await else {
        return;
    };
    read_frames(response.into_body(), frames).await;
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn calls_that_are_dropped_anywhere_leave_nothing_behind(
        first in prop::collection::vec(script(), 0..8),
        second in prop::collection::vec(script(), 0..8),
        callers in prop::collection::vec((0..80_u64, 0..5_usize), 1..6),
        seed: u64,
    ) {
        check([first, second], callers, seed);
    }
}

/// The bytes are those of the provider whose token was first, whatever the other one sends.
#[tokio::test(start_paused = true)]
async fn a_stream_is_that_of_one_provider() {
    let (inner, provider) = strict();
    let mut service = ResilienceBuilder::new("openai/m").hedge(HedgeLayer::new()).service(inner);
    for _ in 0..USUAL_CALLS {
        provider.then(Script::Stream(1).answer());
        send(&mut service, streaming_request()).await.unwrap();
    }
    let token = |text: &str| {
        format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n")
    };
    provider
        .then(stream().frame(": ping\n\n").pause(3 * SECOND).frame(token("slow")).frame("data: [DONE]\n\n"));
    provider
        .then(stream().frame(token("fast")).pause(5 * SECOND).frame(token("est")).frame("data: [DONE]\n\n"));
    let start = clock::now();
    let response = send(&mut service, streaming_request()).await.unwrap();
    assert_eq!((clock::now() - start).as_secs(), 1);
    assert_eq!((provider.live_futures(), provider.live_bodies()), (0, 1), "the other stream is cancelled");
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(bytes, format!("{}{}data: [DONE]\n\n", token("fast"), token("est")));
}

/// A future that is dropped before and after its hedge is sent.
#[tokio::test(start_paused = true)]
async fn a_future_that_is_dropped_cancels_both_attempts() {
    let (mut service, provider) = strict_behind(&HedgeLayer::new());
    warm_up(&mut service, &provider).await;
    provider.otherwise(Answer::hang());
    let mut call = Box::pin(service.send(request()));
    let mut poll = async || poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx).is_pending())).await;
    assert!(poll().await);
    tokio::time::sleep(2 * SECOND).await;
    assert!(poll().await);
    assert_eq!(provider.live_futures(), 2);
    drop(call);
    assert_eq!(provider.live_futures(), 0);
}
