//! Converts the messages of serde errors into messages for users.

use std::borrow::Cow;

use tidegate::config::ConfigError;

/// The tables into which a key may have been entered by mistake.
const WITH_KEYS: [&str; 5] = ["providers", "callers", "admin", "alerts", "tls"];

/// Converts the serde error `message` about the key at `path`.
pub(super) fn from_serde(path: &str, message: &str) -> ConfigError {
    let message = match WITH_KEYS.iter().any(|table| path.starts_with(table)) {
        true => without_value(message),
        false => message.into(),
    };
    ConfigError::from_serde(path, &message)
}

/// The message with the type of the found value only: `invalid type: string "x", expected a table`.
fn without_value(message: &str) -> Cow<'_, str> {
    match message.rsplit_once(", expected ") {
        Some((found, expected)) if found.starts_with("invalid ") => {
            let kind = found.split(['"', '`']).next().unwrap_or_default().trim_end();
            format!("{kind}, expected {expected}").into()
        }
        _ => message.into(),
    }
}
