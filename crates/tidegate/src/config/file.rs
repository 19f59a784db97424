use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::names::{PARTS, part_named, setting_named, setting_of_unknown_part};
use super::{ConfigError, Preset, ResilienceConfig, suggest};

/// A policy as it is written in a file: a preset, and the settings that differ from it.
///
/// [`ResilienceConfig`] is deserialized through it. A program with a file of its own, in which a policy is
/// one of several tables, deserializes that table as a `PolicyFile` and converts it with `TryFrom`: the error
/// of the conversion has the [key](ConfigError::key) in the table as a value of its own.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(transparent)]
pub struct PolicyFile(BTreeMap<String, Option<Entry>>);

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Entry {
    Settings(Settings),
    Value(Value),
}

/// The settings of one part by name. A value of `None` (`null` in JSON) stands for the default.
type Settings = BTreeMap<String, Option<Value>>;

/// The parts that a policy names.
type Parts = BTreeMap<&'static str, Settings>;

impl TryFrom<PolicyFile> for ResilienceConfig {
    type Error = ConfigError;

    fn try_from(file: PolicyFile) -> Result<Self, ConfigError> {
        let (preset, mut parts) = file.read()?;
        Ok(Self {
            retry: part(&mut parts, "retry", preset.retry)?,
            rate_limiter: part(&mut parts, "rate_limiter", preset.rate_limiter)?,
            circuit_breaker: part(&mut parts, "circuit_breaker", preset.circuit_breaker)?,
            backpressure: part(&mut parts, "backpressure", preset.backpressure)?,
            timeout: part(&mut parts, "timeout", Some(preset.timeout))?.unwrap_or_default(),
            fallback: part(&mut parts, "fallback", Some(preset.fallback))?.unwrap_or_default(),
        })
    }
}

impl PolicyFile {
    /// The settings of the preset, and the parts of the file.
    fn read(self) -> Result<(ResilienceConfig, Parts), ConfigError> {
        let (mut preset, mut parts) = (ResilienceConfig::default(), Parts::new());
        for (key, entry) in self.0 {
            let Some(entry) = entry else { continue };
            if key == "preset" {
                preset =
                    Preset::deserialize(entry.into_value()).map_err(|error| invalid(&key, &error))?.config();
            } else if let Some(part) = part_named(&key) {
                let settings = entry.into_settings().map_err(|error| invalid(&key, &error))?;
                if parts.insert(part, settings).is_some() {
                    return Err(ConfigError::with_problem(
                        part,
                        "has two names in this policy, use one of them",
                    ));
                }
            } else {
                let hint = match setting_of_unknown_part(&key) {
                    Some(setting) => format!(", the setting is `{setting}`"),
                    None => suggest(&key, PARTS),
                };
                return Err(ConfigError::with_problem("", format!("unknown key `{key}`{hint}")));
            }
        }
        Ok((preset, parts))
    }
}

impl Entry {
    fn into_settings(self) -> Result<Settings, toml::de::Error> {
        match self {
            Self::Settings(settings) => Ok(settings),
            Self::Value(value) => Settings::deserialize(value),
        }
    }

    fn into_value(self) -> Value {
        match self {
            Self::Settings(settings) => {
                Value::Table(settings.into_iter().filter_map(|(name, value)| Some((name, value?))).collect())
            }
            Self::Value(value) => value,
        }
    }
}

fn invalid(key: &str, error: &toml::de::Error) -> ConfigError {
    ConfigError::from_serde(key, error.message())
}

/// The settings of a part, which is off if neither the file nor the preset has it.
fn part<T: Serialize + DeserializeOwned + Default>(
    parts: &mut Parts,
    name: &'static str,
    preset: Option<T>,
) -> Result<Option<T>, ConfigError> {
    match parts.remove(name) {
        Some(settings) => overlay(name, settings, &preset.unwrap_or_default()).map(Some),
        None => Ok(preset),
    }
}

/// The settings of `preset`, overridden by those of the file.
fn overlay<T: Serialize + DeserializeOwned>(
    part: &str,
    settings: Settings,
    preset: &T,
) -> Result<T, ConfigError> {
    merge(part, settings, preset).map_err(|error| error.within(part))
}

fn merge<T: Serialize + DeserializeOwned>(
    part: &str,
    settings: Settings,
    preset: &T,
) -> Result<T, ConfigError> {
    let mut merged =
        Table::try_from(preset).map_err(|error| ConfigError::with_problem("", error.to_string()))?;
    let mut written = BTreeMap::new();
    for (name, value) in settings {
        let setting = setting_named(part, &name)?;
        match value {
            Some(value) => merged.insert(setting.clone(), value),
            None => merged.remove(&setting),
        };
        if let Some(other) = written.insert(setting, name.clone()) {
            let problem = format!("the same setting as `{other}`, set only one of them");
            return Err(ConfigError::with_problem(name, problem));
        }
    }
    serde_path_to_error::deserialize(merged)
        .map_err(|error| ConfigError::from_serde(&error.path().to_string(), error.inner().message()))
}
