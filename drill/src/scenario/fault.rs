use std::time::Duration;

use serde::Deserialize;
use tidegate::config::{Checks, ConfigError};

use super::check::{DAY, at_least, at_most, share, unexpected};
use super::message::{number, word};
use super::span::Time;

/// What goes wrong at a provider, and when.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedFault {
    /// What goes wrong.
    #[serde(deserialize_with = "word")]
    pub kind: PlannedFaultKind,
    /// When it starts; at the start of the scenario by default.
    #[serde(default)]
    pub from: Time,
    /// When it ends; at the end of the scenario by default.
    pub to: Option<Time>,
    /// The share of the requests that it affects, from 0 to 1; 1 by default.
    pub share: Option<f64>,
    /// The status of an `"error"`, from 400 to 599; 500 by default.
    pub status: Option<u16>,
    /// The wait that an `"error"` reports; none by default.
    pub retry_after: Option<Time>,
    /// The tokens before a `"cut"` or a `"stall"`; 5 by default.
    pub after_tokens: Option<u32>,
    /// The interval of the pings in a `"stall"`, at least 100 ms; none by default.
    pub pings: Option<Time>,
    /// By how much `"slow"` multiplies all times; 10 by default.
    pub factor: Option<f64>,
    /// The requests that the provider works on at once, for `"capacity"`; 5 by default.
    pub capacity: Option<u32>,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PlannedFaultKind {
    /// An error response.
    Error,
    /// The connection is reset before the response.
    Reset,
    /// No response ever comes.
    Hang,
    /// Everything takes longer.
    Slow,
    /// The connection closes in the middle of the answer.
    Cut,
    /// The answer stops in its middle, and the connection stays open.
    Stall,
    /// A stream starts with a success and reports an error before its first token; an answer that is not
    /// streamed is 500.
    ErrorEvent,
    /// A success with an empty body.
    Empty,
    /// The account's quota is exhausted, without a time at which it is there again.
    QuotaExhausted,
    /// The provider works on fewer requests at once, and responds 503 to the others.
    Capacity,
    /// The kept connection is closed when the request arrives. A call meets it once.
    Stale,
}

impl PlannedFaultKind {
    const ALL: [Self; 11] = [
        Self::Error,
        Self::Reset,
        Self::Hang,
        Self::Slow,
        Self::Cut,
        Self::Stall,
        Self::ErrorEvent,
        Self::Empty,
        Self::QuotaExhausted,
        Self::Capacity,
        Self::Stale,
    ];

    /// The settings of this kind, by their keys.
    const fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Error => &["status", "retry_after"],
            Self::Cut => &["after_tokens"],
            Self::Stall => &["after_tokens", "pings"],
            Self::Slow => &["factor"],
            Self::Capacity => &["capacity"],
            Self::Reset
            | Self::Hang
            | Self::ErrorEvent
            | Self::Empty
            | Self::QuotaExhausted
            | Self::Stale => &[],
        }
    }

    /// The name in a scenario.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Reset => "reset",
            Self::Hang => "hang",
            Self::Slow => "slow",
            Self::Cut => "cut",
            Self::Stall => "stall",
            Self::ErrorEvent => "error_event",
            Self::Empty => "empty",
            Self::QuotaExhausted => "quota_exhausted",
            Self::Capacity => "capacity",
            Self::Stale => "stale",
        }
    }
}

/// A bound of the work, which is lower if there are many callers with much patience.
const LEAST_PINGS: Time = Time::millis(100);

impl PlannedFault {
    /// Whether the fault is on at `elapsed` since the start.
    pub fn is_on(&self, elapsed: Duration) -> bool {
        self.from.0 <= elapsed && self.to.is_none_or(|to| elapsed < to.0)
    }

    /// The share of the requests that are affected.
    pub fn share(&self) -> f64 {
        self.share.unwrap_or(1.0)
    }

    pub(super) fn check(&self, duration: Time, least_pings: f64, checks: &mut Checks) {
        let set = [
            ("status", self.status.is_some()),
            ("retry_after", self.retry_after.is_some()),
            ("after_tokens", self.after_tokens.is_some()),
            ("pings", self.pings.is_some()),
            ("factor", self.factor.is_some()),
            ("capacity", self.capacity.is_some()),
        ];
        for (key, _) in set.iter().filter(|(key, is_set)| *is_set && !self.kind.keys().contains(key)) {
            let kinds = PlannedFaultKind::ALL.iter().filter(|kind| kind.keys().contains(key));
            let kinds: Vec<_> = kinds.map(|kind| format!("\"{}\"", kind.name())).collect();
            let problem =
                format!("does not apply to kind = \"{}\", expected {}", self.kind.name(), kinds.join(" or "));
            checks.fail(ConfigError::new(*key, problem));
        }
        checks.keep(share("share", self.share()));
        checks.keep(at_most("from", duration, self.from));
        checks.keep(at_least("to", self.from, self.to.unwrap_or(duration.max(self.from))));
        checks.keep(at_most("to", DAY, self.to.unwrap_or_default()));
        match self.kind {
            PlannedFaultKind::Error => self.check_error(checks),
            PlannedFaultKind::Stall => {
                let least = Time::millis((least_pings * 1_000.0).ceil() as u64).max(LEAST_PINGS);
                checks.keep(at_least("pings", least, self.pings.unwrap_or(least)));
                checks.keep(at_most("pings", DAY, self.pings.unwrap_or(LEAST_PINGS)));
            }
            PlannedFaultKind::Slow => {
                let factor = self.factor.unwrap_or(10.0);
                if !(1.0..=1_000.0).contains(&factor) {
                    checks.fail(unexpected("factor", "from 1 to 1000", number(factor)));
                }
            }
            PlannedFaultKind::Capacity => {
                checks.keep(at_least("capacity", 1, self.capacity.unwrap_or(1)));
            }
            _ => {}
        }
    }

    fn check_error(&self, checks: &mut Checks) {
        checks.keep(at_most("retry_after", DAY, self.retry_after.unwrap_or_default()));
        let status = self.status.unwrap_or(500);
        if !(400..600).contains(&status) {
            checks.fail(unexpected("status", "from 400 to 599", status));
        }
    }
}
