use std::fmt;
use std::time::Duration;

use serde::de::{DeserializeOwned, Error};
use serde::{Deserialize, Deserializer};
use tidegate::config::DurationText;

/// A duration such as `"30s"` or `"250ms"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(transparent)]
pub struct Time(#[serde(with = "DurationText")] pub Duration);

impl Time {
    /// A number of milliseconds.
    pub const fn millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

/// A value between two bounds, both included, drawn evenly: `["1s", "3s"]`, or `"2s"` for a constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrawnRange<T> {
    /// The lower bound.
    pub from: T,
    /// The upper bound.
    pub to: T,
}

impl<T> DrawnRange<T> {
    /// A span of these bounds.
    pub const fn new(from: T, to: T) -> Self {
        Self { from, to }
    }

    /// The span with both bounds changed.
    pub fn map<U>(self, change: impl Fn(T) -> U) -> DrawnRange<U> {
        DrawnRange::new(change(self.from), change(self.to))
    }
}

impl DrawnRange<Time> {
    /// Draws a duration.
    pub fn draw(self, random: &mut fastrand::Rng) -> Duration {
        self.from.0 + (self.to.0.saturating_sub(self.from.0)).mul_f64(random.f64())
    }
}

impl DrawnRange<u32> {
    /// Draws a number.
    pub fn draw(self, random: &mut fastrand::Rng) -> u32 {
        random.u32(self.from..=self.to.max(self.from))
    }
}

impl<'de, T: DeserializeOwned + Copy> Deserialize<'de> for DrawnRange<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let read =
            |value: toml::Value| T::deserialize(value).map_err(|error| D::Error::custom(error.message()));
        match toml::Value::deserialize(deserializer)? {
            toml::Value::Array(bounds) => match <[toml::Value; 2]>::try_from(bounds) {
                Ok([from, to]) => Ok(Self::new(read(from)?, read(to)?)),
                Err(other) => {
                    Err(D::Error::custom(format_args!("expected one value or two, found {}", other.len())))
                }
            },
            value => read(value).map(|value| Self::new(value, value)),
        }
    }
}
