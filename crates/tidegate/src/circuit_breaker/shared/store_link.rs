use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::call_reports::CallReports;
use crate::circuit_breaker::circuit::Circuit;
use crate::circuit_breaker::handle::{CircuitBreakerState, Handle};
use crate::circuit_breaker::settings::CircuitBreakerSettings;
use crate::circuit_breaker::{Reason, State, Transition};
use crate::clock;
use crate::layer_state::WeakLayerState;
use crate::store::link_task::{TaskFlag, spawn};
use crate::store::{CircuitChange, CircuitView, SharedPart, Store, StoreListener, StoreUnavailable};

/// The store through which one circuit is shared.
pub(crate) struct CircuitLink {
    pub(super) store: Store,
    has_joined: AtomicBool,
    /// A request for the turn to probe is under way, or was refused a moment ago.
    pub(super) turn_request: TaskFlag,
    /// The turn is kept.
    pub(super) turn_keeper: TaskFlag,
    /// A wait of the provider is sent soon.
    wait_task: TaskFlag,
    pub(crate) reports: CallReports,
    listener: OnceLock<Arc<CircuitListener>>,
}

/// Applies changes of the circuit that other processes publish.
struct CircuitListener(WeakLayerState<CircuitBreakerSettings, CircuitBreakerState>);

/// The time in which waits of the provider are collected before the latest is sent to the store.
const WAIT_INTERVAL: Duration = Duration::from_millis(100);

impl CircuitLink {
    pub(crate) fn new(store: Store) -> Self {
        Self {
            store,
            has_joined: AtomicBool::new(false),
            turn_request: TaskFlag::default(),
            turn_keeper: TaskFlag::default(),
            wait_task: TaskFlag::default(),
            reports: CallReports::default(),
            listener: OnceLock::new(),
        }
    }

    /// Reads the state at the first call, and subscribes to its changes.
    #[inline]
    pub(crate) fn join(&self, circuit: &Handle) {
        if !self.has_joined.load(Ordering::Relaxed) && !self.has_joined.swap(true, Ordering::Relaxed) {
            let listener = self.listener.get_or_init(|| Arc::new(CircuitListener(circuit.0.downgrade())));
            let listener: Arc<dyn StoreListener> = Arc::clone(listener) as _;
            self.store.shared.listen(&self.name(circuit), Arc::downgrade(&listener));
            synchronize(circuit);
        }
    }

    /// Sends a change of state to the store, if this process has made it. It is not sent again: without it
    /// the circuits of other processes open by their own calls, and close by their own probes.
    #[cold]
    pub(crate) fn share(&self, circuit: &Handle, transition: &Transition) {
        let change = match (transition.reason, transition.to) {
            (Reason::OpenElsewhere | Reason::ClosedElsewhere | Reason::Forced, _) | (_, State::HalfOpen) => {
                return;
            }
            (_, State::Closed) => CircuitChange::Close,
            (reason, State::Open) => CircuitChange::Open {
                wait: transition.cooldown.unwrap_or_default(),
                is_quota: reason == Reason::Quota,
            },
        };
        let circuit = circuit.clone();
        spawn(async move { circuit.exchange(change).await });
    }

    /// Sends the rest of a cooldown that a failure has extended while the circuit was open, or made one of an
    /// exhausted quota. Those of many attempts are sent together.
    #[cold]
    pub(crate) fn share_wait(&self, circuit: &Handle) {
        let Some(guard) = self.wait_task.try_begin() else { return };
        let circuit = circuit.clone();
        spawn(async move {
            sleep(WAIT_INTERVAL).await;
            // A wait that comes after this starts another task.
            drop(guard);
            let remaining = circuit.with_circuit(|circuit| circuit.remaining_cooldown(clock::now()));
            if let Some((wait, is_quota)) = remaining {
                let _ = circuit.exchange(CircuitChange::Open { wait, is_quota }).await;
            }
        });
    }

    /// The name of the shared state. Circuits in shadow mode have one of their own: they may be observed with
    /// other settings than those that reject calls.
    pub(super) fn name(&self, circuit: &Handle) -> String {
        let key = circuit.0.key().map(|key| key.number());
        let name = self.store.name_of(SharedPart::Circuit, circuit.0.target(), key);
        if circuit.settings().shadow { name + ":shadow" } else { name }
    }
}

impl Handle {
    pub(super) async fn exchange(&self, change: CircuitChange) -> Result<CircuitView, StoreUnavailable> {
        let Some(link) = &self.0.store else { return Err(StoreUnavailable) };
        link.store.shared.circuit(&link.name(self), change).await
    }

    /// Renews the turn of this process, or reads the state in the store without one, and applies the reply.
    /// An error changes nothing.
    async fn synchronize(&self) {
        let sent = self.sent();
        let Some(renewal) = self.renewal() else { return self.read().await };
        let view = self.exchange(renewal).await;
        if view.is_ok() {
            self.apply(view, sent);
        }
    }

    /// Reads the state in the store and applies it. If the store has lost it, sends the rest of the cooldown
    /// of this process.
    async fn read(&self) {
        let sent = self.sent();
        let view = match self.exchange(CircuitChange::Read).await {
            Ok(CircuitView::Unknown) => {
                let grace = self.grace();
                let remaining = self.with_circuit(|circuit| circuit.remaining_cooldown(clock::now()));
                let Some((wait, is_quota)) = remaining else { return };
                self.exchange(CircuitChange::Restore { wait, is_quota, grace }).await
            }
            view => view,
        };
        // The turn begins with the reply to a request for it.
        if !matches!(view, Ok(CircuitView::Open { has_turn: true, .. }) | Err(StoreUnavailable)) {
            self.apply(view, sent);
        }
    }
}

impl StoreListener for CircuitListener {
    fn on_circuit(&self, view: CircuitView) {
        if let Some(state) = self.0.upgrade() {
            Handle(state).update(|circuit, now| apply_view(circuit, view, now));
        }
    }

    fn on_reconnected(&self) {
        if let Some(state) = self.0.upgrade() {
            synchronize(&Handle(state));
        }
    }
}

/// Applies a state in which this process does not have the turn.
pub(super) fn apply_view(circuit: &mut Circuit, view: CircuitView, now: Instant) {
    match view {
        CircuitView::Open { wait, is_quota, .. } if !wait.is_zero() => {
            circuit.open_elsewhere(wait, is_quota, now);
        }
        CircuitView::Open { is_quota, .. } => circuit.half_open_elsewhere(is_quota, now),
        CircuitView::Closed => circuit.close_elsewhere(now),
        CircuitView::Unknown => {}
    }
}

/// [Synchronizes](Handle::synchronize) the circuit in a task.
fn synchronize(circuit: &Handle) {
    let circuit = circuit.clone();
    spawn(async move { circuit.synchronize().await });
}

partial_debug!([] CircuitLink, "CircuitLink", store);
