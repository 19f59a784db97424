//! Converts the messages of serde errors into messages for users.

use super::GatewayConfigError;
use super::suggestion::suggest;

/// Converts the serde error `message` about the key at `path`.
pub(super) fn from_serde(path: &str, message: &str) -> GatewayConfigError {
    let message = message.lines().next().unwrap_or_default();
    if let Some((name, known)) = unknown("unknown field ", message) {
        // The path ends in the unknown key. The error names the table that contains it.
        let parent = path.strip_suffix(name).unwrap_or(path).trim_end_matches('.');
        return GatewayConfigError::new(parent, format!("unknown key `{name}`{}", suggest(name, known)));
    }
    if let Some((name, known)) = unknown("unknown variant ", message) {
        return GatewayConfigError::new(path, format!("unknown value `{name}`{}", suggest(name, known)));
    }
    if let Some(key) = message.strip_prefix("missing field ") {
        return GatewayConfigError::new(path, format!("missing key {key}"));
    }
    let misfit = message.strip_prefix("invalid type: ").or_else(|| message.strip_prefix("invalid value: "));
    if let Some((found, expected)) = misfit.and_then(|rest| rest.rsplit_once(", expected ")) {
        let expected = plain(expected);
        return GatewayConfigError::new(path, format!("expected {expected}, found {}", shown(path, found)));
    }
    GatewayConfigError::new(path, message)
}

/// Replaces the Rust types in serde's messages.
fn plain(expected: &str) -> &str {
    match expected {
        "u16" | "u32" | "u64" | "usize" => "a whole number",
        "a nonzero u64" => "at least 1",
        "f32" | "f64" => "a number",
        "a boolean" => "true or false",
        other => other,
    }
}

/// The value in the message. Under `providers`, where an API key may have been entered by mistake, only its
/// type is shown.
fn shown<'a>(path: &str, found: &'a str) -> &'a str {
    match path.starts_with("providers") {
        true => found.split(['"', '`']).next().unwrap_or_default().trim_end(),
        false => found,
    }
}

/// The quoted name, and the expected names: ``unknown field `x`, expected `a` or `b` ``.
fn unknown<'a>(what: &str, message: &'a str) -> Option<(&'a str, Vec<&'a str>)> {
    let mut quoted = message.strip_prefix(what)?.split('`').skip(1).step_by(2);
    let name = quoted.next()?;
    Some((name, quoted.collect()))
}
