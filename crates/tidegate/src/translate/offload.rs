use std::sync::LazyLock;
use std::thread::available_parallelism;

use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use crate::Error;

/// The translations that run at once: one per processor. Each takes a multiple of the memory of its request.
static RUNNING: LazyLock<Semaphore> =
    LazyLock::new(|| Semaphore::new(available_parallelism().map_or(1, usize::from)));

/// Runs `work` on a thread for blocking work, so that it delays no other task of the runtime.
///
/// # Errors
///
/// The runtime shuts down, or `work` has panicked.
pub(super) async fn offload<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Error> {
    let permit = RUNNING.acquire().await.map_err(Error::new)?;
    let Ok(runtime) = Handle::try_current() else { return Ok(work()) };
    let done = runtime.spawn_blocking(move || {
        // Held by the work and not by the call: work goes on when its call is dropped.
        let _permit = permit;
        work()
    });
    done.await.map_err(Error::new)
}
