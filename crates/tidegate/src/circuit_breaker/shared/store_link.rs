use std::time::{Duration, Instant};

use tokio::sync::Mutex;
use tokio::time::sleep;

use super::call_reports::CallReports;
use super::turn::{RETRY_INTERVAL, TURN};
use crate::circuit_breaker::circuit::Circuit;
use crate::circuit_breaker::handle::{CircuitBreakerState, Handle};
use crate::circuit_breaker::settings::CircuitBreakerSettings;
use crate::circuit_breaker::{State, Transition};
use crate::clock;
use crate::layer_state::WeakLayerState;
use crate::store::link::{JoinedListener, TaskFlag, spawn};
use crate::store::{CircuitChange, CircuitView, SharedPart, Store, StoreListener, StoreUnavailable};

/// The store through which one circuit is shared.
pub(crate) struct CircuitLink {
    pub(super) store: Store,
    /// A request for the turn to probe is under way, or was refused a moment ago.
    pub(super) turn_request: TaskFlag,
    /// The turn is kept.
    pub(super) turn_keeper: TaskFlag,
    /// A wait of the provider is sent soon.
    wait_task: TaskFlag,
    /// Held while a change of state is sent: one at a time, in their order.
    sharing: Mutex<()>,
    pub(crate) reports: CallReports,
    listener: JoinedListener,
}

/// Applies changes of the circuit that other processes publish.
struct CircuitListener(WeakLayerState<CircuitBreakerSettings, CircuitBreakerState>);

/// The time in which waits of the provider are collected before the latest is sent to the store.
const WAIT_INTERVAL: Duration = Duration::from_millis(100);

impl CircuitLink {
    pub(crate) fn new(store: Store) -> Self {
        Self {
            store,
            turn_request: TaskFlag::default(),
            turn_keeper: TaskFlag::default(),
            wait_task: TaskFlag::default(),
            sharing: Mutex::default(),
            reports: CallReports::default(),
            listener: JoinedListener::default(),
        }
    }

    /// Reads the state at the first call, and subscribes to its changes.
    #[inline]
    pub(crate) fn join(&self, circuit: &Handle) {
        self.listener.join(&self.store, || (self.name(circuit), CircuitListener(circuit.0.downgrade())));
    }

    /// Sends a change of state to the store, if other processes share it.
    #[cold]
    pub(crate) fn share(&self, circuit: &Handle, transition: &Transition) {
        if transition.to != State::HalfOpen && transition.reason.is_shared() {
            let circuit = circuit.clone();
            spawn(async move { circuit.share_until_received().await });
        }
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
            let now = clock::now();
            let remaining = circuit.with_circuit(|circuit| circuit.remaining_cooldown(now));
            if let Some((wait, is_quota)) = remaining
                && circuit.exchange(CircuitChange::Open { wait, is_quota }).await.is_err()
            {
                circuit.with_circuit(|circuit| circuit.on_wait_unshared(now));
                circuit.share_until_received().await;
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

    /// As [`exchange`](Self::exchange), after the latest change of state.
    pub(super) async fn exchange_in_order(
        &self,
        change: CircuitChange,
    ) -> Result<CircuitView, StoreUnavailable> {
        self.share_latest().await?;
        self.exchange(change).await
    }

    /// Sends the latest change of state of this process, unless the store has replied to it.
    async fn share_latest(&self) -> Result<(), StoreUnavailable> {
        let Some(link) = &self.0.store else { return Ok(()) };
        let _order = link.sharing.lock().await;
        let grace = self.grace();
        let next = self.with_circuit(|circuit| circuit.next_unshared(grace, clock::now()));
        let Some((generation, change)) = next else { return Ok(()) };
        self.exchange(change).await?;
        self.with_circuit(|circuit| circuit.on_shared(generation));
        Ok(())
    }

    /// Sends the latest change of state until the store replies or a later change replaces it, for as long as
    /// a turn lasts in the store. After that it is sent before the next request of the circuit.
    async fn share_until_received(&self) {
        let generation = || self.with_circuit(|circuit| circuit.unshared_generation());
        let (sent, end) = (generation(), clock::after(self.turn_lease(), clock::now()));
        let mut interval = RETRY_INTERVAL;
        while sent.is_some() && self.share_latest().await.is_err() && clock::now() < end {
            sleep(interval).await;
            // Another task sends a later change.
            if generation() != sent {
                return;
            }
            interval = interval.saturating_mul(2).min(TURN);
        }
    }

    /// Renews the turn of this process, or reads the state in the store without one, and applies the reply.
    /// An error changes nothing; the read is repeated.
    async fn synchronize(&self) -> Result<(), StoreUnavailable> {
        let sent = self.sent();
        let Some(renewal) = self.renewal() else { return self.read().await };
        let view = self.exchange_in_order(renewal).await;
        if view.is_ok() {
            self.apply(view, sent);
        }
        Ok(())
    }

    /// Reads the state in the store and applies it. If the store has lost it, sends the rest of the cooldown
    /// of this process.
    async fn read(&self) -> Result<(), StoreUnavailable> {
        let sent = self.sent();
        let view = match self.exchange_in_order(CircuitChange::Read).await {
            Ok(CircuitView::Unknown) => {
                let grace = self.grace();
                let remaining = self.with_circuit(|circuit| circuit.remaining_cooldown(clock::now()));
                let Some((wait, is_quota)) = remaining else { return Ok(()) };
                self.exchange(CircuitChange::Restore { wait, is_quota, grace }).await
            }
            view => view,
        };
        match view {
            // A turn begins with the reply to a request for it. Without such a request it is that of an earlier
            // circuit of this process, which may still have probes in flight.
            Ok(CircuitView::Open { has_turn: true, is_quota, .. }) => self.update(|circuit, now| {
                if circuit.state(now) == State::Closed {
                    circuit.half_open_elsewhere(is_quota, now);
                }
            }),
            Ok(_) => self.apply(view, sent),
            Err(StoreUnavailable) => return Err(StoreUnavailable),
        }
        Ok(())
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
            let circuit = Handle(state);
            let Some(read) = circuit.0.store.as_ref().map(|link| link.listener.begin_read()) else { return };
            spawn(async move { read.end(circuit.synchronize().await).await });
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

partial_debug!([] CircuitLink, "CircuitLink", store);
