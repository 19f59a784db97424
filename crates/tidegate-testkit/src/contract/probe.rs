use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use tidegate_core::{BoxError, Payload};

use super::Subject;
use crate::strict::Handle;

/// The body of the suite's requests.
pub(super) const PROMPT: &str = "{\"model\":\"gpt-4o\",\"messages\":[]}";

pub(super) fn request() -> Request<Payload> {
    Request::post("http://provider.test/v1/chat/completions")
        .header("content-type", "application/json")
        .header("authorization", "Bearer test")
        .body(Payload::from(PROMPT))
        .expect("a valid request")
}

/// Waits for `future` with a limit of one hour, so that a service that never responds fails the test instead
/// of hanging it.
pub(super) async fn in_time<T>(promise: &str, future: impl Future<Output = T>) -> T {
    const LONG: Duration = Duration::from_secs(60 * 60);
    match tokio::time::timeout(LONG, future).await {
        Ok(value) => value,
        Err(_) => panic!("contract: nothing happened for an hour: {promise}"),
    }
}

pub(super) async fn poll_once<F: Future + ?Sized>(mut future: Pin<&mut F>) -> Poll<F::Output> {
    poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await
}

pub(super) async fn poll_ready_once<S: Subject>(service: &mut S) -> Poll<Result<(), BoxError>> {
    poll_fn(|cx| Poll::Ready(service.poll_ready(cx))).await.map_err(Into::into)
}

pub(super) async fn ready<S: Subject>(promise: &str, service: &mut S) {
    let ready = in_time(promise, poll_fn(|cx| service.poll_ready(cx))).await;
    if let Err(error) = ready.map_err(Into::into) {
        panic!("contract: not ready: {promise}: {error}");
    }
}

pub(super) async fn respond<F, B, E>(promise: &str, future: F) -> Response<B>
where
    F: Future<Output = Result<Response<B>, E>>,
    E: Into<BoxError>,
{
    match in_time(promise, future).await {
        Ok(response) => response,
        Err(error) => panic!("contract: an error came back: {promise}: {}", error.into()),
    }
}

/// Makes the service ready, calls it and returns its response.
pub(super) async fn send_request<S: Subject>(promise: &str, service: &mut S) -> Response<S::Body> {
    ready(promise, service).await;
    respond(promise, service.call(request())).await
}

pub(super) async fn next_frame<B>(promise: &str, mut body: Pin<&mut B>) -> Option<Frame<Bytes>>
where
    B: Body<Data = Bytes, Error: Into<BoxError>>,
{
    match in_time(promise, body.frame()).await {
        None => None,
        Some(Ok(frame)) => Some(frame),
        Some(Err(error)) => panic!("contract: the body failed: {promise}: {}", error.into()),
    }
}

/// Sends one more request and reads the whole response, which shows that the service still works.
pub(super) async fn still_serves<S: Subject>(promise: &str, service: &mut S, handle: &Handle) {
    let promise = format!("serves again after: {promise}");
    handle.answer(200).body("again");
    let response = send_request(&promise, service).await;
    assert_eq!(response.status(), 200, "contract: {promise}");
    let mut body = pin!(response.into_body());
    let mut bytes = Vec::new();
    while let Some(frame) = next_frame(&promise, body.as_mut()).await {
        bytes.extend_from_slice(&frame.into_data().unwrap_or_default());
    }
    assert_eq!(bytes, b"again", "contract: {promise}");
    assert_no_violation(&promise, handle);
}

pub(super) fn assert_no_violation(promise: &str, handle: &Handle) {
    assert_eq!(handle.violations(), Vec::<String>::new(), "contract: {promise}");
}

/// Asserts that nothing of the inner service is alive. Cleanup tasks run first.
pub(super) async fn assert_nothing_lives(promise: &str, handle: &Handle) {
    for _ in 0..8 {
        tokio::task::yield_now().await;
    }
    assert_eq!(handle.live_futures(), 0, "contract: an inner future lives on: {promise}");
    assert_eq!(handle.live_bodies(), 0, "contract: an inner body lives on: {promise}");
    assert_eq!(handle.reserved(), 0, "contract: an inner instance is held ready: {promise}");
    assert_no_violation(promise, handle);
}

/// A waker that counts its wake-ups.
#[derive(Default)]
pub(super) struct WakeFlag(AtomicUsize);

impl WakeFlag {
    pub(super) fn is_woken(&self) -> bool {
        self.0.load(Ordering::SeqCst) > 0
    }

    pub(super) fn poll_ready<S: Subject>(self: &Arc<Self>, service: &mut S) -> Poll<Result<(), BoxError>> {
        let waker = Waker::from(Arc::clone(self));
        service.poll_ready(&mut Context::from_waker(&waker)).map_err(Into::into)
    }
}

impl Wake for WakeFlag {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}
