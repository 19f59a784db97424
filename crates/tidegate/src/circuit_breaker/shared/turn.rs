//! The turn to probe, which one of the processes that share a circuit has at a time.

use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::time::sleep;

use super::store_link::{CircuitLink, apply_view};
use crate::circuit_breaker::circuit::Circuit;
use crate::circuit_breaker::handle::Handle;
use crate::clock;
use crate::store::link::spawn;
use crate::store::{CircuitChange, CircuitView, OnUnavailable, StoreUnavailable};

/// When a request was sent to the store, and the [revision](Circuit::turn_revision) of the turn then.
#[derive(Clone, Copy)]
pub(super) struct Sent {
    at: Instant,
    turn_revision: u64,
}

/// The shortest time after which a turn without a probe ends, and the time between two renewals of a turn.
pub(super) const TURN: Duration = Duration::from_secs(1);

/// The time from the request of a turn in which probes may begin, and after which a reply is out of date. The
/// turn lasts longer in the store, by the lease of a probe: a probe that began at the last moment has ended,
/// or has been given up, before another process has the turn.
const TURN_VALIDITY: Duration = TURN.saturating_mul(2);

/// The time between a renewal that failed because the store could not be reached and the next one, and the
/// shortest time between two attempts to send a change of state.
pub(super) const RETRY_INTERVAL: Duration = Duration::from_millis(100);

/// The shortest time for which no turn is granted by a store that has lost the circuit. A process with probes
/// in flight sends several renewals in that time.
const MIN_GRACE: Duration = Duration::from_secs(5);

/// How long a store keeps a circuit after its cooldown or the latest turn.
const KEPT_FOR: Duration = Duration::from_secs(3600);

/// The time between a refusal of the turn and the next request for it.
const TURN_RETRY_INTERVAL: Duration = Duration::from_millis(50);

impl CircuitLink {
    /// Requests the turn to probe in a task, unless a request is under way. Also if this process had the turn
    /// and could not keep it in time: the runtime of the task that did may have ended. What is returned is
    /// ready when the store has replied.
    ///
    /// If no call awaits the turn, one that comes later is the probe, and the turn is kept for at least a
    /// cooldown: calls may be rare.
    #[cold]
    pub(crate) fn request_turn(&self, circuit: &Handle, is_awaited: bool) -> Option<oneshot::Receiver<()>> {
        if self.turn_keeper.is_running() && circuit.may_probe() {
            return None;
        }
        let guard = self.turn_request.try_begin()?;
        let kept_for = if is_awaited { TURN } else { circuit.settings().cooldown };
        let (replied, reply) = oneshot::channel();
        let circuit = circuit.clone();
        spawn(async move {
            circuit.take_turn(replied).await;
            let may_probe = circuit.may_probe();
            if !may_probe {
                sleep(TURN_RETRY_INTERVAL).await;
            }
            drop(guard);
            if may_probe {
                circuit.keep_turn(clock::after(kept_for, clock::now())).await;
            }
        });
        Some(reply)
    }
}

impl Handle {
    fn has_turn(&self) -> bool {
        self.with_circuit(|circuit| circuit.has_turn())
    }

    /// Whether it is the turn of this process, and a probe may begin now.
    fn may_probe(&self) -> bool {
        self.with_circuit(|circuit| circuit.may_probe(clock::now()))
    }

    /// The time and the revision of a request that is sent now.
    pub(super) fn sent(&self) -> Sent {
        let turn_revision = self.with_circuit(|circuit| circuit.turn_revision());
        Sent { at: clock::now(), turn_revision }
    }

    /// Requests the turn to probe, or renews it if probes of this process are in flight. A turn whose grant
    /// is out of date ends at once. The reply is applied when `replied` is dropped.
    async fn take_turn(&self, replied: oneshot::Sender<()>) {
        if !self.may_probe() {
            self.with_circuit(Circuit::end_idle_turn);
        }
        let sent = self.sent();
        let request = || CircuitChange::TakeTurn { lease: self.turn_lease(), grace: self.grace() };
        let change = self.renewal().unwrap_or_else(request);
        let view = self.exchange_in_order(change).await;
        self.apply(view, sent);
        drop(replied);
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
    pub(super) fn apply(&self, view: Result<CircuitView, StoreUnavailable>, sent: Sent) {
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

    /// The request that renews the turn of this process, if it has the turn.
    pub(super) fn renewal(&self) -> Option<CircuitChange> {
        self.has_turn().then(|| CircuitChange::KeepTurn { lease: self.turn_lease() })
    }

    /// The time for which a turn is requested from the store.
    pub(super) fn turn_lease(&self) -> Duration {
        self.settings().probe_lease.saturating_add(TURN_VALIDITY)
    }

    /// The time for which no turn is granted by a store that has lost the circuit. One that has dropped it in
    /// the course of time had none to renew.
    pub(super) fn grace(&self) -> Duration {
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

    /// Keeps the turn until `end`, and as long as probes are in flight, in one task.
    async fn keep_turn(&self, end: Instant) {
        let Some(link) = &self.0.store else { return };
        while let Some(guard) = link.turn_keeper.try_begin() {
            self.renew_turn(end).await;
            drop(guard);
            // A turn that began before this is not kept by another task.
            if !self.has_turn() {
                return;
            }
        }
    }

    /// Renews the turn until `end`, and as long as probes are in flight. Then ends it.
    async fn renew_turn(&self, end: Instant) {
        let mut interval = TURN;
        loop {
            sleep(interval).await;
            if clock::now() >= end && self.end_idle_turn().await {
                return;
            }
            // The turn has ended: the circuit has opened or closed, or another process has the turn.
            let Some(renewal) = self.renewal() else { return self.end_forced_turn().await };
            let sent = self.sent();
            let view = self.exchange_in_order(renewal).await;
            interval = if view.is_ok() { TURN } else { RETRY_INTERVAL };
            self.apply(view, sent);
        }
    }
}
