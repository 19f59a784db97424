//! P18: names and events that are made for every call though nobody listens. Ours: nothing is allocated for
//! observers who are not there.

use std::future::{Future, Ready, ready};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use allocation_counter::measure;
use http::{Request, Response};
use http_body_util::Full;
use tidegate::{BackpressureLayer, BoxError, HttpService, KeyBy, Payload, Tenant};
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
