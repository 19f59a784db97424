//! Seed items 57, 59 and 61: retries of functions.

use std::cell::Cell;
use std::io;

use http::Extensions;

use super::*;
use crate::retry::{Jitter, NonRetryableError, RetryOverride, RetryableError};
use crate::{AttemptBudget, BoxError, Clock, Elapsed};

fn retry() -> RetryLayer {
    RetryLayer::exponential().jitter(Jitter::None)
}

/// The error of a function that always fails, and how often the function was run.
async fn failing(retry: &RetryLayer, call: &Extensions, error: fn() -> BoxError) -> (BoxError, u32) {
    let runs = Cell::new(0);
    let result = retry
        .run_with(call, async || {
            runs.set(runs.get() + 1);
            Err::<(), _>(error())
        })
        .await;
    (result.unwrap_err(), runs.get())
}

/// Seed item 59.
#[tokio::test(start_paused = true)]
async fn sync_and_async_functions_are_retried_alike() {
    fn parse(text: &str) -> Result<u32, RetryableError> {
        text.parse().map_err(RetryableError::new)
    }
    let texts = ["soon", "later", "7"];
    let next = Cell::new(0);
    let take = || texts[next.replace(next.get() + 1)];
    let start = clock::now();
    let parsed = retry().run(async || parse(take())).await.unwrap();
    assert_eq!((parsed, clock::now() - start), (7, 3 * SECOND));

    next.set(0);
    let parsed = retry()
        .run(async || {
            tokio::time::sleep(SECOND).await;
            parse(take())
        })
        .await;
    assert_eq!((parsed.unwrap(), clock::now() - start), (7, 9 * SECOND));
}

/// Seed item 61: the decorator of the lesson is a function that runs another.
#[tokio::test(start_paused = true)]
async fn a_wrapped_function_is_retried_wherever_it_is_called() {
    let (layer, attempts) = (retry(), Arc::new(AtomicUsize::new(0)));
    let fetch = {
        let (layer, attempts) = (layer.clone(), attempts.clone());
        move |limit: usize| {
            let (layer, attempts) = (layer.clone(), attempts.clone());
            async move {
                layer
                    .run(async || match attempts.fetch_add(1, Ordering::Relaxed) {
                        number if number % limit == limit - 1 => Ok(number),
                        _ => Err(io::Error::from(io::ErrorKind::ConnectionReset)),
                    })
                    .await
            }
        }
    };
    // In a task of its own, to check that the future is `Send`.
    assert_eq!(tokio::spawn(fetch(3)).await.unwrap().unwrap(), 2);
    assert_eq!(tokio::spawn(fetch(4)).await.unwrap().unwrap(), 3);
    assert_eq!(layer.handle().statistics().retries, 2);
}

/// Seed item 57: broken connections, timeouts and errors marked as retryable are retried; the marker for "no"
/// takes precedence.
#[tokio::test(start_paused = true)]
async fn only_transient_and_marked_errors_are_retried() {
    fn parse_error() -> BoxError {
        "x".parse::<u32>().unwrap_err().into()
    }
    fn io_error(kind: io::ErrorKind) -> BoxError {
        io::Error::from(kind).into()
    }
    let cases: [(fn() -> BoxError, u32); 10] = [
        (parse_error, 1),
        (|| io_error(io::ErrorKind::NotFound), 1),
        (|| io_error(io::ErrorKind::ConnectionRefused), 4),
        (|| io_error(io::ErrorKind::TimedOut), 4),
        (|| Failure::new(ErrorCode::Overloaded).into(), 4),
        (|| Failure::new(ErrorCode::InvalidRequest).into(), 1),
        (|| Rejection::new(Gate::CircuitBreaker, ErrorCode::Overloaded).into(), 1),
        (|| RetryableError::new(parse_error()).into(), 4),
        (|| NonRetryableError::new(io_error(io::ErrorKind::TimedOut)).into(), 1),
        (|| RetryableError::new(NonRetryableError::new(parse_error())).into(), 1),
    ];
    for (number, (error, expected)) in cases.into_iter().enumerate() {
        let (last, runs) = failing(&retry(), &Extensions::new(), error).await;
        assert_eq!((runs, last.to_string()), (expected, error().to_string()), "case {number}");
    }
    let timeouts = Cell::new(0);
    let hanging = async || {
        timeouts.set(timeouts.get() + 1);
        tokio::time::timeout(SECOND, std::future::pending::<()>()).await
    };
    assert!(retry().run(hanging).await.is_err());
    assert_eq!(timeouts.get(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_function_obeys_its_deadline_attempt_budget_and_override() {
    let reset: fn() -> BoxError = || io::Error::from(io::ErrorKind::ConnectionReset).into();
    let (mut call, trail) = (Extensions::new(), Trail::new());
    call.insert(trail.clone());
    call.insert(AttemptBudget::new(2));
    assert_eq!((failing(&retry(), &call, reset).await.1, trail.attempts()), (2, 2));
    call.insert(AttemptBudget::new(9));
    call.insert(RetryOverride::new().max_retries(5));
    assert_eq!(failing(&retry(), &call, reset).await.1, 6);
    assert_eq!(failing(&retry().budget(0.0, 0), &call, reset).await.1, 1);

    // The waits of 1 s and 2 s fit; another of 4 s does not.
    Deadline::after(7 * SECOND, clock::now()).tighten(&mut call);
    let start = clock::now();
    let (error, runs) = failing(&retry(), &call, reset).await;
    assert_eq!((runs, clock::now() - start, error.is::<io::Error>()), (3, 3 * SECOND, true));
}

/// Regression: with a state for each service, each run had a state of its own.
#[tokio::test(start_paused = true)]
async fn runs_of_a_layer_with_a_state_for_each_service_share_that_of_the_layer() {
    let retry = retry().per_service();
    let reset: fn() -> BoxError = || io::Error::from(io::ErrorKind::ConnectionReset).into();
    for retries in [3, 6] {
        failing(&retry, &Extensions::new(), reset).await;
        assert_eq!(retry.handle().statistics().retries, retries);
    }
}

#[tokio::test(start_paused = true)]
async fn a_function_that_hangs_is_cut_off_at_the_deadline() {
    let mut call = Extensions::new();
    Deadline::after(7 * SECOND, clock::now()).tighten(&mut call);
    let start = clock::now();
    let hangs = async || {
        std::future::pending::<()>().await;
        Ok::<(), BoxError>(())
    };
    let error = retry().run_with(&call, hangs).await.unwrap_err();
    assert_eq!(error.downcast_ref::<Elapsed>().map(Elapsed::clock), Some(Clock::Deadline));
    assert_eq!(clock::now() - start, 7 * SECOND);
    let late = retry().run_with(&call, hangs).await.unwrap_err();
    assert_eq!(Rejection::find(&*late).map(Rejection::gate), Some(Gate::Deadline));
}

/// Regression: a future that was not polled until its deadline had passed began another run.
#[tokio::test(start_paused = true)]
async fn no_run_begins_after_the_deadline() {
    let (mut call, runs) = (Extensions::new(), Cell::new(0));
    Deadline::after(10 * SECOND, clock::now()).tighten(&mut call);
    let budget = AttemptBudget::new(3);
    call.insert(budget.clone());
    let retry = retry();
    let run = retry.run_with(&call, async || {
        runs.set(runs.get() + 1);
        Err::<(), _>(RetryableError::new("busy"))
    });
    let mut run = tokio_test::task::spawn(run);
    assert!(run.poll().is_pending(), "the back-off");
    tokio::time::sleep(20 * SECOND).await;
    let error = run.await.unwrap_err();
    assert_eq!(error.downcast_ref::<Rejection>().map(Rejection::gate), Some(Gate::Deadline));
    assert_eq!((runs.get(), budget.remaining()), (1, 2));
}
