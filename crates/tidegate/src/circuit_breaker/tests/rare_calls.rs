//! A circuit that several processes share probes however rare their calls are.

use std::time::Duration;

use tidegate_testkit::strict::{Answer, Handle as Provider, Strict};
use tokio::time::sleep;
use tower::Layer;

use super::{SECOND, State};
use crate::circuit_breaker::{CircuitBreaker, CircuitBreakerLayer};
use crate::store::{OnUnavailable, Settings};
use crate::testing::store::{Delays, Server};
use crate::testing::{MILLI, call, request, send, strict, strict_behind, with_deadline};
use crate::{Payload, Resilience, ResilienceBuilder, clock};

/// One of the processes: with a stack and without, with the same circuit.
struct Process {
    circuit: CircuitBreakerLayer,
    stack: Resilience<Strict<Payload>>,
    layer: CircuitBreaker<Strict<Payload>>,
    provider: Provider,
}

impl Process {
    fn state(&self) -> State {
        self.circuit.handle().state()
    }
}

const COOLDOWN: Duration = Duration::from_secs(10);

/// Two processes whose circuit is half-open, and whose provider works again.
async fn half_open(
    server: &Server,
    mode: OnUnavailable,
    set: fn(CircuitBreakerLayer) -> CircuitBreakerLayer,
) -> [Process; 2] {
    let settings = Settings { mode, ..Settings::default() };
    let mut processes: [_; 2] = server.processes(&settings, |store| {
        let circuit = CircuitBreakerLayer::new().failure_threshold(1).cooldown(COOLDOWN);
        let circuit = set(circuit.name("a/b").store(store));
        let (inner, provider) = strict();
        provider.otherwise(Answer::status(200));
        let stack = ResilienceBuilder::new("a/b").circuit_breaker(circuit.clone()).build();
        Process { stack: stack.layer(inner.clone()), layer: circuit.layer(inner), circuit, provider }
    });
    for process in &mut processes {
        assert!(call(&mut process.stack).await.is_ok());
    }
    sleep(SECOND).await;
    processes[0].provider.then(Answer::status(503));
    assert!(call(&mut processes[0].layer).await.is_ok());
    sleep(COOLDOWN + SECOND).await;
    assert_eq!(processes.each_ref().map(Process::state), [State::HalfOpen; 2]);
    processes
}

/// Regression: the first call was rejected, and its turn had ended before the second. With less than a call a
/// second the circuit never closed.
#[tokio::test(start_paused = true)]
async fn in_a_stack_the_first_call_after_the_cooldown_is_the_probe() {
    for (mode, is_down) in
        [(OnUnavailable::Closed, false), (OnUnavailable::Open, false), (OnUnavailable::Open, true)]
    {
        let server = Server::new();
        let [mut one, mut other] = half_open(&server, mode, |layer| layer.success_threshold(2)).await;
        if is_down {
            server.stop();
        }
        let start = clock::now();
        assert!(call(&mut one.stack).await.is_ok());
        assert!(clock::now() - start <= Settings::default().timeout + 2 * MILLI);
        sleep(60 * SECOND).await;
        assert!(call(&mut one.stack).await.is_ok());
        assert_eq!(one.state(), State::Closed, "{mode:?}");
        assert_eq!(one.circuit.handle().metrics().total_rejected, 0);
        if !is_down {
            sleep(SECOND).await;
            assert_eq!(other.state(), State::Closed);
            assert!(call(&mut other.stack).await.is_ok());
        }
    }
}

/// A layer alone does not queue: its inner service may have no clone that could be called later.
#[tokio::test(start_paused = true)]
async fn without_a_stack_the_turn_is_kept_for_the_next_call() {
    let server = Server::new();
    let [mut one, _] = half_open(&server, OnUnavailable::Closed, |layer| layer).await;
    assert!(call(&mut one.layer).await.is_err());
    sleep(COOLDOWN - SECOND).await;
    assert!(call(&mut one.layer).await.is_ok());
    assert_eq!(one.state(), State::Closed);
}

/// The turn is kept no longer than that.
#[tokio::test(start_paused = true)]
async fn a_process_without_calls_leaves_its_turn_to_another() {
    let server = Server::new();
    let [mut one, mut other] = half_open(&server, OnUnavailable::Closed, |layer| layer).await;
    assert!(call(&mut one.layer).await.is_err());
    sleep(SECOND).await;
    assert!(call(&mut other.stack).await.is_err());
    sleep(COOLDOWN).await;
    assert!(call(&mut other.stack).await.is_ok());
    assert_eq!(other.state(), State::Closed);
}

/// One call awaits the turn, the others are rejected meanwhile. It waits until its deadline at most.
#[tokio::test(start_paused = true)]
async fn a_call_awaits_the_turn_no_longer_than_its_deadline() {
    let server = Server::new();
    let [mut one, _] = half_open(&server, OnUnavailable::Closed, |layer| layer).await;
    server.set_delays(Delays { reply: Box::new(|| 500 * MILLI), ..Delays::default() });
    let start = clock::now();
    let mut stack = one.stack.clone();
    let waiting = tokio::spawn(async move {
        let admitted = send(&mut stack, with_deadline(request(), 100 * MILLI)).await.is_ok();
        (admitted, clock::now() - start)
    });
    sleep(10 * MILLI).await;
    assert!(call(&mut one.stack).await.is_err());
    assert_eq!(clock::now() - start, 10 * MILLI);
    let (admitted, waited) = waiting.await.unwrap();
    assert!(!admitted && waited <= 101 * MILLI, "{waited:?}");
}

/// In shadow mode no call waits. Regression: with less than one in a cooldown the circuit never closed.
#[tokio::test(start_paused = true)]
async fn in_shadow_mode_a_probe_needs_no_turn() {
    let server = Server::new();
    let [mut one, mut other] =
        half_open(&server, OnUnavailable::Closed, |layer| layer.shadow(true).success_threshold(2)).await;
    for expected in [State::HalfOpen, State::Closed] {
        let start = clock::now();
        assert!(call(&mut one.stack).await.is_ok());
        assert_eq!((clock::now(), one.state()), (start, expected));
        sleep(COOLDOWN + SECOND).await;
    }
    assert_eq!(other.state(), State::Closed);
    assert!(call(&mut other.layer).await.is_ok());
    assert_eq!(one.circuit.handle().snapshot().would_have_rejected, 0);
}

/// Regression: a state that could not be read at the first call was not read later.
#[tokio::test(start_paused = true)]
async fn a_read_that_failed_is_repeated() {
    let server = Server::new();
    let [mut one, mut other] = server.processes(&Settings::default(), |store| {
        let layer = CircuitBreakerLayer::new().failure_threshold(1).name("a/b").store(store);
        strict_behind(&layer)
    });
    one.1.answer(503);
    assert!(call(&mut one.0).await.is_ok());
    sleep(SECOND).await;
    server.stop();
    other.1.otherwise(Answer::status(200));
    assert!(call(&mut other.0).await.is_ok());
    sleep(100 * MILLI).await;
    server.resume();
    assert!(call(&mut other.0).await.is_ok());
    sleep(SECOND).await;
    assert_eq!(other.0.handle().state(), State::Closed, "it is read at a call");
    assert!(call(&mut other.0).await.is_ok());
    sleep(100 * MILLI).await;
    assert_eq!(other.0.handle().state(), State::Open);
}
