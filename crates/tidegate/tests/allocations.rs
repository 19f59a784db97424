//! Pitfall P18 (docs/pitfalls.md): names and events that are built for every call without a subscriber. Here,
//! nothing is allocated for observers that are not installed. The same numbers hold with and without the
//! feature `metrics`.

use std::future::{Future, Ready, ready};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use allocation_counter::measure;
use http::{Request, Response};
use http_body_util::Full;
use tidegate::provider::HttpService;
use tidegate::providers::{Provider, ProviderClassifier};
use tidegate::{
    BackpressureLayer, BoxError, CircuitBreakerLayer, ClassifyLayer, KeyBy, Payload, RateLimitLayer,
    ResilienceBuilder, RetryLayer, Tenant,
};
use tower::util::ServiceFn;
use tower::{Layer, Service};

type ProviderResult = Result<Response<Full<bytes::Bytes>>, BoxError>;

fn provider() -> ServiceFn<fn(Request<Payload>) -> Ready<ProviderResult>> {
    tower::service_fn(|_| ready(Ok(Response::new(Full::from("{}")))))
}

/// The allocations of a successful call, to the end of its response, without those of the request.
fn allocated<S: HttpService<Payload>>(service: &mut S, request: Request<Payload>) -> u64 {
    let mut cx = Context::from_waker(Waker::noop());
    let mut request = Some(request);
    let count = measure(|| {
        assert!(matches!(service.poll_ready(&mut cx), Poll::Ready(Ok(()))));
        let mut call = pin!(service.call(request.take().unwrap()));
        assert!(matches!(call.as_mut().poll(&mut cx), Poll::Ready(Ok(_))));
    });
    count.count_total
}

/// The same for a thread that has called the service before: the first call makes a reference count for the
/// thread.
fn allocated_again<S: HttpService<Payload>>(mut service: S) -> u64 {
    allocated(&mut service, of_tenant());
    allocated(&mut service, of_tenant())
}

fn of_tenant() -> Request<Payload> {
    Request::post("/").extension(Tenant("a".into())).body(Payload::from("{}")).unwrap()
}

/// Pitfall P18 (docs/pitfalls.md).
#[test]
fn a_call_within_the_limit_allocates_nothing() {
    let layer = BackpressureLayer::max_inflight(2).name("openai/gpt-4o");
    assert_eq!(allocated_again(layer.layer(provider())), 0);
    assert_eq!(allocated_again(layer.key_by(KeyBy::tenant()).layer(provider())), 0, "once the key is known");
    assert_eq!(allocated(&mut BackpressureLayer::disabled().layer(provider()), of_tenant()), 0);
}

/// A reason that is static needs no memory, and the error holds the rejection in place.
#[test]
fn a_rejection_allocates_nothing() {
    let mut cx = Context::from_waker(Waker::noop());
    let mut service = BackpressureLayer::max_inflight(1).max_queued(0).layer(provider());
    let held = pin!(service.call(of_tenant())).poll(&mut cx);
    let mut reject = || {
        let mut request = Some(of_tenant());
        measure(|| {
            assert!(matches!(pin!(service.call(request.take().unwrap())).poll(&mut cx), Poll::Ready(Err(_))));
        })
    };
    reject();
    let count = reject();
    drop(held);
    assert_eq!(
        count.count_total, 0,
        "once the counter of the rejections is registered, if there are metrics"
    );
}

/// Pitfall P18 (docs/pitfalls.md). The state of a queued call, its timer and the measurement of its answer
/// are boxed, so that the future and the body of every other call are small.
#[test]
fn a_call_that_waits_allocates_its_state_its_timer_and_its_measurement() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let _context = runtime.enter();
    let mut cx = Context::from_waker(Waker::noop());
    let mut service = BackpressureLayer::max_inflight(1).layer(provider());
    let mut wait_in_queue = || {
        let held = pin!(service.call(of_tenant())).poll(&mut cx);
        let mut request = Some(of_tenant());
        measure(|| {
            let mut waits = pin!(service.call(request.take().unwrap()));
            assert!(waits.as_mut().poll(&mut cx).is_pending());
            drop(held);
            assert!(waits.as_mut().poll(&mut cx).is_ready());
        })
    };
    wait_in_queue();
    assert_eq!(wait_in_queue().count_total, 3, "once the queue has its memory");
}

/// A provider that reports its limits with every response, so that the rate limit reads its headers.
fn reporting_limits() -> ServiceFn<fn(Request<Payload>) -> Ready<ProviderResult>> {
    tower::service_fn(|_| {
        let response = Response::builder()
            .header("x-ratelimit-limit-requests", "500")
            .header("x-ratelimit-remaining-requests", "400")
            .header("x-ratelimit-reset-requests", "12s")
            .header("x-ratelimit-limit-tokens", "30000");
        ready(response.body(Full::from("{}")).map_err(Into::into))
    })
}

/// Pitfall P18 (docs/pitfalls.md).
#[test]
fn a_call_within_the_quota_and_its_limit_headers_allocate_nothing() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let _context = runtime.enter();
    let layer = RateLimitLayer::per_second(1_000).quota(5_000, std::time::Duration::from_secs(60));
    let layer = layer.classifier(ProviderClassifier::new(Provider::OpenAi)).name("openai/gpt-4o");
    let keyed = layer.clone().key_by(KeyBy::tenant());
    let without_layer = allocated(&mut reporting_limits(), of_tenant());
    for layer in [layer, keyed, RateLimitLayer::disabled()] {
        let mut service = layer.layer(reporting_limits());
        // The first reported limits allocate the memory that holds them.
        for _ in 0..3 {
            allocated(&mut service, of_tenant());
        }
        assert_eq!(allocated(&mut service, of_tenant()), without_layer);
    }
}

/// Pitfall P18 (docs/pitfalls.md), for a successful call. A part that may retry keeps a copy of the request,
/// in a box; everything else is on the stack of the caller.
#[test]
fn the_whole_stack_allocates_only_a_copy_of_the_request() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let _context = runtime.enter();
    let with_headers = || {
        let request = Request::post("https://api.openai.com/v1/any");
        let request =
            request.header("content-type", "application/json").header("authorization", "Bearer of-no-one");
        request.body(Payload::from("{}")).unwrap()
    };
    // The URI shares its text, and all headers are copied into one buffer.
    let head = with_headers();
    let a_copy = measure(|| drop((head.uri().clone(), vec![0_u8; 100]))).count_total;
    let stack = ResilienceBuilder::new("openai/gpt-4o")
        .retry(RetryLayer::exponential())
        .backpressure(BackpressureLayer::max_inflight(50))
        .rate_limit(RateLimitLayer::per_second(1_000))
        .circuit_breaker(CircuitBreakerLayer::new());
    for (stack, copy, boxed) in [(stack.clone(), a_copy, 1), (stack.retry(RetryLayer::disabled()), 0, 0)] {
        let mut service = stack.service(provider());
        allocated(&mut service, with_headers());
        assert_eq!(allocated(&mut service, with_headers()), copy + boxed);
        assert_eq!(allocated(&mut service, Request::new(Payload::from("{}"))), boxed, "an empty head");
    }
}

/// The allocations are the usage meter, the entry for it in the request extensions, and the guard of the
/// body.
#[test]
fn a_call_that_counts_tokens_allocates_its_meter() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let _context = runtime.enter();
    let mut service = RateLimitLayer::new().tokens_per_minute(1_000_000).layer(provider());
    allocated(&mut service, of_tenant());
    assert!(allocated(&mut service, of_tenant()) <= 4);
}

/// A provider that responds with a JSON body in one frame.
fn in_json() -> ServiceFn<fn(Request<Payload>) -> Ready<ProviderResult>> {
    const BODY: &str = r#"{"id":"a","choices":[{"message":{"role":"assistant","content":"Hi"}}]}"#;
    tower::service_fn(|_| {
        let response = Response::builder().header("content-type", "application/json");
        ready(response.body(Full::from(BODY)).map_err(Into::into))
    })
}

/// The two allocations are the pinned body and the buffer of what was read from it. Neither is made if the
/// head suffices to classify the response.
#[test]
fn a_response_body_that_is_read_allocates_twice_and_is_not_copied() {
    let layer = ClassifyLayer::new(ProviderClassifier::new(Provider::OpenAi));
    // The first call initialises the search patterns, too.
    assert_eq!(allocated_again(layer.layer(in_json())), allocated_again(in_json()) + 2);
    assert_eq!(allocated_again(layer.layer(provider())), allocated_again(provider()));
}
