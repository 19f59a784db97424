//! Conversations that stay with a member.

use super::*;

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
