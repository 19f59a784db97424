use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::Request;

use super::admission::{Admission, CircuitRejection, RejectionCause};
use super::attempt_result::{AttemptResult, Latency};
use super::listeners::Transitions;
use super::settings::{CircuitBreakerSettings, Settings};
use super::shared_circuit::{SharedCircuit, WithTransition};
use super::state::Circuit;
use super::{Snapshot, State, Transition};
use crate::keyed::{Keyed, KeyedState};
use crate::layer_state::LayerState;
use crate::{Gate, Rejection, clock};

/// The circuit that a layer, its services and their clones share.
///
/// If the layer has [keys](super::CircuitBreakerLayer::key_by), [`of`](Self::of) finds the circuit of a key.
/// This handle then represents none of them: it is closed, unless it is forced open. [`reset`](Self::reset),
/// [`force_open`](Self::force_open), [`force_closed`](Self::force_closed) and [`subscribe`](Self::subscribe)
/// apply to all keys together.
#[derive(Clone)]
pub struct Handle(pub(super) LayerState<CircuitBreakerSettings, Circuits>);

pub(super) struct Circuits {
    circuit: SharedCircuit,
    keyed: Option<Keyed<Handle>>,
    /// The number of calls that shadow mode admitted.
    shadow_admitted: AtomicU64,
    /// How often all circuits have been changed by hand. In the circuit of a key, the last count that was
    /// applied to it.
    forced_changes: AtomicU64,
}

impl From<&CircuitBreakerSettings> for Circuits {
    fn from(settings: &CircuitBreakerSettings) -> Self {
        Self {
            circuit: SharedCircuit::new(settings, clock::now()),
            keyed: settings.key_by.clone().map(|key| Keyed::new(key, settings.max_keys)),
            shadow_admitted: AtomicU64::new(0),
            forced_changes: AtomicU64::new(0),
        }
    }
}

impl KeyedState for Handle {
    fn is_in_use(&self) -> bool {
        self.0.is_in_use()
    }

    fn is_pristine(&self, now: Instant) -> bool {
        self.0.circuit.with_circuit(|circuit| circuit.is_pristine(now))
    }
}

impl Handle {
    /// Returns the current state: `closed`, `open` or `half_open`.
    #[must_use]
    pub fn state(&self) -> State {
        self.0.circuit.with_circuit(|circuit| circuit.state(clock::now()))
    }

    /// Returns how long until an open circuit admits a probe. Returns `None` in shadow mode, which admits
    /// every call.
    #[must_use]
    pub fn cooldown_remaining(&self) -> Option<Duration> {
        let rejection = self.current_rejection()?;
        rejection.retry_after.filter(|_| rejection.cause != RejectionCause::Probing)
    }

    /// Returns the circuit of the key of this request, if it exists already. Without keys, returns this
    /// circuit. The key is not dropped as long as the returned handle exists.
    #[must_use]
    pub fn of<B>(&self, request: &Request<B>) -> Option<Self> {
        match &self.0.keyed {
            Some(keyed) => keyed.find(request),
            None => Some(self.clone()),
        }
    }

    /// Returns how many keys have a circuit, or zero if the layer has no keys.
    #[must_use]
    pub fn keys(&self) -> usize {
        self.0.keyed.as_ref().map_or(0, Keyed::len)
    }

    /// Returns the state and the statistics of the circuit, all of the same moment.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let of_keys = |keyed: &Keyed<Self>| keyed.states().map(|circuit| circuit.shadow_admitted()).sum();
        let shadow_admitted = self.shadow_admitted() + self.keyed().map_or(0, of_keys);
        self.0.circuit.with_circuit(|circuit| Snapshot::of(circuit, shadow_admitted, clock::now()))
    }

    /// Returns every change of state from now on. The circuit never waits for a listener. Without a listener
    /// nothing is stored.
    ///
    /// With keys, the changes of all keys are returned without the key: only a hash of a key is stored.
    #[must_use]
    pub fn subscribe(&self) -> Transitions {
        self.0.settings().hooks.listeners.subscribe()
    }

    /// Returns the rejection that a call would get if it arrived now. Acquires nothing.
    ///
    /// While the traffic ramps up this returns `None`: which calls are admitted is decided only when a call
    /// arrives.
    #[must_use]
    pub fn peek(&self) -> Option<Rejection> {
        self.current_rejection().map(Rejection::from)
    }

    /// Returns the rejection that this call would get if it arrived now, by the circuit of its key if there
    /// are keys. Acquires nothing.
    #[must_use]
    pub fn peek_for<B>(&self, request: &Request<B>) -> Option<Rejection> {
        match self.keyed().and_then(|keyed| keyed.find(request)) {
            Some(circuit) => circuit.peek(),
            // There are no keys, or this key has no circuit yet, so that only what applies to all keys
            // applies.
            None => self.peek(),
        }
    }

    /// Closes the circuit and clears its statistics. Results of attempts in flight no longer count. Ends
    /// [`force_open`](Self::force_open) and [`force_closed`](Self::force_closed).
    pub fn reset(&self) {
        self.update_all(Circuit::reset);
    }

    /// Rejects every call until [`reset`](Self::reset), without a retry time. This takes a provider out by
    /// hand.
    pub fn force_open(&self) {
        self.update_all(|circuit, now| circuit.force(true, now));
    }

    /// Admits every call until [`reset`](Self::reset), whatever the results. Nothing is counted meanwhile.
    pub fn force_closed(&self) {
        self.update_all(|circuit, now| circuit.force(false, now));
    }

    /// Returns how many calls were admitted that would have been rejected.
    fn shadow_admitted(&self) -> u64 {
        self.0.shadow_admitted.load(Ordering::Relaxed)
    }

    pub(crate) fn is_keyed(&self) -> bool {
        self.0.keyed.is_some()
    }

    /// Returns the circuits of the keys, if there are keys.
    pub(super) fn keyed(&self) -> Option<&Keyed<Self>> {
        self.0.keyed.as_ref()
    }

    /// Admits an attempt or rejects it. The admission is `None` if the result of the attempt is not recorded.
    pub(super) fn admit(&self) -> Result<Option<Admission>, Rejection> {
        if !self.settings().enabled {
            return Ok(None);
        }
        match self.log_transition(self.0.circuit.admit(clock::now)) {
            Ok(admission) => Ok(Some(admission)),
            Err(rejection) if self.settings().shadow => {
                self.admit_in_shadow(rejection);
                Ok(None)
            }
            Err(rejection) => Err(rejection.into()),
        }
    }

    /// Creates the circuit of a new key, forced open or closed if this circuit is.
    pub(super) fn for_new_key(&self) -> Self {
        let for_new_key = Self(self.0.fresh(|settings| settings.key_by = None));
        if let Some(open) = self.0.circuit.with_circuit(|circuit| circuit.forced()) {
            for_new_key.0.circuit.update(|circuit, _| circuit.force(open, clock::now()));
        }
        for_new_key
    }

    pub(super) fn commit(&self, admission: Admission, latency: Latency) -> Option<Admission> {
        self.log_transition(self.0.circuit.commit(admission, latency, clock::now))
    }

    pub(super) fn record(&self, admission: Admission, result: AttemptResult, latency: Latency) {
        self.log_transition(self.0.circuit.record(admission, result, latency, clock::now));
    }

    pub(super) fn settings(&self) -> &Settings {
        self.0.settings()
    }

    /// Returns the rejection that a call would get now.
    fn current_rejection(&self) -> Option<CircuitRejection> {
        if self.settings().shadow { None } else { self.0.circuit.peek(clock::now) }
    }

    /// Admits a call in shadow mode that would have been rejected. Its result is not recorded, because the
    /// call would not have been made.
    fn admit_in_shadow(&self, rejection: CircuitRejection) {
        self.0.shadow_admitted.fetch_add(1, Ordering::Relaxed);
        let (layer, target) = (Gate::CircuitBreaker.name(), self.0.target());
        tracing::debug!(layer, target, "would have refused: {}", Rejection::from(rejection));
    }

    /// Changes this circuit and those of all keys. This one comes first: a key that is created meanwhile sees
    /// by the count that it may have missed the change.
    fn update_all(&self, update: impl Fn(&mut Circuit, Instant)) {
        let update = |handle: &Self| {
            handle.log_transition(handle.0.circuit.update(|circuit, _| update(circuit, clock::now())))
        };
        update(self);
        self.0.forced_changes.fetch_add(1, Ordering::AcqRel);
        for circuit in self.0.keyed.iter().flat_map(Keyed::states) {
            update(&circuit);
        }
    }

    /// Forces the circuit of a key as this circuit is forced, because the key may have been created while
    /// that changed.
    pub(super) fn sync_forced_state(&self, all: &Self) {
        let forced_changes = all.0.forced_changes.load(Ordering::Acquire);
        if self.0.forced_changes.swap(forced_changes, Ordering::AcqRel) == forced_changes {
            return;
        }
        let forced = all.0.circuit.with_circuit(|circuit| circuit.forced());
        if self.0.circuit.with_circuit(|circuit| circuit.forced()) != forced {
            let force = |circuit: &mut Circuit, _| match forced {
                Some(open) => circuit.force(open, clock::now()),
                None => circuit.reset(clock::now()),
            };
            self.log_transition(self.0.circuit.update(force));
        }
    }

    /// Logs a change of state. The lock is not held, because a log subscriber may read the state.
    fn log_transition<T>(&self, (result, transition): WithTransition<T>) -> T {
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
