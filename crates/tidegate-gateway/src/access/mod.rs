//! Who may use the gateway.
//!
//! ```text
//! request ─▶ Host and Origin ─▶ CORS ─▶ key of the caller, or admin key ─▶ path and method ─▶ content type
//! ```
//!
//! The path decides which key is needed: that of a caller for the APIs, the admin key for all other pages,
//! none for the health of the gateway.
//!
//! A web page can send requests to any address that its browser reaches, the loopback interface included. So
//! no page may use the gateway unless its origin is in the configuration, and what a page can send without a
//! permission (a body that is not JSON, a host name of its own that resolves to the gateway) is rejected in
//! any case.

mod access_key;
mod admin;
mod caller_rules;
mod callers;
mod content_type;
mod web_pages;

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use http::Version;
use http_body_util::{BodyExt, Limited};
use tokio::time::timeout;

pub(crate) use self::access_key::AccessKey;
use self::admin::Area;
pub(crate) use self::admin::{AdminAccess, AdminPages};
pub(crate) use self::caller_rules::{CallerRules, RuleSettings};
pub(crate) use self::callers::{Caller, CallerName, Callers};
pub(crate) use self::content_type::check_content_type;
pub(crate) use self::web_pages::{WebPages, is_loopback};
use crate::connections::CallerConnection;
use crate::endpoint::dialect_of_caller;
use crate::proxy::GatewayError;

/// The keys that requests need.
#[derive(Debug)]
pub(crate) struct AccessKeys {
    pub(crate) callers: Arc<Callers>,
    pub(crate) admin: AdminPages,
}

impl AccessKeys {
    /// Whether the same keys are valid as in `other`.
    pub(crate) fn are_those_of(&self, other: &Self) -> bool {
        self.admin == other.admin && self.callers.keys().eq(other.callers.keys())
    }

    /// Checks the key of a request, and adds what it may do. One that is accepted makes its connection the
    /// youngest of all idle ones, unless it is for a page of health.
    ///
    /// # Errors
    ///
    /// The key is missing or not valid.
    pub(crate) fn admit(&self, request: &mut Request) -> Result<(), Box<GatewayError>> {
        let area = Area::of(request.uri().path());
        let has_admin_access = match area {
            Area::Health => self.admin.shows_health(request.headers()),
            Area::Admin if !self.admin.are_open() => self.admin.check(request.headers()).map(|()| true)?,
            Area::Api | Area::Admin => {
                if let Some((name, rules)) = self.callers.identify(request.headers())? {
                    request.extensions_mut().insert(name);
                    request.extensions_mut().insert(rules);
                }
                area == Area::Admin
            }
        };
        if area != Area::Health
            && let Some(connection) = request.extensions().get::<CallerConnection>()
        {
            connection.touch();
        }
        if has_admin_access {
            request.extensions_mut().insert(AdminAccess);
        }
        Ok(())
    }
}

/// The response to a request whose body is not read.
pub(crate) async fn rejected(error: GatewayError, request: Request) -> Response {
    let status = error.http_status().as_u16();
    tracing::debug!(layer = "gateway", status, reason = error.logged(), "rejected");
    let dialect = dialect_of_caller(request.uri().path(), request.headers());
    discard(request.version(), request.into_body()).await;
    error.into_response(dialect)
}

/// Bytes and time of a body that is read for nothing.
const DISCARDED: usize = 64 * 1024;
const DISCARD_TIME: Duration = Duration::from_secs(1);

/// Reads what has nearly arrived. Over HTTP/2 a response that ends before its request is followed by a reset
/// of the stream, and some clients report the reset instead of the response.
pub(crate) async fn discard(version: Version, body: Body) {
    if version == Version::HTTP_2 {
        let _ = timeout(DISCARD_TIME, Limited::new(body, DISCARDED).collect()).await;
    }
}
