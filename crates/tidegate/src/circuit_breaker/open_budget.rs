use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::settings::ConfigError;

/// The attempts that an open circuit admits where there is no other target: a few a second, and more for each
/// that succeeds.
///
/// To reject a call that no other target can take is useful only if nearly every attempt fails. An outage
/// costs `per_second` attempts. A provider that still answers more than one in `per_success` gets all calls:
/// with 10, one that fails 60 % of them. It is the token bucket of gRPC's retry throttling (`tokenRatio`),
/// for attempts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(default, deny_unknown_fields)]
pub struct OpenBudget {
    /// Attempts a second, whatever their results, above 0 and at most 1 000; 1 by default.
    pub per_second: f64,
    /// Attempts for each success while the circuit is not closed, from 0 to 1 000; 10 by default. At most ten
    /// times as many are kept.
    pub per_success: f64,
}

impl Default for OpenBudget {
    fn default() -> Self {
        Self { per_second: 1.0, per_success: 10.0 }
    }
}

impl OpenBudget {
    const MAX: f64 = 1_000.0;
    /// Less than one attempt a year.
    const MIN_PER_SECOND: f64 = 1e-8;

    pub(super) fn check(self) -> Result<(), ConfigError> {
        let Self { per_second, per_success } = self;
        let checks = [
            ("open_budget.per_second", per_second, per_second > 0.0, "a number above 0 and at most 1000"),
            ("open_budget.per_success", per_success, per_success >= 0.0, "a number from 0 to 1000"),
        ];
        ConfigError::all(checks.map(|(key, number, is_enough, expected)| {
            if is_enough && number <= Self::MAX {
                Ok(())
            } else {
                Err(ConfigError::expected(key, expected, number))
            }
        }))
    }

    /// The nearest budget in range; the default in the place of a NaN.
    pub(super) fn clamped(self) -> Self {
        let or_default = |number: f64, default| if number.is_nan() { default } else { number };
        let default = Self::default();
        Self {
            per_second: or_default(self.per_second, default.per_second)
                .clamp(Self::MIN_PER_SECOND, Self::MAX),
            per_success: or_default(self.per_success, default.per_success).clamp(0.0, Self::MAX),
        }
    }

    /// The attempts that build up without successes: those of a second, and at least one.
    pub(super) fn burst(self) -> f64 {
        self.per_second.max(1.0)
    }

    pub(super) fn interval(self) -> Duration {
        Duration::try_from_secs_f64(self.per_second.recip()).unwrap_or(Duration::MAX)
    }

    /// The attempts that are kept after successes.
    pub(super) fn most(self) -> f64 {
        (10.0 * self.per_success).max(self.burst())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_out_of_range_is_rejected_by_its_key() {
        for (per_second, per_success, key) in [
            (0.0, 10.0, "per_second"),
            (f64::NAN, 10.0, "per_second"),
            (1_001.0, 10.0, "per_second"),
            (1.0, -1.0, "per_success"),
            (1.0, f64::INFINITY, "per_success"),
        ] {
            let error = OpenBudget { per_second, per_success }.check().unwrap_err().to_string();
            assert!(error.contains(&format!("open_budget.{key}")), "{error}");
        }
        assert!(OpenBudget::default().check().is_ok());
    }
}
