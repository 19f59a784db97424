//! The names of parts and settings in a file: their own, other names that are accepted, and names of other
//! libraries for which there is a setting of another kind.

use serde::de::value::Error;
use serde::de::{Deserialize, Deserializer, Error as _, Visitor};
use serde::forward_to_deserialize_any;

use super::suggestion::KEY;
use super::{ConfigError, unknown};

/// The keys of a policy.
pub(super) const PARTS: [&str; 8] =
    ["preset", "retry", "rate_limiter", "circuit_breaker", "backpressure", "timeout", "fallback", "hedge"];

/// Other names of parts.
pub(super) const PART_ALIASES: [(&str, &str); 2] =
    [("retry_config", "retry"), ("circuit_breaker_config", "circuit_breaker")];

/// Other names of settings with the same meaning: part, name and setting.
pub(super) const ALIASES: [(&str, &str, &str); 8] = [
    ("retry", "reserve", "reserve_for_fallback"),
    ("retry", "base_delay", "initial_delay"),
    ("retry", "multiplier", "backoff_multiplier"),
    ("rate_limiter", "learn", "follow_headers"),
    ("rate_limiter", "adopt", "adopt_reported_quotas"),
    ("rate_limiter", "pause", "default_retry_after"),
    ("circuit_breaker", "cooldown", "cooldown_seconds"),
    ("circuit_breaker", "timeout_seconds", "cooldown_seconds"),
];

/// Names that mean something else than a setting of their part, and the setting with that meaning. The part
/// of a key of the policy itself is empty.
const MOVED: [(&str, &str, &str); 13] = [
    ("", "timeout_seconds", "timeout.total"),
    ("", "enable_retries", "retry.enabled"),
    ("", "enable_circuit_breaker", "circuit_breaker.enabled"),
    ("", "enable_fallbacks", "fallback.enabled"),
    ("retry", "jitter_range", "jitter = { ratio = ... }"),
    ("retry", "retryable_exceptions", "retry_on"),
    ("circuit_breaker", "max_wait_duration", "timeout.attempt"),
    ("rate_limiter", "max_wait_duration", "max_wait"),
    ("rate_limiter", "timeout_seconds", "max_wait"),
    ("backpressure", "max_wait_duration", "queue_timeout"),
    ("backpressure", "timeout_seconds", "queue_timeout"),
    ("timeout", "max_wait_duration", "attempt"),
    ("timeout", "timeout_seconds", "total"),
];

/// The part with this name.
pub(super) fn part_named(name: &str) -> Option<&'static str> {
    let alias = PART_ALIASES.into_iter().find(|(alias, _)| *alias == name);
    alias.map(|(_, part)| part).or_else(|| PARTS[1..].iter().copied().find(|part| *part == name))
}

/// The own name of a setting.
///
/// # Errors
///
/// A setting of another part or kind has this meaning.
pub(super) fn setting_named<'a>(part: &str, name: &'a str) -> Result<&'a str, ConfigError> {
    match moved(part, name) {
        Some(setting) => {
            let problem = format!("unknown key `{name}`, the setting is `{setting}`");
            Err(ConfigError::unknown_key("", name, problem))
        }
        None => Ok(own_name(part, name)),
    }
}

/// The error about an unknown `name`: with the most similar name of a setting or its other names, else with
/// all settings.
pub(super) fn unknown_setting(part: &str, name: &str, known: &[&str]) -> ConfigError {
    let aliases = ALIASES.iter().filter(|(of, ..)| *of == part).map(|(_, alias, _)| *alias);
    let similar = unknown(KEY, name, known.iter().copied().chain(aliases));
    let is_similar = similar.contains(", did you mean `");
    let problem = if is_similar { similar } else { unknown(KEY, name, known.iter().copied()) };
    ConfigError::unknown_key("", name, problem)
}

/// The name that stands for the key `name` of the table `parent` in the key of an error.
pub(super) fn own_name<'a>(parent: &str, name: &'a str) -> &'a str {
    let alias = ALIASES.iter().find(|(of, alias, _)| *of == parent && *alias == name);
    alias.map_or(name, |(_, _, setting)| setting)
}

fn moved(part: &str, name: &str) -> Option<&'static str> {
    MOVED.iter().find(|(of, moved, _)| *of == part && *moved == name).map(|(_, _, setting)| *setting)
}

/// The names of the fields of `T`, as they are in a file. `T` is a struct.
pub(crate) fn field_names<T: for<'de> Deserialize<'de>>() -> &'static [&'static str] {
    let mut names: &'static [&'static str] = &[];
    // No value is made: the deserializer only receives the names.
    let _ = T::deserialize(FieldNames(&mut names));
    names
}

struct FieldNames<'n>(&'n mut &'static [&'static str]);

impl<'de> Deserializer<'de> for FieldNames<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(Error::custom("not a struct"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        names: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Error> {
        *self.0 = names;
        Err(Error::custom("the names are enough"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}
