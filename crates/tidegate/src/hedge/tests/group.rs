//! Hedges of calls at a group.

use tidegate_testkit::strict::Strict;

use super::*;
use crate::group::{Group, GroupMember, Handle as GroupHandle, Member};
use crate::{ErrorCode, Gate, Rejection, Resilience};

/// A group of members, hedged by the stack around it, after enough calls of a second at each.
async fn hedged_group<const N: usize>() -> (Resilience<Group<Strict<Payload>>>, GroupHandle, [Handle; N]) {
    fastrand::seed(7);
    let members: [_; N] = std::array::from_fn(|_| strict());
    let handles = members.each_ref().map(|(_, handle)| handle.clone());
    let members = ["a/m", "b/m", "c/m", "d/m"].into_iter().zip(members);
    let group = Group::new("group", members.map(|(name, (inner, _))| Member::new(name, inner))).unwrap();
    let handle = group.handle();
    let mut service = stack("group").service(group);
    handles.iter().for_each(|handle| drop(handle.otherwise(Answer::status(200).after(SECOND))));
    for _ in 0..USUAL_CALLS {
        assert_eq!(call(&mut service).await.unwrap().status(), 200);
    }
    (service, handle, handles)
}

fn in_flight(handle: &GroupHandle) -> u32 {
    handle.snapshot().members.iter().map(|member| member.in_flight).sum()
}

#[tokio::test(start_paused = true)]
async fn a_hedge_at_the_same_group_goes_to_another_member() {
    let (mut service, group, handles) = hedged_group::<2>().await;
    handles[0].otherwise(Answer::status(200).after(600 * SECOND));
    // A few calls at most, until one is at the late member.
    for _ in 0..20 {
        let before = handles.each_ref().map(Handle::calls);
        let response = call(&mut service).await.unwrap();
        let after = handles.each_ref().map(Handle::calls);
        let hedge = response.extensions().get::<HedgeInfo>().cloned();
        assert_eq!(&**GroupMember::of(response.extensions()).unwrap().member(), "b/m");
        assert_eq!(in_flight(&group), 1, "the body of the response");
        drop(response);
        assert_eq!((in_flight(&group), handles[0].live_futures()), (0, 0));
        if let Some(hedge) = hedge {
            assert_eq!((hedge.won(), hedge.target()), (true, "b/m"));
            assert_eq!([after[0] - before[0], after[1] - before[1]], [1, 1]);
            return;
        }
    }
    panic!("no call was hedged");
}

#[tokio::test(start_paused = true)]
async fn a_late_group_of_a_chain_is_hedged_at_the_next_target() {
    fastrand::seed(7);
    let [(one, first), (two, second), (next, third)] = [strict(), strict(), strict()];
    let group = Group::new("group", [Member::new("a/m", one), Member::new("b/m", two)]).unwrap();
    let handle = group.handle();
    let target = ResilienceBuilder::new("c/m").classify(StatusClassifier).service(next);
    let fallback = FallbackLayer::new().then_addressed("c/m", target);
    let mut service = stack("group").fallback(fallback).service(group);
    let members = [first, second];
    members.iter().for_each(|member| drop(member.otherwise(Answer::status(200).after(SECOND))));
    for _ in 0..USUAL_CALLS {
        call(&mut service).await.unwrap();
    }
    members.iter().for_each(|member| drop(member.hang()));
    let response = call(&mut service).await.unwrap();
    let hedge = response.extensions().get::<HedgeInfo>().unwrap();
    assert_eq!((hedge.target(), hedge.won(), third.calls()), ("c/m", true, 1));
    let live: usize = members.iter().map(Handle::live_futures).sum();
    assert_eq!((in_flight(&handle), live), (0, 0), "the attempt at the member is dropped");
}

/// The trail has the member that is late when the hedge is sent.
#[tokio::test(start_paused = true)]
async fn a_hedge_at_a_group_is_named_after_the_group_and_the_member_that_took_it() {
    let (mut service, _, handles) = hedged_group::<2>().await;
    handles[0].otherwise(Answer::status(200).after(600 * SECOND));
    for _ in 0..20 {
        let trail = Trail::new();
        let request = request_with(trail.clone());
        let response = send(&mut service, request).await.unwrap();
        let Some(hedge) = response.extensions().get::<HedgeInfo>() else { continue };
        let steps = trail.steps();
        let hedged = steps.iter().find_map(|step| match &step.verdict {
            Verdict::Hedged { to, .. } => Some((step.target.clone().unwrap(), to.clone())),
            _ => None,
        });
        assert_eq!(hedged, Some(("a/m".into(), "group".into())), "{steps:?}");
        let chosen = Verdict::Chosen { group: "group".into() };
        let members: Vec<_> = steps
            .iter()
            .filter(|step| step.verdict == chosen)
            .filter_map(|step| step.target.as_deref())
            .collect();
        assert_eq!((members, hedge.target()), (vec!["a/m", "b/m"], "b/m"));
        assert_eq!((hedge.won(), trail.target().as_deref()), (true, Some("b/m")));
        return;
    }
    panic!("no call was hedged");
}

/// More attempts would exceed the budget of the hedges. One that a gate has rejected is none, and has no step
/// in the trail.
#[tokio::test(start_paused = true)]
async fn a_hedge_at_a_group_is_sent_to_one_member_whatever_its_result() {
    fn rejected() -> Rejection {
        Rejection::new(Gate::CircuitBreaker, ErrorCode::Overloaded)
    }
    let results: [(fn() -> Answer, usize); 5] = [
        (|| Answer::status(503), 1),
        (|| Answer::status(429), 1),
        (|| Answer::error("connection reset"), 1),
        (|| Answer::error_with(|| rejected().after_attempt().into()), 1),
        (|| Answer::error_with(|| rejected().into()), 3),
    ];
    for (index, (result, expected)) in results.into_iter().enumerate() {
        let (service, _, handles) = hedged_group::<4>().await;
        let [late, others @ ..] = &handles;
        late.otherwise(Answer::status(200).after(20 * SECOND));
        let (mut call, trail) = loop {
            let trail = Trail::new();
            let mut call = tokio_test::task::spawn(service.send(request_with(trail.clone())));
            assert!(call.poll().is_pending());
            if late.live_futures() > 0 {
                break (call, trail);
            }
            call.await.unwrap();
        };
        let sent = || others.iter().map(Handle::calls).sum::<usize>();
        others.iter().for_each(|other| drop(other.otherwise(result())));
        let before = sent();
        assert!(call.poll().is_pending());
        assert_eq!(call.await.unwrap().status(), 200);
        assert_eq!(sent() - before, expected, "result {index}");
        let is_hedged = verdicts(&trail).iter().any(|verdict| is_hedge_at(verdict, "group"));
        assert_eq!((is_hedged, trail.target().as_deref()), (expected == 1, Some("a/m")), "result {index}");
    }
}

/// Regression: the hedge was sent to a member that was left out, and failed.
#[tokio::test(start_paused = true)]
async fn a_hedge_at_a_group_passes_over_a_member_that_is_left_out() {
    let (mut service, _, [late, left_out]) = hedged_group::<2>().await;
    left_out.otherwise(Answer::status(401));
    let before = left_out.calls();
    while left_out.calls() == before {
        call(&mut service).await.unwrap();
    }
    late.then(Answer::status(200).after(600 * SECOND));
    let response = call(&mut service).await.unwrap();
    let hedge = response.extensions().get::<HedgeInfo>().unwrap();
    assert_eq!((hedge.target(), hedge.won(), left_out.calls()), ("a/m", true, before + 1));
}

/// Regression: a group whose members were left out took the hedge, which a later target could take.
#[tokio::test(start_paused = true)]
async fn a_hedge_passes_over_a_group_whose_members_are_left_out() {
    let [(first, late), (one, b), (two, c), (next, d)] = [strict(), strict(), strict(), strict()];
    let group = Group::new("group", [Member::new("b/m", one), Member::new("c/m", two)]).unwrap();
    let target = ResilienceBuilder::new("d/m").classify(StatusClassifier).service(next);
    let fallback = FallbackLayer::new().then_group(group.clone()).then_addressed("d/m", target);
    let mut service = stack("a/m").fallback(fallback).service(first);
    warm_up(&mut service, &late).await;
    [&b, &c].into_iter().for_each(|member| drop(member.otherwise(Answer::status(401))));
    call(&mut group.clone()).await.unwrap();
    late.hang();
    let response = call(&mut service).await.unwrap();
    let hedge = response.extensions().get::<HedgeInfo>().unwrap();
    assert_eq!((hedge.target(), hedge.won(), d.calls()), ("d/m", true, 1));
    assert_eq!((b.calls(), c.calls()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_late_call_that_the_budget_does_not_cover_is_named_after_the_group() {
    let [(one, first), (two, second)] = [strict(), strict()];
    let group = Group::new("group", [Member::new("a/m", one), Member::new("b/m", two)]).unwrap();
    let hedge = HedgeLayer::new().max_extra_requests(0.0);
    let mut service = stack("denied/group").hedge(hedge).service(group);
    [&first, &second].iter().for_each(|member| drop(member.otherwise(Answer::status(200).after(SECOND))));
    for _ in 0..USUAL_CALLS {
        call(&mut service).await.unwrap();
    }
    let mut events = subscribe_to("denied/group");
    [&first, &second].iter().for_each(|member| drop(member.otherwise(Answer::status(200).after(9 * SECOND))));
    call(&mut service).await.unwrap();
    let events: Vec<_> = std::iter::from_fn(|| events.try_next()).map(|event| event.decision).collect();
    assert!(matches!(events[..], [Decision::HedgeDenied]), "{events:?}");
}
