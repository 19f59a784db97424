//! What the settings of all layers have in common: the error, the checks and the format of values.

mod check;
#[cfg(test)]
pub(crate) mod defaults_tables;
#[cfg_attr(not(feature = "config"), expect(unreachable_pub, reason = "part of the config module"))]
pub(crate) mod duration;
mod error;
mod layer_settings;
mod mistake;
mod or_none;
#[cfg_attr(not(feature = "config"), expect(unreachable_pub, reason = "part of the config module"))]
mod printable;

pub(crate) use check::{at_least, at_least_one, at_most, factor, from_zero_to_one, more_than_no_time};
#[cfg(feature = "config")]
pub use duration::DurationText;
#[cfg(not(feature = "config"))]
pub(crate) use duration::DurationText;
pub(crate) use duration::OptionalDurationText;
#[cfg(feature = "config")]
pub use error::Checks;
pub use error::ConfigError;
#[cfg(feature = "config")]
pub(crate) use error::MAX_MISTAKES;
pub(crate) use layer_settings::{Hook, LayerSettings};
#[cfg(feature = "config")]
pub use mistake::Mistake;
pub(crate) use or_none::OrNone;
#[cfg(feature = "config")]
pub use printable::{found, redacted, redacted_key};
#[cfg(feature = "config")]
pub(crate) use printable::{is_name, is_short};
