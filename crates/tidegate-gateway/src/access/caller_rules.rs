use std::sync::Arc;

use tidegate::backpressure::Settings as BackpressureSettings;
use tidegate::rate_limit::Settings as RateLimitSettings;
use tidegate::store::Store;
use tidegate::{ErrorCode, Priority};

use crate::endpoint::Endpoint;
use crate::proxy::{CallerBodies, CallerLimits, GatewayError, shortened};

/// What a caller may use, and how much; a request extension.
#[derive(Clone, Debug)]
pub(crate) struct CallerRules(Arc<Rules>);

#[derive(Debug)]
struct Rules {
    routes: Option<Vec<String>>,
    priority: Priority,
    limits: CallerLimits,
    bodies: CallerBodies,
}

/// The settings of the rules.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct RuleSettings {
    /// The `model` or the path of the routes that the caller may use; all routes if there are none.
    pub(crate) routes: Option<Vec<String>>,
    pub(crate) priority: Priority,
    pub(crate) rate_limiter: Option<RateLimitSettings>,
    pub(crate) backpressure: Option<BackpressureSettings>,
}

impl CallerRules {
    /// The rules of the caller `name`, with nothing used of its limits but by the calls in flight of
    /// `previous`, which has the same settings.
    pub(super) fn new(
        name: &str,
        settings: &RuleSettings,
        store: Option<&Store>,
        previous: Option<&Self>,
    ) -> Self {
        let RuleSettings { routes, priority, rate_limiter, backpressure } = settings.clone();
        let limits = CallerLimits::new(name, rate_limiter, backpressure, store);
        let (limits, bodies) = match previous {
            Some(Self(previous)) => (limits.with_calls_of(&previous.limits), previous.bodies.clone()),
            None => (limits, CallerBodies::default()),
        };
        Self(Arc::new(Rules { routes, priority, limits, bodies }))
    }

    /// Whether the caller may use some routes only.
    pub(crate) fn has_routes(&self) -> bool {
        self.0.routes.is_some()
    }

    /// Whether the caller may use the route for `model` at `endpoint`.
    pub(crate) fn allows(&self, endpoint: Endpoint, model: &str) -> bool {
        let is_route = |route: &String| route == model || route == endpoint.path();
        self.0.routes.as_ref().is_none_or(|routes| routes.iter().any(is_route))
    }

    /// Checks that the caller may use the route for `model` at `endpoint`; `None` is a model without a route.
    /// `requested` is the model of the request.
    ///
    /// # Errors
    ///
    /// It may not. The message names no route of other callers.
    pub(crate) fn check(
        &self,
        endpoint: Endpoint,
        model: Option<&str>,
        requested: &str,
    ) -> Result<(), Box<GatewayError>> {
        let Some(routes) = &self.0.routes else { return Ok(()) };
        if model.is_some_and(|model| self.allows(endpoint, model)) {
            return Ok(());
        }
        let routes: Vec<_> = routes.iter().map(|route| format!("`{route}`")).collect();
        let (requested, routes) = (shortened(requested), routes.join(", "));
        let message = format!(
            "model `{requested}` at {endpoint} is not allowed for this caller, which may use {routes}"
        );
        Err(Box::new(GatewayError::new(ErrorCode::PermissionDenied, message)))
    }

    pub(crate) fn priority(&self) -> Priority {
        self.0.priority
    }

    /// What the request bodies of the caller take up.
    pub(crate) fn bodies(&self) -> &CallerBodies {
        &self.0.bodies
    }

    pub(crate) fn limits(&self) -> &CallerLimits {
        &self.0.limits
    }
}
