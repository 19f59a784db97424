//! Counts the instructions of a successful call, up to its response and the drop of the body.
//!
//!     cargo bench -p tidegate-benches --bench instructions
//!
//! The counts are made by valgrind, so they are the same on every run of the same build, whatever the load of
//! the machine. Each stack runs twice with a different number of calls, in a process of its own. The
//! difference is the cost of the calls.

use std::future::Future;
use std::hint::black_box;
use std::process::Command;

use http::Request;
use tidegate::{
    BackpressureLayer, CircuitBreakerLayer, HttpService, Payload, RateLimitLayer, ResilienceBuilder,
    RetryLayer, TimeoutLayer,
};
use tidegate_benches::{bare_request, provider, usual_request};
use tower::Layer;

const UNREACHED: u32 = 1_000_000_000;

const STACKS: [&str; 8] = [
    "no layer",
    "all parts off",
    "retry",
    "backpressure",
    "rate limit",
    "circuit breaker",
    "timeout",
    "whole stack",
];

/// Polls one call by hand to the head of its response and drops the body. There is no runtime in the
/// measurement.
fn run<S: HttpService<Payload>>(mut service: S, request: fn() -> Request<Payload>, calls: u32) {
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    for _ in 0..calls {
        let _ = black_box(service.poll_ready(&mut cx));
        let mut call = std::pin::pin!(service.call(request()));
        let _ = black_box(call.as_mut().poll(&mut cx));
    }
}

fn run_stack(stack: &str, request: fn() -> Request<Payload>, calls: u32) {
    let retry = RetryLayer::exponential();
    let backpressure = BackpressureLayer::max_inflight(50);
    let rate_limit = RateLimitLayer::per_second(UNREACHED);
    let circuit_breaker = CircuitBreakerLayer::new();
    match stack {
        "no layer" => run(provider(), request, calls),
        "all parts off" => run(ResilienceBuilder::new("").service(provider()), request, calls),
        "retry" => run(retry.layer(provider()), request, calls),
        "backpressure" => run(backpressure.layer(provider()), request, calls),
        "rate limit" => run(rate_limit.layer(provider()), request, calls),
        "circuit breaker" => run(circuit_breaker.layer(provider()), request, calls),
        "timeout" => {
            run(TimeoutLayer::new(std::time::Duration::from_secs(600)).layer(provider()), request, calls);
        }
        _ => {
            let stack = ResilienceBuilder::new("openai/gpt-4o");
            let stack = stack.retry(retry).backpressure(backpressure);
            let stack = stack.rate_limit(rate_limit).circuit_breaker(circuit_breaker);
            run(stack.service(provider()), request, calls);
        }
    }
}

fn count_instructions(program: &str, stack: &str, request: &str, calls: u32) -> Option<u64> {
    let counted = Command::new("valgrind")
        .args(["--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null", program])
        .args(["count", stack, request, &calls.to_string()])
        .output()
        .ok()?;
    let output = String::from_utf8_lossy(&counted.stderr).into_owned();
    let line = output.lines().find(|line| line.contains("I refs:") || line.contains("I   refs:"))?;
    line.split(':').nth(1)?.trim().replace(',', "").parse().ok()
}

fn main() {
    let arguments: Vec<_> = std::env::args().collect();
    if let [_, mode, stack, request, calls] = &arguments[..]
        && mode == "count"
    {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let _context = runtime.enter();
        let request = if request == "bare" { bare_request } else { usual_request };
        return run_stack(stack, request, calls.parse().expect("a number of calls"));
    }
    println!("{:16} {:>12} {:>12}", "instructions", "bare request", "usual");
    for stack in STACKS {
        let per_call = |request| {
            let [few, many] =
                [1_000, 3_000].map(|calls| count_instructions(&arguments[0], stack, request, calls));
            few.zip(many)
                .map_or_else(|| "no valgrind".into(), |(few, many)| ((many - few) / 2_000).to_string())
        };
        println!("{stack:16} {:>12} {:>12}", per_call("bare"), per_call("usual"));
    }
}
