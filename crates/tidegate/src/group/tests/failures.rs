//! What follows the failure of a member.

use http::{Extensions, Request, Response};
use tower::{Service, service_fn};

use super::*;
use crate::body::clone_request;
use crate::chain_position::{ChainPosition, Hedging};
use crate::rejected::record_rejection;
use crate::testing::with;
use crate::{Error, FallbackLayer, HttpService};

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
async fn a_reset_brings_a_member_back_that_was_left_out() {
    let (mut group, handles) = group::<2>();
    handles[0].otherwise(Answer::status(429).header("retry-after", "86400"));
    for _ in 0..20 {
        assert_eq!(call(&mut group).await.unwrap().status(), 200);
    }
    assert_eq!(handles[0].calls(), 1);
    handles[0].otherwise(Answer::status(200));
    let handle = group.handle();
    assert!(handle.reset("a") && handle.reset("b") && !handle.reset("c"));
    for _ in 0..20 {
        assert_eq!(call(&mut group).await.unwrap().status(), 200);
    }
    let snapshot = handle.snapshot();
    assert!(handles[0].calls() > 5, "{snapshot:?}");
    let MemberSnapshot { cooldown_remaining_ms, failures, .. } = member(&snapshot, 0);
    assert_eq!((*cooldown_remaining_ms, *failures), (None, 1));
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
        let is_refusal = matches!(code, ErrorCode::PermissionDenied | ErrorCode::NotFound);
        assert_eq!(sent, if code.is_fallbackable() || is_refusal { 2 } else { 1 }, "{code}");
    }
}

/// Regression: the model is that of the member, and one without access to it failed the calls of all. It even
/// attracted them, since it ended them sooner than the others.
#[tokio::test(start_paused = true)]
async fn a_member_without_the_model_that_another_has_is_left_out() {
    for (status, code) in [(403, ErrorCode::PermissionDenied), (404, ErrorCode::NotFound)] {
        let (mut group, handles) = group::<3>();
        let without_model =
            crate::Failure { provider_code: Some("model_not_found".into()), ..crate::Failure::new(code) };
        handles[0].otherwise(Answer::status(status).extension(Outcome::from(without_model)));
        for (attempts, cooldown) in [(1, 60), (2, 120), (3, 240)] {
            for _ in 0..40 {
                assert_eq!(call(&mut group).await.unwrap().status(), 200, "another member follows at once");
            }
            let snapshot = group.handle().snapshot();
            let cooldowns = [0, 1, 2].map(|index| member(&snapshot, index).cooldown_remaining_ms);
            assert_eq!(cooldowns, [Some(cooldown * 1_000), None, None], "{status}");
            assert_eq!((handles[0].calls(), member(&snapshot, 0).failures), (attempts, attempts as u64));
            tokio::time::advance(secs(cooldown)).await;
        }
        handles[0].otherwise(Answer::status(200));
        for _ in 0..40 {
            call(&mut group).await.unwrap();
        }
        assert!(
            handles[0].calls() > 10 && member(&group.handle().snapshot(), 0).cooldown_remaining_ms.is_none()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_no_member_takes_leaves_none_out() {
    for (status, other) in [(403, 403), (404, 404), (404, 400), (403, 503)] {
        let (mut group, handles) = group::<2>();
        handles[0].otherwise(Answer::status(status));
        handles[1].otherwise(Answer::status(other));
        while handles[0].calls() == 0 {
            tokio::time::advance(secs(60)).await;
            call(&mut group).await.unwrap();
        }
        let snapshot = group.handle().snapshot();
        assert_eq!(member(&snapshot, 0).cooldown_remaining_ms, None, "{status} {other}");
        assert_eq!(member(&snapshot, 0).failures, 1);
    }
}

/// A resource that one account has, and a key of a caller, prove nothing about the member.
#[tokio::test(start_paused = true)]
async fn a_refusal_that_is_not_of_the_account_of_a_member_leaves_none_out() {
    let with_body = |body: &'static str| request().map(|_| Payload::from(body));
    let mut keyed = with_body("{}");
    keyed.headers_mut().insert("authorization", HeaderValue::from_static("Bearer of-the-caller"));
    let stored = with_body(r#"{"previous_response_id":"resp_1"}"#);
    let not_stored = crate::Failure {
        provider_code: Some("previous_response_not_found".into()),
        ..crate::Failure::new(ErrorCode::InvalidRequest)
    };
    for (request, answer, goes_on) in [
        (keyed, Answer::status(403), true),
        // A firewall that refuses what is in one request.
        (with_body("{}"), Answer::status(403), true),
        (stored, Answer::status(404), false),
        (with_body("{}"), Answer::status(400).extension(Outcome::from(not_stored)), true),
    ] {
        let (mut group, handles) = group::<2>();
        handles[0].otherwise(answer);
        while handles[0].calls() == 0 {
            let request = clone_request(&request).unwrap();
            let is_taken = send(&mut group, request).await.unwrap().status() == 200;
            assert_eq!(is_taken, goes_on || handles[0].calls() == 0);
        }
        assert_eq!(member(&group.handle().snapshot(), 0).cooldown_remaining_ms, None);
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
        let request = request_with(AttemptBudget::new(attempts));
        send(&mut group, request).await.unwrap();
        assert_eq!(calls(&handles).iter().sum::<usize>(), expected);
    }
    let (mut group, handles) = group::<3>();
    handles.iter().for_each(|handle| drop(handle.otherwise(Answer::status(503).after(SECOND))));
    let request = with_deadline(request(), 2 * SECOND);
    send(&mut group, request).await.unwrap();
    assert_eq!(calls(&handles).iter().sum::<usize>(), 2);
}

/// Regression: a member that became ready after the deadline was called, if the future was polled late.
#[tokio::test(start_paused = true)]
async fn no_member_is_called_after_the_deadline() {
    let (mut group, handles) = group::<2>();
    handles.iter().for_each(StrictHandle::block);
    let mut call = tokio_test::task::spawn(send(&mut group, with_deadline(request(), SECOND)));
    assert!(call.poll().is_pending());
    tokio::time::sleep(2 * SECOND).await;
    handles.iter().for_each(StrictHandle::unblock);
    assert_eq!(rejection(call.await).gate(), Gate::Deadline);
    assert_eq!(calls(&handles), [0, 0]);
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

/// Regression: the member was left out for another minute after a caller's mistake, and after a caller that
/// left.
#[tokio::test(start_paused = true)]
async fn an_attempt_after_a_cooldown_without_a_result_begins_no_other_one() {
    let taken = Answer::status(200);
    for (answer, other) in
        [(Answer::status(400), taken.clone()), (Answer::hang(), taken), (Answer::status(404), Answer::hang())]
    {
        let (mut group, handles) = group::<2>();
        handles[0].otherwise(Answer::status(401));
        for _ in 0..40 {
            call(&mut group).await.unwrap();
        }
        assert_eq!(member(&group.handle().snapshot(), 0).cooldown_remaining_ms, Some(60_000));
        tokio::time::advance(secs(60)).await;
        handles[0].otherwise(answer);
        handles[1].otherwise(other);
        for _ in 0..100 {
            let _ = tokio::time::timeout(secs(1), call(&mut group)).await;
            if handles[0].calls() > 1 {
                break;
            }
        }
        assert_eq!(handles[0].calls(), 2);
        assert_eq!(member(&group.handle().snapshot(), 0).cooldown_remaining_ms, None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_invalid_or_out_of_quota_is_left_out_alone_and_for_longer() {
    for code in [ErrorCode::Authentication, ErrorCode::QuotaExhausted] {
        let (mut group, handles) = group::<3>();
        handles[0].otherwise(Answer::status(400).extension(Outcome::from(crate::Failure::new(code))));
        for _ in 0..40 {
            assert_eq!(call(&mut group).await.unwrap().status(), 200, "another member follows at once");
        }
        let [failed, second, third] = calls(&handles);
        assert!(failed == 1 && second + third == 40 && second > 10 && third > 10, "{code}: {second} {third}");
        let snapshot = group.handle().snapshot();
        let cooldowns = [0, 1, 2].map(|index| member(&snapshot, index).cooldown_remaining_ms);
        assert_eq!(cooldowns, [Some(60_000), None, None], "{code}");
    }
}

/// Regression: members of a chain, which have keys of their own, were never left out.
#[tokio::test(start_paused = true)]
async fn a_member_with_a_key_of_its_own_is_left_out_whatever_the_caller_sends() {
    let (group, handles) = group::<2>();
    let mut group = group.with_own_accounts();
    handles.iter().for_each(|handle| _ = handle.otherwise(Answer::status(401)));
    let mut request = request();
    request.headers_mut().insert("authorization", HeaderValue::from_static("Bearer of-the-caller"));
    send(&mut group, request).await.unwrap();
    let snapshot = group.handle().snapshot();
    assert_eq!([0, 1].map(|index| member(&snapshot, index).cooldown_remaining_ms), [Some(60_000); 2]);
}

/// Regression: a caller with an invalid key took the members away from all others.
#[tokio::test(start_paused = true)]
async fn the_account_of_a_caller_leaves_no_member_out() {
    for header in ["authorization", "x-api-key", "api-key", "x-goog-api-key"] {
        let (mut group, handles) = group::<2>();
        handles.iter().for_each(|handle| _ = handle.otherwise(Answer::status(401)));
        let mut request = request();
        request.headers_mut().insert(header, HeaderValue::from_static("invalid"));
        send(&mut group, request).await.unwrap();
        let snapshot = group.handle().snapshot();
        assert_eq!([0, 1].map(|index| member(&snapshot, index).cooldown_remaining_ms), [None; 2], "{header}");
    }
}

/// Regression: a key of a caller that failed within a stream took the member away from all others.
#[tokio::test(start_paused = true)]
async fn the_account_of_a_caller_leaves_no_member_out_at_the_end_of_a_stream() {
    for (credential, code, is_left_out) in [
        (true, ErrorCode::Authentication, false),
        (true, ErrorCode::QuotaExhausted, false),
        (true, ErrorCode::ServerError, true),
        (false, ErrorCode::QuotaExhausted, true),
    ] {
        let outcome = StreamOutcome::new();
        outcome.set_unproven();
        let (mut group, handles) = group::<2>();
        let answer = Answer::status(200).stall().extension(outcome.clone());
        handles.iter().for_each(|handle| _ = handle.otherwise(answer.clone()));
        let mut request = request();
        if credential {
            request.headers_mut().insert("authorization", HeaderValue::from_static("Bearer of-the-caller"));
        }
        let response = send(&mut group, request).await.unwrap();
        outcome.set(Outcome::from(crate::Failure::new(code)));
        drop(response);
        let snapshot = group.handle().snapshot();
        let is_any = [0, 1].iter().any(|index| member(&snapshot, *index).cooldown_remaining_ms.is_some());
        assert_eq!(is_any, is_left_out, "{credential} {code}");
    }
}

/// The head of a stream that has no content so far is no result. Its end is.
#[tokio::test(start_paused = true)]
async fn a_stream_without_content_does_not_end_a_cooldown_before_its_end() {
    let failed = Outcome::from(crate::Failure::new(ErrorCode::ServerError));
    for (answer, last_event, expected, next) in [
        (Answer::status(200).body("x"), None, None, 1_000),
        (Answer::status(200).frame("x").break_off("reset"), None, Some(2_000), 4_000),
        (Answer::status(200).stall(), None, None, 2_000),
        // The reader stops at the last event.
        (Answer::status(200).stall(), Some(Outcome::Success), None, 1_000),
        (Answer::status(200).stall(), Some(failed), Some(2_000), 4_000),
    ] {
        let outcome = StreamOutcome::new();
        outcome.set_unproven();
        let (mut group, handles) = group::<2>();
        handles[0].otherwise(Answer::status(503));
        while handles[0].calls() == 0 {
            call(&mut group).await.unwrap();
        }
        tokio::time::advance(secs(1)).await;
        handles[0].otherwise(answer.extension(outcome.clone()));
        let mut response = call(&mut group).await.unwrap();
        while handles[0].calls() == 1 {
            response = call(&mut group).await.unwrap();
        }
        let handle = group.handle();
        let left = || member(&handle.snapshot(), 0).cooldown_remaining_ms;
        assert_eq!(left(), Some(60_000), "the attempt has no result yet");
        last_event.into_iter().for_each(|last| outcome.set(last));
        let _ = tokio::time::timeout(Duration::ZERO, response.into_body().collect()).await;
        assert_eq!(left(), expected);
        tokio::time::advance(secs(2)).await;
        handles[0].otherwise(Answer::status(503));
        while handles[0].calls() == 2 {
            call(&mut group).await.unwrap();
        }
        assert_eq!(left(), Some(next));
    }
}

/// Regression: a member was sent its one attempt since another could take the call. When that one had no
/// longer room, the failure was returned without a retry; and a member that had room only by then was not
/// called.
#[tokio::test(start_paused = true)]
async fn whether_another_member_can_take_the_call_is_seen_when_one_has_failed() {
    for (is_open_before, is_open_after, retries, expected) in [
        (false, true, 1, (200, [2, 0])),
        (false, true, 0, (503, [1, 0])),
        (true, false, 1, (200, [1, 1])),
        (true, false, 0, (200, [1, 1])),
        (true, true, 1, (200, [2, 0])),
        (false, false, 1, (200, [1, 1])),
    ] {
        let handles = [strict(), strict()];
        let circuits = [(); 2].map(|()| CircuitBreakerLayer::new());
        let members = [0, 1].map(|index: usize| {
            let stack = ResilienceBuilder::new(["a/m", "b/m"][index])
                .retry(RetryLayer::exponential().max_retries(retries))
                .circuit_breaker(circuits[index].clone())
                .service(handles[index].0.clone());
            Member::from(stack).weight([1_000.0, 0.001][index])
        });
        let group = Group::new("group", members).unwrap();
        let set =
            |is_open| if is_open { circuits[1].handle().force_open() } else { circuits[1].handle().reset() };
        set(is_open_before);
        let failure = handles[0].1.then(Answer::status(503).hold());
        let mut call = tokio_test::task::spawn(group.oneshot(request()));
        while handles[0].1.calls() == 0 {
            assert!(call.poll().is_pending());
        }
        set(is_open_after);
        failure.release();
        let status = call.await.unwrap().status().as_u16();
        let calls = handles.each_ref().map(|(_, handle)| handle.calls());
        assert_eq!((status, calls), expected, "{is_open_before} {is_open_after} {retries}");
    }
}

/// Regression: while all members were left out, each further call doubled the cooldown of the one that it was
/// sent to. After an outage of less than a second, all but the first to respond were left out for a minute.
#[tokio::test(start_paused = true)]
async fn an_outage_of_all_members_leaves_none_out_for_longer_than_a_second() {
    for (status, expected) in [(503, 1_000), (401, 60_000)] {
        let (mut group, handles) = group::<2>();
        handles.iter().for_each(|handle| drop(handle.otherwise(Answer::status(status))));
        for _ in 0..14 {
            assert_eq!(call(&mut group).await.unwrap().status(), status);
            tokio::time::advance(secs(1) / 20).await;
        }
        let snapshot = group.handle().snapshot();
        for index in [0, 1] {
            let remaining = member(&snapshot, index).cooldown_remaining_ms.unwrap();
            assert!(remaining <= expected, "{status}: {remaining} ms");
        }
    }
}

/// A member that responds, or rejects all calls as a gate does.
fn rejecting(
    rejection: Option<fn() -> Rejection>,
) -> impl HttpService<Payload, Body = Payload> + Service<Request<Payload>, Future: Send> + Clone {
    tower::service_fn(move |request: Request<Payload>| {
        let rejected = rejection.map(|make| record_rejection(make(), "", None, request.extensions()));
        std::future::ready(match rejected {
            Some(rejection) => Err(Error::from(rejection)),
            None => Ok(Response::new(Payload::from("x"))),
        })
    })
}

/// Regression: the request was not kept for another member, since the budget had no further attempt before
/// the member gave the attempt back.
#[tokio::test(start_paused = true)]
async fn the_last_attempt_goes_to_another_member_if_one_rejects_it() {
    let rejections: [fn() -> Rejection; 3] = [
        || Rejection::new(Gate::Translate, ErrorCode::InvalidRequest),
        || Rejection::new(Gate::Backpressure, ErrorCode::Overloaded),
        || Rejection::new(Gate::RateLimit, ErrorCode::RateLimited),
    ];
    for rejection in rejections {
        let members = [("a", Some(rejection)), ("b", None)];
        let members = members.map(|(name, rejection)| Member::new(name, rejecting(rejection)));
        let mut group = Group::new("group", members).unwrap();
        for _ in 0..20 {
            let attempts = AttemptBudget::new(1);
            let response = send(&mut group, request_with(attempts.clone())).await.unwrap();
            assert_eq!(&**GroupMember::of(response.extensions()).unwrap().member(), "b");
            assert_eq!(attempts.remaining(), 0);
        }
    }
}

/// Regression: a hedge was sent to a member that was left out.
#[tokio::test(start_paused = true)]
async fn a_hedge_is_sent_to_no_member_that_is_left_out() {
    let (mut group, handles) = group::<2>();
    handles.iter().for_each(|handle| drop(handle.otherwise(Answer::status(401))));
    call(&mut group).await.unwrap();
    assert_eq!(calls(&handles), [1, 1]);
    for late in [Some("a"), None] {
        let attempts = AttemptBudget::new(2);
        assert!(attempts.take(), "by the hedge");
        let mut request = hedge(attempts.clone());
        if let Some(late) = late {
            request.extensions_mut().insert(LateMember(late.into()));
        }
        let rejected = rejection(send(&mut group, request).await);
        assert!(!rejected.follows_attempt() && rejected.retry_after() == Some(secs(60)));
        assert_eq!((calls(&handles), attempts.remaining()), ([1, 1], 1));
    }
    let snapshot = group.handle().snapshot();
    assert_eq!([0, 1].map(|index| member(&snapshot, index).cooldown_remaining_ms), [Some(60_000); 2]);
}

/// A request that a chain sends as a hedge, with this extension.
fn hedge<T: Clone + Send + Sync + 'static>(extension: T) -> Request<Payload> {
    let mut position = ChainPosition::first(&Extensions::new());
    position.hedging = Hedging::Hedge;
    with(request_with(extension), position)
}

/// Regression: a hedge, which is one attempt, left time for other members.
#[tokio::test(start_paused = true)]
async fn a_hedge_and_a_last_attempt_leave_no_time_for_other_members() {
    let seen = |request: Request<Payload>| {
        let is_last = ChainPosition::is_last(request.extensions());
        std::future::ready(Ok::<_, Error>(with_response_extension(is_last)))
    };
    let mut group = Group::new("group", ["a", "b"].map(|name| Member::new(name, service_fn(seen)))).unwrap();
    let last = AttemptBudget::new(1);
    for (request, expected) in [(request(), false), (request_with(last), true), (hedge(()), true)] {
        let response = send(&mut group, request).await.unwrap();
        assert_eq!(response.extensions().get(), Some(&expected));
    }
}

fn with_response_extension(is_last: bool) -> Response<Payload> {
    let mut response = Response::new(Payload::from("x"));
    response.extensions_mut().insert(is_last);
    response
}

/// Regression: a chain in a group took the group for an outer chain, which waits for its targets.
#[tokio::test(start_paused = true)]
async fn a_chain_in_a_group_waits_if_no_other_member_can_take_the_call() {
    for (other_status, expected_wait) in [(429, 1), (200, 0)] {
        let targets: [_; 4] = std::array::from_fn(|_| strict());
        let handles = targets.each_ref().map(|(_, handle)| handle.clone());
        let [a, b, c, d] = targets.map(|(service, _)| service);
        let chain = |name: &str, first, second| {
            let next = ResilienceBuilder::new("next/m").service(second);
            let fallback = FallbackLayer::new().then_addressed("next/m", next);
            ResilienceBuilder::new(name).fallback(fallback).service(first)
        };
        let mut group = Group::new("group", [chain("a/m", a, b), chain("b/m", c, d)]).unwrap();
        let busy = || Answer::status(429).header("retry-after", "1");
        for (handle, status) in handles.iter().zip([429, 429, other_status, other_status]) {
            if status == 429 {
                drop(handle.then(busy()));
            }
        }
        let start = clock::now();
        let response = send(&mut group, with_deadline(request(), secs(30))).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!((clock::now() - start).as_secs(), expected_wait, "{other_status}");
    }
}
