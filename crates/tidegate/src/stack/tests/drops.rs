//! A call that is dropped at any poll, or its body at any frame, leaves nothing behind in any gate.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use http::Request;
use http_body_util::BodyExt;
use proptest::prelude::*;
use tidegate_testkit::strict::{Handle, Strict};

use super::SECOND;
use crate::backpressure::Aimd;
use crate::stack::{Resilience, ResilienceBuilder};
use crate::testing::{paused, read_frames, send, streaming_request, strict, with};
use crate::{
    BackpressureLayer, CircuitBreakerLayer, FallbackLayer, KeyBy, LimitUnit, Payload, RateLimitLayer,
    RetryLayer, Tenant,
};

const TENANTS: [&str; 3] = ["a", "b", COUNTED];

/// The tenant whose requests are counted and never wait. Those of the others wait for their rate.
const COUNTED: &str = "c";

/// Quotas that refill so slowly that what is left shows all that was used.
const REQUESTS: u32 = 10_000;
const TOKENS: u64 = 1_000_000;
const AGES: Duration = Duration::from_secs(1_000_000_000);

/// More than the reservation for one call: its prompt and 100 tokens.
const TOKENS_PER_CALL: u64 = 150;

/// What a caller does with its call.
#[derive(Clone, Copy, Debug)]
struct Caller {
    tenant: usize,
    /// Drops the call after this many polls, if there is no response by then. 0: it is never polled.
    polls: usize,
    /// Drops the body after this many frames.
    frames: usize,
}

/// What a provider does with a request.
#[derive(Clone, Copy, Debug)]
enum Script {
    Stream,
    SlowStream,
    StalledStream,
    BrokenStream,
    Late,
    Status(u16),
}

const SCRIPTS: [Script; 8] = [
    Script::Stream,
    Script::SlowStream,
    Script::StalledStream,
    Script::BrokenStream,
    Script::Late,
    Script::Status(429),
    Script::Status(500),
    Script::Status(503),
];

fn of(tenant: &str) -> Request<Payload> {
    let mut request = with(streaming_request(), Tenant(tenant.into()));
    request.headers_mut().insert("x-tenant", tenant.parse().unwrap());
    request
}

fn prepare(provider: &Handle, script: Script) {
    const TOKEN: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\"}}]}\n\n";
    let stream =
        || provider.answer(200).header("content-type", "text/event-stream").frame(TOKEN).frame(TOKEN);
    match script {
        Script::Stream => drop(stream().frame("data: [DONE]\n\n")),
        Script::SlowStream => drop(stream().pause(SECOND).frame(TOKEN).frame("data: [DONE]\n\n")),
        Script::StalledStream => drop(stream().stall()),
        Script::BrokenStream => drop(stream().break_off("connection reset")),
        Script::Late => drop(stream().after(SECOND).frame("data: [DONE]\n\n")),
        Script::Status(status) => drop(provider.answer(status)),
    }
}

struct Target {
    /// With keys at every gate, quotas in tokens and an adaptive limit.
    has_keys: bool,
    stack: Resilience<Strict<Payload>>,
    breaker: CircuitBreakerLayer,
    provider: Handle,
}

/// The gates of a target. Without keys they are entered in another way.
fn gates(has_keys: bool) -> (BackpressureLayer, RateLimitLayer, CircuitBreakerLayer) {
    let limit = BackpressureLayer::max_inflight(2).max_queued(3);
    let breaker = CircuitBreakerLayer::new().failure_threshold(2).cooldown(SECOND).half_open_max(1);
    if !has_keys {
        return (limit, RateLimitLayer::per_second(4), breaker);
    }
    let uncounted = RateLimitLayer::new().quota_of(LimitUnit::Tokens, TOKENS, AGES);
    let counted = uncounted.clone().quota(REQUESTS, AGES);
    let rate_limit =
        uncounted.quota(4, SECOND).burst_size(2).key_by(KeyBy::tenant()).per_key(move |head, waiting| {
            if head.headers["x-tenant"] == COUNTED { counted.clone() } else { waiting }
        });
    let limit = limit.adaptive(Aimd::new()).key_by(KeyBy::tenant());
    (limit, rate_limit, breaker.key_by(KeyBy::tenant()))
}

fn target(name: &str, seed: u64, then: Option<&Target>, has_keys: bool) -> Target {
    let (inner, provider) = strict();
    let (limit, rate_limit, breaker) = gates(has_keys);
    let builder = ResilienceBuilder::new(name)
        .retry(RetryLayer::exponential().max_retries(2).seed(seed))
        .backpressure(limit)
        .rate_limit(rate_limit)
        .circuit_breaker(breaker.clone())
        .total_timeout(20 * SECOND);
    let stack = match then {
        Some(next) => builder.fallback(FallbackLayer::new().then("openai/next", next.stack.clone())),
        None => builder,
    };
    Target { has_keys, stack: stack.service(inner), breaker, provider }
}

impl Target {
    /// Asserts that no call holds anything, and that what was not sent is not charged.
    async fn assert_free(&self) {
        let signals = self.stack.signals();
        let snapshot = signals.snapshot();
        assert_eq!((snapshot.current_inflight, snapshot.queued, snapshot.rate_waiting), (0, 0, 0));
        assert_eq!((self.provider.live_futures(), self.provider.live_bodies()), (0, 0));
        if !self.has_keys {
            assert_eq!(self.breaker.handle().snapshot().probes, 0);
            return;
        }
        // A limit that the provider has closed shows nothing left.
        tokio::time::advance(60 * SECOND).await;
        let requests = self.provider.requests();
        for tenant in TENANTS {
            let sent =
                requests.iter().filter(|request| request.headers["x-tenant"] == *tenant).count() as u32;
            let of_key = signals.of(&of(tenant));
            assert_eq!((of_key.current_inflight, of_key.queued, of_key.rate_waiting), (0, 0, 0));
            let circuit = self.breaker.handle().of(&of(tenant));
            assert_eq!(circuit.map_or(0, |circuit| circuit.snapshot().probes), 0, "{tenant}");
            let tokens = TOKENS - of_key.tokens_remaining.unwrap();
            assert!(
                tokens <= u64::from(sent) * TOKENS_PER_CALL,
                "{tenant}: {tokens} tokens, {sent} requests"
            );
            if tenant == COUNTED {
                assert_eq!(of_key.rate_remaining, Some(REQUESTS - sent));
            }
        }
    }

    /// Resets nothing but time: after the cooldowns and closing times, the next call of every tenant
    /// succeeds.
    async fn assert_works(&self) {
        self.provider.clear();
        tokio::time::advance(60 * SECOND).await;
        for tenant in TENANTS {
            let sent = self.provider.calls();
            prepare(&self.provider, Script::Stream);
            let response = send(&mut self.stack.clone(), of(tenant)).await.unwrap();
            assert_eq!((response.status().as_u16(), self.provider.calls()), (200, sent + 1), "{tenant}");
            response.into_body().collect().await.unwrap();
        }
    }
}

async fn act(stack: Resilience<Strict<Payload>>, caller: Caller) {
    let mut call = pin!(stack.send(of(TENANTS[caller.tenant])));
    let mut polls = 0;
    let answered = poll_fn(|cx| {
        if polls == caller.polls {
            return Poll::Ready(None);
        }
        polls += 1;
        match call.as_mut().poll(cx) {
            Poll::Pending if polls == caller.polls => Poll::Ready(None),
            poll => poll.map(Some),
        }
    });
    let Some(Ok(response)) = answered.await else { return };
    read_frames(response.into_body(), caller.frames).await;
}

fn check(scripts: [&[Script]; 2], callers: &[Caller], has_keys: bool, seed: u64) {
    paused().block_on(async {
        let second = target("openai/next", seed, None, has_keys);
        let first = target("openai/first", seed, Some(&second), has_keys);
        for (target, scripts) in [&first, &second].into_iter().zip(scripts) {
            scripts.iter().for_each(|script| prepare(&target.provider, *script));
        }
        let calls: Vec<_> =
            callers.iter().map(|caller| tokio::spawn(act(first.stack.clone(), *caller))).collect();
        for call in calls {
            call.await.unwrap();
        }
        for target in [&first, &second] {
            target.assert_free().await;
            target.assert_works().await;
        }
    });
}

/// Two callers are dropped at each poll and at each frame, beside two of the same key that stay to the end.
#[test]
fn a_call_that_is_dropped_at_each_poll_and_frame_leaves_nothing_behind() {
    let drops = (0..8).map(|polls| (polls, 9)).chain((0..5).map(|frames| (usize::MAX, frames)));
    for (polls, frames) in drops {
        for (first, tenant) in SCRIPTS.into_iter().flat_map(|first| [(first, 0), (first, 2)]) {
            for second in [Script::Stream, Script::StalledStream, Script::Status(503)] {
                let patient = Caller { tenant, polls: usize::MAX, frames: usize::MAX };
                let dropped = Caller { tenant, polls, frames };
                let scripts: [&[_]; 2] = [&[Script::SlowStream, first, first], &[second, Script::Late]];
                check(scripts, &[patient, dropped, dropped, patient], true, 1);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn calls_that_are_dropped_anywhere_leave_nothing_behind(
        first in prop::collection::vec(prop::sample::select(SCRIPTS.to_vec()), 0..16),
        second in prop::collection::vec(prop::sample::select(SCRIPTS.to_vec()), 0..8),
        callers in prop::collection::vec((0..TENANTS.len(), 0usize..10, 0usize..6), 1..14),
        has_keys: bool,
        seed: u64,
    ) {
        let callers: Vec<_> =
            callers.into_iter().map(|(tenant, polls, frames)| Caller { tenant, polls, frames }).collect();
        check([&first, &second], &callers, has_keys, seed);
    }
}
