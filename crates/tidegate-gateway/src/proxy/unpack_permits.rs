//! The permits under which request bodies are unpacked.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use tidegate::ErrorCode;
use tidegate::provider::ErrorBody;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::GatewayError;

/// The permits for unpacking. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct UnpackPermits {
    /// Those of all callers.
    all: Arc<Semaphore>,
    of_caller: Option<CallerUnpacking>,
}

/// The permit of one caller: it may occupy one processor.
#[derive(Clone, Debug)]
pub(crate) struct CallerUnpacking(Arc<Semaphore>);

/// One permit for each processor.
static PROCESSORS: LazyLock<Arc<Semaphore>> =
    LazyLock::new(|| Arc::new(Semaphore::new(std::thread::available_parallelism().map_or(1, usize::from))));

/// The longest wait for the permits.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// The time after which the permits may be free.
const RETRY_AFTER: Duration = Duration::from_secs(1);

impl UnpackPermits {
    /// The permits of the process.
    pub(crate) fn of_process() -> Self {
        Self { all: Arc::clone(&PROCESSORS), of_caller: None }
    }

    /// The same permits, and that of a caller.
    pub(super) fn of_caller(&self, of_caller: &CallerUnpacking) -> Self {
        Self { of_caller: Some(of_caller.clone()), ..self.clone() }
    }

    /// Runs `unpack` with the permits, and not on a thread of the runtime. It goes on if the caller leaves,
    /// so that it has the permits.
    ///
    /// # Errors
    ///
    /// The permits were not free in time.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        unpack: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, GatewayError> {
        let permits = timeout(MAX_WAIT, self.acquire()).await.map_err(|_| occupied())?;
        let unpacked = spawn_blocking(move || {
            let _permits = permits;
            unpack()
        });
        unpacked.await.map_err(|_| GatewayError::new(ErrorCode::ServerError, "body was not unpacked"))
    }

    /// That of the caller comes first, so that a caller waits for one of the others at most once.
    async fn acquire(&self) -> Vec<OwnedSemaphorePermit> {
        let mut permits = Vec::new();
        for semaphore in self.of_caller.iter().map(|CallerUnpacking(one)| one).chain([&self.all]) {
            // Never closed.
            permits.extend(Arc::clone(semaphore).acquire_owned().await);
        }
        permits
    }
}

impl Default for CallerUnpacking {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }
}

/// The response to a body that cannot be unpacked for now.
pub(super) fn occupied() -> GatewayError {
    let body = ErrorBody::new(ErrorCode::Overloaded, "too many request bodies are being unpacked");
    GatewayError::from_body(body.with_retry_after(Some(RETRY_AFTER)))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use http::StatusCode;
    use tokio::time::Instant;

    use super::*;

    fn permits(count: usize) -> UnpackPermits {
        UnpackPermits { all: Arc::new(Semaphore::new(count)), of_caller: None }
    }

    /// Starts to unpack a body, which ends when the result is dropped.
    async fn unpacking(permits: &UnpackPermits) -> mpsc::Sender<()> {
        let (sender, receiver) = mpsc::channel();
        let (permits, (begun, begins)) = (permits.clone(), tokio::sync::oneshot::channel());
        tokio::spawn(async move {
            permits
                .run(move || {
                    let _ = begun.send(());
                    let _ = receiver.recv();
                })
                .await
        });
        begins.await.unwrap();
        sender
    }

    #[tokio::test(start_paused = true)]
    async fn the_wait_for_a_permit_has_a_bound() {
        let permits = permits(1);
        let _other = permits.acquire().await;
        let started = Instant::now();
        let error = permits.run(|| ()).await.unwrap_err();
        assert_eq!((error.http_status(), started.elapsed()), (StatusCode::SERVICE_UNAVAILABLE, MAX_WAIT));
    }

    #[tokio::test]
    async fn a_caller_unpacks_one_body_at_a_time_and_keeps_no_other_from_it() {
        let permits = permits(2);
        let [ann, ben] = std::array::from_fn(|_| permits.of_caller(&CallerUnpacking::default()));
        let first = unpacking(&ann).await;
        let second = tokio::spawn({
            let ann = ann.clone();
            async move { ann.run(|| ()).await.is_ok() }
        });
        tokio::task::yield_now().await;
        ben.run(|| ()).await.unwrap();
        permits.run(|| ()).await.unwrap();
        assert!(!second.is_finished());
        drop(first);
        assert!(second.await.unwrap());
    }
}
