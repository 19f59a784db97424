use std::mem;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{Request, Response, Uri};
use http_body::Body;
use tidegate_core::{ResponseTranslator, Translation, Untranslatable};
use tower_service::Service;

use super::layer::Settings;
use super::{ResponseBody, ResponseFuture};
use crate::offload::LONG_DOCUMENT;
use crate::rejected::record_rejection;
use crate::send::{SendFuture, send};
use crate::{BoxError, Error, ErrorCode, Gate, HttpService, Payload, Rejection, RejectionReason, Trail};

/// Calls a target in its own dialect; see the [module page](crate::translate).
#[derive(Clone, Debug)]
pub struct Translate<S> {
    inner: S,
    settings: Settings,
}

impl<S> Translate<S> {
    pub(super) fn new(inner: S, settings: Settings) -> Self {
        Self { inner, settings }
    }

    /// The wrapped service.
    pub const fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The wrapped service, to be changed.
    pub const fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// The wrapped service, without this layer.
    pub fn into_inner(self) -> S {
        self.inner
    }

    /// Request bodies of up to this many bytes are translated, longer ones are rejected with E1005; 32 MiB by
    /// default.
    #[must_use]
    pub fn body_cap(mut self, bytes: usize) -> Self {
        self.settings.body_cap = bytes;
        self
    }

    /// Sends one request through a clone of this service, which is made ready first.
    pub fn send<B>(
        &self,
        request: Request<B>,
    ) -> SendFuture<Self, Request<B>, <Self as Service<Request<B>>>::Future>
    where
        Self: Service<Request<B>> + Clone,
    {
        send(self, request)
    }
}

/// The request for the target, and the translator of the response; `None` if the request was not translated.
pub(super) type PreparedRequest = (Request<Payload>, Option<Box<dyn ResponseTranslator>>);

impl Settings {
    /// Whether translating `request` would delay other tasks.
    pub(super) fn is_slow(&self, request: &Request<Payload>) -> bool {
        self.translator.is_some()
            && request
                .body()
                .bytes()
                .is_some_and(|bytes| (LONG_DOCUMENT..=self.body_cap).contains(&bytes.len()))
    }

    /// The settings for a request to `uri`: without the translator, if it does not apply.
    fn for_uri(&self, uri: &Uri) -> Self {
        let translator = self.translator.clone().filter(|translator| translator.applies_to(uri));
        Self { translator, ..*self }
    }

    /// The longest body that is read; a request that is not translated need not be read.
    pub(super) fn cap(&self) -> usize {
        if self.translator.is_some() { self.body_cap } else { 0 }
    }

    /// Translates the request into the target's dialect.
    pub(super) fn translate(&self, request: Request<Payload>) -> Result<PreparedRequest, Error> {
        let Some(translator) = &self.translator else { return Ok((request, None)) };
        let (mut head, body) = request.into_parts();
        let target = Trail::of(&head.extensions).and_then(Trail::target);
        let target = target.as_deref().unwrap_or_default();
        let Some(bytes) = body.bytes().filter(|bytes| bytes.len() <= self.body_cap) else {
            let rejection = Rejection::new(Gate::Translate, ErrorCode::RequestTooLarge)
                .because(RejectionReason::BodyTooLong);
            return Err(record_rejection(rejection, target, None, &head.extensions).into());
        };
        let Translation { body, mut response } = translator
            .request(&mut head, bytes)
            .inspect_err(|untranslatable: &Untranslatable| {
                record_rejection(untranslatable.rejection().clone(), target, None, &head.extensions);
            })
            .map_err(Error::new)?;
        response.set_event_cap(self.answer_cap);
        if head.headers.contains_key(CONTENT_LENGTH) {
            head.headers.insert(CONTENT_LENGTH, body.len().into());
        }
        Ok((Request::from_parts(head, body.into()), Some(response)))
    }
}

impl<S, B> Service<Request<B>> for Translate<S>
where
    S: HttpService<Payload, Body: Body<Data = Bytes>> + Clone,
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    type Response = Response<ResponseBody<S::Body>>;
    type Error = Error;
    type Future = ResponseFuture<S, S::Future, S::Body, B>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx).map_err(Error::new)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let settings = self.settings.for_uri(request.uri());
        match Payload::in_request(request) {
            Ok(request) if settings.is_slow(&request) => {
                let clone = self.inner.clone();
                let ready = mem::replace(&mut self.inner, clone);
                ResponseFuture::translating(ready, request, settings)
            }
            Ok(request) => ResponseFuture::calling(&mut self.inner, request, &settings),
            Err(request) => {
                let clone = self.inner.clone();
                let ready = mem::replace(&mut self.inner, clone);
                ResponseFuture::collecting(ready, request, settings)
            }
        }
    }
}
