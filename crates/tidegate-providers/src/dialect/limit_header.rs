use std::time::Duration;

use tidegate_core::LimitUnit;

use crate::provider::Provider;

/// A header that reports on a limit.
pub(crate) struct LimitHeader<'a> {
    /// The name of the limit, by which headers on the same limit are recognised.
    pub(crate) name: &'a str,
    pub(crate) unit: LimitUnit,
    /// The period from the name of the limit, or from the provider's documentation.
    pub(crate) period: Option<Duration>,
    /// The provider documents the reset as the time until the whole limit is restored.
    pub(crate) refills_evenly: bool,
    pub(crate) kind: LimitHeaderKind,
}

/// What the value of a header is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LimitHeaderKind {
    Limit,
    Remaining,
    Reset,
}

impl LimitHeaderKind {
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "limit" => Self::Limit,
            "remaining" => Self::Remaining,
            "reset" => Self::Reset,
            _ => return None,
        })
    }
}

/// The headers of one limit: `state` shows whether it is exhausted, `reset` when it refills.
pub(crate) struct ResetHeaders {
    pub(crate) state: &'static str,
    pub(crate) reset: &'static str,
    pub(crate) format: ResetFormat,
    /// Whether the limit refills daily or slower.
    pub(crate) is_daily: fn(Provider) -> bool,
}

#[derive(Clone, Copy)]
pub(crate) enum ResetFormat {
    /// A duration from now: in Go's format (OpenAI, Groq), or in bare seconds (Azure, Cerebras).
    Delay,
    /// A point in time: in RFC 3339, or in seconds since 1970.
    Moment,
}

impl ResetHeaders {
    /// The headers of a limit of a short period.
    pub(crate) const fn new(state: &'static str, reset: &'static str, format: ResetFormat) -> Self {
        Self { state, reset, format, is_daily: |_| false }
    }

    /// The headers of a limit of a day or longer.
    pub(crate) const fn daily(state: &'static str, reset: &'static str, format: ResetFormat) -> Self {
        Self { is_daily: |_| true, ..Self::new(state, reset, format) }
    }
}
