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

use super::ResponseBody;
use super::buffered_response::BufferedResponse;
use super::layer::Settings;
use crate::{BoxError, HttpService, Payload};

/// Calls the target in its dialect, and reads a buffered response to its end.
#[pin_project]
pub struct ResponseFuture<S, F, A, B> {
    #[pin]
    state: State<S, F, A, B>,
    answer_cap: usize,
}

#[pin_project(project = StateProj)]
enum State<S, F, A, B> {
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
    Rejected(Option<BoxError>),
}

impl<S, B> ResponseFuture<S, S::Future, S::Body, B>
where
    S: HttpService<Payload>,
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

impl<S: HttpService<Payload>, B> State<S, S::Future, S::Body, B> {
    fn calling(inner: &mut S, request: Request<Payload>, settings: &Settings) -> Self {
        match settings.translate(request) {
            Ok((request, translator)) => Self::Calling { future: inner.call(request), translator },
            Err(rejected) => Self::Rejected(Some(rejected)),
        }
    }
}

impl<S, B> Future for ResponseFuture<S, S::Future, S::Body, B>
where
    S: HttpService<Payload, Body: Body<Data = Bytes>>,
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    type Output = Result<Response<ResponseBody<S::Body>>, BoxError>;

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
                    let response = ready!(future.poll(cx)).map_err(Into::into)?;
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
