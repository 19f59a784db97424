mod deadline_rejections;
mod drops;
mod keys;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use serde_json::json;
use tidegate_testkit::strict::{Answer, Strict};
use tidegate_testkit::{Provider, Reply, contract};
use tower::{Layer, Service, ServiceExt};

use super::{Resilience, ResilienceBuilder, TimeoutHeader};
use crate::circuit_breaker::State;
use crate::rate_limit::OnLimit;
use crate::testing::{
    SECOND, call, chat_request, complete, rejection, request, request_with, send, strict, strict_behind,
    with_deadline,
};
use crate::{
    BackpressureLayer, CircuitBreakerLayer, Deadline, ErrorCode, FallbackLayer, Gate, Payload,
    RateLimitLayer, RetryLayer, StatusClassifier, Trail, Verdict, clock, retry,
};

/// All layers around a provider whose responses are classified by their status alone: most tests are not
/// about bodies.
fn full(name: &str) -> ResilienceBuilder {
    of_provider(name).classify(StatusClassifier)
}

/// All layers, with the classification of the named provider.
fn of_provider(name: &str) -> ResilienceBuilder {
    ResilienceBuilder::new(name)
        .retry(RetryLayer::exponential())
        .backpressure(BackpressureLayer::max_inflight(50))
        .rate_limit(RateLimitLayer::per_second(100))
        .circuit_breaker(CircuitBreakerLayer::new())
}

/// The stack has a type that a struct can name, with no type parameter but the client's.
#[derive(Clone)]
struct App {
    #[expect(dead_code, reason = "only the type matters")]
    provider: Resilience<Strict<Payload>>,
}

#[test]
fn the_stack_is_nameable_clone_send_and_sync() {
    fn check<T: Clone + Send + Sync + 'static>() {}
    check::<App>();
}

#[tokio::test(start_paused = true)]
async fn keeps_towers_contract() {
    contract::check(|inner| full("openai/gpt-4o").service(inner)).await;
    contract::check(|inner| full("openai/gpt-4o").total_timeout(60 * SECOND).service(inner)).await;
    contract::check(|inner| ResilienceBuilder::new("").classify(StatusClassifier).service(inner)).await;
}

#[tokio::test(start_paused = true)]
async fn every_attempt_passes_the_gates_and_no_permit_is_held_during_back_off() {
    let (inner, provider) = strict();
    let layer = full("openai/gpt-4o").build();
    let signals = layer.signals();
    provider.answer(503);
    provider.answer(200).stall();
    let mut waiting = tokio_test::task::spawn(layer.layer(inner).oneshot(request()));
    assert!(waiting.poll().is_pending());
    assert_eq!((signals.snapshot().current_inflight, signals.snapshot().rate_remaining), (0, Some(99)));
    let response = waiting.await.unwrap();
    let snapshot = signals.snapshot();
    assert_eq!((response.status().as_u16(), snapshot.current_inflight, snapshot.retry.retries), (200, 1, 1));
    drop(response);
    assert_eq!(signals.snapshot().current_inflight, 0);
}

/// Pitfall P08 (docs/pitfalls.md): a deadline that passes is a timeout of the provider, and not a cancelled
/// call.
#[tokio::test(start_paused = true)]
async fn the_total_timeout_ends_the_attempt_and_counts_against_the_provider() {
    let (inner, provider) = strict();
    let breaker = CircuitBreakerLayer::new().failure_threshold(2);
    let mut service = full("").circuit_breaker(breaker.clone()).total_timeout(3 * SECOND).service(inner);
    provider.otherwise(Answer::hang());
    for _ in 0..2 {
        let start = clock::now();
        assert!(call(&mut service).await.is_err());
        assert_eq!((clock::now() - start, provider.live_futures()), (3 * SECOND, 0));
    }
    assert_eq!(breaker.handle().state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn a_timeout_header_can_shorten_the_total_timeout_and_not_lengthen_it() {
    for (header, expected) in [("1500", 1_500), ("60000", 3_000)] {
        let (inner, provider) = strict();
        let timeout = TimeoutHeader::millis("x-request-timeout-ms".parse().unwrap());
        let mut service = full("").total_timeout(3 * SECOND).timeout_header(timeout).service(inner);
        provider.otherwise(Answer::hang());
        let mut request = request();
        request.headers_mut().insert("x-request-timeout-ms", header.parse().unwrap());
        let start = clock::now();
        assert!(send(&mut service, request).await.is_err());
        assert_eq!((clock::now() - start).as_millis(), expected);
        assert!(provider.requests()[0].headers.is_empty(), "the header is not forwarded");
    }
}

/// A caller that sets a millisecond is no different from one that leaves after it: otherwise a few such calls
/// opened the circuit for every caller.
#[tokio::test(start_paused = true)]
async fn a_time_that_the_caller_has_set_is_neutral_for_the_provider() {
    let started = || Answer::status(200).header("content-type", "text/event-stream").frame(": ping\n\n");
    for answer in [Answer::hang(), started().stall()] {
        for (header, expected) in [("1", State::Closed), ("2900", State::Closed), ("9000", State::Open)] {
            let (inner, provider) = strict();
            let breaker = CircuitBreakerLayer::new().failure_threshold(2);
            let mut service = full("")
                .circuit_breaker(breaker.clone())
                .total_timeout(3 * SECOND)
                .timeout_header(TimeoutHeader::millis("x-request-timeout-ms".parse().unwrap()))
                .service(inner);
            provider.otherwise(answer.clone());
            for _ in 0..4 {
                let mut request = request();
                request.headers_mut().insert("x-request-timeout-ms", header.parse().unwrap());
                if let Ok(response) = send(&mut service, request).await {
                    let _ = response.into_body().collect().await.unwrap_err();
                }
            }
            assert_eq!(breaker.handle().state(), expected, "{header}");
        }
    }
}

/// Pitfall P32 (docs/pitfalls.md).
#[tokio::test(start_paused = true)]
async fn an_invalid_timeout_header_is_rejected_before_any_attempt() {
    let timeout = TimeoutHeader::millis("x-request-timeout-ms".parse().unwrap());
    let (mut service, provider) = strict_behind(&full("").timeout_header(timeout).build());
    let mut request = request();
    request.headers_mut().insert("x-request-timeout-ms", "30s".parse().unwrap());
    let rejected = rejection(send(&mut service, request).await);
    assert_eq!((rejected.code(), rejected.gate()), (ErrorCode::InvalidRequest, Gate::Deadline));
    assert_eq!(rejected.to_string(), "timeout header is not a whole number of milliseconds above 0");
    assert_eq!((rejected.into_response::<String>().status().as_u16(), provider.calls()), (400, 0));
}

/// Pitfall P33 (docs/pitfalls.md): a preflight that is inverted, that acquires a permit or a probe, or that
/// keeps rejecting after the cooldown of an open circuit.
#[tokio::test(start_paused = true)]
async fn preflight_acquires_nothing_and_checks_the_gates_in_order() {
    let (inner, provider) = strict();
    let mut service = full("")
        .backpressure(BackpressureLayer::max_inflight(1).max_queued(0))
        .rate_limit(RateLimitLayer::per_minute(2).on_limit(OnLimit::Reject))
        .circuit_breaker(CircuitBreakerLayer::new().failure_threshold(1).cooldown(30 * SECOND))
        .retry(RetryLayer::disabled())
        .service(inner);
    let signals = service.signals();
    for _ in 0..10 {
        assert_eq!(signals.preflight(None), Ok(()));
    }
    let snapshot = signals.snapshot();
    assert_eq!((snapshot.rate_remaining, snapshot.rate_capacity), (Some(2), Some(2)));
    assert_eq!((snapshot.tokens_remaining, snapshot.tokens_capacity), (None, None));

    provider.answer(200).stall();
    let streaming = call(&mut service).await.unwrap();
    assert_eq!(signals.preflight(None).unwrap_err().gate(), Gate::Backpressure);
    drop(streaming);
    provider.answer(500);
    complete(&mut service).await.unwrap();
    let rejected = signals.preflight(None).unwrap_err();
    assert_eq!((rejected.gate(), rejected.retry_after()), (Gate::CircuitBreaker, Some(30 * SECOND)));
    assert!(!signals.is_healthy());

    tokio::time::advance(30 * SECOND).await;
    assert_eq!(signals.preflight(None), Ok(()), "the rate has refilled by one, the cooldown has passed");
    let past = Deadline::at(clock::now());
    assert_eq!(signals.preflight(Some(past)).unwrap_err().gate(), Gate::Deadline);
    signals.reset();
    assert!(signals.is_healthy());
}

/// The retry layer is inside of a fallback layer that does not need the body. The body was passed through
/// unbuffered, and the request was never retried.
#[tokio::test(start_paused = true)]
async fn a_body_that_is_not_a_payload_is_buffered_and_retried() {
    let (inner, provider) = strict();
    provider.answer(503);
    let request = request().map(|_| http_body_util::Full::new(bytes::Bytes::from_static(b"a prompt")));
    let response = full("").service(inner).send(request).await.unwrap();
    assert_eq!((response.status().as_u16(), provider.calls()), (200, 2));
    assert!(provider.requests().iter().all(|seen| seen.body.as_deref() == Some(b"a prompt")));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_certain_to_be_rejected_does_not_queue() {
    let (inner, provider) = strict();
    let mut service = full("")
        .backpressure(BackpressureLayer::max_inflight(1).queue_timeout(60 * SECOND))
        .circuit_breaker(CircuitBreakerLayer::new().failure_threshold(1))
        .retry(RetryLayer::disabled())
        .service(inner);
    provider.answer(200).stall();
    let streaming = call(&mut service).await.unwrap();
    provider.answer(500);
    // The permit is taken, so this call queues; the next one is rejected by the open circuit.
    let mut queued = tokio_test::task::spawn(service.clone().oneshot(request()));
    assert!(queued.poll().is_pending());
    drop(streaming);
    assert_eq!(queued.await.unwrap().status(), 500);
    provider.otherwise(Answer::hang());
    let start = clock::now();
    assert_eq!(rejection(call(&mut service).await).gate(), Gate::CircuitBreaker);
    assert_eq!(clock::now(), start);
}

/// Preflight checks the rate limit only if the call would have to queue for a permit; otherwise the rate
/// limit itself rejects.
#[tokio::test(start_paused = true)]
async fn a_rate_limit_rejection_is_immediate_whether_or_not_a_permit_is_free() {
    let (inner, provider) = strict();
    let mut service = full("")
        .backpressure(BackpressureLayer::max_inflight(1).queue_timeout(60 * SECOND))
        .rate_limit(RateLimitLayer::per_minute(1).on_limit(OnLimit::Reject))
        .retry(RetryLayer::disabled())
        .service(inner);
    let signals = service.signals();
    provider.answer(200).stall();
    let streaming = call(&mut service).await.unwrap();
    let start = clock::now();
    assert_eq!(rejection(call(&mut service).await).gate(), Gate::RateLimit, "though it could queue");
    drop(streaming);
    assert_eq!(rejection(call(&mut service).await).gate(), Gate::RateLimit, "though a permit is free");
    assert_eq!((clock::now(), signals.snapshot().current_inflight, provider.calls()), (start, 0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_chain_of_stacks_fails_over_and_its_trail_has_every_step() {
    let ((first, primary), (second, other)) = (strict(), strict());
    primary.otherwise(Answer::status(503));
    let deepseek = full("deepseek/deepseek-chat").service(second);
    let mut chat = full("openai/gpt-4o")
        .retry(RetryLayer::exponential().max_retries(1).seed(1))
        .fallback(FallbackLayer::new().then("deepseek/deepseek-chat", deepseek))
        .service(first);
    let trail = Trail::new();
    let request = request_with(trail.clone());
    assert_eq!(send(&mut chat, request).await.unwrap().status(), 200);
    assert_eq!((primary.calls(), other.calls()), (2, 1));
    let steps = trail.steps();
    let recorded: Vec<_> =
        steps.iter().map(|step| (step.target.as_deref().unwrap(), &step.verdict)).collect();
    let failed = Verdict::Failed(ErrorCode::Overloaded);
    let (openai, deepseek) = ("openai/gpt-4o", "deepseek/deepseek-chat");
    assert_eq!((recorded[0], recorded[2]), ((openai, &failed), (openai, &failed)));
    assert!(matches!(recorded[1], (name, Verdict::Waiting(_)) if name == openai));
    let because = Some(ErrorCode::Overloaded);
    assert_eq!(recorded[3], (openai, &Verdict::FellBack { to: deepseek.into(), because }));
    assert_eq!(recorded[4], (deepseek, &Verdict::Succeeded));
    assert_eq!((trail.attempts(), trail.target().as_deref()), (3, Some(deepseek)));
}

#[tokio::test(start_paused = true)]
async fn the_name_selects_the_classification_rules() {
    let body =
        r#"{"error":{"type":"insufficient_quota","code":"insufficient_quota","message":"add credit"}}"#;
    for (status_only, calls) in [(false, 1), (true, 4)] {
        let (inner, provider) = strict();
        provider.otherwise(Answer::status(429).body(body));
        let builder = ResilienceBuilder::new("openai/gpt-4o").retry(RetryLayer::exponential());
        let mut service = if status_only {
            builder.classify(StatusClassifier).service(inner)
        } else {
            builder.service(inner)
        };
        let response = call(&mut service).await.unwrap();
        assert_eq!(provider.calls(), calls);
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), body);
    }
}

/// Pitfall P24 (docs/pitfalls.md), through the whole stack: an exhausted quota costs one attempt, and closes
/// the target.
#[tokio::test(start_paused = true)]
async fn an_exhausted_quota_is_not_retried_and_closes_the_target() {
    let (mut service, provider) = strict_behind(&of_provider("openai/gpt-4o").build());
    let body = r#"{"error":{"type":"insufficient_quota","message":"add credit"}}"#;
    provider.otherwise(Answer::status(429).body(body));
    assert_eq!(complete(&mut service).await.unwrap(), 429);
    let rejected = rejection(call(&mut service).await);
    assert_eq!((rejected.code(), rejected.gate()), (ErrorCode::QuotaExhausted, Gate::CircuitBreaker));
    assert_eq!(provider.calls(), 1);
}

/// Regression: one request for too many tokens closed the target to all callers.
#[tokio::test(start_paused = true)]
async fn a_request_that_costs_more_than_is_left_is_not_retried_and_closes_nothing() {
    let (mut service, provider) = strict_behind(&of_provider("openrouter/gpt-4o").build());
    let body =
        r#"{"error":{"code":402,"message":"You requested up to 65536 tokens, but can only afford 30104."}}"#;
    provider.then(Answer::status(402).body(body));
    assert_eq!(complete(&mut service).await.unwrap(), 402);
    assert_eq!(complete(&mut service).await.unwrap(), 200);
    assert_eq!(provider.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_snapshot_serialises_under_the_names_of_the_protocol() {
    let (inner, _provider) = strict();
    let service = full("openai/gpt-4o").service(inner);
    let json = serde_json::to_value(service.signals().snapshot()).unwrap();
    assert_eq!(json["target"], "openai/gpt-4o");
    assert_eq!(json["circuit_state"], "closed");
    assert_eq!(json["current_inflight"], 0);
    assert_eq!(json["rate_remaining"], 100);
    assert_eq!(json["max_inflight"], 50);
}

#[tokio::test(start_paused = true)]
async fn retries_that_are_turned_off_count_nothing() {
    let off = retry::Settings { enabled: false, ..retry::Settings::default() };
    let off = full("").retry(RetryLayer::from_settings(off).unwrap());
    let (alone, provider) = strict();
    let (first, first_provider) = strict();
    let other = FallbackLayer::new().then("other", strict().0);
    let services =
        [(off.clone().service(alone), provider), (off.fallback(other).service(first), first_provider)];
    for (mut service, provider) in services {
        provider.answer(400);
        assert_eq!(complete(&mut service).await.unwrap(), 400);
        // A body that has to be buffered.
        let request = request().map(|_| Full::new(Bytes::from_static(b"{}")));
        let response = ServiceExt::<Request<Full<Bytes>>>::ready(&mut service).await.unwrap().call(request);
        assert_eq!(response.await.unwrap().status(), 200);
        assert_eq!((provider.calls(), service.signals().snapshot().retry.total_attempts), (2, 0));
    }
}

/// Pitfall P17 (docs/pitfalls.md): the clients that one stack layer wraps share its state.
#[tokio::test(start_paused = true)]
async fn one_stack_layer_is_one_state() {
    let layer = full("")
        .retry(RetryLayer::disabled())
        .circuit_breaker(CircuitBreakerLayer::new().failure_threshold(1))
        .build();
    let ((first, down), (second, up)) = (strict(), strict());
    down.answer(500);
    complete(&mut layer.layer(first)).await.unwrap();
    assert_eq!(rejection(call(&mut layer.layer(second)).await).gate(), Gate::CircuitBreaker);
    assert_eq!(up.calls(), 0);
}

/// Seed item 67: healthy, degraded, down.
#[tokio::test(start_paused = true)]
async fn health_score_is_between_zero_and_one() {
    let (inner, provider) = strict();
    let breaker =
        CircuitBreakerLayer::new().failure_threshold(2).failure_rate_threshold(0.9).minimum_throughput(4);
    let mut service = full("").circuit_breaker(breaker).retry(RetryLayer::disabled()).service(inner);
    let signals = service.signals();
    assert!((signals.health_score() - 1.0).abs() < 1e-9);
    for status in [200, 500, 200, 200] {
        provider.answer(status);
        complete(&mut service).await.unwrap();
    }
    assert!((signals.health_score() - 0.75).abs() < 1e-9 && signals.is_healthy());
    assert_eq!(signals.snapshot().failure_rate, Some(0.25));
    assert_eq!(signals.snapshot().last_failure.unwrap().code, ErrorCode::ServerError);
    for _ in 0..2 {
        provider.answer(500);
        complete(&mut service).await.unwrap();
    }
    assert_eq!((signals.health_score(), signals.is_healthy()), (0.0, false));
    tokio::time::advance(30 * SECOND).await;
    assert!(signals.health_score() > 0.0 && signals.health_score() < 0.5);
}

/// The response at hand was dropped for a wait and a rejection, since the peek was at the circuit without a
/// key.
#[tokio::test(start_paused = true)]
async fn no_retry_waits_for_an_open_circuit_of_the_same_key() {
    use crate::{KeyBy, Tenant};
    let breaker = CircuitBreakerLayer::new().failure_threshold(1).key_by(KeyBy::tenant());
    let (mut service, provider) = strict_behind(&full("").circuit_breaker(breaker).build());
    let request = request_with(Tenant("a".into()));
    provider.otherwise(Answer::status(503));
    let start = clock::now();
    let response = send(&mut service, request).await.unwrap();
    assert_eq!(
        (response.status().as_u16(), clock::now() - start, provider.calls()),
        (503, Duration::ZERO, 1)
    );
}

/// A stream that was dropped after its last event counted as cancelled. Five single failures among a hundred
/// successful streams counted as five in a row.
#[tokio::test(start_paused = true)]
async fn a_stream_dropped_after_its_last_event_counts_as_finished() {
    let (inner, provider) = strict();
    let breaker = CircuitBreakerLayer::new().failure_threshold(2);
    let mut service = of_provider("openai/gpt-4o")
        .retry(RetryLayer::disabled())
        .circuit_breaker(breaker.clone())
        .service(inner);
    let token = "data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\n";
    let stream = |last: &'static str| {
        provider.answer(200).header("content-type", "text/event-stream").frame(token).frame(last).stall();
    };
    for _ in 0..5 {
        provider.answer(503);
        complete(&mut service).await.unwrap();
        stream("data: [DONE]\n\n");
        let mut body = call(&mut service).await.unwrap().into_body();
        body.frame().await.unwrap().unwrap();
        body.frame().await.unwrap().unwrap();
    }
    assert_eq!(breaker.handle().state(), State::Closed);
    for _ in 0..2 {
        stream("data: {\"error\":{\"type\":\"server_error\"}}\n\n");
        let mut body = call(&mut service).await.unwrap().into_body();
        body.frame().await.unwrap().unwrap();
        body.frame().await.unwrap().unwrap();
    }
    assert_eq!(breaker.handle().state(), State::Open);
}

/// Regression: a stream of 64 events without content closed the circuit.
#[tokio::test(start_paused = true)]
async fn a_stream_without_content_is_no_success_of_a_probe_before_its_end() {
    let empty = "data: {\"choices\":[]}\n\n".repeat(64);
    let rest = "data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\ndata: [DONE]\n\n";
    for (ends, state) in [(Some(true), State::Closed), (Some(false), State::Open), (None, State::HalfOpen)] {
        let (inner, provider) = strict();
        let breaker = CircuitBreakerLayer::new().failure_threshold(1).cooldown(SECOND);
        let mut service = of_provider("openai/gpt-4o")
            .retry(RetryLayer::disabled())
            .circuit_breaker(breaker.clone())
            .service(inner);
        provider.answer(503);
        complete(&mut service).await.unwrap();
        tokio::time::advance(2 * SECOND).await;
        let stream = provider.answer(200).header("content-type", "text/event-stream").frame(empty.clone());
        if let Some(is_complete) = ends {
            stream.frame(if is_complete {
                rest
            } else {
                "data: {\"error\":{\"type\":\"server_error\"}}\n\n"
            });
        } else {
            stream.stall();
        }
        let response = call(&mut service).await.unwrap();
        assert_eq!(breaker.handle().state(), State::HalfOpen, "{ends:?}");
        match ends {
            Some(_) => drop(response.into_body().collect().await),
            None => drop(response),
        }
        assert_eq!(breaker.handle().state(), state, "{ends:?}");
    }
}

/// Regression: attempts that the rate limit had rejected used up those of a call that a circuit counts.
#[tokio::test(start_paused = true)]
async fn a_rejected_attempt_is_none_of_those_that_a_circuit_counts() {
    let (inner, provider) = strict();
    let breaker = CircuitBreakerLayer::new().failure_threshold(2);
    let mut service = full("")
        .total_timeout(600 * SECOND)
        .retry(
            RetryLayer::exponential()
                .initial_delay(SECOND)
                .jitter(crate::retry::Jitter::None)
                .max_retries(9)
                .retry_rejections(true)
                .budget(1.0, 9),
        )
        .rate_limit(RateLimitLayer::per_second(1).burst_size(1).on_limit(OnLimit::Reject))
        .circuit_breaker(breaker.clone())
        .service(inner);
    call(&mut service).await.unwrap();
    provider.otherwise(Answer::status(503).header("x-should-retry", "false"));
    for expected in [State::Closed, State::Open] {
        assert_eq!(call(&mut service).await.unwrap().status(), 503);
        assert_eq!(breaker.handle().state(), expected);
    }
    assert_eq!(provider.calls(), 3);
}

/// A task whose calls are all rejected lets others run, in the stack and in front of a single gate.
#[tokio::test(start_paused = true)]
async fn calls_that_are_rejected_yield() {
    let open = CircuitBreakerLayer::new();
    open.handle().force_open();
    let (inner, _) = strict();
    let stack = full("openai/gpt-4o").retry(RetryLayer::disabled()).circuit_breaker(open.clone());
    let (mut stack, mut gate) = (stack.service(inner.clone()), open.layer(inner));
    let has_run = Arc::new(AtomicBool::new(false));
    for of_gate in [false, true] {
        has_run.store(false, Ordering::Relaxed);
        let other = Arc::clone(&has_run);
        tokio::spawn(async move { other.store(true, Ordering::Relaxed) });
        for _ in 0..1_000 {
            if of_gate {
                rejection(call(&mut gate).await);
            } else {
                rejection(call(&mut stack).await);
            }
        }
        assert!(has_run.load(Ordering::Relaxed), "of the gate: {of_gate}");
    }
}

/// Regression: the time for which a call waited for the rate limit, with its permit, counted as time of its
/// answer. Calls with less time than that were then rejected in place of being queued.
#[tokio::test(start_paused = true)]
async fn a_wait_for_the_rate_limit_is_no_time_of_an_answer() {
    let provider = Provider::openai()
        .then(Reply::status(429).retry_after(9).latency(SECOND))
        .otherwise(Reply::ok().latency(SECOND));
    let stack = ResilienceBuilder::new("openai/gpt-4o")
        .backpressure(BackpressureLayer::max_inflight(1))
        .rate_limit(RateLimitLayer::new())
        .service(provider.service());
    let answer = async |patience: u32| {
        let request = with_deadline(chat_request(r#"{"model":"m","messages":[]}"#), patience * SECOND);
        let response = stack.send(request).await?;
        let status = response.status().as_u16();
        response.into_body().collect().await.map(|_| status)
    };
    let start = tokio::time::Instant::now();
    // The provider closes the gate for 9 s, and the second call, which was queued for the permit, waits for
    // that.
    let (first, second) = tokio::join!(answer(60), answer(60));
    assert_eq!((first.unwrap(), second.unwrap()), (429, 200));
    assert!(start.elapsed() > 10 * SECOND);
    // An answer takes one second: the second call has the time to wait for the first.
    let (first, second) = tokio::join!(answer(5), answer(5));
    assert_eq!((first.unwrap(), second.unwrap()), (200, 200));
}

/// Regression: calls waited for the rate limit until the deadline left no time for an answer, and were cut
/// off.
#[tokio::test(start_paused = true)]
async fn a_call_leaves_the_queue_of_the_rate_limit_when_there_is_no_time_for_its_answer() {
    let provider = Provider::openai().otherwise(Reply::ok().latency(SECOND)).service();
    let stack = ResilienceBuilder::new("openai/gpt-4o")
        .backpressure(BackpressureLayer::max_inflight(1))
        .rate_limit(RateLimitLayer::new().quota(2, 20 * SECOND))
        .service(provider.clone());
    let answer = async |patience: Duration| {
        let request = with_deadline(chat_request(r#"{"model":"m","messages":[]}"#), patience);
        stack.send(request).await?.into_body().collect().await
    };
    let (first, second) = tokio::join!(answer(60 * SECOND), answer(60 * SECOND));
    assert!(first.is_ok() && second.is_ok());
    // The next request is possible after 8 s, and its answer takes one more.
    let start = tokio::time::Instant::now();
    assert_eq!(rejection(answer(17 * SECOND / 2).await).gate(), Gate::Deadline);
    assert_eq!((start.elapsed().as_secs(), provider.log().calls()), (0, 2));
    assert!(answer(19 * SECOND / 2).await.is_ok());
}

/// Regression: only a configuration applied it.
#[tokio::test(start_paused = true)]
async fn the_attempts_of_the_retry_settings_are_those_of_a_call() {
    let retry = || {
        let settings = retry::Settings { max_attempts: Some(2), ..retry::Settings::default() };
        RetryLayer::from_settings(settings).unwrap()
    };
    for (stack, attempts) in [
        (ResilienceBuilder::new("a/m").retry(retry()), 2),
        (ResilienceBuilder::new("a/m").retry(retry()).max_attempts(3), 3),
        (ResilienceBuilder::new("a/m").max_attempts(1).retry(retry()), 1),
    ] {
        let (inner, provider) = strict();
        provider.otherwise(Answer::status(503));
        assert_eq!(call(&mut stack.service(inner)).await.unwrap().status(), 503);
        assert_eq!(provider.calls(), attempts);
    }
}

/// Regression: a tenants' limit as a stack around the stack of a provider was charged twice for each call.
#[tokio::test(start_paused = true)]
async fn a_stack_around_a_stack_counts_each_request_once() {
    let usage = json!({"prompt_tokens": 11, "completion_tokens": 10, "total_tokens": 21});
    let message =
        json!({"index": 0, "message": {"role": "assistant", "content": "a"}, "finish_reason": "stop"});
    let answer = json!({"object": "chat.completion", "choices": [message], "usage": usage}).to_string();
    let (provider, handle) = strict();
    handle.answer(503);
    handle.otherwise(Answer::status(200).header("content-type", "application/json").body(answer));
    let limit = RateLimitLayer::per_minute(20).tokens_per_minute(2_000).follow_responses(false);
    let inner = ResilienceBuilder::new("openai/gpt-4o").retry(RetryLayer::exponential()).service(provider);
    let service = ResilienceBuilder::new("tenants").rate_limit(limit.clone()).service(inner);

    let trail = Trail::new();
    let mut request = chat_request(json!({"messages": [], "max_tokens": 10}));
    request.extensions_mut().insert(trail.clone());
    service.send(request).await.unwrap().into_body().collect().await.unwrap();
    assert_eq!((trail.attempts(), handle.calls()), (2, 2));
    // The 503 may have been processed.
    let left = (limit.handle().remaining().unwrap(), limit.handle().tokens_remaining().unwrap());
    for call in 1..=3 {
        service
            .send(chat_request(json!({"messages": []})))
            .await
            .unwrap()
            .into_body()
            .collect()
            .await
            .unwrap();
        let now = (limit.handle().remaining().unwrap(), limit.handle().tokens_remaining().unwrap());
        assert_eq!(now, (left.0 - call, left.1 - 21 * u64::from(call)));
    }
}
