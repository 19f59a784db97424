//! Deadlines that were not enforced.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::{Body, Frame};
use tidegate::provider::{Clock, Elapsed, Gate};
use tidegate::{BoxError, Deadline, FallbackLayer, ResilienceBuilder, RetryLayer, TimeoutLayer};
use tidegate_testkit::strict::Answer;
use tower::{Layer, ServiceExt};

use crate::support::{SECOND, in_time, now, rejection, request, strict};

/// The request body of a caller that has stopped sending.
struct StalledUpload;

impl Body for StalledUpload {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Poll::Pending
    }
}

/// A second attempt waited for the readiness of the provider for an hour, in a call with a deadline of ten
/// seconds.
#[tokio::test(start_paused = true)]
async fn readiness_for_a_later_attempt_is_bounded_by_the_deadline() {
    let (inner, provider) = strict();
    let service =
        ResilienceBuilder::new("").retry(RetryLayer::exponential()).total_timeout(10 * SECOND).service(inner);
    provider.answer(503).header("retry-after", "1");
    let mut waiting = tokio_test::task::spawn(service.oneshot(request()));
    assert!(waiting.poll().is_pending());
    provider.block();
    let (result, took) = in_time(waiting).await;
    assert_eq!((rejection(result).gate(), took), (Gate::Deadline, 10 * SECOND));
    assert_eq!(provider.calls(), 1);
}

/// The same with the next target of a chain.
#[tokio::test(start_paused = true)]
async fn readiness_of_another_target_is_bounded_by_the_deadline() {
    let ((first, primary), (second, other)) = (strict(), strict());
    primary.otherwise(Answer::status(503));
    other.block();
    let chain = FallbackLayer::new().then("other", second);
    let service = ResilienceBuilder::new("").total_timeout(5 * SECOND).fallback(chain).service(first);
    let (result, took) = in_time(service.oneshot(request())).await;
    // The response at hand is more informative than a deadline rejection.
    assert_eq!((result.unwrap().status().as_u16(), took), (503, 5 * SECOND));
    assert_eq!((primary.calls(), other.calls()), (1, 0));
}

/// A request body that is buffered before it is sent was read without a timeout. A caller that stopped
/// sending in the middle of the upload held the call for ever. Both layers that buffer a body had this
/// defect.
#[tokio::test(start_paused = true)]
async fn buffering_a_request_body_is_bounded_by_the_deadline() {
    for is_chain in [false, true] {
        let ((first, primary), (second, _other)) = (strict(), strict());
        let builder = ResilienceBuilder::new("").total_timeout(10 * SECOND);
        let service = if is_chain {
            builder.fallback(FallbackLayer::new().then("other", second)).service(first)
        } else {
            builder.retry(RetryLayer::exponential()).service(first)
        };
        let (result, took) = in_time(service.oneshot(request().map(|_| StalledUpload))).await;
        assert_eq!((rejection(result).gate(), took), (Gate::Deadline, 10 * SECOND), "chain: {is_chain}");
        assert_eq!(primary.calls(), 0);
    }
}

/// A wait that ended exactly at the deadline counted as in time: three more attempts of 0 ns each were made.
#[tokio::test(start_paused = true)]
async fn nothing_is_sent_at_the_deadline() {
    let (inner, provider) = strict();
    provider.otherwise(Answer::hang());
    let service = RetryLayer::exponential()
        .initial_delay(Duration::ZERO)
        .layer(TimeoutLayer::new(60 * SECOND).layer(inner));
    let mut request = request();
    Deadline::after(SECOND, now()).tighten(request.extensions_mut());
    assert!(service.oneshot(request).await.is_err());
    assert_eq!(provider.calls(), 1);
}

/// In the stack, such an attempt was rejected, and the rejection ("deadline leaves no time for an attempt")
/// replaced the timeout error of the last attempt.
#[tokio::test(start_paused = true)]
async fn the_last_error_is_not_replaced_by_a_rejection() {
    let (inner, provider) = strict();
    provider.otherwise(Answer::hang());
    let service = ResilienceBuilder::new("")
        .total_timeout(SECOND)
        .retry(RetryLayer::exponential().initial_delay(Duration::ZERO))
        .service(inner);
    let error = service.oneshot(request()).await.err().unwrap();
    let elapsed = error.downcast_ref::<Elapsed>().map(Elapsed::clock);
    assert_eq!((elapsed, provider.calls()), (Some(Clock::Deadline), 1), "{error}");
}

/// Pitfall P32 (docs/pitfalls.md): a deadline past the end of the clock was taken as a century from now,
/// which panicked if `now` itself was within a century of that end.
#[test]
fn a_deadline_past_the_end_of_the_clock_does_not_panic() {
    let far = Deadline::after(Duration::from_secs(i64::MAX as u64 - 1_000_000_000), Instant::now());
    let farther = Deadline::after(Duration::MAX, far.instant());
    assert!(farther >= far);
}
