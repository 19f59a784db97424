//! Randomises waits, so that calls that failed together are not retried together.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::durations::scaled;

/// The random part of a wait.
///
/// It does not apply to a wait given by the provider, which is only ever lengthened: by up to a tenth, or by
/// up to 50 ms if that is more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Jitter {
    /// A random wait between zero and the base wait. The default, since it puts the least load on the
    /// provider for the same total time ("Exponential Backoff And Jitter", Marc Brooker, AWS Architecture
    /// Blog, 2015).
    #[default]
    Full,
    /// Half of the wait is fixed and half is random. For providers where an immediate retry is known to fail.
    Equal,
    /// The wait, changed at random by up to this part of it: 0.1 is 10 % either way. Clamped to 0 to 1.
    #[doc(alias = "jitter_range")]
    Ratio(f64),
    /// The base wait. All calls that failed together are retried together.
    None,
}

impl Jitter {
    /// The wait made from `base`; `random` is uniform in 0..1.
    pub(super) fn spread(self, base: Duration, random: f64) -> Duration {
        scaled(
            base,
            match self {
                Self::Full => random,
                Self::Equal => 0.5 + 0.5 * random,
                Self::Ratio(ratio) if ratio > 0.0 => 1.0 + ratio.min(1.0) * (2.0 * random - 1.0),
                Self::Ratio(_) | Self::None => 1.0,
            },
        )
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn any() -> impl Strategy<Value = Jitter> {
        prop_oneof![
            Just(Jitter::Full),
            Just(Jitter::Equal),
            prop::num::f64::ANY.prop_map(Jitter::Ratio),
            Just(Jitter::None)
        ]
    }

    /// Seed items 56 and 78: plus or minus 10 % is one of four.
    #[test]
    fn every_jitter_stays_in_its_range() {
        let second = Duration::from_secs(1);
        for (jitter, least, middle, most) in [
            (Jitter::Full, 0, 500, 1_000),
            (Jitter::Equal, 500, 750, 1_000),
            (Jitter::Ratio(0.1), 900, 1_000, 1_100),
            (Jitter::Ratio(7.0), 0, 1_000, 2_000),
            (Jitter::Ratio(-1.0), 1_000, 1_000, 1_000),
            (Jitter::Ratio(f64::NAN), 1_000, 1_000, 1_000),
            (Jitter::None, 1_000, 1_000, 1_000),
        ] {
            let wait = |random| jitter.spread(second, random).as_millis();
            assert_eq!((wait(0.0), wait(0.5), wait(1.0)), (least, middle, most), "{jitter:?}");
        }
    }
}
