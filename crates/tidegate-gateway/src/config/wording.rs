//! serde's complaints, in our words.

use super::ConfigError;
use super::nearest::instead;

/// The complaint `message` about the key at `path`.
pub(super) fn reworded(path: &str, message: &str) -> ConfigError {
    let message = message.lines().next().unwrap_or_default();
    if let Some((word, known)) = unknown("unknown field ", message) {
        // The path ends in the unknown key; what matters is where it was found.
        let parent = path.strip_suffix(word).unwrap_or(path).trim_end_matches('.');
        return ConfigError::new(parent, format!("unknown key `{word}`{}", instead(word, known)));
    }
    if let Some((word, known)) = unknown("unknown variant ", message) {
        return ConfigError::new(path, format!("unknown value `{word}`{}", instead(word, known)));
    }
    if let Some(key) = message.strip_prefix("missing field ") {
        return ConfigError::new(path, format!("missing key {key}"));
    }
    let misfit = message.strip_prefix("invalid type: ").or_else(|| message.strip_prefix("invalid value: "));
    if let Some((found, expected)) = misfit.and_then(|rest| rest.rsplit_once(", expected ")) {
        let expected = plain(expected);
        return ConfigError::new(path, format!("expected {expected}, found {}", shown(path, found)));
    }
    ConfigError::new(path, message)
}

/// serde knows numbers by their Rust names.
fn plain(expected: &str) -> &str {
    match expected {
        "u16" | "u32" | "u64" | "usize" => "a whole number",
        "a nonzero u64" => "at least 1",
        "f32" | "f64" => "a number",
        "a boolean" => "true or false",
        other => other,
    }
}

/// Where a key could have been written by mistake, the kind of the value has to do.
fn shown<'a>(path: &str, found: &'a str) -> &'a str {
    match path.starts_with("providers") {
        true => found.split(['"', '`']).next().unwrap_or_default().trim_end(),
        false => found,
    }
}

/// The quoted word, and the words expected instead: ``unknown field `x`, expected `a` or `b` ``.
fn unknown<'a>(what: &str, message: &'a str) -> Option<(&'a str, Vec<&'a str>)> {
    let mut quoted = message.strip_prefix(what)?.split('`').skip(1).step_by(2);
    let word = quoted.next()?;
    Some((word, quoted.collect()))
}
