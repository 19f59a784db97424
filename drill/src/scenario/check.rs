//! Checks of single values. The errors name the key.

use std::fmt::Display;

use tidegate::config::ConfigError;

use super::span::DrawnRange;

/// The error of a value that is not as `expected`.
pub(super) fn unexpected(key: &str, expected: &str, found: impl Display) -> ConfigError {
    ConfigError::new(key, format!("expected {expected}, found {found}"))
}

pub(super) fn name(key: &str, value: &str) -> Result<(), ConfigError> {
    let is_part = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if !value.is_empty() && value.bytes().all(is_part) {
        return Ok(());
    }
    Err(unexpected(key, "lower-case letters, digits and hyphens", format_args!("{value:?}")))
}

pub(super) fn share(key: &str, value: f64) -> Result<(), ConfigError> {
    if (0.0..=1.0).contains(&value) { Ok(()) } else { Err(unexpected(key, "from 0 to 1", value)) }
}

pub(super) fn at_least<T: PartialOrd + Display>(key: &str, least: T, value: T) -> Result<(), ConfigError> {
    if value >= least {
        return Ok(());
    }
    Err(unexpected(key, &format!("at least {least}"), value))
}

pub(super) fn in_order<T: PartialOrd + Display>(key: &str, span: DrawnRange<T>) -> Result<(), ConfigError> {
    if span.from <= span.to {
        return Ok(());
    }
    Err(unexpected(key, "the lower bound first", format_args!("{} and {}", span.from, span.to)))
}
