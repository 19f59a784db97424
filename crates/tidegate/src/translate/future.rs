use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::SystemTime;

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{Request, Response};
use http_body::Body;
use pin_project::pin_project;
use tidegate_core::{BodyMode, Collect, ResponseTranslator};

use tower_service::Service;

use super::ResponseBody;
use super::buffered_response::BufferedResponse;
use super::layer::Settings;
use crate::{BoxError, Error, HttpService, Payload};

/// Calls the target in its dialect, and reads a buffered response to its end.
#[pin_project]
pub struct ResponseFuture<S, F, A: Body, B> {
    #[pin]
    state: State<S, F, A, B>,
    answer_cap: usize,
}

#[pin_project(project = StateProj)]
enum State<S, F, A: Body, B> {
    /// The request body is read.
    Collecting { head: Option<http::request::Parts>, body: Collect<B>, inner: S, settings: Settings },
    /// The target is called.
    Calling {
        #[pin]
        future: F,
        translator: Option<Box<dyn ResponseTranslator>>,
    },
    /// The response body is read to its end.
    Reading(Option<BufferedResponse<A>>),
    /// The request cannot be expressed in the target's dialect.
    Rejected(Option<Error>),
}

impl<S, F, A: Body, B> ResponseFuture<S, F, A, B>
where
    S: HttpService<Payload, Body = A> + Service<Request<Payload>, Future = F>,
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    /// Creates the future for a request with a complete body: the target is called at once.
    pub(super) fn calling(inner: &mut S, request: Request<Payload>, settings: &Settings) -> Self {
        Self { state: State::calling(inner, request, settings), answer_cap: settings.answer_cap }
    }

    /// Creates the future for a request with a body that has to be read first.
    pub(super) fn collecting(inner: S, request: Request<B>, settings: Settings) -> Self {
        let (head, body) = request.into_parts();
        let (body, answer_cap) = (Payload::collect(body, settings.cap()), settings.answer_cap);
        Self { state: State::Collecting { head: Some(head), body, inner, settings }, answer_cap }
    }
}

impl<S, F, A: Body, B> State<S, F, A, B>
where
    S: HttpService<Payload, Body = A> + Service<Request<Payload>, Future = F>,
{
    fn calling(inner: &mut S, request: Request<Payload>, settings: &Settings) -> Self {
        match settings.translate(request) {
            Ok((request, translator)) => Self::Calling { future: inner.call(request), translator },
            Err(rejected) => Self::Rejected(Some(rejected)),
        }
    }
}

impl<S, F, A: Body, B> Future for ResponseFuture<S, F, A, B>
where
    S: HttpService<Payload, Body = A> + Service<Request<Payload>, Future = F>,
    F: Future<Output = Result<Response<A>, S::Error>>,
    A: Body<Data = Bytes, Error: Into<BoxError>>,
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    type Output = Result<Response<ResponseBody<A>>, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            match this.state.as_mut().project() {
                StateProj::Collecting { head, body, inner, settings } => {
                    let body = ready!(Pin::new(body).poll(cx))?;
                    let head = head.take().expect("polled after completion");
                    let next = State::calling(inner, Request::from_parts(head, body), settings);
                    this.state.set(next);
                }
                StateProj::Calling { future, translator } => {
                    let response = ready!(future.poll(cx)).map_err(Error::new)?;
                    let Some(mut translator) = translator.take() else {
                        return Poll::Ready(Ok(response.map(ResponseBody::untouched)));
                    };
                    let (mut head, body) = response.into_parts();
                    let mode = translator.head(&mut head, SystemTime::now())?;
                    if mode != BodyMode::Untouched {
                        head.headers.remove(CONTENT_LENGTH);
                    }
                    let body = match mode {
                        BodyMode::Untouched => ResponseBody::untouched(body),
                        BodyMode::Events => ResponseBody::events(body, translator),
                        BodyMode::Whole => {
                            let response = BufferedResponse::new(head, body, translator, *this.answer_cap);
                            this.state.set(State::Reading(Some(response)));
                            continue;
                        }
                    };
                    return Poll::Ready(Ok(Response::from_parts(head, body)));
                }
                StateProj::Reading(response) => {
                    ready!(response.as_mut().expect("polled after completion").poll_read(cx))?;
                    let whole = response.take().expect("just read").translate();
                    return Poll::Ready(whole.map(|response| response.map(ResponseBody::whole)));
                }
                StateProj::Rejected(error) => {
                    return Poll::Ready(Err(error.take().expect("polled after completion")));
                }
            }
        }
    }
}

impl<S, F, A: Body, B> fmt::Debug for ResponseFuture<S, F, A, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Collecting { .. } => "collecting",
            State::Calling { .. } => "calling",
            State::Reading(_) => "reading",
            State::Rejected(_) => "rejected",
        };
        f.debug_struct("ResponseFuture").field("state", &state).finish_non_exhaustive()
    }
}
