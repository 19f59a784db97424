//! The live page for a browser, and the events that it shows.
//!
//! ```text
//! tick ─▶ Reporter: targets, new transitions, changed calls ─▶ one event ─▶ a bounded queue per subscriber ─▶ /live
//! ```
//!
//! Without a subscriber no task runs. A subscriber with a full queue is dropped: it connects again, and
//! begins with a snapshot.

mod accept;
mod assets;
mod event_body;
mod feed;
mod reporter;

use axum::body::Body;
use axum::extract::State;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, VARY};
use http::{Extensions, HeaderMap, HeaderName, Response, Uri};

pub(crate) use self::feed::LiveFeed;
use crate::endpoint::dialect_of_caller;
use crate::targets::check_no_parameters;

/// The list of paths, for clients that are no browser.
const PATHS: &str = include_str!("paths.txt");

/// Disables the response buffer of nginx, which would hold events back.
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// The page at `/`, its files, its events at `/live`, and the changes of circuits at `/transitions`.
pub(crate) fn router<S: Clone + Send + Sync + 'static>(feed: LiveFeed) -> Router<S> {
    let files = assets::FILES
        .iter()
        .fold(Router::new(), |router, file| router.route(file.path, get(async move || file.response())));
    files
        .route("/", get(index))
        .route("/live", get(live))
        .route("/transitions", get(transitions))
        .with_state(feed)
}

async fn index(headers: HeaderMap) -> Response<Body> {
    let mut response =
        if accept::prefers_html(&headers) { assets::PAGE.response() } else { PATHS.into_response() };
    response.headers_mut().insert(VARY, ACCEPT.into());
    response
}

async fn live(
    State(feed): State<LiveFeed>,
    uri: Uri,
    headers: HeaderMap,
    extensions: Extensions,
) -> Response<Body> {
    let headers_of_stream =
        [(CONTENT_TYPE, "text/event-stream"), (CACHE_CONTROL, "no-store"), (ACCEL_BUFFERING, "no")];
    match feed.subscribe(extensions.get()) {
        Ok(events) => (headers_of_stream, Body::new(events)).into_response(),
        Err(error) => error.into_response(dialect_of_caller(uri.path(), &headers)),
    }
}

async fn transitions(State(feed): State<LiveFeed>, uri: Uri, headers: HeaderMap) -> Response<Body> {
    match check_no_parameters(&uri) {
        Ok(()) => Json(feed.transitions()).into_response(),
        Err(error) => error.into_response(dialect_of_caller(uri.path(), &headers)),
    }
}
