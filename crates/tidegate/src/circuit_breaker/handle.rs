use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::Request;

use super::shared_circuit::{WithTransition, SharedCircuit};
use super::listeners::Transitions;
use super::attempt_result::{AttemptResult, Latency};
use super::admission::{RejectionCause, Admission, CircuitRejection};
use super::settings::Settings;
use super::state::Circuit;
use super::{Snapshot, State, Transition};
use crate::keyed::{Kept, Keyed};
use crate::shared_state::SharedState;
use crate::{Gate, Rejection, clock};

/// The circuit that a layer, its services and their clones share.
///
/// Where the layer has [keys](super::CircuitBreakerLayer::key_by), [`of`](Self::of) finds the circuit of a key, and
/// this handle speaks for none of them: it is closed, unless it is held. [`reset`](Self::reset),
/// [`force_open`](Self::force_open), [`force_closed`](Self::force_closed) and [`subscribe`](Self::subscribe) are for
/// all keys together.
#[derive(Clone)]
pub struct Handle(pub(super) SharedState<Settings, Circuits>);

pub(super) struct Circuits {
    circuit: SharedCircuit,
    keyed: Option<Keyed<Handle>>,
    /// Calls that passed in shadow.
    shadow_admitted: AtomicU64,
    /// How often all circuits have been changed by hand; in the circuit of a key, as far as it has heard.
    forced_changes: AtomicU64,
}

impl From<&Settings> for Circuits {
    fn from(settings: &Settings) -> Self {
        Self {
            circuit: SharedCircuit::new(settings, clock::now()),
            keyed: settings.key_by.clone().map(|key| Keyed::new(key, settings.max_keys)),
            shadow_admitted: AtomicU64::new(0),
            forced_changes: AtomicU64::new(0),
        }
    }
}

impl Kept for Handle {
    fn is_in_use(&self) -> bool {
        self.0.is_in_use()
    }

    fn is_as_new(&self, now: Instant) -> bool {
        self.0.circuit.with_circuit(|circuit| circuit.is_as_new(now))
    }
}

impl Handle {
    /// The state now: `closed`, `open` or `half_open`.
    #[must_use]
    pub fn state(&self) -> State {
        self.0.circuit.with_circuit(|circuit| circuit.state(clock::now()))
    }

    /// How long until an open circuit lets a probe through. None in shadow, where it lets everybody through.
    #[must_use]
    pub fn cooldown_remaining(&self) -> Option<Duration> {
        let current_rejection = self.current_rejection()?;
        current_rejection.retry_after.filter(|_| current_rejection.cause != RejectionCause::Probing)
    }

    /// The circuit of the key of this request, if there is one by now; without keys, this one. As long as it is held
    /// on to, its key is not forgotten.
    #[must_use]
    pub fn of<B>(&self, request: &Request<B>) -> Option<Self> {
        match &self.0.keyed {
            Some(keyed) => keyed.find(request),
            None => Some(self.clone()),
        }
    }

    /// How many keys have a circuit; zero where the layer has no keys.
    #[must_use]
    pub fn keys(&self) -> usize {
        self.0.keyed.as_ref().map_or(0, Keyed::len)
    }

    /// What the circuit knows, all of one moment.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let of_keys = |keyed: &Keyed<Self>| keyed.states().map(|circuit| circuit.shadow_admitted()).sum();
        let shadow_admitted = self.shadow_admitted() + self.keyed().map_or(0, of_keys);
        self.0.circuit.with_circuit(|circuit| Snapshot::of(circuit, shadow_admitted, clock::now()))
    }

    /// Every change of state from now on. Nobody waits for a listener, and without one nothing is kept.
    ///
    /// With keys, the changes of all of them, without telling whose: of a key only a hash is kept.
    #[must_use]
    pub fn subscribe(&self) -> Transitions {
        self.settings().listeners.subscribe()
    }

    /// Whether a call that came now would be refused, and why. Takes nothing.
    ///
    /// While the traffic ramps up again this says no to nobody: whose turn it is shows only when asked.
    #[must_use]
    pub fn peek(&self) -> Option<Rejection> {
        self.current_rejection().map(Rejection::from)
    }

    /// Whether this call would be refused if it came now, and why: by the circuit of its key, if there are keys. Takes
    /// nothing.
    #[must_use]
    pub fn peek_for<B>(&self, request: &Request<B>) -> Option<Rejection> {
        match self.keyed().and_then(|keyed| keyed.find(request)) {
            Some(circuit) => circuit.peek(),
            // Without keys; or nothing is known of this one but what holds of all.
            None => self.peek(),
        }
    }

    /// Closes the circuit and forgets what came before. Results of attempts under way no longer count. Ends
    /// [`force_open`](Self::force_open) and [`force_closed`](Self::force_closed).
    pub fn reset(&self) {
        self.update_all(Circuit::reset);
    }

    /// Refuses every call until [`reset`](Self::reset), without a time to come back: a provider is taken out by hand.
    pub fn force_open(&self) {
        self.update_all(|circuit, now| circuit.force(true, now));
    }

    /// Lets every call pass until [`reset`](Self::reset), whatever comes of it; nothing is counted meanwhile.
    pub fn force_closed(&self) {
        self.update_all(|circuit, now| circuit.force(false, now));
    }

    /// How many calls passed that would have been refused.
    fn shadow_admitted(&self) -> u64 {
        self.0.shadow_admitted.load(Ordering::Relaxed)
    }

    /// The circuits of the keys, if there are keys.
    pub(super) fn keyed(&self) -> Option<&Keyed<Self>> {
        self.0.keyed.as_ref()
    }

    /// Lets an attempt through, or says why not. Through without a pass, if nobody will ask what came of it.
    pub(super) fn admit(&self) -> Result<Option<Admission>, Rejection> {
        if !self.settings().enabled {
            return Ok(None);
        }
        match self.log_transition(self.0.circuit.admit(clock::now)) {
            Ok(admission) => Ok(Some(admission)),
            Err(current_rejection) if self.settings().shadow => {
                self.admit_in_shadow(current_rejection);
                Ok(None)
            }
            Err(current_rejection) => Err(current_rejection.into()),
        }
    }

    /// The circuit of one more key: held, if all are.
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

    /// Why a call that came now would be refused.
    fn current_rejection(&self) -> Option<CircuitRejection> {
        if self.settings().shadow { None } else { self.0.circuit.peek(clock::now) }
    }

    /// Lets a call pass that would have been refused. It has no say: it would not have been made.
    fn admit_in_shadow(&self, current_rejection: CircuitRejection) {
        self.0.shadow_admitted.fetch_add(1, Ordering::Relaxed);
        let (layer, target) = (Gate::CircuitBreaker.name(), self.0.target());
        tracing::debug!(layer, target, "would have refused: {}", Rejection::from(current_rejection));
    }

    /// Changes this circuit, and those of all keys. This one first: a key that comes meanwhile sees by the count that
    /// it may have missed something.
    fn update_all(&self, update: impl Fn(&mut Circuit, Instant)) {
        let update =
            |handle: &Self| handle.log_transition(handle.0.circuit.update(|circuit, _| update(circuit, clock::now())));
        update(self);
        self.0.forced_changes.fetch_add(1, Ordering::AcqRel);
        for circuit in self.0.keyed.iter().flat_map(Keyed::states) {
            update(&circuit);
        }
    }

    /// Has the circuit of a key held, or not, as all are: it may have been made while that changed.
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

    /// Logs a change of state, without the lock: whoever listens to the log may ask for the state.
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
