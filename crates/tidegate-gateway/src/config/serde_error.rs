//! Converts the messages of serde errors into messages for users.

use std::borrow::Cow;

use tidegate::config::ConfigError;

/// Converts the serde error `message` about the key at `path`.
pub(super) fn from_serde(path: &str, message: &str) -> ConfigError {
    // Under `providers` and `callers` a key may have been entered by mistake.
    let message = if path.starts_with("providers") || path.starts_with("callers") {
        without_value(message)
    } else {
        message.into()
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
