//! Checks of single values. The errors name the key.

use std::fmt::Display;

use tidegate::config::ConfigError;

use super::message::number;
use super::span::{DrawnRange, Time};

/// The error of a value that is not as `expected`.
pub(super) fn unexpected(key: &str, expected: &str, found: impl Display) -> ConfigError {
    ConfigError::new(key, format!("expected {expected}, found {found}"))
}

/// The longest time of a scenario.
pub(super) const DAY: Time = Time::millis(24 * 3_600_000);

/// The longest name.
const NAME_LENGTH: usize = 64;

pub(super) fn name(key: &str, value: &str) -> Result<(), ConfigError> {
    let is_part = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    text(key, value, NAME_LENGTH, "lower-case letters, digits and hyphens", |text| text.bytes().all(is_part))
}

pub(super) fn tenant(key: &str, value: &str) -> Result<(), ConfigError> {
    let is_visible = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
    text(key, value, NAME_LENGTH, "a name of visible ASCII characters", is_visible)
}

pub(super) fn title(key: &str, value: &str) -> Result<(), ConfigError> {
    text(key, value, 200, "one line of text", |text| !text.contains(char::is_control))
}

fn text(
    key: &str,
    value: &str,
    length: usize,
    expected: &str,
    is_expected: impl Fn(&str) -> bool,
) -> Result<(), ConfigError> {
    if value.chars().count() > length {
        return Err(ConfigError::new(key, format!("expected at most {length} characters")));
    }
    if !value.is_empty() && is_expected(value) {
        return Ok(());
    }
    Err(unexpected(key, expected, format_args!("{value:?}")))
}

pub(super) fn share(key: &str, value: f64) -> Result<(), ConfigError> {
    if (0.0..=1.0).contains(&value) { Ok(()) } else { Err(unexpected(key, "from 0 to 1", number(value))) }
}

pub(super) fn at_least<T: PartialOrd + Display>(key: &str, least: T, value: T) -> Result<(), ConfigError> {
    if value >= least {
        return Ok(());
    }
    Err(unexpected(key, &format!("at least {least}"), value))
}

pub(super) fn at_most<T: PartialOrd + Display>(key: &str, most: T, value: T) -> Result<(), ConfigError> {
    if value <= most {
        return Ok(());
    }
    Err(unexpected(key, &format!("at most {most}"), value))
}

pub(super) fn in_order<T: PartialOrd + Display>(key: &str, span: DrawnRange<T>) -> Result<(), ConfigError> {
    if span.from <= span.to {
        return Ok(());
    }
    Err(unexpected(key, "the lower bound first", format_args!("{} and {}", span.from, span.to)))
}
