use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use super::bulkhead::Bulkhead;
use super::layer::Settings;
use super::permit::Permit;
use super::queued::Queued;
use crate::shared::Shared;
use crate::slots::Asked;
use crate::{Deadline, ErrorCode, Gate, Priority, Rejection, clock};

/// The limit that a layer, its services and their clones share.
#[derive(Clone)]
pub struct Handle(pub(super) Shared<Settings, Limited>);

/// What is limited, if anything is.
pub(super) struct Limited(Option<Arc<Bulkhead>>);

/// What became of a call that asked for a permit.
pub(super) enum Entry {
    Admitted(Permit),
    Queued(Queued),
    Refused(Rejection),
}

impl From<&Settings> for Limited {
    fn from(settings: &Settings) -> Self {
        Self(settings.max_inflight.map(|limit| Arc::new(Bulkhead::new(limit, settings))))
    }
}

impl Handle {
    /// The most calls that may be in flight now; `None` if there is no limit.
    #[must_use]
    pub fn limit(&self) -> Option<usize> {
        self.bulkhead().map(|bulkhead| bulkhead.slots.limit())
    }

    /// Changes the limit while calls are in flight; zero is taken as one. A higher one lets those who wait in at
    /// once; a lower one takes effect as calls end. An adaptive limit goes on from there, within
    /// its bounds. Does nothing where there is no limit.
    pub fn set_limit(&self, calls: usize) {
        if let Some(bulkhead) = self.bulkhead() {
            bulkhead.set_limit(calls.max(1));
        }
    }

    /// How many calls are in flight, their bodies included; zero where there is no limit.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.bulkhead().map_or(0, |bulkhead| bulkhead.slots.taken())
    }

    /// How many calls wait for a permit.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.queued_of(Priority::Interactive) + self.queued_of(Priority::Batch)
    }

    /// How many calls of this priority wait for a permit.
    #[must_use]
    pub fn queued_of(&self, priority: Priority) -> usize {
        self.bulkhead().map_or(0, |bulkhead| bulkhead.slots.waiting(priority))
    }

    /// Whether a call of any priority that came now would be refused at once, and why. Takes nothing.
    #[must_use]
    pub fn peek(&self) -> Option<Rejection> {
        // A full line of one priority says nothing about the other.
        self.peek_for(Priority::Interactive, None).and(self.peek_for(Priority::Batch, None))
    }

    /// Whether a call of this priority that came now, with this deadline, would be refused at once, and why.
    /// Takes nothing.
    #[must_use]
    pub fn peek_for(&self, priority: Priority, deadline: Option<Deadline>) -> Option<Rejection> {
        let slots = &self.bulkhead()?.slots;
        if slots.has_room() {
            return None;
        }
        let now = clock::now();
        match self.patience(deadline, now).refusal_at(now) {
            None => slots.is_full(priority).then(queue_is_full),
            refusal => refusal,
        }
    }

    pub(super) fn enter(&self, priority: Priority, deadline: Option<Deadline>) -> Entry {
        let Some(bulkhead) = self.bulkhead() else { return Entry::Admitted(Permit::unlimited()) };
        if bulkhead.slots.try_take() {
            return Entry::Admitted(Permit::holding(Arc::clone(bulkhead)));
        }
        // Where nobody queues, a refusal needs no clock.
        if self.0.settings().max_queued == 0 {
            return Entry::Refused(queue_is_full());
        }
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

    /// Tells whoever listens that an adaptive limit moved.
    pub(super) fn tell(&self, limit: usize) {
        tracing::debug!(layer = Gate::Backpressure.name(), target = self.0.target(), limit, "limit moved");
    }

    fn patience(&self, deadline: Option<Deadline>, now: Instant) -> Patience {
        Patience { queue: Deadline::after(self.0.settings().queue_timeout, now), call: deadline }
    }

    fn bulkhead(&self) -> Option<&Arc<Bulkhead>> {
        self.0.0.as_ref()
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
            .finish()
    }
}

fn queue_is_full() -> Rejection {
    refused("too many calls in flight, and the queue is full")
}

fn refused(reason: &'static str) -> Rejection {
    Rejection::new(Gate::Backpressure, ErrorCode::Overloaded).because(reason)
}
