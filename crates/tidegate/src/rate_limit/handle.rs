use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, Semaphore};

use super::layer::{OnLimit, Settings};
use super::limits::Limits;
use crate::shared::Shared;
use crate::{Deadline, ErrorCode, Gate, Outcome, Rejection, Scope, clock};

/// The limit that a layer, its services and their clones share.
#[derive(Clone)]
pub struct Handle(pub(super) Shared<Settings, Line>);

/// The limits, and those who stand in line for them.
pub(super) struct Line {
    limits: Mutex<Limits>,
    /// The turn to sleep until there is room: one permit, handed on first come first served.
    turn: Semaphore,
    waiting: AtomicUsize,
    /// Wakes the one who sleeps, when there may be room earlier than it thought.
    changed: Notify,
}

/// What became of a call that asked for room.
pub(super) enum Entry {
    /// With the moment at which a request was spent.
    Admitted(Option<Instant>),
    Queued(Queued),
    Refused(Rejection),
}

/// A call in the queue. Boxed, because tokio's future has no name: one allocation for a call that has to wait.
pub(super) type Queued = Pin<Box<dyn Future<Output = Result<Instant, Rejection>> + Send>>;

impl From<&Settings> for Line {
    fn from(settings: &Settings) -> Self {
        let limits = Mutex::new(Limits::new(settings, clock::now()));
        Self { limits, turn: Semaphore::new(1), waiting: AtomicUsize::new(0), changed: Notify::new() }
    }
}

impl Handle {
    /// How many requests could be sent at once now; `None` without a quota.
    #[must_use]
    pub fn remaining(&self) -> Option<u32> {
        self.limits().remaining(clock::now())
    }

    /// How much longer the provider wants to be left alone, if it said so.
    #[must_use]
    pub fn closed_for(&self) -> Option<Duration> {
        self.limits().closed_for(clock::now())
    }

    /// How many calls wait for their turn.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.0.waiting.load(Ordering::Relaxed)
    }

    /// Forgets all that was spent, and what the provider said.
    pub fn reset(&self) {
        *self.limits() = Limits::new(self.0.settings(), clock::now());
        self.0.changed.notify_one();
    }

    /// Whether a call that came now would be refused at once, and why. Takes nothing.
    #[must_use]
    pub fn peek(&self, deadline: Option<Deadline>) -> Option<Rejection> {
        if !self.0.settings().enabled {
            return None;
        }
        let now = clock::now();
        let wait = self.limits().wait(self.ahead(), now);
        if wait.is_zero() { None } else { self.doomed(wait, deadline, now) }
    }

    /// Listens to what came back: a 429 closes the gate, and so does an ailing provider that says for how long.
    pub(super) fn learn(&self, outcome: &Outcome) {
        let Outcome::Failure(failure) = outcome else { return };
        if !self.0.settings().enabled {
            return;
        }
        let told = failure.hint.filter(|hint| hint.scope == Scope::Momentary).and_then(|hint| hint.wait);
        let wait = match failure.code {
            ErrorCode::RateLimited => Some(failure.wait().unwrap_or(self.0.settings().pause)),
            code if code.counts_against_health() => told,
            _ => None,
        };
        if let Some(wait) = wait {
            self.limits().close(Deadline::after(wait, clock::now()).instant());
        }
    }

    /// Gives back a request that was spent at `spent` and never reached the wire.
    pub(super) fn refund(&self, spent: Instant) {
        self.limits().refund(spent, clock::now());
    }

    pub(super) fn enter(&self, deadline: Option<Deadline>) -> Entry {
        if !self.0.settings().enabled {
            return Entry::Admitted(None);
        }
        let now = clock::now();
        let ahead = self.ahead();
        let wait = match ahead {
            0 => match self.limits().spend(now) {
                Ok(()) => return Entry::Admitted(Some(now)),
                Err(wait) => wait,
            },
            // Those who wait come first, even if there is room for one.
            ahead => self.limits().wait(ahead, now),
        };
        if let Some(rejection) = self.doomed(wait, deadline, now) {
            return Entry::Refused(rejection);
        }
        match Place::take(self) {
            Some(place) => Entry::Queued(Box::pin(place.wait(deadline, now))),
            None => Entry::Refused(too_many().with_retry_after(wait)),
        }
    }

    /// The refusal of a call that would have to wait for `wait`, if its waiting would be in vain.
    fn doomed(&self, wait: Duration, deadline: Option<Deadline>, now: Instant) -> Option<Rejection> {
        let settings = self.0.settings();
        let rejection = if settings.on_limit == OnLimit::Reject {
            refused("rate limit reached")
        } else if wait > settings.max_wait {
            refused("rate limit reached and max_wait exceeded")
        } else if self.waiting() >= settings.max_waiting {
            too_many()
        } else if deadline.is_some_and(|deadline| !deadline.allows(wait, now)) {
            Rejection::new(Gate::Deadline, ErrorCode::Timeout).because("rate limit reached past the deadline")
        } else {
            return None;
        };
        Some(rejection.with_retry_after(wait))
    }

    fn ahead(&self) -> u32 {
        u32::try_from(self.waiting()).unwrap_or(u32::MAX)
    }

    fn limits(&self) -> MutexGuard<'_, Limits> {
        self.0.limits.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in the queue; given back when dropped, together with the turn.
struct Place(Handle);

impl Place {
    fn take(handle: &Handle) -> Option<Self> {
        let max = handle.0.settings().max_waiting;
        let waiting = &handle.0.waiting;
        waiting
            .try_update(Ordering::Relaxed, Ordering::Relaxed, |waiting| (waiting < max).then(|| waiting + 1))
            .ok()
            .map(|_| Self(handle.clone()))
    }

    /// Waits for a turn, and spends: at the moment returned.
    async fn wait(self, deadline: Option<Deadline>, now: Instant) -> Result<Instant, Rejection> {
        let gate = &self.0;
        let patience = Deadline::after(gate.0.settings().max_wait, now);
        let until = deadline.map_or(patience, |deadline| deadline.min(patience));
        let turn = tokio::time::timeout_at(until.instant().into(), gate.0.turn.acquire()).await;
        let in_vain = || match until < patience {
            true => Rejection::new(Gate::Deadline, ErrorCode::Timeout)
                .because("rate limit reached past the deadline"),
            false => refused("rate limit reached and max_wait exceeded"),
        };
        let turn = turn.map_err(|_| in_vain())?;
        // First in the queue. The gate may close while this one sleeps, so it asks again on waking.
        loop {
            let now = clock::now();
            let Err(wait) = gate.limits().spend(now) else {
                drop(turn);
                return Ok(now);
            };
            if !until.allows(wait, now) {
                return Err(in_vain().with_retry_after(wait));
            }
            // Woken early, it asks again.
            let _ = tokio::time::timeout(wait, gate.0.changed.notified()).await;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle")
            .field("settings", self.0.settings())
            .field("remaining", &self.remaining())
            .field("waiting", &self.waiting())
            .finish()
    }
}

fn too_many() -> Rejection {
    refused("rate limit reached and too many waiting")
}

fn refused(reason: &'static str) -> Rejection {
    Rejection::new(Gate::RateLimit, ErrorCode::RateLimited).because(reason)
}
