//! Measures the overhead of the stack for a successful call, the cost of a rejection, and the throughput of
//! two threads through one stack compared with one.
//!
//!     cargo bench -p tidegate-benches --bench overhead
//!
//! Compare the ratios, not the nanoseconds. The peer is a hand-written combination of governor and recloser,
//! the fastest crates of their kind: no retry, no concurrency limit, no stream handling.

use std::future::Future;
use std::hint::black_box;
use std::num::NonZeroU32;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use governor::{Quota, RateLimiter};
use http::Request;
use tidegate::{
    BackpressureLayer, CircuitBreakerLayer, HttpService, Payload, RateLimitLayer, ResilienceBuilder,
    RetryLayer,
};
use tidegate_benches::{bare_request, provider, scaling, usual_request};
use tower::Layer;

const UNREACHED: u32 = 1_000_000_000;

fn stack() -> ResilienceBuilder {
    ResilienceBuilder::new("openai/gpt-4o")
        .retry(RetryLayer::exponential())
        .backpressure(BackpressureLayer::max_inflight(50))
        .rate_limit(RateLimitLayer::per_second(UNREACHED))
        .circuit_breaker(CircuitBreakerLayer::new())
}

/// Polls one call by hand to the head of its response and drops the body. There is no runtime in the
/// measurement.
fn run<S: HttpService<Payload>>(service: &mut S, request: Request<Payload>) {
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    let _ = black_box(service.poll_ready(&mut cx));
    let mut call = std::pin::pin!(service.call(request));
    let _ = black_box(call.as_mut().poll(&mut cx));
}

fn overhead(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let _context = runtime.enter();
    for (size, request) in [("bare", bare_request as fn() -> _), ("usual", usual_request)] {
        let mut group = c.benchmark_group(format!("a call that goes well, {size} request"));
        let mut bare = provider();
        group.bench_function("no layer", |b| b.iter(|| run(&mut bare, request())));
        let mut whole = stack().service(provider());
        group.bench_function("tidegate, whole stack", |b| b.iter(|| run(&mut whole, request())));
        let mut disabled = ResilienceBuilder::new("").service(provider());
        group.bench_function("tidegate, all parts off", |b| b.iter(|| run(&mut disabled, request())));
        let mut alone = RetryLayer::exponential().layer(provider());
        group.bench_function("tidegate, retry alone", |b| b.iter(|| run(&mut alone, request())));
        let mut alone = BackpressureLayer::max_inflight(50).layer(provider());
        group.bench_function("tidegate, backpressure alone", |b| b.iter(|| run(&mut alone, request())));
        let mut alone = RateLimitLayer::per_second(UNREACHED).layer(provider());
        group.bench_function("tidegate, rate limit alone", |b| b.iter(|| run(&mut alone, request())));
        let mut alone = CircuitBreakerLayer::new().layer(provider());
        group.bench_function("tidegate, circuit breaker alone", |b| b.iter(|| run(&mut alone, request())));
        let limiter = RateLimiter::direct(Quota::per_second(NonZeroU32::new(UNREACHED).expect("not zero")));
        let breaker = recloser::Recloser::custom().build();
        let mut bare = provider();
        group.bench_function("governor and recloser by hand", |b| {
            b.iter(|| {
                if limiter.check().is_ok() {
                    let _ = black_box(breaker.call(|| {
                        run(&mut bare, request());
                        Ok::<_, ()>(())
                    }));
                }
            })
        });
        group.finish();
    }
}

fn rejection(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let _context = runtime.enter();
    let mut group = c.benchmark_group("a refusal");
    let layer = CircuitBreakerLayer::new().failure_threshold(1).cooldown(Duration::from_secs(3_600));
    let failing = tower::service_fn(|_: Request<Payload>| {
        let mut response = http::Response::new(Payload::empty());
        *response.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE;
        std::future::ready(Ok::<_, tidegate::BoxError>(response))
    });
    let mut open = layer.layer(failing);
    run(&mut open, bare_request());
    let mut bare = provider();
    group.bench_function("no layer", |b| b.iter(|| run(&mut bare, bare_request())));
    group.bench_function("tidegate, open circuit", |b| b.iter(|| run(&mut open, bare_request())));
    group.finish();
}

/// Two threads, each with a clone of one service.
fn threads(_: &mut Criterion) {
    fn shared<S: HttpService<Payload> + Clone + Sync>(name: &str, service: &S) {
        scaling(name, || {
            let mut service = service.clone();
            move || run(&mut service, bare_request())
        });
    }
    shared("no layer", &provider());
    shared("retry alone", &RetryLayer::exponential().layer(provider()));
    shared("backpressure alone", &BackpressureLayer::max_inflight(50).layer(provider()));
    shared("rate limit alone", &RateLimitLayer::per_second(UNREACHED).layer(provider()));
    shared("circuit breaker alone", &CircuitBreakerLayer::new().layer(provider()));
    shared("whole stack", &stack().service(provider()));
}

criterion_group!(benches, overhead, rejection, threads);
criterion_main!(benches);
