//! Those who stand in line for the limits.

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
use super::quota_set::{QuotaSet, Shortfall, Reserved};
use super::quota::CallCost;
use super::settings::{OnLimit, HeaderClassifier, Settings};
use super::queue_head::QueueHead;
use crate::{Deadline, ErrorCode, Gate, Priority, Rejection, clock};

/// The limits, and those who stand in line for them.
#[derive(Debug)]
pub(super) struct RateQueue {
    state: Mutex<QueueState>,
    head: QueueHead,
    /// Wakes the one who sleeps, when there may be room earlier than it thought.
    pub(super) room_changed: Notify,
    /// Some quota is in tokens, so that calls have to be estimated and metered.
    pub(super) has_token_quota: AtomicBool,
    /// The provider told of a limit.
    pub(super) has_reported_quotas: AtomicBool,
    /// The wire below tells what is sent: what it does not tell of was not sent.
    pub(super) wire_reports: AtomicBool,
    /// Words of the provider's that were not believed.
    pub(super) ignored: AtomicU64,
    /// Who reads them, where the layer was not told.
    pub(super) classifier: OnceLock<HeaderClassifier>,
}

/// What is looked at and changed together. The lock is held for a few dozen nanoseconds, and never across a wait.
#[derive(Debug)]
pub(super) struct QueueState {
    pub(super) limits: QuotaSet,
    pub(super) backlog: Backlog,
}

/// What became of a call that asked for room.
pub(super) enum RateDecision {
    /// With what it spent; nothing, if the layer is disabled.
    Admitted(Option<Reserved>),
    Queued(ReserveFuture),
    Rejected(Rejection),
}

/// A call in the queue. Boxed, because tokio's future has no name: one allocation for a call that has to wait.
pub(super) type ReserveFuture = Pin<Box<dyn Future<Output = Result<Reserved, Rejection>> + Send>>;

impl From<&Settings> for RateQueue {
    fn from(settings: &Settings) -> Self {
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
            // Those who wait come first, even if there is room for one.
            _ => state.limits.shortfall(&state.backlog.ahead_of(priority), &cost, now),
        };
        let deadline = Deadline::of(extensions);
        if let Some(rejection) = settings.reject_early(state.backlog.count(priority), &shortfall, deadline, now) {
            return RateDecision::Rejected(rejection);
        }
        state.backlog.push(priority, &cost);
        drop(state);
        let entry = QueueEntry { handle: handle.clone(), cost, priority };
        RateDecision::Queued(Box::pin(entry.wait(shortfall.quota, deadline, now)))
    }
}

impl Settings {
    /// The refusal of a call that lacks room with `waiting` others of its priority in line, if its waiting would be
    /// in vain.
    pub(super) fn reject_early(
        &self,
        waiting: usize,
        shortfall: &Shortfall,
        deadline: Option<Deadline>,
        now: Instant,
    ) -> Option<Rejection> {
        let rejection = if self.on_limit == OnLimit::Reject {
            rejected_because("rate limit reached")
        } else if shortfall.wait > self.max_wait {
            rejected_because("rate limit reached and max_wait exceeded")
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

/// A place in the queue; given back when dropped, together with the turn.
struct QueueEntry {
    handle: Handle,
    cost: CallCost,
    priority: Priority,
}

impl QueueEntry {
    /// Waits for a turn, and spends. `quota` is what there was no room in when it came.
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
            false => rejected_because("rate limit reached and max_wait exceeded"),
        };
        let head = tokio::time::timeout_at(until.instant().into(), queue.head.acquire(self.priority)).await;
        let reject = |rejection| self.shortfall(quota).annotate(rejection);
        let head = head.map_err(|_| reject(timed_out()))?.ok_or_else(|| reject(too_many_waiting()))?;
        // First in the queue. The gate may close while this one sleeps, so it asks again on waking.
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
            // Woken early, it asks again.
            let _ = tokio::time::timeout(shortfall.wait, queue.room_changed.notified()).await;
        }
    }

    /// What it would lack if it came only now, behind all who are in the queue without it; and if there is room by now,
    /// what it waited for.
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
    Rejection::new(Gate::Deadline, ErrorCode::Timeout).because("rate limit reached past the deadline")
}

fn too_many_waiting() -> Rejection {
    rejected_because("rate limit reached and too many waiting")
}

fn rejected_because(reason: &'static str) -> Rejection {
    Rejection::new(Gate::RateLimit, ErrorCode::RateLimited).because(reason)
}
