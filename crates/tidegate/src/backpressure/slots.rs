use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::layer::Settings;
use crate::shared::Shared;
use crate::watched::Watch;
use crate::{BoxError, Deadline, ErrorCode, Gate, Rejection, clock};

/// The limit that a layer, its services and their clones share.
#[derive(Clone)]
pub struct Handle(pub(super) Shared<Settings, Slots>);

pub(super) struct Slots {
    /// First come first served: tokio's semaphore hands a freed permit to the longest waiter.
    permits: Arc<Semaphore>,
    queued: AtomicUsize,
}

/// One of the calls in flight; given back when dropped.
#[derive(Debug)]
pub struct Permit(#[expect(dead_code, reason = "held for its Drop")] Option<OwnedSemaphorePermit>);

/// What became of a call that asked for a permit.
pub(super) enum Entry {
    Admitted(Permit),
    Queued(Queued),
    Refused(Rejection),
}

/// A call in the queue. Boxed, because tokio's future has no name: one allocation for a call that has to wait.
pub(super) type Queued = Pin<Box<dyn Future<Output = Result<Permit, Rejection>> + Send>>;

impl From<&Settings> for Slots {
    fn from(settings: &Settings) -> Self {
        let permits = settings.max_inflight.unwrap_or(0).min(Semaphore::MAX_PERMITS);
        Self { permits: Arc::new(Semaphore::new(permits)), queued: AtomicUsize::new(0) }
    }
}

impl Handle {
    /// The most calls that may be in flight; `None` if there is no limit.
    #[must_use]
    pub fn limit(&self) -> Option<usize> {
        self.0.settings().max_inflight
    }

    /// How many calls are in flight, their bodies included; zero where there is no limit.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        let limit = self.limit().unwrap_or(0).min(Semaphore::MAX_PERMITS);
        limit.saturating_sub(self.0.permits.available_permits())
    }

    /// How many calls wait for a permit.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.0.queued.load(Ordering::Relaxed)
    }

    /// Whether a call that came now would be refused at once, and why. Takes nothing.
    #[must_use]
    pub fn peek(&self) -> Option<Rejection> {
        let full = self.limit().is_some()
            && self.0.permits.available_permits() == 0
            && self.queued() >= self.0.settings().max_queued;
        full.then(queue_is_full)
    }

    pub(super) fn enter(&self, deadline: Option<Deadline>) -> Entry {
        if self.limit().is_none() {
            return Entry::Admitted(Permit(None));
        }
        if let Ok(permit) = Arc::clone(&self.0.permits).try_acquire_owned() {
            return Entry::Admitted(Permit(Some(permit)));
        }
        match Place::take(self) {
            Some(place) => Entry::Queued(Box::pin(place.wait(clock::now(), deadline))),
            None => Entry::Refused(queue_is_full()),
        }
    }
}

/// A place in the queue; given back when dropped.
struct Place(Handle);

impl Place {
    fn take(handle: &Handle) -> Option<Self> {
        let max = handle.0.settings().max_queued;
        let queued = &handle.0.queued;
        queued
            .try_update(Ordering::Relaxed, Ordering::Relaxed, |queued| (queued < max).then(|| queued + 1))
            .ok()
            .map(|_| Self(handle.clone()))
    }

    async fn wait(self, now: Instant, deadline: Option<Deadline>) -> Result<Permit, Rejection> {
        let patience = Deadline::after(self.0.0.settings().queue_timeout, now);
        let until = deadline.map_or(patience, |deadline| deadline.min(patience));
        let permit = Arc::clone(&self.0.0.permits).acquire_owned();
        match tokio::time::timeout_at(until.instant().into(), permit).await {
            Ok(Ok(permit)) => Ok(Permit(Some(permit))),
            Ok(Err(_closed)) => unreachable!("the semaphore is never closed"),
            Err(_) if until < patience => Err(Rejection::new(Gate::Deadline, ErrorCode::Timeout)),
            Err(_) => Err(refused("no permit within the queue time-out")),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.0.queued.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Nothing to tell about the end: the permit is given back by being dropped.
impl Watch for Permit {
    fn ended(self, _: Result<(), &BoxError>) {}
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle")
            .field("settings", self.0.settings())
            .field("in_flight", &self.in_flight())
            .field("queued", &self.queued())
            .finish()
    }
}

fn queue_is_full() -> Rejection {
    refused("too many calls in flight, and the queue is full")
}

fn refused(reason: &'static str) -> Rejection {
    Rejection::new(Gate::Backpressure, ErrorCode::Overloaded).because(reason)
}
