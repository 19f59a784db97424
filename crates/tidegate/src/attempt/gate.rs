use std::convert::Infallible;
use std::fmt;
use std::marker::PhantomData;
use std::mem;
use std::task::{Context, Poll};

use http::response::Parts;
use http::{HeaderMap, Request};
use http_body::Body;

use crate::debug::HeaderNames;
use crate::fallback::FallbackInfo;
use crate::{Error, Outcome, Rejection};
use tidegate_core::StreamOutcome;

/// Decides whether an attempt may start now.
pub trait AdmissionGate {
    /// What an admitted attempt holds until its response body has ended.
    type Guard: AttemptGuard;
    /// The place of an attempt in the queue of the gate.
    type Queued: QueuedAttempt<Guard = Self::Guard>;

    /// Admits the attempt, queues it, or rejects it.
    fn admit<B: Body + 'static>(&self, request: &mut Request<B>) -> Admission<Self::Guard, Self::Queued>;

    /// Records that the request was rejected, and returns the rejection.
    fn record_rejection<B: 'static>(&self, rejection: Rejection, request: &Request<B>) -> Rejection;
}

/// The decision of a gate.
#[derive(Debug)]
pub enum Admission<G, Q> {
    /// The attempt may start.
    Admitted(G),
    /// The attempt waits.
    Queued(Q),
    /// The attempt may not start.
    Rejected(Rejection),
}

impl<G, Q> Admission<G, Q> {
    /// The same decision, with what `map` makes of an admitted attempt's guard.
    #[inline]
    pub(crate) fn map<H>(self, map: impl FnOnce(G) -> H) -> Admission<H, Q> {
        match self {
            Self::Admitted(guard) => Admission::Admitted(map(guard)),
            Self::Queued(queued) => Admission::Queued(queued),
            Self::Rejected(rejection) => Admission::Rejected(rejection),
        }
    }
}

/// An attempt in the queue of a gate. Dropping it leaves the queue.
pub trait QueuedAttempt {
    /// What the attempt holds once it is admitted.
    type Guard;

    /// Ready with the guard, or with the rejection when the wait is over.
    fn poll_admitted<B: Body + 'static>(
        &mut self,
        request: &mut Request<B>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Self::Guard, Rejection>>;
}

/// What an admitted attempt holds until its response arrives: a permit, a reservation, the admission of a
/// circuit.
///
/// `Drop` releases it, wherever the future or the body of the attempt is dropped. Dropped without another
/// call, the attempt was cancelled by the caller.
pub trait AttemptGuard {
    /// What the attempt holds from there until its body has ended.
    type Body: BodyGuard;

    /// Whether the guard does anything. One that does not costs nothing.
    const IS_NEEDED: bool = true;

    /// The head of the response has arrived.
    fn on_head(self, head: ResponseHead<'_>, outcome: &Outcome) -> Self::Body;

    /// The attempt has ended in an error instead of a response.
    fn on_error(self, error: &Error, outcome: &Outcome);
}

/// What an attempt holds while its response body is read. `Drop` releases it.
pub trait BodyGuard {
    /// A frame of this many bytes was read.
    fn on_data(&mut self, _bytes: usize) {}

    /// The body has ended: with its last frame (`None`), or with an error of this outcome.
    fn on_end(self, failure: Option<&Outcome>);
}

/// The guard of the bodies behind gate `G`.
pub type BodyGuardOf<G> = <<G as AdmissionGate>::Guard as AttemptGuard>::Body;

/// The part of a response head that guards read.
#[derive(Clone, Copy)]
pub struct ResponseHead<'a>(&'a Parts);

/// Without the values of the headers, which may be credentials.
impl fmt::Debug for ResponseHead<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseHead")
            .field("headers", &HeaderNames(self.headers()))
            .field("stream_outcome", &self.stream_outcome())
            .finish()
    }
}

impl<'a> ResponseHead<'a> {
    pub(crate) fn of(head: &'a Parts) -> Self {
        Self(head)
    }

    /// The headers.
    #[must_use]
    pub fn headers(self) -> &'a HeaderMap {
        &self.0.headers
    }

    /// The outcome of the stream, shared with the wire, if the response is a stream.
    #[must_use]
    pub fn stream_outcome(self) -> Option<&'a StreamOutcome> {
        self.0.extensions.get()
    }

    /// Whether a chain made the response without a provider.
    pub(crate) fn is_local_answer(&self) -> bool {
        self.0.extensions.get().is_some_and(|info: &FallbackInfo| !info.is_from_provider())
    }

    /// Whether the head alone is no evidence that the provider works: it is that of a stream without content
    /// so far.
    pub(crate) fn is_unproven(&self) -> bool {
        self.stream_outcome().is_some_and(StreamOutcome::is_unproven)
    }
}

/// How the service that was made ready is taken for a queued attempt.
pub trait TakeReady<S>: AdmissionGate {
    /// Takes the ready service, and leaves a clone in its place. Only called for a queued attempt.
    fn take_ready(inner: &mut S, queued: &Self::Queued) -> S;
}

/// The service, which has been made ready, in exchange for a clone: the implementation of [`TakeReady`] for
/// gates with a queue.
pub(crate) fn swap_in_clone<S: Clone>(inner: &mut S) -> S {
    let clone = inner.clone();
    mem::replace(inner, clone)
}

/// The queue of a gate that has none.
#[derive(Debug)]
pub struct NoQueue<G>(Infallible, PhantomData<G>);

impl<G> NoQueue<G> {
    /// Cannot be called.
    pub(crate) fn never<T>(&self) -> T {
        match self.0 {}
    }
}

impl<G> QueuedAttempt for NoQueue<G> {
    type Guard = G;

    fn poll_admitted<B: Body + 'static>(
        &mut self,
        _: &mut Request<B>,
        _: &mut Context<'_>,
    ) -> Poll<Result<G, Rejection>> {
        self.never()
    }
}

/// The gate of a wire alone: every attempt is admitted.
#[derive(Clone, Copy, Debug)]
pub struct NoGate;

impl AdmissionGate for NoGate {
    type Guard = ();
    type Queued = NoQueue<()>;

    #[inline]
    fn admit<B: Body + 'static>(&self, _: &mut Request<B>) -> Admission<(), NoQueue<()>> {
        Admission::Admitted(())
    }

    fn record_rejection<B: 'static>(&self, rejection: Rejection, _: &Request<B>) -> Rejection {
        rejection
    }
}

impl<S> TakeReady<S> for NoGate {
    fn take_ready(_: &mut S, queued: &NoQueue<()>) -> S {
        queued.never()
    }
}

impl AttemptGuard for () {
    type Body = ();

    const IS_NEEDED: bool = false;

    fn on_head(self, _: ResponseHead<'_>, _: &Outcome) {}

    fn on_error(self, _: &Error, _: &Outcome) {}
}

impl BodyGuard for () {
    fn on_end(self, _: Option<&Outcome>) {}
}
