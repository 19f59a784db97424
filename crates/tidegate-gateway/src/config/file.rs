//! The configuration file as it is deserialized, before cross-references are checked.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::time::Duration;

use serde::Deserialize;
use tidegate::ModelCapabilities;
use tidegate::config::PolicyFile;

use super::GatewayConfigError;
use super::cache::CacheSettings;
use super::serde_error::from_serde;
use crate::endpoint::ApiDialect;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub(super) struct ConfigFile {
    pub(super) listen: Option<String>,
    pub(super) body_limit: Option<usize>,
    #[serde(default, with = "humantime_serde")]
    pub(super) drain: Option<Duration>,
    #[serde(default)]
    pub(super) providers: BTreeMap<String, ProviderEntry>,
    #[serde(default)]
    pub(super) policies: BTreeMap<String, PolicyFile>,
    #[serde(default)]
    pub(super) cache: CacheSettings,
    #[serde(default)]
    pub(super) models: BTreeMap<String, ModelEntry>,
    #[serde(default)]
    pub(super) routes: Vec<RouteEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table with base_url and dialect")]
pub(super) struct ProviderEntry {
    pub(super) base_url: String,
    pub(super) dialect: ApiDialect,
    pub(super) api_key_env: Option<String>,
}

/// The capabilities of a model. A missing field is unknown and excludes no request.
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

impl ConfigFile {
    pub(super) fn read(text: &str) -> Result<Self, GatewayConfigError> {
        let tables = toml::Deserializer::parse(text).map_err(|error| syntax(text, &error))?;
        serde_path_to_error::deserialize(tables)
            .map_err(|error| from_serde(&error.path().to_string(), error.inner().message()))
    }
}

/// The error for text that is not TOML. It names the line, since there is no key.
fn syntax(text: &str, error: &toml::de::Error) -> GatewayConfigError {
    let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or(text);
    let line = before.split('\n').count();
    // The first line is the message. The `toml` crate may append an excerpt or a list.
    let problem = error.message().lines().next().unwrap_or("not TOML");
    GatewayConfigError::new(format!("line {line}"), problem)
}
