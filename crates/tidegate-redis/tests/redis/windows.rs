//! Windows that several processes share.

use std::time::{Duration, Instant};

use redis::Commands;
use tidegate::CircuitBreakerLayer;
use tidegate::circuit_breaker::{Reason, State};
use tidegate::store::Settings;
use tidegate_testkit::RedisServer;

use crate::circuits::{Provider, layers, layers_with, wait_for};
use crate::limits::{Lateness, connection, wait_until};

const MILLI: Duration = Duration::from_millis(1);

/// A circuit that opens when half of twelve calls have failed.
fn by_rate() -> CircuitBreakerLayer {
    let layer = CircuitBreakerLayer::new().failure_threshold(u32::MAX).failure_rate_threshold(0.5);
    layer
        .minimum_throughput(12)
        .sliding_window(Duration::from_secs(60))
        .cooldown(300 * MILLI)
        .shared_window(true)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_circuit_opens_by_the_calls_of_all_processes_and_closes_with_a_new_window() {
    let Some(server) = RedisServer::start().await.unwrap() else { return };
    let (layers, provider) = (layers(&server, by_rate), Provider::default());
    for round in 0..4 {
        for layer in &layers {
            assert!(provider.call(layer).await, "round {round}");
        }
    }
    wait_for(&layers, State::Open).await;
    let reasons = layers.iter().filter_map(|layer| layer.handle().snapshot().reason);
    let by_rate = reasons.filter(|reason| matches!(reason, Reason::FailureRate { calls: 12, .. }));
    assert!(by_rate.count() >= 1);

    provider.recover();
    tokio::time::sleep(350 * MILLI).await;
    provider.load(&layers, 500 * MILLI).await;
    wait_for(&layers, State::Closed).await;
    for layer in &layers {
        let snapshot = layer.handle().snapshot();
        assert_eq!((snapshot.window_shared, snapshot.failure_rate), (Some(true), Some(0.0)), "{snapshot:?}");
    }
    let mut connection = connection(&server);
    let keys: Vec<String> = connection.keys("*window").unwrap();
    assert_eq!(keys, ["tidegate:{circuit::provider/model}:window"]);
    let lifetime: i64 = connection.ttl(&keys[0]).unwrap();
    assert!((3500..=3660).contains(&lifetime), "{lifetime}");
}

/// A paused server replies to nothing, and a killed one refuses connections.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_server_the_local_window_decides_in_time_and_no_call_waits() {
    let Some(mut server) = RedisServer::start().await.unwrap() else { return };
    for is_paused in [true, false] {
        let settings = Settings { timeout: 100 * MILLI, ..Settings::default() };
        let layer = &layers_with(&server, &settings, by_rate)[0];
        let provider = Provider::default();
        provider.call(layer).await;
        wait_until(|| layer.handle().snapshot().window_shared == Some(true)).await;
        if is_paused {
            server.pause().unwrap()
        } else {
            server.kill().unwrap()
        }
        let lateness = Lateness::measure();
        for _ in 0..11 {
            let start = Instant::now();
            assert!(provider.call(layer).await);
            let late = start.elapsed();
            assert!(late < 80 * MILLI + 4 * lateness.most(), "a call of 30 ms took {late:?}");
        }
        let start = Instant::now();
        wait_until(|| layer.handle().state() == State::Open).await;
        let late = start.elapsed();
        eprintln!("open {late:?} after the call that reached the rate");
        assert!(late < 200 * MILLI + 4 * lateness.most(), "{late:?}");
        if is_paused {
            server.resume().unwrap()
        } else {
            server.restart().await.unwrap()
        }
        server.clear().await.unwrap();
    }
}

/// Memory is bounded: some slices for each circuit, however many calls it has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_circuits_with_a_flood_of_calls_take_little_memory() {
    let Some(server) = RedisServer::start().await.unwrap() else { return };
    let settings = Settings { timeout: Duration::from_secs(5), ..Settings::default() };
    let key = tidegate::KeyBy::header(http::HeaderName::from_static("tenant"));
    let layer =
        &layers_with(&server, &settings, || by_rate().failure_rate_threshold(1.0).key_by(key.clone()))[0];
    let start = Instant::now();
    let mut calls = 0;
    while start.elapsed() < Duration::from_secs(3) {
        for tenant in 0..1000 {
            Provider::respond_at_once(layer, &tenant.to_string(), calls % 2 == 0).await;
            calls += 1;
        }
    }
    tokio::time::sleep(500 * MILLI).await;
    let mut connection = connection(&server);
    let keys: Vec<String> = connection.keys("*window").unwrap();
    assert_eq!(keys.len(), 1000);
    let sizes = keys
        .iter()
        .map(|key| redis::cmd("MEMORY").arg("USAGE").arg(key).query::<u64>(&mut connection).unwrap());
    let most = sizes.max().unwrap();
    eprintln!("{calls} calls, at most {most} bytes for a circuit");
    assert!(most < 1024, "{most} bytes");
}
