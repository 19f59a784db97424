//! Spreads waits, so that those who failed together do not come back together.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::backoff::times;

/// What is random about a wait.
///
/// A wait that the provider told is not subject to this: it only ever grows, by up to a tenth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Jitter {
    /// Anything from nothing to the whole wait: the least load on the provider for the same total time ("Exponential
    /// Backoff And Jitter", Marc Brooker, AWS Architecture Blog, 2015), and so the default.
    #[default]
    Full,
    /// Half of the wait is certain, the other half random: where coming back at once is known to be futile.
    Equal,
    /// The wait, more or less by up to this part of it: 0.1 is 10 % both ways. Taken as 0 to 1.
    Ratio(f64),
    /// The wait as it is. All callers that failed together ask again together.
    None,
}

impl Jitter {
    /// The wait made of `base`; `random` is uniform in 0..1.
    pub(super) fn spread(self, base: Duration, random: f64) -> Duration {
        times(
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

    /// Item 56: more or less 10 %, as one of four.
    #[test]
    fn item_56_every_jitter_has_its_span() {
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
