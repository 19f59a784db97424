//! Conversations that stay with a member.

use super::*;

/// A request of this conversation.
fn talk(number: u32) -> http::Request<Payload> {
    let mut request = request();
    request.headers_mut().insert("x-conversation", number.to_string().parse().unwrap());
    request
}

#[tokio::test(start_paused = true)]
async fn a_conversation_stays_with_its_member_as_long_as_that_is_healthy() {
    let (group, handles) = group::<3>();
    let mut group = group.affinity(Affinity::header(HeaderName::from_static("x-conversation")));
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

/// The recent calls of a member that is left out, and its weight, are no measure for the others.
#[tokio::test(start_paused = true)]
async fn conversations_stay_with_their_members_while_other_members_are_left_out() {
    for is_open in [false, true] {
        let circuits = [(); 4].map(|()| CircuitBreakerLayer::new());
        let (services, handles): (Vec<_>, Vec<_>) = (0..4).map(|_| strict()).unzip();
        let stacks = services.into_iter().zip(["a", "b", "c", "d"]).zip(&circuits);
        let stacks = stacks.map(|((inner, name), circuit)| {
            ResilienceBuilder::new(name).circuit_breaker(circuit.clone()).service(inner)
        });
        let group = Group::new("group", stacks).unwrap();
        let mut group = group.affinity(Affinity::header(HeaderName::from_static("x-conversation")));
        for index in 2..4 {
            if is_open {
                circuits[index].handle().force_open()
            } else {
                drop(handles[index].otherwise(Answer::status(503).header("retry-after", "600")))
            }
        }
        let mut members = std::collections::BTreeMap::new();
        for round in 0..40 {
            for number in 0..40 {
                let response = send(&mut group, talk(number)).await.unwrap();
                let member = GroupMember::of(response.extensions()).unwrap().member().clone();
                let before = members.insert(number, member.clone());
                assert!(
                    before.is_none_or(|before| before == member),
                    "round {round}, conversation {number}, circuits {is_open}"
                );
            }
        }
    }
}
