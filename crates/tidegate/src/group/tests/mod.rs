mod affinity;
mod failures;
mod shared;

use std::time::Duration;

use http::{HeaderName, HeaderValue};
use http_body_util::BodyExt;
use tidegate_testkit::contract;
use tidegate_testkit::strict::{Answer, Handle as StrictHandle, Strict};
use tower::ServiceExt;

use super::{Affinity, Group, GroupMember, GroupSnapshot, LateMember, Member, MemberSnapshot};
use crate::testing::{
    SECOND, call, complete, rejection, request, request_with, secs, send, strict, with_deadline,
};
use crate::{
    AttemptBudget, BackpressureLayer, CircuitBreakerLayer, ErrorCode, Gate, Outcome, Payload, RateLimitLayer,
    Rejection, ResilienceBuilder, RetryLayer, StatusClassifier, StreamOutcome, Trail, Verdict, clock,
};

/// A group of strict services, each with its handle.
fn group<const N: usize>() -> (Group<Strict<Payload>>, [StrictHandle; N]) {
    let (services, handles): (Vec<_>, Vec<_>) = (0..N).map(|_| strict()).unzip();
    let members = services.into_iter().zip(["a", "b", "c", "d"]).map(|(it, name)| Member::new(name, it));
    (Group::new("group", members).unwrap(), handles.try_into().unwrap())
}

fn calls<const N: usize>(handles: &[StrictHandle; N]) -> [usize; N] {
    handles.each_ref().map(StrictHandle::calls)
}

fn member(snapshot: &GroupSnapshot, index: usize) -> &MemberSnapshot {
    &snapshot.members[index]
}

#[tokio::test(start_paused = true)]
async fn keeps_towers_contract() {
    contract::check(|inner| Group::new("group", [Member::new("a", inner)]).unwrap()).await;
}

#[tokio::test(start_paused = true)]
async fn members_that_would_reject_are_left_out() {
    let ((one, first), (two, second)) = (strict(), strict());
    let circuit = CircuitBreakerLayer::new();
    circuit.handle().force_open();
    let open = ResilienceBuilder::new("a/m").circuit_breaker(circuit.clone()).service(one);
    let spent = ResilienceBuilder::new("b/m").rate_limit(RateLimitLayer::per_minute(5)).service(two);
    let mut group = Group::new("group", [open, spent]).unwrap();
    let trail = Trail::new();
    let request = request_with(trail.clone());
    assert_eq!(send(&mut group, request).await.unwrap().status(), 200);
    let verdicts: Vec<_> = trail.steps().into_iter().map(|step| (step.target, step.verdict)).collect();
    let chosen = Verdict::Chosen { group: "group".into() };
    assert_eq!(verdicts[0], (Some("b/m".into()), chosen));
    assert_eq!((verdicts.len(), first.calls(), second.calls()), (2, 0, 1), "{verdicts:?}");
    circuit.handle().reset();
    for _ in 0..20 {
        call(&mut group).await.unwrap();
    }
    assert!(second.calls() <= 5 && first.calls() >= 16, "{} {}", first.calls(), second.calls());
}

#[tokio::test(start_paused = true)]
async fn when_all_members_reject_the_rejection_is_that_of_the_first_that_will_be_back() {
    let stack = |name: &str, per_minute| {
        let limit = RateLimitLayer::per_minute(per_minute).burst_size(1).max_wait(Duration::ZERO);
        ResilienceBuilder::new(name).rate_limit(limit).service(strict().0)
    };
    let mut group = Group::new("group", [stack("a/m", 1), stack("b/m", 4), stack("c/m", 2)]).unwrap();
    for _ in 0..3 {
        call(&mut group).await.unwrap();
    }
    let rejected = rejection(call(&mut group).await);
    assert_eq!((rejected.gate(), rejected.retry_after()), (Gate::RateLimit, Some(secs(15))));
}

#[tokio::test(start_paused = true)]
async fn a_member_that_is_not_ready_is_waited_for_until_the_deadline() {
    let (mut group, [handle, _]) = group::<2>();
    handle.block();
    let mut blocked = 0;
    for _ in 0..8 {
        let request = with_deadline(request(), SECOND);
        if let Err(error) = send(&mut group, request).await {
            assert_eq!(Rejection::find(&*error).unwrap().gate(), Gate::Deadline);
            blocked += 1;
        }
    }
    assert!(blocked > 0 && handle.calls() == 0);
}

#[tokio::test(start_paused = true)]
async fn a_call_is_in_flight_until_its_body_has_ended_or_is_dropped() {
    let (mut group, handles) = group::<2>();
    handles.iter().for_each(|handle| drop(handle.otherwise(Answer::status(200).frame("a").frame("b"))));
    let in_flight = |group: &Group<_>| {
        group.handle().snapshot().members.iter().map(|member| member.in_flight).sum::<u32>()
    };
    let (one, other) = (call(&mut group).await.unwrap(), call(&mut group).await.unwrap());
    assert_eq!(in_flight(&group), 2);
    one.into_body().collect().await.unwrap();
    assert_eq!(in_flight(&group), 1);
    drop(other);
    handles.iter().for_each(StrictHandle::block);
    let mut pending = Box::pin(group.clone().oneshot(request()));
    assert!(futures_pending(&mut pending).await && in_flight(&group) == 1);
    drop(pending);
    assert_eq!(in_flight(&group), 0);
}

/// Polls once, and returns whether the future is pending.
async fn futures_pending<F: Future + Unpin>(future: &mut F) -> bool {
    std::future::poll_fn(|cx| std::task::Poll::Ready(std::pin::Pin::new(&mut *future).poll(cx).is_pending()))
        .await
}

#[test]
fn mistakes_are_named() {
    let named = |members: Vec<Member<()>>| Group::new("group", members).unwrap_err().to_string();
    let member = |name| Member::new(name, ());
    for (members, expected) in [
        (vec![], "members: expected from 1 to 64 members, found 0"),
        (vec![member("a"), member("a")], "members: `a` is in the group already"),
        (vec![member("a").weight(0.0)], "weight: expected a number from 0.001 to 1000, found 0"),
        (vec![member("a").weight(f32::NAN)], "weight: expected a number from 0.001 to 1000, found NaN"),
    ] {
        assert_eq!(named(members), expected);
    }
}

/// As a hedge does that always overtakes the slow member.
#[tokio::test(start_paused = true)]
async fn a_member_whose_calls_are_dropped_before_they_respond_is_known_as_slow() {
    let (group, handles) = group::<2>();
    handles.iter().for_each(|handle| drop(handle.otherwise(Answer::status(200).after(SECOND / 10))));
    let call_for_a_second = async || {
        let mut group = group.clone();
        tokio::time::timeout(SECOND, complete(&mut group)).await.is_ok()
    };
    for _ in 0..20 {
        assert!(call_for_a_second().await);
    }
    handles[0].otherwise(Answer::status(200).after(10 * SECOND));
    let before = handles[0].calls();
    for _ in 0..40 {
        call_for_a_second().await;
    }
    let slow = handles[0].calls() - before;
    assert!((1..=4).contains(&slow), "{slow} of 40 calls");
}

/// The time in the queue of its gates is not that of the member.
#[tokio::test(start_paused = true)]
async fn the_time_to_the_first_token_is_that_of_the_provider() {
    let member_of = |name: &str| {
        let (inner, provider) = strict();
        provider.otherwise(Answer::status(200).after(SECOND));
        let one_at_a_time = BackpressureLayer::max_inflight(1);
        ResilienceBuilder::new(name).classify(StatusClassifier).backpressure(one_at_a_time).service(inner)
    };
    let group = Group::new("group", [member_of("a/m"), member_of("b/m")]).unwrap();
    // Two of them are queued.
    let calls: Vec<_> = (0..4).map(|_| tokio::spawn(group.clone().oneshot(request()))).collect();
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap().status(), 200);
    }
    for member in group.handle().snapshot().members {
        let first_token = member.first_token_ms.unwrap();
        assert!((900..=1_000).contains(&first_token), "{first_token} ms");
    }
}

/// The other member has so many calls in flight that a call that is no hedge takes the late one.
#[tokio::test(start_paused = true)]
async fn a_hedge_takes_another_member_than_the_late_one_whatever_their_loads() {
    let (mut group, handles) = group::<2>();
    let mut hedge = async || {
        let request = request_with(LateMember("a".into()));
        send(&mut group, request).await.unwrap()
    };
    let mut held = Vec::new();
    for _ in 0..20 {
        held.push(hedge().await);
    }
    assert_eq!(calls(&handles), [0, 20]);
    call(&mut group).await.unwrap();
    assert_eq!(calls(&handles), [1, 20]);
    // The only member takes the hedge itself.
    let (inner, handle) = strict();
    let mut only = Group::new("group", [Member::new("a", inner)]).unwrap();
    let request = request_with(LateMember("a".into()));
    send(&mut only, request).await.unwrap();
    assert_eq!(handle.calls(), 1);
}
