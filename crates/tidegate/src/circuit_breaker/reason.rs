use std::fmt;

use crate::ErrorCode;

/// Why a circuit is in the state in which it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// It opened after so many failures in a row.
    Failures {
        /// How many there were.
        count: u32,
        /// The code of the last one.
        code: ErrorCode,
        /// Whether all had this code.
        alike: bool,
    },
    /// It opened because too large a share of the calls in the window failed.
    FailureRate {
        /// How many failed.
        failures: u64,
        /// Of how many.
        calls: u64,
    },
    /// It opened because too large a share of the calls in the window was slow.
    SlowCallRate {
        /// How many were slow.
        slow: u64,
        /// Of how many.
        calls: u64,
    },
    /// It opened again because a probe failed.
    ProbeFailed(ErrorCode),
    /// It opened again because a probe was slow.
    ProbeSlow,
    /// It opened because the account's quota ran out.
    Quota,
    /// It is half-open because its cooldown has passed.
    CooldownPassed,
    /// It closed after so many successful probes.
    ProbesSucceeded(u32),
    /// Somebody told it to be in this state.
    Forced,
    /// Somebody told it to begin anew.
    Reset,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Failures { count, code, alike: true } => write!(f, "{count} consecutive {}", code.code()),
            Self::Failures { count, code, alike: false } => {
                write!(f, "{count} consecutive failures, the last {}", code.code())
            }
            Self::FailureRate { failures, calls } => {
                write!(f, "failure rate {} % of {calls} calls", percent(failures, calls))
            }
            Self::SlowCallRate { slow, calls } => {
                write!(f, "slow call rate {} % of {calls} calls", percent(slow, calls))
            }
            Self::ProbeFailed(code) => write!(f, "a probe failed with {}", code.code()),
            Self::ProbeSlow => f.write_str("a probe was slow"),
            Self::Quota => f.write_str("quota exhausted"),
            Self::CooldownPassed => f.write_str("cooldown passed"),
            Self::ProbesSucceeded(1) => f.write_str("a probe succeeded"),
            Self::ProbesSucceeded(count) => write!(f, "{count} probes succeeded"),
            Self::Forced => f.write_str("forced"),
            Self::Reset => f.write_str("reset"),
        }
    }
}

impl serde::Serialize for Reason {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

fn percent(part: u64, whole: u64) -> u64 {
    100 * part / whole.max(1)
}
