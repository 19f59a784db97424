//! What the gateway says for itself: is it well, what does it know, what can be asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::{Response, StatusCode};
use serde::Serialize;
use serde_json::{Value, json};
use tidegate::fallback::Handle;
use tidegate::{ErrorCode, Signals, SignalsSnapshot};

use crate::endpoint::Endpoint;
use crate::proxy::{Proxy, Refusal};

/// All that the pages read.
#[derive(Debug)]
pub(crate) struct Board {
    pub(crate) proxy: Proxy,
    pub(crate) gates: Vec<Gates>,
    pub(crate) models: Vec<String>,
    pub(crate) is_draining: AtomicBool,
}

/// The gates of one target under one policy, and the chains that begin with it.
#[derive(Debug)]
pub(crate) struct Gates {
    pub(crate) policy: String,
    pub(crate) signals: Signals,
    pub(crate) chains: Vec<Handle>,
}

#[derive(Serialize)]
struct Standing<'a> {
    policy: &'a str,
    #[serde(flatten)]
    snapshot: SignalsSnapshot,
}

type Shared = State<Arc<Board>>;

pub(crate) fn router(board: Arc<Board>) -> Router {
    let proxied = Endpoint::ALL.into_iter().fold(Router::new(), |router, endpoint| {
        let answer =
            async move |State(board): Shared, request: Request| board.proxy.answer(endpoint, request).await;
        router.route(endpoint.path(), post(answer))
    });
    proxied
        .route("/", get(index))
        .route("/v1/models", get(models))
        .route("/signals", get(signals))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .with_state(board)
}

async fn index() -> &'static str {
    "tidegate, a gateway for model providers\n\
     \n\
     POST /v1/chat/completions   OpenAI's chat completions\n\
     POST /v1/embeddings         OpenAI's embeddings\n\
     POST /v1/responses          OpenAI's responses\n\
     POST /v1/messages           Anthropic's messages\n\
     GET  /v1/models             what can be asked for\n\
     GET  /signals               what is known about each target\n\
     GET  /healthz               is it alive\n\
     GET  /readyz                does it take calls\n"
}

async fn models(State(board): Shared) -> Json<Value> {
    let model = |id: &String| json!({"id": id, "object": "model", "created": 0, "owned_by": "tidegate"});
    let data: Vec<_> = board.models.iter().map(model).collect();
    Json(json!({"object": "list", "data": data}))
}

async fn signals(State(board): Shared) -> Response<Body> {
    let standings: Vec<_> = board.gates.iter().map(Gates::standing).collect();
    axum::response::IntoResponse::into_response(Json(standings))
}

async fn healthz() -> Json<Value> {
    Json(json!({"status": "ok"}))
}

async fn readyz(State(board): Shared) -> (StatusCode, Json<Value>) {
    match board.is_draining.load(Ordering::Relaxed) {
        false => (StatusCode::OK, Json(json!({"status": "ready"}))),
        true => (StatusCode::SERVICE_UNAVAILABLE, Json(json!({"status": "draining"}))),
    }
}

async fn unknown_path() -> Response<Body> {
    Refusal::new(ErrorCode::NotFound, "nothing is served at this path, see /").into_response()
}

async fn wrong_method() -> Response<Body> {
    Refusal::new(ErrorCode::InvalidRequest, "wrong method for this path, see /")
        .status(StatusCode::METHOD_NOT_ALLOWED)
        .into_response()
}

impl Gates {
    fn standing(&self) -> Standing<'_> {
        let mut snapshot = self.signals.snapshot();
        // The fallback stands outside of the stack here, once per chain; chains may have targets in common.
        for more in self.chains.iter().flat_map(Handle::statistics) {
            match snapshot.fallback.iter_mut().find(|known| known.target == more.target) {
                Some(known) => {
                    known.asked += more.asked;
                    known.answered += more.answered;
                }
                None => snapshot.fallback.push(more),
            }
        }
        Standing { policy: &self.policy, snapshot }
    }
}
