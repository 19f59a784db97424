use std::sync::Arc;
use std::time::Duration;

use http::{Extensions, HeaderMap, HeaderName, Method, Request, Uri};
use tidegate::fallback::{Fallback, Handle};
use tidegate::group::Group;
use tidegate::hedge::HedgeLayer;
use tidegate::key::Model;
use tidegate::provider::ErrorBody;
use tidegate::stack::CallLimits;
use tidegate::{Error, FallbackLayer, Payload, Rejection, Tenant, group};
use tower::Layer;

use super::GatewayError;
use super::target::AddressedTarget;
use super::token_counter::TokenCounter;

/// The fallback chain of one route.
#[derive(Clone, Debug)]
pub(crate) struct RouteChain {
    pub(crate) settings: ChainSettings,
    service: Fallback<Group<AddressedTarget>>,
    /// The places of the chain.
    groups: Vec<Group<AddressedTarget>>,
}

/// What applies to the calls of a chain beside its targets.
#[derive(Clone, Debug)]
pub(crate) struct ChainSettings {
    /// The `model` of the route.
    pub(crate) model: Arc<str>,
    /// The limits of the call as a whole, over all targets.
    pub(crate) limits: CallLimits,
    /// The hedges that the chain was built with.
    pub(crate) hedge: Option<HedgeLayer>,
    /// The header in which a caller may shorten the time of its call.
    pub(crate) timeout_header: Option<String>,
    /// The longest time of an attempt.
    pub(crate) attempt_time: Duration,
    /// The provider that counts the tokens of prompts.
    pub(crate) token_counter: Option<TokenCounter>,
    /// Whether a failed attempt is repeated, at the same target or at another one.
    pub(crate) repeats_attempts: bool,
    pub(crate) cached_for: CachedFor,
}

/// What a request needs for its answer to be cached. Callers without an identity are not one caller, and must
/// not get the answers of each other.
#[derive(Clone, Debug)]
pub(crate) struct CachedFor {
    pub(crate) needs_tenant: bool,
    /// The header that is a key of the cache.
    pub(crate) header: Option<HeaderName>,
}

impl RouteChain {
    /// A chain of these groups. It continues the statistics of `previous`. `None` if it is empty.
    pub(crate) fn new(
        groups: Vec<Group<AddressedTarget>>,
        fallback: FallbackLayer,
        settings: ChainSettings,
        previous: Option<&Self>,
    ) -> Option<Self> {
        let (first, others) = groups.split_first()?;
        let fallback = others.iter().cloned().fold(fallback, FallbackLayer::then_group);
        let fallback =
            previous.into_iter().fold(fallback, |chain, previous| chain.statistics_of(&previous.handle()));
        Some(Self { settings, service: fallback.layer(first.clone()), groups })
    }

    /// The model for limits and circuits of each model: that of the route, since the names that a route for
    /// any model receives are chosen by the callers.
    pub(super) fn model(&self) -> Model {
        Model(Arc::clone(&self.settings.model))
    }

    /// Whether answers are cached for this tenant. `headers` are those that the chain gets.
    pub(super) fn is_cached_for(&self, tenant: Option<&Tenant>, headers: &HeaderMap) -> bool {
        let CachedFor { needs_tenant, header } = &self.settings.cached_for;
        (tenant.is_some() || !needs_tenant) && header.as_ref().is_none_or(|name| headers.contains_key(name))
    }

    /// The name of the first place: that of its target or group.
    pub(crate) fn first(&self) -> &Arc<str> {
        self.service.get_ref().name()
    }

    /// The targets of the first place.
    pub(crate) fn first_members(&self) -> impl Iterator<Item = &Arc<str>> {
        self.groups.iter().take(1).flat_map(Group::members)
    }

    /// All targets, in their order.
    pub(crate) fn members(&self) -> impl Iterator<Item = &Arc<str>> {
        self.groups.iter().flat_map(Group::members)
    }

    /// The group of this name.
    pub(crate) fn group(&self, name: &str) -> Option<&Group<AddressedTarget>> {
        self.groups.iter().find(|group| **group.name() == *name)
    }

    /// The groups of several members, each once for each of them.
    pub(crate) fn memberships(&self) -> impl Iterator<Item = (&Arc<str>, group::Handle)> {
        let groups = self.groups.iter().filter(|group| group.members().count() > 1);
        groups.flat_map(|group| group.members().map(|member| (member, group.handle())))
    }

    /// The handle with the statistics of the fallback targets.
    pub(crate) fn handle(&self) -> Handle {
        self.service.handle()
    }

    /// The service of the chain, which records all decisions in the trail in the extensions of a request.
    pub(super) fn service(&self) -> Fallback<Group<AddressedTarget>> {
        self.service.clone()
    }

    /// A request for the chain, within the limits of its calls.
    ///
    /// # Errors
    ///
    /// The timeout in `headers` cannot be parsed.
    pub(super) fn request(
        &self,
        uri: Uri,
        headers: HeaderMap,
        body: Payload,
        extensions: Extensions,
    ) -> Result<Request<Payload>, Rejection> {
        let mut request = Request::new(body);
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        *request.extensions_mut() = extensions;
        self.settings.limits.apply_to(&mut request)?;
        Ok(request)
    }

    /// The response to a call that ended in `error`: a rejection by a gate, a timeout, or a transport error. One about the timeout header names it, since the caller
    /// does not know the settings.
    pub(super) fn response_to(&self, error: &Error) -> GatewayError {
        const HEADER: &str = "timeout header";
        let body = ErrorBody::of_error(&**error);
        let reason = Rejection::find(&**error).map(Rejection::reason);
        match &self.settings.timeout_header {
            Some(name) if reason.is_some_and(|reason| reason.as_str().starts_with(HEADER)) => {
                let message = body.message().replacen(HEADER, &format!("{HEADER} `{name}`"), 1);
                GatewayError::from_body(body.with_message(message))
            }
            _ => GatewayError::from_body(body),
        }
    }
}
