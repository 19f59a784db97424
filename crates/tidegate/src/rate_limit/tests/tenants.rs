//! Tenants take turns in the queue.

use std::time::Duration;

use tidegate_testkit::strict::Strict;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tower::{Layer, ServiceExt};

use crate::rate_limit::{RateLimit, RateLimitLayer};
use crate::testing::{of_tenant, rejection, request, strict, strict_behind};
use crate::{Payload, Rejection, RejectionReason};

type Calls = JoinSet<(&'static str, Instant, Result<(), Rejection>)>;

/// Sends so many calls of a tenant, in this order.
async fn send(calls: &mut Calls, service: &RateLimit<Strict<Payload>>, tenant: &'static str, count: usize) {
    for _ in 0..count {
        let call = service.clone().oneshot(of_tenant(tenant));
        calls.spawn(async move {
            let result = call.await;
            (tenant, Instant::now(), result.map(drop).map_err(|error| rejection(Err::<(), _>(error))))
        });
        tokio::task::yield_now().await;
    }
}

/// Attack M16 of the field: beside a flood of 100 calls another caller got hardly any through.
#[tokio::test(start_paused = true)]
async fn a_flood_delays_no_other_tenant() {
    let (inner, _provider) = strict();
    let layer = RateLimitLayer::per_second(10).burst_size(1).max_wait(Duration::from_millis(10_050));
    let (service, start) = (layer.layer(inner), Instant::now());
    let mut calls = Calls::new();
    send(&mut calls, &service, "flood", 101).await;
    let full = layer.handle().peek_for(&of_tenant("flood")).expect("its wait would be 10.1 s");
    assert_eq!(full.reason(), RejectionReason::MaxWaitExceeded);
    assert_eq!(layer.handle().peek_for(&of_tenant("other")), None);
    send(&mut calls, &service, "other", 3).await;
    let (mut passed, mut late) = (0, 0);
    while let Some(call) = calls.join_next().await {
        let (tenant, at, result) = call.unwrap();
        match (tenant, result) {
            ("other", result) => {
                result.unwrap();
                assert!(at - start <= Duration::from_millis(700), "{:?}", at - start);
            }
            (_, Ok(())) => passed += 1,
            // The calls that were passed are the ones that come too late.
            (_, Err(rejection)) => {
                assert_eq!(rejection.reason(), RejectionReason::MaxWaitExceeded);
                late += 1;
            }
        }
    }
    assert_eq!((passed, late, layer.handle().waiting()), (98, 3, 0));
}

#[tokio::test(start_paused = true)]
async fn a_call_of_another_tenant_takes_the_last_place_of_a_full_queue() {
    let (inner, _provider) = strict();
    let layer = RateLimitLayer::per_second(1).max_waiting(4).max_wait(Duration::from_secs(60));
    let (service, start) = (layer.layer(inner), Instant::now());
    let mut calls = Calls::new();
    send(&mut calls, &service, "flood", 6).await;
    assert_eq!(layer.handle().waiting(), 4);
    send(&mut calls, &service, "other", 3).await;
    assert_eq!(layer.handle().waiting(), 4);
    let mut served = Vec::new();
    let mut rejected = Vec::new();
    while let Some(call) = calls.join_next().await {
        let (tenant, at, result) = call.unwrap();
        match result {
            Ok(()) => served.push((tenant, (at - start).as_secs())),
            Err(rejection) => {
                assert_eq!(rejection.reason(), RejectionReason::RateQueueFull);
                rejected.push((tenant, (at - start).as_secs()));
            }
        }
    }
    // Two calls of each tenant have a place; the third of the other one has no turn before those of the
    // flood.
    assert_eq!(served, [("flood", 0), ("flood", 1), ("other", 2), ("flood", 3), ("other", 4)]);
    assert_eq!(rejected, [("flood", 0), ("flood", 0), ("flood", 0), ("other", 0)]);
    assert_eq!(layer.handle().waiting(), 0);
}

/// Pitfall P12 (docs/pitfalls.md): a call that was passed wakes once in vain, at the slot of its arrival.
#[tokio::test(start_paused = true)]
async fn a_call_that_is_passed_then_sleeps_until_its_new_slot() {
    let (inner, _provider) = strict();
    let service = RateLimitLayer::per_second(1).burst_size(1).max_wait(Duration::from_secs(60)).layer(inner);
    let mut tasks = ["flood", "flood", "flood", "flood", "other", "other"]
        .map(|tenant| tokio_test::task::spawn(service.clone().oneshot(of_tenant(tenant))));
    let mut polls = tasks.each_mut().map(|task| vec![(0, task.poll().is_ready())]);
    for second in 1..=5 {
        tokio::time::advance(Duration::from_millis(1_001)).await;
        for (task, polls) in tasks.iter_mut().zip(&mut polls) {
            if task.is_woken() && !polls.last().unwrap().1 {
                polls.push((second, task.poll().is_ready()));
            }
        }
    }
    // The last of the flood has its turn in the fifth second instead of the third.
    assert_eq!(polls[3], [(0, false), (3, false), (5, true)]);
}

#[tokio::test(start_paused = true)]
async fn a_displaced_call_leaves_nothing_behind() {
    let layer = RateLimitLayer::per_second(1).max_waiting(2).max_wait(Duration::from_secs(60));
    let (service, provider) = strict_behind(&layer);
    let mut tasks: Vec<_> = ["flood", "flood", "flood", "other"]
        .map(|tenant| tokio_test::task::spawn(service.clone().oneshot(of_tenant(tenant))))
        .into();
    let polls: Vec<_> = tasks.iter_mut().map(|task| task.poll().is_ready()).collect();
    assert_eq!(polls, [true, false, false, false]);
    assert!(tasks[2].is_woken(), "it was displaced");
    let displaced = tasks.remove(2);
    drop(displaced);
    assert_eq!(layer.handle().waiting(), 2);
    drop(tasks);
    assert_eq!((layer.handle().waiting(), provider.calls()), (0, 1));
    tokio::time::advance(Duration::from_secs(1)).await;
    service.oneshot(request()).await.unwrap();
}

/// A call that was passed expects room later; when the calls that passed it leave, it has room as early as
/// before.
#[tokio::test(start_paused = true)]
async fn a_call_that_was_passed_by_calls_that_left_has_its_old_slot() {
    for is_polled in [false, true] {
        let (inner, _provider) = strict();
        let layer = RateLimitLayer::per_second(1).burst_size(1).max_wait(Duration::from_secs(10));
        let (service, start) = (layer.layer(inner), Instant::now());
        let call = |tenant| tokio_test::task::spawn(service.clone().oneshot(of_tenant(tenant)));
        let mut calls = Vec::from_iter((0..10).map(|_| call("early")));
        calls.iter_mut().for_each(|call| _ = call.poll());
        let mut passing = Vec::from_iter((0..5).map(|_| call("late")));
        passing.iter_mut().for_each(|call| assert!(call.poll().is_pending()));
        drop(passing);
        if is_polled {
            calls.iter_mut().skip(1).for_each(|call| assert!(call.poll().is_pending()));
        }
        for (number, call) in calls.into_iter().enumerate().skip(1) {
            call.await.unwrap();
            assert_eq!((Instant::now() - start).as_secs_f64().round() as usize, number, "{is_polled}");
        }
    }
}
