use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::{Serialize, Serializer};

/// A degradation that begins or has ended.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Alert {
    /// When it was observed. Serialised in RFC 3339, to the millisecond.
    #[serde(serialize_with = "crate::events::rfc3339")]
    pub at: SystemTime,
    /// The name of the stack, usually `provider/model`; empty if the alert is about all targets.
    pub target: Arc<str>,
    /// What degrades.
    pub alert: AlertKind,
    /// Whether the alert is raised or cleared.
    pub state: AlertState,
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
    /// No target admits calls: of each, the circuit is open, or the provider has closed the rate limit.
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

impl fmt::Display for Alert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.target.is_empty() {
            write!(f, "{}: ", self.target)?;
        }
        let percent = 100.0 * self.value.unwrap_or_default();
        match self.alert {
            AlertKind::SuccessRate => write!(f, "{percent:.0} % of the calls succeed")?,
            AlertKind::SlowRate => write!(f, "{percent:.0} % of the calls are slow")?,
            AlertKind::CircuitOpen => f.write_str("circuit not closed")?,
            AlertKind::QuotaNearlySpent => write!(f, "{percent:.0} % of a quota left")?,
            AlertKind::AllTargetsCooling => f.write_str("no target admits calls")?,
        }
        match self.state {
            AlertState::Raised => write!(f, " for {}s", self.held.as_secs()),
            AlertState::Cleared => write!(f, ", cleared for {}s", self.held.as_secs()),
        }
    }
}

fn millis<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}
