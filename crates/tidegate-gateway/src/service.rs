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
/// The APIs are called here and not by the router, whose layers would box the request and the response once more each.
#[derive(Clone, Debug)]
pub(crate) struct GatewayService {
    pages: Router,
    state: Arc<AppState>,
    entrance: Entrance,
}

/// The most headers of a request, over HTTP/2 as hyper has it over HTTP/1.
const MAX_HEADERS: usize = 100;

impl GatewayService {
    pub(crate) fn new(state: Arc<AppState>, entrance: Entrance) -> Self {
        Self { pages: pages::router(Arc::clone(&state)), state, entrance }
    }

    /// Checks the host and the web page of a request, and responds. With origins in the file, responses have CORS headers.
    pub(crate) async fn respond(self, request: Request<Body>) -> Response<Body> {
        if request.headers().len() > MAX_HEADERS {
            return access::rejected(too_many_headers(), request).await;
        }
        let running = &self.state.running();
        let pages = running.pages(self.entrance);
        let checked = pages.check(request.method(), request.uri(), request.headers());
        match (checked, pages.cors()) {
            // Without CORS headers a preflight is refused by the browser, whatever its status: 405, with `allow`.
            (Err(error), _) if request.method() != Method::OPTIONS => access::rejected(*error, request).await,
            (Ok(()), Some(cors)) => {
                let admit = async |request| Ok::<_, Infallible>(self.admit(running, request).await);
                let Ok(response) = cors.layer(service_fn(admit)).oneshot(request).await;
                response
            }
            _ => self.admit(running, request).await,
        }
    }

    /// Checks the key of a request, and responds.
    async fn admit(&self, running: &Arc<RunningConfig>, mut request: Request<Body>) -> Response<Body> {
        if let Err(error) = running.keys.admit(&mut request) {
            return access::rejected(*error, request).await;
        }
        let path = request.uri().path();
        match Endpoint::ALL.into_iter().find(|endpoint| endpoint.path() == path) {
            Some(endpoint) if request.method() == Method::POST => {
                running.proxy.handle(endpoint, request).await
            }
            _ => {
                request.extensions_mut().insert(Arc::clone(running));
                let Ok(response) = self.pages.clone().oneshot(request).await;
                response
            }
        }
    }
}

fn too_many_headers() -> GatewayError {
    let message = format_args!("request has more than {MAX_HEADERS} headers");
    GatewayError::new(ErrorCode::InvalidRequest, message).status(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE)
}

impl Service<Request<Body>> for GatewayService {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let service = self.clone();
        // One allocation for a request, so that an idle connection has not the size of a call.
        Box::pin(async move { Ok(service.respond(request).await) })
    }
}
