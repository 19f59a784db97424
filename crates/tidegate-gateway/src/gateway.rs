use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use tidegate::chain::{ProviderSettings, TargetAddress, named_target};
use tidegate::fallback::AnswerCache;
use tidegate::providers::ProviderClassifier;
use tidegate::{FallbackLayer, KeyBy, ResilienceBuilder, ResilienceConfig};
use tower::ServiceExt;

use crate::access::{self, AccessKeys, AdminPages, Callers, WebPages, is_loopback};
use crate::alerts::{self, LostAlerts};
use crate::calls::RecentCalls;
use crate::client::{ProviderClient, client};
use crate::config::{ANY, Config, GatewayConfigError, LastResortName, Route, TargetName};
use crate::endpoint::{ApiDialect, Endpoint};
use crate::live::LiveFeed;
use crate::log_writer::LogWriter;
use crate::open_calls::CallsInFlight;
use crate::pages::{self, AppState, ServedModel};
use crate::paths;
use crate::prometheus::PrometheusMetrics;
use crate::proxy::{
    AddressedTarget, BodyBudget, BodyLimits, CachedFor, CallerLimits, Proxy, Redactor, RouteChain,
    RouteTable, TargetStack, TokenCounter,
};
use crate::server::{self, AlertTask, RunningGateway, ServerSettings, ServerTls};
use crate::targets::{TargetGates, Targets, rejects_calls};

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
    config: Config,
    callers: Arc<Callers>,
    tls: Option<ServerTls>,
    state: Arc<AppState>,
}

/// Builds the stacks: one per target and policy, so that routes with the same target and policy share its
/// state.
struct StackFactory<'a> {
    config: &'a Config,
    client: ProviderClient,
    /// The cache of responses. All routes share it, since its keys contain the tenant and the model.
    cache: AnswerCache,
    stacks: BTreeMap<(Arc<str>, String), TargetStack>,
}

impl Gateway {
    /// Builds a gateway from `config`.
    ///
    /// # Errors
    ///
    /// A number in a policy is out of range, the TLS backend cannot be initialized, or other machines reach the gateway
    /// and anybody may use it.
    pub fn new(config: Config) -> Result<Self, GatewayConfigError> {
        check_exposure(&config)?;
        let mut stacks = StackFactory {
            config: &config,
            client: client(&config.connections)?,
            cache: config.cache.cache(),
            stacks: BTreeMap::new(),
        };
        let mut routes = RouteTable::default();
        let mut chains = Vec::with_capacity(config.routes.len());
        for route in &config.routes {
            let chain = Arc::new(stacks.chain(route)?);
            routes.insert(route.endpoint, &route.model, Arc::clone(&chain));
            chains.push((&route.policy, chain));
        }
        let targets = stacks.stacks.iter().map(|((target, policy), stack)| {
            let starting_here =
                chains.iter().filter(|(of_route, chain)| *of_route == policy && chain.first() == target);
            let chains = starting_here.map(|(_, chain)| chain.handle()).collect();
            let circuit_breaker =
                config.policies.get(policy).and_then(|policy| policy.circuit_breaker.as_ref());
            let has_circuit = rejects_calls(circuit_breaker);
            TargetGates { policy: policy.as_str().into(), has_circuit, signals: stack.signals(), chains }
        });
        let targets = Arc::new(Targets::new(targets));
        let recent_calls = RecentCalls::new(config.calls_kept);
        let live = LiveFeed::default();
        live.follow(Arc::clone(&targets), recent_calls.clone());
        let redactor = Arc::new(Redactor::new(&config.provider_keys));
        let state = AppState {
            targets,
            models: models(&config.routes),
            is_draining: AtomicBool::new(false),
            lost_alerts: LostAlerts::default(),
            live,
            log: OnceLock::new(),
            metrics: OnceLock::new(),
            proxy: Proxy {
                routes,
                calls: CallsInFlight::default(),
                recent_calls,
                body_limits: BodyLimits {
                    length: config.body_limit,
                    min_rate: config.body_min_rate,
                    budget: BodyBudget::new(config.body_budget),
                },
                stop_client_retries: config.stop_client_retries,
                redactor,
                unlimited: CallerLimits::none(),
            },
        };
        let callers = Arc::new(Callers::new(config.callers.clone()));
        let tls = config.tls.clone().map(ServerTls::new).transpose();
        let tls = tls.map_err(|error| GatewayConfigError::new("tls", error.to_string()))?;
        Ok(Self { config, callers, tls, state: Arc::new(state) })
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

    /// All paths of the gateway as a router, to be a part of an application. The limits of connections, the time-outs of
    /// slow callers and the shutdown are then those of the application, and so is the check of the host, unless the file
    /// names `hosts`. The pages of operators need the admin key if the file has one, or if its `listen` is not on the
    /// loopback interface. In the example the live page is at `/llm/`; its events do not end when the application stops.
    /// Clones share the state of the gates.
    ///
    /// ```
    /// # fn app(gateway: tidegate_gateway::Gateway) -> axum::Router {
    /// axum::Router::new().nest_service("/llm", gateway.router())
    /// # }
    /// ```
    pub fn router(&self) -> Router {
        let pages = self.guarded_pages(self.config.pages.clone());
        Router::new().fallback_service(pages.map_request(paths::normalize::<Body>))
    }

    fn guarded_pages(&self, pages: WebPages) -> Router {
        let admin = AdminPages::new(self.config.admin_key.clone(), is_loopback(self.config.listen.ip()));
        let keys = AccessKeys { callers: Arc::clone(&self.callers), admin };
        access::guarded(pages::router(Arc::clone(&self.state)), keys, pages)
    }

    /// Binds the listener and serves requests from then on.
    ///
    /// # Errors
    ///
    /// The address cannot be bound.
    pub async fn bind(self) -> io::Result<RunningGateway> {
        let listen = self.config.listen;
        if !is_loopback(listen.ip()) && self.config.callers.is_empty() {
            tracing::warn!(
                layer = "gateway",
                "everybody who reaches {listen} can use the keys of the providers"
            );
        }
        let router = self.guarded_pages(self.config.pages.clone().listening_on(listen.ip()));
        let alerts = self.alerts()?;
        let settings = ServerSettings {
            listen,
            tls: self.tls,
            max_connections: self.config.max_connections,
            notice: self.config.notice,
            drain: self.config.drain,
        };
        server::bind(settings, router, self.state, alerts).await
    }

    /// The task of the alerts, if there are any.
    fn alerts(&self) -> io::Result<Option<AlertTask>> {
        let Some(settings) = self.config.alerts.clone() else { return Ok(None) };
        let client = client(&self.config.connections).map_err(io::Error::other)?;
        let (targets, lost) = (Arc::clone(&self.state.targets), self.state.lost_alerts.clone());
        let alerts = alerts::run(settings, move || targets.snapshots(), client, lost);
        Ok(Some(Box::pin(alerts)))
    }
}

/// Rejects a gateway that others reach and anybody may use, unless the file says so.
fn check_exposure(config: &Config) -> Result<(), GatewayConfigError> {
    if is_loopback(config.listen.ip()) || !config.callers.is_empty() || config.open {
        return Ok(());
    }
    let problem = format!(
        "other machines reach {}, so at least one [[callers]] with a key is needed; \
         or open = true, if everybody may use the keys of the providers",
        config.listen,
    );
    Err(GatewayConfigError::new("listen", problem))
}

impl StackFactory<'_> {
    fn chain(&mut self, route: &Route) -> Result<RouteChain, GatewayConfigError> {
        let policy = self.config.policies.get(&route.policy).cloned().unwrap_or_default();
        let targets = route.chain.iter().map(|name| self.target(name, route, &policy));
        let mut targets = targets.collect::<Result<Vec<_>, _>>()?.into_iter();
        let first = targets.next().ok_or_else(|| GatewayConfigError::new("routes", "a chain is empty"))?;
        let fallback = FallbackLayer::from_settings(policy.fallback.clone());
        let fallback = fallback.map_err(|error| error.within("fallback"))?;
        let fallback = fallback.models(self.config.models.clone());
        let cached_for = match &policy.fallback.cache_by {
            None if self.config.cache.shared => CachedFor::Everybody,
            None => CachedFor::Tenants,
            Some(key) if *key == KeyBy::tenant() => CachedFor::Tenants,
            Some(key) => key.header_name().cloned().map_or(CachedFor::Everybody, CachedFor::Header),
        };
        // One key for all requests.
        let fallback = match cached_for {
            CachedFor::Everybody if policy.fallback.cache_by.is_none() => {
                fallback.cache_by(KeyBy::new(|_| ()))
            }
            _ => fallback,
        };
        let fallback = route.resorts.iter().fold(fallback, |chain, resort| match resort {
            LastResortName::Cached => chain.then_cached(self.cache.clone()),
            LastResortName::Simplified => chain.then_simplified(),
            LastResortName::Static => chain.then_static(),
            LastResortName::Emergency => chain.then_emergency(&self.config.emergency_text),
        });
        let retries = policy.retry.as_ref().is_some_and(|retry| {
            retry.enabled && retry.max_attempts.map_or(retry.max_retries > 0, |attempts| attempts > 1)
        });
        Ok(RouteChain::new(first, targets, fallback, policy.bounds()?)
            .with_model(&route.model)
            .with_attempt_time(attempt_time(&policy))
            .with_token_counter(self.token_counter(route))
            .with_repeated_attempts(retries || route.chain.len() > 1)
            .with_cached_for(cached_for))
    }

    /// The first target of a route of messages whose provider counts tokens.
    fn token_counter(&self, route: &Route) -> Option<TokenCounter> {
        let counting = route.chain.iter().find_map(|target| {
            let provider = self.config.providers.get(&target.provider)?;
            (route.endpoint == Endpoint::Messages && provider.dialect() == ApiDialect::Anthropic)
                .then_some((target, provider))
        });
        counting.map(|(target, provider)| TokenCounter::new(target, provider, self.client.clone()))
    }

    fn target(
        &mut self,
        name: &TargetName,
        route: &Route,
        policy: &ResilienceConfig,
    ) -> Result<(Arc<str>, AddressedTarget), GatewayConfigError> {
        let missing = || GatewayConfigError::new("providers", format!("`{}` is missing", name.provider));
        let provider = self.config.providers.get(&name.provider).ok_or_else(missing)?;
        let address = TargetAddress::new(&name.name, provider);
        let stack = match self.stacks.entry((Arc::clone(&name.name), route.policy.clone())) {
            Entry::Occupied(stack) => stack.get().clone(),
            Entry::Vacant(vacant) => {
                let builder = ResilienceBuilder::from_config(policy)?
                    .name(&name.name)
                    .classify(ProviderClassifier::new(address.kind()));
                vacant.insert(builder.service(self.client.clone())).clone()
            }
        };
        // The caller would send unsigned reasoning back with its next request, and a native target would reject that.
        let is_mixed = route.chain.iter().any(|other| {
            let dialect = self.config.providers.get(&other.provider).map(ProviderSettings::dialect);
            dialect == Some(route.endpoint.dialect())
        });
        let target = named_target(stack, address, is_mixed).body_cap(self.config.translated_body_limit);
        Ok((Arc::clone(&name.name), target))
    }
}

/// The longest time of an attempt, to the last byte of its response.
fn attempt_time(policy: &ResilienceConfig) -> Duration {
    policy.timeout.total.map_or(policy.timeout.attempt, |total| total.min(policy.timeout.attempt))
}

/// The models that `/v1/models` lists: those of the routes, and for a route that accepts any model the
/// targets of its chain.
fn models(routes: &[Route]) -> Vec<ServedModel> {
    let mut models: Vec<ServedModel> = Vec::new();
    for route in routes {
        let names: Vec<&str> = match &*route.model {
            ANY => route.chain.iter().map(|target| &*target.name).collect(),
            model => vec![model],
        };
        let of_route = (route.endpoint, route.model.clone());
        for name in names {
            match models.iter_mut().find(|known| known.id == name) {
                Some(known) => known.routes.push(of_route.clone()),
                None => models.push(ServedModel { id: name.to_owned(), routes: vec![of_route.clone()] }),
            }
        }
    }
    models
}
