use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::Response;
use http_body::{Body, Frame, SizeHint};
use pin_project::pin_project;

use crate::BoxError;
use crate::ended::has_ended;

/// A body that tells its watch how it ended: once, at the last frame, at an error, or by being dropped.
///
/// Frames, trailers and `size_hint` pass untouched.
#[pin_project]
#[derive(Debug)]
pub struct GuardedBody<B, W> {
    // Dropped before the watch, so that whatever the body holds is free when the watch gives back its own.
    #[pin]
    inner: B,
    watch: Option<W>,
}

/// Waits for the end of a body. Dropped without a word, it means that the caller left.
pub(crate) trait BodyGuard {
    /// The body ended, with its last frame or with an error.
    fn on_end(self, end: Result<(), &BoxError>);
}

/// Polls for an answer, and gives its body the watch that `judge` makes of the head, or of the error in its place. A
/// body that has already ended tells its watch so at once; where there is no watch nobody does, as the end is known
/// already, or of no interest.
///
/// An answer is looked at where it lies and taken apart once: the compiler copies its three hundred bytes at each step
/// that gives them another name. Said with `ready!` and `map` it was five to nine copies in each of three layers, and a
/// tenth of what the whole stack takes.
pub(crate) fn poll_watched<F, B, E, W>(
    future: Pin<&mut F>,
    cx: &mut Context<'_>,
    mut judge: impl FnMut(Result<&Response<B>, &BoxError>) -> Option<W>,
) -> Poll<Result<Response<GuardedBody<B, W>>, BoxError>>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body,
    E: Into<BoxError>,
    W: BodyGuard,
{
    let answer = future.poll(cx);
    let watch = match &answer {
        Poll::Ready(Ok(response)) => judge(Ok(response)).and_then(|watch| watching(response.body(), watch)),
        Poll::Ready(Err(_)) | Poll::Pending => None,
    };
    match answer {
        Poll::Ready(Ok(response)) => {
            let (head, inner) = response.into_parts();
            Poll::Ready(Ok(Response::from_parts(head, GuardedBody { inner, watch })))
        }
        Poll::Ready(Err(error)) => {
            let error = error.into();
            judge(Err(&error));
            Poll::Ready(Err(error))
        }
        Poll::Pending => Poll::Pending,
    }
}

/// The watch, unless it is over before it began.
fn watching<W: BodyGuard>(body: &impl Body, watch: W) -> Option<W> {
    if has_ended(body) {
        watch.on_end(Ok(()));
        return None;
    }
    Some(watch)
}

impl<B, W> Body for GuardedBody<B, W>
where
    B: Body<Error: Into<BoxError>>,
    W: BodyGuard,
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
            && let Some(watch) = this.watch.take()
        {
            watch.on_end(end);
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
    enum Act {
        Data,
        Wait,
        Fail,
    }

    /// Acts as told, then ends; it may know beforehand that it is at its end.
    struct Script {
        acts: VecDeque<Act>,
        tells_end: bool,
    }

    impl Body for Script {
        type Data = Bytes;
        type Error = BoxError;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
            match self.acts.pop_front() {
                Some(Act::Data) => Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"x"))))),
                Some(Act::Wait) => Poll::Pending,
                Some(Act::Fail) => Poll::Ready(Some(Err("broken".into()))),
                None => Poll::Ready(None),
            }
        }

        fn is_end_stream(&self) -> bool {
            self.tells_end && self.acts.is_empty()
        }
    }

    #[derive(Debug, PartialEq)]
    enum Heard {
        Finished,
        Failed,
        Dropped,
    }

    struct Ear(Option<Rc<RefCell<Vec<Heard>>>>);

    impl BodyGuard for Ear {
        fn on_end(mut self, end: Result<(), &BoxError>) {
            let heard = if end.is_ok() { Heard::Finished } else { Heard::Failed };
            self.0.take().expect("only once").borrow_mut().push(heard);
        }
    }

    impl Drop for Ear {
        fn drop(&mut self) {
            if let Some(heard) = self.0.take() {
                heard.borrow_mut().push(Heard::Dropped);
            }
        }
    }

    proptest! {
        /// P03: however a body goes, and wherever it is dropped, its watch hears of exactly one end.
        #[test]
        fn p03_every_watch_hears_of_exactly_one_end(
            acts in prop::collection::vec(prop_oneof![4 => Just(Act::Data), 2 => Just(Act::Wait), 1 => Just(Act::Fail)], 0..12),
            polls in 0usize..16,
            tells_end: bool,
        ) {
            let heard = Rc::new(RefCell::new(Vec::new()));
            let script = Script { acts: acts.clone().into(), tells_end };
            let watch = watching(&script, Ear(Some(Rc::clone(&heard))));
            let mut body = GuardedBody { inner: script, watch };
            let mut cx = Context::from_waker(Waker::noop());
            for _ in 0..polls {
                let _ = Pin::new(&mut body).poll_frame(&mut cx);
            }
            drop(body);
            // A body that tells its end does so with its last frame, and not while it waits.
            let tells = tells_end && acts.last() != Some(&Act::Wait);
            let told = polls + usize::from(tells && polls >= acts.len());
            let expected = match acts.iter().position(|act| *act == Act::Fail) {
                Some(at) if at < polls => Heard::Failed,
                _ if told > acts.len() => Heard::Finished,
                _ => Heard::Dropped,
            };
            prop_assert_eq!(&*heard.borrow(), &[expected]);
        }
    }
}
