use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::request::Parts;
use http::{Extensions, Request, Response};
use http_body::Body;
use pin_project::pin_project;
use tidegate_core::{BodyMode, ResponseTranslator};
use tower_service::Service;

use super::ResponseBody;
use super::buffered_response::BufferedResponse;
use super::settings::{PreparedRequest, Settings};
use crate::body::CollectRequest;
use crate::offload::DocumentWork;
use crate::timer::{DeadlineTimer, LazySleep};
use crate::{BoxError, Deadline, Elapsed, Error, HttpService, Payload, clock};

/// Calls the target in its dialect, and reads a buffered response to its end.
#[pin_project]
pub struct ResponseFuture<S, F, A: Body, B> {
    #[pin]
    state: State<S, F, A, B>,
    answer_cap: usize,
}

// Rare states are boxed: every outer layer moves this future.
#[pin_project(project = StateProj)]
enum State<S, F, A: Body, B> {
    /// The request body is read.
    Collecting(Box<Collecting<S, B>>),
    /// A large request is translated on another thread.
    Translating(Box<Translating<S>>),
    /// The target is called.
    Calling {
        #[pin]
        future: F,
        translator: Option<Box<dyn ResponseTranslator>>,
        time: CallTime,
    },
    /// The response body is read to its end.
    Reading(Option<Box<BufferedResponse<A>>>, CallTime),
    /// The response is translated, on another thread if it is large.
    Responding(Box<Responding>),
    /// The request cannot be expressed in the target's dialect.
    Rejected(Option<Error>),
}

struct Collecting<S, B> {
    request: CollectRequest<B>,
    inner: Option<S>,
    settings: Settings,
}

struct Translating<S> {
    prepared: DocumentWork<PreparedRequest>,
    inner: S,
    settings: Settings,
    /// Those of the request.
    extensions: Extensions,
    deadline_timer: DeadlineTimer,
}

struct Responding {
    translated: DocumentWork<Response<Bytes>>,
    time: CallTime,
    sleep: LazySleep,
}

/// When the target was called, and the deadline of the response; `None` if there is no deadline or nothing to
/// translate.
type CallTime = Option<(Instant, Deadline)>;

impl<S, F, A: Body, B> ResponseFuture<S, F, A, B>
where
    S: HttpService<Payload, Body = A> + Service<Request<Payload>, Future = F>,
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    /// Creates the future for a request with a complete body: the target is called at once.
    pub(super) fn calling(inner: &mut S, request: Request<Payload>, settings: &Settings) -> Self {
        Self { state: State::calling(inner, request, settings), answer_cap: settings.answer_cap }
    }

    /// Creates the future for a large request with a complete body.
    pub(super) fn translating(inner: S, request: Request<Payload>, settings: Settings) -> Self {
        let answer_cap = settings.answer_cap;
        Self { state: State::translating(inner, request, settings), answer_cap }
    }

    /// Creates the future for a request with a body that has to be read first.
    pub(super) fn collecting(inner: S, head: Parts, body: B, settings: Settings) -> Self {
        let (request, answer_cap) = (CollectRequest::new(head, body, settings.cap()), settings.answer_cap);
        let collecting = Collecting { request, inner: Some(inner), settings };
        Self { state: State::Collecting(Box::new(collecting)), answer_cap }
    }
}

impl<S, F, A: Body, B> State<S, F, A, B>
where
    S: HttpService<Payload, Body = A> + Service<Request<Payload>, Future = F>,
{
    fn translating(inner: S, request: Request<Payload>, settings: Settings) -> Self {
        let len = request.body().bytes().map_or(0, |bytes| bytes.len());
        let (extensions, own_settings) = (request.extensions().clone(), settings.clone());
        Self::Translating(Box::new(Translating {
            prepared: DocumentWork::new(len, move || settings.translate(request)),
            inner,
            settings: own_settings,
            deadline_timer: DeadlineTimer::new(Deadline::of(&extensions)),
            extensions,
        }))
    }

    fn calling(inner: &mut S, request: Request<Payload>, settings: &Settings) -> Self {
        Self::prepared(inner, settings.translate(request))
    }

    fn prepared(inner: &mut S, prepared: Result<PreparedRequest, Error>) -> Self {
        match prepared {
            Ok((request, translator)) => {
                let deadline = translator.as_ref().and_then(|_| Deadline::of_body(request.extensions()));
                let time = deadline.map(|deadline| (clock::now(), deadline));
                Self::Calling { future: inner.call(request), translator, time }
            }
            Err(rejected) => Self::Rejected(Some(rejected)),
        }
    }
}

impl Responding {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Response<Bytes>, Error>> {
        if let Poll::Ready(translated) = Pin::new(&mut self.translated).poll(cx) {
            return Poll::Ready(translated);
        }
        let Some((began, deadline)) = self.time else { return Poll::Pending };
        ready!(self.sleep.poll_until(deadline.instant(), cx));
        Poll::Ready(Err(Error::new(Elapsed::of_deadline(deadline, began))))
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
                StateProj::Collecting(collecting) => {
                    let Collecting { request, inner, settings } = &mut **collecting;
                    let record = |rejection, extensions: &_| settings.record_rejection(rejection, extensions);
                    let request = ready!(request.poll(cx, record))?;
                    let mut inner = inner.take().expect("polled after completion");
                    let next = if settings.is_slow(&request) {
                        State::translating(inner, request, settings.clone())
                    } else {
                        State::calling(&mut inner, request, settings)
                    };
                    this.state.set(next);
                }
                StateProj::Translating(translating) => {
                    let Translating { prepared, inner, settings, extensions, deadline_timer } =
                        &mut **translating;
                    let prepared = match Pin::new(prepared).poll(cx) {
                        Poll::Ready(prepared) => prepared,
                        Poll::Pending => {
                            let rejection = ready!(deadline_timer.poll_passed(cx));
                            Err(settings.record_rejection(rejection, extensions).into())
                        }
                    };
                    let next = State::prepared(inner, prepared);
                    this.state.set(next);
                }
                StateProj::Calling { future, translator, time } => {
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
                            let reading = State::Reading(Some(Box::new(response)), *time);
                            this.state.set(reading);
                            continue;
                        }
                    };
                    return Poll::Ready(Ok(Response::from_parts(head, body)));
                }
                StateProj::Reading(response, time) => {
                    ready!(response.as_mut().expect("polled after completion").poll_read(cx))?;
                    let translated = response.take().expect("just read").translate();
                    let responding = Responding { translated, time: *time, sleep: LazySleep::default() };
                    this.state.set(State::Responding(Box::new(responding)));
                }
                StateProj::Responding(responding) => {
                    let translated = ready!(responding.poll(cx));
                    return Poll::Ready(translated.map(|response| response.map(ResponseBody::whole)));
                }
                StateProj::Rejected(error) => {
                    return Poll::Ready(Err(error.take().expect("polled after completion")));
                }
            }
        }
    }
}

partial_debug!([S, F, A: Body, B] ResponseFuture<S, F, A, B>, "ResponseFuture");
