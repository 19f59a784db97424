use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use tower::ServiceExt;
use tower::util::BoxCloneSyncService;
use tower_service::Service;

use crate::{BoxError, HttpService, Payload};

/// The body of an answer from another target. Boxed, since targets differ: one allocation per fallback.
pub type TargetBody = UnsyncBoxBody<Bytes, BoxError>;

/// Another target, whatever its type.
pub(super) type TargetService = BoxCloneSyncService<Request<Payload>, Response<TargetBody>, BoxError>;

/// Another target at work.
pub(super) type TargetFuture = <TargetService as Service<Request<Payload>>>::Future;

/// A service that can be a target of a chain: any stack, or any client.
///
/// Implemented by every such service; there is nothing to implement by hand.
pub trait AsTarget:
    HttpService<Payload, Body: Body<Data = Bytes> + Send + 'static, Future: Send + 'static>
    + Clone
    + Send
    + Sync
    + 'static
{
}

impl<S> AsTarget for S where
    S: HttpService<Payload, Body: Body<Data = Bytes> + Send + 'static, Future: Send + 'static>
        + Clone
        + Send
        + Sync
        + 'static
{
}

/// One target of a chain after the first.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) name: Arc<str>,
    pub(super) service: TargetService,
    pub(super) counts: Arc<Counts>,
}

#[derive(Debug, Default)]
pub(super) struct Counts {
    asked: AtomicU64,
    answered: AtomicU64,
}

/// Who answered in place of the first target; in the extensions of the response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    pub(super) target: Arc<str>,
    pub(super) strategy: Strategy,
}

/// How a fallback came by its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Strategy {
    /// Another model, perhaps of another provider, was asked.
    AlternativeModel,
}

/// The chain that a layer, its services and their clones share.
#[derive(Clone, Debug, Default)]
pub struct Handle(pub(super) Arc<[Target]>);

/// How often a target was asked in place of the first, and how often it had a good answer.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct TargetStatistics {
    /// The name of the target.
    pub target: Arc<str>,
    /// How often it was asked.
    pub asked: u64,
    /// How often it answered well.
    pub answered: u64,
}

impl Target {
    pub(super) fn new<S: AsTarget>(name: &str, service: S) -> Self {
        let erased = service
            .map_response(|response: Response<S::Body>| {
                response.map(|body| UnsyncBoxBody::new(body.map_err(Into::into)))
            })
            .map_err(Into::into);
        Self { name: name.into(), service: BoxCloneSyncService::new(erased), counts: Arc::default() }
    }
}

impl Counts {
    pub(super) fn asked(&self) {
        self.asked.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn answered(&self) {
        self.answered.fetch_add(1, Ordering::Relaxed);
    }
}

impl Answered {
    /// The name of the target that answered.
    #[must_use]
    pub fn target(&self) -> &str {
        &self.target
    }

    /// How the answer was come by.
    #[must_use]
    pub fn strategy(&self) -> Strategy {
        self.strategy
    }
}

impl Strategy {
    /// The name in headers and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AlternativeModel => "alternative_model",
        }
    }
}

impl Handle {
    /// What each target after the first was good for, in the order of the chain.
    #[must_use]
    pub fn statistics(&self) -> Vec<TargetStatistics> {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        self.0
            .iter()
            .map(|target| TargetStatistics {
                target: Arc::clone(&target.name),
                asked: read(&target.counts.asked),
                answered: read(&target.counts.answered),
            })
            .collect()
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target")
            .field("name", &self.name)
            .field("counts", &self.counts)
            .finish_non_exhaustive()
    }
}
