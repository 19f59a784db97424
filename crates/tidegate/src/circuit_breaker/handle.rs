use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::layer::Settings;
use super::state::{Circuit, Closed, Mark, Pass, Reason, State};
use crate::shared::Shared;
use crate::watched::Watch;
use crate::{BoxError, ErrorCode, Gate, Outcome, Rejection, clock};

/// The circuit that a layer, its services and their clones share.
#[derive(Clone)]
pub struct Handle(pub(super) Shared<Settings, Guarded>);

pub(super) struct Guarded {
    circuit: Mutex<Circuit>,
    /// What a healthy call needs to know, without the lock: the generation, and whether it is spotless.
    glance: AtomicU64,
}

/// The lowest bit of a glance: closed, and nothing held against the provider.
const SPOTLESS: u64 = 1;

/// The right of one attempt to have passed the circuit. Dropped without a word, it says nothing: the caller left.
#[derive(Debug)]
pub struct Lease {
    handle: Handle,
    pass: Option<Pass>,
}

impl From<&Settings> for Guarded {
    fn from(settings: &Settings) -> Self {
        let circuit = Circuit::new(settings.clone());
        Self { glance: AtomicU64::new(glance(&circuit)), circuit: Mutex::new(circuit) }
    }
}

impl Handle {
    /// The state now: `closed`, `open` or `half_open`.
    #[must_use]
    pub fn state(&self) -> State {
        self.lock().state(clock::now())
    }

    /// How long until an open circuit lets a probe through.
    #[must_use]
    pub fn cooldown_remaining(&self) -> Option<std::time::Duration> {
        let closed = self.lock().peek(clock::now())?;
        closed.retry_after.filter(|_| closed.reason != Reason::Probing)
    }

    /// Closes the circuit and forgets what came before. Results of attempts under way no longer count.
    pub fn reset(&self) {
        self.change(Circuit::reset);
    }

    /// Whether a call that came now would be refused, and why. Takes nothing.
    #[must_use]
    pub fn peek(&self) -> Option<Rejection> {
        if self.glance() & SPOTLESS != 0 {
            return None;
        }
        self.lock().peek(clock::now()).map(rejection)
    }

    /// Lets an attempt through, or says why not.
    pub(super) fn admit(&self) -> Result<Lease, Rejection> {
        let lease = |pass| Lease { handle: self.clone(), pass };
        if !self.0.settings().enabled {
            return Ok(lease(None));
        }
        let glance = self.glance();
        if glance & SPOTLESS != 0 {
            return Ok(lease(Some(Pass { generation: glance >> 1, probe: None })));
        }
        match self.change(|circuit| circuit.admit(clock::now())) {
            Ok(pass) => Ok(lease(Some(pass))),
            Err(closed) => Err(rejection(closed)),
        }
    }

    fn record(&self, pass: Pass, mark: Mark) {
        let spotless = pass.generation << 1 | SPOTLESS;
        let nothing_new = match mark {
            Mark::Neutral => pass.probe.is_none(),
            Mark::Success => self.glance() == spotless,
            Mark::Failure(..) | Mark::Quota(_) => false,
        };
        if !nothing_new {
            self.change(|circuit| circuit.record(pass, mark, clock::now()));
        }
    }

    /// Changes the circuit, tells everybody at a glance, and the listeners if its state is another one.
    fn change<T>(&self, change: impl FnOnce(&mut Circuit) -> T) -> T {
        let mut circuit = self.lock();
        let before = circuit.generation();
        let result = change(&mut circuit);
        self.0.glance.store(glance(&circuit), Ordering::Release);
        if circuit.generation() != before {
            let (state, reason) = (circuit.state(clock::now()), circuit.reason());
            drop(circuit);
            self.tell(state, reason);
        }
        result
    }

    fn tell(&self, state: State, reason: Option<Reason>) {
        let (target, layer) = (self.0.target(), Gate::CircuitBreaker.name());
        match reason {
            Some(reason) => tracing::warn!(layer, target, state = state.name(), %reason, "circuit opened"),
            None => tracing::info!(layer, target, state = state.name(), "circuit changed"),
        }
    }

    fn glance(&self) -> u64 {
        self.0.glance.load(Ordering::Acquire)
    }

    fn lock(&self) -> MutexGuard<'_, Circuit> {
        self.0.circuit.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lease {
    /// Says what the attempt came to, and gives the lease back.
    pub(super) fn settle(mut self, outcome: &Outcome) {
        if let Some(pass) = self.pass.take() {
            self.handle.record(pass, Mark::of(outcome, self.handle.0.settings()));
        }
    }

    /// The head of a good answer is here: half of a success, and all of one for a probe.
    pub(super) fn commit(&mut self) {
        if let Some(pass @ Pass { probe: Some(_), .. }) = self.pass {
            self.pass = self.handle.change(|circuit| circuit.commit(pass, clock::now()));
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(pass) = self.pass.take() {
            self.handle.record(pass, Mark::Neutral);
        }
    }
}

impl Watch for Lease {
    fn ended(self, end: Result<(), &BoxError>) {
        match end {
            Ok(()) => self.settle(&Outcome::Success),
            Err(error) => self.settle(&Outcome::of_error(&**error)),
        }
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("settings", self.0.settings()).field("state", &self.state()).finish()
    }
}

fn glance(circuit: &Circuit) -> u64 {
    circuit.generation() << 1 | u64::from(circuit.is_spotless())
}

fn rejection(closed: Closed) -> Rejection {
    let (code, reason) = match closed.reason {
        Reason::Quota => (ErrorCode::QuotaExhausted, "quota exhausted, circuit open"),
        Reason::Probing => (ErrorCode::Overloaded, "circuit half-open, probes under way"),
        Reason::Failures(..) | Reason::ProbeFailed(_) => (ErrorCode::Overloaded, "circuit open"),
    };
    let rejection = Rejection::new(Gate::CircuitBreaker, code).because(reason);
    match closed.retry_after {
        Some(wait) => rejection.with_retry_after(wait),
        None => rejection,
    }
}
