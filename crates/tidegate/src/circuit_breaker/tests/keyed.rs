//! A circuit per key.

use http::{Request, header};
use tidegate_testkit::strict::Answer;
use tower::Layer;

use super::SECOND;
use crate::circuit_breaker::{CircuitBreaker, CircuitBreakerLayer, OpenBudget, State};
use crate::testing::{rejection, send, strict};
use crate::{HttpService, KeyBy, Payload, RejectionReason};

fn request_as(caller: &str) -> Request<Payload> {
    Request::post("http://provider/").header(header::AUTHORIZATION, caller).body(Payload::empty()).unwrap()
}

async fn send_as<S: HttpService<Payload>>(service: &mut CircuitBreaker<S>, caller: &str) -> Option<u16> {
    let response = send(service, request_as(caller)).await.ok()?;
    let status = response.status().as_u16();
    http_body_util::BodyExt::collect(response.into_body()).await.ok()?;
    Some(status)
}

fn layer() -> CircuitBreakerLayer {
    CircuitBreakerLayer::new().failure_threshold(1).key_by(KeyBy::credential())
}

#[tokio::test(start_paused = true)]
async fn one_exhausted_account_does_not_block_other_callers() {
    let (inner, provider) = strict();
    let layer = layer();
    let (circuit, mut service) = (layer.handle(), layer.layer(inner));
    provider.answer(402);
    assert_eq!(send_as(&mut service, "exhausted").await, Some(402));
    assert_eq!(send_as(&mut service, "exhausted").await, None);
    assert_eq!(send_as(&mut service, "funded").await, Some(200));
    assert_eq!((circuit.keys(), provider.calls()), (2, 2));
    let state = |caller| circuit.of(&request_as(caller)).map(|circuit| circuit.state());
    assert_eq!(
        [state("exhausted"), state("funded"), state("unknown")],
        [Some(State::Open), Some(State::Closed), None]
    );
    assert_eq!(
        (circuit.state(), circuit.peek()),
        (State::Closed, None),
        "the circuit of the layer represents no key"
    );
}

#[tokio::test(start_paused = true)]
async fn forced_states_apply_to_every_key_and_to_new_keys() {
    let (inner, provider) = strict();
    let layer = layer();
    let (circuit, mut service) = (layer.handle(), layer.layer(inner));
    let mut changes = circuit.subscribe();
    assert_eq!(send_as(&mut service, "a").await, Some(200));
    circuit.force_open();
    assert_eq!(
        rejection(send(&mut service, request_as("a")).await).reason(),
        RejectionReason::CircuitForcedOpen
    );
    assert_eq!(
        rejection(send(&mut service, request_as("b")).await).reason(),
        RejectionReason::CircuitForcedOpen
    );
    circuit.reset();
    assert_eq!((send_as(&mut service, "a").await, send_as(&mut service, "b").await), (Some(200), Some(200)));
    while changes.try_next().is_some() {}
    provider.answer(503);
    send_as(&mut service, "a").await;
    assert_eq!(changes.try_next().unwrap().to, State::Open, "listeners receive the changes of every key");
}

#[tokio::test(start_paused = true)]
async fn keys_are_bounded_and_keys_in_the_initial_state_are_dropped_first() {
    let (inner, provider) = strict();
    let layer = layer().max_keys(100);
    let (circuit, mut service) = (layer.handle(), layer.layer(inner));
    provider.answer(503);
    send_as(&mut service, "bad").await;
    for caller in 0..50 {
        send_as(&mut service, &format!("good {caller}")).await;
    }
    tokio::time::advance(61 * SECOND).await;
    send_as(&mut service, "new").await;
    assert_eq!(circuit.keys(), 2, "the open one, and the new one");
    provider.otherwise(Answer::status(503));
    for caller in 0..10_000 {
        send_as(&mut service, &format!("bad {caller}")).await;
    }
    assert!(circuit.keys() <= 100, "{}", circuit.keys());
}

/// A new circuit has no wait of the provider, no growth of the cooldown and no ramp.
#[tokio::test(start_paused = true)]
async fn a_closed_circuit_that_differs_from_a_new_one_is_kept() {
    let (ok, failing) = (|| Answer::status(200), || Answer::status(503));
    for (name, layer, answers, wait) in [
        ("a wait", layer(), vec![failing().header("retry-after", "300").after(SECOND)], 60),
        ("growth", layer().cooldown(100 * SECOND).cooldown_growth(2.0), vec![failing(), ok()], 0),
        ("a ramp", layer().cooldown(SECOND).ramp_up(600 * SECOND), vec![failing(), ok()], 61),
    ] {
        let (inner, provider) = strict();
        let (circuit, mut service) = (layer.handle(), layer.layer(inner));
        for answer in answers {
            provider.then(answer);
            let cooldown = circuit.of(&request_as("a")).and_then(|circuit| circuit.cooldown_remaining());
            tokio::time::sleep(cooldown.unwrap_or_default()).await;
            // The failure of a call that was in flight at a reset opens nothing, and its wait holds.
            let reset = async {
                tokio::task::yield_now().await;
                if name == "a wait" {
                    circuit.reset();
                }
            };
            let (status, ()) = tokio::join!(send_as(&mut service, "a"), reset);
            status.unwrap();
        }
        for (wait, new_key, is_kept) in [(wait, "b", true), (1_000, "c", false)] {
            tokio::time::sleep(wait * SECOND).await;
            send_as(&mut service, new_key).await.unwrap();
            let of_key = circuit.of(&request_as("a"));
            assert_eq!(of_key.map(|circuit| circuit.state()), is_kept.then_some(State::Closed), "{name}");
        }
    }
}

/// Regression: the counts of keys that were dropped were lost.
#[tokio::test(start_paused = true)]
async fn the_counts_since_the_start_never_decrease() {
    let (inner, provider) = strict();
    provider.otherwise(Answer::status(503));
    for (layer, per_key) in [
        (layer().shadow(true), [2, 0]),
        (layer().open_budget(OpenBudget { per_second: 1_000.0, per_success: 0.0 }), [0, 2]),
    ] {
        let layer = layer.max_keys(2);
        let (circuit, mut service) = (layer.handle(), layer.layer(inner.clone()));
        for keys in 1..100 {
            for _ in 0..3 {
                send_as(&mut service, &keys.to_string()).await;
                tokio::time::advance(SECOND / 100).await;
            }
            let snapshot = circuit.snapshot();
            let counts = [snapshot.would_have_rejected, snapshot.admitted_while_open];
            assert_eq!(
                counts,
                per_key.map(|of_key| of_key * keys),
                "{keys} keys, of which {}",
                circuit.keys()
            );
            let own = circuit.of(&request_as(&keys.to_string())).unwrap().snapshot();
            assert_eq!([own.would_have_rejected, own.admitted_while_open], per_key);
        }
        assert!(circuit.keys() < 10);
    }
}

/// Regression: they were those of no call, and those of keys that were dropped were lost.
#[tokio::test(start_paused = true)]
async fn the_totals_of_the_layer_are_those_of_all_keys() {
    let (inner, provider) = strict();
    let layer = layer().max_keys(2);
    let (circuit, mut service) = (layer.handle(), layer.layer(inner));
    for keys in 1..50 {
        let caller = keys.to_string();
        provider.answer(200).after(SECOND);
        provider.answer(503).after(3 * SECOND);
        let statuses = [send_as(&mut service, &caller).await, send_as(&mut service, &caller).await];
        assert_eq!((statuses, send_as(&mut service, &caller).await), ([Some(200), Some(503)], None));
        let own = circuit.of(&request_as(&caller)).unwrap().metrics();
        assert_eq!((own.total_calls, own.total_failures, own.total_rejected), (3, 1, 1));
        let all = circuit.metrics();
        assert_eq!((all.total_calls, all.total_failures, all.total_rejected), (3 * keys, keys, keys));
        assert_eq!((all.state, all.consecutive_failures, all.window_size), (State::Open, 1, own.window_size));
        assert_eq!(all.avg_response_time, Some(2.0));
        assert_eq!((all.last_failure_time.is_some(), all.last_success_time.is_some()), (true, true));
    }
    circuit.reset();
    let reset = circuit.metrics();
    assert_eq!((reset.state, reset.total_failures, reset.consecutive_failures), (State::Closed, 49, 0));
    assert_eq!((reset.avg_response_time, reset.last_failure_time), (None, None));
}
