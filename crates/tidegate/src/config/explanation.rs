use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::env::VARIABLES;
use super::names::field_names;
use super::{PolicyFile, ResilienceConfig};
use crate::{KeyBy, backpressure, circuit_breaker, hedge, rate_limit, retry};

/// The stack that a configuration gives: its layers, outermost first, and the origin of each setting.
///
/// It is displayed as a table, and serialized as a list of layers.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Explanation {
    /// Outermost first.
    pub layers: Vec<ExplainedLayer>,
}

/// A layer, or the limits of a call as a whole.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ExplainedLayer {
    /// `call`, `fallback`, `hedge`, `retry`, `backpressure`, `rate_limiter`, `circuit_breaker` or `wire`.
    pub name: &'static str,
    /// Whether the layer is on.
    pub is_on: bool,
    /// Its settings; none if it is absent.
    pub settings: Vec<ExplainedSetting>,
}

/// A setting, its value and its origin.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ExplainedSetting {
    /// The key in a file, such as `retry.max_retries`.
    pub key: String,
    /// The value as in a file of TOML; `none` if it is not set.
    pub value: String,
    /// Where the value is from.
    pub origin: Origin,
}

/// Where the value of a setting is from. Earlier ones take precedence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Origin {
    /// The program has set the field.
    Program,
    /// A variable of the environment.
    Environment,
    /// The file.
    File,
    /// The preset that the file names.
    Preset,
    /// The default of the layer.
    Default,
}

/// The keys of the call as a whole.
const CALL: [&str; 3] = ["timeout.total", "timeout.header", "retry.max_attempts"];

impl ResilienceConfig {
    /// Explains this configuration, which was read from `file`; without a file, from `PolicyFile::default()`.
    /// `lookup` returns the variables of the environment.
    ///
    /// ```
    /// use tidegate::ResilienceConfig;
    /// use tidegate::config::PolicyFile;
    ///
    /// let file: PolicyFile = toml::from_str("preset = 'lesson'\nretry = { max_retries = 5 }")?;
    /// let env = |name: &str| (name == "AI_LIB_MAX_INFLIGHT").then(|| "9".into());
    /// let mut config = file.clone().checked()?.overlay(env)?;
    /// config.timeout.header = Some("grpc-timeout".to_owned());
    ///
    /// let explanation = config.explain(&file, env).to_string();
    /// for (key, value, origin) in [
    ///     ("timeout.total", "\"30s\"", "preset"),
    ///     ("timeout.header", "\"grpc-timeout\"", "program"),
    ///     ("retry.max_retries", "5", "file"),
    ///     ("backpressure.max_inflight", "9", "environment"),
    ///     ("backpressure.max_queued", "64", "default"),
    /// ] {
    ///     let has_row = |line: &str| line.split_whitespace().eq([key, value, origin]);
    ///     assert!(explanation.lines().any(has_row), "{key}: {explanation}");
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn explain(&self, file: &PolicyFile, lookup: impl Fn(&str) -> Option<OsString>) -> Explanation {
        let sources = Sources::new(file, lookup);
        let settings = settings(self);
        let layer = |name: &'static str, part: &str| {
            let is_of_layer = |key: &str| {
                let is_of_call = CALL.contains(&key);
                if name == "call" { is_of_call } else { !is_of_call && part_of(key) == part }
            };
            let settings: Vec<_> = settings
                .iter()
                .filter(|(key, _)| is_of_layer(key))
                .map(|(key, value)| sources.explained(key, value.as_ref()))
                .collect();
            let is_off =
                settings.iter().any(|setting| setting.key.ends_with(".enabled") && setting.value == "false");
            ExplainedLayer { name, is_on: !settings.is_empty() && !is_off, settings }
        };
        Explanation {
            layers: vec![
                layer("call", ""),
                layer("fallback", "fallback"),
                layer("hedge", "hedge"),
                layer("retry", "retry"),
                layer("backpressure", "backpressure"),
                layer("rate_limiter", "rate_limiter"),
                layer("circuit_breaker", "circuit_breaker"),
                layer("wire", "timeout"),
            ],
        }
    }
}

/// The settings of a configuration by key, in the order of their declaration. A value is `None` if it is not
/// set.
type Values = Vec<(String, Option<Value>)>;

/// What the origins are found by.
struct Sources<F> {
    lookup: F,
    /// The settings that the file sets.
    written: Vec<String>,
    /// The settings of the file with its preset, and of the preset alone.
    of_file: BTreeMap<String, Option<Value>>,
    of_preset: BTreeMap<String, Option<Value>>,
    /// The settings of the file, overridden by the environment.
    of_environment: BTreeMap<String, Option<Value>>,
    defaults: BTreeMap<String, Option<Value>>,
}

impl<F: Fn(&str) -> Option<OsString>> Sources<F> {
    fn new(file: &PolicyFile, lookup: F) -> Self {
        let config = file.clone().read().config;
        let of_file = settings(&config).into_iter().collect();
        let config = config.clone().overlay(&lookup).unwrap_or(config);
        Self {
            lookup,
            written: file.written(),
            of_file,
            of_preset: settings(&file.preset()).into_iter().collect(),
            of_environment: settings(&config).into_iter().collect(),
            defaults: settings(&all_parts()).into_iter().collect(),
        }
    }

    fn explained(&self, key: &str, value: Option<&Value>) -> ExplainedSetting {
        let is_of = |values: &BTreeMap<String, Option<Value>>| {
            values.get(key).is_some_and(|other| other.as_ref() == value)
        };
        let is_default = is_of(&self.defaults);
        let is_in_environment =
            VARIABLES.iter().any(|(name, of)| *of == key && (self.lookup)(name).is_some());
        // A variable turns on a part that the file turns off.
        let is_changed = || self.of_file.contains_key(key) && !is_of(&self.of_file);
        let origin = if (is_in_environment || is_changed()) && is_of(&self.of_environment) {
            Origin::Environment
        } else if is_of(&self.of_file) && self.written.iter().any(|written| written == key) {
            Origin::File
        } else if is_of(&self.of_file) && is_of(&self.of_preset) && !is_default {
            Origin::Preset
        } else if is_default && (is_of(&self.of_environment) || !self.of_environment.contains_key(key)) {
            Origin::Default
        } else {
            Origin::Program
        };
        let value = value.map_or_else(|| "none".to_owned(), ToString::to_string);
        ExplainedSetting { key: key.to_owned(), value, origin }
    }
}

/// A configuration with the defaults of all parts.
pub(super) fn all_parts() -> ResilienceConfig {
    ResilienceConfig {
        retry: Some(retry::Settings::default()),
        rate_limiter: Some(rate_limit::Settings::default()),
        circuit_breaker: Some(circuit_breaker::Settings::default()),
        backpressure: Some(backpressure::Settings::default()),
        hedge: Some(hedge::Settings::default()),
        ..ResilienceConfig::default()
    }
}

fn settings(config: &ResilienceConfig) -> Values {
    let mut config = config.clone();
    let closures = closures(&mut config);
    let parts = [
        of_part("fallback", Some(&config.fallback)),
        of_part("hedge", config.hedge.as_ref()),
        of_part("retry", config.retry.as_ref()),
        of_part("backpressure", config.backpressure.as_ref()),
        of_part("rate_limiter", config.rate_limiter.as_ref()),
        of_part("circuit_breaker", config.circuit_breaker.as_ref()),
        of_part("timeout", Some(&config.timeout)),
    ];
    let mut values: Values = parts.into_iter().flatten().collect();
    for (_, value) in values.iter_mut().filter(|(key, _)| closures.contains(&&**key)) {
        *value = Some(Value::String("a closure".to_owned()));
    }
    values
}

/// Removes the keys that are closures, which cannot be serialized, and returns their settings.
fn closures(config: &mut ResilienceConfig) -> Vec<&'static str> {
    let keys: [(_, Option<&mut Option<KeyBy>>); 4] = [
        ("rate_limiter.key_by", config.rate_limiter.as_mut().map(|settings| &mut settings.key_by)),
        ("circuit_breaker.key_by", config.circuit_breaker.as_mut().map(|settings| &mut settings.key_by)),
        ("backpressure.key_by", config.backpressure.as_mut().map(|settings| &mut settings.key_by)),
        ("fallback.cache_by", Some(&mut config.fallback.cache_by)),
    ];
    let is_closure = |key: &mut KeyBy| Value::try_from(&*key).is_err();
    keys.into_iter().filter_map(|(name, key)| key?.take_if(is_closure).map(|_| name)).collect()
}

fn of_part<T: Serialize + for<'de> Deserialize<'de>>(part: &str, settings: Option<&T>) -> Values {
    let Some(settings) = settings else { return Values::new() };
    let mut values = Table::try_from(settings).unwrap_or_default();
    let setting = |name: &&str| (format!("{part}.{name}"), values.remove(*name));
    field_names::<T>().iter().map(setting).collect()
}

fn part_of(key: &str) -> &str {
    key.split('.').next().unwrap_or(key)
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Program => "program",
            Self::Environment => "environment",
            Self::File => "file",
            Self::Preset => "preset",
            Self::Default => "default",
        })
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let settings = || self.layers.iter().flat_map(|layer| &layer.settings);
        let keys = settings().map(|setting| setting.key.len()).max().unwrap_or(0);
        let values = settings().map(|setting| setting.value.chars().count()).max().unwrap_or(0);
        for layer in &self.layers {
            writeln!(f, "{}{}", layer.name, if layer.is_on { "" } else { ": off" })?;
            for ExplainedSetting { key, value, origin } in &layer.settings {
                writeln!(f, "  {key:keys$}  {value:values$}  {origin}")?;
            }
        }
        Ok(())
    }
}
