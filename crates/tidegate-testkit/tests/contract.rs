//! The contract suite accepts correct layers and names the violation of incorrect ones.

use std::future::{Future, Ready, ready};
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{HeaderValue, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use tidegate_core::{BoxError, Payload};
use tidegate_testkit::contract;
use tidegate_testkit::strict::{ResponseFuture, Strict, StrictBody};
use tower_service::Service;

type Inner = Strict<Payload>;
type BoxedResponse<B> = Pin<Box<dyn Future<Output = Result<Response<B>, BoxError>> + Send>>;

#[tokio::test(start_paused = true)]
async fn a_layer_that_does_nothing_passes() {
    contract::check(|inner| inner).await;
}

/// A correct layer: it calls the ready instance and keeps a clone in its place.
#[derive(Clone)]
struct Swap(Inner);

impl Service<Request<Payload>> for Swap {
    type Response = Response<StrictBody>;
    type Error = BoxError;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Payload>) -> ResponseFuture {
        let clone = self.0.clone();
        std::mem::replace(&mut self.0, clone).call(request)
    }
}

#[tokio::test(start_paused = true)]
async fn a_layer_that_swaps_passes() {
    contract::check(Swap).await;
}

/// Calls the inner service when its future is first polled, and retries once if that fails.
#[derive(Clone)]
struct RetriesOnce(Inner);

impl Service<Request<Payload>> for RetriesOnce {
    type Response = Response<StrictBody>;
    type Error = BoxError;
    type Future = BoxedResponse<StrictBody>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Payload>) -> Self::Future {
        let clone = self.0.clone();
        let mut inner = std::mem::replace(&mut self.0, clone);
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let again = Request::from_parts(head.clone(), body.replay().ok_or("not to be sent twice")?);
            match inner.call(Request::from_parts(head, body)).await {
                Ok(response) => Ok(response),
                Err(_) => {
                    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
                    std::future::poll_fn(|cx| inner.poll_ready(cx)).await?;
                    inner.call(again).await
                }
            }
        })
    }
}

#[tokio::test(start_paused = true)]
async fn a_layer_that_calls_late_and_twice_passes() {
    contract::check(RetriesOnce).await;
}

/// Calls the new clone and keeps the ready instance.
#[derive(Clone)]
struct CallsClone(Inner);

impl Service<Request<Payload>> for CallsClone {
    type Response = Response<StrictBody>;
    type Error = BoxError;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Payload>) -> ResponseFuture {
        self.0.clone().call(request)
    }
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "a clone was called on the readiness of the original")]
async fn calling_the_clone_is_found() {
    contract::check(CallsClone).await;
}

/// Is always ready, and polls the inner service's readiness in its future.
#[derive(Clone)]
struct AlwaysReady(Inner);

impl Service<Request<Payload>> for AlwaysReady {
    type Response = Response<StrictBody>;
    type Error = BoxError;
    type Future = BoxedResponse<StrictBody>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Payload>) -> Self::Future {
        let mut inner = self.0.clone();
        Box::pin(async move {
            std::future::poll_fn(|cx| inner.poll_ready(cx)).await?;
            inner.call(request).await
        })
    }
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "not ready until the inner service is")]
async fn readiness_of_its_own_is_found() {
    contract::check(AlwaysReady).await;
}

/// Stores readiness beside the service, so that a clone copies it.
#[derive(Clone)]
struct RemembersReadiness {
    inner: Inner,
    is_ready: bool,
}

impl Service<Request<Payload>> for RemembersReadiness {
    type Response = Response<StrictBody>;
    type Error = BoxError;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        if !self.is_ready {
            std::task::ready!(self.inner.poll_ready(cx))?;
            self.is_ready = true;
        }
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Payload>) -> ResponseFuture {
        self.is_ready = false;
        self.inner.call(request)
    }
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "a clone of a ready service is not ready by that")]
async fn copied_readiness_is_found() {
    contract::check(|inner| RemembersReadiness { inner, is_ready: false }).await;
}

/// Runs the call in a task, which continues after the caller drops the future.
#[derive(Clone)]
struct Spawns(Inner);

impl Service<Request<Payload>> for Spawns {
    type Response = Response<StrictBody>;
    type Error = BoxError;
    type Future = BoxedResponse<StrictBody>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Payload>) -> Self::Future {
        let call = tokio::spawn(self.0.call(request));
        Box::pin(async move { call.await? })
    }
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "an inner future lives on")]
async fn a_call_that_outlives_its_caller_is_found() {
    contract::check(Spawns).await;
}

/// Maps the response with a function.
struct MapsResponse<B>(Inner, fn(Response<StrictBody>) -> BoxedResponse<B>);

impl<B> Clone for MapsResponse<B> {
    fn clone(&self) -> Self {
        Self(self.0.clone(), self.1)
    }
}

impl<B: 'static> Service<Request<Payload>> for MapsResponse<B> {
    type Response = Response<B>;
    type Error = BoxError;
    type Future = BoxedResponse<B>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Payload>) -> Self::Future {
        let (answer, change) = (self.0.call(request), self.1);
        Box::pin(async move { change(answer.await?).await })
    }
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "nothing happened for an hour")]
async fn collecting_a_stream_is_found() {
    contract::check(|inner| {
        MapsResponse(inner, |response| {
            Box::pin(async move {
                let (head, body) = response.into_parts();
                Ok(Response::from_parts(head, Full::new(body.collect().await?.to_bytes())))
            })
        })
    })
    .await;
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "the length of a body passes unchanged")]
async fn a_lost_size_hint_is_found() {
    contract::check(|inner| {
        MapsResponse(inner, |response| {
            let body = |body: StrictBody| UnsyncBoxBody::new(body.map_frame(|frame| frame));
            Box::pin(ready(Ok(response.map(body))))
        })
    })
    .await;
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "status, headers and extensions")]
async fn an_added_header_is_found() {
    contract::check(|inner| {
        MapsResponse(inner, |mut response| {
            response.headers_mut().insert("x-extra", HeaderValue::from_static("1"));
            Box::pin(ready(Ok(response)))
        })
    })
    .await;
}

/// Calls the inner service twice on one readiness.
#[derive(Clone)]
struct CallsTwice(Inner);

impl Service<Request<Payload>> for CallsTwice {
    type Response = Response<StrictBody>;
    type Error = BoxError;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Payload>) -> ResponseFuture {
        drop(self.0.call(Request::new(Payload::empty())));
        self.0.call(request)
    }
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "called twice on one readiness")]
async fn a_second_call_is_found() {
    contract::check(CallsTwice).await;
}

/// Rejects every request without calling the inner service.
#[derive(Clone)]
struct RejectsAll;

impl Service<Request<Payload>> for RejectsAll {
    type Response = Response<StrictBody>;
    type Error = BoxError;
    type Future = Ready<Result<Response<StrictBody>, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Err("no".into()))
    }

    fn call(&mut self, _: Request<Payload>) -> Self::Future {
        ready(Err("no".into()))
    }
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "contract: ")]
async fn a_layer_that_refuses_everything_is_found() {
    contract::check(|_| RejectsAll).await;
}
