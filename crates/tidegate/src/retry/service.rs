use std::sync::Arc;
use std::task::{Context, Poll};

use http::request::Parts;
use http::{Extensions, Request, Response};
use http_body::Body;
use tower_service::Service;

use super::shared::RetryShared;
use super::{Handle, ResponseFuture};
use crate::attempt::{AttemptGates, swap_in_clone};
use crate::body::buffered;
use crate::thread_shard::ByThread;
use crate::{BoxError, Error, HttpService, Payload};

/// Retries failed attempts; see the [module page](crate::retry).
#[derive(Clone, Debug)]
pub struct Retry<S> {
    inner: S,
    shared: ByThread<Arc<RetryShared<S>>>,
}

impl<S> Retry<S> {
    pub(super) fn new(inner: S, handle: Handle, gates_below: Option<AttemptGates>) -> Self {
        Self { inner, shared: RetryShared::new(handle, gates_below).by_thread() }
    }

    /// The wrapped service.
    pub const fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The wrapped service, to be changed. Retries of this service then use it as it is; those of its clones do
    /// not.
    pub fn get_mut(&mut self) -> &mut S {
        self.shared = self.shared.with_own_spare().by_thread();
        &mut self.inner
    }

    /// The wrapped service, to be called without a retry.
    #[inline]
    pub(crate) const fn inner_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// The wrapped service, without retries.
    pub fn into_inner(self) -> S {
        self.inner
    }

    send_method!();

    /// Whether this layer does nothing to a call with these extensions.
    #[inline]
    pub(crate) fn is_idle(&self, extensions: &Extensions) -> bool {
        self.shared.handle.is_idle(extensions)
    }

    /// Calls with a body that is buffered already.
    #[inline]
    pub(crate) fn call_buffered<B>(&mut self, head: Parts, body: Payload) -> ResponseFuture<S, S::Future, B>
    where
        S: Service<Request<Payload>> + Clone,
        B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
    {
        ResponseFuture::calling(&mut self.inner, head, body, &self.shared)
    }

    /// The handle of the statistics that this service shares with its clones.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.shared.handle.clone()
    }
}

impl<S, B> Service<Request<B>> for Retry<S>
where
    S: HttpService<Payload> + Clone,
    B: Body<Data: Send, Error: Into<BoxError>> + Send + 'static,
{
    type Response = Response<S::Body>;
    type Error = Error;
    type Future = ResponseFuture<S, S::Future, B>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx).map_err(Error::new)
    }

    fn call(&mut self, request: Request<B>) -> ResponseFuture<S, S::Future, B> {
        let (head, body) = request.into_parts();
        match buffered(body) {
            Ok(body) => self.call_buffered(head, body),
            Err(body) => {
                let ready = swap_in_clone(&mut self.inner);
                ResponseFuture::collecting(ready, head, body, self.shared.of_thread())
            }
        }
    }
}
