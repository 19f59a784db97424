//! Signals that described other parts than those in use.

use tidegate::circuit_breaker::State;
use tidegate::{BackpressureLayer, CircuitBreakerLayer, RateLimitLayer, ResilienceBuilder};
use tidegate_testkit::strict::Answer;

use crate::support::{call, strict};

/// Pitfall P17 (docs/pitfalls.md): parts that are `per_service()` were made anew for the service, while the
/// signals read the original ones. They always showed nothing in flight, no requests used and a closed
/// circuit.
#[tokio::test(start_paused = true)]
async fn signals_describe_the_parts_of_their_own_service() {
    let (inner, provider) = strict();
    provider.otherwise(Answer::status(500).body("out of order"));
    let mut service = ResilienceBuilder::new("")
        .backpressure(BackpressureLayer::max_inflight(1).per_service())
        .rate_limit(RateLimitLayer::per_minute(10).per_service())
        .circuit_breaker(CircuitBreakerLayer::new().failure_threshold(1).per_service())
        .service(inner);
    let _unread = call(&mut service).await.unwrap();
    let snapshot = service.signals().snapshot();
    assert_eq!((snapshot.current_inflight, snapshot.rate_remaining), (1, Some(9)));
    assert_eq!(snapshot.circuit_state, State::Open);
}
