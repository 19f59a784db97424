//! Cooldowns that processes share through a store.

mod without_model;

use super::*;
use crate::Resilience;
use crate::store::{Settings, Store};
use crate::testing::store::{Delays, Server};

type Process = (Group<Resilience<Strict<Payload>>>, [StrictHandle; 2]);

/// A process with the group of `a/m` and `b/m`.
fn process(store: Store) -> Process {
    let [(one, first), (two, second)] = [strict(), strict()];
    let stack = |name, service| ResilienceBuilder::new(name).store(store.clone()).service(service);
    (Group::new("group", [stack("a/m", one), stack("b/m", two)]).unwrap(), [first, second])
}

/// A server whose replies and messages take no time.
fn server() -> Server {
    let server = Server::new();
    server.set_delays(Delays::all(Duration::ZERO));
    server
}

fn two_processes() -> ([Process; 2], Server) {
    let server = server();
    (server.processes(&Settings::default(), process), server)
}

fn fail(handle: &StrictHandle, status: u16, wait: Option<u64>) {
    let answer = Answer::status(status);
    handle.otherwise(match wait {
        Some(seconds) => answer.header("retry-after", &seconds.to_string()),
        None => answer,
    });
}

/// The rest of the cooldown of `a/m`, in seconds.
fn cooldown(process: &Process) -> Option<u64> {
    member(&process.0.handle().snapshot(), 0).cooldown_remaining_ms.map(|millis| millis / 1_000)
}

async fn make_calls(process: &mut Process) {
    for _ in 0..20 {
        assert_eq!(call(&mut process.0).await.unwrap().status(), 200);
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_that_fails_in_one_process_is_left_out_in_all() {
    for status in [401, 402] {
        let ([mut one, mut other], server) = two_processes();
        for process in [&mut one, &mut other] {
            make_calls(process).await;
            fail(&process.1[0], status, None);
        }
        let before = other.1[0].calls();
        make_calls(&mut one).await;
        assert_eq!((cooldown(&one), cooldown(&other)), (Some(60), Some(60)));
        make_calls(&mut other).await;
        assert_eq!(other.1[0].calls(), before, "{status}: found out without a call of its own");
        // One that starts later reads it at its first call.
        let mut late = process(server.store(2, &Settings::default()));
        make_calls(&mut late).await;
        assert!(late.1[0].calls() <= 1 && cooldown(&late) == Some(60), "{:?}", late.1[0].calls());
        // After the cooldown each process finds out for itself.
        other.1[0].otherwise(Answer::status(200));
        tokio::time::advance(secs(60)).await;
        make_calls(&mut other).await;
        assert!(other.1[0].calls() > before && cooldown(&other).is_none());
    }
}

/// Regression: a key that was rotated in all processes inherited the cooldown of the old one.
#[tokio::test(start_paused = true)]
async fn a_cooldown_is_that_of_one_account_under_the_same_name() {
    let server = server();
    let mut processes =
        ["old", "old", "new"].map(|account| process(server.store(0, &Settings::default()).account(account)));
    fail(&processes[0].1[0], 401, None);
    for process in &mut processes {
        make_calls(process).await;
    }
    assert_eq!(processes.each_ref().map(cooldown), [Some(60), Some(60), None]);
}

#[tokio::test(start_paused = true)]
async fn the_later_of_two_cooldowns_holds() {
    for (first, second) in [(30, 300), (300, 30)] {
        let (processes, _) = two_processes();
        let mut processes = processes;
        for process in &mut processes {
            make_calls(process).await;
        }
        // The second one fails in an attempt that began before the first failure was known.
        let [one, other] = &mut processes;
        let failure = Answer::status(402).header("retry-after", &second.to_string());
        other.1.iter().for_each(|handle| drop(handle.otherwise(failure.clone().after(SECOND))));
        let mut attempt = Box::pin(other.0.clone().oneshot(request()));
        let before = other.1[0].calls();
        while other.1[0].calls() == before {
            attempt = Box::pin(other.0.clone().oneshot(request()));
            assert!(futures_pending(&mut attempt).await);
        }
        fail(&one.1[0], 402, Some(first));
        make_calls(one).await;
        attempt.await.unwrap();
        tokio::task::yield_now().await;
        // Two attempts of a second each have passed since.
        let (later, left) = (first.max(second), cooldown(one).unwrap());
        assert!((later - 2..=later).contains(&left) && cooldown(other) == Some(left), "{left} of {later}");
    }
}

#[tokio::test(start_paused = true)]
async fn failures_that_are_not_of_the_key_are_those_of_one_process() {
    for status in [500, 429] {
        let ([mut one, mut other], _) = two_processes();
        make_calls(&mut one).await;
        make_calls(&mut other).await;
        fail(&one.1[0], status, None);
        make_calls(&mut one).await;
        assert_eq!((cooldown(&one), cooldown(&other)), (Some(1), None), "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn while_the_store_is_down_the_cooldowns_are_local_and_no_call_waits() {
    let ([mut one, mut other], server) = two_processes();
    server.stop();
    let start = clock::now();
    fail(&one.1[0], 401, None);
    make_calls(&mut one).await;
    make_calls(&mut other).await;
    assert_eq!(clock::now(), start, "no call has waited for the store");
    assert_eq!((cooldown(&one), cooldown(&other), one.1[0].calls()), (Some(60), None, 1));
}

/// Regression: a cooldown that could not be read at the first call was not read later.
#[tokio::test(start_paused = true)]
async fn a_read_that_failed_is_repeated() {
    let ([mut one, mut other], server) = two_processes();
    fail(&one.1[0], 401, None);
    make_calls(&mut one).await;
    server.stop();
    make_calls(&mut other).await;
    tokio::time::sleep(secs(2)).await;
    server.resume();
    assert_eq!(cooldown(&other), None);
    make_calls(&mut other).await;
    assert!(cooldown(&other).is_some());
}

#[tokio::test(start_paused = true)]
async fn a_reset_brings_a_member_back_in_every_process() {
    let ([mut one, mut other], server) = two_processes();
    for process in [&mut one, &mut other] {
        make_calls(process).await;
    }
    fail(&one.1[0], 402, Some(3_600));
    make_calls(&mut one).await;
    assert!(cooldown(&one).is_some() && cooldown(&other).is_some());
    one.1[0].otherwise(Answer::status(200));
    one.0.handle().reset("a/m");
    tokio::task::yield_now().await;
    assert_eq!((cooldown(&one), cooldown(&other)), (None, None));
    // One that starts later reads none in the store.
    let mut late = process(server.store(2, &Settings::default()));
    make_calls(&mut late).await;
    assert_eq!(cooldown(&late), None);
}

#[tokio::test(start_paused = true)]
async fn a_reset_that_does_not_reach_the_store_is_not_undone_by_a_read_of_it() {
    let ([mut one, _], server) = two_processes();
    fail(&one.1[0], 402, Some(3_600));
    make_calls(&mut one).await;
    one.1[0].otherwise(Answer::status(200));
    server.stop();
    one.0.handle().reset("a/m");
    tokio::time::sleep(secs(2)).await;
    server.resume();
    server.reconnect();
    make_calls(&mut one).await;
    assert_eq!(cooldown(&one), None);
}
