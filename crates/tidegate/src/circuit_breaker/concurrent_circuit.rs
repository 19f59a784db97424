use std::time::{Duration, Instant};

use super::attempt_result::{AttemptResult, Latency};
use super::circuit::{Circuit, CircuitAdmission};
use super::rejections::{CircuitRejection, RejectionCause};
use super::settings::CircuitBreakerSettings;
use super::success_counts::SuccessCounts;
use super::transition::Transition;
use crate::clock;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, MutexGuard, unpoisoned};
use crate::thread_shard::{SHARDS, thread_shard};

/// A circuit that many threads use at once. While the provider is healthy they take no lock, and do not write
/// to shared memory. A circuit with a failure rate over a number of calls takes the lock once for many
/// successes.
pub(super) struct ConcurrentCircuit {
    locked: Mutex<LockedCircuit>,
    /// The [`FastState`], read without the lock while all calls or none are admitted.
    fast_state: AtomicU64,
    /// The end of the cooldown, in nanoseconds from the origin, if the fast state is open.
    until: AtomicU64,
    origin: Instant,
    /// Successes of the current generation that are not in the circuit yet.
    successes: SuccessCounts,
}

struct LockedCircuit {
    circuit: Circuit,
    random: fastrand::Rng,
}

/// A summary of the circuit in one atomic number: its generation, whether every call is admitted, whether a
/// success would change nothing, whether every call is rejected, and whether there are consecutive failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FastState(u64);

const IGNORES_SUCCESS: u64 = 1;
const ADMITS_ALL: u64 = 2;
const REJECTS_FAILING: u64 = 4;
const REJECTS_QUOTA: u64 = 8;
const REJECTS_FORCED: u64 = REJECTS_FAILING | REJECTS_QUOTA;
const HAS_STREAK: u64 = 16;

/// The number of bits below the generation.
const FLAGS: u32 = 5;

/// The result of a change, and the change of state that it caused, to be emitted.
pub(super) type WithTransition<T> = (T, Option<Transition>);

impl ConcurrentCircuit {
    /// Creates a closed circuit that begins at `origin`.
    pub(super) fn new(settings: &CircuitBreakerSettings, origin: Instant) -> Self {
        let mut circuit = Circuit::new(settings.settings.clone());
        if settings.hooks.store.is_some() {
            circuit.share();
        }
        let is_sharded = circuit.defers_success() && settings.hooks.totals_of_layer.is_none();
        let successes = SuccessCounts::new(if is_sharded { SHARDS } else { 0 });
        successes.set_generation(is_sharded.then(|| circuit.generation()));
        Self {
            fast_state: AtomicU64::new(FastState::of(&circuit).0),
            locked: Mutex::new(LockedCircuit {
                circuit,
                random: settings.hooks.seed.map_or_else(fastrand::Rng::new, fastrand::Rng::with_seed),
            }),
            until: AtomicU64::new(0),
            origin,
            successes,
        }
    }

    pub(super) fn fast_state(&self) -> FastState {
        FastState(self.fast_state.load(Ordering::Acquire))
    }

    /// Admits an attempt or rejects it.
    pub(super) fn admit(
        &self,
        now: impl FnOnce() -> Instant,
    ) -> WithTransition<Result<CircuitAdmission, CircuitRejection>> {
        let fast_state = self.fast_state();
        if fast_state.admits_all() {
            return (Ok(CircuitAdmission::of_call(fast_state.generation())), None);
        }
        let now = now();
        match self.fast_rejection(fast_state, now) {
            Some(rejection) => (Err(rejection), None),
            None => self.update(|circuit, _| circuit.admit(now)),
        }
    }

    /// The rejection that a call would get. Acquires nothing.
    pub(super) fn peek(&self, now: impl FnOnce() -> Instant) -> Option<CircuitRejection> {
        let fast_state = self.fast_state();
        if fast_state.admits_all() {
            return None;
        }
        let now = now();
        self.fast_rejection(fast_state, now).or_else(|| self.with_circuit(|circuit| circuit.peek(now)))
    }

    /// The rejection if the fast state is open, so that threads do not queue for the lock during an
    /// outage either.
    fn fast_rejection(&self, fast_state: FastState, now: Instant) -> Option<CircuitRejection> {
        let cause = fast_state.cause()?;
        if cause == RejectionCause::ForcedOpen {
            return Some(CircuitRejection { cause, retry_after: None });
        }
        let until = self.until.load(Ordering::Acquire);
        // The time is written before its fast state. If the fast state has changed, the time may have changed
        // as well.
        if self.fast_state() != fast_state {
            return None;
        }
        let remaining = self.origin.checked_add(Duration::from_nanos(until))?.saturating_duration_since(now);
        (!remaining.is_zero()).then_some(CircuitRejection { cause, retry_after: Some(remaining) })
    }

    /// Handles the head of a successful response.
    pub(super) fn record_head(
        &self,
        admission: CircuitAdmission,
        is_proven: bool,
        latency: Latency,
        now: impl FnOnce() -> Instant,
    ) -> WithTransition<Option<CircuitAdmission>> {
        let separates = || is_proven && self.fast_state().has_streak_of(admission.generation);
        if !admission.is_probe() && latency == Latency::Unknown && !separates() {
            return (Some(admission.of_body(is_proven)), None);
        }
        self.update(|circuit, random| circuit.record_head(admission, is_proven, latency, now(), random))
    }

    /// Records the result of an attempt.
    pub(super) fn record(
        &self,
        admission: CircuitAdmission,
        result: AttemptResult,
        latency: Latency,
        now: impl FnOnce() -> Instant,
    ) -> WithTransition<()> {
        let needs_no_lock = match (result, latency) {
            (AttemptResult::Neutral, Latency::Unknown) => !admission.is_tracked(),
            (AttemptResult::Success, Latency::Unknown) => {
                self.fast_state() == FastState::ignoring_success(admission.generation)
                    || self.successes.try_add(thread_shard(), admission.generation)
            }
            _ => false,
        };
        if needs_no_lock {
            return ((), None);
        }
        self.update(|circuit, random| circuit.record(admission, result, latency, now(), random))
    }

    /// Changes the circuit, and publishes its fast state. The change of state is emitted after the lock is
    /// released, because a listener may read the state when it wakes. Two changes at the same moment may
    /// therefore reach the listeners in either order.
    pub(super) fn update<T>(&self, change: impl FnOnce(&mut Circuit, f64) -> T) -> WithTransition<T> {
        let mut lock = self.lock();
        let locked = &mut *lock;
        let before = locked.circuit.generation();
        let result = change(&mut locked.circuit, locked.random.f64());
        if let Some((_, Some(until))) = locked.circuit.rejects_all() {
            let nanos = until.saturating_duration_since(self.origin).as_nanos();
            self.until.store(u64::try_from(nanos).unwrap_or(u64::MAX), Ordering::Release);
        }
        self.fast_state.store(FastState::of(&locked.circuit).0, Ordering::Release);
        let generation = locked.circuit.generation();
        let transition = locked.circuit.last_transition().filter(|_| generation != before);
        if transition.is_some() {
            self.successes.set_generation(locked.circuit.defers_success().then_some(generation));
        }
        (result, transition)
    }

    /// The reason why the circuit is open, and the end of its cooldown in nanoseconds since the start.
    pub(super) fn cooldown(&self) -> Option<(RejectionCause, u64)> {
        let cause = self.fast_state().cause()?;
        Some((cause, self.until.load(Ordering::Acquire)))
    }

    /// Runs `read` on the circuit under the lock.
    pub(super) fn with_circuit<T>(&self, read: impl FnOnce(&mut Circuit) -> T) -> T {
        read(&mut self.lock().circuit)
    }

    /// Locks the circuit, and records the successes that were counted without the lock.
    fn lock(&self) -> MutexGuard<'_, LockedCircuit> {
        let mut locked = unpoisoned(self.locked.lock());
        let successes = self.successes.take();
        if successes > 0 {
            locked.circuit.record_successes(successes, clock::now());
        }
        locked
    }
}

impl FastState {
    fn of(circuit: &Circuit) -> Self {
        let ignores_success = if circuit.ignores_success() { IGNORES_SUCCESS } else { 0 };
        let admits_all = if circuit.admits_all() { ADMITS_ALL } else { 0 };
        let rejects = match circuit.rejects_all() {
            Some((RejectionCause::Quota, _)) => REJECTS_QUOTA,
            Some((RejectionCause::ForcedOpen, _)) => REJECTS_FORCED,
            Some(_) => REJECTS_FAILING,
            None => 0,
        };
        let has_streak = if circuit.has_streak() { HAS_STREAK } else { 0 };
        Self(circuit.generation() << FLAGS | has_streak | rejects | admits_all | ignores_success)
    }

    const fn ignoring_success(generation: u64) -> Self {
        Self(generation << FLAGS | ADMITS_ALL | IGNORES_SUCCESS)
    }

    /// Whether there are consecutive failures of this generation.
    const fn has_streak_of(self, generation: u64) -> bool {
        self.0 & HAS_STREAK != 0 && self.generation() == generation
    }

    /// Why all calls are rejected, if they are. The cooldown may have passed since.
    const fn cause(self) -> Option<RejectionCause> {
        match self.0 & REJECTS_FORCED {
            REJECTS_FORCED => Some(RejectionCause::ForcedOpen),
            REJECTS_QUOTA => Some(RejectionCause::Quota),
            REJECTS_FAILING => Some(RejectionCause::Failing),
            _ => None,
        }
    }

    pub(super) const fn generation(self) -> u64 {
        self.0 >> FLAGS
    }

    pub(super) const fn admits_all(self) -> bool {
        self.0 & ADMITS_ALL != 0
    }
}
