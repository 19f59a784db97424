use std::sync::Arc;
use std::task::Poll;

use tidegate_core::Payload;

use super::Subject;
use super::probe::{
    WakeFlag, assert_no_violation, poll_ready_once, ready, request, respond, send_request, still_serves,
};
use crate::Fault;
use crate::strict::{self, Strict};

/// Checks that the layer reflects the readiness of the inner service.
///
/// # Panics
///
/// If the layer breaks the contract.
pub async fn readiness<S: Subject>(layer: impl Fn(Strict<Payload>) -> S) {
    inner_readiness_is_reflected(&layer).await;
    inner_readiness_errors_pass(&layer).await;
    the_inner_service_is_not_called_early(&layer).await;
    the_ready_instance_is_called(&layer).await;
    a_clone_is_not_ready(&layer).await;
}

async fn inner_readiness_is_reflected<S: Subject>(layer: impl Fn(Strict<Payload>) -> S) {
    let promise = "not ready until the inner service is";
    let (inner, handle) = strict::service();
    let mut service = layer(inner);
    handle.block();
    let wake = Arc::new(WakeFlag::default());
    assert!(wake.poll_ready(&mut service).is_pending(), "contract: {promise}");
    handle.unblock();
    assert!(wake.is_woken(), "contract: the waiting task is woken when the inner service becomes ready");
    ready(promise, &mut service).await;
    assert!(poll_ready_once(&mut service).await.is_ready(), "contract: stays ready until called");
    let _ = respond(promise, service.call(request())).await;
    handle.pending(3);
    still_serves(promise, &mut service, &handle).await;
}

async fn inner_readiness_errors_pass<S: Subject>(layer: impl Fn(Strict<Payload>) -> S) {
    let promise = "an error of the inner poll_ready passes, itself or as a source";
    let (inner, handle) = strict::service();
    let mut service = layer(inner);
    handle.fail_ready("inner service is closed");
    match poll_ready_once(&mut service).await {
        Poll::Ready(Err(error)) => {
            assert!(Fault::find(&*error).is_some(), "contract: {promise}; got: {error}");
        }
        Poll::Ready(Ok(())) => panic!("contract: {promise}; got: ready"),
        Poll::Pending => panic!("contract: {promise}; got: pending"),
    }
    assert_no_violation(promise, &handle);
}

async fn the_inner_service_is_not_called_early<S: Subject>(layer: impl Fn(Strict<Payload>) -> S) {
    let promise = "the inner service is not called before call, and once by it";
    let (inner, handle) = strict::service();
    let mut service = layer(inner);
    ready(promise, &mut service).await;
    tokio::task::yield_now().await;
    assert_eq!(handle.calls(), 0, "contract: {promise}");
    let _ = respond(promise, service.call(request())).await;
    assert_eq!(handle.calls(), 1, "contract: {promise}");
}

/// The strict service panics when another instance is called.
async fn the_ready_instance_is_called<S: Subject>(layer: impl Fn(Strict<Payload>) -> S) {
    let promise = "the instance made ready is the one called";
    let (inner, handle) = strict::service();
    let mut service = layer(inner);
    for calls in 1..=3 {
        let _ = send_request(promise, &mut service).await;
        assert_eq!(handle.calls(), calls, "contract: {promise}");
    }
    // The inner service becomes ready once, so a layer that calls another instance than the ready one never
    // completes.
    ready(promise, &mut service).await;
    handle.block();
    let _ = respond(promise, service.call(request())).await;
    assert!(
        poll_ready_once(&mut service).await.is_pending(),
        "contract: poll_ready polls the inner service again after each call"
    );
    handle.unblock();
    still_serves(promise, &mut service, &handle).await;
    assert_eq!(handle.reserved(), 0, "contract: no instance stays ready: {promise}");
}

async fn a_clone_is_not_ready<S: Subject>(layer: impl Fn(Strict<Payload>) -> S) {
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

    // A ready clone that is dropped takes no permit with it.
    ready(promise, &mut clone).await;
    drop(clone);
    still_serves("a ready clone was dropped without a call", &mut service, &handle).await;
}
