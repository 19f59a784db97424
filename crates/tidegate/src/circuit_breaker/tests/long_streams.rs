//! Streams that are in flight for longer than the failures beside them take to reach the threshold.

use std::collections::VecDeque;

use http_body_util::BodyExt;
use tidegate_testkit::strict::Answer;
use tower::Layer;

use super::{SECOND, opened};
use crate::chain_position::AttemptNumber;
use crate::circuit_breaker::{CircuitBreakerLayer, Reason, State};
use crate::store;
use crate::testing::store::Server;
use crate::testing::{call, complete, rejection, request, request_with, send, strict, strict_behind};
use crate::{ErrorCode, KeyBy, StreamOutcome};

/// The streams in flight if one begins each 1.25 s and lasts a minute.
const IN_FLIGHT: usize = 48;

/// Regression: since no success counts before its stream has ended, five failures among 45 first tokens were
/// consecutive, and opened the circuit a minute after each time that it had closed.
#[tokio::test(start_paused = true)]
async fn scattered_failures_beside_long_streams_leave_the_circuit_closed() {
    let shared = |layer: CircuitBreakerLayer| {
        layer.name("a/b").store(Server::new().store(0, &store::Settings::default()))
    };
    let layer = CircuitBreakerLayer::new;
    for (case, layer) in [
        ("the defaults", layer()),
        ("a failure rate", layer().failure_rate_threshold(0.5)),
        ("a window of time", layer().failure_rate_threshold(0.5).sliding_window(60 * SECOND)),
        ("a slow-call rate", layer().slow_call_threshold(SECOND)),
        ("a ramp", layer().ramp_up(10 * SECOND)),
        ("keys", layer().key_by(KeyBy::path())),
        ("a store", shared(layer())),
        ("a shared window", shared(layer().failure_rate_threshold(0.5).shared_window(true))),
    ] {
        let (mut service, provider) = strict_behind(&layer);
        let mut bodies = VecDeque::new();
        for hour in 0..2 {
            let mut rejected = 0;
            // One in ten fails at once.
            for number in 0..2880 {
                let fails = number % 10 == 5;
                provider.then(if fails { Answer::status(529) } else { Answer::status(200).frame("tok") });
                tokio::time::sleep(SECOND * 5 / 4).await;
                let body = loop {
                    let result = call(&mut service).await;
                    if let Ok(response) = result {
                        break response.into_body();
                    }
                    // It waits for the turn to probe, or ramps up.
                    rejected += 1;
                    assert!(hour == 1 && rejected < 20, "{case}: call {number}");
                    tokio::time::sleep(rejection(result).retry_after().unwrap()).await;
                };
                if fails {
                    body.collect().await.unwrap();
                } else {
                    bodies.push_back(body);
                }
                if bodies.len() > IN_FLIGHT {
                    bodies.pop_front().unwrap().collect().await.unwrap();
                }
            }
            let circuit = layer.handle().of(&request()).unwrap();
            let failures = circuit.metrics().total_failures;
            assert_eq!((circuit.state(), failures), (State::Closed, 288 + hour * 293), "{case}");
            // The provider goes down, while the streams in flight continue.
            for failures in 0..5 {
                provider.then(Answer::status(529));
                assert!(!opened(&circuit), "{case}: after {failures}");
                complete(&mut service).await.unwrap();
            }
            assert!(opened(&circuit), "{case}");
            let reason = Reason::Failures { count: 5, code: ErrorCode::Overloaded, alike: true };
            assert_eq!(circuit.snapshot().reason, Some(reason), "{case}");
            tokio::time::sleep(30 * SECOND).await;
        }
    }
}

/// A stream begins after two failures. The number is that of the failures from its end until the circuit opens.
#[tokio::test(start_paused = true)]
async fn a_stream_separates_failures_only_until_it_ends() {
    enum End {
        None,
        Well,
        Dropped,
        Broken,
    }
    let unproven = StreamOutcome::new();
    unproven.set_unproven();
    let stream = || Answer::status(200).frame("tok");
    let broken = || stream().break_off("reset");
    for (case, answer, attempt, end, expected) in [
        ("in flight", stream(), 1, End::None, 3),
        ("in flight, a later attempt", stream(), 3, End::None, 3),
        ("without a token", stream().extension(unproven), 1, End::None, 1),
        ("ended", stream(), 1, End::Well, 3),
        ("dropped", stream(), 1, End::Dropped, 1),
        ("broken", broken(), 1, End::Broken, 0),
        ("broken, a later attempt that does not count", broken(), 3, End::Broken, 1),
    ] {
        let (inner, provider) = strict();
        let layer = CircuitBreakerLayer::new().failure_threshold(3);
        let (circuit, mut service) = (layer.handle(), layer.layer(inner));
        for answer in [Answer::status(529), Answer::status(529), answer] {
            provider.then(answer);
        }
        provider.otherwise(Answer::status(529));
        complete(&mut service).await.unwrap();
        complete(&mut service).await.unwrap();
        let response = send(&mut service, request_with(AttemptNumber::nth(attempt))).await.unwrap();
        let mut body = Some(response.into_body());
        match end {
            End::None => {}
            End::Well => _ = body.take().unwrap().collect().await.unwrap(),
            End::Dropped => drop(body.take()),
            End::Broken => _ = body.take().unwrap().collect().await.unwrap_err(),
        }
        let mut failures = 0;
        while !opened(&circuit) && failures < 10 {
            complete(&mut service).await.unwrap();
            failures += 1;
        }
        assert_eq!(failures, expected, "{case}");
    }
}
