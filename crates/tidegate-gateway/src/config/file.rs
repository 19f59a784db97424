//! The configuration file as it is deserialized, before cross-references are checked.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;
use tidegate::config::{DurationText, PolicyFile};

use super::admin::AdminEntry;
use super::alerts::AlertsEntry;
use super::cache::CacheSettings;
use super::caller::CallerEntry;
use super::connections::ConnectionSettings;
use super::model::ModelEntry;
use super::otlp::OtlpEntry;
use super::provider::ProviderEntry;
use super::route::RouteEntry;
use super::static_texts::StaticTexts;
use super::store::StoreEntry;
use super::tls::TlsFiles;
use crate::log_format::LogFormat;

/// The configuration of the gateway.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a table")]
#[schemars(title = "tidegate-gateway")]
pub(super) struct ConfigFile {
    /// The address to listen on; `"127.0.0.1:8787"` by default. `localhost` is the only name that is
    /// resolved.
    pub(super) listen: Option<String>,
    /// Whether everybody who reaches the gateway may use it.
    #[serde(default)]
    pub(super) open: bool,
    /// The names of the gateway as the `host` of requests, without ports.
    #[serde(default)]
    pub(super) hosts: Vec<String>,
    /// The origins of web pages that may use the gateway, such as `"https://app.example"`.
    #[serde(default)]
    pub(super) origins: Vec<String>,
    /// The largest request body that is accepted, in bytes; 33554432 by default.
    #[schemars(range(min = 1))]
    pub(super) body_limit: Option<usize>,
    /// The largest request body that is translated, in bytes; 8388608 by default.
    pub(super) translated_body_limit: Option<NonZeroUsize>,
    /// The memory for the request bodies of all calls together, in bytes, at least `body_limit`; 268435456 by
    /// default.
    pub(super) body_budget: Option<usize>,
    /// The fewest bytes a second at which a request body may arrive, after a grace of 10 s; 16384 by default.
    pub(super) body_min_rate: Option<NonZeroUsize>,
    /// The open connections of callers; 4096 by default. A further one closes the one that is idle for
    /// longest.
    pub(super) max_connections: Option<NonZeroUsize>,
    /// How long a connection of a caller may be idle, and over HTTP/1 the head of a request may take; `"75s"`
    /// by default.
    #[serde(default, deserialize_with = "DurationText::deserialize")]
    #[schemars(with = "Option<DurationText>")]
    pub(super) idle_timeout: Option<Duration>,
    /// After a stop signal `/readyz` is 503 for this time, and calls are still accepted; `"2s"` by default.
    #[serde(default, deserialize_with = "DurationText::deserialize")]
    #[schemars(with = "Option<DurationText>")]
    pub(super) notice: Option<Duration>,
    /// How long calls may continue after the notice time; `"10s"` by default.
    #[serde(default, deserialize_with = "DurationText::deserialize")]
    #[schemars(with = "Option<DurationText>")]
    pub(super) drain: Option<Duration>,
    /// The format of the log; `"text"` by default.
    #[serde(default)]
    pub(super) log: LogFormat,
    /// The recent calls that `/calls` shows; 256 by default, and none if it is 0.
    pub(super) calls_kept: Option<usize>,
    /// Whether a header keeps clients from repeating a call that the gateway has given up; `true` by default.
    pub(super) stop_client_retries: Option<bool>,
    /// Whether a call of `/v1/responses` may have `background: true`, and one of chat completions
    /// `deferred: true`, outside of the limits of callers and targets; `false` by default.
    #[serde(default)]
    pub(super) allow_background: bool,
    /// The answer of `"@emergency"`.
    pub(super) emergency_text: Option<String>,
    /// The answers of `"@static"` by the kind of the prompt, which English words in it decide.
    #[serde(default)]
    pub(super) static_texts: StaticTexts,
    /// The providers by name.
    #[serde(default)]
    pub(super) providers: BTreeMap<String, ProviderEntry>,
    /// The callers, each with a key of its own.
    #[serde(default)]
    pub(super) callers: Vec<CallerEntry>,
    /// The key for the pages of operators: `/`, `/signals`, `/calls` and `/metrics`.
    pub(super) admin: Option<AdminEntry>,
    /// The certificate of the gateway, for `https`.
    pub(super) tls: Option<TlsFiles>,
    /// The policies by name. A route without a policy uses `default`.
    #[serde(default)]
    pub(super) policies: BTreeMap<String, PolicyFile>,
    /// Connections to providers.
    #[serde(default)]
    pub(super) connections: ConnectionSettings,
    /// The cache of all chains that end in `"@cached"`.
    #[serde(default)]
    pub(super) cache: CacheSettings,
    /// Alerts about degraded targets; none without this table.
    pub(super) alerts: Option<AlertsEntry>,
    /// The export of traces; none without this table, and without the variables of OpenTelemetry.
    pub(super) otlp: Option<OtlpEntry>,
    /// The store through which several gateways share the limits of their targets and callers; none without
    /// this table.
    pub(super) store: Option<StoreEntry>,
    /// Capabilities of models, by the beginning of their names.
    #[serde(default)]
    pub(super) models: BTreeMap<String, ModelEntry>,
    /// The routes, at least one.
    #[serde(default)]
    pub(super) routes: Vec<RouteEntry>,
}

impl ConfigFile {
    /// The variables of the environment with secrets, each with its key.
    pub(super) fn secret_variables(&self) -> Vec<(String, &str)> {
        let mut variables = Vec::new();
        for (name, provider) in &self.providers {
            let named = |(key, variable)| (format!("providers.{name}.{key}"), variable);
            variables.extend(provider.secret_variables().map(named));
        }
        for (index, caller) in self.callers.iter().enumerate() {
            let key = || format!("callers[{index}].key_env");
            variables.extend(caller.key_env().map(|variable| (key(), variable)));
        }
        let of_admin = self.admin.as_ref().and_then(AdminEntry::key_env);
        variables.extend(of_admin.map(|variable| ("admin.key_env".to_owned(), variable)));
        let of_alerts = self.alerts.as_ref().and_then(AlertsEntry::token_env);
        variables.extend(of_alerts.map(|variable| ("alerts.webhook_token_env".to_owned(), variable)));
        let of_store = self.store.as_ref().and_then(StoreEntry::url_env);
        variables.extend(of_store.map(|variable| ("store.url_env".to_owned(), variable)));
        variables
    }

    /// The files with keys and certificates.
    pub(super) fn key_files(&self) -> impl Iterator<Item = &str> {
        let of_callers = self.callers.iter().filter_map(CallerEntry::key_file);
        let of_admin = self.admin.as_ref().and_then(AdminEntry::key_file);
        let of_tls = self.tls.iter().flat_map(TlsFiles::paths);
        let of_providers = self.providers.values().flat_map(ProviderEntry::key_files);
        of_providers.chain(of_callers).chain(of_admin).chain(of_tls)
    }
}
