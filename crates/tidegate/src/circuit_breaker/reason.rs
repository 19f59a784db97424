use std::fmt;

use crate::ErrorCode;

/// The reason for which a circuit is in its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// It opened after this many consecutive failures.
    Failures {
        /// The number of failures.
        count: u32,
        /// The code of the last failure.
        code: ErrorCode,
        /// Whether all failures had this code.
        alike: bool,
    },
    /// It opened because the share of failed calls in the window was too large.
    FailureRate {
        /// The number of failed calls.
        failures: u64,
        /// The number of calls in the window.
        calls: u64,
    },
    /// It opened because the share of slow calls in the window was too large.
    SlowCallRate {
        /// The number of slow calls.
        slow: u64,
        /// The number of calls in the window.
        calls: u64,
    },
    /// It opened again because a probe failed.
    ProbeFailed(ErrorCode),
    /// It opened again because a probe was slow.
    ProbeSlow,
    /// It opened because the account's quota is exhausted.
    Quota,
    /// It is half-open because its cooldown has passed.
    CooldownPassed,
    /// It closed after this many successful probes.
    ProbesSucceeded(u32),
    /// Another process has opened it, or it was open already when this process joined.
    OpenElsewhere,
    /// Another process has closed it.
    ClosedElsewhere,
    /// It was forced into this state by hand.
    Forced,
    /// It was reset by hand.
    Reset,
}

impl Reason {
    /// Whether other processes that share the circuit get a change for this reason from this one.
    pub(super) fn is_shared(self) -> bool {
        !matches!(self, Self::OpenElsewhere | Self::ClosedElsewhere | Self::Forced)
    }
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
            Self::OpenElsewhere => f.write_str("open in another process"),
            Self::ClosedElsewhere => f.write_str("closed in another process"),
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
