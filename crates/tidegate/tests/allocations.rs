//! P18: names and events that are made for every call though nobody listens. Ours: nothing is allocated for
//! observers who are not there.

use std::future::{Future, Ready, ready};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use allocation_counter::measure;
use http::{Request, Response};
use http_body_util::Full;
use tidegate::providers::{Provider, ProviderClassifier};
use tidegate::{
    BackpressureLayer, BoxError, CircuitBreakerLayer, ClassifyLayer, HttpService, KeyBy, Payload,
    RateLimitLayer, ResilienceBuilder, RetryLayer, Tenant,
};
use tower::util::ServiceFn;
use tower::{Layer, Service};

type Answer = Result<Response<Full<bytes::Bytes>>, BoxError>;

fn provider() -> ServiceFn<fn(Request<Payload>) -> Ready<Answer>> {
    tower::service_fn(|_| ready(Ok(Response::new(Full::from("{}")))))
}

/// How often a call that is answered allocates, to the end of its answer and the request not counted.
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

fn of_tenant() -> Request<Payload> {
    Request::post("/").extension(Tenant("a".into())).body(Payload::from("{}")).unwrap()
}

#[test]
fn p18_a_call_within_the_limit_allocates_nothing() {
    let layer = BackpressureLayer::max_inflight(2).name("openai/gpt-4o");
    assert_eq!(allocated(&mut layer.layer(provider()), of_tenant()), 0);
    let mut keyed = layer.key_by(KeyBy::tenant()).layer(provider());
    allocated(&mut keyed, of_tenant());
    assert_eq!(allocated(&mut keyed, of_tenant()), 0, "once the key is known");
    assert_eq!(allocated(&mut BackpressureLayer::disabled().layer(provider()), of_tenant()), 0);
}

/// That the two others can fail: the error of a refusal is seen.
#[test]
fn a_refusal_allocates_its_error_and_nothing_else() {
    let mut cx = Context::from_waker(Waker::noop());
    let mut service = BackpressureLayer::max_inflight(1).max_queued(0).layer(provider());
    let held = pin!(service.call(of_tenant())).poll(&mut cx);
    let mut request = Some(of_tenant());
    let count = measure(|| {
        assert!(matches!(pin!(service.call(request.take().unwrap())).poll(&mut cx), Poll::Ready(Err(_))));
    });
    drop(held);
    assert_eq!(count.count_total, 1);
}

#[test]
fn p18_a_call_that_has_to_wait_allocates_nothing_either() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let _context = runtime.enter();
    let mut cx = Context::from_waker(Waker::noop());
    let mut service = BackpressureLayer::max_inflight(1).layer(provider());
    let mut wait_in_line = || {
        let held = pin!(service.call(of_tenant())).poll(&mut cx);
        let mut request = Some(of_tenant());
        measure(|| {
            let mut waits = pin!(service.call(request.take().unwrap()));
            assert!(waits.as_mut().poll(&mut cx).is_pending());
            drop(held);
            assert!(waits.as_mut().poll(&mut cx).is_ready());
        })
    };
    wait_in_line();
    assert_eq!(wait_in_line().count_total, 0, "once the line has its memory");
}

/// Who tells of his limits with every answer, and so is listened to.
fn telling() -> ServiceFn<fn(Request<Payload>) -> Ready<Answer>> {
    tower::service_fn(|_| {
        let answer = Response::builder()
            .header("x-ratelimit-limit-requests", "500")
            .header("x-ratelimit-remaining-requests", "400")
            .header("x-ratelimit-reset-requests", "12s")
            .header("x-ratelimit-limit-tokens", "30000");
        ready(answer.body(Full::from("{}")).map_err(Into::into))
    })
}

#[test]
fn p18_a_call_that_has_room_and_an_answer_that_is_listened_to_allocate_nothing() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let _context = runtime.enter();
    let layer = RateLimitLayer::per_second(1_000).quota(5_000, std::time::Duration::from_secs(60));
    let layer = layer.classifier(ProviderClassifier::new(Provider::OpenAi)).name("openai/gpt-4o");
    let keyed = layer.clone().key_by(KeyBy::tenant());
    let by_itself = allocated(&mut telling(), of_tenant());
    for layer in [layer, keyed, RateLimitLayer::disabled()] {
        let mut service = layer.layer(telling());
        // What is heard for the first time is written down somewhere.
        for _ in 0..3 {
            allocated(&mut service, of_tenant());
        }
        assert_eq!(allocated(&mut service, of_tenant()), by_itself);
    }
}

/// Of a call that goes well. A part that asks again keeps a copy of the head; the rest is on the stack of the caller.
#[test]
fn p18_the_whole_stack_allocates_the_copy_of_the_head_and_nothing_else() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let _context = runtime.enter();
    let with_headers = || {
        let request = Request::post("https://api.openai.com/v1/chat/completions");
        let request =
            request.header("content-type", "application/json").header("authorization", "Bearer of-no-one");
        request.body(Payload::from("{}")).unwrap()
    };
    let head = with_headers();
    let a_copy = measure(|| drop((head.uri().clone(), head.headers().clone()))).count_total;
    let stack = ResilienceBuilder::new("openai/gpt-4o")
        .retry(RetryLayer::exponential())
        .backpressure(BackpressureLayer::max_inflight(50))
        .rate_limit(RateLimitLayer::per_second(1_000))
        .circuit_breaker(CircuitBreakerLayer::new());
    for (stack, kept) in [(stack.clone(), a_copy), (stack.retry(RetryLayer::disabled()), 0)] {
        let mut service = stack.service(provider());
        allocated(&mut service, with_headers());
        assert_eq!(allocated(&mut service, with_headers()), kept);
        assert_eq!(allocated(&mut service, Request::new(Payload::from("{}"))), 0, "an empty head");
    }
}

/// A meter, and the place among the extensions where the wire finds it; and what watches the body.
#[test]
fn a_call_that_counts_tokens_allocates_its_meter() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let _context = runtime.enter();
    let mut service = RateLimitLayer::new().tokens_per_minute(1_000_000).layer(provider());
    allocated(&mut service, of_tenant());
    assert!(allocated(&mut service, of_tenant()) <= 4);
}

/// As providers answer in one piece.
fn in_json() -> ServiceFn<fn(Request<Payload>) -> Ready<Answer>> {
    const ANSWER: &str = r#"{"id":"a","choices":[{"message":{"role":"assistant","content":"Hi"}}]}"#;
    tower::service_fn(|_| {
        let answer = Response::builder().header("content-type", "application/json");
        ready(answer.body(Full::from(ANSWER)).map_err(Into::into))
    })
}

/// Two places: that of the body, which may not move once it was read from, and that of what was read of it. Neither is
/// needed where the head settles what an answer is.
#[test]
fn an_answer_that_is_looked_into_allocates_its_places_and_copies_nothing() {
    let layer = ClassifyLayer::new(ProviderClassifier::new(Provider::OpenAi));
    // The first of all sets up what is looked for.
    allocated(&mut layer.layer(in_json()), of_tenant());
    let by_itself = allocated(&mut in_json(), of_tenant());
    assert_eq!(allocated(&mut layer.layer(in_json()), of_tenant()), by_itself + 2);
    let by_itself = allocated(&mut provider(), of_tenant());
    assert_eq!(allocated(&mut layer.layer(provider()), of_tenant()), by_itself);
}
