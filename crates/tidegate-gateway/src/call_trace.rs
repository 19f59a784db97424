//! What follows the calls of a gateway and their attempts: the exporter of traces, if there is one.
//!
//! ```text
//! call begins ─▶ attempt is sent ─▶ head of its response ─▶ next attempt ... ─▶ call ends, with its record
//! ```

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{HeaderMap, Request, Response, StatusCode, Uri};
use pin_project::pin_project;
use tidegate::hedge::HedgeUsage;
use tidegate::provider::UsageMeter;
use tidegate::{ErrorCode, Trail};
use tower::Service;

use crate::calls::CallRecord;

/// Follows the calls of a gateway.
pub(crate) trait CallTracer: fmt::Debug + Send + Sync {
    /// A call to `path` begins.
    fn begin(&self, path: &'static str, headers: &HeaderMap) -> Arc<dyn CallTrace>;

    /// Ends the tracer: what it still holds is sent, within a bound. Blocks until then.
    fn shutdown(&self);
}

/// Follows one call.
pub(crate) trait CallTrace: fmt::Debug + Send + Sync {
    /// The caller requests `model`.
    fn set_model(&self, model: &str);

    /// The next attempt is about to be sent to `uri`, with these headers. `trail` is that of the call, or of
    /// a hedge; `meter` is that of the call, and `hedge` has the tokens of a hedge apart. Returns the index
    /// of the attempt, if it is traced.
    fn begin_attempt(
        &self,
        uri: &Uri,
        headers: &mut HeaderMap,
        trail: &Trail,
        meter: &UsageMeter,
        hedge: Option<&HedgeUsage>,
    ) -> Option<usize>;

    /// The head of the response to the attempt with this index has arrived.
    fn set_attempt_status(&self, attempt: usize, status: StatusCode);

    /// The call has ended, as `record` shows, and its body in the failure with this code, if it was one.
    fn end(&self, record: &CallRecord, body_failure: Option<ErrorCode>);
}

/// The trace of a call, in the extensions of the requests of its attempts.
#[derive(Clone, Debug)]
pub(crate) struct TracedCall {
    pub(crate) trace: Arc<dyn CallTrace>,
    pub(crate) trail: Trail,
    pub(crate) meter: UsageMeter,
}

/// Adds each attempt that is sent to the trace of its call. Without a trace requests pass unchanged.
#[derive(Clone, Debug)]
pub(crate) struct TraceAttempts<S> {
    inner: S,
}

impl<S> TraceAttempts<S> {
    pub(crate) const fn new(inner: S) -> Self {
        Self { inner }
    }
}

impl<S, B, R> Service<Request<B>> for TraceAttempts<S>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = TracedFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (mut head, body) = request.into_parts();
        let traced = head.extensions.remove::<TracedCall>();
        let attempt = traced.and_then(|TracedCall { trace, trail, meter }| {
            let trail = Trail::of(&head.extensions).unwrap_or(&trail);
            let hedge = HedgeUsage::of(&head.extensions);
            let index = trace.begin_attempt(&head.uri, &mut head.headers, trail, &meter, hedge)?;
            Some(TracedAttempt { trace, index })
        });
        let inner = self.inner.call(Request::from_parts(head, body));
        TracedFuture { inner, attempt }
    }
}

/// The response to an attempt.
#[pin_project]
#[derive(Debug)]
pub(crate) struct TracedFuture<F> {
    #[pin]
    inner: F,
    attempt: Option<TracedAttempt>,
}

#[derive(Debug)]
struct TracedAttempt {
    trace: Arc<dyn CallTrace>,
    index: usize,
}

impl<F, R, E> Future for TracedFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = Result<Response<R>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let result = ready!(this.inner.poll(cx));
        if let (Some(TracedAttempt { trace, index }), Ok(response)) = (this.attempt, &result) {
            trace.set_attempt_status(*index, response.status());
        }
        Poll::Ready(result)
    }
}
