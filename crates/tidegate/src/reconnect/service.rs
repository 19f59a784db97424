use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Request;
use hyper_util::client::legacy::connect::capture_connection;
use tower_service::Service;

use super::ResponseFuture;
use super::connections::{BusyConnection, UsedConnections};
use crate::body::clone_request;
use crate::{Error, HttpService, Payload};

/// Sends a request that was not processed again, over a fresh connection; see the [module page](super).
///
/// `S` is a client that is built on hyper-util's, with connections that are kept.
#[derive(Clone)]
pub struct Reconnect<S> {
    inner: S,
    shared: Arc<ReconnectShared<S>>,
}

/// State that a service and its clones share.
pub(super) struct ReconnectShared<S> {
    /// Sends a request for the second time; never ready.
    pub(super) fresh: S,
    pub(super) used: UsedConnections,
    /// Whether `S` reports the connection of a request.
    reports_connection: bool,
}

impl<S> Reconnect<S> {
    /// Sends requests with `inner`, and those that were not processed once more with `fresh`.
    ///
    /// `fresh` is a client like `inner` that keeps no connections (`pool_max_idle_per_host(0)`). It may be a
    /// clone of `inner`; then the second request, too, may be sent over a kept connection that is closed.
    #[must_use]
    pub fn new(inner: S, fresh: S) -> Self {
        Self::with(inner, fresh, true)
    }

    /// Sends requests as [`new`](Self::new) does, with a client that does not report the connection of a
    /// request.
    #[cfg(feature = "reqwest")]
    pub(crate) fn without_report(inner: S, fresh: S) -> Self {
        Self::with(inner, fresh, false)
    }

    fn with(inner: S, fresh: S, reports_connection: bool) -> Self {
        Self {
            inner,
            shared: Arc::new(ReconnectShared { fresh, used: UsedConnections::new(), reports_connection }),
        }
    }

    /// The service that sends requests for the first time.
    pub const fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The service that sends requests for the first time, without this one.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S> ReconnectShared<S> {
    /// Makes the client report the connection of this request.
    pub(super) fn capture(&self, request: &mut Request<Payload>) -> BusyConnection {
        BusyConnection::new(self.reports_connection.then(|| capture_connection(request)), &self.used)
    }
}

impl<S> Service<Request<Payload>> for Reconnect<S>
where
    S: HttpService<Payload> + Clone,
{
    type Response = S::Response;
    type Error = Error;
    type Future = ResponseFuture<S, S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx).map_err(Error::new)
    }

    fn call(&mut self, mut request: Request<Payload>) -> Self::Future {
        let again = clone_request(&request).map(Box::new);
        let connection = self.shared.capture(&mut request);
        ResponseFuture::new(self.inner.call(request), connection, again, Arc::clone(&self.shared))
    }
}

partial_debug!([S: fmt::Debug] Reconnect<S>, "Reconnect", inner);
