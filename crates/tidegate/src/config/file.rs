use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::file_value::FileValue;
use super::names::{PARTS, field_names, own_name, part_named, setting_named, unknown_setting};
use super::{ConfigError, Preset, ResilienceConfig, recover};
use crate::settings::{Checks, Mistake};

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

/// What could be read of a policy.
pub(super) struct ReadPolicy {
    pub(super) config: ResilienceConfig,
    pub(super) checks: Checks,
    /// The settings that could not be read, as in the key of an error.
    pub(super) removed: Vec<String>,
}

/// Reads the parts of a policy one by one.
struct PartReader {
    parts: Parts,
    checks: Checks,
    removed: Vec<String>,
}

impl TryFrom<PolicyFile> for ResilienceConfig {
    type Error = ConfigError;

    fn try_from(file: PolicyFile) -> Result<Self, ConfigError> {
        let ReadPolicy { config, checks, .. } = file.read();
        checks.finish(config)
    }
}

impl PolicyFile {
    /// The configuration, with every number checked. All mistakes are reported at once.
    ///
    /// # Errors
    ///
    /// A key is unknown, or a value invalid.
    pub fn checked(self) -> Result<ResilienceConfig, ConfigError> {
        let ReadPolicy { config, mut checks, removed } = self.read();
        // A setting that could not be read has its default here, with which others need not agree.
        let is_of_file = |mistake: &Mistake| {
            !removed.iter().any(|key| {
                let setting = key.rsplit('.').next().unwrap_or(key);
                mistake.key().starts_with(&**key) || mistake.problem().contains(setting)
            })
        };
        checks.keep(config.check().or_else(|error| error.retain(is_of_file)));
        checks.finish(config)
    }

    /// The settings of the preset that the file names; those of no preset if it names none.
    pub(super) fn preset(&self) -> ResilienceConfig {
        self.clone().parts(&mut Checks::default()).0
    }

    /// The settings that the file sets, by their own names: `retry.initial_delay`.
    pub(super) fn written(&self) -> Vec<String> {
        let (_, parts) = self.clone().parts(&mut Checks::default());
        let settings = parts.iter().flat_map(|(part, settings)| {
            let written = settings.iter().filter(|(_, value)| value.is_some());
            written.map(move |(name, _)| format!("{part}.{}", own_name(part, name)))
        });
        settings.collect()
    }

    pub(super) fn read(self) -> ReadPolicy {
        let mut checks = Checks::default();
        let (preset, parts) = self.parts(&mut checks);
        let mut reader = PartReader { parts, checks, removed: Vec::new() };
        let config = ResilienceConfig {
            retry: reader.part("retry", preset.retry),
            rate_limiter: reader.part("rate_limiter", preset.rate_limiter),
            circuit_breaker: reader.part("circuit_breaker", preset.circuit_breaker),
            backpressure: reader.part("backpressure", preset.backpressure),
            timeout: reader.part("timeout", Some(preset.timeout)).unwrap_or_default(),
            fallback: reader.part("fallback", Some(preset.fallback)).unwrap_or_default(),
            hedge: reader.part("hedge", preset.hedge),
        };
        ReadPolicy { config, checks: reader.checks, removed: reader.removed }
    }

    /// The settings of the preset, and the parts of the file.
    fn parts(self, checks: &mut Checks) -> (ResilienceConfig, Parts) {
        let (mut preset, mut parts) = (ResilienceConfig::default(), Parts::new());
        for (key, entry) in self.0 {
            let Some(entry) = entry else { continue };
            if key == "preset" {
                let read =
                    Preset::deserialize(FileValue(entry.into_value())).map_err(|error| invalid(&key, &error));
                preset = checks.keep(read).map_or(preset, Preset::config);
            } else if let Some(part) = part_named(&key) {
                let settings = entry.into_settings().map_err(|error| invalid(&key, &error));
                let settings = checks.keep(settings).unwrap_or_default();
                if parts.insert(part, settings).is_some() {
                    checks.fail(ConfigError::new(part, "has two names in this policy, use one of them"));
                }
            } else {
                let moved = setting_named("", &key).err();
                checks.fail(moved.unwrap_or_else(|| unknown_setting("", &key, &PARTS)));
            }
        }
        (preset, parts)
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

impl PartReader {
    /// The settings of a part, which is off if neither the file nor the preset has it.
    fn part<T>(&mut self, part: &'static str, preset: Option<T>) -> Option<T>
    where
        T: Serialize + DeserializeOwned + Default,
    {
        let Some(settings) = self.parts.remove(part) else { return preset };
        let preset = preset.unwrap_or_default();
        let settings = self.known(part, settings, field_names::<T>());
        let table = self.merged(part, settings, &preset);
        let read = recover(table, ConfigError::from_serde);
        self.checks.keep(read.checks.finish(()).map_err(|error| error.within(part)));
        self.removed.extend(read.removed.keys().map(|key| format!("{part}.{key}")));
        read.value.or(Some(preset))
    }

    /// The settings with a known name. `known` are their own names.
    fn known(&mut self, part: &str, mut settings: Settings, known: &'static [&'static str]) -> Settings {
        settings.retain(|name, _| {
            let setting = setting_named(part, name).and_then(|setting| {
                if known.contains(&setting) { Ok(()) } else { Err(unknown_setting(part, name, known)) }
            });
            self.checks.keep(setting.map_err(|error| error.within(part))).is_some()
        });
        settings
    }

    /// The settings of `preset`, overridden by those of the file.
    fn merged<T: Serialize>(&mut self, part: &str, settings: Settings, preset: &T) -> Table {
        let preset = Table::try_from(preset).map_err(|error| ConfigError::new(part, error.to_string()));
        let mut merged = self.checks.keep(preset).unwrap_or_default();
        let mut written = BTreeMap::new();
        for (name, value) in settings {
            let setting = own_name(part, &name);
            match value {
                Some(value) => merged.insert(setting.to_owned(), value),
                None => merged.remove(setting),
            };
            if let Some(other) = written.insert(setting.to_owned(), name.clone()) {
                let problem = format!("the same setting as `{other}`, set only one of them");
                self.checks.fail(ConfigError::new(format!("{part}.{name}"), problem));
            }
        }
        merged
    }
}
