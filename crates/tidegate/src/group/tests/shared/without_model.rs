//! Refusals of a model that another member has.

use super::*;

/// Makes calls to `one` while its first member refuses with this code.
async fn refused(code: &str) -> ([Process; 2], Server) {
    let ([mut one, mut other], server) = two_processes();
    for process in [&mut one, &mut other] {
        make_calls(process).await;
    }
    let body = format!(r#"{{"error":{{"message":"x","code":"{code}"}}}}"#);
    one.1[0].otherwise(Answer::status(404).header("content-type", "application/json").body(body));
    make_calls(&mut one).await;
    ([one, other], server)
}

#[tokio::test(start_paused = true)]
async fn a_member_without_the_model_is_left_out_in_all_processes() {
    let ([one, mut other], server) = refused("model_not_found").await;
    let before = other.1[0].calls();
    make_calls(&mut other).await;
    assert_eq!((cooldown(&one), cooldown(&other)), (Some(60), Some(60)));
    assert_eq!(other.1[0].calls(), before, "found out without a call of its own");
    // One that starts later reads it at its first call.
    let mut late = process(server.store(2, &Settings::default()));
    make_calls(&mut late).await;
    assert!(late.1[0].calls() <= 1 && cooldown(&late) == Some(60), "{:?}", late.1[0].calls());
}

#[tokio::test(start_paused = true)]
async fn a_refusal_that_may_be_of_the_request_leaves_no_member_out() {
    let ([one, mut other], _) = refused("content_not_found").await;
    let before = other.1[0].calls();
    make_calls(&mut other).await;
    assert_eq!((cooldown(&one), cooldown(&other)), (None, None));
    assert!(other.1[0].calls() > before);
}
