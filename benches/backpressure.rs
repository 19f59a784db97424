//! Measures the cost of a concurrency limit for an accepted call and for a rejected one, and the throughput
//! of two threads compared with one.
//!
//!     cargo bench -p tidegate-benches --bench backpressure
//!
//! Compare the ratios, not the nanoseconds. The peers release their permit at the response head. tidegate
//! releases it at the end of the body, which is here at its end from the start.

use std::future::{Future, Pending, pending};
use std::hint::black_box;
use std::pin::pin;
use std::sync::Barrier;
use std::task::{Context, Waker};
use std::thread;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use http::{HeaderName, Request};
use tidegate::backpressure::Gradient;
use tidegate::provider::HttpService;
use tidegate::{BackpressureLayer, KeyBy, Payload};
use tidegate_benches::{ProviderResult, bare_request, provider};
use tower::limit::ConcurrencyLimitLayer;
use tower::util::ServiceFn;
use tower::{Layer, Service};
use tower_resilience_bulkhead::BulkheadLayer;

const LIMIT: usize = 50;

/// Polls one call by hand to the head of its response and drops the body. There is no runtime in the
/// measurement.
fn run<S: HttpService<Payload>>(service: &mut S, request: Request<Payload>) {
    let mut cx = Context::from_waker(Waker::noop());
    let _ = black_box(service.poll_ready(&mut cx));
    let mut call = pin!(service.call(request));
    let _ = black_box(call.as_mut().poll(&mut cx));
}

fn peer(limit: usize) -> BulkheadLayer {
    BulkheadLayer::builder()
        .max_concurrent_calls(limit)
        .reject_when_full()
        .build()
        .expect("a limit above zero")
}

fn cost(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let _context = runtime.enter();
    let mut group = c.benchmark_group("a call within the limit");
    let mut bare = provider();
    group.bench_function("no layer", |b| b.iter(|| run(&mut bare, bare_request())));
    let mut off = BackpressureLayer::disabled().layer(provider());
    group.bench_function("tidegate, disabled", |b| b.iter(|| run(&mut off, bare_request())));
    let mut fixed = BackpressureLayer::max_inflight(LIMIT).layer(provider());
    group.bench_function("tidegate", |b| b.iter(|| run(&mut fixed, bare_request())));
    let mut adaptive = BackpressureLayer::max_inflight(LIMIT).adaptive(Gradient::new()).layer(provider());
    group.bench_function("tidegate, adaptive", |b| b.iter(|| run(&mut adaptive, bare_request())));
    let by = KeyBy::header(HeaderName::from_static("x-tenant"));
    let mut keyed = BackpressureLayer::max_inflight(LIMIT).key_by(by).layer(provider());
    group.bench_function("tidegate, by key", |b| b.iter(|| run(&mut keyed, bare_request())));
    let mut tower = ConcurrencyLimitLayer::new(LIMIT).layer(provider());
    group.bench_function("tower", |b| b.iter(|| run(&mut tower, bare_request())));
    let mut resilience = peer(LIMIT).layer(provider());
    group.bench_function("tower-resilience", |b| b.iter(|| run(&mut resilience, bare_request())));
    group.finish();
}

/// A provider that never responds.
fn silent() -> ServiceFn<fn(Request<Payload>) -> Pending<ProviderResult>> {
    tower::service_fn(|_| pending())
}

fn rejection(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let _context = runtime.enter();
    let mut cx = Context::from_waker(Waker::noop());
    let mut group = c.benchmark_group("a refusal");

    let mut full = BackpressureLayer::max_inflight(1).max_queued(0).layer(silent());
    let mut held = pin!(full.call(bare_request()));
    assert!(held.as_mut().poll(&mut cx).is_pending());
    group.bench_function("tidegate", |b| b.iter(|| run(&mut full, bare_request())));

    let mut full = peer(1).layer(silent());
    let mut held = pin!(full.call(bare_request()));
    assert!(held.as_mut().poll(&mut cx).is_pending());
    group.bench_function("tower-resilience", |b| b.iter(|| run(&mut full, bare_request())));
    group.finish();
}

/// The time of `calls` calls that are divided among `threads` threads.
fn shared<S>(service: &S, threads: u64, calls: u64) -> Duration
where
    S: HttpService<Payload> + Clone + Send + Sync,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let barrier = Barrier::new(threads as usize);
    let each = || {
        let _context = runtime.enter();
        let mut service = service.clone();
        barrier.wait();
        let start = Instant::now();
        for _ in 0..calls.div_ceil(threads) {
            run(&mut service, bare_request());
        }
        (start, Instant::now())
    };
    thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(each)).collect();
        let mine = each();
        // Measured from the first start to the last end. Otherwise threads that ran one after the other would
        // look concurrent.
        let whole = |(start, end): (Instant, Instant), (began, ended)| (start.min(began), end.max(ended));
        let (start, end) = others.into_iter().filter_map(|other| other.join().ok()).fold(mine, whole);
        end - start
    })
}

fn threads(c: &mut Criterion) {
    fn compare<S>(c: &mut Criterion, name: &str, service: &S)
    where
        S: HttpService<Payload> + Clone + Send + Sync,
    {
        let mut group = c.benchmark_group(format!("threads through one limit, {name}"));
        // Few long samples, because starting the threads takes longer than many calls.
        group.sample_size(10);
        for (id, threads) in [("one", 1), ("two", 2)] {
            group.bench_function(id, |b| b.iter_custom(|calls| shared(service, threads, calls)));
        }
        group.finish();
    }
    compare(c, "no layer", &provider());
    compare(c, "tidegate", &BackpressureLayer::max_inflight(LIMIT).layer(provider()));
    compare(c, "tower", &ConcurrencyLimitLayer::new(LIMIT).layer(provider()));
    compare(c, "tower-resilience", &peer(LIMIT).layer(provider()));
}

criterion_group!(benches, cost, rejection, threads);
criterion_main!(benches);
