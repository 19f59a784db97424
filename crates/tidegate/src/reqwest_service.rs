//! reqwest as the innermost service.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use pin_project::pin_project;
use reqwest::{Client, ClientBuilder};
use tower_service::Service;

use crate::reconnect::{self, Reconnect};
use crate::{Error, ErrorCode, Failure, FailureKind, Payload};

/// A [`reqwest::Client`] as a service of `http` requests and `http` responses.
///
/// The timeout and the redirect policy of the client apply. The URL is removed from errors, since it may
/// contain a key. A request that cannot be built is E1001, an error of the caller; a timeout of the client is
/// E3003.
///
/// A request of a fallback chain that its target was to address, and did not, is rejected with E1001; see
/// [`FallbackLayer::then`](crate::FallbackLayer::then).
///
/// A request that the provider did not process is sent once more, within the same attempt; see
/// [`reconnect`](mod@crate::reconnect). [`from_builder`](Self::from_builder) sends it over a fresh
/// connection.
///
/// ```
/// use tidegate::{ReqwestService, ResilienceBuilder};
///
/// let openai = ResilienceBuilder::new("openai/gpt-4o").service(ReqwestService::new(reqwest::Client::new()));
/// ```
#[derive(Clone, Debug)]
pub struct ReqwestService(Reconnect<PlainClient>);

/// The client as a service, without [`Reconnect`].
#[derive(Clone)]
struct PlainClient(Client);

// The headers of the client may have credentials.
partial_debug!([] PlainClient, "PlainClient");

impl ReqwestService {
    /// Sends requests with `client`.
    ///
    /// A request that was not processed is sent again with the same client, which may choose another kept
    /// connection that is closed. By default reqwest itself repeats a request up to twice if an HTTP/2
    /// connection refuses it.
    #[must_use]
    pub fn new(client: Client) -> Self {
        let client = PlainClient(client);
        Self(Reconnect::without_report(client.clone(), client))
    }

    /// Sends requests with the client that `builder` returns, and those that were not processed once more
    /// with a second client that keeps no connections. The retries of reqwest are disabled.
    ///
    /// # Errors
    ///
    /// A client cannot be built.
    pub fn from_builder(builder: impl Fn() -> ClientBuilder) -> reqwest::Result<Self> {
        let builder = || builder().retry(reqwest::retry::never());
        let client = PlainClient(builder().build()?);
        let fresh = PlainClient(builder().pool_max_idle_per_host(0).build()?);
        Ok(Self(Reconnect::without_report(client, fresh)))
    }
}

impl Service<Request<Payload>> for ReqwestService {
    type Response = Response<ResponseBody>;
    type Error = Error;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Payload>) -> ResponseFuture {
        ResponseFuture(self.0.call(request))
    }
}

impl Service<Request<Payload>> for PlainClient {
    type Response = Response<ResponseBody>;
    type Error = Error;
    type Future = PlainFuture;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.0.poll_ready(cx).map_err(convert_error)
    }

    fn call(&mut self, request: Request<Payload>) -> PlainFuture {
        #[cfg(all(feature = "config", feature = "translate"))]
        if let Err(error) = crate::chain::check_addressed(&request) {
            return PlainFuture(State::Invalid(Some(error)));
        }
        PlainFuture(match request.map(into_body).try_into() {
            Ok(request) => State::Calling(self.0.call(request)),
            Err(error) => State::Invalid(Some(convert_error(error))),
        })
    }
}

fn into_body(payload: Payload) -> reqwest::Body {
    Bytes::try_from(payload).map_or_else(reqwest::Body::wrap, reqwest::Body::from)
}

fn convert_response(response: reqwest::Response) -> Response<ResponseBody> {
    Response::from(response).map(ResponseBody)
}

/// Converts the error to a [`Failure`] where its kind is known, and removes the URL, which may contain a
/// secret.
fn convert_error(error: reqwest::Error) -> Error {
    let error = error.without_url();
    if error.is_builder() {
        return Failure { kind: FailureKind::Request, ..Failure::new(ErrorCode::InvalidRequest) }.into();
    }
    if error.is_timeout() {
        return Failure { kind: FailureKind::Timeout, ..Failure::new(ErrorCode::Timeout) }.into();
    }
    Error::new(error)
}

/// The response body; its errors are converted like those of the head.
#[pin_project]
#[derive(Debug)]
pub struct ResponseBody(#[pin] reqwest::Body);

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        self.project().0.poll_frame(cx).map(|frame| frame.map(|frame| frame.map_err(convert_error)))
    }

    forward_end!(0);
}

/// Waits for the response head.
#[pin_project]
#[derive(Debug)]
pub struct ResponseFuture(#[pin] reconnect::ResponseFuture<PlainClient, PlainFuture>);

impl Future for ResponseFuture {
    type Output = Result<Response<ResponseBody>, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.project().0.poll(cx)
    }
}

#[pin_project]
struct PlainFuture(#[pin] State);

#[pin_project(project = StateProj)]
enum State {
    Calling(#[pin] <Client as Service<reqwest::Request>>::Future),
    Invalid(Option<Error>),
}

impl Future for PlainFuture {
    type Output = Result<Response<ResponseBody>, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().0.project() {
            StateProj::Calling(future) => {
                Poll::Ready(ready!(future.poll(cx)).map(convert_response).map_err(convert_error))
            }
            StateProj::Invalid(error) => Poll::Ready(Err(error.take().expect("polled after completion"))),
        }
    }
}
