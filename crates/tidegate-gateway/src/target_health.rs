//! The health of a target.

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use serde::Serialize;
use tidegate::Signals;
use tidegate::circuit_breaker::State;
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
            false if score == 0.0 && is_open(signals) => HealthStatus::Unhealthy,
            _ => HealthStatus::Degraded,
        };
        Self { status, score }
    }
}

/// Whether the circuit is open; with keys, for every key.
fn is_open(signals: &Signals) -> bool {
    let keys = signals.keys(usize::MAX);
    match keys.is_empty() {
        true => signals.circuit_breaker().state() == State::Open,
        false => keys.iter().all(|key| key.circuit_state == State::Open),
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
    use tidegate::{BoxError, CircuitBreakerLayer, KeyBy, Payload, RateLimitLayer, ResilienceBuilder};
    use tower::ServiceExt;

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

    /// Regression: a target without a success was unhealthy with a circuit that admits calls, too.
    #[tokio::test(start_paused = true)]
    async fn only_an_open_circuit_is_unhealthy() {
        let provider = async |_: Request<Payload>| {
            let response = Response::builder().status(503).header("retry-after", "5");
            Ok::<_, BoxError>(response.body(axum::body::Body::empty()).unwrap())
        };
        let provider = tower::service_fn(provider);
        let status = |signals: &Signals| TargetHealth::of(signals).status;
        let circuit = CircuitBreakerLayer::new().cooldown(Duration::from_secs(30));
        let one_failure = || circuit.clone().failure_threshold(1);

        let builder =
            ResilienceBuilder::new("p/m").rate_limit(RateLimitLayer::new()).circuit_breaker(circuit.clone());
        let closed = builder.service(provider);
        closed.clone().oneshot(call("/")).await.unwrap();
        let signals = closed.signals();
        assert_eq!((signals.health(), status(&signals)), ((false, 0.0), HealthStatus::Degraded));

        let half_open = ResilienceBuilder::new("p/m").circuit_breaker(one_failure()).service(provider);
        half_open.clone().oneshot(call("/")).await.unwrap();
        assert_eq!(status(&half_open.signals()), HealthStatus::Unhealthy);
        let of_path = one_failure().key_by(KeyBy::path());
        let of_keys = ResilienceBuilder::new("p/m").circuit_breaker(of_path).service(provider);
        of_keys.clone().oneshot(call("/a")).await.unwrap();
        assert_eq!(status(&of_keys.signals()), HealthStatus::Unhealthy);
        tokio::time::advance(Duration::from_secs(31)).await;
        assert_eq!(half_open.signals().health(), (false, 0.0));
        assert_eq!(status(&half_open.signals()), HealthStatus::Degraded);
        of_keys.clone().oneshot(call("/b")).await.unwrap();
        assert_eq!(status(&of_keys.signals()), HealthStatus::Degraded, "half-open for one key, open for one");
    }

    fn call(path: &str) -> Request<Payload> {
        Request::post(path).body(Payload::from("{}")).unwrap()
    }
}
