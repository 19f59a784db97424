//! A handle that was given out before a setter shows the layer after it.

use std::time::Duration;

use http::{Request, Response};
use tidegate::circuit_breaker::State;
use tidegate::{
    BackpressureLayer, BoxError, CircuitBreakerLayer, FallbackLayer, Payload, RateLimitLayer, RetryLayer,
};
use tidegate_testkit::strict::{self, Answer, Strict};
use tower::Layer;

fn request() -> Request<Payload> {
    Request::post("http://localhost/v1/chat/completions").body(Payload::from("{}")).unwrap()
}

fn answers(status: u16) -> Strict<Payload> {
    let (service, handle) = strict::service();
    handle.otherwise(Answer::status(status).body("a body that is read later"));
    service
}

/// Pitfall P17 (docs/pitfalls.md).
#[tokio::test(start_paused = true)]
async fn the_handle_of_backpressure_follows_a_setter() -> Result<(), BoxError> {
    let layer = BackpressureLayer::max_inflight(5);
    let (handle, copy) = (layer.handle(), layer.handle().clone());
    let layer = layer.queue_timeout(Duration::from_secs(1)).min_inflight(2);
    let held = layer.layer(answers(200)).send(request()).await?;
    assert_eq!((handle.in_flight(), copy.in_flight(), layer.handle().in_flight()), (1, 1, 1));
    drop(held);
    assert_eq!(handle.in_flight(), 0);

    // A clone of the layer keeps its limit, and the handle that was given out.
    let changed = layer.clone().max_queued(1);
    let held = changed.layer(answers(200)).send(request()).await?;
    assert_eq!((handle.in_flight(), changed.handle().in_flight()), (0, 1));
    drop((held, changed));

    // So does a service, and its responses: the handle shows what is in flight.
    let service = layer.layer(answers(200));
    let held = service.send(request()).await?;
    drop(service);
    let changed = layer.max_queued(1);
    assert_eq!((handle.in_flight(), changed.handle().in_flight()), (1, 0));
    drop(held);
    assert_eq!(handle.in_flight(), 0);
    Ok(())
}

/// Pitfall P17 (docs/pitfalls.md).
#[tokio::test(start_paused = true)]
async fn the_handle_of_the_rate_limit_follows_a_setter() -> Result<(), BoxError> {
    let layer = RateLimitLayer::per_minute(10);
    let handle = layer.handle();
    let layer = layer.max_wait(Duration::from_secs(1)).burst_size(5);
    assert_eq!(handle.remaining(), Some(5));
    layer.layer(answers(200)).send(request()).await?;
    assert_eq!(handle.remaining(), Some(4));

    let changed = layer.clone().burst_size(3);
    assert_eq!((handle.remaining(), changed.handle().remaining()), (Some(4), Some(3)));
    layer.layer(answers(200)).send(request()).await?;
    assert_eq!((handle.remaining(), changed.handle().remaining()), (Some(3), Some(3)));
    Ok(())
}

/// Pitfall P17 (docs/pitfalls.md).
#[tokio::test(start_paused = true)]
async fn the_handle_of_the_circuit_breaker_follows_a_setter() -> Result<(), BoxError> {
    let layer = CircuitBreakerLayer::new();
    let handle = layer.handle();
    let mut transitions = handle.subscribe();
    let layer = layer.failure_threshold(1).cooldown(Duration::from_secs(7));
    layer.layer(answers(503)).send(request()).await?;
    assert_eq!((handle.state(), handle.cooldown_remaining()), (State::Open, Some(Duration::from_secs(7))));
    assert_eq!(transitions.next().await.map(|transition| transition.to), Some(State::Open));
    handle.reset();
    assert_eq!(layer.handle().state(), State::Closed);

    let changed = layer.clone().success_threshold(2);
    changed.layer(answers(503)).send(request()).await?;
    assert_eq!((handle.state(), changed.handle().state()), (State::Closed, State::Open));
    Ok(())
}

/// Pitfall P17 (docs/pitfalls.md).
#[tokio::test(start_paused = true)]
async fn the_handle_of_retry_follows_a_setter() -> Result<(), BoxError> {
    let layer = RetryLayer::exponential();
    let handle = layer.handle();
    let layer = layer.max_retries(2).initial_delay(Duration::from_millis(1));
    layer.layer(answers(503)).send(request()).await?;
    assert_eq!((handle.statistics().total_attempts, handle.statistics().config.max_attempts), (3, 3));

    let changed = layer.clone().max_retries(1);
    changed.layer(answers(503)).send(request()).await?;
    assert_eq!((handle.statistics().total_attempts, changed.handle().statistics().total_attempts), (3, 2));
    Ok(())
}

/// Pitfall P17 (docs/pitfalls.md).
#[tokio::test(start_paused = true)]
async fn the_handle_of_a_chain_follows_when_a_target_is_added() -> Result<(), BoxError> {
    let layer = FallbackLayer::new();
    let handle = layer.handle();
    let layer = layer.then("second", answers(200)).then_emergency("later").on_content_filter(true);
    let response: Response<_> = layer.layer(answers(503)).send(request()).await?;
    assert_eq!(response.status(), 200);
    let names = |handle: &tidegate::fallback::Handle| {
        handle.statistics().iter().map(|target| (target.target.to_string(), target.calls)).collect::<Vec<_>>()
    };
    assert_eq!(names(&handle)[0], ("second".to_owned(), 1));
    assert_eq!(names(&handle).len(), 2);

    let changed = layer.clone().then("third", answers(200));
    assert_eq!((names(&handle).len(), names(&changed.handle()).len()), (2, 3));
    Ok(())
}
