use std::time::Duration;

use super::settings::Settings;
use crate::{ErrorCode, Failure, Outcome};

/// What an attempt came to, as far as a circuit cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AttemptResult {
    Success,
    /// With the wait that the provider told.
    Failure(ErrorCode, Option<Duration>),
    /// With the time after which there will be quota again.
    Quota(Option<Duration>),
    Neutral,
}

/// How long an attempt took, from its admission to its commit point, or to its failure before that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Latency {
    /// Nobody asked, it is known already, or it was over before one could tell.
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
            ErrorCode::QuotaExhausted => Self::Quota(failure.wait()),
            ErrorCode::RateLimited if settings.count_rate_limited => {
                Self::Failure(failure.code, failure.wait())
            }
            code if code.counts_against_health() => Self::Failure(code, failure.wait()),
            _ => Self::Neutral,
        }
    }
}
