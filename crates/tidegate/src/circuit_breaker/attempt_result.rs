use std::time::Duration;

use super::settings::Settings;
use crate::{ErrorCode, Failure, Outcome};

/// The result of an attempt, as far as the circuit is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AttemptResult {
    Success,
    /// With the wait that the provider sent.
    Failure(ErrorCode, Option<Duration>),
    /// The quota is exhausted; with the time until it is available again.
    Quota(Option<Duration>),
    /// A failure that does not count, with the wait that the provider sent.
    Uncounted(Duration),
    Neutral,
}

/// The time from an attempt's admission to its commit point, or to a failure before that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Latency {
    /// It is not measured, it was recorded already, or the attempt ended too early to be measured.
    Unknown,
    Fast,
    Slow,
}

impl AttemptResult {
    pub(super) fn of(outcome: &Outcome, settings: &Settings) -> Self {
        match outcome {
            Outcome::Success => Self::Success,
            Outcome::Neutral => Self::Neutral,
            Outcome::Failure(failure) => Self::of_failure(failure, settings),
        }
    }

    fn of_failure(failure: &Failure, settings: &Settings) -> Self {
        match failure.code {
            _ if failure.is_neutral() => Self::Neutral,
            ErrorCode::QuotaExhausted => Self::Quota(failure.wait()),
            ErrorCode::RateLimited if settings.count_rate_limited => {
                Self::Failure(failure.code, failure.wait())
            }
            code if failure.counts_against_health() => Self::Failure(code, failure.wait()),
            _ => Self::Neutral,
        }
    }

    /// The error code of a failure.
    pub(super) fn error_code(self) -> Option<ErrorCode> {
        match self {
            Self::Failure(code, _) => Some(code),
            Self::Quota(_) => Some(ErrorCode::QuotaExhausted),
            Self::Success | Self::Uncounted(_) | Self::Neutral => None,
        }
    }

    /// The wait that the provider sent.
    pub(super) fn wait(self) -> Option<Duration> {
        match self {
            Self::Failure(_, wait) | Self::Quota(wait) => wait.filter(|wait| !wait.is_zero()),
            Self::Uncounted(wait) => Some(wait),
            Self::Success | Self::Neutral => None,
        }
    }
}
