use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::guarded::{Changed, Guarded};
use super::listeners::Transitions;
use super::mark::{Mark, Pace};
use super::settings::Settings;
use super::state::{Cause, Circuit, Pass, Refusal};
use super::{Lease, Reason, Snapshot, State, Transition};
use crate::shared::Shared;
use crate::{ErrorCode, Gate, Rejection, clock};

/// The circuit that a layer, its services and their clones share.
#[derive(Clone)]
pub struct Handle(pub(super) Shared<Settings, Circuits>);

pub(super) struct Circuits {
    circuit: Guarded,
    /// Calls that passed in shadow.
    spared: AtomicU64,
}

impl From<&Settings> for Circuits {
    fn from(settings: &Settings) -> Self {
        Self { circuit: Guarded::from(settings), spared: AtomicU64::new(0) }
    }
}

impl Handle {
    /// The state now: `closed`, `open` or `half_open`.
    #[must_use]
    pub fn state(&self) -> State {
        self.0.circuit.look(|circuit| circuit.state(clock::now()))
    }

    /// How long until an open circuit lets a probe through. None in shadow, where it lets everybody through.
    #[must_use]
    pub fn cooldown_remaining(&self) -> Option<Duration> {
        self.unless_passable(Circuit::cooldown_remaining)
    }

    /// What the circuit knows, all of one moment.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let spared = self.0.spared.load(Ordering::Relaxed);
        self.0.circuit.look(|circuit| Snapshot::of(circuit, spared, clock::now()))
    }

    /// Every change of state from now on. Nobody waits for a listener, and without one nothing is kept.
    #[must_use]
    pub fn subscribe(&self) -> Transitions {
        self.settings().listeners.subscribe()
    }

    /// Whether a call that came now would be refused, and why. Takes nothing.
    ///
    /// While the traffic ramps up again this says no to nobody: whose turn it is shows only when asked.
    #[must_use]
    pub fn peek(&self) -> Option<Rejection> {
        self.unless_passable(Circuit::peek).map(rejection)
    }

    /// Closes the circuit and forgets what came before. Results of attempts under way no longer count. Ends
    /// [`force_open`](Self::force_open) and [`force_closed`](Self::force_closed).
    pub fn reset(&self) {
        self.change(Circuit::reset);
    }

    /// Refuses every call until [`reset`](Self::reset), without a time to come back: a provider is taken out by hand.
    pub fn force_open(&self) {
        self.change(|circuit, now| circuit.hold(true, now));
    }

    /// Lets every call pass until [`reset`](Self::reset), whatever comes of it; nothing is counted meanwhile.
    pub fn force_closed(&self) {
        self.change(|circuit, now| circuit.hold(false, now));
    }

    /// Lets an attempt through, or says why not.
    pub(super) fn admit(&self) -> Result<Lease, Rejection> {
        if !self.settings().enabled {
            return Ok(Lease::new(self.clone(), None));
        }
        let admitted = self.0.circuit.admit(clock::now);
        match self.told(admitted) {
            Ok(pass) => Ok(Lease::new(self.clone(), Some(pass))),
            Err(refusal) if self.settings().shadow => {
                self.spare(refusal);
                Ok(Lease::new(self.clone(), None))
            }
            Err(refusal) => Err(rejection(refusal)),
        }
    }

    pub(super) fn commit(&self, pass: Pass, pace: Pace) -> Option<Pass> {
        self.told(self.0.circuit.commit(pass, pace, clock::now))
    }

    pub(super) fn record(&self, pass: Pass, mark: Mark, pace: Pace) {
        self.told(self.0.circuit.record(pass, mark, pace, clock::now));
    }

    pub(super) fn settings(&self) -> &Settings {
        self.0.settings()
    }

    /// What speaks against a call that comes now.
    fn unless_passable<T>(&self, look: impl FnOnce(&Circuit, Instant) -> Option<T>) -> Option<T> {
        if self.0.circuit.glance().is_passable() || self.settings().shadow {
            return None;
        }
        self.0.circuit.look(|circuit| look(circuit, clock::now()))
    }

    /// Lets a call pass that would have been refused. It has no say: it would not have been made.
    fn spare(&self, refusal: Refusal) {
        self.0.spared.fetch_add(1, Ordering::Relaxed);
        let (layer, target) = (Gate::CircuitBreaker.name(), self.0.target());
        tracing::debug!(layer, target, "would have refused: {}", rejection(refusal));
    }

    fn change(&self, change: impl FnOnce(&mut Circuit, Instant)) {
        self.told(self.0.circuit.change(|circuit, _| change(circuit, clock::now())));
    }

    /// Logs a change of state, without the lock: whoever listens to the log may ask for the state.
    fn told<T>(&self, (result, transition): Changed<T>) -> T {
        let Some(Transition { to, reason, cooldown, .. }) = transition else { return result };
        let (layer, target, state) = (Gate::CircuitBreaker.name(), self.0.target(), to.name());
        let cooldown_ms = cooldown.map(|cooldown| cooldown.as_millis() as u64);
        match to {
            State::Open => tracing::warn!(layer, target, state, %reason, cooldown_ms, "circuit opened"),
            _ => tracing::info!(layer, target, state, %reason, "circuit changed"),
        }
        result
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("settings", self.settings()).field("state", &self.state()).finish()
    }
}

fn rejection(refusal: Refusal) -> Rejection {
    let (code, reason) = match refusal.cause {
        Cause::Open(Reason::Quota) => (ErrorCode::QuotaExhausted, "quota exhausted, circuit open"),
        Cause::Open(Reason::Forced) => (ErrorCode::Overloaded, "circuit held open"),
        Cause::Open(_) => (ErrorCode::Overloaded, "circuit open"),
        Cause::Probing => (ErrorCode::Overloaded, "circuit half-open, probes under way"),
        Cause::Ramping => (ErrorCode::Overloaded, "circuit just closed, traffic held back"),
    };
    let rejection = Rejection::new(Gate::CircuitBreaker, code).because(reason);
    match refusal.retry_after {
        Some(wait) => rejection.with_retry_after(wait),
        None => rejection,
    }
}
