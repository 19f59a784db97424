//! Converts the messages of serde errors into messages for users.

use std::borrow::Cow;

use tidegate::config::ConfigError;

/// Converts the serde error `message` about the key at `path`.
pub(super) fn from_serde(path: &str, message: &str) -> ConfigError {
    let has_secrets = WITH_SECRETS.contains(&path.split(['.', '[']).next().unwrap_or_default());
    ConfigError::from_serde(path, &without_value(message, if has_secrets { &['"', '`'] } else { &['"'] }))
}

/// The tables in which a number may be a key.
const WITH_SECRETS: [&str; 7] = ["providers", "callers", "admin", "alerts", "tls", "store", "otlp"];

/// The message without the value that was found if it is in one of these `quotes`: a text may be a key, or a URL with a
/// password, in the wrong place. Its type is left: `invalid type: string "x", expected a table`.
fn without_value<'a>(message: &'a str, quotes: &[char]) -> Cow<'a, str> {
    match message.rsplit_once(", expected ") {
        Some((found, expected)) if found.starts_with("invalid ") && found.contains(quotes) => {
            let kind = found.split(quotes).next().unwrap_or_default().trim_end();
            format!("{kind}, expected {expected}").into()
        }
        _ => message.into(),
    }
}
