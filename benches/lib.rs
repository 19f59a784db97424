//! Shared parts of the benches: requests, a provider that responds at once, and the comparison of two threads
//! with one.

use std::future::{Ready, ready};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tidegate::{BoxError, Payload};
use tower::util::ServiceFn;

/// The result of the benchmark provider.
pub type ProviderResult = Result<Response<Full<Bytes>>, BoxError>;

/// A provider that responds at once.
#[must_use]
pub fn provider() -> ServiceFn<fn(Request<Payload>) -> Ready<ProviderResult>> {
    tower::service_fn(|_| ready(Ok(Response::new(Full::new(Bytes::from_static(b"{}"))))))
}

/// A request without headers and with a small body.
#[must_use]
pub fn bare_request() -> Request<Payload> {
    Request::new(Payload::from("{}"))
}

/// A request as a client library sends it: six headers and 2 KiB of prompt.
#[must_use]
pub fn usual_request() -> Request<Payload> {
    static PROMPT: [u8; 2048] = [b'x'; 2048];
    Request::post("https://api.openai.com/v1/chat/completions")
        .header("authorization", "Bearer of-a-key-that-is-not-one")
        .header("content-type", "application/json")
        .header("accept", "application/json")
        .header("user-agent", "tidegate-bench/1")
        .header("x-request-id", "6b1f1c3e-0001")
        .header("openai-organization", "org-example")
        .body(Payload::from(Bytes::from_static(&PROMPT)))
        .unwrap_or_else(|_| bare_request())
}

/// Prints the throughput of two threads relative to one. `make` creates the callers, which share state
/// through it.
///
/// The best of many short rounds is used, because other load on the machine only adds time. A round lasts
/// from the first start to the last end, so that two threads that did not run concurrently do not look
/// faster.
pub fn scaling<C: FnMut()>(name: &str, make: impl Fn() -> C + Sync) {
    const CALLS: u32 = 10_000;
    let round = |threads: usize| {
        let waiting = AtomicUsize::new(threads);
        let run = || {
            let mut call = make();
            (0..CALLS / 10).for_each(|_| call());
            waiting.fetch_sub(1, Ordering::SeqCst);
            while waiting.load(Ordering::SeqCst) > 0 {
                std::hint::spin_loop();
            }
            let begin = Instant::now();
            (0..CALLS).for_each(|_| call());
            (begin, Instant::now())
        };
        let times: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        });
        let (begin, end) = (times.iter().map(|time| time.0).min(), times.iter().map(|time| time.1).max());
        end.zip(begin).map_or(f64::NAN, |(end, begin)| (end - begin).as_secs_f64())
    };
    let best = |threads| (0..100).map(|_| round(threads)).fold(f64::INFINITY, f64::min);
    let (one, two) = (best(1), best(2));
    let nanos = |round: f64| 1e9 * round / f64::from(CALLS);
    println!(
        "two threads, {name}: {:.2} x one thread ({:.0} ns a call alone, {:.0} ns beside another)",
        2.0 * one / two,
        nanos(one),
        nanos(two),
    );
}
