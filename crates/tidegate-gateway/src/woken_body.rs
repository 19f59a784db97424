use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;
use http_body::{Body, Frame, SizeHint};

/// A body that polls its inner body again only after that was woken.
///
/// hyper polls the body of a response twice more after each frame, and each poll passes through all bodies of
/// a call.
#[derive(Debug)]
pub(crate) struct WokenBody<B> {
    inner: B,
    wakes: Arc<Wakes>,
    /// The waker of `wakes`.
    waker: Waker,
}

#[derive(Debug)]
struct Wakes {
    is_woken: AtomicBool,
    task: AtomicWaker,
}

impl<B> WokenBody<B> {
    pub(crate) fn new(inner: B) -> Self {
        let wakes = Arc::new(Wakes { is_woken: AtomicBool::new(true), task: AtomicWaker::new() });
        Self { inner, waker: Arc::clone(&wakes).into(), wakes }
    }
}

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.is_woken.store(true, Ordering::Release);
        self.task.wake();
    }
}

impl<B: Body + Unpin> Body for WokenBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = &mut *self;
        // Registered before the check: a wake in between is in the check, a later one wakes the task.
        this.wakes.task.register(cx.waker());
        if !this.wakes.is_woken.swap(false, Ordering::Acquire) {
            return Poll::Pending;
        }
        let frame = Pin::new(&mut this.inner).poll_frame(&mut Context::from_waker(&this.waker));
        if frame.is_ready() {
            this.wakes.is_woken.store(true, Ordering::Relaxed);
        }
        frame
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
    use std::convert::Infallible;
    use std::sync::atomic::AtomicUsize;

    use bytes::Bytes;
    use futures_util::StreamExt;
    use http_body_util::{BodyExt, StreamBody};
    use tokio::sync::mpsc;
    use tokio::task::yield_now;

    use super::*;

    type Frames = mpsc::UnboundedSender<Bytes>;

    /// A body that counts its polls.
    fn counted(
        polls: Arc<AtomicUsize>,
    ) -> (Frames, WokenBody<impl Body<Data = Bytes, Error = Infallible> + Unpin>) {
        let (frames, mut received) = mpsc::unbounded_channel();
        let stream = futures_util::stream::poll_fn(move |cx| {
            polls.fetch_add(1, Ordering::Relaxed);
            received.poll_recv(cx)
        });
        (frames, WokenBody::new(StreamBody::new(stream.map(|data| Ok(Frame::data(data))))))
    }

    #[tokio::test]
    async fn the_inner_body_is_polled_once_for_each_wake() {
        let polls = Arc::<AtomicUsize>::default();
        let (frames, mut body) = counted(Arc::clone(&polls));
        for _ in 0..3 {
            assert!(futures_util::poll!(body.frame()).is_pending());
        }
        assert_eq!(polls.load(Ordering::Relaxed), 1);
        frames.send(Bytes::from("data")).unwrap();
        assert!(futures_util::poll!(body.frame()).is_ready());
        for _ in 0..3 {
            assert!(futures_util::poll!(body.frame()).is_pending());
        }
        assert_eq!(polls.load(Ordering::Relaxed), 3);
    }

    #[tokio::test]
    async fn the_task_that_polled_last_is_woken() {
        let (frames, mut body) = counted(Arc::default());
        assert!(futures_util::poll!(body.frame()).is_pending());
        let task = tokio::spawn(async move {
            let mut received = Vec::new();
            while let Some(frame) = body.frame().await {
                received.push(frame.unwrap().into_data().unwrap());
            }
            received
        });
        for data in ["a", "b", "c"] {
            yield_now().await;
            frames.send(Bytes::from(data)).unwrap();
        }
        drop(frames);
        assert_eq!(task.await.unwrap(), ["a", "b", "c"]);
    }
}
