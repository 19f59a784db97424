use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use http::Request;

use super::bulkhead::Bulkhead;
use super::layer::Settings;
use super::permit::Permit;
use super::queued::Queued;
use crate::keyed::{Kept, Keyed};
use crate::shared::Shared;
use crate::slots::Asked;
use crate::{Deadline, ErrorCode, Gate, Priority, Rejection, clock};

/// The limit that a layer, its services and their clones share; with keys, all of the limits.
#[derive(Clone)]
pub struct Handle(pub(super) Shared<Settings, Limited>);

pub(super) enum Limited {
    Not,
    AsOne(Arc<Bulkhead>),
    /// Each key by itself, and what each may have.
    ByKey(Keyed<Arc<Bulkhead>>, AtomicUsize),
}

/// What a call would meet that asked for a permit now.
pub(crate) enum Outlook {
    Room,
    Queue,
    Refused(Rejection),
}

/// What became of a call that asked for a permit.
pub(super) enum Entry {
    Admitted(Permit),
    Queued(Queued),
    Refused(Rejection),
}

impl From<&Settings> for Limited {
    fn from(settings: &Settings) -> Self {
        match (settings.max_inflight, &settings.key_by) {
            (None, _) => Self::Not,
            (Some(limit), None) => Self::AsOne(Arc::new(Bulkhead::new(limit, settings))),
            (Some(limit), Some(by)) => {
                Self::ByKey(Keyed::new(by.clone(), settings.max_keys), AtomicUsize::new(limit))
            }
        }
    }
}

impl Kept for Arc<Bulkhead> {
    /// Every call that holds a permit or waits for one holds the bulkhead.
    fn is_in_use(&self) -> bool {
        Arc::strong_count(self) > 1
    }

    fn is_as_new(&self, _: Instant) -> bool {
        !self.is_adaptive()
    }
}

impl Handle {
    /// The most calls that may be in flight now; `None` if there is no limit. With keys: the most that one key may
    /// have.
    #[must_use]
    pub fn limit(&self) -> Option<usize> {
        match &*self.0 {
            Limited::Not => None,
            Limited::AsOne(bulkhead) => Some(bulkhead.slots.limit()),
            Limited::ByKey(_, limit) => Some(limit.load(Ordering::Relaxed)),
        }
    }

    /// Changes the limit while calls are in flight, of each key if there are keys; zero is taken as one. A higher one
    /// lets those who wait in at once; a lower one takes effect as calls end. Does nothing where there is no limit,
    /// or where it finds itself.
    pub fn set_limit(&self, calls: usize) {
        let calls = calls.max(1);
        match &*self.0 {
            Limited::AsOne(bulkhead) => bulkhead.set_limit(calls),
            Limited::ByKey(bulkheads, limit) if self.0.settings().adaptive.is_none() => {
                limit.store(calls, Ordering::Relaxed);
                // Collected first: those who are woken may do as they like, but not under the locks of the map.
                let bulkheads: Vec<_> = bulkheads.states().collect();
                bulkheads.iter().for_each(|bulkhead| bulkhead.set_limit(calls));
            }
            Limited::Not | Limited::ByKey(..) => {}
        }
    }

    /// How many calls are in flight, their bodies included; zero where there is no limit.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.sum(|bulkhead| bulkhead.slots.taken())
    }

    /// How many calls wait for a permit.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.queued_of(Priority::Interactive) + self.queued_of(Priority::Batch)
    }

    /// How many calls of this priority wait for a permit.
    #[must_use]
    pub fn queued_of(&self, priority: Priority) -> usize {
        self.sum(|bulkhead| bulkhead.slots.waiting(priority))
    }

    /// How many keys there are, of those that calls came with lately; zero without keys.
    #[must_use]
    pub fn keys(&self) -> usize {
        match &*self.0 {
            Limited::ByKey(bulkheads, _) => bulkheads.len(),
            Limited::Not | Limited::AsOne(_) => 0,
        }
    }

    /// Whether a call that came now would be refused at once, whatever its priority, and why. Takes nothing. With
    /// keys it is never certain; see [`peek_for`](Self::peek_for).
    #[must_use]
    pub fn peek(&self) -> Option<Rejection> {
        let Limited::AsOne(bulkhead) = &*self.0 else { return None };
        // A full line of one priority says nothing about the other.
        let look = |priority| self.look(bulkhead, priority, None);
        look(Priority::Interactive).and(look(Priority::Batch))
    }

    /// Whether this call, with its priority, deadline and key, would be refused at once if it came now, and why.
    /// Takes nothing.
    #[must_use]
    pub fn peek_for<B>(&self, request: &Request<B>) -> Option<Rejection> {
        match self.outlook(request) {
            Outlook::Refused(rejection) => Some(rejection),
            Outlook::Room | Outlook::Queue => None,
        }
    }

    /// What this call would meet if it came now. Takes nothing.
    pub(crate) fn outlook<B>(&self, request: &Request<B>) -> Outlook {
        let found;
        let bulkhead = match &*self.0 {
            Limited::Not => return Outlook::Room,
            Limited::AsOne(bulkhead) => bulkhead,
            Limited::ByKey(bulkheads, _) => {
                let Some(bulkhead) = bulkheads.find(request) else { return Outlook::Room };
                found = bulkhead;
                &found
            }
        };
        if bulkhead.slots.has_room() {
            return Outlook::Room;
        }
        let (priority, deadline) = (Priority::of(request.extensions()), Deadline::of(request.extensions()));
        self.look(bulkhead, priority, deadline).map_or(Outlook::Queue, Outlook::Refused)
    }

    fn look(&self, bulkhead: &Bulkhead, priority: Priority, deadline: Option<Deadline>) -> Option<Rejection> {
        if bulkhead.slots.has_room() {
            return None;
        }
        let now = clock::now();
        match self.patience(deadline, now).refusal_at(now) {
            None => bulkhead.slots.is_full(priority).then(queue_is_full),
            refusal => refusal,
        }
    }

    #[inline]
    pub(super) fn enter<B>(&self, request: &Request<B>) -> Entry {
        match &*self.0 {
            Limited::Not => Entry::Admitted(Permit::unlimited()),
            Limited::AsOne(bulkhead) => self.ask(bulkhead, request),
            Limited::ByKey(bulkheads, limit) => {
                let limit = || limit.load(Ordering::Relaxed);
                let bulkhead = bulkheads.of(request, || Arc::new(Bulkhead::new(limit(), self.0.settings())));
                // It may have been made while the limit was being changed.
                bulkhead.keep_limit(limit());
                self.ask(&bulkhead, request)
            }
        }
    }

    #[inline]
    fn ask<B>(&self, bulkhead: &Arc<Bulkhead>, request: &Request<B>) -> Entry {
        if bulkhead.slots.try_take() {
            return Entry::Admitted(Permit::holding(Arc::clone(bulkhead)));
        }
        self.queue(bulkhead, request)
    }

    #[cold]
    fn queue<B>(&self, bulkhead: &Arc<Bulkhead>, request: &Request<B>) -> Entry {
        // Where nobody queues, a refusal needs no clock.
        if self.0.settings().max_queued == 0 {
            return Entry::Refused(queue_is_full());
        }
        let (priority, deadline) = (Priority::of(request.extensions()), Deadline::of(request.extensions()));
        let now = clock::now();
        let patience = self.patience(deadline, now);
        if let Some(rejection) = patience.refusal_at(now) {
            return Entry::Refused(rejection);
        }
        match bulkhead.slots.ask(priority) {
            Asked::Taken => Entry::Admitted(Permit::holding(Arc::clone(bulkhead))),
            Asked::Waits(place) => Entry::Queued(Queued::new(Arc::clone(bulkhead), place, patience)),
            Asked::Full => Entry::Refused(queue_is_full()),
        }
    }

    fn sum(&self, count: impl Fn(&Bulkhead) -> usize) -> usize {
        match &*self.0 {
            Limited::Not => 0,
            Limited::AsOne(bulkhead) => count(bulkhead),
            Limited::ByKey(bulkheads, _) => bulkheads.states().map(|bulkhead| count(&bulkhead)).sum(),
        }
    }

    /// Tells whoever listens that an adaptive limit moved.
    pub(super) fn tell(&self, limit: usize) {
        tracing::debug!(layer = Gate::Backpressure.name(), target = self.0.target(), limit, "limit moved");
    }

    fn patience(&self, deadline: Option<Deadline>, now: Instant) -> Patience {
        Patience { queue: Deadline::after(self.0.settings().queue_timeout, now), call: deadline }
    }
}

/// How long a call may wait: for the queue's time-out or its own deadline, whichever comes first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    queue: Deadline,
    call: Option<Deadline>,
}

impl Patience {
    pub(super) fn until(self) -> Instant {
        self.call.map_or(self.queue, |call| call.min(self.queue)).instant()
    }

    /// The refusal of a call that has waited until now, if that is too long.
    pub(super) fn refusal_at(self, now: Instant) -> Option<Rejection> {
        if now < self.until() {
            return None;
        }
        Some(match self.call {
            Some(call) if call < self.queue => Rejection::new(Gate::Deadline, ErrorCode::Timeout),
            _ => refused("no permit within the queue time-out"),
        })
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle")
            .field("settings", self.0.settings())
            .field("limit", &self.limit())
            .field("in_flight", &self.in_flight())
            .field("queued", &self.queued())
            .field("keys", &self.keys())
            .finish()
    }
}

fn queue_is_full() -> Rejection {
    refused("too many calls in flight, and the queue is full")
}

fn refused(reason: &'static str) -> Rejection {
    Rejection::new(Gate::Backpressure, ErrorCode::Overloaded).because(reason)
}
