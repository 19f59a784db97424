use std::pin::Pin;

use pin_project::pin_project;
use tokio::time::Sleep;

use super::hedge_future::HedgeFuture;
use super::target::{TargetFuture, TargetService};
use crate::Rejection;
use crate::body::CollectRequest;

/// The step of a call in its chain.
#[pin_project(project = StateProj)]
pub(super) enum State<S, F, B> {
    /// The request body is read, so that it can be sent to several targets. Boxed: rare and large.
    Collecting(Box<Collecting<S, B>>),
    /// The first target is called.
    CallingFirst(#[pin] F),
    /// The deadline passed before any target was called.
    PastDeadline(Option<Rejection>),
    /// The first target is made ready for another call.
    ReadyingFirst,
    /// The next target is made ready.
    Readying(TargetService),
    /// The next target is called.
    CallingNext(TargetFuture),
    /// The target of the hedge is called, and no other.
    CallingHedge(HedgeFuture<F>),
    /// The response was returned.
    Done,
    /// All targets are cooling down, and the call waits until one of them is available.
    Waiting(Pin<Box<Sleep>>),
}

/// A request while its body is being read.
pub(super) struct Collecting<S, B> {
    pub(super) request: CollectRequest<B>,
    /// The first target: the instance that the caller made ready.
    pub(super) first: S,
}
