//! Measures the cost of the rate limit for an accepted call: alone, and with 100 000 keys. `speed` has two
//! threads.
//!
//!     cargo bench -p tidegate-benches --bench rate_limit
//!
//! Compare the ratios, not the nanoseconds.

use std::num::NonZeroU32;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use governor::{Quota, RateLimiter};
use http::HeaderName;
use tidegate::{KeyBy, RateLimitLayer};
use tidegate_benches::{UNREACHED, bare_request, call, provider, runtime, usual_request};
use tower::Layer;

const UNREACHED_TOKENS: u64 = 1_000_000_000_000;

fn requests() -> RateLimitLayer {
    RateLimitLayer::per_second(UNREACHED)
}

fn tokens() -> RateLimitLayer {
    requests().tokens_per_minute(UNREACHED_TOKENS)
}

fn uncontended(c: &mut Criterion) {
    let runtime = runtime();
    let _context = runtime.enter();
    for (size, request) in [("bare", bare_request as fn() -> _), ("usual", usual_request)] {
        let mut group = c.benchmark_group(format!("one thread, {size} request"));
        let mut bare = provider();
        group.bench_function("no layer", |b| b.iter(|| call(&mut bare, request())));
        let mut service = requests().layer(provider());
        group.bench_function("requests", |b| b.iter(|| call(&mut service, request())));
        let mut service = requests().quota(UNREACHED, Duration::from_secs(60)).layer(provider());
        group.bench_function("requests, two quotas", |b| b.iter(|| call(&mut service, request())));
        let mut service = tokens().layer(provider());
        group.bench_function("requests and tokens", |b| b.iter(|| call(&mut service, request())));
        let limiter = RateLimiter::direct(Quota::per_second(NonZeroU32::new(UNREACHED).expect("not zero")));
        let mut bare = provider();
        group.bench_function("governor by hand, requests", |b| {
            b.iter(|| {
                if limiter.check().is_ok() {
                    call(&mut bare, request());
                }
            })
        });
        group.finish();
    }
}

fn keyed(c: &mut Criterion) {
    const KEYS: u64 = 100_000;
    let runtime = runtime();
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
    group.bench_function("no layer", |b| b.iter(|| call(&mut bare, request(next()))));
    let layer = requests().key_by(KeyBy::header(name.clone())).max_keys(2 * KEYS as usize);
    let mut service = layer.layer(provider());
    (0..KEYS).for_each(|user| assert!(call(&mut service, request(user))));
    group.bench_function("requests", |b| b.iter(|| call(&mut service, request(next()))));
    let limiter = RateLimiter::hashmap(Quota::per_second(NonZeroU32::new(UNREACHED).expect("not zero")));
    let mut bare = provider();
    group.bench_function("governor by hand, requests", |b| {
        b.iter(|| {
            let user = next();
            if limiter.check_key(&user).is_ok() {
                call(&mut bare, request(user));
            }
        })
    });
    group.finish();
}

criterion_group!(benches, uncontended, keyed);
criterion_main!(benches);
