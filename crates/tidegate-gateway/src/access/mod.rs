//! Who may use the gateway.
//!
//! ```text
//! request ─▶ Host and Origin ─▶ CORS ─▶ key of the caller, or admin key ─▶ content type ─▶ router
//! ```
//!
//! The path decides which key is needed: that of a caller for the APIs, the admin key for all other pages, none for
//! the health of the gateway.
//!
//! A web page can send requests to any address that its browser reaches, the loopback interface included. So no page may
//! use the gateway unless its origin is in the configuration, and what a page can send without a permission (a body
//! that is not JSON, a host name of its own that resolves to the gateway) is rejected in any case.

mod access_key;
mod admin;
mod caller_rules;
mod callers;
mod content_type;
mod web_pages;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Extension, Request, State};
use axum::http::{Method, Version};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;
use http_body_util::{BodyExt, Limited};
use tokio::time::timeout;
use tower::{Layer, ServiceExt};

pub(crate) use self::access_key::AccessKey;
use self::admin::Area;
pub(crate) use self::admin::{AdminAccess, AdminPages};
pub(crate) use self::caller_rules::{CallerRules, RuleSettings};
pub(crate) use self::callers::{Caller, CallerName, Callers};
pub(crate) use self::web_pages::{WebPages, is_loopback};
use crate::endpoint::dialect_of_caller;
use crate::pages::AppState;
use crate::proxy::GatewayError;
use crate::running_config::{ConfigOfRequest, Entrance};

/// The keys that requests need.
#[derive(Debug)]
pub(crate) struct AccessKeys {
    pub(crate) callers: Arc<Callers>,
    pub(crate) admin: AdminPages,
}

/// The router behind the checks of all requests, with the configuration that they use.
pub(crate) fn guarded(router: Router, state: Arc<AppState>, entrance: Entrance) -> Router {
    let router = router.layer(from_fn(admit_caller));
    router.layer(from_fn_with_state((state, entrance), admit_page))
}

async fn admit_page(
    State((state, entrance)): State<(Arc<AppState>, Entrance)>,
    mut request: Request,
    next: Next,
) -> Response {
    let running = state.running();
    request.extensions_mut().insert(Arc::clone(&running));
    let pages = running.pages(entrance);
    let admitted = pages.check(request.method(), request.uri(), request.headers());
    match (admitted, pages.cors()) {
        // Without CORS headers a preflight is refused by the browser, whatever its status: 405, with `allow`.
        (Err(error), _) if request.method() != Method::OPTIONS => rejected(*error, request).await,
        (Ok(()), Some(cors)) => {
            let Ok(response) = cors.layer(next).oneshot(request).await;
            response
        }
        _ => next.run(request).await,
    }
}

async fn admit_caller(Extension(running): ConfigOfRequest, mut request: Request, next: Next) -> Response {
    let admitted = running.keys.admit(&mut request).and_then(|()| content_type::check(&request));
    match admitted {
        Ok(()) => next.run(request).await,
        Err(error) => rejected(*error, request).await,
    }
}

impl AccessKeys {
    /// Whether the same keys are valid as in `other`.
    pub(crate) fn are_those_of(&self, other: &Self) -> bool {
        self.admin == other.admin && self.callers.keys().eq(other.callers.keys())
    }

    /// Checks the key of a request, and adds what it may do.
    fn admit(&self, request: &mut Request) -> Result<(), Box<GatewayError>> {
        let has_admin_access = match Area::of(request.uri().path()) {
            Area::Health => self.admin.shows_health(request.headers()),
            Area::Admin if !self.admin.are_open() => self.admin.check(request.headers()).map(|()| true)?,
            area => {
                if let Some((name, rules)) = self.callers.identify(request.headers())? {
                    request.extensions_mut().insert(name);
                    request.extensions_mut().insert(rules);
                }
                area == Area::Admin
            }
        };
        if has_admin_access {
            request.extensions_mut().insert(AdminAccess);
        }
        Ok(())
    }
}

/// The response to a request whose body is not read.
async fn rejected(error: GatewayError, request: Request) -> Response {
    let status = error.http_status().as_u16();
    tracing::debug!(layer = "gateway", status, reason = error.message(), "rejected");
    let dialect = dialect_of_caller(request.uri().path(), request.headers());
    if request.version() == Version::HTTP_2 {
        discard(request.into_body()).await;
    }
    error.into_response(dialect)
}

/// Bytes and time of a body that is read for nothing.
const DISCARDED: usize = 64 * 1024;
const DISCARD_TIME: Duration = Duration::from_secs(1);

/// Reads what has nearly arrived. Over HTTP/2 a response that ends before its request is followed by a reset of the stream,
/// and some clients report the reset instead of the response.
async fn discard(body: Body) {
    let _ = timeout(DISCARD_TIME, Limited::new(body, DISCARDED).collect()).await;
}
