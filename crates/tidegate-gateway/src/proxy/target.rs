use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::TryFutureExt;
use http::{Request, Response};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use tidegate::chain::NamedTarget;
use tidegate::{Error, Payload, Resilience};
use tower::Service;

use crate::client::ProviderClient;

/// The gates of one `provider/model` under one policy.
pub(crate) type TargetStack = Resilience<ProviderClient>;

/// A target of a chain, to which each request is translated and addressed.
pub(crate) type AddressedTarget = NamedTarget<SharedStack>;

/// The body of a response, of any type.
pub(crate) type BoxedBody = UnsyncBoxBody<Bytes, Error>;

/// Shares a stack, and boxes the future of each call and the body of its response. These are two allocations
/// for a call; together they have 2 KiB, which each service of a chain would move.
#[derive(Clone, Debug)]
pub(crate) struct SharedStack(Arc<TargetStack>);

impl SharedStack {
    pub(crate) fn new(stack: TargetStack) -> Self {
        Self(Arc::new(stack))
    }
}

impl Service<Request<Payload>> for SharedStack {
    type Response = Response<BoxedBody>;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<BoxedBody>, Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    // The clone that is called is made ready first.
    fn call(&mut self, request: Request<Payload>) -> Self::Future {
        let call = self.0.send(request);
        Box::pin(call.map_ok(|response| response.map(BodyExt::boxed_unsync)))
    }
}
