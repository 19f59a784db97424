//! Circuits that several processes share.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http::{Request, Response};
use redis::Commands;
use tidegate::circuit_breaker::State;
use tidegate::store::{OnUnavailable, Settings};
use tidegate::{CircuitBreakerLayer, Payload};
use tidegate_testkit::RedisServer;
use tokio::task::JoinSet;
use tower::{Layer, ServiceExt, service_fn};

use crate::limits::{Lateness, connection, store, subscribed, wait_until};

/// A provider that fails until it is well, and counts the requests in flight until so many have succeeded
/// that the circuit may close.
#[derive(Clone, Default)]
pub(crate) struct Provider(Arc<Counts>);

#[derive(Default)]
pub(crate) struct Counts {
    is_well: AtomicBool,
    requests: AtomicUsize,
    in_flight: AtomicUsize,
    successes: AtomicUsize,
    most_in_flight: AtomicUsize,
    /// How long a request takes beyond 30 ms, in milliseconds.
    delay: AtomicU64,
}

const SUCCESS_THRESHOLD: u32 = 4;

impl Provider {
    async fn respond(self) -> Result<Response<Payload>, Infallible> {
        let counts = &self.0;
        counts.requests.fetch_add(1, Ordering::SeqCst);
        let in_flight = counts.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
        if counts.successes.load(Ordering::SeqCst) < SUCCESS_THRESHOLD as usize {
            counts.most_in_flight.fetch_max(in_flight, Ordering::SeqCst);
        }
        tokio::time::sleep(Duration::from_millis(30 + counts.delay.load(Ordering::SeqCst))).await;
        counts.in_flight.fetch_sub(1, Ordering::SeqCst);
        let mut response = Response::new(Payload::empty());
        if counts.is_well.load(Ordering::SeqCst) {
            counts.successes.fetch_add(1, Ordering::SeqCst);
        } else {
            *response.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
        }
        Ok(response)
    }

    /// Its requests succeed from now on.
    pub(crate) fn recover(&self) {
        self.0.is_well.store(true, Ordering::SeqCst);
    }

    /// One call of a tenant, which succeeds or fails without a wait.
    pub(crate) async fn respond_at_once(layer: &CircuitBreakerLayer, tenant: &str, is_well: bool) {
        let status = if is_well { 200 } else { 500 };
        let service = layer.layer(service_fn(async |_: Request<Payload>| {
            Ok::<_, Infallible>(Response::builder().status(status).body(Payload::empty()).unwrap())
        }));
        let request = Request::builder().header("tenant", tenant).body(Payload::empty()).unwrap();
        let _ = service.oneshot(request).await;
    }

    pub(crate) async fn call(&self, layer: &CircuitBreakerLayer) -> bool {
        let provider = self.clone();
        let service = layer.layer(service_fn(move |_: Request<Payload>| provider.clone().respond()));
        service.oneshot(Request::new(Payload::from("{}"))).await.is_ok()
    }

    /// Makes calls in all processes, ten at a time in each, until the time is up.
    pub(crate) async fn load(&self, layers: &[CircuitBreakerLayer], time: Duration) {
        let (mut callers, until) = (JoinSet::new(), Instant::now() + time);
        for layer in layers.iter().cycle().take(10 * layers.len()) {
            let (provider, layer) = (self.clone(), layer.clone());
            callers.spawn(async move {
                while Instant::now() < until {
                    if !provider.call(&layer).await {
                        tokio::time::sleep(Duration::from_millis(2)).await;
                    }
                }
            });
        }
        callers.join_all().await;
    }
}

pub(crate) fn layers(
    server: &RedisServer,
    layer: impl Fn() -> CircuitBreakerLayer,
) -> Vec<CircuitBreakerLayer> {
    // Patient, so that a busy machine is no outage.
    layers_with(server, &Settings { timeout: Duration::from_secs(1), ..Settings::default() }, layer)
}

pub(crate) fn layers_with(
    server: &RedisServer,
    settings: &Settings,
    layer: impl Fn() -> CircuitBreakerLayer,
) -> Vec<CircuitBreakerLayer> {
    let with_store = |_| layer().name("provider/model").store(store(&server.url(), settings.clone()));
    (0..3).map(with_store).collect()
}

pub(crate) async fn wait_for(layers: &[CircuitBreakerLayer], state: State) -> Duration {
    let start = Instant::now();
    while !layers.iter().all(|layer| layer.handle().state() == state) {
        assert!(start.elapsed() < Duration::from_secs(5), "not all are {state:?}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    start.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_circuit_that_one_opens_is_open_for_all_and_one_at_a_time_probes() {
    let Some(server) = RedisServer::start().await.unwrap() else { return };
    let circuit = || {
        let circuit = CircuitBreakerLayer::new().failure_threshold(3).cooldown(Duration::from_millis(400));
        circuit.half_open_max(2).success_threshold(SUCCESS_THRESHOLD)
    };
    let (layers, provider) = (layers(&server, circuit), Provider::default());
    for layer in &layers {
        provider.call(layer).await;
    }
    subscribed(&server, 3).await;
    for _ in 0..2 {
        provider.call(&layers[0]).await;
    }
    let lateness = Lateness::measure();
    let late = wait_for(&layers, State::Open).await;
    eprintln!("open after {late:?}");
    assert!(late < Duration::from_millis(50) + 4 * lateness.most(), "{late:?}");
    let requests = provider.0.requests.load(Ordering::SeqCst);
    provider.0.most_in_flight.store(0, Ordering::SeqCst);

    // Two rounds of probes fail.
    let start = Instant::now();
    let mut probes = 0;
    while probes < 2 {
        assert!(start.elapsed() < Duration::from_secs(5), "{probes} probes");
        provider.load(&layers, Duration::from_millis(1300)).await;
        probes = provider.0.requests.load(Ordering::SeqCst) - requests;
    }
    let most = provider.0.most_in_flight.load(Ordering::SeqCst);
    eprintln!("{probes} probes, {most} at a time");
    let rounds = start.elapsed().as_millis() as usize / 400;
    assert!(probes <= 2 * rounds, "{probes} in {rounds} rounds");
    assert!(most <= 2, "{most} probes at a time");

    // Four probes succeed, two at a time, in whatever process has its turn.
    provider.0.is_well.store(true, Ordering::SeqCst);
    provider.load(&layers, Duration::from_millis(1500)).await;
    let most = provider.0.most_in_flight.load(Ordering::SeqCst);
    assert!(most <= 2, "{most} probes at a time");
    wait_for(&layers, State::Closed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_joins_finds_the_circuit_open_and_a_turn_without_a_probe_ends() {
    let Some(server) = RedisServer::start().await.unwrap() else { return };
    let circuit = || CircuitBreakerLayer::new().failure_threshold(1).cooldown(Duration::from_millis(300));
    let (layers, provider) = (layers(&server, circuit), Provider::default());
    provider.call(&layers[0]).await;
    wait_for(&layers[..1], State::Open).await;
    provider.0.is_well.store(true, Ordering::SeqCst);
    // Its first call requests the state.
    provider.call(&layers[1]).await;
    wait_until(|| layers[1].handle().state() != State::Closed).await;
    // This process gets the turn, and makes no call.
    tokio::time::sleep(Duration::from_millis(400)).await;
    let start = Instant::now();
    assert!(!provider.call(&layers[0]).await);
    let mut redis = connection(&server);
    let mut prober = || redis.hget::<_, _, String>("tidegate:{circuit::provider/model}:circuit", "prober");
    wait_until(|| !prober().unwrap().is_empty()).await;
    while !provider.call(&layers[1]).await {
        assert!(start.elapsed() < Duration::from_secs(5), "the turn does not end");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(start.elapsed() > Duration::from_millis(900), "{:?}", start.elapsed());
    wait_for(&layers[..2], State::Closed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn probes_do_not_exceed_their_number_when_the_server_is_restarted_empty() {
    let Some(mut server) = RedisServer::start().await.unwrap() else { return };
    let circuit = || {
        let circuit = CircuitBreakerLayer::new().failure_threshold(1).cooldown(Duration::from_millis(200));
        circuit.half_open_max(2).success_threshold(SUCCESS_THRESHOLD)
    };
    let timeout = Duration::from_secs(1);
    let closed_mode = Settings { mode: OnUnavailable::Closed, timeout, ..Settings::default() };
    let (layers, provider) = (layers_with(&server, &closed_mode, circuit), Provider::default());
    provider.0.is_well.store(true, Ordering::SeqCst);
    for layer in &layers {
        assert!(provider.call(layer).await);
    }
    subscribed(&server, 3).await;
    provider.0.is_well.store(false, Ordering::SeqCst);
    provider.call(&layers[0]).await;
    wait_for(&layers, State::Open).await;
    tokio::time::sleep(Duration::from_millis(250)).await;

    // Each probe takes longer than the time in which a server without its state gives no turn.
    provider.0.is_well.store(true, Ordering::SeqCst);
    provider.0.successes.store(0, Ordering::SeqCst);
    provider.0.most_in_flight.store(0, Ordering::SeqCst);
    provider.0.delay.store(7000, Ordering::SeqCst);
    let load = {
        let (provider, layers) = (provider.clone(), layers.clone());
        tokio::spawn(async move { provider.load(&layers, Duration::from_secs(7)).await })
    };
    let start = Instant::now();
    while provider.0.in_flight.load(Ordering::SeqCst) < 2 {
        assert!(start.elapsed() < Duration::from_secs(5), "no probes");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    server.kill().unwrap();
    server.restart().await.unwrap();
    provider.0.delay.store(0, Ordering::SeqCst);
    load.await.unwrap();
    let most = provider.0.most_in_flight.load(Ordering::SeqCst);
    assert_eq!(most, 2, "probes at a time");

    // The turn is there again afterwards: the circuit closes.
    provider.load(&layers, Duration::from_millis(1500)).await;
    wait_for(&layers, State::Closed).await;
}

/// A turn may be granted, renewed or ended at the moment of a restart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn probes_do_not_exceed_their_number_however_often_the_server_is_restarted() {
    let Some(mut server) = RedisServer::start().await.unwrap() else { return };
    let circuit = || {
        let circuit = CircuitBreakerLayer::new().failure_threshold(1).cooldown(Duration::from_millis(200));
        circuit.half_open_max(2).success_threshold(u32::MAX)
    };
    let timeout = Duration::from_secs(1);
    let closed_mode = Settings { mode: OnUnavailable::Closed, timeout, ..Settings::default() };
    let (layers, provider) = (layers_with(&server, &closed_mode, circuit), Provider::default());
    provider.recover();
    for layer in &layers {
        assert!(provider.call(layer).await);
    }
    subscribed(&server, 3).await;
    provider.0.is_well.store(false, Ordering::SeqCst);
    provider.call(&layers[0]).await;
    wait_for(&layers, State::Open).await;
    tokio::time::sleep(Duration::from_millis(250)).await;
    provider.recover();
    provider.0.delay.store(700, Ordering::SeqCst);
    provider.0.most_in_flight.store(0, Ordering::SeqCst);
    let load = {
        let (provider, layers) = (provider.clone(), layers.clone());
        tokio::spawn(async move { provider.load(&layers, Duration::from_secs(10)).await })
    };
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..10 {
        // The provider counts the requests in flight before so many have succeeded.
        provider.0.successes.store(0, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(random.u64(200..1200))).await;
        server.kill().unwrap();
        tokio::time::sleep(Duration::from_millis(random.u64(0..200))).await;
        server.restart().await.unwrap();
    }
    load.await.unwrap();
    let most = provider.0.most_in_flight.load(Ordering::SeqCst);
    assert_eq!(most, 2, "probes at a time");
}
