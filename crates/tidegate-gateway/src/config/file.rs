//! The file as it is written, before anything in it is checked against anything else.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::time::Duration;

use serde::Deserialize;
use tidegate::{ModelCapabilities, ResilienceConfig};

use super::ConfigError;
use super::cache::CacheEntry;
use super::wording::reworded;
use crate::endpoint::Dialect;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct File {
    pub(super) listen: Option<String>,
    pub(super) body_limit: Option<usize>,
    #[serde(default, with = "humantime_serde")]
    pub(super) drain: Option<Duration>,
    #[serde(default)]
    pub(super) providers: BTreeMap<String, ProviderEntry>,
    #[serde(default)]
    pub(super) policies: BTreeMap<String, ResilienceConfig>,
    #[serde(default)]
    pub(super) cache: CacheEntry,
    #[serde(default)]
    pub(super) models: BTreeMap<String, ModelEntry>,
    #[serde(default)]
    pub(super) routes: Vec<RouteEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table with base_url and dialect")]
pub(super) struct ProviderEntry {
    pub(super) base_url: String,
    pub(super) dialect: Dialect,
    pub(super) api_key_env: Option<String>,
}

/// What a model can take; what is not said does not count against it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table with what the model can take")]
pub(super) struct ModelEntry {
    pub(super) context_tokens: Option<NonZeroU64>,
    pub(super) max_output_tokens: Option<NonZeroU64>,
    pub(super) tools: Option<bool>,
    pub(super) vision: Option<bool>,
    pub(super) json_schema: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table with path and chain")]
pub(super) struct RouteEntry {
    pub(super) path: String,
    #[serde(default = "any_model")]
    pub(super) model: String,
    pub(super) chain: Vec<String>,
    #[serde(default = "default_policy")]
    pub(super) policy: String,
}

impl From<ModelEntry> for ModelCapabilities {
    fn from(entry: ModelEntry) -> Self {
        Self {
            context_tokens: entry.context_tokens.map(NonZeroU64::get),
            max_output_tokens: entry.max_output_tokens.map(NonZeroU64::get),
            tools: entry.tools,
            vision: entry.vision,
            json_schema: entry.json_schema,
        }
    }
}

fn any_model() -> String {
    super::route::ANY.to_owned()
}

fn default_policy() -> String {
    super::policy::DEFAULT.to_owned()
}

impl File {
    pub(super) fn read(text: &str) -> Result<Self, ConfigError> {
        let tables = toml::Deserializer::parse(text).map_err(|error| syntax(text, &error))?;
        serde_path_to_error::deserialize(tables)
            .map_err(|error| reworded(&error.path().to_string(), error.inner().message()))
    }
}

/// Not TOML at all: there is no key to name, so the place is named.
fn syntax(text: &str, error: &toml::de::Error) -> ConfigError {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or(text);
    let line = before.split('\n').count();
    // The first line says it; toml may add a drawing, or a list.
    let problem = error.message().lines().next().unwrap_or("not TOML");
    ConfigError::new(format!("line {line}"), problem)
}
