//! Converts the messages of serde errors into messages for users.

use std::borrow::Cow;

use tidegate::config::ConfigError;

/// Converts the serde error `message` about the key at `path`.
pub(super) fn from_serde(path: &str, message: &str) -> ConfigError {
    ConfigError::from_serde(path, &without_text(message))
}

/// The message without the text that was found, which may be a key, or a URL with a password, in the wrong place. Its type is
/// left: `invalid type: string "x", expected a table`.
fn without_text(message: &str) -> Cow<'_, str> {
    match message.rsplit_once(", expected ") {
        Some((found, expected)) if found.starts_with("invalid ") && found.contains('"') => {
            let kind = found.split('"').next().unwrap_or_default().trim_end();
            format!("{kind}, expected {expected}").into()
        }
        _ => message.into(),
    }
}
