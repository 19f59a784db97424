use http_body_util::BodyExt;
use tidegate_testkit::{contract, strict::Answer};
use tower::Layer;

use super::TimeoutLayer;
use crate::circuit_breaker::{CircuitBreakerLayer, State};
use crate::testing::{SECOND, call, complete, request, send, strict, strict_behind, with_deadline};
use crate::{Clock, Deadline, Elapsed, ErrorCode, FailureKind, Outcome, clock};

fn elapsed<T>(result: Result<T, crate::Error>) -> Clock {
    let error = result.err().expect("no response");
    let failure = Outcome::of_error(&*error).failure().cloned().unwrap();
    assert_eq!((failure.code, failure.kind), (ErrorCode::Timeout, FailureKind::Timeout));
    error.downcast_ref::<Elapsed>().expect("a timeout").clock()
}

#[tokio::test(start_paused = true)]
async fn keeps_towers_contract() {
    contract::check(|inner| TimeoutLayer::new(SECOND * 60).layer(inner)).await;
    contract::check(|inner| TimeoutLayer::disabled().layer(inner)).await;
}

#[tokio::test(start_paused = true)]
async fn an_attempt_without_a_response_head_times_out() {
    let (mut service, provider) = strict_behind(&TimeoutLayer::new(SECOND));
    provider.hang();
    let start = clock::now();
    assert_eq!(elapsed(call(&mut service).await), Clock::Attempt);
    assert_eq!((clock::now() - start, provider.live_futures()), (SECOND, 0));
    provider.answer(200).after(SECOND / 2);
    assert_eq!(complete(&mut service).await.unwrap(), 200);
}

#[tokio::test(start_paused = true)]
async fn the_timer_continues_through_the_body_and_ends_it_in_an_error() {
    let (mut service, provider) = strict_behind(&TimeoutLayer::new(3 * SECOND));
    provider.answer(200).after(SECOND).frame("a").pause(SECOND).frame("b").pause(5 * SECOND).frame("c");
    let start = clock::now();
    let mut body = call(&mut service).await.unwrap().into_body();
    for expected in ["a", "b"] {
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), expected);
    }
    assert_eq!(elapsed(body.frame().await.unwrap()), Clock::Attempt);
    assert_eq!(clock::now() - start, 3 * SECOND);
    assert!(body.frame().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn the_earlier_of_deadline_and_attempt_limit_applies() {
    for (limit, deadline, clock) in [(5, 2, Clock::Deadline), (2, 5, Clock::Attempt)] {
        let (mut service, provider) = strict_behind(&TimeoutLayer::new(SECOND * limit));
        provider.hang();
        let request = with_deadline(request(), SECOND * deadline);
        let start = clock::now();
        assert_eq!(elapsed(send(&mut service, request).await), clock);
        assert_eq!(clock::now() - start, 2 * SECOND);
    }
}

/// Pitfall P08 (docs/pitfalls.md): 100 of 100 calls that ended in a timeout were not recorded, and the
/// circuit stayed closed.
#[tokio::test(start_paused = true)]
async fn timeouts_and_deadlines_count_against_the_provider() {
    for with_deadline in [false, true] {
        let (inner, provider) = strict();
        let breaker = CircuitBreakerLayer::new().failure_threshold(3);
        let mut service = breaker.layer(TimeoutLayer::new(10 * SECOND).layer(inner));
        provider.otherwise(Answer::hang());
        for _ in 0..3 {
            assert_eq!(breaker.handle().state(), State::Closed);
            let mut request = request();
            if with_deadline {
                Deadline::after(SECOND, clock::now()).tighten(request.extensions_mut());
            }
            elapsed(send(&mut service, request).await);
        }
        assert_eq!(breaker.handle().state(), State::Open);
    }
}

/// The timer was polled only when the body was pending. A body that always had a frame ready outlived its
/// deadline. What its reader had not read in time counted against the provider.
#[tokio::test(start_paused = true)]
async fn a_body_that_is_always_ready_is_cut_off_too() {
    let (mut service, provider) = strict_behind(&TimeoutLayer::new(2 * SECOND));
    provider.answer(200).frame("a").pause(SECOND).frame("b").frame("c");
    let mut body = call(&mut service).await.unwrap().into_body();
    body.frame().await.unwrap().unwrap();
    body.frame().await.unwrap().unwrap();
    tokio::time::advance(5 * SECOND).await;
    let error = body.frame().await.unwrap().unwrap_err();
    assert_eq!(error.downcast_ref::<Elapsed>().unwrap().clock(), Clock::Attempt);
    assert_eq!(Outcome::of_error(&*error).failure().unwrap().kind, FailureKind::CallerTimeout);
    assert_eq!(provider.live_bodies(), 0);
}
