//! Items 57, 59 and 61: functions.

use std::cell::Cell;
use std::io;

use http::Extensions;

use super::*;
use crate::retry::{Jitter, NonRetryableError, RetryableError};
use crate::{AttemptBudget, BoxError, Clock, Elapsed, RetryOverride};

fn retry() -> RetryLayer {
    RetryLayer::exponential().jitter(Jitter::None)
}

/// What a function comes to that always fails so, and how often it is run.
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

#[tokio::test(start_paused = true)]
async fn item_59_functions_that_wait_and_functions_that_do_not_are_retried_alike() {
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

/// Item 61: the decorator of the lesson is a function that runs another.
#[tokio::test(start_paused = true)]
async fn item_61_a_function_wrapped_once_is_retried_wherever_it_is_called() {
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
    // In a task of its own, as any call may be.
    assert_eq!(tokio::spawn(fetch(3)).await.unwrap().unwrap(), 2);
    assert_eq!(tokio::spawn(fetch(4)).await.unwrap().unwrap(), 3);
    assert_eq!(layer.handle().statistics().retries, 2);
}

/// Item 57: connections that break and time-outs are retried, and what says so itself; "no" wins.
#[tokio::test(start_paused = true)]
async fn item_57_what_is_known_to_pass_is_retried_and_nothing_else() {
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
async fn a_function_keeps_to_its_deadline_its_attempts_and_its_policy() {
    let reset: fn() -> BoxError = || io::Error::from(io::ErrorKind::ConnectionReset).into();
    let (mut call, trail) = (Extensions::new(), Trail::new());
    call.insert(trail.clone());
    call.insert(AttemptBudget::new(2));
    assert_eq!((failing(&retry(), &call, reset).await.1, trail.attempts()), (2, 2));
    call.insert(AttemptBudget::new(9));
    call.insert(RetryOverride::new().max_retries(5));
    assert_eq!(failing(&retry(), &call, reset).await.1, 6);
    assert_eq!(failing(&retry().budget(0.0, 0), &call, reset).await.1, 1);

    // The waits of 1 s and 2 s fit; 4 s more do not.
    Deadline::after(7 * SECOND, clock::now()).tighten(&mut call);
    let start = clock::now();
    let (error, runs) = failing(&retry(), &call, reset).await;
    assert_eq!((runs, clock::now() - start, error.is::<io::Error>()), (3, 3 * SECOND, true));
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
