//! Converts the messages of serde errors into messages for users.

use super::suggestion::KEY;
use super::{ConfigError, found, unknown};

impl ConfigError {
    /// The serde error `message` about the key at `path`, in the words of a configuration: an unknown key
    /// comes with the nearest known one, and no Rust type is named.
    #[must_use]
    pub fn from_serde(path: &str, message: &str) -> Self {
        // `serde_path_to_error` shows the empty path as a full stop.
        let path = path.trim_end_matches('.');
        if let Some((name, known)) = unknown_name("unknown field ", message) {
            // The path ends in the unknown key. The error names the table that contains it.
            let parent = path.strip_suffix(name).unwrap_or(path).trim_end_matches('.');
            return Self::unknown_key(parent, name, unknown(KEY, name, known));
        }
        if let Some((name, known)) = unknown_name("unknown variant ", message) {
            return Self::new(path, unknown("value", name, known));
        }
        if let Some(key) = message.strip_prefix("missing field ") {
            return Self::new(path, format!("missing key {key}"));
        }
        let is_value = message.starts_with("invalid value: ");
        let misfit =
            message.strip_prefix("invalid type: ").or_else(|| message.strip_prefix("invalid value: "));
        if let Some((value, expected)) = misfit.and_then(|rest| rest.rsplit_once(", expected ")) {
            // The path ends in a name that needs a value, and stands alone: `jitter = "ratio"`.
            if let ("newtype variant", Some((parent, name))) = (expected, path.rsplit_once('.')) {
                return Self::new(parent, format!("expected a value for {name}, as in {{ {name} = .. }}"));
            }
            let range = if is_value { range(expected) } else { String::new() };
            let expected = plain(expected);
            return Self::new(path, format!("expected {expected}{range}{}", found_value(value)));
        }
        // The `toml` crate may append an excerpt.
        Self::new(path, message.lines().next().unwrap_or_default())
    }
}

/// The smallest number that TOML has no integer for.
const TOO_LARGE: f64 = 9_223_372_036_854_775_808.0;

/// The end of a message about `string "x"` or ``integer `1` ``: the value if it cannot be a secret, else its
/// type.
fn found_value(value: &str) -> String {
    let start = value.find(['"', '`']).unwrap_or(value.len());
    let (kind, value) = value.split_at(start);
    let number = value.trim_matches('`').parse::<f64>();
    let is_too_large =
        kind.trim_end() == "floating point" && number.is_ok_and(|number| number.abs() >= TOO_LARGE);
    match found(value) {
        _ if is_too_large => ", found a number beyond 2^63".to_owned(),
        hidden if hidden.is_empty() => format!(", found {}", plain(kind.trim_end())),
        _ => format!(", found {}{value}", plain(kind)),
    }
}

/// Replaces the Rust types in serde's messages, and its words for values.
fn plain(expected: &str) -> &str {
    match expected {
        "u16" | "u32" | "u64" | "usize" => "a whole number",
        _ if expected.starts_with("a nonzero ") => "at least 1",
        _ if expected.starts_with("struct ") => "a table",
        "f32" | "f64" => "a number",
        "a boolean" => "true or false",
        "a map" | "map" => "a table",
        "a sequence" | "sequence" => "a list",
        other => other,
    }
}

/// The range of a Rust type of whole numbers.
fn range(expected: &str) -> String {
    match expected {
        "u16" => format!(" from 0 to {}", u16::MAX),
        "u32" => format!(" from 0 to {}", u32::MAX),
        "u64" | "usize" => " of at least 0".to_owned(),
        _ => String::new(),
    }
}

/// The quoted name, and the expected names: ``unknown field `x`, expected `a` or `b` ``.
fn unknown_name<'a>(what: &str, message: &'a str) -> Option<(&'a str, Vec<&'a str>)> {
    // The name may contain any character, and the expected names are plain.
    let rest = message.strip_prefix(what)?.strip_prefix('`')?;
    let (name, known) = rest.rsplit_once("`, expected ").or_else(|| rest.rsplit_once("`, there are no "))?;
    Some((name, known.split('`').skip(1).step_by(2).collect()))
}
