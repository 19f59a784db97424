//! In memory, what tidegate's client does with the connections that it keeps.
//!
//! Over sockets that is [`Reconnect`](tidegate::reconnect::Reconnect): a request that fails on a connection
//! that was used before is sent once more, over a fresh one. In memory there are no connections, so this
//! service counts them.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use http::{Request, Response};
use tidegate::{BoxError, Payload};
use tidegate_testkit::Fault;
use tower::{Service, ServiceExt};

use crate::wire::{RecordedBody, RecordedClient};

/// Sends a request again if the connection that it was sent over was kept, and was reset.
#[derive(Clone, Debug)]
pub(crate) struct KeptConnections {
    wire: RecordedClient,
    /// The idle connections of each provider. A connection is idle as soon as it has a response head.
    idle: Arc<Mutex<Vec<usize>>>,
}

impl KeptConnections {
    pub(crate) fn new(wire: RecordedClient) -> Self {
        let idle = Arc::new(Mutex::new(vec![0; wire.authorities.len()]));
        Self { wire, idle }
    }

    /// Takes an idle connection, if there is one.
    fn take(&self, provider: usize) -> bool {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let is_kept = idle[provider] > 0;
        idle[provider] = idle[provider].saturating_sub(1);
        is_kept
    }

    fn keep(&self, provider: usize) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)[provider] += 1;
    }

    async fn send(self, request: Request<Payload>) -> Result<Response<RecordedBody>, BoxError> {
        let provider = self.wire.provider_of(&request);
        let again = if self.take(provider) { copy(&request) } else { None };
        let result = match self.wire.clone().oneshot(request).await {
            Err(error) if Fault::find(&*error) == Some(&Fault::reset()) => match again {
                Some(again) => self.wire.clone().oneshot(again).await,
                None => Err(error),
            },
            result => result,
        };
        if result.is_ok() {
            self.keep(provider);
        }
        result
    }
}

fn copy(request: &Request<Payload>) -> Option<Request<Payload>> {
    let mut copy = Request::new(request.body().replay()?);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    Some(copy)
}

impl Service<Request<Payload>> for KeptConnections {
    type Response = Response<RecordedBody>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<RecordedBody>, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Payload>) -> Self::Future {
        Box::pin(self.clone().send(request))
    }
}
