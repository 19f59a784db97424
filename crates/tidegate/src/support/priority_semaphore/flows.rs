//! The order in which flows are served: start-time fair queueing (Goyal, Vin and Cheng, "Start-time Fair
//! Queueing: A Scheduling Algorithm for Integrated Services Packet Switching Networks", SIGCOMM 1996).
//!
//! A waiter starts when the one before it in its flow ends, and that is as much later as the waiter costs.
//! The waiter with the earliest start is served next, so that flows with waiters get the same cost each, in
//! however many calls. A flow cannot save what it did not use: the first waiter of a flow starts now, which
//! is the start of the latest grant. Nor does a flow owe anything once the queue has been empty: the time is
//! then that at which the latest grant ends. Where all calls cost the same, this is one call per flow and
//! round (Nagle, RFC 970).

use std::collections::HashMap;
use std::hash::{Hash, Hasher};

use http::Extensions;

use crate::Tenant;
use crate::key::hasher;

/// A caller, as far as the queue is concerned: the waiters of one flow are served in the order of their
/// arrival, and the flows in turn.
pub(crate) type Flow = u64;

/// The flow of a call that is not known: a tenant without other calls.
pub(crate) const NEW_FLOW: Flow = 0;

/// The flow of calls that have waited in their turn and come back: they are served next, in the order in
/// which they come.
const RETURNING: Flow = Flow::MAX;

/// How a call comes to a queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// For the first time.
    #[default]
    First,
    /// Back, since what it got after its wait was lost while it waited for something else.
    Returning,
}

impl Arrival {
    pub(crate) fn flow(self, extensions: &Extensions) -> Flow {
        match self {
            Self::First => flow_of(extensions),
            Self::Returning => RETURNING,
        }
    }
}

/// The flow of a request: all requests of a tenant, and all without one.
pub(crate) fn flow_of(extensions: &Extensions) -> Flow {
    let mut hasher = hasher();
    extensions.get::<Tenant>().hash(&mut hasher);
    hasher.finish()
}

/// The starts of the waiters of one list.
#[derive(Debug)]
pub(super) struct Flows {
    /// The start of the latest grant, from 1 on.
    current: u64,
    /// The flows with waiters, and those that have a latest waiter that has not ended.
    states: HashMap<Flow, FlowState>,
    waiters: usize,
    /// The number of states from which on those that have ended are dropped.
    most_states: usize,
}

#[derive(Debug, Default)]
struct FlowState {
    waiters: usize,
    /// The end of its latest waiter, and that of the latest to which a grant was made.
    end: u64,
    granted_end: u64,
}

/// The most states, beside twice those that were left the last time, before those that have ended are
/// dropped.
const SPARE_STATES: usize = 8;

/// The most flows without waiters that have not ended and are remembered: if more are served at once, they
/// are like new ones.
const MAX_REMEMBERED: usize = 10_000;

impl Default for Flows {
    fn default() -> Self {
        Self { current: 1, states: HashMap::new(), waiters: 0, most_states: SPARE_STATES }
    }
}

impl Flows {
    /// The start of the next arrival of `flow`. Those that return start before all others.
    pub(super) fn next_start(&self, flow: Flow) -> u64 {
        if flow == RETURNING {
            return self.current - 1;
        }
        self.states.get(&flow).map_or(self.current, |state| self.current.max(state.end))
    }

    /// Whether a waiter with this start has returned.
    pub(super) const fn is_returning(&self, start: u64) -> bool {
        start < self.current
    }

    /// Records a waiter that joins the queue. One that returns costs its flow nothing.
    pub(super) fn join(&mut self, flow: Flow, start: u64, cost: u64) {
        self.waiters += 1;
        if flow == RETURNING {
            return;
        }
        let state = self.states.entry(flow).or_default();
        state.waiters += 1;
        state.end = start.saturating_add(cost);
    }

    /// Records a waiter that leaves the queue without a grant. The next arrival starts in its place, if it
    /// was the last.
    pub(super) fn leave(&mut self, flow: Flow, start: u64, cost: u64) {
        self.waiters -= 1;
        if let Some(state) = self.states.get_mut(&flow) {
            state.waiters -= 1;
            if state.waiters == 0 {
                state.end = state.granted_end;
            } else if state.end == start.saturating_add(cost) {
                state.end = start;
            }
        }
        self.forget_states();
    }

    /// Records a grant to a waiter.
    pub(super) fn grant(&mut self, flow: Flow, start: u64, cost: u64) {
        self.waiters -= 1;
        self.current = self.current.max(start);
        if let Some(state) = self.states.get_mut(&flow) {
            state.waiters -= 1;
            state.granted_end = start.saturating_add(cost);
        }
        self.forget_states();
    }

    /// Drops all states at the end of a busy period, and else those of flows without waiters that have ended,
    /// which are like that of a new flow.
    fn forget_states(&mut self) {
        if self.waiters == 0 {
            let ends = self.states.drain().map(|(_, state)| state.granted_end);
            self.current = ends.fold(self.current, u64::max);
            return;
        }
        if self.states.len() <= self.most_states {
            return;
        }
        self.states.retain(|_, state| state.waiters > 0 || state.end > self.current);
        if self.states.len() > self.waiters + MAX_REMEMBERED {
            self.states.retain(|_, state| state.waiters > 0);
        }
        self.most_states = 2 * self.states.len() + SPARE_STATES;
    }

    /// How many flows are remembered.
    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        self.states.len()
    }
}
