//! The checks that several settings share. Each error has the key of the setting, the value and what is
//! expected.

use std::time::Duration;

use super::ConfigError;

pub(crate) fn at_least_one<N: TryInto<u64> + Copy>(key: &str, number: N) -> Result<(), ConfigError> {
    match number.try_into() {
        Ok(0) => Err(ConfigError::expected(key, "at least 1", 0)),
        _ => Ok(()),
    }
}

pub(crate) fn more_than_no_time(key: &str, time: Duration) -> Result<(), ConfigError> {
    if time.is_zero() { Err(ConfigError::expected(key, "more than no time", "0s")) } else { Ok(()) }
}

/// Checks that `time` is at least `least`.
pub(crate) fn at_least(key: &str, time: Duration, least: Duration) -> Result<(), ConfigError> {
    if time >= least {
        return Ok(());
    }
    let expected = format!("at least {}", humantime::format_duration(least));
    Err(ConfigError::expected(key, &expected, humantime::format_duration(time)))
}

/// Checks that `time` is at most `most`, which is the setting `of`.
pub(crate) fn at_most(key: &str, time: Duration, of: &str, most: Duration) -> Result<(), ConfigError> {
    if time <= most {
        return Ok(());
    }
    let expected = format!("at most {of}, {}", humantime::format_duration(most));
    Err(ConfigError::expected(key, &expected, humantime::format_duration(time)))
}

pub(crate) fn from_zero_to_one(key: &str, share: f64) -> Result<(), ConfigError> {
    if (0.0..=1.0).contains(&share) {
        Ok(())
    } else {
        Err(ConfigError::expected(key, "a number from 0 to 1", share))
    }
}

/// Checks a factor by which something grows.
pub(crate) fn factor(key: &str, factor: f64) -> Result<(), ConfigError> {
    if factor.is_finite() && factor >= 1.0 {
        Ok(())
    } else {
        Err(ConfigError::expected(key, "a number of at least 1", factor))
    }
}
