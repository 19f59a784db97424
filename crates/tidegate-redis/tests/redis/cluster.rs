//! A cluster of one node: the keys of each script are in one slot.

use std::convert::Infallible;
use std::time::Duration;

use http::{Request, Response};
use tidegate::circuit_breaker::State;
use tidegate::store::{OnUnavailable, Settings, Store};
use tidegate::{CircuitBreakerLayer, Payload, RateLimitLayer, Resilience, ResilienceBuilder};
use tidegate_redis::{RedisSettings, RedisStore};
use tidegate_testkit::RedisServer;
use tower::{ServiceExt, service_fn};

use crate::limits::{subscribed, wait_until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_cooldowns_and_circuits_are_shared_through_a_cluster_of_one_node() {
    let Some(server) = RedisServer::start_cluster().await.unwrap() else { return };
    let provider = service_fn(async |request: Request<Payload>| {
        let status = request.headers()["status"].to_str().unwrap().parse::<u16>().unwrap();
        let response = Response::builder().status(status).header("retry-after", "20");
        Ok::<_, Infallible>(response.body(Payload::empty()).unwrap())
    });
    let call = async |stack: &Resilience<_>, status: &'static str| {
        let request = Request::builder().header("status", status).body(Payload::empty()).unwrap();
        stack.clone().oneshot(request).await.unwrap();
    };
    let (mut limited, mut failing) = (Vec::new(), Vec::new());
    for _ in 0..2 {
        let timeout = Duration::from_secs(1);
        let store = Settings { mode: OnUnavailable::Closed, timeout, ..Settings::default() };
        let settings = RedisSettings { store, ..RedisSettings::new(&server.url()) };
        let store = Store::new(RedisStore::with_settings(settings).await.unwrap());
        let limit = RateLimitLayer::per_second(1000);
        let stack = ResilienceBuilder::new("provider/limited").rate_limit(limit).store(store.clone());
        limited.push(stack.service(provider));
        let circuit = CircuitBreakerLayer::new().failure_threshold(100).failure_rate_threshold(0.5);
        let circuit = circuit.minimum_throughput(4).shared_window(true);
        let stack = ResilienceBuilder::new("provider/failing").circuit_breaker(circuit).store(store);
        failing.push(stack.service(provider));
    }
    for stack in &limited {
        call(stack, "200").await;
    }
    subscribed(&server, 2).await;
    call(&limited[0], "429").await;
    for stack in [&failing[0], &failing[1], &failing[0], &failing[1]] {
        call(stack, "500").await;
    }
    let is_closed = |stack: &Resilience<_>| stack.signals().snapshot().rate_closed_ms.is_some();
    let is_open = |stack: &Resilience<_>| stack.signals().snapshot().circuit_state == State::Open;
    wait_until(|| limited.iter().all(is_closed) && failing.iter().all(is_open)).await;
    for stack in &limited {
        let signals = stack.signals().snapshot();
        assert!(signals.rate_shared.unwrap().available);
        assert!((13_000..=20_000).contains(&signals.rate_closed_ms.unwrap()), "{signals:?}");
    }
    for stack in &failing {
        let signals = stack.signals().snapshot();
        assert_eq!((signals.circuit_state, signals.circuit_window_shared), (State::Open, Some(true)));
    }
}
