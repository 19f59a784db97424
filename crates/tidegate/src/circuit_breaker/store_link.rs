use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::runtime;
use tokio::time::sleep;

use super::handle::{CircuitState, Handle};
use super::settings::CircuitBreakerSettings;
use super::state::Circuit;
use super::{Reason, State, Transition};
use crate::clock;
use crate::layer_state::WeakLayerState;
use crate::store::{CircuitChange, CircuitView, OnUnavailable, Store, StoreListener, StoreUnavailable};

/// The store through which one circuit is shared.
pub(super) struct CircuitLink {
    store: Store,
    has_joined: AtomicBool,
    /// The turn to probe is asked for, or was refused just now.
    is_asking: AtomicBool,
    listener: OnceLock<Arc<CircuitListener>>,
}

/// Follows what other processes do with the circuit.
struct CircuitListener(WeakLayerState<CircuitBreakerSettings, CircuitState>);

/// How long a process keeps its turn without a probe, and how often it is renewed with one.
const TURN: Duration = Duration::from_secs(1);

/// How long a process that keeps its turn waits until it tries a store again that could not be reached.
const RETRY_INTERVAL: Duration = Duration::from_millis(100);

/// The shortest time in which a store that has lost the circuit gives no turn. A process that probes reaches it several times
/// in that time.
const MIN_GRACE: Duration = Duration::from_secs(5);

/// How long a process that was refused waits until it asks again.
const ASK_INTERVAL: Duration = Duration::from_millis(50);

impl CircuitLink {
    pub(super) fn new(store: Store) -> Self {
        Self {
            store,
            has_joined: AtomicBool::new(false),
            is_asking: AtomicBool::new(false),
            listener: OnceLock::new(),
        }
    }

    /// Reads the state at the first call, and listens to its changes from then on.
    #[inline]
    pub(super) fn join(&self, circuit: &Handle) {
        if !self.has_joined.load(Ordering::Relaxed) && !self.has_joined.swap(true, Ordering::Relaxed) {
            let listener = self.listener.get_or_init(|| Arc::new(CircuitListener(circuit.0.downgrade())));
            let listener: Arc<dyn StoreListener> = Arc::clone(listener) as _;
            self.store.shared.listen(&self.name(circuit), Arc::downgrade(&listener));
            synchronize(circuit);
        }
    }

    /// Asks for the turn to probe, unless that is under way.
    #[cold]
    pub(super) fn ask_for_turn(&self, circuit: &Handle) {
        if circuit.has_turn() || self.is_asking.swap(true, Ordering::Relaxed) {
            return;
        }
        let circuit = circuit.clone();
        let asked = spawn(async move {
            let settings = circuit.settings();
            let grace = settings.cooldown.max(MIN_GRACE);
            let change = CircuitChange::TakeTurn { lease: settings.probe_lease, grace };
            let view = circuit.exchange(change).await;
            circuit.apply(view);
            let has_turn = circuit.has_turn();
            if !has_turn {
                sleep(ASK_INTERVAL).await;
            }
            if let Some(link) = &circuit.0.store {
                link.is_asking.store(false, Ordering::Relaxed);
            }
            if has_turn {
                circuit.keep_turn().await;
            }
        });
        if !asked {
            self.is_asking.store(false, Ordering::Relaxed);
        }
    }

    /// Shares a change of state that this process has made.
    #[cold]
    pub(super) fn share(&self, circuit: &Handle, transition: &Transition) {
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
        // If the store cannot be reached, the other processes open by their own calls.
        spawn(async move { circuit.exchange(change).await });
    }

    fn name(&self, circuit: &Handle) -> String {
        self.store.name_of("circuit", circuit.0.target(), circuit.0.key().map(|key| key.number()))
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

    /// Applies the state in the store.
    fn apply(&self, view: Result<CircuitView, StoreUnavailable>) {
        let is_open_mode = || {
            let link = self.0.store.as_ref();
            link.is_some_and(|link| link.store.shared.settings().mode == OnUnavailable::Open)
        };
        match view {
            Ok(CircuitView::Open { has_turn: true, .. }) => self.with_circuit(Circuit::allow_probes),
            Ok(CircuitView::Open { wait, is_quota, .. }) if !wait.is_zero() => {
                self.update(|circuit, now| circuit.open_elsewhere(wait, is_quota, now));
            }
            Ok(CircuitView::Closed) => self.update(Circuit::close_elsewhere),
            Err(StoreUnavailable) if is_open_mode() => self.with_circuit(Circuit::allow_probes),
            Ok(CircuitView::Open { .. }) => self.with_circuit(Circuit::refuse_probes),
            Ok(CircuitView::Unknown) | Err(StoreUnavailable) => {}
        }
    }

    /// Reads the state in the store, and applies it. A store that has lost it gets that of this process. An error changes
    /// nothing.
    async fn synchronize(&self) {
        let view = match self.exchange(self.renewal().unwrap_or(CircuitChange::Read)).await {
            Ok(CircuitView::Unknown) => {
                match self.with_circuit(|circuit| circuit.remaining_cooldown(clock::now())) {
                    Some((wait, is_quota)) => self.exchange(CircuitChange::Open { wait, is_quota }).await,
                    None => return,
                }
            }
            view => view,
        };
        if view.is_ok() {
            self.apply(view);
        }
    }

    /// How this process keeps its turn to probe, if it has it.
    fn renewal(&self) -> Option<CircuitChange> {
        let lease = self.settings().probe_lease;
        self.has_turn().then_some(CircuitChange::KeepTurn { lease })
    }

    /// Renews the turn as long as probes are in flight, and ends it if there are none.
    async fn keep_turn(&self) {
        let mut interval = TURN;
        loop {
            sleep(interval).await;
            if self.with_circuit(Circuit::end_idle_turn) {
                let _ = self.exchange(CircuitChange::EndTurn).await;
                return;
            }
            // Without a turn the circuit has opened or closed, and that was shared, or another process has the turn.
            let Some(renewal) = self.renewal() else { return };
            interval = match self.exchange(renewal).await {
                Ok(view) => {
                    self.apply(Ok(view));
                    TURN
                }
                Err(StoreUnavailable) => RETRY_INTERVAL,
            };
        }
    }
}

impl StoreListener for CircuitListener {
    fn on_circuit(&self, view: CircuitView) {
        if let Some(state) = self.0.upgrade() {
            Handle(state).apply(Ok(view));
        }
    }

    fn on_reconnected(&self) {
        if let Some(state) = self.0.upgrade() {
            synchronize(&Handle(state));
        }
    }
}

/// [Synchronizes](Handle::synchronize) the circuit in a task.
fn synchronize(circuit: &Handle) {
    let circuit = circuit.clone();
    spawn(async move { circuit.synchronize().await });
}

/// Whether there is a runtime for the task.
fn spawn<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> bool {
    runtime::Handle::try_current().map(|runtime| runtime.spawn(task)).is_ok()
}

impl fmt::Debug for CircuitLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitLink").field("store", &self.store).finish_non_exhaustive()
    }
}
