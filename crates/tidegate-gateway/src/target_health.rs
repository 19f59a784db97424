//! The health of a target.

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use serde::Serialize;
use tidegate::Signals;
use tokio::time::Instant;

use crate::sync::lock;

/// The health of a target, for a load balancer or an operator.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct TargetHealth {
    pub(crate) status: HealthStatus,
    #[serde(rename = "health_score")]
    score: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum HealthStatus {
    /// Calls are admitted, and most of them succeed.
    Healthy,
    /// The circuit is half-open, the provider has closed the rate limit, more than half of the latest calls
    /// have failed, or one of these holds for some key.
    Degraded,
    /// The circuit is open; with keys, for every key.
    Unhealthy,
}

/// The latest health of a target. Its cost grows with the number of keys, and `/healthz` needs no key.
#[derive(Debug, Default)]
pub(crate) struct RecentHealth(Mutex<Option<(Instant, TargetHealth)>>);

/// The longest time for which a health is shown.
const MAX_AGE: Duration = Duration::from_secs(1);

/// The health score below which most calls fail.
const DEGRADED_SCORE: f64 = 0.5;

impl TargetHealth {
    fn of(signals: &Signals) -> Self {
        let (is_healthy, score) = signals.health();
        let status = match is_healthy {
            true if score >= DEGRADED_SCORE => HealthStatus::Healthy,
            false if score == 0.0 => HealthStatus::Unhealthy,
            _ => HealthStatus::Degraded,
        };
        Self { status, score }
    }
}

impl RecentHealth {
    /// The health, which may be up to a second old.
    pub(crate) fn recent(&self, signals: &Signals, now: Instant) -> TargetHealth {
        let mut latest = self.lock();
        match *latest {
            Some((at, health)) if now.saturating_duration_since(at) < MAX_AGE => health,
            _ => latest.insert((now, TargetHealth::of(signals))).1,
        }
    }

    /// The health of this moment.
    pub(crate) fn current(&self, signals: &Signals, now: Instant) -> TargetHealth {
        self.lock().insert((now, TargetHealth::of(signals))).1
    }

    fn lock(&self) -> MutexGuard<'_, Option<(Instant, TargetHealth)>> {
        lock(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use http::{Request, Response};
    use tidegate::{BoxError, Payload, ResilienceBuilder};

    use super::*;

    #[test]
    fn health_is_determined_at_most_once_a_second_unless_it_has_to_be_current() {
        let provider =
            async |_: Request<Payload>| Ok::<_, BoxError>(Response::new(axum::body::Body::empty()));
        let signals = ResilienceBuilder::new("p/m").service(tower::service_fn(provider)).signals();
        let (health, now) = (RecentHealth::default(), Instant::now());
        let status = |millis| health.recent(&signals, now + Duration::from_millis(millis)).status;
        assert_eq!(status(0), HealthStatus::Healthy);
        signals.circuit_breaker().force_open();
        assert_eq!([status(999), status(1000)], [HealthStatus::Healthy, HealthStatus::Unhealthy]);
        signals.reset();
        assert_eq!(status(1999), HealthStatus::Unhealthy);
        assert_eq!(health.current(&signals, now + MAX_AGE).status, HealthStatus::Healthy);
        assert_eq!(status(1999), HealthStatus::Healthy);
    }
}
