//! Measures the cost of the rate limit for an accepted call: alone, with a concurrent thread, and with 100
//! 000 keys.
//!
//!     cargo bench -p tidegate-benches --bench rate_limit
//!
//! Compare the ratios, not the nanoseconds. The time of two threads is the time of one of them for its calls
//! while the other makes as many.

use std::future::Future;
use std::hint::black_box;
use std::num::NonZeroU32;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use governor::{Quota, RateLimiter};
use http::{HeaderName, Request};
use tidegate::provider::HttpService;
use tidegate::{KeyBy, Payload, RateLimitLayer};
use tidegate_benches::{bare_request, provider, usual_request};
use tower::Layer;

const UNREACHED: u32 = 1_000_000_000;
const UNREACHED_TOKENS: u64 = 1_000_000_000_000;

/// Polls one call by hand to the head of its response and drops the body. There is no runtime in the
/// measurement.
fn run<S: HttpService<Payload>>(service: &mut S, request: Request<Payload>) {
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    let _ = black_box(service.poll_ready(&mut cx));
    let mut call = std::pin::pin!(service.call(request));
    let _ = black_box(call.as_mut().poll(&mut cx));
}

fn requests() -> RateLimitLayer {
    RateLimitLayer::per_second(UNREACHED)
}

fn tokens() -> RateLimitLayer {
    requests().tokens_per_minute(UNREACHED_TOKENS)
}

fn uncontended(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let _context = runtime.enter();
    for (size, request) in [("bare", bare_request as fn() -> _), ("usual", usual_request)] {
        let mut group = c.benchmark_group(format!("one thread, {size} request"));
        let mut bare = provider();
        group.bench_function("no layer", |b| b.iter(|| run(&mut bare, request())));
        let mut service = requests().layer(provider());
        group.bench_function("requests", |b| b.iter(|| run(&mut service, request())));
        let mut service = requests().quota(UNREACHED, Duration::from_secs(60)).layer(provider());
        group.bench_function("requests, two quotas", |b| b.iter(|| run(&mut service, request())));
        let mut service = tokens().layer(provider());
        group.bench_function("requests and tokens", |b| b.iter(|| run(&mut service, request())));
        let limiter = RateLimiter::direct(Quota::per_second(NonZeroU32::new(UNREACHED).expect("not zero")));
        let mut bare = provider();
        group.bench_function("governor by hand, requests", |b| {
            b.iter(|| {
                if limiter.check().is_ok() {
                    run(&mut bare, request());
                }
            })
        });
        group.finish();
    }
}

/// The time of `calls` calls on each of two threads. `make` creates the call of each thread.
fn on_two_threads<F: FnMut()>(calls: u64, make: impl Fn() -> F + Sync) -> Duration {
    let barrier = Barrier::new(2);
    let work = || {
        let mut call = make();
        barrier.wait();
        let start = Instant::now();
        (0..calls).for_each(|_| call());
        start.elapsed()
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(work);
        let own = work();
        own.max(other.join().unwrap_or_default())
    })
}

fn contended(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let _context = runtime.enter();
    let mut group = c.benchmark_group("two threads, one limit");
    for (name, layer) in [("requests", requests()), ("requests and tokens", tokens())] {
        group.bench_function(name, |b| {
            b.iter_custom(|calls| {
                on_two_threads(calls, || {
                    let mut service = layer.layer(provider());
                    move || run(&mut service, bare_request())
                })
            })
        });
    }
    let limiter = RateLimiter::direct(Quota::per_second(NonZeroU32::new(UNREACHED).expect("not zero")));
    group.bench_function("governor by hand, requests", |b| {
        b.iter_custom(|calls| {
            on_two_threads(calls, || {
                let mut bare = provider();
                let limiter = &limiter;
                move || {
                    if limiter.check().is_ok() {
                        run(&mut bare, bare_request());
                    }
                }
            })
        })
    });
    group.finish();
}

fn keyed(c: &mut Criterion) {
    const KEYS: u64 = 100_000;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let _context = runtime.enter();
    let name = HeaderName::from_static("x-user");
    let mut group = c.benchmark_group("100 000 keys");
    let request = |user: u64| {
        let mut request = bare_request();
        request.headers_mut().insert(name.clone(), user.into());
        request
    };
    let mut user = 0;
    let mut next = move || {
        user = (user + 7_919) % KEYS;
        user
    };
    let mut bare = provider();
    group.bench_function("no layer", |b| b.iter(|| run(&mut bare, request(next()))));
    let layer = requests().key_by(KeyBy::header(name.clone())).max_keys(2 * KEYS as usize);
    let mut service = layer.layer(provider());
    (0..KEYS).for_each(|user| run(&mut service, request(user)));
    group.bench_function("requests", |b| b.iter(|| run(&mut service, request(next()))));
    let limiter = RateLimiter::hashmap(Quota::per_second(NonZeroU32::new(UNREACHED).expect("not zero")));
    let mut bare = provider();
    group.bench_function("governor by hand, requests", |b| {
        b.iter(|| {
            let user = next();
            if limiter.check_key(&user).is_ok() {
                run(&mut bare, request(user));
            }
        })
    });
    group.finish();
}

criterion_group!(benches, uncontended, contended, keyed);
criterion_main!(benches);
