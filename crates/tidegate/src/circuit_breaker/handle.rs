use std::fmt;
use std::time::{Duration, Instant};

use http::Request;

use super::call_totals::CallTotals;
use super::circuit::Circuit;
use super::concurrent_circuit::{ConcurrentCircuit, WithTransition};
use super::open_attempts::OpenAttempts;
use super::rejections::RejectionCause;
use super::settings::{CircuitBreakerSettings, Settings};
use super::shared::CircuitLink;
use super::{CallResult, Metrics, Snapshot, State, Transition};
use crate::events::{Decision, Subscription};
use crate::key::KeyId;
use crate::keyed::{Keyed, KeyedCount, KeyedHandle};
use crate::layer_state::LayerState;
use crate::store::Store;
use crate::thread_shard::ByThread;
use crate::{Gate, RequestHead, clock};

/// The changes of state of a circuit; see [`Handle::subscribe`].
pub type Transitions = Subscription<Transition>;

/// The results of attempts; see [`Handle::subscribe_to_calls`].
pub type CallResults = Subscription<CallResult>;

/// The changes of state, or results of attempts, that are kept for a slow listener.
const KEPT: usize = 64;

/// The circuit that a layer, its services and their clones share.
///
/// If the layer has [keys](super::CircuitBreakerLayer::key_by), [`of`](Self::of) finds the circuit of a key.
/// This handle then represents none of them: it is closed, unless it is forced open. [`reset`](Self::reset),
/// [`force_open`](Self::force_open), [`force_closed`](Self::force_closed) and [`subscribe`](Self::subscribe)
/// apply to all keys together.
#[derive(Clone)]
pub struct Handle(pub(super) LayerState<CircuitBreakerSettings, CircuitBreakerState>);

pub(super) struct CircuitBreakerState {
    pub(super) circuit: ConcurrentCircuit,
    /// The number of calls that shadow mode admitted.
    pub(super) shadow_admitted: KeyedCount,
    /// What the circuit admits while it is not closed, if it has a budget for that.
    pub(super) open_attempts: Option<OpenAttempts>,
    /// The number of attempts that were admitted from it.
    pub(super) admitted_while_open: KeyedCount,
    pub(super) totals: CallTotals,
    /// The store through which the circuit is shared, if it is.
    pub(super) store: Option<CircuitLink>,
    keys: Option<Keyed<Handle>>,
}

impl From<&CircuitBreakerSettings> for CircuitBreakerState {
    fn from(settings: &CircuitBreakerSettings) -> Self {
        Self {
            circuit: ConcurrentCircuit::new(settings, clock::now()),
            shadow_admitted: KeyedCount::default(),
            open_attempts: settings
                .open_budget
                .filter(|_| settings.enabled)
                .map(|budget| OpenAttempts::new(budget, clock::now())),
            admitted_while_open: KeyedCount::default(),
            store: settings
                .hooks
                .store
                .clone()
                .filter(|_| settings.enabled && settings.key_by.is_none())
                .map(CircuitLink::new),
            totals: CallTotals::new(settings.hooks.totals_of_layer.as_ref(), clock::now()),
            keys: Keyed::new(
                settings.key_by.as_ref().filter(|_| settings.enabled),
                settings.max_keys,
                settings.hooks.store.as_ref(),
            ),
        }
    }
}

impl KeyedHandle for Handle {
    const GATE: Gate = Gate::CircuitBreaker;

    fn by_key(&self) -> Option<&Keyed<Self>> {
        self.0.keys.as_ref()
    }

    fn for_key(&self, key: Option<KeyId>, _: &RequestHead<'_>) -> Self {
        let fresh = Self(self.0.fresh_for_key(key, |settings| {
            settings.key_by = None;
            settings.hooks.totals_of_layer = Some(self.0.totals.clone());
        }));
        fresh.0.shadow_admitted.join(&self.0.shadow_admitted);
        fresh.0.admitted_while_open.join(&self.0.admitted_while_open);
        fresh.follow(self);
        fresh
    }

    /// A key is forced open or closed with the template.
    fn follow(&self, template: &Self) {
        let forced = |handle: &Self| handle.0.circuit.with_circuit(|circuit| circuit.forced());
        match forced(template) {
            forced_now if forced_now == forced(self) => {}
            Some(open) => self.update(|circuit, now| circuit.force(open, now)),
            None => self.update(Circuit::reset),
        }
    }

    fn is_in_use(&self) -> bool {
        self.0.is_in_use()
    }

    fn is_pristine(&self, now: Instant) -> bool {
        self.0.circuit.with_circuit(|circuit| circuit.is_pristine(now))
    }
}

impl Handle {
    /// The handle as the services hold it.
    pub(crate) fn by_thread(self) -> ByThread<Self> {
        ByThread::new(self, |handle| Self(handle.0.copy()))
    }

    /// The store of the layer, if it has one.
    pub(crate) fn store(&self) -> Option<&Store> {
        self.0.settings().hooks.store.as_ref()
    }

    pub(crate) fn is_enabled(&self) -> bool {
        self.settings().enabled
    }

    /// The current state: `closed`, `open` or `half_open`.
    #[must_use]
    pub fn state(&self) -> State {
        self.0.circuit.with_circuit(|circuit| circuit.state(clock::now()))
    }

    /// How long until an open circuit admits a probe. `None` in shadow mode, which admits
    /// every call.
    #[must_use]
    pub fn cooldown_remaining(&self) -> Option<Duration> {
        let rejection = self.peek_call(None)?;
        rejection.retry_after.filter(|_| rejection.cause != RejectionCause::Probing)
    }

    /// The state in which the circuit is kept by [`force_open`](Self::force_open) or
    /// [`force_closed`](Self::force_closed), if it is.
    #[must_use]
    pub fn forced(&self) -> Option<State> {
        let is_open = self.0.circuit.with_circuit(|circuit| circuit.forced())?;
        Some(if is_open { State::Open } else { State::Closed })
    }

    /// The circuit of the key of this request, if it exists already. Without keys, this
    /// circuit. The key is not dropped as long as the returned handle exists.
    #[must_use]
    pub fn of<B: 'static>(&self, request: &Request<B>) -> Option<Self> {
        self.get(request)
    }

    /// How many keys have a circuit, or zero if the layer has no keys.
    #[must_use]
    pub fn keys(&self) -> usize {
        self.by_key().map_or(0, Keyed::len)
    }

    /// The state and the statistics of the circuit, all of the same moment.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let snapshot = self.0.circuit.with_circuit(|circuit| Snapshot::of(circuit, clock::now()));
        Snapshot {
            would_have_rejected: self.0.shadow_admitted.get(),
            admitted_while_open: self.0.admitted_while_open.get(),
            ..snapshot
        }
    }

    /// The totals since the start, and the settings that decide. With keys, they are those of all calls,
    /// whether or not their keys are still kept; the state, the rates, the size of the window and the time of
    /// recovery are each that of the key that is worst off in it. For one key, read its circuit with
    /// [`of`](Self::of).
    #[must_use]
    #[doc(alias = "get_metrics")]
    pub fn metrics(&self) -> Metrics {
        let of_keys = self.by_key().into_iter().flat_map(Keyed::iter).map(|(_, circuit)| circuit.snapshot());
        let snapshot = of_keys.reduce(Snapshot::worst_of).unwrap_or_else(|| self.snapshot());
        let totals = self.0.totals.read();
        Metrics::new(self.0.target(), &snapshot, &totals, self.settings(), clock::now())
    }

    /// The result of every attempt from now on, with its key. An attempt never waits for a listener, for
    /// which the latest 64 are kept. Rejections are no attempts.
    #[must_use]
    pub fn subscribe_to_calls(&self) -> CallResults {
        self.0.settings().hooks.call_listeners.subscribe(KEPT)
    }

    /// Every change of state from now on, with its key. The circuit never waits for a listener, for which the
    /// latest 64 are kept. Without a listener nothing is stored.
    #[must_use]
    pub fn subscribe(&self) -> Transitions {
        self.0.settings().hooks.listeners.subscribe(KEPT)
    }

    /// Closes the circuit and clears its statistics. Results of attempts in flight no longer count, but for a
    /// wait that the provider sends. Ends [`force_open`](Self::force_open) and
    /// [`force_closed`](Self::force_closed). The totals since the start stay. A circuit that is shared through a store closes in all processes. What does not reach the store
    /// is sent again, and closes no circuit that was opened after the reset.
    pub fn reset(&self) {
        self.change_all(|it| {
            it.0.totals.clear_recent();
            it.update(Circuit::reset);
        });
    }

    /// Rejects every call until [`reset`](Self::reset), without a retry time, also in shadow mode and where
    /// the layer is disabled. This takes a provider out by hand.
    pub fn force_open(&self) {
        self.change_all(|it| it.update(|circuit, now| circuit.force(true, now)));
    }

    /// Admits every call until [`reset`](Self::reset), whatever the results. Nothing is counted meanwhile.
    pub fn force_closed(&self) {
        self.change_all(|it| it.update(|circuit, now| circuit.force(false, now)));
    }

    /// As [`update`](Self::update), with a number from 0 to 1 for the jitter.
    pub(super) fn update_at_random(&self, update: impl FnOnce(&mut Circuit, Instant, f64)) {
        self.emit_transition(self.0.circuit.update(|circuit, random| update(circuit, clock::now(), random)));
    }

    pub(super) fn settings(&self) -> &Settings {
        self.0.settings()
    }

    pub(super) fn update(&self, update: impl FnOnce(&mut Circuit, Instant)) {
        self.emit_transition(self.0.circuit.update(|circuit, _| update(circuit, clock::now())));
    }

    /// Runs `change` on the circuit, which does not change its state.
    pub(super) fn with_circuit<T>(&self, change: impl FnOnce(&mut Circuit) -> T) -> T {
        self.0.circuit.with_circuit(change)
    }

    /// Emits a change of state. The lock is not held, because a listener may read the state.
    pub(super) fn emit_transition<T>(&self, (result, transition): WithTransition<T>) -> T {
        let Some(transition) = transition else { return result };
        self.renew_open_attempts(&transition);
        let transition = Transition { key: self.0.key(), ..transition };
        if let Some(link) = &self.0.store {
            link.share(self, &transition);
        }
        self.0.settings().hooks.listeners.notify(transition);
        Decision::CircuitChanged(transition).emit(self.0.target(), transition.key);
        result
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("settings", self.settings()).field("state", &self.state()).finish()
    }
}
