//! Every metric, through a recorder that the process has one of. Each test has targets of its own.

mod recorder;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Weak;
use std::time::Duration;

use http::Request;
use http_body_util::BodyExt;
use recorder::{Description, described, names_of, recorded, samples, series_of, value};
use tidegate::fallback::AnswerCache;
use tidegate::group::{Affinity, Group, Member};
use tidegate::hedge::HedgeLayer;
use tidegate::provider::HttpService;
use tidegate::rate_limit::OnLimit;
use tidegate::retry::Jitter;
use tidegate::store::{
    self, CircuitChange, CircuitView, LeaseGrant, LeaseRequest, QuotaRequest, SharedCooldown, SharedStore,
    SharedWindow, Store, StoreFuture, StoreListener, WindowReport,
};
use tidegate::translators::StreamContinuation;
use tidegate::{
    BackpressureLayer, CircuitBreakerLayer, Error, FallbackLayer, KeyBy, Payload, RateLimitLayer, Resilience,
    ResilienceBuilder, RetryLayer, Tenant,
};
use tidegate_testkit::strict::{self, Answer, Handle, Strict};

const SECOND: Duration = Duration::from_secs(1);

fn chat(prompt: &str, stream: bool) -> Request<Payload> {
    let body = serde_json::json!({
        "model": "m", "stream": stream, "max_tokens": 50, "messages": [{"role": "user", "content": prompt}],
    });
    Request::post("http://provider.test/v1/chat/completions").body(Payload::from(body.to_string())).unwrap()
}

fn plain() -> Request<Payload> {
    chat("high tide", false)
}

/// A completion that used 7 and 3 tokens.
fn completion(provider: &Handle) -> Answer {
    provider.answer(200).header("content-type", "application/json").body(
        r#"{"choices":[{"message":{"content":"Low."},"finish_reason":"stop"}],
            "usage":{"prompt_tokens":7,"completion_tokens":3,"total_tokens":10}}"#,
    )
}

fn stack(
    target: &str,
    change: impl FnOnce(ResilienceBuilder) -> ResilienceBuilder,
) -> (Resilience<Strict<Payload>>, Handle) {
    recorder::install();
    let (inner, provider) = strict::service();
    (change(ResilienceBuilder::new(target)).service(inner), provider)
}

/// Makes one call, to the last byte of its response.
async fn call<S>(service: &S, request: Request<Payload>) -> Result<u16, Error>
where
    S: HttpService<Payload> + Clone,
    S::Error: Into<tidegate::BoxError>,
{
    use tower::ServiceExt;
    let response = service.clone().oneshot(request).await.map_err(Error::boxed)?;
    let status = response.status().as_u16();
    response.into_body().collect().await.map_err(Error::boxed)?;
    Ok(status)
}

#[tokio::test(start_paused = true)]
async fn a_success_is_counted_with_its_duration_and_its_tokens() {
    success("openai/success").await;
}

async fn success(target: &str) {
    let (stack, provider) =
        stack(target, |stack| stack.rate_limit(RateLimitLayer::new().tokens_per_minute(10_000)));
    completion(&provider).after(2 * SECOND).pause(SECOND).frame("");
    assert_eq!(call(&stack, plain()).await.unwrap(), 200);
    let of_target = ("target", target);
    assert_eq!(value("tidegate.calls", &[("code", "ok"), of_target]), 1.0);
    assert_eq!(value("tidegate.attempts", &[("code", "ok"), of_target]), 1.0);
    assert_eq!(samples("gen_ai.client.operation.duration", &[of_target]), [3.0]);
    let used = |of| samples("gen_ai.client.token.usage", &[("gen_ai.token.type", of), of_target]);
    assert_eq!((used("input"), used("output")), (vec![7.0], vec![3.0]));
    let reserved = |of| value("tidegate.tokens.reserved", &[("kind", of), of_target]);
    assert!(reserved("input") > 0.0);
    assert_eq!(reserved("output"), 50.0);
    assert_eq!(value("tidegate.tokens.possibly_billed", &[of_target]), 0.0);
}

#[tokio::test(start_paused = true)]
async fn retries_are_counted_with_the_result_of_their_call() {
    retries("openai/retries").await;
}

async fn retries(target: &str) {
    let retry = RetryLayer::exponential().max_retries(1).jitter(Jitter::None);
    let retry = retry.initial_delay(Duration::from_millis(10)).budget(0.0, 1);
    let (stack, provider) = stack(target, |stack| stack.retry(retry));
    provider.answer(429).after(SECOND);
    completion(&provider);
    assert_eq!(call(&stack, plain()).await.unwrap(), 200);
    for _ in 0..3 {
        provider.answer(503);
    }
    // The first of these calls is retried, and the budget of this second has no retry for the other.
    tokio::time::advance(SECOND).await;
    for _ in 0..2 {
        assert_eq!(call(&stack, plain()).await.unwrap(), 503);
    }
    let of_target = ("target", target);
    let by_code = |name, code| value(name, &[("code", code), of_target]);
    assert_eq!((by_code("tidegate.calls", "ok"), by_code("tidegate.calls", "E3002")), (1.0, 2.0));
    assert_eq!(by_code("tidegate.attempts", "E2001"), 1.0);
    assert_eq!(by_code("tidegate.attempts", "E3002"), 3.0);
    assert_eq!((by_code("tidegate.retries", "E2001"), by_code("tidegate.retries", "E3002")), (1.0, 1.0));
    let retried = |kind| value("tidegate.retried_calls", &[("kind", kind), of_target]);
    assert_eq!((retried("success"), retried("failure")), (1.0, 1.0));
    assert_eq!(value("tidegate.retries.denied", &[of_target]), 1.0);
    let failures = [("code", "E3002"), ("kind", "response"), of_target];
    assert_eq!(value("tidegate.failures", &failures), 3.0);
    let limited = [("error.type", "E2001"), of_target];
    assert_eq!(samples("gen_ai.client.operation.duration", &limited), [1.0]);
}

#[tokio::test(start_paused = true)]
async fn an_open_circuit_counts_its_transitions_and_rejections_and_shows_in_the_gauges() {
    open_circuit("openai/circuit").await;
}

async fn open_circuit(target: &str) {
    let circuit = CircuitBreakerLayer::new().failure_threshold(1).success_threshold(1).cooldown(60 * SECOND);
    let (stack, provider) = stack(target, |stack| stack.circuit_breaker(circuit));
    let of_target = ("target", target);
    let gauge = |name| value(name, &[("policy", "p"), of_target]);
    let record = || stack.signals().record_metrics(&[("policy", "p")]);
    provider.answer(503);
    call(&stack, plain()).await.unwrap();
    call(&stack, plain()).await.unwrap_err();
    record();
    assert_eq!((gauge("tidegate.circuit.state"), gauge("tidegate.circuit.cooldown")), (2.0, 60.0));
    let rejected = [("layer", "circuit_breaker"), ("reason", "circuit open"), of_target];
    assert_eq!(value("tidegate.rejections", &rejected), 1.0);
    assert_eq!(value("tidegate.calls", &[("code", "E3002"), of_target]), 2.0);
    assert_eq!(value("tidegate.attempts", &[("code", "E3002"), of_target]), 1.0);

    tokio::time::advance(61 * SECOND).await;
    completion(&provider);
    call(&stack, plain()).await.unwrap();
    record();
    assert_eq!((gauge("tidegate.circuit.state"), gauge("tidegate.circuit.cooldown")), (0.0, 0.0));
    let transitions = |kind| value("tidegate.circuit.transitions", &[("kind", kind), of_target]);
    assert_eq!(["open", "half_open", "closed"].map(transitions), [1.0; 3]);
}

/// Regression: the state of the worst key was the only one, so that one open circuit looked like an outage.
#[tokio::test(start_paused = true)]
async fn a_stack_admits_calls_as_long_as_one_of_its_keys_does_or_its_circuit_is_in_shadow_mode() {
    let target = "openai/admits";
    let circuit = || CircuitBreakerLayer::new().failure_threshold(1).cooldown(60 * SECOND);
    let of_path = || circuit().key_by(KeyBy::path());
    for (circuit, calls, admits) in [
        (circuit(), &[("/a", 503)][..], 0.0),
        (circuit().shadow(true), &[("/a", 503)], 1.0),
        (of_path(), &[("/a", 503), ("/b", 503)], 0.0),
        (of_path(), &[("/a", 503), ("/b", 200)], 1.0),
        (of_path().shadow(true), &[("/a", 503), ("/b", 503)], 1.0),
    ] {
        let (stack, provider) = stack(target, |stack| stack.circuit_breaker(circuit));
        for (path, status) in calls {
            provider.answer(*status);
            let mut request = plain();
            *request.uri_mut() = path.parse().unwrap();
            call(&stack, request).await.unwrap();
        }
        stack.signals().record_metrics(&[]);
        assert_eq!(value("tidegate.circuit.state", &[("target", target)]), 2.0);
        assert_eq!(value("tidegate.admits_calls", &[("target", target)]), admits, "{calls:?}");
    }
}

/// Regression: a stack without a circuit had the gauge of a closed one.
#[test]
fn the_gauges_of_a_gate_are_set_if_the_stack_has_it() {
    let limit = || BackpressureLayer::max_inflight(1);
    let (rate, circuit) = (|| RateLimitLayer::per_minute(10), CircuitBreakerLayer::new);
    let bare = |name| stack(name, |stack| stack).0;
    let of_limit = ["tidegate.inflight", "tidegate.inflight.limit", "tidegate.inflight.queued"];
    let of_rate = [
        "tidegate.rate_limit.cooldown",
        "tidegate.rate_limit.queued",
        "tidegate.rate_limit.requests.remaining",
    ];
    let of_circuit = ["tidegate.circuit.cooldown", "tidegate.circuit.state"];
    let forced = bare("openai/gauges_forced");
    forced.signals().circuit_breaker().force_open();
    let reset = bare("openai/gauges_reset");
    reset.signals().circuit_breaker().force_open();
    reset.signals().circuit_breaker().reset();
    for (stack, gauges) in [
        (bare("openai/gauges_bare"), &[][..]),
        (stack("openai/gauges_limit", |stack| stack.backpressure(limit())).0, &of_limit),
        (stack("openai/gauges_rate", |stack| stack.rate_limit(rate())).0, &of_rate),
        (stack("openai/gauges_circuit", |stack| stack.circuit_breaker(circuit())).0, &of_circuit),
        (forced, &of_circuit),
        (reset, &of_circuit),
    ] {
        let signals = stack.signals();
        signals.record_metrics(&[]);
        let expected: BTreeSet<_> =
            gauges.iter().copied().chain(["tidegate.admits_calls"]).map(str::to_owned).collect();
        let mut names = names_of(signals.target());
        // The counter of what was forced.
        names.remove("tidegate.circuit.transitions");
        assert_eq!(names, expected, "{}", signals.target());
    }
}

#[tokio::test(start_paused = true)]
async fn gauges_show_calls_in_flight_queues_and_quotas() {
    gauges("openai/gauges").await;
}

async fn gauges(target: &str) {
    let (stack, provider) = stack(target, |stack| {
        let quotas = RateLimitLayer::per_minute(10).burst_size(10).tokens_per_minute(1_000);
        stack.backpressure(BackpressureLayer::max_inflight(1)).rate_limit(quotas)
    });
    let gauge = |name| value(name, &[("target", target)]);
    provider.answer(429).header("retry-after", "30");
    call(&stack, plain()).await.unwrap();
    stack.signals().record_metrics(&[]);
    assert_eq!(gauge("tidegate.rate_limit.cooldown"), 30.0);
    stack.signals().reset();

    provider.hang();
    let calls = [(); 2].map(|()| {
        tokio::spawn({
            let stack = stack.clone();
            async move { call(&stack, plain()).await }
        })
    });
    tokio::time::advance(Duration::from_millis(1)).await;
    stack.signals().record_metrics(&[]);
    assert_eq!((gauge("tidegate.inflight"), gauge("tidegate.inflight.limit")), (1.0, 1.0));
    assert_eq!(gauge("tidegate.inflight.queued"), 1.0);
    assert_eq!(gauge("tidegate.rate_limit.requests.remaining"), 9.0);
    let remaining = gauge("tidegate.rate_limit.tokens.remaining");
    assert!(remaining > 900.0 && remaining < 950.0, "{remaining}");
    calls.iter().for_each(|call| call.abort());
    for call in calls {
        assert!(call.await.unwrap_err().is_cancelled());
    }
    // The first was sent, and both were calls.
    let cancelled = [("code", "E4002"), ("target", target)];
    assert_eq!((value("tidegate.attempts", &cancelled), value("tidegate.calls", &cancelled)), (1.0, 2.0));
    let cancelled = [("error.type", "E4002"), ("target", target)];
    assert_eq!(samples("gen_ai.client.operation.duration", &cancelled).len(), 1);
    assert_eq!(value("tidegate.tokens.possibly_billed", &[("target", target)]), 50.0);
}

#[tokio::test(start_paused = true)]
async fn calls_that_wait_for_a_quota_show_in_the_gauge() {
    let target = "openai/waiting";
    let (stack, provider) =
        stack(target, |stack| stack.rate_limit(RateLimitLayer::per_minute(1).max_wait(90 * SECOND)));
    completion(&provider);
    call(&stack, plain()).await.unwrap();
    let waiting = tokio::spawn({
        let stack = stack.clone();
        async move { call(&stack, plain()).await }
    });
    tokio::time::advance(Duration::from_millis(1)).await;
    stack.signals().record_metrics(&[]);
    assert_eq!(value("tidegate.rate_limit.queued", &[("target", target)]), 1.0);
    waiting.abort();
}

#[tokio::test(start_paused = true)]
async fn fallbacks_are_counted_by_their_kind_and_cached_answers_by_hit_and_miss() {
    fallbacks("openai/fallbacks", "openai/second").await;
}

#[tokio::test(start_paused = true)]
async fn the_choices_of_a_group_are_counted_by_member_and_reason() {
    group("openai/member", "openai/other").await;
}

async fn group(target: &str, second: &str) {
    let ((one, provider), (other, healthy)) = (stack(target, |stack| stack), stack(second, |stack| stack));
    let name = format!("{target}|{second}");
    let group = Group::new(&name, [one, other]).unwrap();
    provider.otherwise(Answer::status(503));
    for _ in 0..20 {
        completion(&healthy);
        call(&group, plain()).await.unwrap();
    }
    let choices = |kind, target| {
        value("tidegate.group.choices", &[("group", &name), ("kind", kind), ("target", target)])
    };
    assert_eq!((choices("load", target), choices("after_failure", second)), (1.0, 1.0));
    assert_eq!(choices("load", second), 19.0);
    assert_eq!(value("tidegate.group.left_out", &[("code", "E3002"), ("target", target)]), 1.0);
}

#[tokio::test(start_paused = true)]
async fn the_cached_tokens_of_conversations_that_stay_are_counted() {
    cached_tokens("openai/cached", "anthropic/cached").await;
}

/// In a group with an affinity, by a whole answer and by a stream.
async fn cached_tokens(target: &str, second: &str) {
    const CHAT: &str = r#"{"choices":[{"message":{"content":"x"},"finish_reason":"stop"}],
        "usage":{"prompt_tokens":90,"completion_tokens":1,"prompt_tokens_details":{"cached_tokens":64}}}"#;
    const EVENTS: [&str; 4] = [
        r#"{"type":"message_start","message":{"usage":{"input_tokens":6,"cache_creation_input_tokens":20,"cache_read_input_tokens":64,"output_tokens":1}}}"#,
        r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"x"}}"#,
        r#"{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":1}}"#,
        r#"{"type":"message_stop"}"#,
    ];
    let of = |target, kind| value("tidegate.tokens.cached", &[("kind", kind), ("target", target)]);
    for (target, stream, input, written) in [(target, false, 90, 0_u32), (second, true, 90, 20)] {
        let (one, provider) = stack(target, |stack| stack);
        let (other, _) = stack(&format!("{target}-other"), |stack| stack);
        provider.otherwise(if stream {
            let events = EVENTS.iter().map(|event| format!("data: {event}\n\n")).collect::<String>();
            Answer::status(200).header("content-type", "text/event-stream").body(events)
        } else {
            Answer::status(200).header("content-type", "application/json").body(CHAT)
        });
        let group = Group::new(target, [Member::from(one).weight(1000.0), Member::from(other).weight(0.001)]);
        let group = group.unwrap().affinity(Affinity::tenant());
        let request = || {
            let mut request = chat("high tide", stream);
            if stream {
                *request.uri_mut() = "http://provider.test/v1/messages".parse().unwrap();
            }
            request
        };
        let mut of_tenant = request();
        of_tenant.extensions_mut().insert(Tenant("a".into()));
        call(&group, of_tenant).await.unwrap();
        assert_eq!((of(target, "read"), of(target, "written")), (64.0, f64::from(written)), "{target}");
        let tokens = group.handle().snapshot().members[0].prompt_tokens.unwrap();
        assert_eq!((tokens.total, tokens.cache_read, tokens.cache_written), (input, 64, u64::from(written)));
        // Without an affinity and without a quota in tokens nothing is metered.
        let group = group.affinity(None);
        call(&group, request()).await.unwrap();
        assert_eq!((of(target, "read"), group.handle().snapshot().members[0].prompt_tokens), (64.0, None));
    }
}

/// Regression: a counter is a sum of 64 bits, and began again at zero.
#[tokio::test(start_paused = true)]
async fn cached_tokens_that_no_prompt_has_do_not_make_a_counter_go_back() {
    let target = "openai/absurd";
    let (one, provider) = stack(target, |stack| stack);
    let (other, _) = stack("openai/absurd-other", |stack| stack);
    let members = [Member::from(one).weight(1000.0), Member::from(other).weight(0.001)];
    let group = Group::new(target, members).unwrap().affinity(Affinity::tenant());
    let mut before = (0.0, 0);
    for tokens in [64, u64::MAX, 64, u64::MAX - 100] {
        let usage = format!(
            r#""usage":{{"prompt_tokens":{tokens},"completion_tokens":1,"prompt_tokens_details":{{"cached_tokens":{tokens}}}}}"#
        );
        let body =
            format!(r#"{{"choices":[{{"message":{{"content":"x"}},"finish_reason":"stop"}}],{usage}}}"#);
        provider.answer(200).header("content-type", "application/json").body(body);
        let mut request = chat("high tide", false);
        request.extensions_mut().insert(Tenant("a".into()));
        call(&group, request).await.unwrap();
        let read = value("tidegate.tokens.cached", &[("kind", "read"), ("target", target)]);
        let of_member = group.handle().snapshot().members[0].prompt_tokens.unwrap();
        assert!(read > before.0 && of_member.total > before.1, "{read} {of_member:?}");
        assert_eq!((of_member.cache_read, of_member.total), (read as u64, read as u64));
        before = (read, of_member.total);
    }
}

/// Last resorts are no targets of a test.
static LAST_RESORTS: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

async fn fallbacks(target: &str, second: &'static str) {
    let _alone = LAST_RESORTS.lock().await;
    let (other, other_provider) = strict::service::<Payload>();
    let (stack, provider) = stack(target, |stack| {
        stack.fallback(FallbackLayer::new().then(second, other).then_cached(AnswerCache::new()).then_static())
    });
    let lookups = || {
        ["hit", "miss"].map(|kind| value("tidegate.cache.lookups", &[("kind", kind), ("target", "@cached")]))
    };
    let of_kind = |kind, target| value("tidegate.fallbacks", &[("kind", kind), ("target", target)]);
    let before = (of_kind("cached_response", "@cached"), of_kind("static_response", "@static"), lookups());
    let tenant = |prompt| {
        let mut request = chat(prompt, false);
        request.extensions_mut().insert(Tenant("a".into()));
        request
    };
    provider.answer(503);
    completion(&other_provider);
    assert_eq!(call(&stack, tenant("When is high tide?")).await.unwrap(), 200);
    assert_eq!(of_kind("alternative_model", second), 1.0);
    for prompt in ["When is high tide?", "Who was Ada Lovelace and what did she write?"] {
        provider.answer(503);
        other_provider.answer(503);
        assert_eq!(call(&stack, tenant(prompt)).await.unwrap(), 200);
    }
    assert_eq!(of_kind("cached_response", "@cached"), before.0 + 1.0);
    assert_eq!(of_kind("static_response", "@static"), before.1 + 1.0);
    assert_eq!(lookups(), before.2.map(|count| count + 1.0));
}

#[tokio::test(start_paused = true)]
async fn hedges_are_counted_with_their_result_and_the_budget_that_denies_them() {
    hedges("openai/hedges").await;
}

async fn hedges(target: &str) {
    let (stack, provider) = stack(target, |stack| stack.hedge(HedgeLayer::new()));
    for _ in 0..50 {
        completion(&provider).after(SECOND);
        assert_eq!(call(&stack, plain()).await.unwrap(), 200);
    }
    // The budget has two hedges for fifty calls.
    for hedge_wins in [true, false, true] {
        provider.then(late_completion(if hedge_wins { 9 } else { 2 }));
        provider.then(late_completion(if hedge_wins { 2 } else { 9 }));
        assert_eq!(call(&stack, plain()).await.unwrap(), 200);
        provider.clear();
    }
    let of_kind = |kind| value("tidegate.hedges", &[("kind", kind), ("target", target)]);
    assert_eq!(["sent", "won", "lost", "denied"].map(of_kind), [2.0, 1.0, 1.0, 1.0]);
    let attempts = |code| value("tidegate.attempts", &[("code", code), ("target", target)]);
    assert_eq!((attempts("ok"), attempts("E4002")), (53.0, 2.0));
    assert_eq!(value("tidegate.calls", &[("code", "ok"), ("target", target)]), 53.0);
}

/// Regression: it counted as a failed call of its target, which nothing else showed.
#[tokio::test(start_paused = true)]
async fn a_hedge_that_cannot_be_sent_at_once_is_no_call() {
    let (second, other) = strict::service();
    let breaker = CircuitBreakerLayer::new();
    breaker.handle().force_open();
    let next = ResilienceBuilder::new("openai/closed_to_hedges").circuit_breaker(breaker).service(second);
    let chain = FallbackLayer::new().then("openai/closed_to_hedges", next);
    let hedge = HedgeLayer::new().same_target(false);
    let (stack, provider) = stack("openai/late", |stack| stack.hedge(hedge).fallback(chain));
    for _ in 0..50 {
        completion(&provider).after(SECOND);
        assert_eq!(call(&stack, plain()).await.unwrap(), 200);
    }
    provider.then(late_completion(9));
    assert_eq!(call(&stack, plain()).await.unwrap(), 200);
    assert_eq!((other.calls(), stack.signals().snapshot().hedge.unwrap().unavailable), (0, 1));
    let of_target = ("target", "openai/closed_to_hedges");
    assert_eq!(value("tidegate.calls", &[("code", "E3002"), of_target]), 0.0);
    // A call that is no hedge is counted.
    provider.answer(503);
    call(&stack, plain()).await.unwrap();
    assert_eq!(value("tidegate.calls", &[("code", "E3002"), of_target]), 1.0);
}

fn late_completion(seconds: u32) -> Answer {
    let answer = Answer::status(200).header("content-type", "application/json");
    answer
        .body(r#"{"choices":[{"message":{"content":"Low."},"finish_reason":"stop"}]}"#)
        .after(seconds * SECOND)
}

fn chunk(text: &str) -> String {
    format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n")
}

#[tokio::test(start_paused = true)]
async fn a_broken_stream_is_counted_after_its_head_was_a_success() {
    broken_stream("openai/broken").await;
}

async fn broken_stream(target: &str) {
    let (stack, provider) = stack(target, |stack| stack);
    let stream = provider.answer(200).header("content-type", "text/event-stream");
    stream.after(SECOND).pause(SECOND).frame(chunk("Low")).pause(SECOND).break_off("connection reset");
    call(&stack, chat("high tide", true)).await.unwrap_err();
    let of_target = ("target", target);
    assert_eq!(value("tidegate.calls", &[("code", "ok"), of_target]), 1.0);
    assert_eq!(value("tidegate.attempts", &[("code", "ok"), of_target]), 1.0);
    assert_eq!(samples("gen_ai.server.time_to_first_token", &[of_target]), [2.0]);
    assert_eq!(value("tidegate.responses.broken", &[("code", "E3001"), of_target]), 1.0);
    let failure = [("code", "E3001"), ("kind", "transport"), of_target];
    assert_eq!(value("tidegate.failures", &failure), 1.0);
    let duration = [("error.type", "E3001"), of_target];
    assert_eq!(samples("gen_ai.client.operation.duration", &duration), [3.0]);
}

/// Regression: a caller that leaves at the error event, as the official clients do, left a success behind.
#[tokio::test(start_paused = true)]
async fn a_stream_that_fails_in_band_is_counted_once_whether_its_caller_reads_on_or_leaves() {
    use tower::ServiceExt;
    for (target, reads_on) in [("openai/in_band_read", true), ("openai/in_band_left", false)] {
        let (stack, provider) = stack(target, |stack| stack);
        let stream = provider.answer(200).header("content-type", "text/event-stream");
        let error = "data: {\"error\":{\"type\":\"server_error\",\"message\":\"no\"}}\n\n";
        stream.frame(chunk("Low")).frame(error).pause(SECOND);
        let mut body = stack.oneshot(chat("high tide", true)).await.unwrap().into_body();
        for _ in 0..2 {
            body.frame().await.unwrap().unwrap();
        }
        if reads_on {
            body.frame().await.unwrap().unwrap_err();
        }
        drop(body);
        let of_target = ("target", target);
        assert_eq!(value("tidegate.failures", &[("code", "E3001"), ("kind", "in_band"), of_target]), 1.0);
        assert_eq!(value("tidegate.responses.broken", &[("code", "E3001"), of_target]), 1.0);
        let duration = [("error.type", "E3001"), of_target];
        assert_eq!(samples("gen_ai.client.operation.duration", &duration).len(), 1);
    }
}

/// The failure is in the head already, and in the body once more.
#[tokio::test(start_paused = true)]
async fn a_stream_that_begins_with_an_error_is_counted_once() {
    let target = "openai/in_band";
    let (stack, provider) = stack(target, |stack| stack);
    let stream = provider.answer(200).header("content-type", "text/event-stream");
    stream.frame("data: {\"error\":{\"type\":\"server_error\",\"message\":\"no\"}}\n\n");
    call(&stack, chat("high tide", true)).await.unwrap_err();
    let of_target = ("target", target);
    assert_eq!(value("tidegate.failures", &[("code", "E3001"), ("kind", "in_band"), of_target]), 1.0);
    assert_eq!(value("tidegate.responses.broken", &[("code", "E3001"), of_target]), 0.0);
    assert!(samples("gen_ai.server.time_to_first_token", &[of_target]).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_cut_off_is_counted() {
    let target = "openai/cut";
    let (stack, provider) = stack(target, |stack| stack);
    provider.answer(200).frame("{\"choices\":[{\"message\":{\"content\":\"Low.\"}").break_off("reset");
    let _ = call(&stack, Request::put("http://provider.test/").body(Payload::empty()).unwrap()).await;
    assert_eq!(value("tidegate.responses.broken", &[("code", "E3001"), ("target", target)]), 1.0);
}

#[tokio::test(start_paused = true)]
async fn a_broken_connection_is_counted_as_a_failure_of_the_provider() {
    let target = "openai/broken-connection";
    let (stack, provider) = stack(target, |stack| stack);
    provider.fail("connection reset");
    call(&stack, plain()).await.unwrap_err();
    assert_eq!(value("tidegate.attempts", &[("code", "E3001"), ("target", target)]), 1.0);
    let failure = [("code", "E3001"), ("kind", "transport"), ("target", target)];
    assert_eq!(value("tidegate.failures", &failure), 1.0);
}

#[tokio::test(start_paused = true)]
async fn a_continued_stream_counts_as_a_fallback() {
    recorder::install();
    let ((first, provider), (second, other)) = (strict::service(), strict::service());
    let second = ResilienceBuilder::new("openai/continues").service(second);
    let chain = FallbackLayer::new().then("openai/continues", second).continue_streams(StreamContinuation);
    let stack = ResilienceBuilder::new("openai/continued").fallback(chain).service(first);
    let stream = |provider: &Handle| provider.answer(200).header("content-type", "text/event-stream");
    stream(&provider).frame(chunk("Low ")).break_off("connection reset");
    let done = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
    stream(&other).frame(chunk("tide")).frame(done);
    call(&stack, chat("high tide", true)).await.unwrap();
    let continued = [("kind", "continuation"), ("target", "openai/continues")];
    assert_eq!(value("tidegate.fallbacks", &continued), 1.0);
}

/// A call that a gate below the wire rejects was no attempt.
#[tokio::test(start_paused = true)]
async fn a_rejected_call_is_no_attempt() {
    let target = "openai/rejected";
    let limit = RateLimitLayer::per_minute(1).on_limit(OnLimit::Reject);
    let (stack, provider) = stack(target, |stack| stack.rate_limit(limit));
    completion(&provider);
    call(&stack, plain()).await.unwrap();
    call(&stack, plain()).await.unwrap_err();
    let of_target = ("target", target);
    let rejected = [("layer", "rate_limit"), ("reason", "rate limit reached"), of_target];
    assert_eq!(value("tidegate.rejections", &rejected), 1.0);
    assert_eq!(value("tidegate.attempts", &[("code", "E2001"), of_target]), 0.0);
    assert_eq!(value("tidegate.calls", &[("code", "E2001"), of_target]), 1.0);
}

/// 10 000 callers with models of their own, in gates with keys: labels are not from requests.
#[tokio::test(start_paused = true)]
async fn callers_and_models_make_no_series() {
    let target = "openai/callers";
    let (stack, provider) = stack(target, |stack| {
        stack
            .retry(RetryLayer::exponential())
            .backpressure(BackpressureLayer::max_inflight(1).key_by(KeyBy::tenant()))
            .rate_limit(RateLimitLayer::per_minute(5).tokens_per_minute(5_000).key_by(KeyBy::tenant()))
            .circuit_breaker(CircuitBreakerLayer::new().failure_threshold(1).key_by(KeyBy::tenant()))
    });
    let mut series = None;
    for caller in 0..10_000 {
        match caller % 2 {
            0 => provider.answer(400),
            _ => provider.answer(200).body("{}"),
        };
        let body = format!(r#"{{"model":"m-{caller}","messages":[]}}"#);
        let mut request =
            Request::post(format!("http://provider.test/{caller}")).body(Payload::from(body)).unwrap();
        request.extensions_mut().insert(Tenant(format!("caller-{caller}").into()));
        call(&stack, request).await.unwrap();
        if caller % 1_000 == 1 {
            stack.signals().record_metrics(&[]);
            assert_eq!(*series.get_or_insert_with(|| series_of(target)), series_of(target), "{caller}");
        }
    }
}

#[cfg(feature = "hyper-util")]
#[test]
fn a_request_that_was_not_processed_is_counted_as_sent_again() {
    resend("openai/resent");
}

/// Over a real connection, without paused time.
#[cfg(feature = "hyper-util")]
fn resend(target: &str) {
    use hyper_util::client::legacy::Client;
    use hyper_util::rt::TokioExecutor;
    use tidegate::Trail;
    use tidegate_testkit::{ConnectionServer, Reaction};

    recorder::install();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let server = ConnectionServer::http1([Reaction::Answer, Reaction::Close]).await.unwrap();
        let client = |idle| Client::builder(TokioExecutor::new()).pool_max_idle_per_host(idle).build_http();
        let client = tidegate::reconnect::Reconnect::new(client(usize::MAX), client(0));
        for _ in 0..2 {
            let trail = Trail::new();
            trail.enter(&target.into());
            let url = format!("{}/chat/completions", server.base_url());
            let request = Request::post(url).extension(trail).body(Payload::from("{}")).unwrap();
            call(&client, request).await.unwrap();
        }
    });
    let closed = [("reason", "reused connection closed"), ("target", target)];
    assert_eq!(value("tidegate.resends", &closed), 1.0);
}

/// A store that grants every request to one of three processes.
#[derive(Debug, Default)]
struct GenerousStore(store::Settings);

impl SharedStore for GenerousStore {
    fn settings(&self) -> &store::Settings {
        &self.0
    }

    fn salt(&self) -> &str {
        ""
    }

    fn take_lease<'a>(&'a self, _: &'a str, _: LeaseRequest) -> StoreFuture<'a, LeaseGrant> {
        let grant = LeaseGrant {
            is_granted: true,
            processes: 3,
            debts: vec![Duration::ZERO],
            ..LeaseGrant::default()
        };
        Box::pin(async { Ok(grant) })
    }

    fn close<'a>(&'a self, _: &'a str, _: SharedCooldown) -> StoreFuture<'a, bool> {
        Box::pin(async { Ok(true) })
    }

    fn open<'a>(&'a self, _: &'a str, _: Duration, _: Option<QuotaRequest>) -> StoreFuture<'a, ()> {
        Box::pin(async { Ok(()) })
    }

    fn circuit<'a>(&'a self, _: &'a str, _: CircuitChange) -> StoreFuture<'a, CircuitView> {
        Box::pin(async { Ok(CircuitView::Unknown) })
    }

    fn report_calls<'a>(&'a self, _: &'a str, report: WindowReport) -> StoreFuture<'a, SharedWindow> {
        let results = report.results.map(|reported| reported.added).unwrap_or_default();
        Box::pin(async move { Ok(SharedWindow { number: 1, results, ..SharedWindow::default() }) })
    }

    fn listen(&self, _: &str, _: Weak<dyn StoreListener>) {}
}

async fn shared_limit(target: &str) {
    let (service, provider) = stack(target, |stack| {
        let circuit = CircuitBreakerLayer::new().failure_rate_threshold(0.5).shared_window(true);
        let stack = stack.rate_limit(RateLimitLayer::per_second(10)).circuit_breaker(circuit);
        stack.store(Store::new(GenerousStore::default()))
    });
    completion(&provider);
    call(&service, plain()).await.unwrap();
    // The calls are reported.
    tokio::time::sleep(Duration::from_millis(1)).await;
    service.signals().record_metrics(&[]);
    assert_eq!(value("tidegate.rate_limit.shared", &[("target", target)]), 1.0);
    assert_eq!(value("tidegate.rate_limit.processes", &[("target", target)]), 3.0);
    assert_eq!(value("tidegate.circuit.window_shared", &[("target", target)]), 1.0);
}

#[tokio::test(start_paused = true)]
async fn a_shared_limit_has_the_number_of_its_processes() {
    shared_limit("openai/shared").await;
}

/// One row of the table in `docs/metrics.md`.
#[derive(Debug, PartialEq, Eq)]
struct ListedMetric {
    name: String,
    description: Description,
    labels: BTreeSet<String>,
}

fn rows() -> Vec<ListedMetric> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/metrics.md");
    let page = fs::read_to_string(page).unwrap();
    let cells = |line: &str| line.split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    let kind = |kind: &str| ["counter", "gauge", "histogram"].into_iter().find(|it| *it == kind).unwrap();
    let unit = |unit: &str| ["count", "seconds"].into_iter().find(|it| *it == unit).unwrap();
    let spans = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    page.lines()
        .filter(|line| line.starts_with("| `tidegate.") || line.starts_with("| `gen_ai."))
        // A test of the gateway has these.
        .filter(|line| !line.starts_with("| `tidegate.gateway."))
        .map(cells)
        .map(|cells| ListedMetric {
            name: cells[1].trim_matches('`').to_owned(),
            description: Description { kind: kind(&cells[2]), unit: unit(&cells[3]), text: cells[5].clone() },
            labels: spans(&cells[4]),
        })
        .collect()
}

/// The page lists exactly the metrics that are described and recorded, with their labels.
/// Seed items 73 and 82: metrics of each pattern.
#[test]
fn the_page_lists_every_metric_as_it_is_recorded() {
    #[cfg(feature = "hyper-util")]
    resend("openai/page_resent");
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async {
        success("openai/page_success").await;
        retries("openai/page_retries").await;
        open_circuit("openai/page_circuit").await;
        gauges("openai/page_gauges").await;
        shared_limit("openai/page_shared").await;
        fallbacks("openai/page_fallbacks", "openai/page_second").await;
        hedges("openai/page_hedges").await;
        broken_stream("openai/page_broken").await;
        group("openai/page_member", "openai/page_other").await;
        cached_tokens("openai/page_cached", "anthropic/page_cached").await;
    });
    let (rows, described, recorded) = (rows(), described(), recorded());
    let names = |names: Vec<&String>| names.into_iter().cloned().collect::<BTreeSet<_>>();
    let listed = names(rows.iter().map(|row| &row.name).collect());
    assert_eq!(listed, names(described.keys().collect()));
    let is_compiled = |name: &&String| cfg!(feature = "hyper-util") || *name != "tidegate.resends";
    assert_eq!(names(listed.iter().filter(is_compiled).collect()), names(recorded.keys().collect()));
    for row in rows.iter().filter(|row| recorded.contains_key(&row.name)) {
        assert_eq!(row.description, described[&row.name], "{}", row.name);
        let mut labels = recorded[&row.name].clone();
        // The label that the test adds to gauges.
        labels.remove("policy");
        assert_eq!(row.labels, labels, "{}", row.name);
    }
}
