//! The part of a rejection that all gates and services have in common.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::Extensions;
use tokio::task::coop;

use crate::chain_position::{AttemptNumber, ChainPosition};
use crate::events::Decision;
use crate::key::KeyId;
use crate::{AttemptBudget, Error, ErrorCode, Gate, Rejection, Trail};

/// Records in the trail of the call and emits that a gate of `target` rejected, by the state of `key` where
/// it has keys, and returns the rejection.
pub(crate) fn record_rejection(
    rejection: Rejection,
    target: &str,
    key: Option<KeyId>,
    extensions: &Extensions,
) -> Rejection {
    // A rejected attempt was not sent, so it is returned to the attempt budget.
    if let Some(attempts) = AttemptBudget::of(extensions) {
        attempts.give_back();
    }
    trace_rejection(rejection, target, key, extensions)
}

/// As [`record_rejection`], before the stack of `target` is called, which is entered in the trail.
pub(crate) fn record_rejection_of(
    rejection: Rejection,
    target: &Arc<str>,
    extensions: &Extensions,
) -> Rejection {
    if let Some(trail) = Trail::of(extensions) {
        trail.enter(target);
    }
    record_rejection(rejection, target, None, extensions)
}

/// As [`record_rejection`], for a layer that returns the attempt to the attempt budget itself.
pub(crate) fn trace_rejection(
    rejection: Rejection,
    target: &str,
    key: Option<KeyId>,
    extensions: &Extensions,
) -> Rejection {
    if let Some(trail) = Trail::of(extensions) {
        trail.rejected(&rejection);
    }
    // A hedge that cannot be sent at once is not made.
    if !ChainPosition::is_of_hedge(extensions) {
        Decision::emit_rejected(&rejection, || AttemptNumber::of(extensions).number, target, key);
    }
    rejection
}

/// The rejection of a call whose deadline has passed.
pub(crate) fn deadline_passed() -> Rejection {
    Rejection::new(Gate::Deadline, ErrorCode::Timeout)
}

/// A call that was rejected at once.
///
/// It takes a part of the budget of its task, so that a loop over calls that are rejected yields to other
/// tasks, as one over calls that are sent does.
#[derive(Debug)]
pub(crate) struct RejectedCall(Option<Rejection>);

impl RejectedCall {
    pub(crate) fn new(rejection: Rejection) -> Self {
        Self(Some(rejection))
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        ready!(coop::poll_proceed(cx)).made_progress();
        Poll::Ready(self.0.take().expect("polled after completion").into())
    }
}

#[cfg(test)]
mod tests {
    use http::Request;
    use tidegate_testkit::strict::{Handle, Strict};
    use tower::Layer;

    use super::*;
    use crate::events::{Event, Subscription, subscribe_to};
    use crate::group::{Group, Member};
    use crate::hedge::HedgeLayer;
    use crate::testing::{SECOND, StuckUpload, request, send, strict, verdicts, with, with_deadline};
    use crate::{Deadline, FallbackLayer, HttpService, Payload, RetryLayer, Verdict, clock};

    /// The layer of a first target with this name.
    fn fallback(name: &str, second: Strict<Payload>) -> FallbackLayer {
        FallbackLayer::new().hedge(HedgeLayer::new().name(name)).then("late/second", second)
    }

    fn retry(name: &str, inner: Strict<Payload>) -> impl HttpService<Payload, Future: Send> {
        RetryLayer::exponential().seed(7).name(name).layer(inner)
    }

    /// Sends `request` with a budget of ten attempts, and checks that its rejection at the deadline is
    /// recorded once, as one of `target`, and that `sent` attempts count against the budget.
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

    /// Regression: those of the layers that see whole calls were in no trail, event or metric.
    #[tokio::test(start_paused = true)]
    async fn a_rejection_at_the_deadline_is_recorded_once_by_every_layer() {
        fastrand::seed(7);
        let blocked = || {
            let (inner, handle) = strict();
            handle.block();
            inner
        };
        let late = || with_deadline(request(), 30 * SECOND);
        let failing = || {
            let (inner, handle) = strict();
            handle.answer(503);
            (inner, handle)
        };
        let group = |name: &str, inner: Strict<Payload>, other: Strict<Payload>| {
            let other = Member::new(&format!("{name}-other"), other).weight(0.001);
            let members = [Member::new(name, inner).weight(1_000.0), other];
            Group::new("late/group", members).unwrap()
        };
        // Before the first attempt.
        check(group("late/member", blocked(), blocked()), late(), "late/member", 0).await;
        let (first, past) =
            (fallback("late/past", strict().0).layer(strict().0), with_deadline(request(), SECOND));
        tokio::time::advance(2 * SECOND).await;
        check(first, past, "late/past", 0).await;
        let (first, _handle) = failing();
        check(fallback("late/first", blocked()).layer(first), late(), "late/second", 1).await;
        let (inner, handle) = failing();
        let block = |handle: Handle| async move {
            while handle.calls() == 0 {
                tokio::task::yield_now().await;
            }
            handle.block();
        };
        tokio::join!(block(handle), check(retry("late/retry", inner), late(), "late/retry", 1));
        // The body of the request does not end.
        let upload = || {
            let request = Request::post("/").body(Payload::streamed(StuckUpload)).unwrap();
            with_deadline(request, SECOND)
        };
        check(retry("late/retry-body", strict().0), upload(), "late/retry-body", 0).await;
        let first = fallback("late/body", strict().0).layer(strict().0);
        check(first, upload(), "late/body", 0).await;
        check(group("late/a", strict().0, strict().0), upload(), "late/group", 0).await;
        // A function that is not run.
        let (trail, mut extensions, mut events) = (Trail::new(), Extensions::new(), subscribe_to("late/run"));
        extensions.insert(trail.clone());
        Deadline::after(SECOND, clock::now()).tighten(&mut extensions);
        tokio::time::advance(2 * SECOND).await;
        let retry = RetryLayer::exponential().name("late/run");
        let result = retry.run_with(&extensions, async || Ok::<_, Error>(())).await;
        assert!(Rejection::find(&*result.unwrap_err()).is_some());
        check_records(&trail, "late/run", &mut events);
    }
}
