//! Two threads, each with a paused clock of its own, and all failure modes at once: at the end no permit is
//! in use.

use std::time::Duration;

use fastrand::Rng;
use http::{Request, Response};
use http_body_util::BodyExt;
use tokio::task::JoinSet;
use tower::{Layer, ServiceExt};

use super::super::{Aimd, BackpressureLayer, Handle, Order, Vegas};
use crate::testing::{expect_scripted, of_tenant, paused, scripted_panic, with};
use crate::{BoxError, KeyBy, Payload, Priority};

const CALLS: usize = 2_000;

/// Responds at once, later or never, with success, an error, a rejection or a panic, in `call` or in its
/// future.
async fn provider(request: Request<Payload>) -> Result<Response<Payload>, BoxError> {
    let seed = *request.extensions().get::<u64>().unwrap();
    tokio::time::sleep(Duration::from_millis(seed % 50)).await;
    match seed % 7 {
        0 => Err("connection reset".into()),
        1 => Ok(Response::builder().status(429).body(Payload::empty()).unwrap()),
        2 => scripted_panic(),
        3 => std::future::pending().await,
        _ => Ok(Response::new(Payload::from("a few bytes"))),
    }
}

/// One caller: sends a request, waits for a random time, and reads the response or drops it.
async fn call(layer: BackpressureLayer, mut random: Rng) {
    let service = layer.layer(tower::service_fn(|request: Request<Payload>| {
        if request.extensions().get::<u64>().unwrap().is_multiple_of(11) {
            scripted_panic();
        }
        provider(request)
    }));
    let request = with(of_tenant(&random.u8(0..3).to_string()), random.u64(..));
    let request = with(request, if random.bool() { Priority::Interactive } else { Priority::Batch });
    let timeout = Duration::from_millis(random.u64(0..100));
    if let Ok(Ok(response)) = tokio::time::timeout(timeout, service.oneshot(request)).await {
        tokio::time::sleep(Duration::from_millis(random.u64(0..20))).await;
        if random.bool() {
            response.into_body().collect().await.unwrap();
        }
    }
}

/// The work of one thread, which changes the limit up to `max_limit`.
fn thread(layer: &BackpressureLayer, max_limit: usize, seed: u64) {
    let mut random = Rng::with_seed(seed);
    paused().block_on(async {
        let mut calls = JoinSet::new();
        for _ in 0..CALLS {
            calls.spawn(call(layer.clone(), random.fork()));
            match random.u8(0..8) {
                0 => layer.handle().set_limit(random.usize(1..=max_limit)),
                1 => calls.abort_all(),
                2 => tokio::time::sleep(Duration::from_millis(random.u64(0..30))).await,
                _ => tokio::task::yield_now().await,
            }
        }
        while let Some(result) = calls.join_next().await {
            if let Err(error) = result
                && let Ok(panic) = error.try_into_panic()
            {
                expect_scripted(panic);
            }
        }
    });
}

fn soak(name: &str, layer: &BackpressureLayer, max_limit: usize) {
    std::thread::scope(|scope| {
        for seed in [1, 2] {
            scope.spawn(move || thread(layer, max_limit, seed));
        }
    });
    let gate: Handle = layer.handle();
    assert_eq!((gate.in_flight(), gate.queued()), (0, 0), "{name}");
}

#[test]
fn after_random_drops_and_panics_on_two_threads_no_permit_is_in_use() {
    let layer = BackpressureLayer::max_inflight(3).max_queued(8).queue_timeout(Duration::from_millis(40));
    soak("fixed", &layer, 5);
    soak("kept by threads", &layer, 60);
    soak("newest first", &layer.clone().order(Order::NewestFirstUnderOverload), 5);
    soak("aimd", &layer.clone().adaptive(Aimd::new()), 5);
    soak("vegas by key", &layer.clone().adaptive(Vegas::new()).key_by(KeyBy::tenant()), 5);
    soak("by key", &layer.key_by(KeyBy::tenant()), 5);
}
