//! Work on whole documents, which would delay the other tasks of a thread if they are long.

use std::future::Future;
use std::panic::resume_unwind;
use std::pin::Pin;
use std::sync::LazyLock;
use std::task::{Context, Poll};
use std::thread::available_parallelism;

use sync_wrapper::SyncWrapper;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::JoinError;

use crate::Error;

/// A document of so many bytes is worked on by another thread.
pub(crate) const LONG_DOCUMENT: usize = 256 * 1024;

/// The documents that are worked on at once: one per processor. Each takes a multiple of its own memory.
static RUNNING: LazyLock<Semaphore> =
    LazyLock::new(|| Semaphore::new(available_parallelism().map_or(1, usize::from)));

/// Work on one document: done at the first poll if the document is short, and else on a thread for blocking
/// work.
///
/// The result is an error if the runtime shuts down. A panic of the work is one of the task that polls, as if the
/// document were short. Work that waits for its turn is dropped with this future. The box is one allocation, beside the many of work that parses a
/// document.
pub struct DocumentWork<T>(SyncWrapper<BoxedWork<T>>);

type BoxedWork<T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send>>;

impl<T: Send + 'static> DocumentWork<T> {
    /// `work` on a document of `len` bytes.
    pub(crate) fn new(len: usize, work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Self {
        Self(SyncWrapper::new(Box::pin(async move {
            if len < LONG_DOCUMENT {
                return work();
            }
            let permit = RUNNING.acquire().await.map_err(Error::new)?;
            let Ok(runtime) = Handle::try_current() else { return work() };
            let done = runtime.spawn_blocking(move || {
                // Held by the work and not by the call: work goes on when its call is dropped.
                let _permit = permit;
                work()
            });
            match done.await.map_err(JoinError::try_into_panic) {
                Ok(result) => result,
                Err(Ok(panic)) => resume_unwind(panic),
                Err(Err(cancelled)) => Err(Error::new(cancelled)),
            }
        })))
    }
}

impl<T> Future for DocumentWork<T> {
    type Output = Result<T, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.get_mut().as_mut().poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, mpsc};

    use super::*;

    /// Regression: that of a long document was an error of the provider, and the request was sent again.
    #[tokio::test]
    async fn a_panic_of_the_work_is_one_of_the_call_however_long_the_document_is() {
        for len in [LONG_DOCUMENT - 1, LONG_DOCUMENT] {
            let work = DocumentWork::<()>::new(len, || panic!("a defect of the classifier"));
            let panic = tokio::spawn(work).await.unwrap_err().into_panic();
            assert_eq!(panic.downcast_ref(), Some(&"a defect of the classifier"));
        }
    }

    /// A caller that leaves returns neither the processor nor the memory that its work still takes.
    #[tokio::test]
    async fn a_permit_is_held_until_the_work_ends_and_work_without_one_ends_with_its_call() {
        let document = Arc::new(());
        let (begin, begun) = mpsc::channel();
        let (mut calls, mut ends) = (Vec::new(), Vec::new());
        for _ in 0..available_parallelism().map_or(1, usize::from) {
            let ((end, ended), begin) = (mpsc::channel::<()>(), begin.clone());
            let mut work = tokio_test::task::spawn(DocumentWork::new(LONG_DOCUMENT, move || {
                begin.send(()).map_err(Error::new)?;
                Ok(ended.recv().is_err())
            }));
            while work.poll().is_pending() && begun.try_recv().is_err() {
                tokio::task::yield_now().await;
            }
            calls.push(work);
            ends.push(end);
        }
        drop(calls);
        let held = Arc::clone(&document);
        let mut late = tokio_test::task::spawn(DocumentWork::new(LONG_DOCUMENT, move || Ok(held)));
        assert!(late.poll().is_pending());
        assert_eq!((RUNNING.available_permits(), Arc::strong_count(&document)), (0, 2));
        drop(late);
        assert_eq!(Arc::strong_count(&document), 1);
        drop(ends);
        assert!(DocumentWork::new(LONG_DOCUMENT, || Ok(true)).await.unwrap());
    }
}
