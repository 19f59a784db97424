use std::any::Any;
use std::marker::PhantomData;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{Request, Response};
use tidegate_core::{BoxError, Payload};
use tokio::time::Instant;
use tower_service::Service;

use super::state::StrictShared;
use super::{Handle, ReceivedRequest, ResponseFuture, StrictBody};

/// Creates a strict service and the handle that scripts and inspects it.
#[must_use]
pub fn service<B>() -> (Strict<B>, Handle) {
    let shared = Arc::new(StrictShared::new());
    let service =
        Strict { readiness: InstanceReadiness::None, shared: Arc::clone(&shared), request: PhantomData };
    (service, Handle::new(shared))
}

/// A service for requests with a body `B` that responds by a script and panics when Tower's contract is
/// broken. See [the module](crate::strict).
pub struct Strict<B> {
    readiness: InstanceReadiness,
    shared: Arc<StrictShared>,
    request: PhantomData<fn(B)>,
}

/// The readiness of one instance. `Clone` does not copy it.
#[derive(Clone, Copy, PartialEq)]
enum InstanceReadiness {
    None,
    Ready,
    /// The readiness was used by a call.
    Spent,
    /// Not ready, but the original of this clone was, which is the usual mistake.
    LeftAtTheOriginal,
}

impl<B: 'static> Service<Request<B>> for Strict<B> {
    type Response = Response<StrictBody>;
    type Error = BoxError;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        let mut state = self.shared.lock();
        state.counters.ready_polls += 1;
        if self.readiness == InstanceReadiness::Ready {
            return Poll::Ready(Ok(()));
        }
        ready!(state.readiness.poll(cx))?;
        state.counters.reserved += 1;
        self.readiness = InstanceReadiness::Ready;
        Poll::Ready(Ok(()))
    }

    /// # Panics
    ///
    /// If this instance was not made ready for this call.
    fn call(&mut self, request: Request<B>) -> ResponseFuture {
        match self.readiness {
            InstanceReadiness::Ready => self.readiness = InstanceReadiness::Spent,
            InstanceReadiness::None => {
                self.shared.violated("called without a successful poll_ready of the same instance")
            }
            InstanceReadiness::Spent => self.shared.violated("called twice on one readiness"),
            InstanceReadiness::LeftAtTheOriginal => {
                self.shared.violated("a clone was called on the readiness of the original")
            }
        }
        let answer = {
            let mut state = self.shared.lock();
            state.counters.reserved -= 1;
            state.requests.push(received(request));
            state.script.pop_front().unwrap_or_else(|| state.otherwise.clone())
        };
        ResponseFuture::new(answer, Arc::clone(&self.shared))
    }
}

fn received<B: 'static>(request: Request<B>) -> ReceivedRequest {
    let (head, body) = request.into_parts();
    let body = (&body as &dyn Any).downcast_ref::<Payload>().and_then(Payload::bytes).cloned();
    ReceivedRequest {
        method: head.method,
        uri: head.uri,
        headers: head.headers,
        extensions: head.extensions,
        body,
        at: Instant::now(),
    }
}

/// The clone is not ready, even if the original is.
impl<B> Clone for Strict<B> {
    fn clone(&self) -> Self {
        let readiness = match self.readiness {
            InstanceReadiness::Ready => InstanceReadiness::LeftAtTheOriginal,
            _ => InstanceReadiness::None,
        };
        Self { readiness, shared: Arc::clone(&self.shared), request: PhantomData }
    }
}

impl<B> Drop for Strict<B> {
    fn drop(&mut self) {
        if self.readiness == InstanceReadiness::Ready {
            let mut state = self.shared.lock();
            state.counters.reserved -= 1;
            state.counters.dropped_ready += 1;
        }
    }
}

impl<B> std::fmt::Debug for Strict<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.readiness == InstanceReadiness::Ready {
            "Strict(ready)"
        } else {
            "Strict(not ready)"
        })
    }
}
