use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Body;
use http::{Method, Request, Response, StatusCode};
use tidegate::ErrorCode;
use tower::{Layer, Service, ServiceExt, service_fn};

use crate::access;
use crate::endpoint::Endpoint;
use crate::pages::{self, AppState};
use crate::proxy::GatewayError;
use crate::running_config::{Entrance, RunningConfig};

/// The gateway as one service: the checks of each request, then the API or the page at its path.
///
/// The APIs are called here and not by the router, whose layers would box the request and the response once
/// more each.
#[derive(Clone, Debug)]
pub(crate) struct GatewayService {
    pages: Router,
    state: Arc<AppState>,
    entrance: Entrance,
}

/// Boxed once per request, so that an idle connection does not have the size of a call.
type ResponseFuture = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

/// The most headers of a request, over HTTP/2 as hyper has it over HTTP/1.
const MAX_HEADERS: usize = 100;

/// The longest path and query of a request, which no budget of bytes counts.
const MAX_URI: usize = 8 * 1024;

impl GatewayService {
    pub(crate) fn new(state: Arc<AppState>, entrance: Entrance) -> Self {
        Self { pages: pages::router(Arc::clone(&state)), state, entrance }
    }

    /// Checks the host and the web page of a request, and responds. With origins in the file, responses have
    /// CORS headers.
    fn respond(&self, request: Request<Body>) -> ResponseFuture {
        if request.headers().len() > MAX_HEADERS {
            return rejected(too_many_headers(), request);
        }
        if request.uri().path_and_query().is_some_and(|uri| uri.as_str().len() > MAX_URI) {
            return rejected(too_long_uri(), request);
        }
        let running = self.state.running();
        let pages = running.pages(self.entrance);
        let checked = pages.check(request.method(), request.uri(), request.headers(), &running.keys.admin);
        match (checked, pages.cors()) {
            // Without CORS headers a preflight is refused by the browser, whatever its status: 405, with
            // `allow`.
            (Err(error), _) if request.method() != Method::OPTIONS => rejected(*error, request),
            (Ok(()), Some(cors)) => {
                let service = self.clone();
                let admit = service_fn(move |request| service.admit(Arc::clone(&running), request));
                Box::pin(cors.layer(admit).oneshot(request))
            }
            _ => self.admit(running, request),
        }
    }

    /// Checks the key of a request, and responds.
    fn admit(&self, running: Arc<RunningConfig>, mut request: Request<Body>) -> ResponseFuture {
        if let Err(error) = running.keys.admit(&mut request) {
            return rejected(*error, request);
        }
        let path = request.uri().path();
        match Endpoint::ALL.into_iter().find(|endpoint| endpoint.path() == path) {
            Some(endpoint) if request.method() == Method::POST => {
                Box::pin(async move { Ok(running.proxy.handle(endpoint, request).await) })
            }
            _ => {
                request.extensions_mut().insert(running);
                Box::pin(self.pages.clone().oneshot(request))
            }
        }
    }
}

fn rejected(error: GatewayError, request: Request<Body>) -> ResponseFuture {
    Box::pin(async { Ok(access::rejected(error, request).await) })
}

fn too_many_headers() -> GatewayError {
    let message = format_args!("request has more than {MAX_HEADERS} headers");
    GatewayError::new(ErrorCode::InvalidRequest, message).status(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE)
}

fn too_long_uri() -> GatewayError {
    let message = format_args!("path and query are longer than {MAX_URI} bytes");
    GatewayError::new(ErrorCode::InvalidRequest, message).status(StatusCode::URI_TOO_LONG)
}

impl Service<Request<Body>> for GatewayService {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        self.respond(request)
    }
}
