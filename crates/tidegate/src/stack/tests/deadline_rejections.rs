//! A rejection at the deadline is recorded once by every layer that sees whole calls, as one of its target.
//! Regression: it was in no trail, event or metric.

use http::{Extensions, Request};
use tidegate_testkit::strict::{Handle, Strict};
use tower::Layer;

use super::SECOND;
use crate::events::{Decision, Event, Subscription, subscribe_to};
use crate::group::{Group, Member};
use crate::hedge::HedgeLayer;
use crate::testing::{StuckUpload, request, send, strict, verdicts, with, with_deadline};
use crate::{
    AttemptBudget, Deadline, Error, ErrorCode, FallbackLayer, Gate, HttpService, Payload, Rejection,
    RetryLayer, Trail, Verdict, clock,
};

/// Sends `request` with a budget of ten attempts, and checks that its rejection at the deadline is recorded
/// once, as one of `target`, and that `sent` attempts count against the budget.
async fn check<S>(mut service: S, request: Request<Payload>, target: &str, sent: u32)
where
    S: HttpService<Payload>,
{
    let (trail, attempts, mut events) = (Trail::new(), AttemptBudget::new(10), subscribe_to(target));
    let request = with(with(request, trail.clone()), attempts.clone());
    // A chain returns the failure before it.
    let _ = send(&mut service, request).await;
    check_records(&trail, target, &mut events);
    assert_eq!(attempts.remaining(), 10 - sent, "{target}");
}

fn check_records(trail: &Trail, target: &str, events: &mut Subscription<Event>) {
    let is_rejection = |verdict: &Verdict| matches!(verdict, Verdict::Rejected { .. });
    let rejections: Vec<_> = verdicts(trail).into_iter().filter(is_rejection).collect();
    let expected = Verdict::Rejected { gate: Gate::Deadline, code: ErrorCode::Timeout };
    assert_eq!(rejections, [expected], "{target}");
    let decisions = std::iter::from_fn(|| events.try_next()).map(|event| event.decision);
    assert_eq!(decisions.filter(|it| matches!(it, Decision::Rejected { .. })).count(), 1, "{target}");
}

fn late() -> Request<Payload> {
    with_deadline(request(), 30 * SECOND)
}

/// A request whose body does not end.
fn upload() -> Request<Payload> {
    with_deadline(Request::post("/").body(Payload::streamed(StuckUpload)).unwrap(), SECOND)
}

/// A service that answers.
fn ready() -> Strict<Payload> {
    strict().0
}

/// A service that never becomes ready.
fn blocked() -> Strict<Payload> {
    let (inner, handle) = strict();
    handle.block();
    inner
}

fn failing() -> (Strict<Payload>, Handle) {
    let (inner, handle) = strict();
    handle.answer(503);
    (inner, handle)
}

fn retry(name: &str) -> RetryLayer {
    RetryLayer::exponential().seed(7).name(name)
}

/// The layer of a first target with this name.
fn fallback(name: &str, second: Strict<Payload>) -> FallbackLayer {
    FallbackLayer::new().hedge(HedgeLayer::new().name(name)).then("late/second", second)
}

#[tokio::test(start_paused = true)]
async fn of_a_group() {
    fastrand::seed(7);
    let group = |inner: fn() -> Strict<Payload>| {
        let member = Member::new("late/member", inner()).weight(1_000.0);
        Group::new("late/group", [member, Member::new("late/other", inner()).weight(0.001)]).unwrap()
    };
    check(group(blocked), late(), "late/member", 0).await;
    check(group(ready), upload(), "late/group", 0).await;
}

#[tokio::test(start_paused = true)]
async fn of_a_chain() {
    let past = with_deadline(request(), SECOND);
    tokio::time::advance(2 * SECOND).await;
    check(fallback("late/past", ready()).layer(ready()), past, "late/past", 0).await;
    check(fallback("late/first", blocked()).layer(failing().0), late(), "late/second", 1).await;
    check(fallback("late/body", ready()).layer(ready()), upload(), "late/body", 0).await;
}

#[tokio::test(start_paused = true)]
async fn of_a_retry() {
    let (inner, handle) = failing();
    let block_after_first = async {
        while handle.calls() == 0 {
            tokio::task::yield_now().await;
        }
        handle.block();
    };
    let call = check(retry("late/retry").layer(inner), late(), "late/retry", 1);
    tokio::join!(block_after_first, call);
    check(retry("late/retry-body").layer(ready()), upload(), "late/retry-body", 0).await;
}

#[tokio::test(start_paused = true)]
async fn of_a_function_that_is_not_run() {
    let (trail, mut extensions, mut events) = (Trail::new(), Extensions::new(), subscribe_to("late/run"));
    extensions.insert(trail.clone());
    Deadline::after(SECOND, clock::now()).tighten(&mut extensions);
    tokio::time::advance(2 * SECOND).await;
    let result = retry("late/run").run_with(&extensions, async || Ok::<_, Error>(())).await;
    assert!(Rejection::find(&*result.unwrap_err()).is_some());
    check_records(&trail, "late/run", &mut events);
}
