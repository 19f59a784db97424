use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tidegate_core::{AnswerSynthesizer, ModelCatalog, StreamContinuator};

use super::policy::FallbackPolicy;
use crate::settings::{ConfigError, LayerSettings, OptionalDurationText};
use crate::sync::unpoisoned;
use crate::{KeyBy, Payload, defaults};

/// The settings of a [`FallbackLayer`](crate::FallbackLayer), and their defaults; the part `fallback` of a
/// configuration. The targets are set in the program.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(inline))]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Whether other targets and last resorts are used; `true` by default.
    #[doc(alias = "enable_fallbacks")]
    pub enabled: bool,
    /// Falls back when the prompt exceeds the context of the model; `false` by default.
    pub on_context_length: bool,
    /// Falls back when the content filter rejects; `false` by default.
    pub on_content_filter: bool,
    /// The next target continues a text stream that broke off; `false` by default.
    pub continue_streams: bool,
    /// The longest time that a call waits while all targets are cooling down, over all of its waits; as long
    /// as its deadline allows by default, and no wait if it is 0 s. A call without a deadline does not wait.
    #[serde(with = "OptionalDurationText", skip_serializing_if = "Option::is_none")]
    pub max_wait: Option<Duration>,
    /// Request bodies up to this many bytes are kept for the other targets; 32 MiB by default.
    pub body_cap: usize,
    /// Callers with the same key share cached answers: `"tenant"`, `"credential"`, `"model"`,
    /// `"header:<name>"`, `"path"` or `"host"`. By default the key is the credential together with the
    /// tenant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_by: Option<KeyBy>,
}

/// What only a program can set.
#[derive(Clone)]
pub(super) struct FallbackHooks {
    pub(super) continuator: Option<Arc<dyn StreamContinuator>>,
    pub(super) composer: Option<Arc<dyn AnswerSynthesizer>>,
    pub(super) models: Option<Arc<dyn ModelCatalog>>,
    pub(super) random: Arc<Mutex<fastrand::Rng>>,
}

pub(super) type FallbackSettings = LayerSettings<Settings, FallbackHooks>;

impl Default for Settings {
    fn default() -> Self {
        Self {
            enabled: true,
            on_context_length: false,
            on_content_filter: false,
            continue_streams: false,
            max_wait: None,
            body_cap: Payload::DEFAULT_CAP,
            cache_by: None,
        }
    }
}

impl Settings {
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        if self.continue_streams && !cfg!(feature = "translate") {
            return Err(ConfigError::expected("continue_streams", "the feature `translate` for it", true));
        }
        Ok(())
    }

    pub(super) fn policy(&self) -> FallbackPolicy {
        FallbackPolicy {
            on_context_length: self.on_context_length,
            on_content_filter: self.on_content_filter,
        }
    }
}

impl Default for FallbackHooks {
    fn default() -> Self {
        Self {
            continuator: None,
            composer: defaults::composer(),
            models: defaults::models(),
            random: Arc::default(),
        }
    }
}

impl FallbackHooks {
    /// A random number, uniform in 0..1.
    pub(super) fn random(&self) -> f64 {
        unpoisoned(self.random.lock()).f64()
    }
}

partial_debug!([] FallbackHooks, "FallbackHooks");
