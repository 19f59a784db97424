use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::Response;
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;

use crate::BoxError;
use crate::body::has_ended;

/// A response body that reports to its guard how it ended: once, at the last frame, at an error, or by being
/// dropped.
///
/// Frames, trailers and `size_hint` pass unchanged.
#[pin_project]
#[derive(Debug)]
pub struct GuardedBody<B, G> {
    // The body is dropped before the guard, so that everything the body holds is released first.
    #[pin]
    inner: B,
    guard: Option<G>,
}

/// Waits for the end of a body. If it is dropped without a call of `on_end`, the caller dropped the body.
pub(crate) trait BodyGuard {
    /// The body ended, with its last frame or with an error.
    fn on_end(self, end: Result<(), &BoxError>);
}

/// Polls for a response, and attaches the guard that `make_guard` returns for the head to its body.
/// `make_guard` is also called with the error if there is no response; that guard is dropped. If the body has
/// already ended, its guard is notified at once. Without a guard nothing is reported, because the end is
/// already known or does not matter.
///
/// The response is inspected in place and taken apart once: the compiler copies its three hundred bytes at
/// each step that gives them another name. Written with `ready!` and `map` it was five to nine copies in each
/// of three layers, and a tenth of the time of the whole stack.
pub(crate) fn poll_guarded<F, B, E, G>(
    future: Pin<&mut F>,
    cx: &mut Context<'_>,
    mut make_guard: impl FnMut(Result<&Response<B>, &BoxError>) -> Option<G>,
) -> Poll<Result<Response<GuardedBody<B, G>>, BoxError>>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body,
    E: Into<BoxError>,
    G: BodyGuard,
{
    let response = future.poll(cx);
    let guard = match &response {
        Poll::Ready(Ok(response)) => {
            make_guard(Ok(response)).and_then(|guard| attach(response.body(), guard))
        }
        Poll::Ready(Err(_)) | Poll::Pending => None,
    };
    match response {
        Poll::Ready(Ok(response)) => {
            let (head, inner) = response.into_parts();
            Poll::Ready(Ok(Response::from_parts(head, GuardedBody { inner, guard })))
        }
        Poll::Ready(Err(error)) => {
            let error = error.into();
            make_guard(Err(&error));
            Poll::Ready(Err(error))
        }
        Poll::Pending => Poll::Pending,
    }
}

/// Returns the guard, unless the body has already ended.
fn attach<G: BodyGuard>(body: &impl Body, guard: G) -> Option<G> {
    if has_ended(body) {
        guard.on_end(Ok(()));
        return None;
    }
    Some(guard)
}

impl<B, G> Body for GuardedBody<B, G>
where
    B: Body<Error: Into<BoxError>>,
    G: BodyGuard,
{
    type Data = B::Data;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, BoxError>>> {
        let mut this = self.project();
        let frame = ready!(this.inner.as_mut().poll_frame(cx)).map(|frame| frame.map_err(Into::into));
        let end = match &frame {
            Some(Err(error)) => Some(Err(error)),
            None => Some(Ok(())),
            Some(Ok(_)) if has_ended(&*this.inner) => Some(Ok(())),
            Some(Ok(_)) => None,
        };
        if let Some(end) = end
            && let Some(guard) = this.guard.take()
        {
            guard.on_end(end);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::VecDeque;
    use std::rc::Rc;
    use std::task::Waker;

    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    /// What a body does when it is polled.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Step {
        Data,
        Wait,
        Fail,
    }

    /// A body that follows a script and then ends. `reports_end` sets whether `is_end_stream` announces the
    /// end.
    struct Script {
        steps: VecDeque<Step>,
        reports_end: bool,
    }

    impl Body for Script {
        type Data = Bytes;
        type Error = BoxError;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
            match self.steps.pop_front() {
                Some(Step::Data) => Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"x"))))),
                Some(Step::Wait) => Poll::Pending,
                Some(Step::Fail) => Poll::Ready(Some(Err("broken".into()))),
                None => Poll::Ready(None),
            }
        }

        fn is_end_stream(&self) -> bool {
            self.reports_end && self.steps.is_empty()
        }
    }

    #[derive(Debug, PartialEq)]
    enum ReportedEnd {
        Finished,
        Failed,
        Dropped,
    }

    struct RecordingGuard(Option<Rc<RefCell<Vec<ReportedEnd>>>>);

    impl BodyGuard for RecordingGuard {
        fn on_end(mut self, end: Result<(), &BoxError>) {
            let ends = if end.is_ok() { ReportedEnd::Finished } else { ReportedEnd::Failed };
            self.0.take().expect("on_end is called once").borrow_mut().push(ends);
        }
    }

    impl Drop for RecordingGuard {
        fn drop(&mut self) {
            if let Some(ends) = self.0.take() {
                ends.borrow_mut().push(ReportedEnd::Dropped);
            }
        }
    }

    proptest! {
        /// Pitfall P03 (docs/pitfalls.md). However a body ends, and wherever it is dropped, its guard gets
        /// exactly one end.
        #[test]
        fn every_guard_gets_exactly_one_end(
            steps in prop::collection::vec(prop_oneof![4 => Just(Step::Data), 2 => Just(Step::Wait), 1 => Just(Step::Fail)], 0..12),
            polls in 0usize..16,
            reports_end: bool,
        ) {
            let ends = Rc::new(RefCell::new(Vec::new()));
            let script = Script { steps: steps.clone().into(), reports_end };
            let guard = attach(&script, RecordingGuard(Some(Rc::clone(&ends))));
            let mut body = GuardedBody { inner: script, guard };
            let mut cx = Context::from_waker(Waker::noop());
            for _ in 0..polls {
                let _ = Pin::new(&mut body).poll_frame(&mut cx);
            }
            drop(body);
            // A body that announces its end does so with its last frame, and not while it is pending.
            let reports = reports_end && steps.last() != Some(&Step::Wait);
            let reported = polls + usize::from(reports && polls >= steps.len());
            let expected = match steps.iter().position(|step| *step == Step::Fail) {
                Some(at) if at < polls => ReportedEnd::Failed,
                _ if reported > steps.len() => ReportedEnd::Finished,
                _ => ReportedEnd::Dropped,
            };
            prop_assert_eq!(&*ends.borrow(), &[expected]);
        }
    }
}
