use std::sync::Arc;

use http::{Extensions, HeaderMap, Method, Request, Response, Uri};
use tidegate::fallback::{Fallback, Handle};
use tidegate::stack::CallLimits;
use tidegate::{Error, FallbackLayer, Payload};
use tower::{Layer, ServiceExt};

use super::target::AddressedTarget;
use crate::endpoint::Endpoint;

/// The fallback chain of one route.
#[derive(Clone, Debug)]
pub(crate) struct RouteChain {
    endpoint: Endpoint,
    first: Arc<str>,
    service: Fallback<AddressedTarget>,
    /// The limits of the call as a whole, over all targets.
    limits: CallLimits,
}

pub(super) type ChainResponse = Response<ChainResponseBody>;
type ChainResponseBody = <Fallback<AddressedTarget> as tidegate::provider::HttpService<Payload>>::Body;

impl RouteChain {
    /// A chain of `first`, then `targets`, each with its name.
    pub(crate) fn new(
        endpoint: Endpoint,
        (name, first): (Arc<str>, AddressedTarget),
        targets: impl IntoIterator<Item = (Arc<str>, AddressedTarget)>,
        fallback: FallbackLayer,
        limits: CallLimits,
    ) -> Self {
        let fallback = targets.into_iter().fold(fallback, |chain, (name, target)| chain.then(&name, target));
        Self { endpoint, first: name, service: fallback.layer(first), limits }
    }

    /// The name of the first target.
    pub(crate) fn first(&self) -> &Arc<str> {
        &self.first
    }

    /// The handle with the statistics of the fallback targets.
    pub(crate) fn handle(&self) -> Handle {
        self.service.handle()
    }

    /// Sends a request along the chain. Its decisions are recorded in the trail in `extensions`.
    pub(super) async fn send(
        &self,
        headers: HeaderMap,
        body: Payload,
        extensions: Extensions,
    ) -> Result<ChainResponse, Error> {
        let mut request = Request::new(body);
        *request.method_mut() = Method::POST;
        // The path of the caller identifies the dialect. Each target replaces it by its own address.
        *request.uri_mut() = Uri::from_static(self.endpoint.path());
        *request.headers_mut() = headers;
        *request.extensions_mut() = extensions;
        self.limits.apply_to(&mut request)?;
        self.service.clone().oneshot(request).await
    }
}
