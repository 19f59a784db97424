//! Properties of every call through whole stacks, in virtual time.

use http_body_util::BodyExt;
use proptest::prelude::*;
use tidegate_testkit::strict::{Answer, Handle};
use tokio::task::JoinSet;

use super::*;
use crate::retry::{Jitter, Strategy as Waits};
use crate::{CircuitBreakerLayer, FallbackLayer, Payload, RateLimitLayer, ResilienceBuilder};

const STRATEGIES: [Waits; 6] = [
    Waits::Fixed,
    Waits::Linear,
    Waits::Exponential,
    Waits::Fibonacci,
    Waits::DecorrelatedJitter,
    Waits::Adaptive,
];

/// Every code, with every strategy, at the first, the middle and the last of three targets: it is retried and
/// falls back by its flags, a refusal of a target after the first as well, and the last error is returned.
#[tokio::test(start_paused = true)]
async fn every_code_is_retried_and_falls_back_by_its_flags() {
    for code in ErrorCode::ALL {
        let is_refusal = matches!(code, ErrorCode::PermissionDenied | ErrorCode::NotFound);
        for strategy in STRATEGIES {
            for position in 0..3 {
                let targets = [strict(), strict(), strict()];
                for (number, (_, provider)) in targets.iter().enumerate() {
                    let code = if number == position { code } else { ErrorCode::Authentication };
                    if number <= position {
                        provider.otherwise(Answer::error_with(move || Failure::new(code).into()));
                    }
                }
                let stack = || ResilienceBuilder::new("").retry(RetryLayer::new(strategy).max_retries(2));
                let [(first, a), (second, b), (third, c)] = targets;
                let chain = FallbackLayer::new()
                    .then("second", stack().service(second))
                    .then("third", stack().service(third));
                let result = complete(&mut stack().fallback(chain).service(first)).await;

                let case = format!("{code}, {strategy:?}, target {position}");
                let mut calls = [a.calls(), b.calls(), c.calls(), 0];
                assert_eq!(calls[position], if code.is_retryable() { 3 } else { 1 }, "{case}");
                let falls_back = (code.is_fallbackable() || is_refusal && position > 0) && position < 2;
                assert_eq!(calls[position + 1], usize::from(falls_back), "{case}");
                match result {
                    Ok(status) => assert!(falls_back && status == 200, "{case}"),
                    Err(error) => {
                        assert!(!falls_back, "{case}");
                        assert_eq!(error.downcast_ref::<Failure>().unwrap().code, code, "{case}");
                    }
                }
                calls[position] = 0;
                assert!(calls.iter().all(|calls| *calls <= 1), "{case}");
            }
        }
    }
}

/// Phases of a provider that is up or down: seconds, calls a second, and whether it is down.
fn phases() -> impl Strategy<Value = Vec<(u32, u32, bool)>> {
    prop::collection::vec((1u32..60, 0u32..8, any::<bool>()), 1..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// The retries in any minute are at most a share of its calls, the floor, and the earlier balance, which
    /// is bounded.
    #[test]
    fn retries_stay_within_the_budget_over_any_minute(
        phases in phases(),
        ratio in prop::sample::select(vec![0.0, 0.1, 0.2, 0.5, 1.0]),
        floor in 0u32..4,
        retries in 1u32..5,
    ) {
        const MAX_BALANCE: f64 = 100.0;
        paused().block_on(async {
            let waits = RetryLayer::new(Waits::Fixed).initial_delay(SECOND / 10).jitter(Jitter::None);
            let (service, provider) = strict_behind(&waits.max_retries(retries).budget(ratio, floor).attempt_header(true));
            let fails = phases.iter().any(|(_, calls, is_down)| *calls > 0 && *is_down);
            let mut sent = JoinSet::new();
            for (seconds, calls, is_down) in phases {
                provider.otherwise(Answer::status(if is_down { 503 } else { 200 }));
                for _ in 0..seconds {
                    for _ in 0..calls {
                        sent.spawn(service.clone().oneshot(request()));
                    }
                    tokio::time::sleep(SECOND).await;
                }
            }
            sent.join_all().await.into_iter().for_each(|result| drop(result.unwrap()));
            // A retry is withdrawn when it is decided, a tenth of a second before it is sent.
            let withdrawn = |seen: &tidegate_testkit::strict::ReceivedRequest| match &seen.headers["x-tidegate-attempt"] {
                number if number == "1" => (seen.at, false),
                _ => (seen.at - SECOND / 10, true),
            };
            let seen: Vec<_> = provider.requests().iter().map(withdrawn).collect();
            let affords_the_first = fails && (ratio == 1.0 || floor > 0);
            assert!(!affords_the_first || seen.iter().any(|(_, is_retry)| *is_retry));
            for start in seen.iter().filter(|(_, is_retry)| *is_retry).map(|(at, _)| *at) {
                let count = |from, to, retries| {
                    seen.iter().filter(|(at, is_retry)| (from..to).contains(at) && *is_retry == retries).count() as f64
                };
                let (first, end) = (seen[0].0, start + 60 * SECOND);
                let balance = (ratio * count(first, start, false)).min(MAX_BALANCE + ratio);
                let bound = balance + ratio * count(start, end, false) + f64::from(floor) * 61.0;
                let retries = count(start, end, true);
                assert!(retries <= bound + 1e-6, "{retries} of {bound}");
            }
        });
    }
}

/// The provider's behaviour for one request.
#[derive(Clone, Debug)]
pub(super) enum Act {
    Status {
        status: u16,
        after: Duration,
        retry_after: Option<u8>,
    },
    Stream {
        pause: Duration,
        frames: u8,
    },
    Break,
    Hang,
    /// The request cannot be translated into the dialect of the provider.
    Untranslatable,
}

impl Act {
    pub(super) fn any() -> impl Strategy<Value = Self> {
        let status = prop::sample::select(vec![200u16, 400, 401, 408, 429, 500, 503]);
        prop_oneof![
            4 => (status, millis(8_000), prop::option::of(0u8..20))
                .prop_map(|(status, after, retry_after)| Self::Status { status, after, retry_after }),
            2 => (millis(4_000), 0u8..5).prop_map(|(pause, frames)| Self::Stream { pause, frames }),
            1 => Just(Self::Break),
            1 => Just(Self::Hang),
            1 => Just(Self::Untranslatable),
        ]
    }

    pub(super) fn script(&self, provider: &Handle) {
        match *self {
            Self::Status { status, after, retry_after } => {
                let answer = provider.answer(status).after(after);
                if let Some(seconds) = retry_after {
                    answer.header("retry-after", &seconds.to_string());
                }
            }
            Self::Stream { pause, frames } => {
                let answer = provider.answer(200).header("content-type", "text/event-stream");
                let event = "data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\n";
                (0..frames).fold(answer.frame(event), |answer, _| answer.pause(pause).frame(event)).stall();
            }
            Self::Break => drop(provider.fail("connection reset")),
            Self::Hang => drop(provider.hang()),
            Self::Untranslatable => {
                provider.fail_with(|| Rejection::new(Gate::Translate, ErrorCode::InvalidRequest).into());
            }
        }
    }
}

fn millis(most: u64) -> impl Strategy<Value = Duration> {
    (0..most).prop_map(Duration::from_millis)
}

#[derive(Clone, Debug)]
struct Setting {
    strategy: Waits,
    retries: u32,
    initial: Duration,
    retry_rejections: bool,
    reserve: Duration,
    attempt: Duration,
    inflight: usize,
    per_second: u32,
    /// The target has no stack, and enforces no deadline.
    is_bare: bool,
}

fn setting() -> impl Strategy<Value = Setting> {
    let retry = (prop::sample::select(STRATEGIES.to_vec()), 0u32..5, millis(3_000), any::<bool>());
    let gates = (1usize..4, 1u32..5, prop::bool::weighted(0.3));
    (retry, millis(10_000), millis(20_000), gates).prop_map(
        |((strategy, retries, initial, retry_rejections), reserve, attempt, gates)| Setting {
            strategy,
            retries,
            initial,
            retry_rejections,
            reserve,
            attempt: attempt + Duration::from_millis(1),
            inflight: gates.0,
            per_second: gates.1,
            is_bare: gates.2,
        },
    )
}

impl Setting {
    fn stack(&self, seed: u64) -> ResilienceBuilder {
        let retry = RetryLayer::new(self.strategy)
            .max_retries(self.retries)
            .initial_delay(self.initial)
            .retry_rejections(self.retry_rejections)
            .reserve_for_fallback(self.reserve)
            .jitter(Jitter::Equal)
            .seed(seed);
        ResilienceBuilder::new("")
            .retry(retry)
            .attempt_timeout(self.attempt)
            .backpressure(BackpressureLayer::max_inflight(self.inflight).queue_timeout(60 * SECOND))
            .rate_limit(RateLimitLayer::per_second(self.per_second).max_wait(60 * SECOND))
            .circuit_breaker(CircuitBreakerLayer::new().failure_threshold(3).cooldown(5 * SECOND))
    }
}

/// A prompt that can be simplified.
const PROMPT: &str = r#"{"model":"m","messages":[{"role":"user","content":"a\nb\nc\nd"}]}"#;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// No call exceeds its deadline by more than a tick of the timer or makes more attempts than its budget,
    /// and each ends in one response or error. Seed item 79.
    #[test]
    fn every_call_ends_once_in_time_and_within_its_attempts(
        settings in prop::collection::vec(setting(), 1..4),
        acts in prop::collection::vec(Act::any(), 0..30),
        begins in prop::collection::vec(millis(10_000), 1..6),
        total in millis(25_000),
        attempts in 1u32..7,
        simplifies: bool,
        seed: u64,
    ) {
        const TICK: Duration = Duration::from_millis(1);
        paused().block_on(async {
            let targets: Vec<_> = settings.iter().map(|_| strict()).collect();
            for (number, act) in acts.iter().enumerate() {
                act.script(&targets[number % targets.len()].1);
            }
            for (_, provider) in &targets {
                provider.otherwise(Answer::status(503).after(SECOND));
            }
            let mut others = settings.iter().zip(&targets);
            let (first, (inner, _)) = others.next().unwrap();
            let chain = others.fold(FallbackLayer::new(), |chain, (setting, (inner, _))| if setting.is_bare { chain.then("", inner.clone()) } else { chain.then("", setting.stack(seed).service(inner.clone())) });
            let chain = if simplifies { chain.then_simplified() } else { chain };
            let stack = if first.is_bare { ResilienceBuilder::new("") } else { first.stack(seed) };
            let chat = stack.fallback(chain).total_timeout(total).max_attempts(attempts).service(inner.clone());

            let mut calls = Vec::new();
            for (number, begin) in begins.into_iter().enumerate() {
                let chat = chat.clone();
                calls.push(tokio::spawn(async move {
                    tokio::time::sleep(begin).await;
                    let mut request = request().map(|_| Payload::from(PROMPT));
                    request.headers_mut().insert("x-call", number.into());
                    let start = clock::now();
                    if let Ok(response) = chat.send(request).await {
                        let _ = response.into_body().collect().await;
                    }
                    clock::now() - start
                }));
            }
            for (number, call) in calls.into_iter().enumerate() {
                let took = tokio::time::timeout(3_600 * SECOND, call).await.expect("it ends").unwrap();
                assert!(took <= total + TICK, "{took:?} of {total:?}");
                let seen = targets.iter().flat_map(|(_, provider)| provider.requests());
                let sent = seen.filter(|seen| seen.headers["x-call"] == number.to_string()).count();
                assert!(sent <= attempts as usize, "{sent} of {attempts} attempts");
            }
            for (_, provider) in &targets {
                assert_eq!((provider.live_futures(), provider.live_bodies()), (0, 0));
            }
        });
    }
}

/// An inner chain had sent an attempt before it was rejected. After another, immediate rejection, that was
/// lost.
#[tokio::test(start_paused = true)]
async fn a_rejection_records_attempts_of_an_inner_chain() {
    let (service, provider) = strict();
    let rejection = Rejection::new(Gate::CircuitBreaker, ErrorCode::Overloaded).with_retry_after(SECOND);
    provider.fail_with({
        let rejection = rejection.clone();
        move || rejection.clone().after_attempt().into()
    });
    provider.fail_with(move || rejection.clone().into());
    let request = with_deadline(request(), 10 * SECOND);
    let mut retrying = RetryLayer::exponential().max_retries(1).retry_rejections(true).layer(service);
    let rejection = crate::testing::rejection(send(&mut retrying, request).await);
    assert_eq!((rejection.follows_attempt(), provider.calls()), (true, 2));
}
