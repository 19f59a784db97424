//! The probes of all processes never exceed their number, also around a restart of the store.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::{Request, Response};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep;
use tower::{Layer, ServiceExt, service_fn};

use super::{SECOND, State};
use crate::circuit_breaker::{CircuitBreakerLayer, Handle};
use crate::store::{OnUnavailable, Settings};
use crate::testing::store::{Delays, Server};
use crate::testing::{MILLI, paused, request, strict};
use crate::{ErrorCode, Failure, HintSource, Outcome, Payload, ResilienceBuilder, RetryHint, clock};

/// A provider that responds after a while, and counts the requests in flight.
#[derive(Clone, Default)]
struct Provider(Arc<[AtomicUsize; 2]>);

impl Provider {
    /// The most requests that were in flight at once.
    fn most(&self) -> usize {
        self.0[1].load(Ordering::Relaxed)
    }

    fn in_flight(&self) -> usize {
        self.0[0].load(Ordering::Relaxed)
    }

    /// Returns whether the call was admitted.
    async fn call(&self, layer: &CircuitBreakerLayer, time: Duration) -> bool {
        let [in_flight, most] = &*self.0;
        let respond = async || {
            most.fetch_max(in_flight.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
            sleep(time).await;
            in_flight.fetch_sub(1, Ordering::Relaxed);
            Ok::<_, Infallible>(Response::new(Payload::empty()))
        };
        let service = layer.layer(service_fn(|_: Request<Payload>| respond()));
        service.oneshot(Request::new(Payload::empty())).await.is_ok()
    }

    /// Makes a call in a task of its own.
    fn start(&self, layer: &CircuitBreakerLayer, time: Duration) -> JoinHandle<bool> {
        let (layer, provider) = (layer.clone(), self.clone());
        tokio::spawn(async move { provider.call(&layer, time).await })
    }

    /// The first call of a process without the turn to probe is rejected, and requests the turn.
    async fn take_turn(&self, layer: &CircuitBreakerLayer) {
        assert!(!self.call(layer, MILLI).await);
        sleep(10 * MILLI).await;
    }

    async fn fail(&self, layer: &CircuitBreakerLayer) {
        let service = layer.layer(service_fn(async |_: Request<Payload>| {
            Ok::<_, Infallible>(Response::builder().status(503).body(Payload::empty()).unwrap())
        }));
        let _ = service.oneshot(Request::new(Payload::empty())).await;
    }
}

/// An attempt that fails after a while, with a wait of the provider.
fn late_failure(
    layer: &CircuitBreakerLayer,
    code: ErrorCode,
    wait: Duration,
    after: Duration,
) -> impl Future<Output = ()> + use<> {
    let retry_hint = Some(RetryHint::after(wait, HintSource::Body));
    let outcome = Outcome::from(Failure { retry_hint, ..Failure::new(code) });
    let service = layer.layer(service_fn(move |_: Request<Payload>| {
        let response = Response::builder().status(503).extension(outcome.clone());
        async move {
            sleep(after).await;
            Ok::<_, Infallible>(response.body(Payload::empty()).unwrap())
        }
    }));
    async { drop(service.oneshot(Request::new(Payload::empty())).await.unwrap()) }
}

/// Three processes with one circuit, which each of them has joined.
async fn three(server: &Server, cooldown: Duration) -> [CircuitBreakerLayer; 3] {
    let settings = Settings { mode: OnUnavailable::Closed, ..Settings::default() };
    let layers: [_; 3] = server.processes(&settings, |store| {
        let layer = CircuitBreakerLayer::new().failure_threshold(1).half_open_max(2).cooldown(cooldown);
        layer.success_threshold(u32::MAX).probe_lease(20 * SECOND).name("a/b").store(store)
    });
    for layer in &layers {
        assert!(Provider::default().call(layer, MILLI).await);
    }
    sleep(SECOND).await;
    layers
}

/// The circuit is open in all processes, and the cooldown has passed.
async fn half_open(layers: &[CircuitBreakerLayer], cooldown: Duration) {
    Provider::default().fail(&layers[0]).await;
    sleep(cooldown + 100 * MILLI).await;
    assert!(layers.iter().all(|layer| layer.handle().state() == State::HalfOpen));
}

/// Three processes whose circuit is half-open.
async fn three_half_open(server: &Server, cooldown: Duration) -> ([CircuitBreakerLayer; 3], Provider) {
    let layers = three(server, cooldown).await;
    half_open(&layers, cooldown).await;
    (layers, Provider::default())
}

/// A process was suspended while its turn was granted. The store has given the turn to another one since.
#[tokio::test(start_paused = true)]
async fn a_turn_whose_grant_is_late_lets_no_probe_begin() {
    let server = Server::new();
    let (layers, provider) = three_half_open(&server, SECOND).await;
    server.set_delays(Delays { reply: Box::new(|| 8 * SECOND), ..Delays::default() });
    provider.take_turn(&layers[0]).await;
    server.set_delays(Delays::default());
    server.restart();
    // The time in which the restarted store gives no turn.
    assert!(!provider.call(&layers[1], MILLI).await);
    sleep(5 * SECOND + 100 * MILLI).await;
    assert!(!provider.call(&layers[1], MILLI).await);
    sleep(100 * MILLI).await;
    let probes = [(); 2].map(|()| provider.start(&layers[1], 9 * SECOND));
    sleep(MILLI).await;
    assert_eq!(provider.in_flight(), 2);
    for _ in 0..40 {
        sleep(100 * MILLI).await;
        assert!(!provider.call(&layers[0], SECOND).await);
    }
    for probe in probes {
        assert!(probe.await.unwrap());
    }
    assert_eq!(provider.most(), 2);
}

/// A runtime ends with the task that keeps the turn. Calls in another one request it again.
#[test]
fn a_turn_that_is_not_kept_is_requested_again() {
    for has_probe in [false, true] {
        let (first, second) = (paused(), paused());
        let (server, layers) = first.block_on(async {
            let server = Server::new();
            let (layers, provider) = three_half_open(&server, SECOND).await;
            provider.take_turn(&layers[0]).await;
            if has_probe {
                drop(provider.start(&layers[0], 60 * SECOND));
                sleep(MILLI).await;
            }
            (server, layers)
        });
        drop(first);
        second.block_on(async {
            // The turn ends in the store with the lease of a probe.
            sleep(60 * SECOND).await;
            server.set_delays(Delays::default());
            assert!(!Provider::default().call(&layers[0], MILLI).await, "its turn is over");
            sleep(10 * MILLI).await;
            for _ in 0..20 {
                assert!(Provider::default().call(&layers[0], SECOND).await, "it is kept");
            }
            sleep(10 * SECOND).await;
            Provider::default().take_turn(&layers[1]).await;
            assert!(Provider::default().call(&layers[1], MILLI).await, "it has ended");
        });
    }
}

/// The message that another process has opened the circuit again overtakes the grant of the turn, which that
/// has ended.
#[tokio::test(start_paused = true)]
async fn a_turn_that_ended_before_its_grant_arrived_lets_no_probe_begin() {
    let server = Server::new();
    let (layers, provider) = three_half_open(&server, SECOND).await;
    server.set_delays(Delays { reply: Box::new(|| 500 * MILLI), ..Delays::default() });
    provider.take_turn(&layers[0]).await;
    server.set_delays(Delays::default());
    // Another process, whose circuit is closed, opens it for a moment.
    layers[1].handle().reset();
    sleep(10 * MILLI).await;
    provider.fail(&layers[1]).await;
    sleep(SECOND + 100 * MILLI).await;
    assert!(!provider.call(&layers[0], SECOND).await, "its turn has ended");
}

/// The circuit is opened elsewhere, by a process that has missed that it is open, while this one has the turn
/// and no probe in flight.
#[tokio::test(start_paused = true)]
async fn an_opening_elsewhere_ends_an_idle_turn() {
    let server = Server::new();
    let cooldown = 200 * MILLI;
    let (layers, provider) = (three(&server, cooldown).await, Provider::default());
    let mut late = [60 * SECOND, MILLI].into_iter().cycle();
    server.set_delays(Delays { message: Box::new(move || late.next().unwrap()), ..Delays::default() });
    provider.fail(&layers[0]).await;
    sleep(cooldown + 100 * MILLI).await;
    server.set_delays(Delays::default());
    provider.take_turn(&layers[0]).await;
    assert_eq!(layers[1].handle().state(), State::Closed);
    provider.fail(&layers[1]).await;
    sleep(cooldown + 50 * MILLI).await;
    assert!(!provider.call(&layers[0], SECOND).await, "its turn has ended");
}

/// An attempt that was in flight when the circuit opened gets a longer wait than its cooldown.
#[tokio::test(start_paused = true)]
async fn a_wait_that_comes_while_the_circuit_is_open_holds_in_every_process() {
    for (code, cooldown, wait) in [
        (ErrorCode::Overloaded, 1, 60),
        (ErrorCode::QuotaExhausted, 1, 60),
        // Regression: that the quota is exhausted was shared with a later time alone.
        (ErrorCode::QuotaExhausted, 60, 1),
    ] {
        let server = Server::new();
        let layers = three(&server, cooldown * SECOND).await;
        let late = tokio::spawn(late_failure(&layers[0], code, wait * SECOND, 100 * MILLI));
        sleep(MILLI).await;
        Provider::default().fail(&layers[0]).await;
        late.await.unwrap();
        sleep(200 * MILLI).await;
        for layer in &layers {
            let rejection = layer.handle().peek().expect("an open circuit");
            assert!(rejection.retry_after() > Some(50 * SECOND), "{rejection:?}");
            assert_eq!(rejection.code(), code);
        }
    }
}

/// Regression: the stack had a state of its own, which the handle did not show.
#[tokio::test(start_paused = true)]
async fn a_layer_with_the_store_of_its_stack_keeps_its_state() {
    let store = Server::new().store(1, &Settings::default());
    let circuit = CircuitBreakerLayer::new().name("a/b").store(store.clone());
    let handle = circuit.handle();
    let stack = ResilienceBuilder::new("a/b").circuit_breaker(circuit.clone()).store(store).build();
    handle.force_open();
    assert_eq!(stack.signals().snapshot().circuit_state, State::Open);
}

/// Regression: each of them was sent on its own.
#[tokio::test(start_paused = true)]
async fn the_waits_of_many_attempts_are_shared_together() {
    let server = Server::new();
    let layers = three(&server, SECOND).await;
    let messages = Arc::<AtomicUsize>::default();
    let counter = Arc::clone(&messages);
    let message = move || {
        counter.fetch_add(1, Ordering::Relaxed);
        MILLI
    };
    server.set_delays(Delays { message: Box::new(message), ..Delays::default() });
    let mut attempts = JoinSet::new();
    for number in 1..=200 {
        attempts.spawn(late_failure(&layers[0], ErrorCode::Overloaded, 60 * SECOND, number * MILLI));
    }
    attempts.join_all().await;
    sleep(SECOND).await;
    let sent = messages.load(Ordering::Relaxed);
    assert!((2..20).contains(&sent), "{sent} messages");
    let remaining = layers[1].handle().cooldown_remaining().expect("an open circuit");
    assert!(remaining > Duration::from_millis(58_900), "{remaining:?}");
}

/// One process probes, and the cooldown of another one ends a moment later, because the message was late. In
/// this moment the store is restarted, and the later one publishes the rest of its cooldown.
#[tokio::test(start_paused = true)]
async fn a_cooldown_that_is_published_again_does_not_end_the_turn_of_a_process_that_probes() {
    let server = Server::new();
    let layers = three(&server, SECOND).await;
    let provider = Provider::default();
    server.set_delays(Delays { message: Box::new(|| 500 * MILLI), ..Delays::default() });
    provider.fail(&layers[0]).await;
    sleep(SECOND + 10 * MILLI).await;
    server.set_delays(Delays::default());
    provider.take_turn(&layers[0]).await;
    let probes = [(); 2].map(|()| provider.start(&layers[0], 9 * SECOND));
    sleep(MILLI).await;
    assert_eq!((provider.in_flight(), layers[1].handle().state()), (2, State::Open));
    // The later process is connected again before the one that probes has published its turn.
    let mut order = [400 * MILLI, MILLI, MILLI].into_iter().cycle();
    server.set_delays(Delays { message: Box::new(move || order.next().unwrap()), ..Delays::default() });
    server.restart();
    for _ in 0..800 {
        sleep(10 * MILLI).await;
        assert!(!provider.call(&layers[1], SECOND).await);
    }
    for probe in probes {
        assert!(probe.await.unwrap());
    }
    assert_eq!(provider.most(), 2);
}

/// Requests, replies and messages have any delay, the store is restarted at any time, and calls come at any
/// time.
#[tokio::test(start_paused = true)]
async fn probes_never_exceed_their_number_whatever_the_delays_and_restarts() {
    let mut full = 0;
    for seed in 0..300 {
        let mut random = fastrand::Rng::with_seed(seed);
        let server = Server::new();
        let cooldown = random.u32(100..3000) * MILLI;
        let (layers, provider) = (three(&server, cooldown).await, Provider::default());
        let delay = |random: &mut fastrand::Rng, late_of_100: u32, late: u32| {
            let mut random = random.fork();
            move || {
                if random.u32(0..100) < late_of_100 {
                    random.u32(0..late) * MILLI
                } else {
                    random.u32(0..40) * MILLI
                }
            }
        };
        server.set_delays(Delays {
            request: Box::new(delay(&mut random, 5, 50)),
            reply: Box::new(delay(&mut random, 10, 9000)),
            message: Box::new(delay(&mut random, 10, 3000)),
        });
        Provider::default().fail(&layers[0]).await;
        sleep(cooldown + 3 * SECOND).await;
        let until = clock::now() + 30 * SECOND;
        let mut callers = JoinSet::new();
        for layer in layers.iter().cycle().take(9) {
            let (layer, provider, mut random) = (layer.clone(), provider.clone(), random.fork());
            callers.spawn(async move {
                while clock::now() < until {
                    provider.call(&layer, random.u32(1..4000) * MILLI).await;
                    sleep(random.u32(0..1500) * MILLI).await;
                }
            });
        }
        while clock::now() < until {
            sleep(random.u32(0..8000) * MILLI).await;
            server.stop();
            sleep(random.u32(0..500) * MILLI).await;
            server.restart();
        }
        callers.join_all().await;
        assert!(provider.most() <= 2, "{} probes at once with the seed {seed}", provider.most());
        full += u32::from(provider.most() == 2);
    }
    assert!(full > 200, "{full}");
}

/// Regression: the services of a layer that is `per_service()` shared their circuit through the store, and so
/// did the stacks of one builder.
#[tokio::test(start_paused = true)]
async fn services_with_their_own_circuit_share_it_with_those_of_other_processes() {
    let server = Server::new();
    let stacks = [0, 1].map(|process| {
        let layer = CircuitBreakerLayer::new().failure_threshold(1).cooldown(60 * SECOND).per_service();
        let builder = ResilienceBuilder::new("a/b").circuit_breaker(layer);
        let builder = builder.store(server.store(process, &Settings::default()));
        [builder.clone().build(), builder.build()]
    });
    let call = async |process: usize, stack: usize, status: u16| {
        let (inner, provider) = strict();
        provider.answer(status);
        stacks[process][stack].layer(inner).oneshot(request()).await.unwrap();
        sleep(SECOND).await;
    };
    for (process, stack) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        call(process, stack, 200).await;
    }
    call(0, 1, 503).await;
    let states =
        [0, 1].map(|process| [0, 1].map(|stack| stacks[process][stack].signals().snapshot().circuit_state));
    assert_eq!(states, [[State::Closed, State::Open]; 2]);
}

/// Regression: what is only observed opened the circuits of processes that reject calls.
#[tokio::test(start_paused = true)]
async fn a_circuit_in_shadow_mode_is_shared_with_others_in_shadow_mode() {
    for (opened, other) in [(true, true), (true, false), (false, true), (false, false)] {
        let server = Server::new();
        let [opened, other] = [(0, opened), (1, other)].map(|(process, shadow)| {
            let layer = CircuitBreakerLayer::new().failure_threshold(1).cooldown(60 * SECOND).shadow(shadow);
            (shadow, layer.name("a/b").store(server.store(process, &Settings::default())))
        });
        assert!(Provider::default().call(&other.1, MILLI).await);
        sleep(SECOND).await;
        Provider::default().fail(&opened.1).await;
        sleep(SECOND).await;
        let expected = if opened.0 == other.0 { State::Open } else { State::Closed };
        assert_eq!(other.1.handle().state(), expected, "{} {}", opened.0, other.0);
    }
}

/// Regression: the turn lasted in the store as long as the lease of a probe.
#[tokio::test(start_paused = true)]
async fn a_circuit_that_is_forced_ends_its_turn() {
    for force in [Handle::force_open, Handle::force_closed] {
        let server = Server::new();
        let (layers, provider) = three_half_open(&server, SECOND).await;
        provider.take_turn(&layers[0]).await;
        force(&layers[0].handle());
        sleep(SECOND).await;
        provider.take_turn(&layers[1]).await;
        assert!(provider.call(&layers[1], MILLI).await);
    }
}

#[tokio::test(start_paused = true)]
async fn a_circuit_that_is_forced_while_it_probes_keeps_its_turn() {
    let server = Server::new();
    let (layers, provider) = three_half_open(&server, SECOND).await;
    provider.take_turn(&layers[0]).await;
    let probe = provider.start(&layers[0], 10 * SECOND);
    sleep(MILLI).await;
    layers[0].handle().force_open();
    layers[0].handle().force_open();
    for _ in 0..5 {
        sleep(SECOND).await;
        assert!(!provider.call(&layers[1], MILLI).await);
    }
    assert!(probe.await.unwrap() && provider.most() == 1);
}

/// Regression: its circuit stayed closed, and all its calls were sent beside the probes.
#[tokio::test(start_paused = true)]
async fn a_process_that_reads_the_state_after_the_cooldown_probes_in_its_turn() {
    let server = Server::new();
    let (layers, provider) = (three(&server, SECOND).await, Provider::default());
    // One misses the message and is connected again, and one is new.
    let mut delays = [60 * SECOND, MILLI].into_iter().cycle();
    server.set_delays(Delays { message: Box::new(move || delays.next().unwrap()), ..Delays::default() });
    provider.fail(&layers[0]).await;
    sleep(SECOND + 100 * MILLI).await;
    assert_eq!(layers[1].handle().state(), State::Closed);
    server.set_delays(Delays::default());
    provider.take_turn(&layers[0]).await;
    let probe = provider.start(&layers[0], 10 * SECOND);
    sleep(MILLI).await;
    assert_eq!(provider.in_flight(), 1);
    let settings = Settings { mode: OnUnavailable::Closed, ..Settings::default() };
    let late = CircuitBreakerLayer::new().name("a/b").store(server.store(3, &settings));
    assert!(Provider::default().call(&late, MILLI).await, "the first call does not wait for the store");
    server.reconnect();
    sleep(10 * MILLI).await;
    for layer in [&layers[1], &late].into_iter().cycle().take(100) {
        assert!(!provider.call(layer, MILLI).await);
        sleep(10 * MILLI).await;
    }
    assert!(probe.await.unwrap());
}

/// Regression: a circuit that no process had called for so long that the store had dropped it was open for
/// another cooldown.
#[tokio::test(start_paused = true)]
async fn a_circuit_that_was_idle_for_long_is_probed_soon() {
    for (idle, grace) in [(600 * SECOND, 60 * SECOND), (7_200 * SECOND, 5 * SECOND)] {
        let server = Server::new();
        let (layers, provider) = three_half_open(&server, 60 * SECOND).await;
        sleep(idle).await;
        server.restart();
        sleep(10 * MILLI).await;
        let start = clock::now();
        while !provider.call(&layers[0], MILLI).await {
            assert!(clock::now() < start + 2 * grace, "{idle:?}");
            sleep(100 * MILLI).await;
        }
        assert!(clock::now() >= start + grace, "{idle:?}");
    }
}

/// The first process opens its circuit, which the store has a record of, and the store is down for so long.
async fn open_without_store(server: &Server, layers: &[CircuitBreakerLayer], down: Duration) {
    layers[0].handle().reset();
    sleep(SECOND).await;
    server.stop();
    Provider::default().fail(&layers[0]).await;
    sleep(down).await;
    server.resume();
}

/// Regression: one `closed` of the store that was older closed the circuit in the middle of its cooldown, or
/// without a probe after that.
#[tokio::test(start_paused = true)]
async fn an_opening_that_did_not_reach_the_store_holds() {
    // The store is down for so long, and then the connection is lost or not.
    for (down, is_reconnected) in [(60, false), (60, true), (3_000, false), (3_000, true)] {
        let server = Server::new();
        let (layers, provider) = (three(&server, 2 * SECOND).await, Provider::default());
        open_without_store(&server, &layers, down * MILLI).await;
        if is_reconnected {
            server.reconnect();
        }
        sleep(SECOND).await;
        let mut calls = JoinSet::new();
        for number in 0..30 {
            let (layer, provider) = (layers[number % 3].clone(), provider.clone());
            calls.spawn(async move {
                sleep(number as u32 * 10 * MILLI).await;
                provider.call(&layer, 60 * SECOND).await
            });
        }
        sleep(SECOND).await;
        let most = if down < 2_000 { 0 } else { 2 };
        assert_eq!(provider.most(), most, "{down} {is_reconnected}");
        for layer in &layers {
            assert_ne!(layer.handle().state(), State::Closed, "{down} {is_reconnected}");
        }
    }
}

/// Regression: an opening of which the store had no record was sent again, and not published.
#[tokio::test(start_paused = true)]
async fn an_opening_that_is_sent_again_reaches_every_process() {
    for is_known in [false, true] {
        let server = Server::new();
        let layers = three(&server, 60 * SECOND).await;
        if is_known {
            layers[0].handle().reset();
            sleep(SECOND).await;
        }
        server.stop();
        Provider::default().fail(&layers[0]).await;
        sleep(SECOND).await;
        server.resume();
        sleep(2 * SECOND).await;
        assert!(layers.iter().all(|layer| layer.handle().state() == State::Open), "{is_known}");
    }
}

/// Regression: an opening from before it undid a reset.
#[tokio::test(start_paused = true)]
async fn an_opening_that_is_sent_again_much_later_opens_no_circuit_that_was_closed() {
    let server = Server::new();
    let layers = three(&server, 600 * SECOND).await;
    open_without_store(&server, &layers, 120 * SECOND).await;
    // The message is lost.
    server.set_delays(Delays { message: Box::new(|| 600 * SECOND), ..Delays::default() });
    layers[1].handle().reset();
    sleep(SECOND).await;
    server.set_delays(Delays::default());
    server.reconnect();
    sleep(SECOND).await;
    assert!(layers.iter().all(|layer| layer.handle().state() == State::Closed));
}

/// Regression: a reset that did not reach the store was one of its process alone.
#[tokio::test(start_paused = true)]
async fn a_reset_that_did_not_reach_the_store_is_sent_again() {
    // The store is down for so long, and then the connection is lost or not.
    for (down, is_reconnected) in [(SECOND, false), (120 * SECOND, true)] {
        let server = Server::new();
        let layers = three(&server, 600 * SECOND).await;
        Provider::default().fail(&layers[0]).await;
        sleep(SECOND).await;
        assert!(layers.iter().all(|layer| layer.handle().state() == State::Open));
        server.stop();
        layers[1].handle().reset();
        sleep(down).await;
        server.resume();
        if is_reconnected {
            server.reconnect();
        }
        sleep(2 * SECOND).await;
        assert!(layers.iter().all(|layer| layer.handle().state() == State::Closed), "{down:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_reset_that_is_sent_again_closes_no_circuit_that_was_opened_after_it() {
    let server = Server::new();
    let layers = three(&server, 600 * SECOND).await;
    server.stop();
    layers[1].handle().reset();
    sleep(SECOND).await;
    Provider::default().fail(&layers[0]).await;
    sleep(120 * SECOND).await;
    server.resume();
    server.reconnect();
    sleep(2 * SECOND).await;
    assert!(layers.iter().all(|layer| layer.handle().state() == State::Open));
}

/// Regression: as above, if the store did not reply for more than a minute.
#[tokio::test(start_paused = true)]
async fn an_opening_that_did_not_reach_the_store_for_long_holds() {
    for is_reconnected in [true, false] {
        let server = Server::new();
        let layers = three(&server, 600 * SECOND).await;
        open_without_store(&server, &layers, 120 * SECOND).await;
        if is_reconnected {
            server.reconnect();
            sleep(SECOND).await;
        } else {
            sleep(600 * SECOND).await;
            assert!(!Provider::default().call(&layers[0], MILLI).await, "it is not its turn");
            sleep(100 * MILLI).await;
        }
        for layer in &layers {
            assert_ne!(layer.handle().state(), State::Closed, "{is_reconnected}");
            assert_eq!(layer.handle().state() == State::Open, is_reconnected);
        }
    }
}

/// As above, with a wait that came while the circuit was open.
#[tokio::test(start_paused = true)]
async fn a_wait_that_did_not_reach_the_store_is_sent_again() {
    let server = Server::new();
    let layers = three(&server, SECOND).await;
    let late = tokio::spawn(late_failure(&layers[0], ErrorCode::Overloaded, 60 * SECOND, 100 * MILLI));
    sleep(MILLI).await;
    Provider::default().fail(&layers[0]).await;
    sleep(50 * MILLI).await;
    server.stop();
    late.await.unwrap();
    sleep(200 * MILLI).await;
    server.resume();
    sleep(2 * SECOND).await;
    assert!(!Provider::default().call(&layers[1], MILLI).await, "its cooldown was a second");
    sleep(100 * MILLI).await;
    assert!(layers[1].handle().cooldown_remaining() > Some(50 * SECOND));
}

/// Regression: no other process probed for as long as the turn lasted in the store, which is 62 s by default.
#[tokio::test(start_paused = true)]
async fn a_closing_that_did_not_reach_the_store_is_sent_again() {
    let server = Server::new();
    let settings = Settings { mode: OnUnavailable::Closed, ..Settings::default() };
    let layers: [_; 2] = server.processes(&settings, |store| {
        let layer = CircuitBreakerLayer::new().failure_threshold(1).success_threshold(1).cooldown(SECOND);
        layer.name("a/b").store(store)
    });
    let provider = Provider::default();
    for layer in &layers {
        assert!(provider.call(layer, MILLI).await);
    }
    half_open(&layers, SECOND).await;
    provider.take_turn(&layers[0]).await;
    let probe = provider.start(&layers[0], 20 * MILLI);
    sleep(MILLI).await;
    server.stop();
    assert!(probe.await.unwrap());
    sleep(60 * MILLI).await;
    server.resume();
    sleep(SECOND).await;
    assert_eq!([0, 1].map(|process: usize| layers[process].handle().state()), [State::Closed; 2]);
}

/// Regression: the new circuit of a process that was reloaded while it probed stayed closed, and sent all its
/// calls beside the probes.
#[tokio::test(start_paused = true)]
async fn a_new_circuit_of_a_process_that_probes_is_not_closed() {
    let server = Server::new();
    let (layers, provider) = three_half_open(&server, SECOND).await;
    provider.take_turn(&layers[0]).await;
    let probe = provider.start(&layers[0], 10 * SECOND);
    sleep(MILLI).await;
    let new = CircuitBreakerLayer::new().name("a/b").store(server.store(0, &Settings::default()));
    assert!(Provider::default().call(&new, MILLI).await, "the first call does not wait for the store");
    sleep(10 * MILLI).await;
    assert_ne!(new.handle().state(), State::Closed);
    assert!(probe.await.unwrap());
}
