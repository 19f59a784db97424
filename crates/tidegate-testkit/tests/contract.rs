//! The contract suite lets good layers through and names what is wrong with bad ones.

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
type Answer<B> = Pin<Box<dyn Future<Output = Result<Response<B>, BoxError>> + Send>>;

#[tokio::test(start_paused = true)]
async fn a_layer_that_does_nothing_passes() {
    contract::check(|inner| inner).await;
}

/// A layer as it should be: the ready instance is called, a clone takes its place.
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

/// Calls when its future is first polled, and asks once more when that fails.
#[derive(Clone)]
struct AsksTwice(Inner);

impl Service<Request<Payload>> for AsksTwice {
    type Response = Response<StrictBody>;
    type Error = BoxError;
    type Future = Answer<StrictBody>;

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
    contract::check(AsksTwice).await;
}

/// Calls the fresh clone and keeps the ready instance.
#[derive(Clone)]
struct CallsTheClone(Inner);

impl Service<Request<Payload>> for CallsTheClone {
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
    contract::check(CallsTheClone).await;
}

/// Always ready; asks the inner service when called.
#[derive(Clone)]
struct AlwaysReady(Inner);

impl Service<Request<Payload>> for AlwaysReady {
    type Response = Response<StrictBody>;
    type Error = BoxError;
    type Future = Answer<StrictBody>;

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

/// Remembers readiness beside the service, so that a clone remembers it too.
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

/// Lets the call go on in a task after the caller has left.
#[derive(Clone)]
struct Spawns(Inner);

impl Service<Request<Payload>> for Spawns {
    type Response = Response<StrictBody>;
    type Error = BoxError;
    type Future = Answer<StrictBody>;

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

/// Changes the answer with a function.
struct Changes<B>(Inner, fn(Response<StrictBody>) -> Answer<B>);

impl<B> Clone for Changes<B> {
    fn clone(&self) -> Self {
        Self(self.0.clone(), self.1)
    }
}

impl<B: 'static> Service<Request<Payload>> for Changes<B> {
    type Response = Response<B>;
    type Error = BoxError;
    type Future = Answer<B>;

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
        Changes(inner, |response| {
            Box::pin(async move {
                let (head, body) = response.into_parts();
                Ok(Response::from_parts(head, Full::new(body.collect().await?.to_bytes())))
            })
        })
    })
    .await;
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "the length of a body comes through")]
async fn a_lost_size_hint_is_found() {
    contract::check(|inner| {
        Changes(inner, |response| {
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
        Changes(inner, |mut response| {
            response.headers_mut().insert("x-extra", HeaderValue::from_static("1"));
            Box::pin(ready(Ok(response)))
        })
    })
    .await;
}

/// Makes itself ready and calls again without being asked to.
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

/// Refuses everything without looking below.
#[derive(Clone)]
struct Refuses;

impl Service<Request<Payload>> for Refuses {
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
    contract::check(|_| Refuses).await;
}
