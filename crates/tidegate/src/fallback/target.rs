use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use tower::ServiceExt;
use tower::util::BoxCloneSyncService;
use tower_service::Service;

use super::statistics::TargetCounters;
use crate::{BoxError, HttpService, Payload};

/// The body of a response from another target. Boxed, since targets differ in type: one allocation per
/// fallback.
pub type TargetBody = UnsyncBoxBody<Bytes, BoxError>;

/// The service of another target, with its type erased.
pub(super) type TargetService = BoxCloneSyncService<Request<Payload>, Response<TargetBody>, BoxError>;

/// The future of a call to another target.
pub(super) type TargetFuture = <TargetService as Service<Request<Payload>>>::Future;

/// A service that can be a target of a chain: any stack, or any client.
///
/// Implemented for every such service; there is nothing to implement by hand.
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
    pub(super) counters: Arc<TargetCounters>,
}

impl Target {
    pub(super) fn new<S: AsTarget>(name: &str, service: S) -> Self {
        let erased = service
            .map_response(|response: Response<S::Body>| {
                response.map(|body| UnsyncBoxBody::new(body.map_err(Into::into)))
            })
            .map_err(Into::into);
        Self { name: name.into(), service: BoxCloneSyncService::new(erased), counters: Arc::default() }
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target")
            .field("name", &self.name)
            .field("counts", &self.counters)
            .finish_non_exhaustive()
    }
}
