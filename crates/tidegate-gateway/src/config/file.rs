//! The configuration file as it is deserialized, before cross-references are checked.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::time::Duration;

use serde::Deserialize;
use tidegate::config::PolicyFile;

use super::cache::CacheSettings;
use super::caller::CallerEntry;
use super::connections::ConnectionSettings;
use super::model::ModelEntry;
use super::provider::ProviderEntry;
use super::route::RouteEntry;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct ConfigFile {
    pub(super) listen: Option<String>,
    /// Whether everybody who reaches the gateway may use it.
    #[serde(default)]
    pub(super) open: bool,
    #[serde(default)]
    pub(super) hosts: Vec<String>,
    #[serde(default)]
    pub(super) origins: Vec<String>,
    pub(super) body_limit: Option<usize>,
    pub(super) translated_body_limit: Option<NonZeroUsize>,
    pub(super) body_budget: Option<usize>,
    pub(super) body_min_rate: Option<NonZeroUsize>,
    pub(super) max_connections: Option<NonZeroUsize>,
    #[serde(default, with = "humantime_serde")]
    pub(super) notice: Option<Duration>,
    #[serde(default, with = "humantime_serde")]
    pub(super) drain: Option<Duration>,
    pub(super) stop_client_retries: Option<bool>,
    pub(super) emergency_text: Option<String>,
    #[serde(default)]
    pub(super) providers: BTreeMap<String, ProviderEntry>,
    #[serde(default)]
    pub(super) callers: Vec<CallerEntry>,
    #[serde(default)]
    pub(super) policies: BTreeMap<String, PolicyFile>,
    #[serde(default)]
    pub(super) connections: ConnectionSettings,
    #[serde(default)]
    pub(super) cache: CacheSettings,
    #[serde(default)]
    pub(super) models: BTreeMap<String, ModelEntry>,
    #[serde(default)]
    pub(super) routes: Vec<RouteEntry>,
}
