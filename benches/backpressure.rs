//! Measures the cost of a concurrency limit for an accepted call and for a rejected one. `speed` has two
//! threads.
//!
//!     cargo bench -p tidegate-benches --bench backpressure
//!
//! Compare the ratios, not the nanoseconds. The peers release their permit at the response head. tidegate
//! releases it at the end of the body, which is here at its end from the start.

use std::future::{Future, Pending, pending};
use std::pin::pin;
use std::task::{Context, Waker};

use criterion::{Criterion, criterion_group, criterion_main};
use http::{HeaderName, Request};
use tidegate::backpressure::Gradient;
use tidegate::{BackpressureLayer, KeyBy, Payload};
use tidegate_benches::{ProviderResult, bare_request, call, provider, runtime};
use tower::limit::ConcurrencyLimitLayer;
use tower::util::ServiceFn;
use tower::{Layer, Service};
use tower_resilience_bulkhead::BulkheadLayer;

const LIMIT: usize = 50;

fn peer(limit: usize) -> BulkheadLayer {
    BulkheadLayer::builder()
        .max_concurrent_calls(limit)
        .reject_when_full()
        .build()
        .expect("a limit above zero")
}

fn cost(c: &mut Criterion) {
    let runtime = runtime();
    let _context = runtime.enter();
    let mut group = c.benchmark_group("a call within the limit");
    let mut bare = provider();
    group.bench_function("no layer", |b| b.iter(|| call(&mut bare, bare_request())));
    let mut off = BackpressureLayer::disabled().layer(provider());
    group.bench_function("tidegate, disabled", |b| b.iter(|| call(&mut off, bare_request())));
    let mut fixed = BackpressureLayer::max_inflight(LIMIT).layer(provider());
    group.bench_function("tidegate", |b| b.iter(|| call(&mut fixed, bare_request())));
    let mut adaptive = BackpressureLayer::max_inflight(LIMIT).adaptive(Gradient::new()).layer(provider());
    group.bench_function("tidegate, adaptive", |b| b.iter(|| call(&mut adaptive, bare_request())));
    let by = KeyBy::header(HeaderName::from_static("x-tenant"));
    let mut keyed = BackpressureLayer::max_inflight(LIMIT).key_by(by).layer(provider());
    group.bench_function("tidegate, by key", |b| b.iter(|| call(&mut keyed, bare_request())));
    let mut tower = ConcurrencyLimitLayer::new(LIMIT).layer(provider());
    group.bench_function("tower", |b| b.iter(|| call(&mut tower, bare_request())));
    let mut resilience = peer(LIMIT).layer(provider());
    group.bench_function("tower-resilience", |b| b.iter(|| call(&mut resilience, bare_request())));
    group.finish();
}

/// A provider that never responds.
fn silent() -> ServiceFn<fn(Request<Payload>) -> Pending<ProviderResult>> {
    tower::service_fn(|_| pending())
}

fn rejection(c: &mut Criterion) {
    let runtime = runtime();
    let _context = runtime.enter();
    let mut cx = Context::from_waker(Waker::noop());
    let mut group = c.benchmark_group("a refusal");

    let mut full = BackpressureLayer::max_inflight(1).max_queued(0).layer(silent());
    let mut held = pin!(full.call(bare_request()));
    assert!(held.as_mut().poll(&mut cx).is_pending());
    group.bench_function("tidegate", |b| b.iter(|| call(&mut full, bare_request())));

    let mut full = peer(1).layer(silent());
    let mut held = pin!(full.call(bare_request()));
    assert!(held.as_mut().poll(&mut cx).is_pending());
    group.bench_function("tower-resilience", |b| b.iter(|| call(&mut full, bare_request())));
    group.finish();
}

criterion_group!(benches, cost, rejection);
criterion_main!(benches);
