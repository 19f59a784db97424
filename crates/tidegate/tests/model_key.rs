//! A state per model, where no extension has the model.

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use tidegate::fallback::{AnswerCache, FallbackInfo};
use tidegate::key::Model;
use tidegate::provider::{Gate, RejectionReason};
use tidegate::rate_limit::OnLimit;
use tidegate::{
    BackpressureLayer, BoxError, CircuitBreakerLayer, ErrorCode, FallbackLayer, KeyBy, Payload,
    RateLimitLayer, Rejection, ResilienceBuilder, RetryLayer,
};
use tidegate_testkit::strict::{self, Answer};
use tower::{Layer, ServiceExt, service_fn};

fn one_per_minute() -> RateLimitLayer {
    RateLimitLayer::per_minute(1).on_limit(OnLimit::Reject).key_by(KeyBy::model())
}

fn body(model: &str) -> String {
    format!(r#"{{"messages":[{{"role":"user","content":"model"}}],"model":"{model}"}}"#)
}

fn request(body: impl Into<Payload>) -> Request<Payload> {
    Request::post("http://provider.test/v1/chat/completions").body(body.into()).unwrap()
}

/// The gate that rejected for want of a model, or because its quota is spent.
fn rejection<T>(result: Result<T, impl Into<BoxError>>) -> (Gate, RejectionReason, ErrorCode) {
    let error = result.err().expect("a rejection").into();
    let rejection = Rejection::find(&*error).expect("a rejection");
    (rejection.gate(), rejection.reason(), rejection.code())
}

#[tokio::test(start_paused = true)]
async fn a_layer_alone_limits_each_model_of_a_buffered_body() {
    let (service, provider) = strict::service();
    let layer = one_per_minute();
    let (handle, limited) = (layer.handle(), layer.layer(service));
    for model in ["a", "b"] {
        limited.send(request(body(model))).await.unwrap();
        let rejected = rejection(limited.send(request(body(model))).await);
        assert_eq!(rejected, (Gate::RateLimit, RejectionReason::RateLimitReached, ErrorCode::RateLimited));
    }
    let mut extended = request(body("a"));
    extended.extensions_mut().insert(Model("c".into()));
    limited.send(extended).await.unwrap();
    assert_eq!((handle.keys(), provider.calls()), (3, 3));
}

#[tokio::test(start_paused = true)]
async fn no_gate_lets_requests_without_a_model_share_a_key() {
    let streamed = || request(Payload::streamed(Payload::from(body("a"))));
    for make in [streamed, || request("{}"), || request("")] {
        let (service, provider) = strict::service();
        let bulkhead = BackpressureLayer::max_inflight(1).key_by(KeyBy::model());
        let breaker = CircuitBreakerLayer::new().key_by(KeyBy::model());
        let results = [
            rejection(bulkhead.layer(service.clone()).oneshot(make()).await),
            rejection(one_per_minute().layer(service.clone()).oneshot(make()).await),
            rejection(breaker.layer(service).oneshot(make()).await),
        ];
        let gates = [Gate::Backpressure, Gate::RateLimit, Gate::CircuitBreaker];
        assert_eq!(results, gates.map(|gate| (gate, RejectionReason::NoModel, ErrorCode::InvalidRequest)));
        assert_eq!((provider.calls(), bulkhead.handle().keys(), breaker.handle().keys()), (0, 0, 0));
        let peeked = bulkhead.handle().peek_for(&make()).or(breaker.handle().peek_for(&make()));
        assert_eq!(peeked.unwrap().reason(), RejectionReason::NoModel);
    }
}

/// A layer that is alone around a service of another body than `Payload` cannot read it.
#[tokio::test(start_paused = true)]
async fn a_body_of_another_type_is_rejected_with_the_name_of_the_setting_and_the_extension() {
    let service = service_fn(async |_: Request<Full<Bytes>>| {
        Ok::<_, BoxError>(Response::new(Full::<Bytes>::default()))
    });
    let limited = one_per_minute().layer(service);
    let error = limited.oneshot(Request::new(Full::from(body("a")))).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "key_by is model, and the request has neither a key::Model extension nor a buffered body with a model"
    );
}

#[tokio::test(start_paused = true)]
async fn a_disabled_layer_needs_no_model() {
    let (service, _provider) = strict::service();
    let bulkhead = BackpressureLayer::disabled().key_by(KeyBy::model());
    bulkhead.layer(service).oneshot(request("{}")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_stack_reads_the_model_of_every_body_that_it_buffers() {
    let (service, provider) = strict::service();
    let stack = ResilienceBuilder::new("a/one")
        .retry(RetryLayer::exponential().max_retries(1))
        .backpressure(BackpressureLayer::max_inflight(1).key_by(KeyBy::model()))
        .rate_limit(one_per_minute())
        .circuit_breaker(CircuitBreakerLayer::new().key_by(KeyBy::model()))
        .service(service);
    let signals = stack.signals();
    assert!(signals.preflight_for(&request(body("a"))).is_ok());
    assert_eq!(rejection(signals.preflight_for(&request("{}"))).1, RejectionReason::NoModel);
    let full =
        |model: &str| Request::post("http://provider.test/").body(Full::<Bytes>::from(body(model))).unwrap();
    for model in ["a", "b"] {
        stack.send(full(model)).await.unwrap().into_body().collect().await.unwrap();
        assert_eq!(rejection(stack.send(full(model)).await).1, RejectionReason::RateLimitReached);
    }
    assert_eq!((signals.keys(9).len(), provider.calls()), (2, 2));
    let rejected = rejection(stack.send(request("{}")).await);
    assert_eq!((rejected.1, provider.calls()), (RejectionReason::NoModel, 2), "and it is not retried");
}

/// Without a layer that repeats requests, a stack buffers none.
#[tokio::test(start_paused = true)]
async fn a_stack_of_gates_alone_reads_payloads_alone() {
    let (service, provider) = strict::service();
    let stack = ResilienceBuilder::new("a/one").rate_limit(one_per_minute()).service(service);
    stack.send(request(body("a"))).await.unwrap();
    let full = Request::post("http://provider.test/").body(Full::<Bytes>::from(body("b"))).unwrap();
    assert_eq!(rejection(stack.send(full).await).1, RejectionReason::NoModel);
    assert_eq!(provider.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn answers_are_not_shared_between_requests_without_a_model() {
    let (service, provider) = strict::service();
    let layer = FallbackLayer::new().then_cached(AnswerCache::new()).cache_by(KeyBy::model());
    let chain = layer.layer(service);
    let ask = |body: &str| chain.clone().oneshot(request(body.to_owned()));
    let nameless = r#"{"messages":[{"role":"user","content":"model"}]}"#;
    let answer =
        r#"{"choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}]}"#;
    for (body, is_cached) in [(&*body("a"), true), (nameless, false)] {
        provider.answer(200).header("content-type", "application/json").body(answer);
        ask(body).await.unwrap().into_body().collect().await.unwrap();
        provider.then(Answer::status(503));
        let response = ask(body).await.unwrap();
        assert_eq!(response.extensions().get::<FallbackInfo>().is_some(), is_cached, "{body}");
    }
}
