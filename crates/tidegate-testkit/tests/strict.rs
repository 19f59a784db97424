//! The strict service panics on every violation of Tower's contract, and counts live futures and bodies.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use http::{HeaderMap, Request};
use http_body::Body;
use http_body_util::BodyExt;
use tidegate_core::{Failure, Payload};
use tidegate_testkit::Fault;
use tidegate_testkit::strict::{self, Answer, Strict};
use tokio::time::Instant;
use tower_service::Service;

async fn ready<B: 'static>(service: &mut Strict<B>) {
    poll_fn(|cx| service.poll_ready(cx)).await.unwrap();
}

async fn send(service: &mut Strict<Payload>) -> http::Response<strict::StrictBody> {
    ready(service).await;
    service.call(Request::new(Payload::from("hi"))).await.unwrap()
}

fn panics_with(message: &str, act: impl FnOnce()) {
    let panic = catch_unwind(AssertUnwindSafe(act)).expect_err(message);
    let text = panic.downcast_ref::<String>().unwrap();
    assert!(text.contains(message), "{text}");
}

#[tokio::test]
async fn a_call_without_readiness_panics() {
    let (mut service, handle) = strict::service();
    panics_with("without a successful poll_ready", || drop(service.call(Request::new(()))));
    assert_eq!((handle.calls(), handle.violations().len()), (0, 1));
}

#[tokio::test]
async fn a_second_call_on_one_readiness_panics() {
    let (mut service, handle) = strict::service();
    ready(&mut service).await;
    drop(service.call(Request::new(())));
    panics_with("twice on one readiness", || drop(service.call(Request::new(()))));
    assert_eq!(handle.calls(), 1);
}

#[tokio::test]
async fn a_clone_called_on_the_readiness_of_the_original_panics() {
    let (mut service, handle) = strict::service();
    ready(&mut service).await;
    panics_with("readiness of the original", || drop(service.clone().call(Request::new(()))));
    drop(service.call(Request::new(())));
    assert_eq!(handle.calls(), 1);
}

#[tokio::test]
async fn a_future_polled_after_its_end_panics() {
    let (mut service, handle) = strict::service();
    ready(&mut service).await;
    let mut future = service.call(Request::new(()));
    (&mut future).await.unwrap();
    let polled = poll_fn(|cx| {
        panics_with("after it had completed", || drop(pin!(&mut future).poll(cx)));
        Poll::Ready(())
    });
    polled.await;
    assert_eq!((handle.live_futures(), handle.violations().len()), (0, 1));
}

#[tokio::test]
async fn readiness_follows_the_script() {
    let (mut service, handle) = strict::service::<()>();
    handle.pending(2);
    ready(&mut service).await;
    assert_eq!((handle.ready_polls(), handle.reserved()), (3, 1));

    handle.block();
    let mut clone = service.clone();
    let once = poll_fn(|cx| Poll::Ready(clone.poll_ready(cx).is_pending()));
    assert!(once.await, "a clone is not ready");
    ready(&mut service).await;
    handle.unblock();
    handle.fail_ready("gone");
    let error = poll_fn(|cx| clone.poll_ready(cx)).await.unwrap_err();
    assert_eq!(Fault::find(&*error), Some(&Fault::other("gone")));

    drop(service);
    assert_eq!((handle.reserved(), handle.dropped_ready()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn answers_follow_the_script() {
    let (mut service, handle) = strict::service();
    handle.answer(503).header("retry-after", "2").body("overloaded");
    handle.fail("connection reset");
    handle.fail_with(|| Failure::new(tidegate_core::ErrorCode::Timeout).into());
    handle.answer(200).after(Duration::from_secs(3));
    handle.otherwise(Answer::status(404));

    let response = send(&mut service).await;
    assert_eq!(
        (response.status().as_u16(), &response.headers()["retry-after"]),
        (503, &"2".parse().unwrap())
    );
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "overloaded");
    for text in ["connection reset", "E3003"] {
        ready(&mut service).await;
        let error = service.call(Request::new(Payload::empty())).await.err().unwrap();
        assert!(error.to_string().contains(text), "{error}");
    }
    let before = Instant::now();
    assert_eq!(send(&mut service).await.status(), 200);
    assert_eq!(before.elapsed(), Duration::from_secs(3));
    assert_eq!(send(&mut service).await.status(), 404);
    assert_eq!(send(&mut service).await.status(), 404);
    assert_eq!((handle.calls(), handle.live_futures(), handle.live_bodies()), (6, 0, 0));
}

#[tokio::test]
async fn a_held_answer_is_produced_with_its_latest_settings() {
    let (mut service, handle) = strict::service();
    let held = handle.hang();
    ready(&mut service).await;
    let task = tokio::spawn(service.call(Request::new(())));
    tokio::task::yield_now().await;
    assert_eq!(handle.live_futures(), 1);
    held.body("late").release();
    let response = task.await.unwrap().unwrap();
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "late");
}

#[tokio::test]
async fn a_dropped_future_is_counted() {
    let (mut service, handle) = strict::service();
    handle.hang();
    ready(&mut service).await;
    let future = service.call(Request::new(()));
    assert_eq!((handle.live_futures(), handle.dropped_futures()), (1, 0));
    drop(future);
    assert_eq!((handle.live_futures(), handle.dropped_futures()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_body_sends_its_frames_and_is_live_until_its_end() {
    let (mut service, handle) = strict::service();
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", "1".parse().unwrap());
    handle.answer(200).frame("a").pause(Duration::from_secs(1)).frame("b").trailers(trailers.clone());
    let mut body = send(&mut service).await.into_body();
    let before = Instant::now();
    assert_eq!(body.size_hint().exact(), None);
    for data in ["a", "b"] {
        assert!(!body.is_end_stream());
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), data);
    }
    assert_eq!(before.elapsed(), Duration::from_secs(1));
    assert_eq!(handle.live_bodies(), 1);
    assert_eq!(body.frame().await.unwrap().unwrap().into_trailers().unwrap(), trailers);
    assert!(body.is_end_stream() && body.frame().await.is_none());
    assert_eq!((handle.live_bodies(), handle.finished_bodies(), handle.dropped_bodies()), (0, 1, 0));
}

#[tokio::test]
async fn a_body_may_break_off_or_be_dropped() {
    let (mut service, handle) = strict::service();
    handle.answer(200).frame("a").break_off("reset");
    handle.answer(200).frame("a").stall();
    let error = send(&mut service).await.into_body().collect().await.err().unwrap();
    assert_eq!(Fault::find(&*error), Some(&Fault::other("reset")));
    let stalled = send(&mut service).await;
    assert_eq!(handle.live_bodies(), 1);
    drop(stalled);
    assert_eq!((handle.live_bodies(), handle.finished_bodies(), handle.dropped_bodies()), (0, 1, 1));
}

#[tokio::test]
async fn the_debug_form_of_a_request_does_not_show_its_secrets() {
    let (mut service, handle) = strict::service();
    ready(&mut service).await;
    let request = Request::post("/v1").header("authorization", "Bearer key").body(Payload::from("prompt"));
    service.call(request.unwrap()).await.unwrap();
    let received = &handle.requests()[0];
    assert_eq!((received.method.as_str(), received.body.as_deref()), ("POST", Some(&b"prompt"[..])));
    assert_eq!(received.headers["authorization"], "Bearer key");
    assert_eq!(format!("{received:?}"), "ReceivedRequest(POST /v1)");
}
