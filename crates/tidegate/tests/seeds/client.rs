//! Items 62 to 69: all parts together, as a client has them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::{Request, Response};
use http_body_util::BodyExt;
use tidegate::circuit_breaker::State;
use tidegate::fallback::FallbackInfo;
use tidegate::{
    BoxError, CircuitBreakerLayer, FallbackLayer, Gate, Payload, Rejection, Resilience, ResilienceBuilder,
    RetryLayer, Trail, Verdict,
};
use tidegate_testkit::strict::{self, Answer, Handle, Strict};
use tower::service_fn;

use crate::{asking, completion};

/// A stack by its configuration, and the provider behind it.
fn configured(text: &str) -> (Resilience<Strict<Payload>>, Handle) {
    let (service, provider) = strict::service();
    let builder = ResilienceBuilder::from_config(&toml::from_str(text).unwrap()).unwrap();
    (builder.name("openai/gpt-4o").service(service), provider)
}

fn opens_at_once() -> CircuitBreakerLayer {
    CircuitBreakerLayer::new().failure_threshold(1)
}

/// Ours: naming a part is the switch, and none is on by itself.
#[tokio::test(start_paused = true)]
async fn item_62_a_part_is_on_if_it_is_named() {
    for (text, attempts, opens) in [
        ("", 1, false),
        ("retry = {}", 4, false),
        ("circuit_breaker = { failure_threshold = 1 }", 1, true),
        ("retry = { max_retries = 1 }\ncircuit_breaker = { failure_threshold = 2 }", 2, true),
    ] {
        let (stack, provider) = configured(text);
        provider.otherwise(Answer::status(503));
        assert_eq!(stack.send(asking("Who?")).await.unwrap().status(), 503, "{text}");
        assert_eq!(provider.calls(), attempts, "{text}");
        assert_eq!(stack.signals().snapshot().circuit_state == State::Open, opens, "{text}");
    }
    let (first, primary) = strict::service();
    let (second, _other) = strict::service();
    primary.answer(503);
    let chain =
        ResilienceBuilder::new("a/one").fallback(FallbackLayer::new().then("b/two", second)).service(first);
    assert_eq!(chain.send(asking("Who?")).await.unwrap().status(), 200);
}

/// Ours: only if it is told so, since an answer of five minutes is a good one.
#[tokio::test(start_paused = true)]
async fn item_62_the_whole_call_takes_thirty_seconds_if_it_is_told_so() {
    let (stack, provider) = configured("timeout = { total = 30 }");
    provider.answer(200).after(Duration::from_secs(31));
    provider.answer(200).after(Duration::from_secs(29));
    let start = tokio::time::Instant::now();
    assert!(stack.send(asking("Who?")).await.is_err());
    assert_eq!(start.elapsed(), Duration::from_secs(30));
    assert_eq!(stack.send(asking("Who?")).await.unwrap().status(), 200);
}

/// Ours: nor is anybody asked whom the program did not name.
#[tokio::test(start_paused = true)]
async fn item_63_nothing_is_answered_from_a_cache_that_nobody_gave() {
    let (stack, provider) = configured("retry = {}\ncircuit_breaker = {}");
    provider.answer(200).header("content-type", "application/json").body(completion("we are"));
    stack.send(asking("Who?")).await.unwrap().into_body().collect().await.unwrap();
    provider.otherwise(Answer::status(503));
    let response = stack.send(asking("Who?")).await.unwrap();
    assert_eq!(response.status(), 503);
    assert!(response.extensions().get::<FallbackInfo>().is_none());
    assert!(stack.signals().snapshot().fallback.is_empty());
}

/// Ours: what a call says is the caller's, in the provider's dialect; nothing has a default here.
#[tokio::test(start_paused = true)]
async fn item_64_what_the_caller_asks_arrives_as_it_is() {
    let (stack, provider) = configured(
        "retry = {}\ncircuit_breaker = {}\nbackpressure = {}\nrate_limiter = { requests_per_second = 10 }",
    );
    let request = asking("Who?");
    let asked = request.body().bytes().cloned();
    stack.send(request).await.unwrap();
    assert!(asked.is_some());
    assert_eq!(provider.requests()[0].body, asked);
}

#[tokio::test(start_paused = true)]
async fn item_65_an_answer_tells_what_it_took() {
    let [(first, primary), (second, _other)] = [strict::service(), strict::service()];
    let other = ResilienceBuilder::new("b/two").service(second);
    let stack = ResilienceBuilder::new("a/one")
        .retry(RetryLayer::exponential().max_retries(1))
        .circuit_breaker(CircuitBreakerLayer::new().failure_threshold(2))
        .fallback(FallbackLayer::new().then("b/two", other))
        .service(first);
    let response = stack.send(asking("Who?")).await.unwrap();
    assert!(
        response.extensions().get::<FallbackInfo>().is_none() && Trail::of(response.extensions()).is_none()
    );
    drop(response);

    primary.otherwise(Answer::status(503));
    let took = async || {
        let response = stack.send(asking("Who?")).await.unwrap();
        assert_eq!(response.extensions().get::<FallbackInfo>().unwrap().target(), "b/two");
        let trail = Trail::of(response.extensions()).unwrap();
        let has = |is_it: fn(&Verdict) -> bool| trail.steps().iter().any(|step| is_it(&step.verdict));
        let is_retried = has(|verdict| matches!(verdict, Verdict::Waiting(_)));
        let is_refused =
            has(|verdict| matches!(verdict, Verdict::Refused { gate: Gate::CircuitBreaker, .. }));
        (is_retried, is_refused, trail.attempts())
    };
    assert_eq!(took().await, (true, false, 3));
    assert_eq!(took().await, (false, true, 1), "the circuit is open now");
}

/// Ours: the last, since it says how things are now; the first stands in the trail. (With a last resort that is what
/// answers: `the_emergency_answer_comes_last_and_even_past_the_deadline`.)
#[tokio::test(start_paused = true)]
async fn item_66_without_a_last_resort_the_last_real_answer_goes_through() {
    let [(first, primary), (second, other)] = [strict::service(), strict::service()];
    primary.answer(500).body("first");
    other.answer(503).body("last");
    let layer = FallbackLayer::new().then("b/two", second);
    let stack = ResilienceBuilder::new("a/one").fallback(layer).service(first);
    let response = stack.send(asking("Who?")).await.unwrap();
    assert_eq!(response.status(), 503);
    assert_eq!(
        Trail::of(response.extensions()).unwrap().attempts(),
        1,
        "the other is no stack, and has no wire"
    );
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "last");

    // An error as well, as it came.
    primary.answer(500);
    other.then(Answer::error("connection refused"));
    assert_eq!(stack.send(asking("Who?")).await.unwrap_err().to_string(), "connection refused");
}

#[tokio::test(start_paused = true)]
async fn item_67_a_stack_whose_circuit_is_not_closed_is_degraded_and_each_part_is_told() {
    let (service, provider) = strict::service();
    let stack = ResilienceBuilder::new("a/one").circuit_breaker(opens_at_once()).service(service);
    let signals = stack.signals();
    assert!(signals.is_healthy());
    provider.answer(500);
    stack.send(asking("Who?")).await.unwrap();
    assert!(!signals.is_healthy());
    let told = serde_json::to_value(signals.snapshot()).unwrap();
    assert_eq!((&told["target"], &told["circuit_state"]), (&"a/one".into(), &"open".into()));
    for part in ["current_inflight", "rate_remaining", "retry", "fallback"] {
        assert!(told.get(part).is_some(), "{part}");
    }
    // Half-open is not closed: one good answer has yet to come.
    tokio::time::advance(Duration::from_secs(31)).await;
    assert!(!signals.is_healthy());
    stack.send(asking("Who?")).await.unwrap().into_body().collect().await.unwrap();
    assert!(signals.is_healthy());
}

#[tokio::test(start_paused = true)]
async fn item_68_a_reset_forgets_what_closed_the_gates() {
    let (service, provider) = strict::service();
    let stack = ResilienceBuilder::new("a/one").circuit_breaker(opens_at_once()).service(service);
    provider.answer(500);
    stack.send(asking("Who?")).await.unwrap();
    let refused = stack.send(asking("Who?")).await.unwrap_err();
    assert_eq!(Rejection::find(&*refused).unwrap().gate(), Gate::CircuitBreaker);
    stack.signals().reset();
    assert!(stack.signals().is_healthy());
    assert_eq!(stack.send(asking("Who?")).await.unwrap().status(), 200);
    assert_eq!(provider.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn item_69_a_provider_that_fails_three_times_of_ten_is_not_noticed() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&calls);
    let provider = service_fn(move |_: Request<Payload>| {
        let fails = matches!(counting.fetch_add(1, Ordering::Relaxed) % 10, 1 | 5 | 6);
        async move {
            let status = if fails { 503 } else { 200 };
            Ok::<_, BoxError>(Response::builder().status(status).body(Payload::empty()).unwrap())
        }
    });
    let stack = ResilienceBuilder::new("a/one")
        .retry(RetryLayer::exponential())
        .circuit_breaker(CircuitBreakerLayer::new())
        .service(provider);
    for _ in 0..70 {
        let response = stack.send(asking("Who?")).await.unwrap();
        assert_eq!(response.status(), 200);
        response.into_body().collect().await.unwrap();
    }
    assert_eq!(calls.load(Ordering::Relaxed), 100, "three of ten were asked again");
    assert!(stack.signals().is_healthy());
}
