use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::{Serialize, Serializer};

use crate::durations;

/// A degradation that begins or has ended.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Alert {
    /// When it was observed. Serialised in RFC 3339, to the millisecond.
    #[serde(serialize_with = "crate::events::rfc3339")]
    pub at: SystemTime,
    /// The name of the stack, usually `provider/model`, or of the chain; empty if the alert is about all
    /// targets.
    pub target: Arc<str>,
    /// What degrades.
    pub alert: AlertKind,
    /// Whether the alert is raised or cleared.
    pub state: AlertState,
    /// Why it has ended; `None` if it begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<AlertEnd>,
    /// The measured share, from 0 to 1; `None` where the alert is not about a share.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// For how long the condition has held, or has not held, serialised in milliseconds.
    #[serde(rename = "for_ms", serialize_with = "millis")]
    pub held: Duration,
}

/// What degrades.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AlertKind {
    /// Too few of the latest calls succeed.
    SuccessRate,
    /// Too many of the latest calls are slow.
    SlowRate,
    /// The circuit is not closed.
    CircuitOpen,
    /// Little is left of a quota.
    QuotaNearlySpent,
    /// No target admits calls, of all or of those of a chain: of each, the circuit is open, or the provider
    /// has closed the rate limit; if a gate has keys, for every key.
    AllTargetsCooling,
}

/// Whether an alert begins or ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertState {
    /// The degradation begins.
    Raised,
    /// It has ended.
    Cleared,
}

/// Why an alert has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AlertEnd {
    /// The degradation is over.
    Recovered,
    /// Nothing has shown for an hour whether it is over: there were too few calls, or none.
    Unknown,
    /// The target, or the chain, is no longer configured. Whether it has recovered is unknown.
    Removed,
    /// The alert is no longer configured, or is for another receiver. Whether the target has recovered is
    /// unknown.
    Unwatched,
}

impl fmt::Display for Alert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.target.is_empty() {
            write!(f, "{}: ", self.target)?;
        }
        match self.end {
            Some(AlertEnd::Removed) => {
                return write!(f, "no longer configured for {}s", self.held.as_secs());
            }
            Some(AlertEnd::Unknown) => return write!(f, "too few calls for {}s", self.held.as_secs()),
            Some(AlertEnd::Unwatched) => return f.write_str("alert no longer configured"),
            Some(AlertEnd::Recovered) | None => {}
        }
        let percent = self.value.map(|share| format!("{:.0} %", 100.0 * share));
        let percent = percent.as_deref();
        match (self.alert, self.state) {
            (AlertKind::SuccessRate, AlertState::Raised) => {
                write!(f, "{} of the calls succeed", percent.unwrap_or("too few"))?;
            }
            (AlertKind::SuccessRate, AlertState::Cleared) => {
                write!(f, "{} of the calls succeed again", percent.unwrap_or("enough"))?;
            }
            (AlertKind::SlowRate, AlertState::Raised) => {
                write!(f, "{} of the calls are slow", percent.unwrap_or("too many"))?;
            }
            (AlertKind::SlowRate, AlertState::Cleared) => {
                write!(f, "only {} of the calls are slow", percent.unwrap_or("few"))?;
            }
            (AlertKind::CircuitOpen, AlertState::Raised) => f.write_str("circuit not closed")?,
            (AlertKind::CircuitOpen, AlertState::Cleared) => f.write_str("circuit no longer open")?,
            (AlertKind::QuotaNearlySpent, AlertState::Raised) => {
                write!(f, "{} of a quota left", percent.unwrap_or("little"))?;
            }
            (AlertKind::QuotaNearlySpent, AlertState::Cleared) => {
                write!(f, "{} of each quota left again", percent.unwrap_or("enough"))?;
            }
            (AlertKind::AllTargetsCooling, AlertState::Raised) => f.write_str("no target admits calls")?,
            (AlertKind::AllTargetsCooling, AlertState::Cleared) => {
                f.write_str("a target admits calls again")?
            }
        }
        write!(f, " for {}s", self.held.as_secs())
    }
}

fn millis<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(durations::millis(*time))
}
