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
use crate::store::{
    CircuitChange, CircuitView, OnUnavailable, SharedPart, Store, StoreListener, StoreUnavailable,
};

/// The store through which one circuit is shared.
pub(crate) struct CircuitLink {
    pub(super) store: Store,
    has_joined: AtomicBool,
    /// A request for the turn to probe is under way, or was refused less than [`TURN_RETRY_INTERVAL`] ago.
    turn_request: TaskFlag,
    /// The turn is kept.
    turn_keeper: TaskFlag,
    /// A wait of the provider is sent soon.
    wait_task: TaskFlag,
    pub(crate) reports: CallReports,
    listener: OnceLock<Arc<CircuitListener>>,
}

/// Applies changes of the circuit that other processes publish.
struct CircuitListener(WeakLayerState<CircuitBreakerSettings, CircuitBreakerState>);

/// When a request was sent to the store, and the [revision](Circuit::turn_revision) of the turn then.
#[derive(Clone, Copy)]
struct Sent {
    at: Instant,
    turn_revision: u64,
}

/// The time after which a turn without a probe ends, and the time between two renewals of a turn with one.
const TURN: Duration = Duration::from_secs(1);

/// The time from the request of a turn in which probes may begin, and after which a reply is out of date. The
/// turn lasts longer in the store, by the lease of a probe: a probe that began at the last moment has ended,
/// or has been given up, before another process has the turn.
const TURN_VALIDITY: Duration = TURN.saturating_mul(2);

/// The time between a renewal that failed because the store could not be reached and the next one.
const RETRY_INTERVAL: Duration = Duration::from_millis(100);

/// The shortest time for which no turn is granted by a store that has lost the circuit. A process with probes
/// in flight sends several renewals in that time.
const MIN_GRACE: Duration = Duration::from_secs(5);

/// The time in which waits of the provider are collected before the latest is sent to the store.
const WAIT_INTERVAL: Duration = Duration::from_millis(100);

/// How long a store keeps a circuit after its cooldown or the latest turn.
const KEPT_FOR: Duration = Duration::from_secs(3600);

/// The time between a refusal of the turn and the next request for it.
const TURN_RETRY_INTERVAL: Duration = Duration::from_millis(50);

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

    /// Requests the turn to probe in a task, unless a request is under way. Also if this process had the turn
    /// and could not keep it in time: the runtime of the task that did may have ended.
    #[cold]
    pub(crate) fn request_turn(&self, circuit: &Handle) {
        if self.turn_keeper.is_running() && circuit.may_probe() {
            return;
        }
        let Some(guard) = self.turn_request.try_begin() else { return };
        let circuit = circuit.clone();
        spawn(async move {
            circuit.take_turn().await;
            let may_probe = circuit.may_probe();
            if !may_probe {
                sleep(TURN_RETRY_INTERVAL).await;
            }
            drop(guard);
            if may_probe {
                circuit.keep_turn().await;
            }
        });
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
    async fn exchange(&self, change: CircuitChange) -> Result<CircuitView, StoreUnavailable> {
        let Some(link) = &self.0.store else { return Err(StoreUnavailable) };
        link.store.shared.circuit(&link.name(self), change).await
    }

    fn has_turn(&self) -> bool {
        self.with_circuit(|circuit| circuit.has_turn())
    }

    /// Whether it is the turn of this process, and a probe may begin now.
    fn may_probe(&self) -> bool {
        self.with_circuit(|circuit| circuit.may_probe(clock::now()))
    }

    /// The time and the revision of a request that is sent now.
    fn sent(&self) -> Sent {
        let turn_revision = self.with_circuit(|circuit| circuit.turn_revision());
        Sent { at: clock::now(), turn_revision }
    }

    /// Requests the turn to probe, or renews it if probes of this process are in flight. A turn whose grant
    /// is out of date ends at once.
    async fn take_turn(&self) {
        if !self.may_probe() {
            self.with_circuit(Circuit::end_idle_turn);
        }
        let sent = self.sent();
        let request = || CircuitChange::TakeTurn { lease: self.turn_lease(), grace: self.grace() };
        let change = self.renewal().unwrap_or_else(request);
        let view = self.exchange(change).await;
        self.apply(view, sent);
        if matches!(view, Ok(CircuitView::Open { has_turn: true, .. })) {
            self.end_unused_turn().await;
        }
    }

    /// Ends the turn in the store, unless this process has it or has probes in flight.
    async fn end_unused_turn(&self) {
        if !self.with_circuit(|circuit| circuit.has_turn() || circuit.is_forced_with_probes()) {
            let _ = self.exchange(CircuitChange::EndTurn).await;
        }
    }

    /// Applies the reply to a request of the turn, unless it is out of date.
    fn apply(&self, view: Result<CircuitView, StoreUnavailable>, sent: Sent) {
        let until = clock::after(TURN_VALIDITY, sent.at);
        let is_open_mode = || {
            let link = self.0.store.as_ref();
            link.is_some_and(|link| link.store.shared.settings().mode == OnUnavailable::Open)
        };
        self.update(|circuit, now| {
            if now >= until || circuit.turn_revision() != sent.turn_revision {
                return;
            }
            match view {
                Ok(CircuitView::Open { has_turn: true, .. }) => circuit.begin_turn(until),
                Ok(view) => apply_view(circuit, view, now),
                Err(StoreUnavailable) if is_open_mode() => circuit.begin_turn(until),
                Err(StoreUnavailable) => {}
            }
        });
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

    /// The request that renews the turn of this process, if it has the turn.
    fn renewal(&self) -> Option<CircuitChange> {
        self.has_turn().then(|| CircuitChange::KeepTurn { lease: self.turn_lease() })
    }

    /// The time for which a turn is requested from the store.
    fn turn_lease(&self) -> Duration {
        self.settings().probe_lease.saturating_add(TURN_VALIDITY)
    }

    /// The time for which no turn is granted by a store that has lost the circuit. One that has dropped it in
    /// the course of time had none to renew.
    fn grace(&self) -> Duration {
        let idle = self.with_circuit(|circuit| circuit.cooldown_over_for(clock::now()));
        if idle < KEPT_FOR { self.settings().cooldown.max(MIN_GRACE) } else { MIN_GRACE }
    }

    /// Ends the turn if no probe is in flight. The turn is not requested again before the store has replied:
    /// the request could overtake the end.
    async fn end_idle_turn(&self) -> bool {
        let Some(link) = &self.0.store else { return true };
        let guard = link.turn_request.try_begin();
        let is_idle = self.with_circuit(Circuit::end_idle_turn);
        if is_idle {
            let _ = self.exchange(CircuitChange::EndTurn).await;
        }
        drop(guard);
        is_idle
    }

    /// Ends the turn of a circuit that was forced, unless it is requested again. With probes in flight it ends
    /// by itself.
    async fn end_forced_turn(&self) {
        let Some(link) = &self.0.store else { return };
        let Some(_guard) = link.turn_request.try_begin() else { return };
        if self.forced().is_some() {
            self.end_unused_turn().await;
        }
    }

    /// Keeps the turn as long as probes are in flight, in one task.
    async fn keep_turn(&self) {
        let Some(link) = &self.0.store else { return };
        while let Some(guard) = link.turn_keeper.try_begin() {
            self.renew_turn().await;
            drop(guard);
            // A turn that began before this is not kept by another task.
            if !self.has_turn() {
                return;
            }
        }
    }

    /// Renews the turn as long as probes are in flight, and ends it if there are none.
    async fn renew_turn(&self) {
        let mut interval = TURN;
        loop {
            sleep(interval).await;
            if self.end_idle_turn().await {
                return;
            }
            // The turn has ended: the circuit has opened or closed, or another process has the turn.
            let Some(renewal) = self.renewal() else { return self.end_forced_turn().await };
            let sent = self.sent();
            let view = self.exchange(renewal).await;
            interval = if view.is_ok() { TURN } else { RETRY_INTERVAL };
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
fn apply_view(circuit: &mut Circuit, view: CircuitView, now: Instant) {
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
