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
use super::ahead::Ahead;
use super::limits::{Limits, Shortfall, Spent};
use super::quota::Cost;
use super::settings::{OnLimit, Reader, Settings};
use super::turn::Turn;
use crate::{Deadline, ErrorCode, Gate, Priority, Rejection, clock};

/// The limits, and those who stand in line for them.
#[derive(Debug)]
pub(super) struct Line {
    state: Mutex<State>,
    turn: Turn,
    /// Wakes the one who sleeps, when there may be room earlier than it thought.
    pub(super) changed: Notify,
    /// Some quota is in tokens, so that calls have to be estimated and metered.
    pub(super) counts_tokens: AtomicBool,
    /// The provider told of a limit.
    pub(super) has_heard: AtomicBool,
    /// The wire below tells what is sent: what it does not tell of was not sent.
    pub(super) hears_wire: AtomicBool,
    /// Words of the provider's that were not believed.
    pub(super) ignored: AtomicU64,
    /// Who reads them, where the layer was not told.
    pub(super) classifier: OnceLock<Reader>,
}

/// What is looked at and changed together. The lock is held for a few dozen nanoseconds, and never across a wait.
#[derive(Debug)]
pub(super) struct State {
    pub(super) limits: Limits,
    pub(super) ahead: Ahead,
}

/// What became of a call that asked for room.
pub(super) enum Entry {
    /// With what it spent; nothing, if the layer is disabled.
    Admitted(Option<Spent>),
    Queued(Queued),
    Refused(Rejection),
}

/// A call in the queue. Boxed, because tokio's future has no name: one allocation for a call that has to wait.
pub(super) type Queued = Pin<Box<dyn Future<Output = Result<Spent, Rejection>> + Send>>;

impl From<&Settings> for Line {
    fn from(settings: &Settings) -> Self {
        let limits = settings.limits(clock::now());
        Self {
            counts_tokens: AtomicBool::new(limits.count_tokens()),
            state: Mutex::new(State { limits, ahead: Ahead::default() }),
            turn: Turn::new(settings.max_waiting),
            changed: Notify::new(),
            has_heard: AtomicBool::new(false),
            hears_wire: AtomicBool::new(false),
            ignored: AtomicU64::new(0),
            classifier: OnceLock::new(),
        }
    }
}

impl Line {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn enter(handle: &Handle, cost: Cost, extensions: &Extensions) -> Entry {
        let settings = handle.0.settings();
        if !settings.enabled {
            return Entry::Admitted(None);
        }
        let (now, priority) = (clock::now(), Priority::of(extensions));
        let mut state = handle.0.lock();
        let lack = match state.ahead.all() {
            0 => match state.limits.spend(&cost, 0, now) {
                Ok(spent) => return Entry::Admitted(Some(spent)),
                Err(lack) => lack,
            },
            // Those who wait come first, even if there is room for one.
            _ => state.limits.lack(&state.ahead.of(priority), &cost, now),
        };
        let deadline = Deadline::of(extensions);
        if let Some(rejection) = settings.doomed(state.ahead.count(priority), &lack, deadline, now) {
            return Entry::Refused(rejection);
        }
        state.ahead.join(priority, &cost);
        drop(state);
        let place = Place { handle: handle.clone(), cost, priority };
        Entry::Queued(Box::pin(place.wait(lack.quota, deadline, now)))
    }
}

impl Settings {
    /// The refusal of a call that lacks room with `waiting` others of its priority in line, if its waiting would be
    /// in vain.
    pub(super) fn doomed(
        &self,
        waiting: usize,
        lack: &Shortfall,
        deadline: Option<Deadline>,
        now: Instant,
    ) -> Option<Rejection> {
        let rejection = if self.on_limit == OnLimit::Reject {
            refused("rate limit reached")
        } else if lack.wait > self.max_wait {
            refused("rate limit reached and max_wait exceeded")
        } else if waiting >= self.max_waiting {
            too_many()
        } else if deadline.is_some_and(|deadline| !deadline.allows(lack.wait, now)) {
            past_deadline()
        } else {
            return None;
        };
        Some(lack.explain(rejection))
    }
}

/// A place in the queue; given back when dropped, together with the turn.
struct Place {
    handle: Handle,
    cost: Cost,
    priority: Priority,
}

impl Place {
    /// Waits for a turn, and spends. `quota` is what there was no room in when it came.
    async fn wait(
        self,
        quota: Option<&'static str>,
        deadline: Option<Deadline>,
        now: Instant,
    ) -> Result<Spent, Rejection> {
        let line = &self.handle.0;
        let patience = Deadline::after(line.settings().max_wait, now);
        let until = deadline.map_or(patience, |deadline| deadline.min(patience));
        let in_vain = || match until < patience {
            true => past_deadline(),
            false => refused("rate limit reached and max_wait exceeded"),
        };
        let turn = tokio::time::timeout_at(until.instant().into(), line.turn.take(self.priority)).await;
        let refused = |rejection| self.lack(quota).explain(rejection);
        let turn = turn.map_err(|_| refused(in_vain()))?.ok_or_else(|| refused(too_many()))?;
        // First in the queue. The gate may close while this one sleeps, so it asks again on waking.
        loop {
            let now = clock::now();
            let spent = {
                let mut state = line.lock();
                let behind = state.ahead.all().saturating_sub(1);
                state.limits.spend(&self.cost, behind, now)
            };
            let lack = match spent {
                Ok(spent) => {
                    drop(turn);
                    return Ok(spent);
                }
                Err(lack) => lack,
            };
            if !until.allows(lack.wait, now) {
                return Err(lack.explain(in_vain()));
            }
            // Woken early, it asks again.
            let _ = tokio::time::timeout(lack.wait, line.changed.notified()).await;
        }
    }

    /// What it would lack if it came only now, behind all who are in the queue without it; and if there is room by now,
    /// what it waited for.
    fn lack(&self, quota: Option<&'static str>) -> Shortfall {
        let state = self.handle.0.lock();
        let mut ahead = state.ahead;
        ahead.leave(self.priority, &self.cost);
        match state.limits.lack(&ahead.of(self.priority), &self.cost, clock::now()) {
            lack if lack.wait.is_zero() => Shortfall { quota, ..lack },
            lack => lack,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.handle.0.lock();
        state.ahead.leave(self.priority, &self.cost);
    }
}

fn past_deadline() -> Rejection {
    Rejection::new(Gate::Deadline, ErrorCode::Timeout).because("rate limit reached past the deadline")
}

fn too_many() -> Rejection {
    refused("rate limit reached and too many waiting")
}

fn refused(reason: &'static str) -> Rejection {
    Rejection::new(Gate::RateLimit, ErrorCode::RateLimited).because(reason)
}
