//! The rounds in which flows take turns: fair queueing with one call per flow and round (Nagle, RFC 970).

use std::collections::HashMap;
use std::hash::{Hash, Hasher};

use http::Extensions;

use crate::Tenant;
use crate::key::hasher;

/// A caller, as far as the queue is concerned: the waiters of one flow are served in the order of their arrival, and the
/// flows in turn.
pub(crate) type Flow = u64;

/// The flow of a call that is not known: a tenant without other calls.
pub(crate) const NEW_FLOW: Flow = 0;

/// The flow of calls that have waited in their turn and come back: they are served next, in the order in which they come.
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

/// The rounds of the waiters of one list.
#[derive(Debug)]
pub(super) struct Flows {
    /// The round of the latest grant, from 1 on.
    current: u64,
    /// The flows with waiters, and those whose latest round is not over.
    states: HashMap<Flow, FlowState>,
    waiters: usize,
}

#[derive(Debug)]
struct FlowState {
    waiters: usize,
    last_round: u64,
}

/// The most states beside those of waiters, and as many more as there are waiters, before the others are dropped.
const SPARE_STATES: usize = 8;

impl Default for Flows {
    fn default() -> Self {
        Self { current: 1, states: HashMap::new(), waiters: 0 }
    }
}

impl Flows {
    /// The round in which the next arrival of `flow` is served: each of its waiters has one of its own, and those that return
    /// the one before the rounds of all others.
    pub(super) fn next_round(&self, flow: Flow) -> u64 {
        if flow == RETURNING {
            return self.current - 1;
        }
        self.states.get(&flow).map_or(self.current, |state| self.current.max(state.last_round + 1))
    }

    /// Whether a waiter of this round has returned.
    pub(super) const fn is_returning(&self, round: u64) -> bool {
        round < self.current
    }

    /// Records a waiter that joins the queue in this round. One that returns takes no round from its flow.
    pub(super) fn join(&mut self, flow: Flow, round: u64) {
        self.waiters += 1;
        if flow == RETURNING {
            return;
        }
        let state = self.states.entry(flow).or_insert(FlowState { waiters: 0, last_round: round });
        state.waiters += 1;
        state.last_round = round;
    }

    /// Records a waiter that leaves the queue without a grant. Its round is free for the next arrival, if it was the last.
    pub(super) fn leave(&mut self, flow: Flow, round: u64) {
        self.waiters -= 1;
        if let Some(state) = self.states.get_mut(&flow) {
            state.waiters -= 1;
            if state.waiters == 0 {
                state.last_round = state.last_round.min(self.current);
            } else if state.last_round == round {
                state.last_round -= 1;
            }
        }
        self.drop_spare_states();
    }

    /// Records a grant to a waiter of this round.
    pub(super) fn grant(&mut self, flow: Flow, round: u64) {
        self.waiters -= 1;
        self.current = self.current.max(round);
        if let Some(state) = self.states.get_mut(&flow) {
            state.waiters -= 1;
        }
        self.drop_spare_states();
    }

    /// Drops the states whose round is over, which are like that of a new flow.
    fn drop_spare_states(&mut self) {
        if self.states.len() > 2 * self.waiters + SPARE_STATES {
            self.states.retain(|_, state| state.waiters > 0 || state.last_round >= self.current);
        }
    }
}
