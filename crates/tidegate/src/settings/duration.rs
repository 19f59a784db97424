//! Durations in files: `"30s"`, or a number of seconds; `"none"` for a duration that is optional.

use std::fmt;
use std::time::Duration;

use serde::de::{Deserializer, Error, Unexpected, Visitor};
use serde::ser::Serializer;

/// A duration in a file: `"30s"`, `"1m 30s"`, `"250ms"`, or a number of seconds.
///
/// ```
/// use std::time::Duration;
///
/// use tidegate::config::DurationText;
///
/// #[derive(serde::Deserialize)]
/// struct Times {
///     #[serde(with = "DurationText")]
///     idle: Duration,
///     #[serde(default, deserialize_with = "DurationText::deserialize")]
///     drain: Option<Duration>,
/// }
///
/// # fn main() -> Result<(), toml::de::Error> {
/// let times: Times = toml::from_str("idle = 1.5\ndrain = \"1m 30s\"")?;
/// assert_eq!((times.idle, times.drain), (Duration::from_millis(1_500), Some(Duration::from_secs(90))));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct DurationText;

impl DurationText {
    /// What a message names as expected.
    pub const EXPECTED: &str = "a duration such as \"30s\" or \"250ms\", or a number of seconds";

    /// Deserializes a duration, into an `Option` as well.
    ///
    /// # Errors
    ///
    /// It is not a duration, or too long.
    pub fn deserialize<'de, D: Deserializer<'de>, T: From<Duration>>(deserializer: D) -> Result<T, D::Error> {
        deserializer.deserialize_any(Seconds { none: None })
    }

    /// Serializes a duration as text with units.
    ///
    /// # Errors
    ///
    /// As those of `serializer`.
    pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_duration(*duration))
    }

    /// Parses a duration; a number is in seconds.
    #[must_use]
    pub fn parse(text: &str) -> Option<Duration> {
        let text = text.trim();
        if is_number(text) { Duration::try_from_secs_f64(text.parse().ok()?).ok() } else { parse_units(text) }
    }
}

/// Whether `text` is one or more digits, which a fraction may follow.
fn is_number(text: &str) -> bool {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    [whole, fraction].iter().all(|it| !it.is_empty() && it.bytes().all(|digit| digit.is_ascii_digit()))
}

/// The sum of numbers with units. `humantime` panics if the sum of several is too large, and ignores spaces
/// within a number.
fn parse_units(mut text: &str) -> Option<Duration> {
    let mut sum = None;
    while !text.is_empty() {
        let unit = text.find(char::is_alphabetic).filter(|unit| is_number(text[..*unit].trim_end()))?;
        let end =
            text[unit..].find(|it: char| !it.is_alphabetic()).map_or(text.len(), |length| unit + length);
        let time = humantime::parse_duration(&text[..end]).ok()?;
        sum = Some(time.checked_add(sum.unwrap_or_default())?);
        text = text[end..].trim_start();
    }
    sum
}

/// Deserializes a duration, or the value that stands for none if there is one.
struct Seconds<T> {
    none: Option<T>,
}

impl<T: From<Duration>> Visitor<'_> for Seconds<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or_none = if self.none.is_some() { ", or \"none\"" } else { "" };
        write!(f, "{}{or_none}", DurationText::EXPECTED)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        match self.none {
            Some(none) if text == "none" => Ok(none),
            _ => DurationText::parse(text)
                .map(T::from)
                .ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self)),
        }
    }

    fn visit_f64<E: Error>(self, seconds: f64) -> Result<T, E> {
        let time = Duration::try_from_secs_f64(seconds);
        time.map(T::from).map_err(|_| E::invalid_value(Unexpected::Float(seconds), &self))
    }

    fn visit_u64<E: Error>(self, seconds: u64) -> Result<T, E> {
        Ok(Duration::from_secs(seconds).into())
    }

    fn visit_i64<E: Error>(self, seconds: i64) -> Result<T, E> {
        let whole =
            u64::try_from(seconds).map_err(|_| E::invalid_value(Unexpected::Signed(seconds), &self))?;
        self.visit_u64(whole)
    }

    fn visit_unit<E: Error>(self) -> Result<T, E> {
        match self.none {
            Some(none) => Ok(none),
            None => Err(E::invalid_type(Unexpected::Unit, &self)),
        }
    }
}

/// For `#[serde(with = "OptionalDurationText")]`.
pub(crate) struct OptionalDurationText;

impl OptionalDurationText {
    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        deserializer.deserialize_any(Seconds { none: Some(None) })
    }

    pub(crate) fn serialize<S: Serializer>(
        duration: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => DurationText::serialize(duration, serializer),
            None => serializer.serialize_none(),
        }
    }
}

/// Valid texts in seconds, and invalid ones.
#[cfg(test)]
pub(crate) const DURATION_TEXTS: [(&str, Option<f64>); 25] = [
    ("30s", Some(30.0)),
    ("1m 30s", Some(90.0)),
    ("1m30s", Some(90.0)),
    (" 250ms ", Some(0.25)),
    ("2 h", Some(7_200.0)),
    ("0.5h", Some(1_800.0)),
    ("1.5s", Some(1.5)),
    ("1.5", Some(1.5)),
    ("0", Some(0.0)),
    ("7", Some(7.0)),
    ("", None),
    ("s", None),
    ("1.", None),
    (".5", None),
    ("+5", None),
    ("-1", None),
    ("1e3", None),
    ("inf", None),
    ("NaN", None),
    ("1h30", None),
    ("1 1s", None),
    ("1.2.3", None),
    ("1s;", None),
    ("18446744073709551615s 1000ms", None),
    ("99999999999999999999", None),
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_text_is_a_number_of_seconds_or_has_units() {
        for (text, seconds) in DURATION_TEXTS {
            assert_eq!(DurationText::parse(text).map(|it| it.as_secs_f64()), seconds, "{text}");
        }
    }

    #[test]
    fn only_an_optional_duration_can_be_none() {
        for (none, found) in
            [(json!("none"), r#"invalid value: string "none""#), (json!(null), "invalid type: null")]
        {
            assert_eq!(OptionalDurationText::deserialize(&none).unwrap(), None);
            let error = DurationText::deserialize::<_, Duration>(&none).unwrap_err();
            assert_eq!(error.to_string(), format!("{found}, expected {}", DurationText::EXPECTED));
        }
        let error = OptionalDurationText::deserialize(json!("soon")).unwrap_err().to_string();
        assert!(error.ends_with(r#"or a number of seconds, or "none""#), "{error}");
    }

    proptest! {
        /// Regression: a sum that is too large was a panic.
        #[test]
        fn every_text_is_parsed_or_rejected(text in "((18446744073709551615|[0-9]{1,20})(\\.[0-9]{1,9})? ?(ns|ms|s|h|weeks|years|x)? ?){0,4}|.*") {
            let _ = DurationText::parse(&text);
        }
    }
}
