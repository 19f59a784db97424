use std::pin::pin;
use std::time::Duration;

use tidegate_core::Payload;

use super::Subject;
use super::probe::{
    assert_nothing_lives, next_frame, poll_once, ready, request, respond, send_request, still_serves,
};
use crate::strict::{self, Answer, Handle, Strict};

/// The largest number of polls of a response future before it is dropped.
const POLLS: usize = 6;

/// Checks that callers may drop the response future or the body at any point.
///
/// # Panics
///
/// If the layer breaks the contract.
pub async fn drops<S: Subject>(layer: impl Fn(Strict<Payload>) -> S) {
    for polls in 0..=POLLS {
        for scenario in &SCENARIOS {
            the_future_is_dropped(&layer, scenario, polls).await;
        }
    }
    for frames in 0..=FRAMES.len() {
        the_body_is_dropped(&layer, frames).await;
    }
    the_body_is_dropped_unread(&layer).await;
}

/// A way in which the inner service keeps the response future pending.
struct DropScenario {
    name: &'static str,
    set: fn(&Handle),
}

const SCENARIOS: [DropScenario; 4] = [
    DropScenario {
        name: "the inner service hangs",
        set: |handle| {
            handle.otherwise(Answer::hang());
        },
    },
    DropScenario {
        name: "the inner service failed and hangs from then on",
        set: |handle| {
            handle.fail("connection reset");
            handle.otherwise(Answer::hang());
        },
    },
    DropScenario {
        name: "the provider answered 503 and hangs from then on",
        set: |handle| {
            handle.answer(503).frame("overloaded").stall();
            handle.otherwise(Answer::hang());
        },
    },
    DropScenario {
        name: "the inner service failed and is not ready from then on",
        set: |handle| {
            handle.fail("connection reset");
            handle.block();
        },
    },
];

/// Polls the future `polls` times and drops it. Time advances between polls, so that the layer's timers fire.
async fn the_future_is_dropped<S: Subject>(
    layer: impl Fn(Strict<Payload>) -> S,
    scenario: &DropScenario,
    polls: usize,
) {
    const INTERVAL: Duration = Duration::from_millis(400);
    let promise = format!("{}; the response future was dropped after {polls} polls", scenario.name);
    let (inner, handle) = strict::service();
    let mut service = layer(inner);
    ready(&promise, &mut service).await;
    (scenario.set)(&handle);
    {
        let mut response = pin!(service.call(request()));
        for _ in 0..polls {
            if poll_once(response.as_mut()).await.is_ready() {
                break;
            }
            tokio::time::sleep(INTERVAL).await;
        }
    }
    assert_nothing_lives(&promise, &handle).await;
    // A layer that had not called yet has left its part of the script behind.
    handle.clear();
    handle.unblock();
    handle.otherwise(Answer::status(200));
    still_serves(&promise, &mut service, &handle).await;
}

const FRAMES: [&str; 2] = ["data: one\n\n", "data: two\n\n"];

async fn the_body_is_dropped<S: Subject>(layer: impl Fn(Strict<Payload>) -> S, frames: usize) {
    let promise = format!("the body was dropped after {frames} frames");
    let (inner, handle) = strict::service();
    let mut service = layer(inner);
    handle.answer(200).frame(FRAMES[0]).frame(FRAMES[1]).stall();
    {
        let mut body = pin!(send_request(&promise, &mut service).await.into_body());
        for frame in &FRAMES[..frames] {
            let got = next_frame(&promise, body.as_mut()).await.and_then(|frame| frame.into_data().ok());
            assert_eq!(got.as_deref(), Some(frame.as_bytes()), "contract: {promise}");
        }
        if frames == FRAMES.len() {
            let next = pin!(next_frame(&promise, body.as_mut()));
            assert!(
                poll_once(next).await.is_pending(),
                "contract: the body is ready while the inner body stalls"
            );
        }
    }
    assert_nothing_lives(&promise, &handle).await;
    still_serves(&promise, &mut service, &handle).await;
}

async fn the_body_is_dropped_unread<S: Subject>(layer: impl Fn(Strict<Payload>) -> S) {
    let promise = "the whole response was dropped";
    let (inner, handle) = strict::service();
    let mut service = layer(inner);
    for _ in 0..3 {
        handle.answer(200).frame(FRAMES[0]).stall();
        ready(promise, &mut service).await;
        drop(respond(promise, service.call(request())).await);
        assert_nothing_lives(promise, &handle).await;
    }
    still_serves(promise, &mut service, &handle).await;
}
