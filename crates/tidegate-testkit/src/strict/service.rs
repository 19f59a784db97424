use std::any::Any;
use std::marker::PhantomData;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{Request, Response};
use tidegate_core::{BoxError, Payload};
use tokio::time::Instant;
use tower_service::Service;

use super::state::Shared;
use super::{Handle, ResponseFuture, Seen, StrictBody};

/// A strict service and the handle that scripts and questions it.
#[must_use]
pub fn service<B>() -> (Strict<B>, Handle) {
    let shared = Arc::new(Shared::new());
    let service = Strict { readiness: Readiness::None, shared: Arc::clone(&shared), request: PhantomData };
    (service, Handle::new(shared))
}

/// A service for requests with a body `B` that answers by a script and panics when Tower's contract is
/// broken. See [the module](crate::strict).
pub struct Strict<B> {
    readiness: Readiness,
    shared: Arc<Shared>,
    request: PhantomData<fn(B)>,
}

/// What this one instance may do. Never copied by `Clone`.
#[derive(Clone, Copy, PartialEq)]
enum Readiness {
    None,
    Ready,
    /// The one readiness there was is used up.
    Spent,
    /// None, but the original of this clone had one: the usual mistake.
    LeftAtTheOriginal,
}

impl<B: 'static> Service<Request<B>> for Strict<B> {
    type Response = Response<StrictBody>;
    type Error = BoxError;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        let mut state = self.shared.lock();
        state.tally.ready_polls += 1;
        if self.readiness == Readiness::Ready {
            return Poll::Ready(Ok(()));
        }
        ready!(state.readiness.poll(cx))?;
        state.tally.reserved += 1;
        self.readiness = Readiness::Ready;
        Poll::Ready(Ok(()))
    }

    /// # Panics
    ///
    /// If this instance was not made ready for this very call.
    fn call(&mut self, request: Request<B>) -> ResponseFuture {
        match self.readiness {
            Readiness::Ready => self.readiness = Readiness::Spent,
            Readiness::None => {
                self.shared.violated("called without a successful poll_ready of the same instance")
            }
            Readiness::Spent => self.shared.violated("called twice on one readiness"),
            Readiness::LeftAtTheOriginal => {
                self.shared.violated("a clone was called on the readiness of the original")
            }
        }
        let answer = {
            let mut state = self.shared.lock();
            state.tally.reserved -= 1;
            state.requests.push(seen(request));
            state.script.pop_front().unwrap_or_else(|| state.otherwise.clone())
        };
        ResponseFuture::new(answer, Arc::clone(&self.shared))
    }
}

fn seen<B: 'static>(request: Request<B>) -> Seen {
    let (head, body) = request.into_parts();
    let body = (&body as &dyn Any).downcast_ref::<Payload>().and_then(Payload::bytes).cloned();
    Seen {
        method: head.method,
        uri: head.uri,
        headers: head.headers,
        extensions: head.extensions,
        body,
        at: Instant::now(),
    }
}

/// The clone is not ready, whatever the original is.
impl<B> Clone for Strict<B> {
    fn clone(&self) -> Self {
        let readiness = match self.readiness {
            Readiness::Ready => Readiness::LeftAtTheOriginal,
            _ => Readiness::None,
        };
        Self { readiness, shared: Arc::clone(&self.shared), request: PhantomData }
    }
}

impl<B> Drop for Strict<B> {
    fn drop(&mut self) {
        if self.readiness == Readiness::Ready {
            let mut state = self.shared.lock();
            state.tally.reserved -= 1;
            state.tally.wasted += 1;
        }
    }
}

impl<B> std::fmt::Debug for Strict<B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.readiness == Readiness::Ready { "Strict(ready)" } else { "Strict(not ready)" })
    }
}
