//! The configuration in use, and everything that is built from it.
//!
//! A call reads it once, when it arrives, and keeps it to its end.

mod built_target;
mod chain_factory;
mod gate_layers;
mod shared_limits;

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::Extension;
use tidegate_redis::RedisStoreError;

use self::chain_factory::{BuiltChains, ChainFactory};
use self::shared_limits::SharedLimits;
use crate::access::{AccessKeys, AdminPages, CallerRules, Callers, WebPages, is_loopback};
use crate::call_trace::CallTracer;
use crate::calls::RecentCalls;
use crate::config::{ANY, Config, GatewayConfigError, ProviderKeys, Route};
use crate::endpoint::Endpoint;
use crate::proxy::{BodyBudget, BodyLimits, CallerLimits, Proxy, Redactor, Tenants, UnpackPermits};
use crate::targets::Targets;

/// A configuration, and what is built from it. It does not change.
#[derive(Debug)]
pub(crate) struct RunningConfig {
    pub(crate) config: Config,
    pub(crate) proxy: Proxy,
    pub(crate) targets: Arc<Targets>,
    /// The models that `/v1/models` lists.
    models: Vec<ServedModel>,
    pub(crate) keys: AccessKeys,
    pages_of_listener: WebPages,
    built: BuiltChains,
    /// Keys of providers that earlier configurations had.
    retired_keys: ProviderKeys,
}

/// The configuration that a request uses; an extension of every request.
pub(crate) type ConfigOfRequest = Extension<Arc<RunningConfig>>;

/// A model in the list of models.
#[derive(Debug)]
struct ServedModel {
    id: String,
    /// The endpoint and the `model` of each route that serves it.
    routes: Vec<(Endpoint, String)>,
}

/// Where requests come from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Entrance {
    /// The listener of the gateway.
    Listener,
    /// An application that the gateway is a part of.
    Application,
}

impl RunningConfig {
    /// Builds the chains of `config`. What is the same in `previous` keeps its state.
    ///
    /// # Errors
    ///
    /// As [`Gateway::new`](crate::Gateway::new).
    pub(crate) fn new(config: Config, previous: Option<&Self>) -> Result<Self, GatewayConfigError> {
        check_exposure(&config)?;
        let built = ChainFactory::new(&config, previous)?.build()?;
        let retired_keys =
            previous.map(|it| config.provider_keys.retire(&it.config.provider_keys, &it.retired_keys));
        let retired_keys = retired_keys.unwrap_or_default();
        let before = previous.map(|it| &it.proxy);
        let proxy = Proxy {
            routes: built.route_table(&config.routes),
            calls: before.map(|it| it.calls.clone()).unwrap_or_default(),
            recent_calls: match before {
                Some(before) => before.recent_calls.with_limit(config.calls_kept),
                None => RecentCalls::new(config.calls_kept),
            },
            body_limits: BodyLimits {
                length: config.body_limit,
                min_rate: config.body_min_rate,
                budget: match before {
                    Some(before) => before.body_limits.budget.with_limit(config.body_budget),
                    None => BodyBudget::new(config.body_budget),
                },
                permits: UnpackPermits::of_process(),
            },
            stop_client_retries: config.stop_client_retries,
            allow_background: config.allow_background,
            redactor: Arc::new(Redactor::new(config.provider_keys.iter().chain(retired_keys.iter()))),
            tracer: match before {
                Some(before) => before.tracer.clone(),
                None => tracer(&config)?,
            },
            tenants: Tenants::new(built.salt()),
            unlimited: CallerLimits::none(),
        };
        Ok(Self {
            proxy,
            targets: Arc::new(built.targets(&config.routes)),
            models: models(&config.routes),
            keys: AccessKeys {
                callers: Arc::new(Callers::new(
                    config.callers.clone(),
                    built.store(),
                    previous.map(|it| &*it.keys.callers),
                    previous.is_some_and(|it| it.config.store == config.store),
                )),
                admin: AdminPages::new(config.admin_key.clone(), is_loopback(config.listen.ip())),
            },
            pages_of_listener: config.pages.clone().listening_on(config.listen.ip()),
            built,
            retired_keys,
            config,
        })
    }

    /// The models that a caller with these rules may use.
    pub(crate) fn models_for(&self, rules: Option<&CallerRules>) -> impl Iterator<Item = &str> {
        let is_allowed = move |model: &&ServedModel| {
            let mut routes = model.routes.iter();
            rules.is_none_or(|rules| routes.any(|(endpoint, route)| rules.allows(*endpoint, route)))
        };
        self.models.iter().filter(is_allowed).map(|model| &*model.id)
    }

    /// Applies what affects the calls in flight as well. Call it once this configuration is in use.
    pub(crate) fn apply(&self) {
        self.built.set_limits();
    }

    /// Checks that the store of shared limits can be used, if there is one. If calls can be decided without
    /// it, this takes no time, and logs a warning later.
    ///
    /// # Errors
    ///
    /// It cannot, and calls are not admitted without it.
    pub(crate) async fn check_store(&self) -> Result<(), RedisStoreError> {
        self.built.check_store().await
    }

    /// Logs a warning if other machines reach the gateway, and there are no callers.
    pub(crate) fn warn_if_open(&self) {
        let listen = self.config.listen;
        if !is_loopback(listen.ip()) && self.config.callers.is_empty() {
            tracing::warn!(
                layer = "gateway",
                "everybody who reaches {listen} can use the keys of the providers"
            );
        }
    }

    /// The web pages that may use the gateway.
    pub(crate) fn pages(&self, entrance: Entrance) -> &WebPages {
        match entrance {
            Entrance::Listener => &self.pages_of_listener,
            Entrance::Application => &self.config.pages,
        }
    }
}

/// Checks a store that is another one than before, as [`RunningConfig::check_store`].
///
/// # Errors
///
/// As there.
pub(crate) async fn check_changed_store(
    config: &Config,
    running: &RunningConfig,
) -> Result<(), GatewayConfigError> {
    match &config.store {
        Some(settings) if running.config.store != config.store => {
            let checked = SharedLimits::new(settings)?.check().await;
            checked.map_err(|error| GatewayConfigError::new("store", error.to_string()))
        }
        _ => Ok(()),
    }
}

/// The exporter of traces, if there is a collector. Without the feature no configuration has one.
fn tracer(config: &Config) -> Result<Option<Arc<dyn CallTracer>>, GatewayConfigError> {
    #[cfg(feature = "otlp")]
    if let Some(settings) = &config.otlp {
        return Ok(Some(Arc::new(crate::otlp::OtlpTracer::start(settings)?)));
    }
    let _ = config;
    Ok(None)
}

/// Rejects a gateway that other machines can use without a key, unless the file has `open = true`.
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

/// The models that `/v1/models` lists: those of the routes, and for a route that accepts any model the
/// targets of its chain.
fn models(routes: &[Route]) -> Vec<ServedModel> {
    let (mut models, mut positions) = (Vec::<ServedModel>::new(), HashMap::new());
    for route in routes {
        let names: Vec<&str> = match &*route.model {
            ANY => route.chain.iter().map(|target| &*target.name).collect(),
            model => vec![model],
        };
        let of_route = (route.endpoint, route.model.clone());
        for name in names {
            let position = *positions.entry(name).or_insert(models.len());
            if position == models.len() {
                models.push(ServedModel { id: name.to_owned(), routes: Vec::new() });
            }
            models[position].routes.push(of_route.clone());
        }
    }
    models
}
