use std::sync::Arc;

use http::{Extensions, HeaderMap, Method, Request, Response, Uri};
use tidegate::fallback::{Fallback, Handle};
use tidegate::stack::CallLimits;
use tidegate::{BoxError, FallbackLayer, Payload};
use tower::{Layer, ServiceExt};

use super::target::Target;
use crate::endpoint::Endpoint;

/// Whom to ask for the requests of one route, in order.
#[derive(Clone, Debug)]
pub(crate) struct Chain {
    endpoint: Endpoint,
    first: Arc<str>,
    service: Fallback<Target>,
    /// For the chain as a whole, whoever of it is asked.
    bounds: CallLimits,
}

pub(super) type Answer = Response<AnswerBody>;
type AnswerBody = <Fallback<Target> as tidegate::HttpService<Payload>>::Body;

impl Chain {
    /// `targets` after `first`, each with its name.
    pub(crate) fn new(
        endpoint: Endpoint,
        (name, first): (Arc<str>, Target),
        targets: impl IntoIterator<Item = (Arc<str>, Target)>,
        fallback: FallbackLayer,
        bounds: CallLimits,
    ) -> Self {
        let fallback = targets.into_iter().fold(fallback, |chain, (name, target)| chain.then(&name, target));
        Self { endpoint, first: name, service: fallback.layer(first), bounds }
    }

    /// The name of the first target.
    pub(crate) fn first(&self) -> &Arc<str> {
        &self.first
    }

    /// What the other targets were good for.
    pub(crate) fn handle(&self) -> Handle {
        self.service.handle()
    }

    /// Asks down the chain; what happened on the way is written to the trail in `extensions`.
    pub(super) async fn ask(
        &self,
        headers: HeaderMap,
        body: Payload,
        extensions: Extensions,
    ) -> Result<Answer, BoxError> {
        let mut request = Request::new(body);
        *request.method_mut() = Method::POST;
        // The caller's own path, by which the dialect is known; each target has its own address.
        *request.uri_mut() = Uri::from_static(self.endpoint.path());
        *request.headers_mut() = headers;
        *request.extensions_mut() = extensions;
        self.bounds.apply_to(&mut request)?;
        self.service.clone().oneshot(request).await
    }
}
