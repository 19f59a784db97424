use std::sync::Arc;
use std::task::Poll;

use tidegate_core::Payload;

use super::Subject;
use super::probe::{Alarm, ask, assert_no_violation, poll_ready_once, ready, request, respond, still_serves};
use crate::Fault;
use crate::strict::{self, Strict};

/// The readiness part of the suite.
///
/// # Panics
///
/// If a promise is broken.
pub async fn readiness<S: Subject>(layer: impl Fn(Strict<Payload>) -> S) {
    inner_readiness_comes_through(&layer).await;
    inner_errors_come_through(&layer).await;
    nothing_is_called_before_call(&layer).await;
    the_readied_instance_is_called(&layer).await;
    a_clone_carries_no_readiness(&layer).await;
}

async fn inner_readiness_comes_through<S: Subject>(layer: impl Fn(Strict<Payload>) -> S) {
    let promise = "not ready until the inner service is";
    let (inner, handle) = strict::service();
    let mut service = layer(inner);
    handle.block();
    let alarm = Arc::new(Alarm::default());
    assert!(alarm.poll_ready(&mut service).is_pending(), "contract: {promise}");
    handle.unblock();
    assert!(alarm.rang(), "contract: whoever waits is woken when the inner service becomes ready");
    ready(promise, &mut service).await;
    assert!(poll_ready_once(&mut service).await.is_ready(), "contract: stays ready until called");
    let _ = respond(promise, service.call(request())).await;
    handle.pending(3);
    still_serves(promise, &mut service, &handle).await;
}

async fn inner_errors_come_through<S: Subject>(layer: impl Fn(Strict<Payload>) -> S) {
    let promise = "an error of the inner poll_ready comes through, itself or as a source";
    let (inner, handle) = strict::service();
    let mut service = layer(inner);
    handle.fail_ready("inner service is gone");
    match poll_ready_once(&mut service).await {
        Poll::Ready(Err(error)) => {
            assert!(Fault::find(&*error).is_some(), "contract: {promise}; got: {error}");
        }
        Poll::Ready(Ok(())) => panic!("contract: {promise}; got: ready"),
        Poll::Pending => panic!("contract: {promise}; got: pending"),
    }
    assert_no_violation(promise, &handle);
}

async fn nothing_is_called_before_call<S: Subject>(layer: impl Fn(Strict<Payload>) -> S) {
    let promise = "the inner service is not called before call, and once by it";
    let (inner, handle) = strict::service();
    let mut service = layer(inner);
    ready(promise, &mut service).await;
    tokio::task::yield_now().await;
    assert_eq!(handle.calls(), 0, "contract: {promise}");
    let _ = respond(promise, service.call(request())).await;
    assert_eq!(handle.calls(), 1, "contract: {promise}");
}

/// The strict service says no if it is not so.
async fn the_readied_instance_is_called<S: Subject>(layer: impl Fn(Strict<Payload>) -> S) {
    let promise = "the instance made ready is the one called";
    let (inner, handle) = strict::service();
    let mut service = layer(inner);
    for calls in 1..=3 {
        let _ = ask(promise, &mut service).await;
        assert_eq!(handle.calls(), calls, "contract: {promise}");
    }
    // Readiness comes once: whoever calls another instance than the one made ready waits for ever.
    ready(promise, &mut service).await;
    handle.block();
    let _ = respond(promise, service.call(request())).await;
    assert!(
        poll_ready_once(&mut service).await.is_pending(),
        "contract: readiness is asked for anew after each call"
    );
    handle.unblock();
    still_serves(promise, &mut service, &handle).await;
    assert_eq!(handle.reserved(), 0, "contract: no instance is left ready behind: {promise}");
}

async fn a_clone_carries_no_readiness<S: Subject>(layer: impl Fn(Strict<Payload>) -> S) {
    let promise = "a clone of a ready service is not ready by that";
    let (inner, handle) = strict::service();
    let mut service = layer(inner);
    ready(promise, &mut service).await;
    let mut clone = service.clone();
    handle.block();
    assert!(poll_ready_once(&mut clone).await.is_pending(), "contract: {promise}");
    let _ = respond("the original keeps its readiness", service.call(request())).await;
    handle.unblock();
    still_serves(promise, &mut clone, &handle).await;
    still_serves(promise, &mut service, &handle).await;

    // A ready clone that is thrown away takes nothing with it.
    ready(promise, &mut clone).await;
    drop(clone);
    still_serves("a ready clone was dropped without a call", &mut service, &handle).await;
}
