use std::time::Duration;

use http::HeaderName;
use http_body_util::BodyExt;
use tidegate_testkit::contract;
use tidegate_testkit::strict::{Answer, Handle as StrictHandle, Strict};
use tower::ServiceExt;

use super::{Affinity, Group, GroupMember, GroupSnapshot, LateMember, Member, MemberSnapshot};
use crate::testing::{call, complete, rejection, request, send, strict};
use crate::{
    AttemptBudget, CircuitBreakerLayer, Deadline, ErrorCode, Gate, Outcome, Payload, RateLimitLayer,
    Rejection, ResilienceBuilder, RetryLayer, Trail, Verdict, clock,
};

const SECOND: Duration = Duration::from_secs(1);

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

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
async fn a_failed_member_is_followed_by_another_and_left_out_for_a_second() {
    let (mut group, handles) = group::<2>();
    handles[0].otherwise(Answer::status(503));
    for _ in 0..20 {
        let response = call(&mut group).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(&**GroupMember::of(response.extensions()).unwrap().member(), "b");
    }
    assert_eq!(calls(&handles), [1, 20]);
    assert_eq!(member(&group.handle().snapshot(), 0).cooldown_remaining_ms, Some(1_000));
    // Dead for a minute: one attempt after each of the cooldowns of 1, 2, 4, 8, 16 and 32 seconds.
    for _ in 0..6_300 {
        assert_eq!(call(&mut group).await.unwrap().status(), 200);
        tokio::time::advance(Duration::from_millis(10)).await;
    }
    let attempts = handles[0].calls();
    assert!((5..=7).contains(&attempts), "{attempts}");
    handles[0].otherwise(Answer::status(200));
    tokio::time::advance(secs(60)).await;
    for _ in 0..40 {
        call(&mut group).await.unwrap();
    }
    let snapshot = group.handle().snapshot();
    assert!(handles[0].calls() > attempts + 10, "{snapshot:?}");
    assert_eq!(
        (member(&snapshot, 0).cooldown_remaining_ms, member(&snapshot, 0).failures),
        (None, attempts as u64)
    );
}

#[tokio::test(start_paused = true)]
async fn what_no_member_can_help_is_returned_at_once() {
    for code in ErrorCode::ALL {
        let (mut group, handles) = group::<2>();
        for handle in &handles {
            handle.otherwise(Answer::status(400).extension(Outcome::from(crate::Failure::new(code))));
        }
        call(&mut group).await.unwrap();
        let sent: usize = calls(&handles).iter().sum();
        assert_eq!(sent, if code.is_fallbackable() { 2 } else { 1 }, "{code}");
    }
}

#[tokio::test(start_paused = true)]
async fn when_all_members_fail_the_last_response_is_returned_with_the_shortest_wait() {
    let (mut group, handles) = group::<2>();
    handles[0].otherwise(Answer::status(429).header("retry-after", "2").body("slow down"));
    handles[1].otherwise(Answer::status(429).header("retry-after", "60").body("slow down"));
    let response = call(&mut group).await.unwrap();
    assert_eq!((response.status().as_u16(), calls(&handles)), (429, [1, 1]));
    let Outcome::Failure(failure) = Outcome::of(&response) else { panic!("a 429 is a failure") };
    assert_eq!(failure.wait(), Some(secs(2)), "the group is back when its first member is");
    assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "slow down");
    // All are left out: the one that is back first takes the call, alone.
    handles[0].otherwise(Answer::status(200));
    assert_eq!(call(&mut group).await.unwrap().status(), 200);
    assert_eq!(calls(&handles), [2, 1]);
}

#[tokio::test(start_paused = true)]
async fn members_that_would_reject_are_left_out() {
    let ((one, first), (two, second)) = (strict(), strict());
    let circuit = CircuitBreakerLayer::new();
    circuit.handle().force_open();
    let open = ResilienceBuilder::new("a/m").circuit_breaker(circuit.clone()).service(one);
    let spent = ResilienceBuilder::new("b/m").rate_limit(RateLimitLayer::per_minute(5)).service(two);
    let mut group = Group::new("group", [open, spent]).unwrap();
    let mut request = request();
    let trail = Trail::new();
    request.extensions_mut().insert(trail.clone());
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
async fn a_member_makes_no_retry_while_another_can_take_the_call() {
    let handles = [strict(), strict()];
    let stack = |(name, service)| {
        ResilienceBuilder::new(name).retry(RetryLayer::exponential().max_retries(3)).service(service)
    };
    let [one, two] = handles.each_ref().map(|(service, _)| service.clone());
    let mut group = Group::new("group", [("a/m", one), ("b/m", two)].map(stack)).unwrap();
    for (_, handle) in &handles {
        handle.otherwise(Answer::status(503));
    }
    call(&mut group).await.unwrap();
    let mut attempts = handles.each_ref().map(|(_, handle)| handle.calls());
    attempts.sort_unstable();
    assert_eq!(attempts, [1, 4], "the last one has its retries");
}

#[tokio::test(start_paused = true)]
async fn the_attempts_of_the_call_and_its_deadline_are_kept() {
    for (attempts, expected) in [(1, 1), (2, 2), (9, 3)] {
        let (mut group, handles) = group::<3>();
        handles.iter().for_each(|handle| drop(handle.otherwise(Answer::status(503))));
        let mut request = request();
        request.extensions_mut().insert(AttemptBudget::new(attempts));
        send(&mut group, request).await.unwrap();
        assert_eq!(calls(&handles).iter().sum::<usize>(), expected);
    }
    let (mut group, handles) = group::<3>();
    handles.iter().for_each(|handle| drop(handle.otherwise(Answer::status(503).after(SECOND))));
    let mut request = request();
    Deadline::after(2 * SECOND, clock::now()).tighten(request.extensions_mut());
    send(&mut group, request).await.unwrap();
    assert_eq!(calls(&handles).iter().sum::<usize>(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_member_that_is_not_ready_is_waited_for_until_the_deadline() {
    let (mut group, [handle, _]) = group::<2>();
    handle.block();
    let mut blocked = 0;
    for _ in 0..8 {
        let mut request = request();
        Deadline::after(SECOND, clock::now()).tighten(request.extensions_mut());
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

#[tokio::test(start_paused = true)]
async fn a_body_that_fails_counts_against_its_member() {
    let (mut group, handles) = group::<2>();
    handles[0].otherwise(Answer::status(200).frame("a").break_off("connection reset"));
    while handles[0].calls() == 0 {
        let _ = call(&mut group).await.unwrap().into_body().collect().await;
    }
    assert_eq!(member(&group.handle().snapshot(), 0).cooldown_remaining_ms, Some(1_000));
}

/// A body that is not in memory is collected, so that it can be sent to another member.
#[tokio::test(start_paused = true)]
async fn a_request_body_that_arrives_in_parts_is_sent_to_every_member() {
    use http_body_util::Full;
    let (group, handles) = group::<2>();
    handles.iter().for_each(|handle| drop(handle.otherwise(Answer::status(503))));
    let request = request().map(|_| Full::new(bytes::Bytes::from_static(b"a prompt")));
    group.oneshot(request).await.unwrap();
    for handle in &handles {
        assert_eq!(handle.requests()[0].body.as_deref(), Some(&b"a prompt"[..]));
    }
}

#[tokio::test(start_paused = true)]
async fn only_later_members_get_another_idempotency_key() {
    let (mut group, handles) = group::<2>();
    handles.iter().for_each(|handle| drop(handle.otherwise(Answer::status(503))));
    let mut request = request();
    request.headers_mut().insert("idempotency-key", "key".parse().unwrap());
    send(&mut group, request).await.unwrap();
    let mut keys: Vec<_> = handles
        .iter()
        .map(|handle| handle.requests()[0].headers["idempotency-key"].to_str().unwrap().to_owned())
        .collect();
    keys.sort();
    assert!(keys[0] == "key" && (keys[1] == "key-0" || keys[1] == "key-1"), "{keys:?}");
}

#[tokio::test(start_paused = true)]
async fn a_conversation_stays_with_its_member_as_long_as_that_is_healthy() {
    let (group, handles) = group::<3>();
    let mut group = group.affinity(Affinity::header(HeaderName::from_static("x-conversation")));
    let talk = |number: u32| {
        let mut request = request();
        request.headers_mut().insert("x-conversation", number.to_string().parse().unwrap());
        request
    };
    let mut members = Vec::new();
    for number in 0..30 {
        let response = send(&mut group, talk(number)).await.unwrap();
        members.push(GroupMember::of(response.extensions()).unwrap().member().clone());
    }
    for number in 0..30 {
        let response = send(&mut group, talk(number)).await.unwrap();
        assert_eq!(*GroupMember::of(response.extensions()).unwrap().member(), members[number as usize]);
    }
    handles[0].answer(503);
    for number in 0..30 {
        let response = send(&mut group, talk(number)).await.unwrap();
        let member = GroupMember::of(response.extensions()).unwrap().member();
        let was_a = &*members[number as usize] == "a";
        assert_eq!(*member != members[number as usize], was_a, "only the conversations of `a` move");
    }
    let snapshot = group.handle().snapshot();
    let kept: u64 = snapshot.members.iter().map(|member| member.choices.by_affinity).sum();
    let moved: u64 = snapshot.members.iter().map(|member| member.choices.moved).sum();
    let of_a = members.iter().filter(|member| &***member == "a").count() as u64;
    assert_eq!((kept, moved), (60 + 30 - of_a + 1, of_a - 1), "{snapshot:?}");
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

/// The other member has so many calls in flight that a call that is no hedge takes the late one.
#[tokio::test(start_paused = true)]
async fn a_hedge_takes_another_member_than_the_late_one_whatever_their_loads() {
    let (mut group, handles) = group::<2>();
    let mut hedge = async || {
        let mut request = request();
        request.extensions_mut().insert(LateMember("a".into()));
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
    let mut request = request();
    request.extensions_mut().insert(LateMember("a".into()));
    send(&mut only, request).await.unwrap();
    assert_eq!(handle.calls(), 1);
}
