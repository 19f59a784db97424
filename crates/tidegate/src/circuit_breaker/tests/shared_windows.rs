//! A window that processes share.

use std::convert::Infallible;
use std::time::Duration;

use http::{Request, Response};
use tokio::time::sleep;
use tower::{Layer, ServiceExt, service_fn};

use super::{SECOND, State};
use crate::circuit_breaker::{CircuitBreakerLayer, Reason, Settings};
use crate::store::{self, WindowSpan, WindowTotals};
use crate::testing::store::{Delays, Server};
use crate::testing::{MILLI, paused};
use crate::{Payload, clock};

/// A circuit that opens when half of ten calls have failed, whatever their order.
fn by_rate() -> CircuitBreakerLayer {
    let layer = CircuitBreakerLayer::new().failure_threshold(u32::MAX).failure_rate_threshold(0.5);
    layer.minimum_throughput(10).sliding_window_size(20).cooldown(SECOND).shared_window(true)
}

fn two(server: &Server, layer: impl Fn() -> CircuitBreakerLayer) -> [CircuitBreakerLayer; 2] {
    server.processes(&store::Settings::default(), |store| layer().name("a/b").store(store))
}

/// One call, which responds with this status after a while. Returns whether it was admitted.
async fn call(layer: &CircuitBreakerLayer, status: u16, time: Duration) -> bool {
    let service = layer.layer(service_fn(async |_: Request<Payload>| {
        sleep(time).await;
        Ok::<_, Infallible>(Response::builder().status(status).body(Payload::empty()).unwrap())
    }));
    service.oneshot(Request::new(Payload::empty())).await.is_ok()
}

async fn calls(layer: &CircuitBreakerLayer, status: u16, count: usize) {
    for _ in 0..count {
        assert!(call(layer, status, Duration::ZERO).await);
    }
}

/// Makes the calls, and waits until they are reported to the store.
async fn reported(layer: &CircuitBreakerLayer, status: u16, count: usize) {
    calls(layer, status, count).await;
    sleep(200 * MILLI).await;
}

fn states(layers: &[CircuitBreakerLayer]) -> Vec<State> {
    layers.iter().map(|layer| layer.handle().state()).collect()
}

/// No process has enough calls of its own.
#[tokio::test(start_paused = true)]
async fn the_circuit_opens_by_the_calls_of_all_processes() {
    let server = Server::new();
    let layers = two(&server, by_rate);
    for _ in 0..2 {
        for layer in &layers {
            reported(layer, 503, 2).await;
        }
    }
    let snapshot = layers[0].handle().snapshot();
    assert_eq!((snapshot.calls_in_window, snapshot.window_shared), (6, Some(true)));
    assert_eq!(states(&layers), [State::Closed; 2]);
    calls(&layers[1], 200, 1).await;
    reported(&layers[0], 503, 1).await;
    assert_eq!(states(&layers), [State::Open; 2]);
    let reason = layers[0].handle().snapshot().reason;
    assert_eq!(reason, Some(Reason::FailureRate { failures: 9, calls: 10 }));
}

/// The failures of one process are few among the calls of all: its own window alone would open the circuit.
#[tokio::test(start_paused = true)]
async fn the_calls_of_other_processes_keep_the_circuit_closed() {
    let server = Server::new();
    let layers = two(&server, || by_rate().sliding_window_size(1000));
    calls(&layers[0], 200, 500).await;
    reported(&layers[1], 200, 1).await;
    reported(&layers[1], 503, 100).await;
    assert_eq!(states(&layers), [State::Closed; 2]);
    assert_eq!(layers[1].handle().snapshot().failure_rate, Some(100.0 / 601.0));
}

#[tokio::test(start_paused = true)]
async fn slow_calls_of_all_processes_open_the_circuit() {
    let server = Server::new();
    let layers = two(&server, || {
        let layer = CircuitBreakerLayer::new().sliding_window(10 * SECOND).minimum_throughput(6);
        layer.slow_call_threshold(100 * MILLI).slow_call_rate_threshold(0.5).shared_window(true)
    });
    for layer in [&layers[0], &layers[1], &layers[0], &layers[1], &layers[0]] {
        assert!(call(layer, 200, 150 * MILLI).await);
        sleep(200 * MILLI).await;
    }
    assert_eq!(states(&layers), [State::Closed; 2]);
    assert!(call(&layers[1], 200, 150 * MILLI).await);
    sleep(200 * MILLI).await;
    assert_eq!(states(&layers), [State::Open; 2]);
    let reason = layers[1].handle().snapshot().reason;
    assert_eq!(reason, Some(Reason::SlowCallRate { slow: 6, calls: 6 }));
    assert!(server.reports().iter().all(|report| report.results.is_none()), "no result is counted");
}

/// A thousand calls in a second: a report every 100 ms, or every 10 ms while the circuit may open, and none
/// without calls.
#[tokio::test(start_paused = true)]
async fn reports_are_few_and_no_call_waits_for_one() {
    let server = Server::new();
    let delays = || Duration::from_millis(20);
    server.set_delays(Delays { request: Box::new(delays), reply: Box::new(delays), ..Delays::default() });
    for (status, most) in [(200, 11), (503, 25)] {
        let before = server.reports().len();
        let layers = two(&server, || by_rate().failure_rate_threshold(1.0));
        calls(&layers[1], 200, 10).await;
        for number in 0..1000 {
            let start = clock::now();
            let status = if number % 5 == 0 { 200 } else { status };
            assert!(call(&layers[0], status, Duration::ZERO).await);
            assert_eq!(start, clock::now());
            sleep(MILLI).await;
        }
        sleep(SECOND).await;
        let reports = server.reports()[before..].to_vec();
        assert!((5..=most).contains(&reports.len()), "{} reports", reports.len());
        if status == 200 {
            let added: u64 = reports.iter().map(|report| report.results.unwrap().added.calls).sum();
            assert_eq!(added, 1010, "each call is reported once");
        }
        sleep(10 * SECOND).await;
        assert_eq!(server.reports().len(), before + reports.len());
        layers[0].handle().reset();
    }
}

/// The store does not reply in time, then is restarted empty. The local window decides, and the shared one
/// afterwards.
#[tokio::test(start_paused = true)]
async fn without_the_store_the_local_window_decides_in_time() {
    let server = Server::new();
    let layers = two(&server, by_rate);
    reported(&layers[0], 200, 4).await;
    assert_eq!(layers[0].handle().snapshot().window_shared, Some(true));
    server.stop();
    calls(&layers[0], 503, 6).await;
    assert_eq!(states(&layers), [State::Closed; 2]);
    // An interval between reports, and the timeout of the store.
    sleep(155 * MILLI).await;
    assert_eq!(states(&layers), [State::Open, State::Closed]);
    assert_eq!(layers[0].handle().snapshot().window_shared, Some(false));

    // From the first failure that was not reported in time, each failure is evaluated at once.
    calls(&layers[1], 200, 5).await;
    sleep(300 * MILLI).await;
    calls(&layers[1], 503, 5).await;
    assert_eq!(layers[1].handle().state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_restarted_empty_leaves_the_decision_to_the_local_window() {
    let server = Server::new();
    let layers = two(&server, by_rate);
    calls(&layers[0], 200, 4).await;
    reported(&layers[0], 503, 3).await;
    server.restart();
    sleep(10 * MILLI).await;
    // The store has these three calls at most, and the process has ten.
    reported(&layers[0], 503, 1).await;
    reported(&layers[0], 503, 2).await;
    assert_eq!(layers[0].handle().state(), State::Open);
    assert_eq!(layers[0].handle().snapshot().reason, Some(Reason::FailureRate { failures: 6, calls: 10 }));
}

/// The failures from before it closed open it in no process again, whichever reports first.
#[tokio::test(start_paused = true)]
async fn a_circuit_that_closes_begins_a_new_window_in_all_processes() {
    for first in 0..2 {
        let server = Server::new();
        let layers = two(&server, by_rate);
        for layer in &layers {
            reported(layer, 503, 4).await;
        }
        reported(&layers[0], 503, 2).await;
        assert_eq!(states(&layers), [State::Open; 2]);
        sleep(2 * SECOND).await;
        while !call(&layers[0], 200, Duration::ZERO).await {
            sleep(10 * MILLI).await;
        }
        sleep(10 * MILLI).await;
        assert_eq!(states(&layers), [State::Closed; 2]);
        for layer in [&layers[first], &layers[1 - first]] {
            reported(layer, 503, 4).await;
        }
        assert_eq!(states(&layers), [State::Closed; 2]);
        // The body of the probe has ended well.
        assert_eq!(layers[1 - first].handle().snapshot().calls_in_window, 9);
        reported(&layers[0], 503, 2).await;
        assert_eq!(states(&layers), [State::Open; 2]);
    }
}

/// A process was suspended while its report was under way: the totals are of the past.
#[tokio::test(start_paused = true)]
async fn a_reply_that_is_late_leaves_the_decision_to_the_local_window() {
    let server = Server::new();
    let layers = two(&server, by_rate);
    reported(&layers[1], 503, 9).await;
    server.set_delays(Delays { reply: Box::new(|| 10 * SECOND), ..Delays::default() });
    calls(&layers[0], 503, 1).await;
    sleep(20 * SECOND).await;
    let snapshot = layers[0].handle().snapshot();
    assert_eq!((snapshot.state, snapshot.window_shared), (State::Closed, Some(false)));
}

/// A report was under way when the circuit closed: its reply is that of the window before.
#[tokio::test(start_paused = true)]
async fn a_reply_from_before_the_circuit_closed_changes_nothing() {
    let server = Server::new();
    let layers = two(&server, by_rate);
    reported(&layers[1], 503, 9).await;
    server.set_delays(Delays { reply: Box::new(|| 50 * MILLI), ..Delays::default() });
    calls(&layers[0], 503, 1).await;
    sleep(10 * MILLI).await;
    layers[0].handle().reset();
    sleep(2 * SECOND).await;
    assert_eq!(layers[0].handle().state(), State::Closed);
}

/// A process that gets no reply in time does not begin the window of the others anew with each of its
/// reports.
#[tokio::test(start_paused = true)]
async fn a_process_without_a_reply_reports_when_its_circuit_closed() {
    let server = Server::new();
    let layers = two(&server, by_rate);
    server.set_delays(Delays { reply: Box::new(|| SECOND), ..Delays::default() });
    layers[0].handle().reset();
    for _ in 0..2 {
        sleep(SECOND).await;
        calls(&layers[0], 200, 1).await;
        sleep(3 * SECOND).await;
    }
    let closed =
        server.reports().into_iter().map(|report| (report.number, report.closed_for.unwrap().as_secs()));
    assert_eq!(closed.collect::<Vec<_>>(), [(0, 1), (0, 5)]);
}

/// Two failures that the provider sent with waits are in one report.
#[tokio::test(start_paused = true)]
async fn the_longest_wait_that_the_provider_sent_is_kept() {
    let server = Server::new();
    let layers = two(&server, by_rate);
    reported(&layers[1], 503, 8).await;
    let service = layers[0].layer(service_fn(async |request: Request<Payload>| {
        let wait = request.headers()["wait"].clone();
        let response = Response::builder().status(503).header("retry-after", wait);
        Ok::<_, Infallible>(response.body(Payload::empty()).unwrap())
    }));
    for wait in ["40", "5"] {
        let request = Request::builder().header("wait", wait).body(Payload::empty()).unwrap();
        service.clone().oneshot(request).await.unwrap();
    }
    sleep(200 * MILLI).await;
    let remaining = layers[0].handle().cooldown_remaining().unwrap();
    assert!(remaining > 39 * SECOND, "{remaining:?}");
}

#[tokio::test(start_paused = true)]
async fn each_key_has_a_shared_window() {
    let server = Server::new();
    let key = crate::KeyBy::header(http::HeaderName::from_static("tenant"));
    let layers = two(&server, || by_rate().key_by(key.clone()));
    let call = async |layer: &CircuitBreakerLayer, tenant: &'static str| {
        let service = layer.layer(service_fn(async |_: Request<Payload>| {
            Ok::<_, Infallible>(Response::builder().status(503).body(Payload::empty()).unwrap())
        }));
        let request = Request::builder().header("tenant", tenant).body(Payload::empty()).unwrap();
        service.oneshot(request).await.is_ok()
    };
    for layer in &layers {
        for _ in 0..5 {
            assert!(call(layer, "a").await && call(layer, "b").await || layer.handle().keys() > 0);
        }
        sleep(200 * MILLI).await;
        assert!(call(layer, "c").await);
    }
    for layer in &layers {
        assert!(!call(layer, "a").await && !call(layer, "b").await && call(layer, "c").await);
    }
}

#[tokio::test(start_paused = true)]
async fn a_window_of_time_is_reported_and_shown_by_its_time() {
    let server = Server::new();
    let layers = two(&server, || by_rate().sliding_window(10 * SECOND));
    reported(&layers[0], 503, 3).await;
    let added = server.reports()[0].results.unwrap();
    assert_eq!(added.span, WindowSpan::Time(10 * SECOND));
    assert_eq!(added.added, WindowTotals { bad: 3, calls: 3 });
    assert_eq!(layers[0].handle().snapshot().calls_in_window, 3);
    sleep(10 * SECOND).await;
    assert_eq!(layers[0].handle().snapshot().calls_in_window, 0);
}

/// A runtime ended while a report was under way. Calls in another one are reported all the same.
#[test]
fn reports_go_on_after_the_end_of_a_runtime() {
    let server = Server::new();
    let layers = two(&server, by_rate);
    let run = |bad: usize, time: Duration| {
        paused().block_on(async {
            calls(&layers[0], 503, bad).await;
            sleep(time).await;
        });
    };
    run(2, 200 * MILLI);
    assert_eq!(layers[0].handle().snapshot().window_shared, Some(true));
    run(3, Duration::ZERO);
    run(5, 200 * MILLI);
    assert_eq!(layers[0].handle().state(), State::Open);
}

#[test]
fn a_shared_window_needs_a_rate_and_a_store() {
    let settings = Settings { shared_window: true, ..Settings::default() };
    let error = CircuitBreakerLayer::from_settings(settings.clone()).unwrap_err();
    assert_eq!(error.key(), "shared_window");
    assert!(error.problem().contains("failure_rate_threshold or slow_call_threshold"), "{error}");
    let settings = Settings { failure_rate_threshold: Some(0.5), ..settings };
    let error = CircuitBreakerLayer::from_settings(settings.clone()).unwrap_err();
    assert_eq!(error.to_string(), "shared_window: expected a store of shared limits, found none");
    let server = Server::new();
    assert!(
        CircuitBreakerLayer::from_settings_with_store(settings, server.store(0, &store::Settings::default()))
            .is_ok()
    );
}
