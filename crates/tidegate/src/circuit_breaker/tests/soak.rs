//! Two threads of random calls and provider faults, after which no probe may be left.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::{Request, Response};
use http_body_util::BodyExt;
use tower::{Layer, Service, service_fn};

use super::SECOND;
use crate::circuit_breaker::{CircuitBreakerLayer, Handle, State};
use crate::testing::{complete, expect_scripted, paused, request, scripted_panic};
use crate::{BoxError, Payload};

const CALLS: u32 = 50_000;
const PROBES: u32 = 3;

/// What the provider does.
async fn respond(act: u8) -> Result<Response<Payload>, BoxError> {
    let status = match act % 16 {
        0 => scripted_panic(),
        1 => std::future::pending().await,
        2..5 => return Err("connection reset".into()),
        5..7 => 503,
        7 => {
            tokio::task::yield_now().await;
            429
        }
        8 => 400,
        9 => {
            tokio::time::sleep(SECOND).await;
            200
        }
        _ => 200,
    };
    Ok(Response::builder().status(status).body(Payload::from("answer")).unwrap())
}

/// Calls, polls a few times, reads the response or not, and drops everything.
fn call_and_drop(layer: &CircuitBreakerLayer, random: &mut fastrand::Rng) {
    let act = random.u8(..);
    let mut service = layer.layer(service_fn(move |_: Request<Payload>| {
        if act == 255 {
            scripted_panic();
        }
        respond(act)
    }));
    let mut cx = Context::from_waker(Waker::noop());
    let mut call = pin!(service.call(request()));
    for _ in 0..random.u8(..4) {
        if let Poll::Ready(response) = call.as_mut().poll(&mut cx) {
            if let (Ok(response), true) = (response, random.bool()) {
                let _ = pin!(response.into_body().collect()).poll(&mut cx);
            }
            return;
        }
    }
}

/// Runs a thread with its own paused clock. The circuit sees the time jump back and forth by the difference
/// of the two clocks.
fn run(layer: &CircuitBreakerLayer, seed: u64) -> [u32; 3] {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut seen = [0; 3];
    paused().block_on(async {
        for _ in 0..CALLS {
            catch_unwind(AssertUnwindSafe(|| call_and_drop(layer, &mut random)))
                .unwrap_or_else(expect_scripted);
            let snapshot = layer.handle().snapshot();
            assert!(snapshot.probes <= PROBES as usize);
            seen[snapshot.state as usize] += 1;
            if random.u8(..) < 16 {
                tokio::time::advance(SECOND).await;
            }
        }
    });
    seen
}

fn soak(layer: CircuitBreakerLayer) -> Handle {
    // No lease ends, so every probe that ends must have released its slot.
    let layer = layer.half_open_max(PROBES).success_threshold(4).cooldown(SECOND).probe_lease(Duration::MAX);
    let seen = std::thread::scope(|scope| {
        [1, 2]
            .map(|seed| {
                scope.spawn({
                    let layer = &layer;
                    move || run(layer, seed)
                })
            })
            .map(|thread| thread.join().unwrap())
    });
    // The interleaving of the threads is random, but each state occurs far more often than this.
    let seen = [0, 1, 2].map(|state| seen.iter().map(|seen| seen[state]).sum::<u32>());
    assert!(seen.iter().all(|times| *times > 100), "closed, open and half-open were all seen: {seen:?}");
    assert_eq!(layer.handle().snapshot().probes, 0, "all probes are back");
    // A provider that has recovered is admitted again.
    paused().block_on(async {
        tokio::time::advance(100_000 * SECOND).await;
        let mut service = layer.layer(service_fn(async |_: Request<Payload>| {
            Ok::<_, BoxError>(Response::new(Payload::empty()))
        }));
        for _ in 0..4 {
            complete(&mut service).await.unwrap();
        }
    });
    assert_eq!(layer.handle().state(), State::Closed);
    layer.handle()
}

#[test]
fn two_threads_of_random_calls_leave_no_probe_behind() {
    soak(CircuitBreakerLayer::new());
}

#[test]
fn two_threads_with_rates_growth_and_ramps_leave_no_probe_behind() {
    soak(
        CircuitBreakerLayer::new()
            .failure_threshold(u32::MAX)
            .failure_rate_threshold(0.3)
            .slow_call_threshold(SECOND)
            .sliding_window(10 * SECOND)
            .cooldown_growth(1.5)
            .max_cooldown(4 * SECOND)
            .cooldown_jitter(0.5)
            .ramp_up(2 * SECOND),
    );
}
