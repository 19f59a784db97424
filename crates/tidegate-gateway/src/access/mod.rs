//! Who may use the gateway.
//!
//! ```text
//! request ─▶ Host and Origin ─▶ CORS ─▶ key of the caller ─▶ content type ─▶ router
//! ```
//!
//! A web page can send requests to any address that its browser reaches, the loopback interface included. So no page may
//! use the gateway unless its origin is in the configuration, and what a page can send without a permission (a body
//! that is not JSON, a host name of its own that resolves to the gateway) is rejected in any case.

mod callers;
mod content_type;
mod web_pages;

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::Method;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;

pub(crate) use self::callers::{Caller, CallerKey, CallerName, Callers};
pub(crate) use self::web_pages::{WebPages, is_loopback};
use crate::endpoint::dialect_of_caller;
use crate::proxy::GatewayError;

/// The paths that need no key: load balancers have none.
const HEALTH: [&str; 3] = ["/health", "/healthz", "/readyz"];

/// The router behind the checks of all requests.
pub(crate) fn guarded(router: Router, callers: Arc<Callers>, pages: WebPages) -> Router {
    let router = router.layer(from_fn_with_state(callers, admit_caller));
    let router = match pages.cors() {
        Some(cors) => router.layer(cors),
        None => router,
    };
    router.layer(from_fn_with_state(Arc::new(pages), admit_page))
}

async fn admit_page(State(pages): State<Arc<WebPages>>, request: Request, next: Next) -> Response {
    match pages.check(request.method(), request.uri(), request.headers()) {
        Ok(()) => next.run(request).await,
        // Without CORS headers a preflight is refused by the browser, whatever its status: 405, with `allow`.
        Err(_) if request.method() == Method::OPTIONS => next.run(request).await,
        Err(error) => rejected(*error, &request),
    }
}

async fn admit_caller(State(callers): State<Arc<Callers>>, mut request: Request, next: Next) -> Response {
    if !HEALTH.contains(&request.uri().path()) {
        match callers.identify(request.headers()) {
            Ok(Some(name)) => _ = request.extensions_mut().insert(name),
            Ok(None) => {}
            Err(error) => return rejected(*error, &request),
        }
    }
    match content_type::check(&request) {
        Ok(()) => next.run(request).await,
        Err(error) => rejected(*error, &request),
    }
}

fn rejected(error: GatewayError, request: &Request) -> Response {
    let status = error.http_status().as_u16();
    tracing::debug!(layer = "gateway", status, reason = error.message(), "rejected");
    error.into_response(dialect_of_caller(request.uri().path(), request.headers()))
}
