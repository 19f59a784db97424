use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use http::Extensions;

use super::{Executor, FallbackFailed};
use crate::provider::{Elapsed, Failure, Gate};
use crate::retry::{NonRetryableError, RetryableError};
use crate::{BoxError, Deadline, ErrorCode, Outcome, Rejection, ResilienceConfig, clock};

fn executor(config: &str) -> Executor {
    let config: ResilienceConfig = toml::from_str(config).unwrap();
    Executor::named("local/llama", config).unwrap()
}

/// A function that fails until it was called `failures` times, and then returns the number of calls.
async fn flaky(calls: &AtomicU32, failures: u32) -> Result<u32, std::io::Error> {
    match calls.fetch_add(1, Ordering::Relaxed) + 1 {
        call if call <= failures => Err(std::io::ErrorKind::ConnectionReset.into()),
        call => Ok(call),
    }
}

#[tokio::test(start_paused = true)]
async fn a_function_is_retried_and_its_result_returned() {
    let executor = executor("retry = { max_retries = 2 }");
    // Borrowed by the function: nothing has to be `'static`.
    let calls = AtomicU32::new(0);
    assert_eq!(executor.run(|| flaky(&calls, 2)).await.unwrap(), 3);
    let error = executor.run(|| flaky(&calls, 99)).await.unwrap_err();
    assert_eq!(error.downcast::<std::io::Error>().unwrap().kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(calls.into_inner(), 6);
    assert_eq!(executor.signals().snapshot().retry.total_attempts, 6);
}

/// Regression: the hedges of the configuration ran a slow function twice at once.
#[tokio::test(start_paused = true)]
async fn a_slow_function_is_not_run_twice_at_once() {
    let executor =
        executor("retry = {}\nhedge = { min_samples = 5, max_extra_requests = 1.0, max_extra_tokens = 1.0 }");
    let calls = AtomicU32::new(0);
    for seconds in [0, 0, 0, 0, 0, 0, 0, 0, 9] {
        let slow = async || {
            calls.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            Ok::<_, BoxError>(())
        };
        executor.run(slow).await.unwrap();
    }
    assert_eq!(calls.into_inner(), 9);
}

/// Seed items 26, 29 and 30: the fallback of one call, also if the circuit is open, and if it fails itself.
#[tokio::test(start_paused = true)]
async fn the_circuit_opens_and_the_fallback_answers() {
    let executor = executor("circuit_breaker = { failure_threshold = 2 }");
    let calls = AtomicU32::new(0);
    for expected in [1, 2, 2] {
        let answer = executor.run_with(|| flaky(&calls, 99), async || Ok::<_, BoxError>(7)).await.unwrap();
        assert_eq!((answer, calls.load(Ordering::Relaxed)), (7, expected));
    }
    let rejection = executor.run(|| flaky(&calls, 99)).await.unwrap_err();
    assert_eq!(Rejection::find(&*rejection).unwrap().gate(), Gate::CircuitBreaker);
    let fail = async || Err::<u32, BoxError>("no cache".into());
    let FallbackFailed { call, fallback } = executor.run_with(|| flaky(&calls, 99), fail).await.unwrap_err();
    assert_eq!((Rejection::find(&*call).is_some(), &*fallback.to_string()), (true, "no cache"));
    assert!(!executor.signals().is_healthy());
}

#[tokio::test(start_paused = true)]
async fn time_outs_and_deadlines_cut_a_function_off() {
    let executor = executor("timeout = { attempt = \"2s\" }");
    let started = clock::now();
    let slow = async || {
        tokio::time::sleep(Duration::from_secs(60)).await;
        Ok::<_, BoxError>(())
    };
    assert!(executor.run(slow).await.unwrap_err().is::<Elapsed>());
    assert_eq!(clock::now() - started, Duration::from_secs(2));
    let mut extensions = Extensions::new();
    Deadline::after(Duration::from_secs(1), clock::now()).tighten(&mut extensions);
    let started = clock::now();
    let classify = |_: &Result<(), BoxError>| Outcome::Success;
    assert!(executor.run_classified(extensions, classify, slow).await.is_err());
    assert_eq!(clock::now() - started, Duration::from_secs(1));
}

/// Regression: a timeout of tokio was E3001, and the marks of an error had no effect.
#[tokio::test(start_paused = true)]
async fn timeouts_and_marks_are_found_in_the_chain_of_an_error() {
    type Wrap = fn(tokio::time::error::Elapsed) -> BoxError;
    let cases: [(Wrap, &str, u32); 10] = [
        (|elapsed| elapsed.into(), "timeout", 2),
        (|elapsed| elapsed.into(), "server_error", 1),
        (|elapsed| io::Error::other(elapsed).into(), "timeout", 2),
        (|_| io::Error::from(io::ErrorKind::TimedOut).into(), "timeout", 2),
        (|_| io::Error::from(io::ErrorKind::ConnectionReset).into(), "server_error", 2),
        (|_| "any other".into(), "server_error", 2),
        (|elapsed| RetryableError::new(elapsed).into(), "timeout", 2),
        (|elapsed| RetryableError::new(elapsed).into(), "server_error", 2),
        (|elapsed| NonRetryableError::new(elapsed).into(), "timeout", 1),
        (|_| NonRetryableError::new("any other").into(), "server_error", 1),
    ];
    for (case, (wrap, retry_on, expected)) in cases.into_iter().enumerate() {
        let executor = executor(&format!("retry = {{ max_retries = 1, retry_on = [\"{retry_on}\"] }}"));
        let calls = AtomicU32::new(0);
        let hang = async || {
            calls.fetch_add(1, Ordering::Relaxed);
            tokio::time::timeout(Duration::from_secs(1), std::future::pending::<()>()).await.map_err(wrap)
        };
        assert!(executor.run(hang).await.is_err());
        assert_eq!(calls.into_inner(), expected, "case {case}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_result_means_what_its_classification_says() {
    let executor = executor("retry = { max_retries = 3 }\ncircuit_breaker = { failure_threshold = 1 }");
    let calls = AtomicU32::new(0);
    let count = async || Ok::<_, BoxError>(calls.fetch_add(1, Ordering::Relaxed) + 1);
    // An empty answer is a failure, and is retried.
    let classify = |result: &Result<u32, BoxError>| match result {
        Ok(..=1) => Failure::new(ErrorCode::Timeout).into(),
        Ok(_) => Outcome::Success,
        Err(_) => Outcome::Neutral,
    };
    let executor_without_circuit = self::executor("retry = { max_retries = 3 }");
    let answer = executor_without_circuit.run_classified(Extensions::new(), classify, count).await;
    assert_eq!(answer.unwrap(), 2);
    // A neutral error is returned at once and opens no circuit.
    for _ in 0..3 {
        let error = async || Err::<u32, _>("a mistake of the caller");
        let error = executor.run_classified(Extensions::new(), classify, error).await.unwrap_err();
        assert_eq!(error.to_string(), "a mistake of the caller");
    }
    assert!(executor.signals().is_healthy());
}

#[tokio::test]
async fn a_run_can_be_spawned() {
    let executor = executor("backpressure = { max_inflight = 1 }");
    let run = async move { executor.run(|| async { Ok::<_, BoxError>("high tide") }).await };
    assert_eq!(tokio::spawn(run).await.unwrap().unwrap(), "high tide");
}
