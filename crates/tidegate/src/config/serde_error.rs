//! Converts the messages of serde errors into messages for users.

use super::{ConfigError, suggest};

impl ConfigError {
    /// The serde error `message` about the key at `path`, in the words of a configuration: an unknown key
    /// comes with the nearest known one, and no Rust type is named.
    #[must_use]
    pub fn from_serde(path: &str, message: &str) -> Self {
        let message = message.lines().next().unwrap_or_default();
        // `serde_path_to_error` shows the empty path as a full stop.
        let path = path.trim_end_matches('.');
        if let Some((name, known)) = unknown("unknown field ", message) {
            // The path ends in the unknown key. The error names the table that contains it.
            let parent = path.strip_suffix(name).unwrap_or(path).trim_end_matches('.');
            return Self::unknown_key(parent, name, &suggest(name, known));
        }
        if let Some((name, known)) = unknown("unknown variant ", message) {
            return Self::new(path, format!("unknown value `{name}`{}", suggest(name, known)));
        }
        if let Some(key) = message.strip_prefix("missing field ") {
            return Self::new(path, format!("missing key {key}"));
        }
        let misfit =
            message.strip_prefix("invalid type: ").or_else(|| message.strip_prefix("invalid value: "));
        if let Some((found, expected)) = misfit.and_then(|rest| rest.rsplit_once(", expected ")) {
            return Self::expected(path, plain(expected), found);
        }
        Self::new(path, message)
    }
}

/// Replaces the Rust types in serde's messages.
fn plain(expected: &str) -> &str {
    match expected {
        "u16" | "u32" | "u64" | "usize" => "a whole number",
        "a nonzero u64" => "at least 1",
        "f32" | "f64" => "a number",
        "a boolean" => "true or false",
        "a map" => "a table",
        other => other,
    }
}

/// The quoted name, and the expected names: ``unknown field `x`, expected `a` or `b` ``.
fn unknown<'a>(what: &str, message: &'a str) -> Option<(&'a str, Vec<&'a str>)> {
    let mut quoted = message.strip_prefix(what)?.split('`').skip(1).step_by(2);
    let name = quoted.next()?;
    Some((name, quoted.collect()))
}
