use std::sync::PoisonError;
use std::time::Instant;

use super::listeners::Listeners;
use super::mark::{Mark, Pace};
use super::settings::Settings;
use super::state::{Circuit, Pass, Refusal};
use super::transition::Transition;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, MutexGuard};

/// A circuit that many threads ask at once. While nothing speaks against the provider they take no lock, and do
/// not write to what they share.
pub(super) struct Guarded {
    locked: Mutex<Locked>,
    /// What a healthy call needs to know, without the lock.
    glance: AtomicU64,
    listeners: Listeners,
}

struct Locked {
    circuit: Circuit,
    random: fastrand::Rng,
}

/// A circuit at a glance: its generation, whether every call passes, and whether no success would change a thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Glance(u64);

const SPOTLESS: u64 = 1;
const PASSABLE: u64 = 2;

/// What came of a change, and the change of state that it was, for whoever logs it.
pub(super) type Changed<T> = (T, Option<Transition>);

impl From<&Settings> for Guarded {
    fn from(settings: &Settings) -> Self {
        let circuit = Circuit::new(settings.clone());
        Self {
            glance: AtomicU64::new(Glance::of(&circuit).0),
            locked: Mutex::new(Locked {
                circuit,
                random: settings.seed.map_or_else(fastrand::Rng::new, fastrand::Rng::with_seed),
            }),
            listeners: settings.listeners.clone(),
        }
    }
}

impl Guarded {
    pub(super) fn glance(&self) -> Glance {
        Glance(self.glance.load(Ordering::Acquire))
    }

    /// Lets an attempt through, or says why not.
    pub(super) fn admit(&self, now: impl FnOnce() -> Instant) -> Changed<Result<Pass, Refusal>> {
        let glance = self.glance();
        if glance.is_passable() {
            return (Ok(Pass { generation: glance.generation(), probe: None }), None);
        }
        self.change(|circuit, _| circuit.admit(now()))
    }

    /// The head of a good answer is here.
    pub(super) fn commit(
        &self,
        pass: Pass,
        pace: Pace,
        now: impl FnOnce() -> Instant,
    ) -> Changed<Option<Pass>> {
        if pass.probe.is_none() && pace == Pace::Unknown {
            return (Some(pass), None);
        }
        self.change(|circuit, random| circuit.commit(pass, pace, now(), random))
    }

    /// Takes note of what an attempt came to.
    pub(super) fn record(
        &self,
        pass: Pass,
        mark: Mark,
        pace: Pace,
        now: impl FnOnce() -> Instant,
    ) -> Changed<()> {
        let nothing_new = match (mark, pace) {
            (Mark::Neutral, Pace::Unknown) => pass.probe.is_none(),
            (Mark::Success, Pace::Unknown) => self.glance() == Glance::spotless(pass.generation),
            _ => false,
        };
        if nothing_new {
            return ((), None);
        }
        self.change(|circuit, random| circuit.record(pass, mark, pace, now(), random))
    }

    /// Changes the circuit, and tells everybody at a glance. Listeners are told under the lock, so that they hear
    /// of the changes in their order.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut Circuit, f64) -> T) -> Changed<T> {
        let locked = &mut *self.lock();
        let before = locked.circuit.generation();
        let result = change(&mut locked.circuit, locked.random.f64());
        self.glance.store(Glance::of(&locked.circuit).0, Ordering::Release);
        let transition = locked.circuit.latest().filter(|_| locked.circuit.generation() != before);
        if let Some(transition) = transition {
            self.listeners.tell(transition);
        }
        (result, transition)
    }

    /// Looks at the circuit.
    pub(super) fn look<T>(&self, look: impl FnOnce(&mut Circuit) -> T) -> T {
        look(&mut self.lock().circuit)
    }

    fn lock(&self) -> MutexGuard<'_, Locked> {
        self.locked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Glance {
    fn of(circuit: &Circuit) -> Self {
        let spotless = if circuit.is_spotless() { SPOTLESS } else { 0 };
        let passable = if circuit.is_passable() { PASSABLE } else { 0 };
        Self(circuit.generation() << 2 | passable | spotless)
    }

    const fn spotless(generation: u64) -> Self {
        Self(generation << 2 | PASSABLE | SPOTLESS)
    }

    pub(super) const fn generation(self) -> u64 {
        self.0 >> 2
    }

    pub(super) const fn is_passable(self) -> bool {
        self.0 & PASSABLE != 0
    }
}
