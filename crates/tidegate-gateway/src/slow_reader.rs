use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// A connection with a timeout for writes: it fails when the peer reads nothing for the time of the limit.
///
/// A caller that stops reading a response would otherwise hold the resources of its call (a permit, a
/// connection to the provider) without a bound. The timers of the response do not help, since its body is not
/// polled while a write blocks.
#[derive(Debug)]
pub(crate) struct WriteTimeout<T> {
    inner: T,
    limit: Duration,
    /// Runs while a write is blocked.
    timer: Option<Pin<Box<Sleep>>>,
    progress: TransferProgress,
}

/// What was read from a connection and written to it. Clones are about the same connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct TransferProgress(Arc<TransferCounts>);

#[derive(Debug, Default)]
struct TransferCounts {
    reads: AtomicUsize,
    writes: AtomicUsize,
    is_blocked: AtomicBool,
}

impl TransferProgress {
    /// The number of reads and writes; `None` while a write is blocked.
    pub(crate) fn transfers(&self) -> Option<usize> {
        Some(self.0.reads.load(Ordering::Relaxed) + self.writes()?)
    }

    /// The number of writes; `None` while one is blocked.
    pub(crate) fn writes(&self) -> Option<usize> {
        let is_blocked = self.0.is_blocked.load(Ordering::Relaxed);
        (!is_blocked).then(|| self.0.writes.load(Ordering::Relaxed))
    }

    fn record_write(&self, is_blocked: bool) {
        self.0.is_blocked.store(is_blocked, Ordering::Relaxed);
        self.0.writes.fetch_add(1, Ordering::Relaxed);
    }
}

impl<T> WriteTimeout<T> {
    /// Wraps `inner`. A blocked write fails after `limit`. What is read and written is added to `progress`.
    pub(crate) fn new(inner: T, limit: Duration, progress: TransferProgress) -> Self {
        Self { inner, limit, timer: None, progress }
    }

    pub(crate) fn get_ref(&self) -> &T {
        &self.inner
    }

    fn wait<R>(&mut self, written: Poll<io::Result<R>>, cx: &mut Context<'_>) -> Poll<io::Result<R>> {
        if written.is_ready() {
            self.timer = None;
            return written;
        }
        let limit = self.limit;
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        timer.as_mut().poll(cx).map(|()| Err(io::Error::new(io::ErrorKind::TimedOut, "peer does not read")))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for WriteTimeout<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.inner).poll_read(cx, buf);
        if buf.filled().len() > before {
            self.progress.0.reads.fetch_add(1, Ordering::Relaxed);
        }
        read
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for WriteTimeout<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, data: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, data);
        self.progress.record_write(written.is_pending());
        self.wait(written, cx)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.inner).poll_flush(cx);
        self.wait(flushed, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.inner).poll_shutdown(cx);
        self.wait(shut, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, data);
        self.progress.record_write(written.is_pending());
        self.wait(written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_stops_reading_is_disconnected_and_one_that_reads_slowly_is_not() {
        let (near, mut far) = tokio::io::duplex(4);
        let mut near = WriteTimeout::new(near, Duration::from_secs(30), TransferProgress::default());
        near.write_all(b"full").await.unwrap();
        let slow = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(29)).await;
            far.read_exact(&mut [0; 4]).await.unwrap();
            far
        });
        near.write_all(b"more").await.unwrap();
        let _far = slow.await.unwrap();
        let start = tokio::time::Instant::now();
        let error = near.write_all(b"!").await.unwrap_err();
        assert_eq!((error.kind(), start.elapsed()), (io::ErrorKind::TimedOut, Duration::from_secs(30)));
    }
}
