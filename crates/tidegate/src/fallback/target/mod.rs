mod capability_filter;
mod target_cooldowns;
mod target_model;

pub(super) use capability_filter::CapabilityFilter;
pub(super) use target_cooldowns::TargetCooldowns;
pub(crate) use target_model::{OutputCap, TargetModel};

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use sync_wrapper::SyncWrapper;
use tower::ServiceExt;
use tower::util::BoxCloneSyncService;
use tower_service::Service;

use super::statistics::TargetCounters;
use crate::sync::unpoisoned;
use crate::{BoxError, Error, HttpService, Payload};

/// The body of a response from another target. Boxed, since targets differ in type: one allocation per
/// fallback.
///
/// The lock makes it `Sync` for bodies that are not. It is taken only to read the size of the body.
#[derive(Debug)]
pub struct TargetBody(Mutex<UnsyncBoxBody<Bytes, Error>>);

/// The service of another target, with its type erased.
pub(super) type TargetService = BoxCloneSyncService<Request<Payload>, Response<TargetBody>, Error>;

/// The future of a call to another target. It is only polled, so that it can be shared.
pub(super) type TargetFuture = SyncWrapper<<TargetService as Service<Request<Payload>>>::Future>;

impl TargetBody {
    pub(super) fn new(body: impl Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static) -> Self {
        Self(Mutex::new(UnsyncBoxBody::new(body.map_err(Error::boxed))))
    }
}

impl Body for TargetBody {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let body = unpoisoned(self.0.get_mut());
        Pin::new(body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        unpoisoned(self.0.lock()).is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        unpoisoned(self.0.lock()).size_hint()
    }
}

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
    /// Its model, or those of the members of a group.
    pub(super) models: Arc<[TargetModel]>,
    pub(super) is_group: bool,
}

impl Target {
    pub(super) fn new<S: AsTarget>(name: &str, service: S) -> Self {
        let erased = service
            .map_response(|response: Response<S::Body>| response.map(TargetBody::new))
            .map_err(Error::new);
        let name: Arc<str> = name.into();
        Self {
            service: BoxCloneSyncService::new(erased),
            counters: Arc::default(),
            models: [TargetModel { name: Arc::clone(&name), output_cap: None }].into(),
            is_group: false,
            name,
        }
    }
}

partial_debug!([] Target, "Target", name, counters);
