use std::io;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use tower::ServiceExt;

use crate::alerts::AlertTask;
use crate::client::client;
use crate::config::{Config, GatewayConfigError};
use crate::log_writer::LogWriter;
use crate::pages::AppState;
use crate::paths;
use crate::prometheus::PrometheusMetrics;
use crate::running_config::Entrance;
use crate::server::{self, RunningGateway, ServerSettings};
use crate::service::GatewayService;

/// A gateway that is ready to listen.
///
/// ```
/// use tidegate_gateway::{Config, Gateway};
/// use tidegate_testkit::Provider;
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let provider = Provider::openai().start().await?;
/// let config = format!(
///     r#"
///     listen = "127.0.0.1:0"
///     providers.scripted = {{ base_url = "{}", dialect = "openai" }}
///     routes = [{{ path = "/v1/chat/completions", chain = ["scripted/llama"] }}]
///     "#,
///     provider.base_url(),
/// );
/// let gateway = Gateway::new(Config::parse(&config, |_| None)?)?.bind().await?;
///
/// let url = format!("http://{}/v1/chat/completions", gateway.addr());
/// let response = reqwest::Client::new().post(url).body(r#"{"model":"any"}"#).send().await?;
/// assert_eq!(response.headers()["x-tidegate-target"], "scripted/llama");
/// gateway.stop().await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Gateway {
    state: Arc<AppState>,
}

impl Gateway {
    /// Builds a gateway from `config`.
    ///
    /// # Errors
    ///
    /// A number in a policy is out of range, an address is one of https and the system has no certificates of
    /// authorities, or other machines reach the gateway and anybody may use it.
    pub fn new(config: Config) -> Result<Self, GatewayConfigError> {
        Ok(Self { state: Arc::new(AppState::new(config)?) })
    }

    /// Makes `/healthz` report the lines that `log` has lost.
    #[must_use]
    pub fn log(self, log: LogWriter) -> Self {
        self.state.log.get_or_init(|| log);
        self
    }

    /// Serves `metrics` at `/metrics`.
    ///
    /// ```
    /// # fn gateway(config: tidegate_gateway::Config) -> Result<(), Box<dyn std::error::Error>> {
    /// use tidegate_gateway::{Gateway, PrometheusMetrics};
    ///
    /// // Before the gateway is built, which registers its metrics.
    /// let metrics = PrometheusMetrics::install()?;
    /// let gateway = Gateway::new(config)?.metrics(metrics);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn metrics(self, metrics: PrometheusMetrics) -> Self {
        self.state.metrics.get_or_init(|| metrics);
        self
    }

    /// All paths of the gateway as a router, to be a part of an application. The limits of connections, the
    /// timeouts of slow callers and the shutdown are then those of the application, and so is the check of
    /// the host, unless the file names `hosts`. The pages of operators need the admin key if the file has
    /// one, or if its `listen` is not on the loopback interface. In the example the live page is at `/llm/`;
    /// its events do not end when the application stops. Clones share the state of the gates.
    ///
    /// ```
    /// # fn app(gateway: tidegate_gateway::Gateway) -> axum::Router {
    /// axum::Router::new().nest_service("/llm", gateway.router())
    /// # }
    /// ```
    pub fn router(&self) -> Router {
        let service = GatewayService::new(Arc::clone(&self.state), Entrance::Application);
        Router::new().fallback_service(service.map_request(paths::normalize::<Body>))
    }

    /// Replaces the configuration while the [router](Self::router) is in use; see [what
    /// changes](crate::config#reload).
    ///
    /// ```
    /// # fn reload(gateway: &tidegate_gateway::Gateway) -> Result<(), tidegate_gateway::GatewayConfigError> {
    /// use tidegate_gateway::Config;
    ///
    /// gateway.reload(Config::read("gateway.toml".as_ref())?)
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new). The configuration is the same as before then.
    pub fn reload(&self, config: Config) -> Result<(), GatewayConfigError> {
        self.state.reload(Ok(config))
    }

    /// Binds the listener and serves requests from then on.
    ///
    /// # Errors
    ///
    /// The address cannot be bound, or the store of shared limits cannot be used and its mode is
    /// `fail_closed`.
    pub async fn bind(self) -> io::Result<RunningGateway> {
        let running = self.state.running();
        running.warn_if_open();
        running.check_store().await.map_err(io::Error::other)?;
        let config = &running.config;
        let client = client(&config.connections, config.https.as_deref()).map_err(io::Error::other)?;
        let (signals, lost) = (Arc::clone(&self.state), self.state.lost_alerts.clone());
        let alerts = AlertTask::new(self.state.alerts.subscribe(), signals, client, lost);
        let settings = ServerSettings {
            listen: config.listen,
            tls: self.state.tls.clone(),
            max_connections: config.max_connections,
            idle_timeout: config.idle_timeout,
            notice: config.notice,
            drain: config.drain,
        };
        server::bind(settings, self.state, alerts).await
    }
}
