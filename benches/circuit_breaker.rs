//! Measures the cost of a closed and of an open circuit. `speed` has two threads on one circuit.
//!
//!     cargo bench -p tidegate-benches --bench circuit_breaker
//!
//! Compare the ratios, not the nanoseconds. The peers have the same setting: open after five consecutive
//! failures. Their work differs. tidegate classifies status and headers and waits for the end of the body.
//! recloser and failsafe are called by hand around the call and classify nothing. tower-resilience classifies
//! the status.

use std::future::{Ready, ready};
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use failsafe::CircuitBreaker as _;
use http::{Request, Response, StatusCode};
use http_body::Body;
use tidegate::{BoxError, CircuitBreakerLayer, Payload};
use tidegate_benches::{bare_request, call_to_end, provider, runtime};
use tower::util::ServiceFn;
use tower::{Layer, Service};

const HOUR: Duration = Duration::from_secs(3_600);

/// Sends one call, to the end of its response. Returns whether it succeeded.
fn run<S, B>(service: &mut S) -> bool
where
    S: Service<Request<Payload>, Response = Response<B>>,
    B: Body,
{
    call_to_end(service, bare_request()).is_some()
}

type FailingFn = fn(Request<Payload>) -> Ready<Result<Response<Payload>, BoxError>>;

/// A provider that responds with 503.
fn failing() -> ServiceFn<FailingFn> {
    tower::service_fn(|_| {
        let mut response = Response::new(Payload::empty());
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        ready(Ok(response))
    })
}

fn consecutive() -> CircuitBreakerLayer {
    CircuitBreakerLayer::new().cooldown(HOUR)
}

/// A failure-rate window of `calls` calls. Its size must not affect the cost.
fn by_rates(calls: u32) -> CircuitBreakerLayer {
    consecutive().failure_rate_threshold(0.5).sliding_window_size(calls)
}

fn tower_resilience<S, B>(inner: S) -> impl Service<Request<Payload>, Response = Response<B>> + Clone + Sync
where
    S: Service<Request<Payload>, Response = Response<B>, Error = BoxError>,
    S: Clone + Send + Sync + 'static,
    S::Future: Send,
    B: Send + 'static,
{
    tower_resilience_circuitbreaker::CircuitBreakerLayer::builder()
        .consecutive_failures(5)
        .wait_duration_in_open(HOUR)
        .failure_classifier(|result: &Result<Response<B>, BoxError>| match result {
            Ok(response) => response.status().is_server_error(),
            Err(_) => true,
        })
        .build()
        .expect("settings that fit")
        .layer(inner)
}

fn recloser() -> recloser::Recloser {
    recloser::Recloser::custom().error_rate(0.5).closed_len(5).open_wait(HOUR).build()
}

fn failsafe() -> impl failsafe::CircuitBreaker + Sync {
    let policy = failsafe::failure_policy::consecutive_failures(5, failsafe::backoff::constant(HOUR));
    failsafe::Config::new().failure_policy(policy).build()
}

fn closed(c: &mut Criterion) {
    let runtime = runtime();
    let _context = runtime.enter();
    let mut group = c.benchmark_group("closed circuit");
    let mut bare = provider();
    group.bench_function("no layer", |b| b.iter(|| run(&mut bare)));
    let mut service = consecutive().layer(provider());
    group.bench_function("tidegate", |b| b.iter(|| run(&mut service)));
    for calls in [10, 1_000_000] {
        let mut service = by_rates(calls).layer(provider());
        group.bench_function(format!("tidegate, failure rate of {calls} calls"), |b| {
            b.iter(|| run(&mut service))
        });
    }
    let mut service = consecutive().failure_rate_threshold(0.5).sliding_window(HOUR).layer(provider());
    group.bench_function("tidegate, failure rate of an hour", |b| b.iter(|| run(&mut service)));
    let mut service = consecutive().slow_call_threshold(HOUR).layer(provider());
    group.bench_function("tidegate, slow calls", |b| b.iter(|| run(&mut service)));
    let mut service = tower_resilience(provider());
    group.bench_function("tower-resilience", |b| b.iter(|| run(&mut service)));
    let (circuit, mut bare) = (recloser(), provider());
    group.bench_function("recloser by hand", |b| {
        b.iter(|| circuit.call(|| run(&mut bare).then_some(()).ok_or(())).is_ok())
    });
    let (circuit, mut bare) = (failsafe(), provider());
    group.bench_function("failsafe by hand", |b| {
        b.iter(|| circuit.call(|| run(&mut bare).then_some(()).ok_or(())).is_ok())
    });
    group.finish();
}

fn open(c: &mut Criterion) {
    let runtime = runtime();
    let _context = runtime.enter();
    let mut group = c.benchmark_group("open circuit");
    let mut service = consecutive().layer(failing());
    (0..5).for_each(|_| assert!(!run(&mut service)));
    group.bench_function("tidegate", |b| b.iter(|| run(&mut service)));
    let mut service = tower_resilience(failing());
    (0..5).for_each(|_| assert!(!run(&mut service)));
    group.bench_function("tower-resilience", |b| b.iter(|| run(&mut service)));
    let (circuit, mut down) = (recloser(), failing());
    let mut call = || circuit.call(|| run(&mut down).then_some(()).ok_or(())).is_ok();
    (0..20).for_each(|_| assert!(!call()));
    group.bench_function("recloser by hand", |b| b.iter(&mut call));
    let (circuit, mut down) = (failsafe(), failing());
    let mut call = || circuit.call(|| run(&mut down).then_some(()).ok_or(())).is_ok();
    (0..20).for_each(|_| assert!(!call()));
    group.bench_function("failsafe by hand", |b| b.iter(&mut call));
    group.finish();
}

criterion_group!(benches, closed, open);
criterion_main!(benches);
