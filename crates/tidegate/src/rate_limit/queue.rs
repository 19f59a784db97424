//! The queue of calls that wait for room in the quotas.

use std::future::Future;
use std::pin::Pin;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use http::Extensions;
use tokio::sync::Notify;

use super::Handle;
use super::backlog::Backlog;
use super::queue_head::QueueHead;
use super::quota::CallCost;
use super::quota_set::{QuotaSet, Reserved, Shortfall};
use super::settings::{HeaderClassifier, OnLimit, RateLimitSettings, Settings};
use crate::{Deadline, ErrorCode, Gate, Priority, Rejection, RejectionReason, clock};

/// The quotas of one gate and the queue of calls that wait for them.
#[derive(Debug)]
pub(super) struct RateQueue {
    state: Mutex<QueueState>,
    head: QueueHead,
    /// Wakes the first call in the queue when there may be room earlier than it computed.
    pub(super) room_changed: Notify,
    /// Some quota counts tokens, so calls have to be estimated and metered.
    pub(super) has_token_quota: AtomicBool,
    /// The provider has reported a limit.
    pub(super) has_reported_quotas: AtomicBool,
    /// The wire below records every attempt that it sends. An attempt that is not recorded was not sent.
    pub(super) wire_reports: AtomicBool,
    /// The number of reported limits that were ignored.
    pub(super) ignored: AtomicU64,
    /// Reads the limits in response headers when the layer has no classifier of its own.
    pub(super) classifier: OnceLock<HeaderClassifier>,
}

/// The state that is read and changed together. The lock is held for a few dozen nanoseconds and never across
/// a wait.
#[derive(Debug)]
pub(super) struct QueueState {
    pub(super) limits: QuotaSet,
    pub(super) backlog: Backlog,
}

/// The decision on a new call.
pub(super) enum RateDecision {
    /// The reservation, or `None` if the layer is disabled.
    Admitted(Option<Reserved>),
    Queued(ReserveFuture),
    Rejected(Rejection),
}

/// The future of a call in the queue. It is boxed because tokio's timeout future cannot be named: one
/// allocation per waiting call.
pub(super) type ReserveFuture = Pin<Box<dyn Future<Output = Result<Reserved, Rejection>> + Send>>;

impl From<&RateLimitSettings> for RateQueue {
    fn from(settings: &RateLimitSettings) -> Self {
        let limits = settings.quota_set(clock::now());
        Self {
            has_token_quota: AtomicBool::new(limits.has_token_quota()),
            state: Mutex::new(QueueState { limits, backlog: Backlog::default() }),
            head: QueueHead::new(settings.max_waiting),
            room_changed: Notify::new(),
            has_reported_quotas: AtomicBool::new(false),
            wire_reports: AtomicBool::new(false),
            ignored: AtomicU64::new(0),
            classifier: OnceLock::new(),
        }
    }
}

impl RateQueue {
    pub(super) fn lock(&self) -> MutexGuard<'_, QueueState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn admit(handle: &Handle, cost: CallCost, extensions: &Extensions) -> RateDecision {
        let settings = handle.0.settings();
        if !settings.enabled {
            return RateDecision::Admitted(None);
        }
        let (now, priority) = (clock::now(), Priority::of(extensions));
        let mut state = handle.0.lock();
        let shortfall = match state.backlog.total() {
            0 => match state.limits.try_reserve(&cost, 0, now) {
                Ok(reserved) => return RateDecision::Admitted(Some(reserved)),
                Err(shortfall) => shortfall,
            },
            // Waiting calls come first, even if there is room for this one.
            _ => state.limits.shortfall(&state.backlog.ahead_of(priority), &cost, now),
        };
        let deadline = Deadline::of(extensions);
        if let Some(rejection) =
            settings.reject_early(state.backlog.count(priority), &shortfall, deadline, now)
        {
            return RateDecision::Rejected(rejection);
        }
        state.backlog.push(priority, &cost);
        drop(state);
        let entry = QueueEntry { handle: handle.clone(), cost, priority };
        RateDecision::Queued(Box::pin(entry.wait(shortfall.quota, deadline, now)))
    }
}

impl Settings {
    /// Returns the rejection of a call if its wait would be in vain. `shortfall` is the room that it lacks;
    /// `waiting` calls of its priority are already in the queue.
    pub(super) fn reject_early(
        &self,
        waiting: usize,
        shortfall: &Shortfall,
        deadline: Option<Deadline>,
        now: Instant,
    ) -> Option<Rejection> {
        let rejection = if self.on_limit == OnLimit::Reject {
            rejected_because(RejectionReason::RateLimitReached)
        } else if shortfall.wait > self.max_wait {
            rejected_because(RejectionReason::MaxWaitExceeded)
        } else if waiting >= self.max_waiting {
            too_many_waiting()
        } else if deadline.is_some_and(|deadline| !deadline.allows(shortfall.wait, now)) {
            past_deadline()
        } else {
            return None;
        };
        Some(shortfall.annotate(rejection))
    }
}

/// An entry of the queue. Dropping it removes the call from the backlog.
struct QueueEntry {
    handle: Handle,
    cost: CallCost,
    priority: Priority,
}

impl QueueEntry {
    /// Waits for the head of the queue and then for room, and reserves. `quota` is the quota that lacked room
    /// when the call arrived.
    async fn wait(
        self,
        quota: Option<&'static str>,
        deadline: Option<Deadline>,
        now: Instant,
    ) -> Result<Reserved, Rejection> {
        let queue = &self.handle.0;
        let max_wait_deadline = Deadline::after(queue.settings().max_wait, now);
        let until = deadline.map_or(max_wait_deadline, |deadline| deadline.min(max_wait_deadline));
        let timed_out = || match until < max_wait_deadline {
            true => past_deadline(),
            false => rejected_because(RejectionReason::MaxWaitExceeded),
        };
        let head = tokio::time::timeout_at(until.instant().into(), queue.head.acquire(self.priority)).await;
        let reject = |rejection| self.shortfall(quota).annotate(rejection);
        let head = head.map_err(|_| reject(timed_out()))?.ok_or_else(|| reject(too_many_waiting()))?;
        // This call is first in the queue. The gate may close while it sleeps, so it checks again after it
        // wakes.
        loop {
            let now = clock::now();
            let reserved = {
                let mut state = queue.lock();
                let behind = state.backlog.total().saturating_sub(1);
                state.limits.try_reserve(&self.cost, behind, now)
            };
            let shortfall = match reserved {
                Ok(reserved) => {
                    drop(head);
                    return Ok(reserved);
                }
                Err(shortfall) => shortfall,
            };
            if !until.allows(shortfall.wait, now) {
                return Err(shortfall.annotate(timed_out()));
            }
            // It may be woken early. The loop checks again either way.
            let _ = tokio::time::timeout(shortfall.wait, queue.room_changed.notified()).await;
        }
    }

    /// Returns the shortfall that the call would have if it arrived now, behind all other calls in the queue.
    /// If there is room by now, names the quota that it waited for.
    fn shortfall(&self, quota: Option<&'static str>) -> Shortfall {
        let state = self.handle.0.lock();
        let mut backlog = state.backlog;
        backlog.remove(self.priority, &self.cost);
        match state.limits.shortfall(&backlog.ahead_of(self.priority), &self.cost, clock::now()) {
            shortfall if shortfall.wait.is_zero() => Shortfall { quota, ..shortfall },
            shortfall => shortfall,
        }
    }
}

impl Drop for QueueEntry {
    fn drop(&mut self) {
        let mut state = self.handle.0.lock();
        state.backlog.remove(self.priority, &self.cost);
    }
}

fn past_deadline() -> Rejection {
    Rejection::new(Gate::Deadline, ErrorCode::Timeout).because(RejectionReason::RateLimitPastDeadline)
}

fn too_many_waiting() -> Rejection {
    rejected_because(RejectionReason::RateQueueFull)
}

fn rejected_because(reason: RejectionReason) -> Rejection {
    Rejection::new(Gate::RateLimit, ErrorCode::RateLimited).because(reason)
}
