//! The router, and the pages that the gateway serves itself: health, readiness, list of models.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use axum::body::Body;
use axum::extract::{Extension, Request, State};
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::{Json, Router};
use http::header::{CONNECTION, CONTENT_TYPE, UPGRADE};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Uri};
use serde_json::{Value, json};
use tidegate::ErrorCode;
use tidegate::alerts::ChainSignals;
use tidegate::stack::SignalsSnapshot;
use tokio::sync::watch;

use crate::access::{AdminAccess, CallerRules};
use crate::alerts::{LostAlerts, SignalsSource};
use crate::calls;
use crate::config::{AlertSettings, Config, GatewayConfigError};
use crate::endpoint::{ApiDialect, COUNT_TOKENS, Endpoint, dialect_of_caller};
use crate::live::{self, LiveFeed};
use crate::log_writer::LogWriter;
use crate::paths::PathText;
use crate::prometheus::PrometheusMetrics;
use crate::proxy::{GatewayError, OfAzure, shortened};
use crate::reload::ReloadStatus;
use crate::running_config::{ConfigOfRequest, RunningConfig};
use crate::server::ServerTls;
use crate::targets;

/// The state that all handlers share.
#[derive(Debug)]
pub(crate) struct AppState {
    running: ArcSwap<RunningConfig>,
    /// The certificate of new connections, if they are encrypted.
    pub(crate) tls: Option<ServerTls>,
    reloads: ReloadStatus,
    pub(crate) is_draining: AtomicBool,
    /// The settings of the alerts in use.
    pub(crate) alerts: watch::Sender<Option<AlertSettings>>,
    pub(crate) lost_alerts: LostAlerts,
    /// The events of the live page.
    pub(crate) live: LiveFeed,
    /// The log of the process, to report its lost lines.
    pub(crate) log: OnceLock<LogWriter>,
    /// The metrics of the process, if they are served.
    pub(crate) metrics: OnceLock<PrometheusMetrics>,
}

/// What clients of Azure have in front of the path of an endpoint: for the API with deployments, for that
/// without versions, and for the endpoints of the former that have no deployment.
const AZURE_PREFIXES: [&str; 3] = ["/openai/deployments/{deployment}", "/openai/v1", "/openai"];

const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

type SharedState = State<Arc<AppState>>;

impl AppState {
    /// The state of a gateway that begins with `config`.
    ///
    /// # Errors
    ///
    /// As [`RunningConfig::new`].
    pub(crate) fn new(config: Config) -> Result<Self, GatewayConfigError> {
        let tls = config.tls.clone().map(ServerTls::new).transpose();
        let tls = tls.map_err(|error| GatewayConfigError::new("tls", error.to_string()))?;
        let alerts = watch::Sender::new(config.alerts.clone());
        let running = RunningConfig::new(config, None)?;
        let live = LiveFeed::default();
        live.follow(Arc::clone(&running.targets), running.proxy.recent_calls.clone());
        Ok(Self {
            tls,
            running: ArcSwap::from_pointee(running),
            reloads: ReloadStatus::new(),
            alerts,
            lost_alerts: LostAlerts::default(),
            live,
            is_draining: AtomicBool::new(false),
            log: OnceLock::new(),
            metrics: OnceLock::new(),
        })
    }

    /// The configuration that new requests use.
    pub(crate) fn running(&self) -> Arc<RunningConfig> {
        self.running.load_full()
    }

    /// Replaces the configuration for new requests, and reports the result.
    ///
    /// # Errors
    ///
    /// `config` is an error, or as [`RunningConfig::new`]. The configuration is the same as before then.
    pub(crate) fn reload(
        &self,
        config: Result<Config, GatewayConfigError>,
    ) -> Result<(), GatewayConfigError> {
        self.reloads.record(|| self.replace(config?))
    }

    fn replace(&self, mut config: Config) -> Result<(), GatewayConfigError> {
        let running = self.running();
        let settings = config.keep_restart_only(&running.config).join(", ");
        let next = Arc::new(RunningConfig::new(config, Some(&running))?);
        self.running.store(Arc::clone(&next));
        if !next.keys.are_those_of(&running.keys) {
            self.live.end();
        }
        self.live.follow(Arc::clone(&next.targets), next.proxy.recent_calls.clone());
        next.apply();
        self.alerts.send_if_modified(|alerts| {
            let is_same = *alerts == next.config.alerts;
            alerts.clone_from(&next.config.alerts);
            !is_same
        });
        if let (Some(tls), Some(certificate)) = (&self.tls, &next.config.tls) {
            tls.replace(certificate.clone());
        }
        for warning in next.config.warnings() {
            tracing::warn!(layer = "gateway", warning, "probably a mistake in the configuration");
        }
        if !settings.is_empty() {
            tracing::warn!(layer = "gateway", settings, "settings are changed by a restart only");
        }
        next.warn_if_open();
        tracing::info!(layer = "gateway", routes = next.config.routes.len(), "configuration reloaded");
        Ok(())
    }
}

impl SignalsSource for Arc<AppState> {
    fn targets(&self) -> Vec<SignalsSnapshot> {
        self.running().targets.snapshots()
    }

    fn chains(&self) -> Vec<ChainSignals> {
        self.running().targets.chains()
    }
}

/// The pages, and the APIs at other paths than the usual ones.
pub(crate) fn router(state: Arc<AppState>) -> Router {
    let proxied = Endpoint::ALL.into_iter().fold(Router::new(), |router, endpoint| {
        // A call is not routed: only its method can be wrong.
        router.route(endpoint.path(), post(wrong_method))
    });
    let of_openai = Endpoint::ALL.into_iter().filter(|endpoint| endpoint.dialect() == ApiDialect::OpenAi);
    let proxied = of_openai.fold(proxied, |router, endpoint| {
        let handler = async move |Extension(running): ConfigOfRequest,
                                  deployment: Option<PathText>,
                                  mut request: Request| {
            request.extensions_mut().insert(OfAzure { deployment: deployment.map(|PathText(name)| name) });
            running.proxy.handle(endpoint, request).await
        };
        AZURE_PREFIXES.into_iter().fold(router, |router, prefix| {
            router.route(&format!("{prefix}{}", endpoint.suffix()), post(handler))
        })
    });
    let proxied = ["/v1", "/openai/v1", "/openai"].into_iter().fold(proxied, |router, prefix| {
        router
            .route(&format!("{prefix}/models"), get(models))
            .route(&format!("{prefix}/models/{{*id}}"), get(model))
    });
    let live = live::router(state.live.clone());
    proxied
        .route(COUNT_TOKENS, post(count_tokens))
        .route("/metrics", get(metrics))
        .route("/health", get(healthz))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .merge(targets::router())
        .merge(calls::router())
        .merge(live)
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .with_state(state)
}

async fn count_tokens(Extension(running): ConfigOfRequest, request: Request) -> Response<Body> {
    running.proxy.count_tokens(request).await
}

async fn models(
    Extension(running): ConfigOfRequest,
    rules: Option<Extension<CallerRules>>,
    uri: Uri,
    headers: HeaderMap,
) -> Json<Value> {
    let dialect = dialect_of_caller(uri.path(), &headers);
    let ids: Vec<_> = running.models_for(rules.as_deref()).collect();
    let data: Vec<_> = ids.iter().map(|id| model_entry(id, dialect)).collect();
    Json(match dialect {
        ApiDialect::Anthropic => {
            let (first, last) = (ids.first(), ids.last());
            json!({"data": data, "has_more": false, "first_id": first, "last_id": last})
        }
        _ => json!({"object": "list", "data": data}),
    })
}

async fn model(
    Extension(running): ConfigOfRequest,
    PathText(id): PathText,
    rules: Option<Extension<CallerRules>>,
    uri: Uri,
    headers: HeaderMap,
) -> Response<Body> {
    let dialect = dialect_of_caller(uri.path(), &headers);
    if running.models_for(rules.as_deref()).any(|model| model == id) {
        return Json(model_entry(&id, dialect)).into_response();
    }
    GatewayError::model_not_found(format_args!("model `{}` is not served, see /v1/models", shortened(&id)))
        .into_response(dialect)
}

/// The entry of a model in the list of models. The gateway does not know when a model was created.
fn model_entry(id: &str, dialect: ApiDialect) -> Value {
    match dialect {
        ApiDialect::Anthropic => {
            json!({"type": "model", "id": id, "display_name": id, "created_at": "1970-01-01T00:00:00Z"})
        }
        _ => json!({"id": id, "object": "model", "created": 0, "owned_by": "tidegate"}),
    }
}

async fn metrics(
    State(state): SharedState,
    Extension(running): ConfigOfRequest,
    uri: Uri,
    headers: HeaderMap,
) -> Response<Body> {
    let Some(metrics) = state.metrics.get() else {
        return GatewayError::new(ErrorCode::NotFound, "this gateway serves no metrics")
            .into_response(dialect_of_caller(uri.path(), &headers));
    };
    let text = metrics.render_targets(|| running.targets.record_metrics());
    ([(CONTENT_TYPE, PROMETHEUS_TEXT)], text).into_response()
}

async fn healthz(
    State(state): SharedState,
    Extension(running): ConfigOfRequest,
    access: Option<Extension<AdminAccess>>,
) -> Json<Value> {
    let targets = running.targets.not_healthy();
    let mut health = json!({"status": if targets.is_empty() { "ok" } else { "degraded" }});
    if access.is_none() {
        return Json(health);
    }
    if !targets.is_empty() {
        health["targets"] = json!(targets);
    }
    let lost = state.log.get().map_or(0, LogWriter::lost_lines);
    if lost > 0 {
        health["lost_log_lines"] = lost.into();
    }
    let lost = state.lost_alerts.count();
    if lost > 0 {
        health["lost_alerts"] = lost.into();
    }
    if let Some(reload) = state.reloads.report() {
        health["last_reload"] = reload;
    }
    Json(health)
}

async fn readyz(State(state): SharedState) -> (StatusCode, Json<Value>) {
    if state.is_draining.load(Ordering::Relaxed) {
        (StatusCode::SERVICE_UNAVAILABLE, Json(json!({"status": "draining"})))
    } else {
        (StatusCode::OK, Json(json!({"status": "ready"})))
    }
}

async fn unknown_path(uri: Uri, headers: HeaderMap) -> Response<Body> {
    GatewayError::new(ErrorCode::NotFound, "nothing is served at this path, see /")
        .into_response(dialect_of_caller(uri.path(), &headers))
}

async fn wrong_method(method: Method, uri: Uri, headers: HeaderMap) -> Response<Body> {
    let upgrade = headers.get(UPGRADE).map_or(&[][..], HeaderValue::as_bytes);
    let error = if method == Method::GET && upgrade.eq_ignore_ascii_case(b"websocket") {
        // A client that tries a WebSocket first changes to HTTP at once upon this status.
        GatewayError::new(ErrorCode::InvalidRequest, "no WebSocket is served at this path, send a POST")
            .status(StatusCode::UPGRADE_REQUIRED)
            .header(CONNECTION, HeaderValue::from_static("upgrade"))
            .header(UPGRADE, HeaderValue::from_static("HTTP/1.1"))
    } else {
        GatewayError::new(ErrorCode::InvalidRequest, "wrong method for this path, see /")
            .status(StatusCode::METHOD_NOT_ALLOWED)
    };
    error.into_response(dialect_of_caller(uri.path(), &headers))
}
