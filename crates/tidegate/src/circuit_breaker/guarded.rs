use std::sync::PoisonError;
use std::time::{Duration, Instant};

use super::listeners::Listeners;
use super::mark::{Mark, Pace};
use super::pass::{Cause, Pass, Refusal};
use super::settings::Settings;
use super::state::Circuit;
use super::transition::Transition;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, MutexGuard};

/// A circuit that many threads ask at once. While nothing speaks against the provider they take no lock, and do
/// not write to what they share.
pub(super) struct Guarded {
    locked: Mutex<Locked>,
    /// What a call needs to know, without the lock, while all of them pass or none.
    glance: AtomicU64,
    /// When the cooldown ends, in nanoseconds from the origin, if it is open at a glance.
    until: AtomicU64,
    origin: Instant,
    listeners: Listeners,
}

struct Locked {
    circuit: Circuit,
    random: fastrand::Rng,
}

/// A circuit at a glance: its generation, whether every call passes, whether no success would change a thing, and
/// whether all are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Glance(u64);

const SPOTLESS: u64 = 1;
const PASSABLE: u64 = 2;
const FAILING: u64 = 4;
const QUOTA: u64 = 8;
const HELD: u64 = FAILING | QUOTA;

/// The bits below the generation.
const FLAGS: u32 = 4;

/// What came of a change, and the change of state that it was, for whoever logs it.
pub(super) type Changed<T> = (T, Option<Transition>);

impl Guarded {
    /// A closed circuit that begins at `origin`.
    pub(super) fn new(settings: &Settings, origin: Instant) -> Self {
        let circuit = Circuit::new(settings.clone());
        Self {
            glance: AtomicU64::new(Glance::of(&circuit).0),
            locked: Mutex::new(Locked {
                circuit,
                random: settings.seed.map_or_else(fastrand::Rng::new, fastrand::Rng::with_seed),
            }),
            until: AtomicU64::new(0),
            origin,
            listeners: settings.listeners.clone(),
        }
    }

    pub(super) fn glance(&self) -> Glance {
        Glance(self.glance.load(Ordering::Acquire))
    }

    /// Lets an attempt through, or says why not.
    pub(super) fn admit(&self, now: impl FnOnce() -> Instant) -> Changed<Result<Pass, Refusal>> {
        let glance = self.glance();
        if glance.is_passable() {
            return (Ok(Pass { generation: glance.generation(), probe: None }), None);
        }
        let now = now();
        match self.refused(glance, now) {
            Some(refusal) => (Err(refusal), None),
            None => self.change(|circuit, _| circuit.admit(now)),
        }
    }

    /// Why a call is bound to be refused, if it is. Takes nothing.
    pub(super) fn peek(&self, now: impl FnOnce() -> Instant) -> Option<Refusal> {
        let glance = self.glance();
        if glance.is_passable() {
            return None;
        }
        let now = now();
        self.refused(glance, now).or_else(|| self.look(|circuit| circuit.peek(now)))
    }

    /// Whether the circuit is open at a glance: an outage, too, is no time for threads to queue for a lock.
    fn refused(&self, glance: Glance, now: Instant) -> Option<Refusal> {
        let cause = glance.cause()?;
        if cause == Cause::Held {
            return Some(Refusal { cause, retry_after: None });
        }
        let until = self.until.load(Ordering::Acquire);
        // Written before its glance: if that is another one by now, so may be the time.
        if self.glance() != glance {
            return None;
        }
        let rest = self.origin.checked_add(Duration::from_nanos(until))?.saturating_duration_since(now);
        (!rest.is_zero()).then_some(Refusal { cause, retry_after: Some(rest) })
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

    /// Changes the circuit, and tells everybody at a glance. Listeners are told when the lock has been let go of, since
    /// one that is woken may ask for the state: of two changes at the same moment they may hear in either order.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut Circuit, f64) -> T) -> Changed<T> {
        let mut lock = self.lock();
        let locked = &mut *lock;
        let before = locked.circuit.generation();
        let result = change(&mut locked.circuit, locked.random.f64());
        if let Some((_, Some(until))) = locked.circuit.refuses_all() {
            let nanos = until.saturating_duration_since(self.origin).as_nanos();
            self.until.store(u64::try_from(nanos).unwrap_or(u64::MAX), Ordering::Release);
        }
        self.glance.store(Glance::of(&locked.circuit).0, Ordering::Release);
        let transition = locked.circuit.latest().filter(|_| locked.circuit.generation() != before);
        drop(lock);
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
        let refusing = match circuit.refuses_all() {
            Some((Cause::Quota, _)) => QUOTA,
            Some((Cause::Held, _)) => HELD,
            Some(_) => FAILING,
            None => 0,
        };
        Self(circuit.generation() << FLAGS | refusing | passable | spotless)
    }

    const fn spotless(generation: u64) -> Self {
        Self(generation << FLAGS | PASSABLE | SPOTLESS)
    }

    /// Why all calls are refused, if they are; the cooldown may have passed.
    const fn cause(self) -> Option<Cause> {
        match self.0 & HELD {
            HELD => Some(Cause::Held),
            QUOTA => Some(Cause::Quota),
            FAILING => Some(Cause::Failing),
            _ => None,
        }
    }

    pub(super) const fn generation(self) -> u64 {
        self.0 >> FLAGS
    }

    pub(super) const fn is_passable(self) -> bool {
        self.0 & PASSABLE != 0
    }
}
